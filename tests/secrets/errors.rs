//! Every error that can be provoked, with canaries wherever the server or the user could have put them.

use std::future::pending;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::{BoxError, Credentials, Error, NeonomicsAuth, TokenProvider};
use tower::ServiceExt;

use crate::canary::{ACCESS, REFRESH, SECRET, assert_silent, printed_error};
use crate::server::{ID, Server, Turn, environment, refusal, token};

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_error_of_an_exchange_shows_a_secret() {
    let echo = format!("{SECRET} {ACCESS}1 {REFRESH}1");
    for (what, turn, begins) in [
        ("rejected client", refusal(510, "invalid_client", &echo), "the authorization server rejected the client"),
        ("rejected request", refusal(400, &echo, &echo), "the authorization server refused the token request"),
        ("redirect", Turn::Answer(307, echo.clone()), "the token endpoint of realm `the-realm` answered a redirect"),
        ("unavailable", refusal(503, &echo, &echo), "the authorization server cannot answer now (status 503)"),
        ("unreachable", Turn::Reset, "the authorization server could not be reached"),
        ("timeout", Turn::Hang, "the authorization server did not answer within the deadline"),
        ("not JSON", Turn::Answer(200, echo.clone()), "the token endpoint's answer cannot be used: it is not a JSON"),
    ] {
        assert_error(what, &failing(turn).await, begins);
    }
}

// lessons 14, 20, 31
#[tokio::test(start_paused = true)]
async fn e1_no_malformed_answer_is_shown() {
    let changed = |member: &str, value: serde_json::Value| {
        let mut answer = token(1);
        answer[member] = value;
        answer.to_string()
    };
    let whole = token(1).to_string();
    let header = "its access_token cannot be sent in a header";
    for (what, body, why) in [
        ("cut off", whole[..whole.len() - 2].to_owned(), "it is not a JSON object"),
        ("an array", format!("[{whole}]"), "it is not a JSON object"),
        ("a text", format!("{ACCESS}{REFRESH}"), "it is not a JSON object"),
        ("a page", format!("<html>{whole}</html>"), "it is not a JSON object"),
        ("something behind it", format!("{whole}{ACCESS}"), "it is not a JSON object"),
        ("a token in a list", changed("access_token", [ACCESS].into()), "it has no access_token"),
        ("a token with a space", changed("access_token", format!("{ACCESS} {ACCESS}").into()), header),
        ("a token with a line break", changed("access_token", format!("{ACCESS}\r\nx-evil: {ACCESS}").into()), header),
        ("a token with an umlaut", changed("access_token", format!("{ACCESS}ü").into()), header),
        ("a token as type", changed("token_type", ACCESS.into()), "its token_type is not bearer"),
        ("a token as lifetime", changed("expires_in", ACCESS.into()), "its expires_in is not a positive number"),
    ] {
        let error = failing(Turn::Answer(200, body)).await;
        assert!(error.is_malformed());
        assert_error(what, &error, &format!("the token endpoint's answer cannot be used: {why}; next attempt in "));
    }
    let long = format!("{}{whole}", " ".repeat(256 * 1024));
    let error = failing(Turn::Answer(200, long)).await;
    assert_error("too long", &error, "the token endpoint's answer cannot be used: it is longer than 256 KiB");
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_error_of_a_renewal_shows_a_secret() {
    // Expired on arrival: the answer takes as long as the token lives.
    let late = || Turn::Late(Duration::from_secs(3600));
    let server = Server::default();
    server.next([late(), late(), late()]);
    let provider = server.builder().renewal_timeout(Duration::from_secs(24 * 3600)).build().unwrap();
    let error = provider.token().await.unwrap_err();
    assert_error("expired on arrival", &error, "the access token had expired on arrival");

    // Unchanged, and refused once too often.
    let server = Server::default();
    let provider = server.provider();
    let same = |_| Turn::Answer(200, token(1).to_string());
    server.next((0..12).map(same));
    let first = provider.token().await.unwrap();
    for _ in 0..10 {
        let error = provider.renew(&first).await.unwrap_err();
        assert_error("unchanged", &error, "the renewal brought the same token that was refused");
    }
    let error = provider.renew(&first).await.unwrap_err();
    assert_error(
        "refused too often",
        &error,
        "the API refuses one fresh token after another: check that no proxy strips `authorization`, and that \
         the token's realm is that of the API; next attempt in ",
    );

    // Ended, and the end refused.
    server.next([refusal(400, &format!("no {REFRESH}1"), &format!("{SECRET} {ACCESS}"))]);
    let provider = server.provider();
    let first = provider.token().await.unwrap();
    server.next([refusal(400, &format!("no {REFRESH}1"), &format!("{SECRET} {ACCESS}"))]);
    let error = provider.end_session().await.unwrap_err();
    assert_error("end refused", &error, "the session is forgotten here, but the authorization server did not confirm");
    let error = provider.renew(&first).await.unwrap_err();
    assert_error("ended", &error, "the session was ended");
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_error_of_the_callers_making_shows_a_secret() {
    // The vault's own error is the source.
    let vault = Credentials::from_fn(ID, || async { Err::<String, _>(io::Error::other("the vault is sealed")) });
    let provider = Server::default().builder_with(vault).build().unwrap();
    let error = provider.token().await.unwrap_err();
    assert_error("credentials", &error, "the client secret could not be obtained");
    assert!(printed_error(&error).contains("the vault is sealed"), "the chain is looked at");

    // The transport panics, twice.
    let server = Server::default();
    server.next([Turn::Panic, Turn::Panic]);
    let error = server.provider().token().await.unwrap_err();
    assert_error("abandoned", &error, "the renewal was dropped before it ended: its runtime");

    // The transport goes through the layer that waits for it.
    let slot: Arc<OnceLock<TokenProvider>> = Arc::default();
    let inner = tower::service_fn(|_: Request<Full<Bytes>>| pending::<Result<Response<Full<Bytes>>, BoxError>>());
    let behind = Arc::clone(&slot);
    let transport =
        tower::service_fn(move |request| NeonomicsAuth::new(inner, behind.get().unwrap().clone()).oneshot(request));
    let builder = TokenProvider::builder(environment(), Credentials::new(ID, SECRET)).transport(transport);
    let provider = slot.get_or_init(|| builder.build().unwrap());
    let error = provider.token().await.unwrap_err();
    assert_error("recursive", &error, "the token request went through the authenticated stack itself");

    // A fixed token.
    let fixed = TokenProvider::fixed(environment(), ACCESS).unwrap();
    let error = fixed.renew(&fixed.token().await.unwrap()).await.unwrap_err();
    assert_error("not renewable", &error, "a fixed token is neither renewed nor ended");
    let error = TokenProvider::fixed(environment(), format!("{ACCESS}\n")).unwrap_err();
    assert_error("a bad fixed token", &error, "the fixed token cannot be sent in a header");
}

// lesson 20
#[test]
fn e1_no_error_outside_a_runtime_shows_a_secret() {
    let error = block_on(Server::default().provider().token()).unwrap_err();
    assert_error("no runtime", &error, "a renewal, and the end of a session, need a tokio runtime");
    let error = Server::default().builder_with(Credentials::new("", SECRET)).build().unwrap_err();
    assert_error("no id", &error, "the client id is empty");
}

/// An error as the user of the layer meets it.
// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_error_of_a_request_shows_a_secret() {
    let server = Server::default();
    server.next([refusal(400, "some_error", SECRET)]);
    let inner = tower::service_fn(|_: Request<Full<Bytes>>| pending::<Result<Response<()>, BoxError>>());
    let client = NeonomicsAuth::new(inner, server.provider());
    let request = Request::get("https://api.example.com/").body(Full::default()).unwrap();
    let error = client.oneshot(request).await.unwrap_err();
    assert_silent("the boxed error", &printed_error(&*error));
    assert_error("the error inside", error.downcast_ref().unwrap(), "the authorization server refused");
}

/// The error of a provider all of whose exchanges meet this, after the control that its secret was sent.
async fn failing(turn: Turn) -> Error {
    let server = Server::default();
    // A renewal makes three exchanges at most.
    server.next([turn.clone(), turn.clone(), turn]);
    let error = server.provider().token().await.unwrap_err();
    assert!(server.forms()[0].contains(&format!("client_secret={SECRET}")));
    error
}

/// `begins` is the control: the error is the one that was to be provoked.
#[track_caller]
fn assert_error(what: &str, error: &Error, begins: &str) {
    assert!(error.to_string().starts_with(begins), "{what}: {error}");
    assert_silent(what, &printed_error(error));
}
