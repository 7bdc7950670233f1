//! `FakeNeonomics` behaves as the vendor's page and the recordings of Keycloak say, fails as it is
//! told, and tells what it received.

#![allow(clippy::unwrap_used, clippy::too_many_lines)]

use std::time::Duration;

use bytes::Bytes;
use futures::future::{FutureExt, join_all};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::testing::{Counts, FakeBody, FakeNeonomics, Fault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{advance, timeout};
use tower::ServiceExt;

const TOKEN_PATH: &str = "/auth/realms/sandbox/protocol/openid-connect/token";
const LOGOUT_PATH: &str = "/auth/realms/sandbox/protocol/openid-connect/logout";
const FORM: &str = "application/x-www-form-urlencoded";
const SECOND: Duration = Duration::from_secs(1);

// The vendor's page

#[tokio::test]
async fn the_three_documented_requests_get_the_documented_answers() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let (id, secret) = (fake.client_id().to_owned(), fake.client_secret());

    // "Get an access token", as curl sends it.
    let first = curl_form(&fake, &format!("grant_type=client_credentials&client_id={id}&client_secret={secret}")).await;
    assert_documented(&first);

    // "Refresh the token".
    let refresh_token = first["refresh_token"].as_str().unwrap();
    let second = curl_form(
        &fake,
        &format!("grant_type=refresh_token&refresh_token={refresh_token}&client_id={id}&client_secret={secret}"),
    )
    .await;
    assert_documented(&second);
    assert_eq!(second["scope"], "banqbridge_client");
    assert_eq!(second["session_state"], first["session_state"], "one session");

    // "Use the token".
    let bearer = second["access_token"].as_str().unwrap();
    let (head, body) = curl(
        &fake,
        &format!(
            "GET /ics/v3/banks HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.5.0\r\nAccept: application/json\r\n\
             Authorization: Bearer {bearer}\r\nx-device-id: a-device\r\nConnection: close\r\n\r\n",
            authority(&fake),
        ),
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let banks: Value = serde_json::from_str(&body).unwrap();
    for bank in banks.as_array().unwrap() {
        assert!(bank["id"].is_string() && bank["bankDisplayName"].is_string());
    }
    fake.expect().client_credentials(1).refresh(1).requests(1).unauthorized(0);
}

fn assert_documented(answer: &Value) {
    assert!(answer["access_token"].as_str().unwrap().starts_with("fake-"));
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(answer["refresh_expires_in"], 7200);
    assert!(answer["refresh_token"].as_str().unwrap().starts_with("fake-"));
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["not-before-policy"], 0);
    assert!(answer["session_state"].is_string());
}

async fn curl_form(fake: &FakeNeonomics, form: &str) -> Value {
    let request = format!(
        "POST {TOKEN_PATH} HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\
         Content-Length: {}\r\nContent-Type: {FORM}\r\nConnection: close\r\n\r\n{form}",
        authority(fake),
        form.len(),
    );
    let (head, body) = curl(fake, &request).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    assert!(head.contains("server: FakeNeonomics\r\n"), "{head}");
    serde_json::from_str(&body).unwrap()
}

/// Head and body of the answer to these very bytes.
async fn curl(fake: &FakeNeonomics, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(authority(fake)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

fn authority(fake: &FakeNeonomics) -> &str {
    fake.origin().strip_prefix("http://").unwrap()
}

// The token endpoint

#[tokio::test]
async fn the_first_grant_has_the_members_of_keycloak_and_no_others() {
    let fake = FakeNeonomics::new();
    let response = exchange(&fake, &[("grant_type", "client_credentials")]).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.headers[CACHE_CONTROL], "no-store");
    let members: Vec<_> = response.json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        [
            "access_token",
            "expires_in",
            "not-before-policy",
            "refresh_expires_in",
            "refresh_token",
            "scope",
            "session_state",
            "token_type"
        ]
    );
    assert_eq!(response.json["session_state"].as_str().unwrap().len(), 24);
}

#[tokio::test]
async fn e5_a_token_begins_with_fake_and_is_a_b64token_and_no_two_are_alike() {
    let fake = FakeNeonomics::new();
    let (first, second) = (grant(&fake).await, grant(&fake).await);
    for token in [&first.access, &first.refresh, &second.access, &second.refresh] {
        assert!(token.starts_with("fake-"));
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte)));
    }
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    // Nor are those of two fakes.
    let other = FakeNeonomics::new();
    assert_ne!(fake.client_id(), other.client_id());
    assert_ne!(fake.client_secret(), other.client_secret());
}

/// Status and error of every malformed exchange, first as Keycloak answers, then as the gateway
/// does.
#[tokio::test]
async fn each_wrong_exchange_gets_the_error_that_keycloak_gives() {
    let fake = FakeNeonomics::new();
    let secret = fake.client_secret();
    let ours = format!("client_id={}&client_secret={secret}", fake.client_id());
    let cc = "grant_type=client_credentials";
    let bad_credentials = "Invalid client or Invalid client credentials";
    let cases = [
        (
            format!("{cc}&client_id={}&client_secret=wrong", fake.client_id()),
            401,
            "unauthorized_client",
            bad_credentials,
        ),
        (format!("{cc}&client_id={}", fake.client_id()), 401, "unauthorized_client", bad_credentials),
        (format!("{cc}&client_id={}&client_secret=", fake.client_id()), 401, "unauthorized_client", bad_credentials),
        (format!("{cc}&client_id=nobody&client_secret={secret}"), 401, "invalid_client", bad_credentials),
        (format!("{cc}&client_secret={secret}"), 401, "invalid_client", bad_credentials),
        (ours.clone(), 400, "invalid_request", "Missing form parameter: grant_type"),
        (String::new(), 400, "invalid_request", "Missing form parameter: grant_type"),
        (format!("{cc}&{ours}&client_id={}", fake.client_id()), 400, "invalid_request", "duplicated parameter"),
        (format!("grant_type=nonsense&{ours}"), 400, "unsupported_grant_type", "Unsupported grant_type"),
        (format!("{cc}&{ours}&scope=nonsense"), 400, "invalid_scope", "Invalid scopes: nonsense"),
        (format!("{cc}&{ours}&scope="), 400, "invalid_scope", "Invalid scopes: "),
        (format!("grant_type=refresh_token&{ours}"), 400, "invalid_request", "No refresh token"),
        (format!("grant_type=refresh_token&{ours}&refresh_token=x"), 400, "invalid_grant", "Invalid refresh token"),
        (
            format!("{cc}&client_id={}&client_secret=%zz", fake.client_id()),
            500,
            "unknown_error",
            "For more on this error consult the server log.",
        ),
    ];
    for gateway in [false, true] {
        fake.set_gateway(gateway);
        for (form, status, error, description) in &cases {
            let response = post(&fake, TOKEN_PATH, Some(FORM), form).await;
            assert_eq!(response.status, if gateway { 510 } else { *status }, "{form}");
            assert_eq!(response.json, json!({ "error": error, "error_description": description }), "{form}");
            assert_eq!(response.headers[CONTENT_TYPE], "application/json");
            assert_eq!(response.headers.contains_key(CACHE_CONTROL), *status != 500);
            assert!(!response.headers.contains_key(WWW_AUTHENTICATE), "never on the token endpoint");
        }
    }
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test]
async fn a_form_needs_its_content_type() {
    let fake = FakeNeonomics::new();
    fake.set_gateway(false);
    let body = form(&fake, &[("grant_type", "client_credentials")]);
    let json = json!({ "grant_type": "client_credentials" }).to_string();
    for (kind, body) in [(None, &body), (Some("application/json"), &json)] {
        let response = post(&fake, TOKEN_PATH, kind, body).await;
        assert_eq!((response.status, response.error()), (400, "invalid_request"));
    }
    let response = post(&fake, TOKEN_PATH, Some("Application/X-WWW-Form-Urlencoded;charset=UTF-8"), &body).await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn a_get_is_405_and_another_realm_is_404_with_a_sentence_in_error() {
    let fake = FakeNeonomics::new();
    fake.set_gateway(false);
    let get = send(&fake, Request::get(TOKEN_PATH), "").await;
    assert_eq!((get.status, get.json.clone()), (405, json!({ "error": "HTTP 405 Method Not Allowed" })));
    let elsewhere = TOKEN_PATH.replace("sandbox", "nowhere");
    let response = post(&fake, &elsewhere, Some(FORM), "").await;
    assert_eq!((response.status, response.json.clone()), (404, json!({ "error": "Realm does not exist" })));
    for response in [get, response] {
        assert!(!response.headers.contains_key(CACHE_CONTROL));
    }
}

#[tokio::test]
async fn credentials_may_come_by_basic_and_the_form_goes_before() {
    let fake = FakeNeonomics::new();
    fake.set_gateway(false);
    // `s+p%e&c=i ü l`, form-encoded, as RFC 6749 section 2.3.1 wants it.
    fake.set_client_secret("s+p%e&c=i ü l");
    let basic = |text: &str| format!("Basic {}", base64(text));
    let encoded = basic(&format!("{}:s%2Bp%25e%26c%3Di+%C3%BC+l", fake.client_id()));
    let raw = basic(&format!("{}:s+p%e&c=i ü l", fake.client_id()));
    let lower_case = encoded.replacen("Basic", "basic", 1);
    let wrong = basic(&format!("{}:wrong", fake.client_id()));
    let only_grant = "grant_type=client_credentials".to_owned();
    let full = form(&fake, &[("grant_type", "client_credentials")]);
    let form_wrong = full.replace("client_secret=s", "client_secret=t");
    let cases = [
        (&encoded, &only_grant, 200, None),
        (&lower_case, &only_grant, 200, None),
        (&raw, &only_grant, 400, Some("unauthorized_client")),
        (&wrong, &only_grant, 401, Some("unauthorized_client")),
        (&"Basic !!!".to_owned(), &only_grant, 401, Some("invalid_client")),
        (&"Bearer nonsense".to_owned(), &only_grant, 401, Some("invalid_client")),
        (&"Bearer nonsense".to_owned(), &full, 200, None),
        (&wrong, &full, 200, None),
        (&encoded, &form_wrong, 401, Some("unauthorized_client")),
    ];
    for (authorization, body, status, error) in cases {
        let request = Request::post(TOKEN_PATH).header(CONTENT_TYPE, FORM).header(AUTHORIZATION, authorization);
        let response = send(&fake, request, body).await;
        assert_eq!(response.status, status, "{authorization} {body}");
        assert_eq!(response.json["error"].as_str(), error);
    }
    // What needs no escape may stand as it is.
    fake.set_client_secret("a&b=c");
    let request = Request::post(TOKEN_PATH)
        .header(CONTENT_TYPE, FORM)
        .header(AUTHORIZATION, basic(&format!("{}:a&b=c", fake.client_id())));
    assert_eq!(send(&fake, request, &only_grant).await.status, 200);
}

#[tokio::test]
async fn a_disabled_client_is_refused_everywhere_and_enabled_again_goes_on() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.set_client_enabled(false);
    assert_eq!(exchange(&fake, &[("grant_type", "client_credentials")]).await.error(), "invalid_client");
    assert_eq!(refresh(&fake, &tokens.refresh).await.error(), "invalid_client");
    assert_eq!(logout(&fake, &tokens.refresh).await.error(), "invalid_client");
    assert!(challenge(&banks(&fake, &tokens.access).await).contains("Client disabled"));
    fake.set_client_enabled(true);
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    assert_eq!(refresh(&fake, &tokens.refresh).await.status, 200);
}

#[tokio::test]
async fn a_wrong_secret_does_not_consume_the_refresh_token() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let tokens = grant(&fake).await;
    let old = form(&fake, &[("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)]);
    fake.set_client_secret("another");
    assert_eq!(post(&fake, TOKEN_PATH, Some(FORM), &old).await.error(), "unauthorized_client");
    // With the new secret it continues the same session.
    let refreshed = refresh(&fake, &tokens.refresh).await;
    assert_eq!(refreshed.json["session_state"], tokens.session);
    assert_eq!(fake.sessions(), 1);
}

#[tokio::test]
async fn without_refresh_tokens_there_is_no_session() {
    let fake = FakeNeonomics::new();
    let before = grant(&fake).await;
    fake.set_refresh_tokens(false);
    let json = exchange(&fake, &[("grant_type", "client_credentials")]).await.json;
    assert_eq!(json["refresh_expires_in"], 0);
    assert!(json.get("refresh_token").is_none() && json.get("session_state").is_none());
    assert_eq!(banks(&fake, json["access_token"].as_str().unwrap()).await.status(), 200);
    assert_eq!(fake.sessions(), 1, "the one from before");
    // A refresh token given out before works, and brings none.
    for _ in 0..2 {
        let json = refresh(&fake, &before.refresh).await.json;
        assert!(json.get("refresh_token").is_none());
        assert_eq!(json["session_state"], before.session);
    }
}

// Lifetimes and sessions

#[tokio::test(start_paused = true)]
async fn an_access_token_lives_for_its_lifetime_in_whole_seconds() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(Duration::from_secs(10));
    // Issued at 0.9 s, which is second 0 to the server: it ends at 10 s, not at 10.9 s.
    advance(Duration::from_millis(900)).await;
    let tokens = grant(&fake).await;
    assert_eq!(tokens.expires_in, 10);
    advance(Duration::from_millis(9_099)).await;
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    advance(Duration::from_millis(1)).await;
    let refused = banks(&fake, &tokens.access).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(
        challenge(&refused),
        r#"Bearer realm="sandbox", error="invalid_token", error_description="Token verification failed""#
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_lives_for_the_idle_time_and_older_ones_keep_their_own_end() {
    let fake = FakeNeonomics::new();
    fake.set_session_idle(Duration::from_secs(6));
    let first = grant(&fake).await;
    assert_eq!(first.refresh_expires_in, 6);
    advance(5 * SECOND).await;
    let second = Tokens::of(&refresh(&fake, &first.refresh).await.json);
    // Rotation is off: the older one works until its own expiry, though the session lives.
    assert_eq!(refresh(&fake, &first.refresh).await.status, 200);
    advance(2 * SECOND).await;
    assert_eq!(refresh(&fake, &first.refresh).await.description(), "Token is not active");
    assert_eq!(refresh(&fake, &second.refresh).await.status, 200);
    assert_eq!(fake.sessions(), 1);
    // Nobody refreshes: the session is gone.
    advance(6 * SECOND).await;
    assert_eq!(fake.sessions(), 0);
    assert_eq!(refresh(&fake, &second.refresh).await.error(), "invalid_grant");
}

#[tokio::test(start_paused = true)]
async fn lifetimes_shrink_towards_the_session_maximum() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(3 * SECOND);
    fake.set_session_idle(6 * SECOND);
    fake.set_session_maximum(20 * SECOND);
    let mut tokens = grant(&fake).await;
    let mut lifetimes = Vec::new();
    for _ in 1..20 {
        advance(SECOND).await;
        tokens = Tokens::of(&refresh(&fake, &tokens.refresh).await.json);
        lifetimes.push((tokens.expires_in, tokens.refresh_expires_in));
    }
    // "(3, 6) … (3, 5), (3, 4), (3, 3), (2, 2), (1, 1), then `invalid_grant`"
    assert_eq!(lifetimes[..14], [(3, 6); 14]);
    assert_eq!(lifetimes[14..], [(3, 5), (3, 4), (3, 3), (2, 2), (1, 1)]);
    advance(SECOND).await;
    assert_eq!(refresh(&fake, &tokens.refresh).await.description(), "Session not active");
    assert_eq!(banks(&fake, &tokens.access).await.status(), 401);
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shortened_realm_holds_from_the_next_grant_on() {
    let fake = FakeNeonomics::new();
    let first = grant(&fake).await;
    fake.set_access_lifetime(Duration::from_secs(120));
    fake.set_session_idle(Duration::from_secs(600));
    let second = Tokens::of(&refresh(&fake, &first.refresh).await.json);
    assert_eq!((second.expires_in, second.refresh_expires_in), (120, 600));
    advance(Duration::from_secs(3_599)).await;
    assert_eq!(banks(&fake, &first.access).await.status(), 200);
    assert_eq!(banks(&fake, &second.access).await.status(), 401);
}

#[tokio::test]
async fn every_client_credentials_grant_is_one_more_session() {
    let fake = FakeNeonomics::new();
    for sessions in 1..=10 {
        let tokens = grant(&fake).await;
        refresh(&fake, &tokens.refresh).await;
        assert_eq!(fake.sessions(), sessions);
    }
    fake.expect().client_credentials(10).refresh(10);
}

#[tokio::test]
async fn an_older_access_token_outlives_a_refresh() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    refresh(&fake, &tokens.refresh).await;
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
}

// Rotation

#[tokio::test(start_paused = true)]
async fn reuse_of_an_older_refresh_token_kills_the_newest_tokens() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let first = grant(&fake).await;
    advance(SECOND).await;
    let second = Tokens::of(&refresh(&fake, &first.refresh).await.json);
    advance(SECOND).await;
    let third = Tokens::of(&refresh(&fake, &second.refresh).await.json);
    assert_eq!(banks(&fake, &third.access).await.status(), 200);

    assert_eq!(refresh(&fake, &first.refresh).await.description(), "Stale token");
    let refused = banks(&fake, &third.access).await;
    assert!(challenge(&refused).contains("user_session_not_found"));
    let newest = refresh(&fake, &third.refresh).await;
    assert_eq!(newest.error(), "invalid_grant");
    assert_eq!(newest.description(), "Session doesn't have required client");
    assert_eq!(fake.sessions(), 0);
    assert_eq!(logout(&fake, &third.refresh).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn within_the_second_of_the_last_refresh_an_older_refresh_token_is_accepted() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let first = grant(&fake).await;
    let second = Tokens::of(&refresh(&fake, &first.refresh).await.json);
    let third = Tokens::of(&refresh(&fake, &second.refresh).await.json);
    assert_eq!(refresh(&fake, &first.refresh).await.status, 200);
    assert_eq!(refresh(&fake, &third.refresh).await.status, 200);
    assert_eq!(banks(&fake, &third.access).await.status(), 200);
}

#[tokio::test]
async fn a_race_of_refreshes_has_one_winner_whose_tokens_are_dead() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let tokens = grant(&fake).await;
    let gate = fake.hold_exchanges();
    let race = join_all((0..8).map(|_| refresh(&fake, &tokens.refresh)));
    let (answers, ()) = tokio::join!(race, async {
        gate.arrived(8).await;
        gate.open();
    });
    let mut descriptions: Vec<_> = answers.iter().map(Answer::description).collect();
    descriptions.sort_unstable();
    let mut recorded = vec!["", "Maximum allowed refresh token reuse exceeded"];
    recorded.extend(["Session doesn't have required client"; 6]);
    assert_eq!(descriptions, recorded);
    let winner = answers.iter().find(|answer| answer.status == 200).unwrap();
    let winner = Tokens::of(&winner.json);
    assert_eq!(banks(&fake, &winner.access).await.status(), 401);
    assert_eq!(refresh(&fake, &winner.refresh).await.error(), "invalid_grant");
}

// Logout

#[tokio::test]
async fn logout_ends_one_session_with_any_of_its_refresh_tokens() {
    let fake = FakeNeonomics::new();
    let (first, other) = (grant(&fake).await, grant(&fake).await);
    let second = Tokens::of(&refresh(&fake, &first.refresh).await.json);
    let answer = logout(&fake, &first.refresh).await;
    assert_eq!((answer.status, answer.json), (204, Value::Null));
    // Again is fine; the tokens are dead, the other session lives.
    assert_eq!(logout(&fake, &second.refresh).await.status, 204);
    assert_eq!(banks(&fake, &second.access).await.status(), 401);
    assert_eq!(refresh(&fake, &second.refresh).await.description(), "Session not active");
    assert_eq!(banks(&fake, &other.access).await.status(), 200);
    assert_eq!(fake.sessions(), 1);
    fake.expect().logout(2);
}

#[tokio::test]
async fn logout_without_a_refresh_token_is_a_page_and_ends_nothing() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    // By GET it is the page whatever the query says.
    let query = form(&fake, &[("refresh_token", &tokens.refresh)]);
    for answer in [
        post(&fake, LOGOUT_PATH, Some(FORM), &form(&fake, &[])).await,
        send(&fake, Request::get(format!("{LOGOUT_PATH}?{query}")), "").await,
        send(&fake, Request::head(LOGOUT_PATH), "").await,
    ] {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers[CONTENT_TYPE], "text/html;charset=utf-8");
        assert_eq!(answer.headers[CACHE_CONTROL], "no-cache");
    }
    assert_eq!(send(&fake, Request::put(LOGOUT_PATH), "").await.status, 405);
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
}

#[tokio::test]
async fn logout_refuses_garbage_and_wrong_credentials() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    for garbage in ["garbage", &tokens.access] {
        let answer = logout(&fake, garbage).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_grant"));
    }
    let wrong = form(&fake, &[("refresh_token", &tokens.refresh)]).replace("client_secret=f", "client_secret=x");
    let answer = post(&fake, LOGOUT_PATH, Some(FORM), &wrong).await;
    assert_eq!((answer.status, answer.error()), (401, "unauthorized_client"));
    assert!(!answer.headers.contains_key(CACHE_CONTROL));
    let nobody = post(&fake, LOGOUT_PATH, Some(FORM), &format!("refresh_token={}", tokens.refresh)).await;
    assert_eq!((nobody.status, nobody.error()), (401, "invalid_client"));
    let elsewhere = post(&fake, &LOGOUT_PATH.replace("sandbox", "nowhere"), Some(FORM), &wrong).await;
    assert_eq!(elsewhere.status, 404);
    assert_eq!(fake.sessions(), 1);
    // `unauthorized` counts the API only.
    fake.expect().logout(5).unauthorized(0);
}

// The operator

#[tokio::test]
async fn revoke_all_ends_sessions_and_refuses_everything_issued_so_far() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.revoke_all();
    assert_eq!(fake.sessions(), 0);
    assert_eq!(banks(&fake, &tokens.access).await.status(), 401);
    assert_eq!(refresh(&fake, &tokens.refresh).await.description(), "Stale token");
    // What is issued afterwards is good, even in the same second.
    let next = grant(&fake).await;
    assert_eq!(banks(&fake, &next.access).await.status(), 200);
    assert_eq!(refresh(&fake, &next.refresh).await.status, 200);
}

#[tokio::test]
async fn not_before_now_refuses_tokens_and_lets_sessions_be() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.set_not_before(Duration::ZERO);
    assert_eq!(banks(&fake, &tokens.access).await.status(), 401);
    assert_eq!(refresh(&fake, &tokens.refresh).await.description(), "Stale token");
    assert_eq!(fake.sessions(), 1);
    let next = exchange(&fake, &[("grant_type", "client_credentials")]).await.json;
    assert!(next["not-before-policy"].as_u64().unwrap() > 0);
    assert_eq!(banks(&fake, next["access_token"].as_str().unwrap()).await.status(), 200);
    assert_eq!(logout(&fake, &tokens.refresh).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn with_not_before_ahead_fresh_tokens_are_dead_on_arrival_until_it_has_passed() {
    let fake = FakeNeonomics::new();
    fake.set_not_before(4 * SECOND);
    let dead = grant(&fake).await;
    assert_eq!(banks(&fake, &dead.access).await.status(), 401);
    advance(4 * SECOND).await;
    assert_eq!(banks(&fake, &dead.access).await.status(), 401);
    let live = grant(&fake).await;
    assert_eq!(banks(&fake, &live.access).await.status(), 200);
}

#[tokio::test]
async fn a_restart_forgets_all_sessions() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.restart();
    assert_eq!(fake.sessions(), 0);
    assert_eq!(refresh(&fake, &tokens.refresh).await.description(), "Session not active");
    assert!(challenge(&banks(&fake, &tokens.access).await).contains("user_session_not_found"));
    let next = grant(&fake).await;
    assert_eq!(banks(&fake, &next.access).await.status(), 200);
}

// The API

#[tokio::test]
async fn the_api_wants_a_live_bearer() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    let with = |authorization: &str| {
        let request = Request::get("/echo").header(AUTHORIZATION, authorization).body(Full::<Bytes>::default());
        fake.clone().oneshot(request.unwrap())
    };
    // The scheme in any case.
    assert_eq!(with(&format!("bearer {}", tokens.access)).await.unwrap().status(), 200);
    // None, another scheme, or not exactly one word after one space.
    for response in [
        fake.clone().oneshot(Request::get("/echo").body(Full::<Bytes>::default()).unwrap()).await.unwrap(),
        with("Basic x").await.unwrap(),
        with("Bearer").await.unwrap(),
        with(&format!("Bearer  {}", tokens.access)).await.unwrap(),
        with(&format!("Bearer {} more", tokens.access)).await.unwrap(),
    ] {
        assert_eq!(response.status(), 401);
        assert_eq!(challenge(&response), r#"Bearer realm="sandbox""#);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
    }
    // Garbage, and a refresh token.
    for token in ["garbage", &tokens.refresh] {
        let response = with(&format!("Bearer {token}")).await.unwrap();
        assert!(challenge(&response).contains(r#"error="invalid_token""#));
    }
    fake.expect().requests(8).unauthorized(7);
}

#[tokio::test]
async fn ics_wants_a_device_id() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    let request = Request::get("/ics/v3/banks").header(AUTHORIZATION, format!("Bearer {}", tokens.access));
    let answer = send(&fake, request, "").await;
    assert_eq!(answer.status, 510);
    let members: Vec<_> = answer.json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["errorCode", "id", "links", "message", "source", "timestamp", "type"]);
    assert_eq!(answer.json["type"], "BAD_REQUEST");
}

#[tokio::test]
async fn a_bank_session_has_an_id() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    let request = Request::post("/ics/v3/session")
        .header(AUTHORIZATION, format!("Bearer {}", tokens.access))
        .header("x-device-id", "a-device");
    let answer = send(&fake, request, r#"{"bankId":"ZmFrZS1iYW5r"}"#).await;
    assert_eq!(answer.status, 201);
    assert!(answer.json["sessionId"].is_string());
}

#[tokio::test]
async fn the_echo_returns_what_it_got() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    for method in [Method::GET, Method::POST, Method::from_bytes(b"BREW").unwrap()] {
        let request = Request::builder()
            .method(method.clone())
            .uri("/echo/a/b?c=d")
            .header(AUTHORIZATION, format!("Bearer {}", tokens.access))
            .header(CONTENT_TYPE, "text/tea")
            .body(Full::<Bytes>::from("milk"))
            .unwrap();
        let response = fake.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-echo-method"], method.as_str());
        assert_eq!(response.headers()["x-echo-path"], "/echo/a/b");
        assert_eq!(response.headers()["x-echo-length"], "4");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/tea");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "milk");
    }
}

#[tokio::test]
async fn a_scripted_answer_makes_any_path_known() {
    let fake = FakeNeonomics::new();
    let payment = || Request::post("/ics/v3/payments/sepa-credit").body(String::from("{}")).unwrap();
    fake.fail_requests(1, Fault::Answer(Response::new(Bytes::from_static(b"paid"))));
    fake.refuse_requests(1);
    let answer = fake.clone().oneshot(payment()).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "paid");
    assert_eq!(fake.clone().oneshot(payment()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    fake.expect().requests(2).unauthorized(1);
    // Without a script it is not known.
    assert_eq!(fake.clone().oneshot(payment()).await.unwrap().status(), StatusCode::NOT_IMPLEMENTED);
    assert_eq!(fake.counts().unknown, 1);
}

#[tokio::test]
async fn what_it_does_not_know_fails_loudly() {
    let known = FakeNeonomics::new();
    for (method, path) in [
        ("GET", "/"),
        ("POST", "/ics/v3/banks"),
        ("GET", "/ics/v3/accounts"),
        ("GET", "/ics/v3/session"),
        ("GET", "/echoes"),
    ] {
        let fake = FakeNeonomics::new();
        let response = send(&fake, Request::builder().method(method).uri(path), "").await;
        assert_eq!(response.status, 501);
        assert_eq!(response.text, format!("FakeNeonomics does not know {method} {path}\n"));
        assert!(panic_of(|| drop(fake.expect())).contains("requests that FakeNeonomics does not know"));
    }
    // Two `Authorization` headers, though one is right.
    let tokens = grant(&known).await;
    let request = Request::get("/echo")
        .header(AUTHORIZATION, format!("Bearer {}", tokens.access))
        .header(AUTHORIZATION, "Bearer old");
    let response = send(&known, request, "").await;
    assert_eq!(response.status, 501);
    assert!(response.text.contains("more than one `authorization`"));
    assert_eq!(known.counts().unknown, 1);
}

// Faults

#[tokio::test(start_paused = true)]
async fn faults_are_met_in_order_and_then_all_is_well() {
    let fake = FakeNeonomics::new();
    let down = Response::builder().status(503).header("retry-after", "7").body(Bytes::from_static(b"down")).unwrap();
    fake.fail_exchanges(2, Fault::Answer(down));
    fake.fail_exchanges(1, Fault::Reset);
    fake.fail_exchanges(0, Fault::Hang);
    for _ in 0..2 {
        let answer = exchange(&fake, &[("grant_type", "client_credentials")]).await;
        assert_eq!((answer.status, answer.text.as_str()), (503, "down"));
        assert_eq!(answer.headers["retry-after"], "7");
    }
    let error = try_grant(&fake).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(fake.sessions(), 0, "nothing was done so far");
    grant(&fake).await;
    fake.expect().client_credentials(4).requests(0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_without_end_is_healed() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    fake.refuse_requests(usize::MAX);
    for _ in 0..100 {
        assert!(try_grant(&fake).await.is_err());
        assert_eq!(banks(&fake, &tokens.access).await.status(), 401);
    }
    fake.heal();
    grant(&fake).await;
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    fake.expect().client_credentials(102).requests(101).unauthorized(100);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_answer_has_lost_its_time_on_the_way() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(10 * SECOND);
    fake.fail_exchanges(1, Fault::Delay(9 * SECOND));
    let tokens = grant(&fake).await;
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    advance(SECOND).await;
    assert_eq!(banks(&fake, &tokens.access).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn hang_does_nothing_and_lose_does_its_work_unheard() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let tokens = grant(&fake).await;
    fake.fail_exchanges(1, Fault::Hang);
    fake.fail_exchanges(1, Fault::Lose);
    assert!(timeout(60 * SECOND, refresh(&fake, &tokens.refresh)).await.is_err());
    assert!(timeout(60 * SECOND, refresh(&fake, &tokens.refresh)).await.is_err());
    // The second one used it up.
    let answer = refresh(&fake, &tokens.refresh).await;
    assert_eq!(answer.description(), "Maximum allowed refresh token reuse exceeded");
    assert_eq!(fake.requests()[1].status, None);
    fake.expect().refresh(3);
}

#[tokio::test(start_paused = true)]
#[allow(clippy::disallowed_methods, reason = "measures paused time")]
async fn a_trickling_answer_comes_whole_in_the_end() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, Fault::Trickle(SECOND));
    let begin = tokio::time::Instant::now();
    let response = try_grant(&fake).await.unwrap();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(data.len(), 1);
        bytes.extend_from_slice(&data);
    }
    assert_eq!(begin.elapsed().as_secs(), bytes.len() as u64);
    assert!(serde_json::from_slice::<Value>(&bytes).unwrap()["access_token"].is_string());
}

#[tokio::test(start_paused = true)]
async fn silence_comes_after_the_head_and_endless_never_ends() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, Fault::Silence);
    fake.fail_exchanges(1, Fault::Endless);
    let silent = try_grant(&fake).await.unwrap();
    assert_eq!(silent.status(), 200);
    assert!(timeout(60 * SECOND, silent.into_body().collect()).await.is_err());

    let mut endless = try_grant(&fake).await.unwrap().into_body();
    let mut received = 0;
    while received < 1 << 20 {
        received += endless.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    // A reader without a limit is stopped by its deadline.
    assert!(timeout(SECOND, endless.collect()).await.is_err());
}

#[tokio::test]
async fn a_truncated_answer_ends_properly_in_the_middle() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, Fault::Truncate);
    let answer = exchange(&fake, &[("grant_type", "client_credentials")]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.starts_with('{'));
    assert!(serde_json::from_str::<Value>(&answer.text).unwrap_err().is_eof());
}

#[tokio::test]
async fn refused_requests_get_401_whatever_their_token() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    fake.refuse_requests(2);
    fake.fail_requests(1, Fault::Answer(Response::builder().status(401).body(Bytes::new()).unwrap()));
    for _ in 0..2 {
        assert!(challenge(&banks(&fake, &tokens.access).await).contains("invalid_token"));
    }
    assert_eq!(challenge(&banks(&fake, &tokens.access).await), "");
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    fake.expect().requests(4).unauthorized(3);
}

// Gates

#[tokio::test]
async fn a_revocation_refuses_all_that_stand_at_the_gate() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    let gate = fake.hold_requests();
    let held = join_all((0..1_000).map(|_| banks(&fake, &tokens.access)));
    let (answers, ()) = tokio::join!(held, async {
        gate.arrived(1_000).await;
        assert_eq!(fake.counts().requests, 1_000);
        assert_eq!(fake.counts().unauthorized, 0);
        fake.revoke_all();
        gate.open();
    });
    assert!(answers.iter().all(|answer| answer.status() == 401));
    // Later ones pass.
    let next = grant(&fake).await;
    assert_eq!(banks(&fake, &next.access).await.status(), 200);
    fake.expect().client_credentials(2).requests(1_001).unauthorized(1_000);
}

#[tokio::test]
async fn a_dropped_gate_is_open() {
    let fake = FakeNeonomics::new();
    let gate = fake.hold_exchanges();
    let mut held = tokio_test::task::spawn(grant(&fake));
    assert!(held.poll().is_pending());
    drop(gate);
    assert!(held.is_woken());
    assert!(held.poll().is_ready());
}

#[tokio::test]
async fn a_request_that_gave_up_stands_at_the_gate_no_longer() {
    let fake = FakeNeonomics::new();
    let gate = fake.hold_exchanges();
    let mut first = tokio_test::task::spawn(grant(&fake));
    let mut second = tokio_test::task::spawn(grant(&fake));
    assert!(first.poll().is_pending());
    assert!(second.poll().is_pending());
    // Who stands there is woken by the gate only.
    assert!(!first.is_woken());
    drop(first);
    assert!(!second.is_woken());
    let mut both = tokio_test::task::spawn(gate.arrived(2));
    assert!(both.poll().is_pending());
    gate.arrived(1).await;
    // It was received all the same.
    fake.expect().client_credentials(2);
}

#[tokio::test]
async fn gates_of_exchanges_and_requests_are_two() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    let gate = fake.hold_exchanges();
    assert_eq!(banks(&fake, &tokens.access).await.status(), 200);
    gate.open();
    let _gate = fake.hold_requests();
    grant(&fake).await;
}

// The record

#[tokio::test]
async fn requests_are_kept_as_they_came() {
    let fake = FakeNeonomics::new();
    let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]);
    let frames = [
        http_body::Frame::data(Bytes::from_static(b"a")),
        http_body::Frame::data(Bytes::from_static(b"b")),
        http_body::Frame::trailers(trailers.clone()),
    ];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, std::io::Error>)));
    let request = Request::put("/echo").header("x-device-id", "1").header("x-device-id", "2").body(body).unwrap();
    fake.clone().oneshot(request).await.unwrap();
    let recorded = &fake.requests()[0];
    assert_eq!((&recorded.method, recorded.uri.path()), (&Method::PUT, "/echo"));
    assert_eq!(recorded.headers.get_all("x-device-id").iter().count(), 2);
    assert_eq!(recorded.body, "ab");
    assert_eq!(recorded.trailers, Some(trailers));
    assert_eq!(recorded.status, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(fake.counts(), {
        let mut counts = Counts::default();
        counts.requests = 1;
        counts.unauthorized = 1;
        counts
    });
}

#[tokio::test]
async fn a_body_that_fails_is_an_error_and_no_request() {
    let fake = FakeNeonomics::new();
    let broken = StreamBody::new(futures::stream::iter([Err::<http_body::Frame<Bytes>, _>("broken")]));
    let error = fake.clone().oneshot(Request::put("/echo").body(broken).unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert_eq!(fake.counts(), Counts::default());
}

#[tokio::test(start_paused = true)]
async fn the_transcript_is_aligned_and_names_tokens_by_number() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    banks(&fake, &tokens.access).await;
    advance(Duration::from_millis(1_800_500)).await;
    fake.revoke_all();
    banks(&fake, &tokens.access).await;
    refresh(&fake, &tokens.refresh).await;
    fake.fail_exchanges(1, Fault::Hang);
    assert!(timeout(SECOND, try_grant(&fake)).await.is_err());
    logout(&fake, "garbage").await;
    let transcript = fake.transcript();
    assert_eq!(
        transcript,
        "
   time          asked               with           answer
1       0.000 s  client_credentials                 200     access 1, refresh 1
2       0.000 s  GET /ics/v3/banks   access 1       200
3    1800.500 s  GET /ics/v3/banks   access 1       401     Token verification failed
4    1800.500 s  refresh_token       refresh 1      510     invalid_grant: Stale token
5    1800.500 s  client_credentials                 none    hangs
6    1801.500 s  logout              unknown token  400     invalid_grant: Invalid refresh token
"
        .trim_start_matches('\n')
    );
}

#[tokio::test]
async fn expect_panics_with_both_numbers_and_the_transcript() {
    let fake = FakeNeonomics::new();
    grant(&fake).await;
    fake.expect().client_credentials(1).refresh(0).other_grants(0).logout(0).requests(0).unauthorized(0);
    let message = panic_of(|| {
        fake.expect().client_credentials(1).refresh(2);
    });
    assert!(message.starts_with("exchanges by refresh_token: expected 2, came 0\n"), "{message}");
    assert!(message.ends_with(&fake.transcript()));
}

#[tokio::test]
async fn no_secret_is_printed() {
    let fake = FakeNeonomics::new();
    let tokens = grant(&fake).await;
    refresh(&fake, &tokens.refresh).await;
    let response = banks(&fake, &tokens.access).await;
    let printed = format!("{fake:?} {:?} {:?} {:?} {}", fake.requests(), fake.expect(), response, fake.transcript());
    for secret in [&fake.client_secret(), &tokens.access, &tokens.refresh] {
        assert!(!printed.contains(secret.as_str()));
    }
    assert!(printed.contains(fake.client_id()));
}

// The two ways to reach it

#[test]
fn in_process_it_needs_no_runtime() {
    let fake = FakeNeonomics::new();
    futures::executor::block_on(grant(&fake));
    fake.expect().client_credentials(1);
}

#[test]
fn handles_and_futures_go_where_they_are_needed() {
    fn handle<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Unpin + 'static>() {}
    handle::<FakeNeonomics>();
    sent::<neonomics_auth::testing::ResponseFuture>();
    shared::<FakeBody>();
    shared::<neonomics_auth::testing::Gate>();
}

#[tokio::test]
async fn e5_clones_and_the_port_on_127_0_0_1_share_one_state() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let clone = fake.clone();
    let tokens = grant(&clone).await;
    for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let client = client(http2);
        for _ in 0..3 {
            let response = client.request(on_the_port(&fake, &tokens.access)).await.unwrap();
            assert_eq!((response.status(), response.version()), (StatusCode::OK, version));
            assert_eq!(response.headers()[SERVER], "FakeNeonomics");
            response.into_body().collect().await.unwrap();
        }
    }
    assert!(fake.origin().starts_with("http://127.0.0.1:"));
    assert_eq!(fake.connections(), 2, "one for each client, kept open");
    assert_eq!(clone.connections(), 2);
    let versions: Vec<_> = clone.requests().iter().map(|request| request.version).collect();
    assert_eq!(versions[1..4], [Version::HTTP_11; 3]);
    assert_eq!(versions[4..], [Version::HTTP_2; 3]);
    clone.expect().client_credentials(1).requests(6);
}

#[tokio::test]
async fn a_reset_on_the_port_breaks_the_connection() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let tokens = grant(&fake).await;
    for http2 in [false, true] {
        let client = client(http2);
        fake.fail_requests(1, Fault::Reset);
        assert!(client.request(on_the_port(&fake, &tokens.access)).await.is_err());
        let response = client.request(on_the_port(&fake, &tokens.access)).await.unwrap();
        assert_eq!(response.status(), 200);
    }
    // HTTP/1.1 has lost its connection, HTTP/2 a stream.
    assert_eq!(fake.connections(), 3);
    fake.expect().requests(4);
}

#[tokio::test]
async fn a_401_keeps_the_connection() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let client = client(false);
    for _ in 0..20 {
        let response = client.request(on_the_port(&fake, "dead")).await.unwrap();
        assert_eq!(response.status(), 401);
        drop(response);
    }
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn the_server_stops_when_the_last_handle_goes() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let authority = authority(&fake).to_owned();
    let provider = fake.provider();
    let mut open = TcpStream::connect(&authority).await.unwrap();
    open.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    // The provider holds one.
    drop(fake);
    TcpStream::connect(&authority).await.unwrap();
    drop(provider);
    // The open connection ends, and nobody listens.
    assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(TcpStream::connect(&authority).await.is_err());
}

#[tokio::test]
async fn requests_in_flight_end_with_the_server() {
    for http2 in [false, true] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let client = client(http2);
        let gate = fake.hold_requests();
        let held = tokio::spawn(client.request(on_the_port(&fake, "any")));
        gate.arrived(1).await;
        drop(fake);
        assert!(held.await.unwrap().is_err());
        // The server's side of it goes too.
        let gone = async {
            while format!("{gate:?}") != "Gate { standing: 0 }" {
                tokio::task::yield_now().await;
            }
        };
        timeout(5 * SECOND, gone).await.unwrap();
    }
}

#[tokio::test]
async fn bodies_on_the_port_fail_as_they_do_in_process() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let tokens = grant(&fake).await;
    for http2 in [false, true] {
        let client = client(http2);
        for fault in [Fault::Truncate, Fault::Trickle(Duration::ZERO), Fault::Endless, Fault::Silence] {
            fake.fail_requests(1, fault);
        }
        let mut bodies = Vec::new();
        for _ in 0..4 {
            let request = Request::post(format!("{}/echo", fake.origin()))
                .header(AUTHORIZATION, format!("Bearer {}", tokens.access))
                .body(Full::<Bytes>::from("ten bytes."))
                .unwrap();
            let response = client.request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            bodies.push(response.into_body());
        }
        let [truncated, trickling, mut endless, mut silent] = bodies.try_into().unwrap();
        assert_eq!(truncated.collect().await.unwrap().to_bytes(), "ten b");
        assert_eq!(trickling.collect().await.unwrap().to_bytes(), "ten bytes.");
        let mut received = 0;
        while received < 1 << 18 {
            received += endless.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        assert!(silent.frame().now_or_never().is_none());
    }
}

#[tokio::test]
async fn a_provider_of_the_fake_works_in_process() {
    let fake = FakeNeonomics::new();
    fake.provider().token().await.unwrap();
    fake.expect().client_credentials(1);
    assert_eq!(fake.connections(), 0);
}

// How to ask it

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
    json: Value,
}

impl Answer {
    fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    fn description(&self) -> &str {
        self.json["error_description"].as_str().unwrap_or_default()
    }
}

struct Tokens {
    access: String,
    refresh: String,
    session: String,
    expires_in: u64,
    refresh_expires_in: u64,
}

impl Tokens {
    fn of(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        Self {
            access: text("access_token"),
            refresh: text("refresh_token"),
            session: text("session_state"),
            expires_in: json["expires_in"].as_u64().unwrap(),
            refresh_expires_in: json["refresh_expires_in"].as_u64().unwrap(),
        }
    }
}

/// The form with the right credentials.
fn form(fake: &FakeNeonomics, pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .append_pair("client_id", fake.client_id())
        .append_pair("client_secret", &fake.client_secret())
        .finish()
}

async fn send(fake: &FakeNeonomics, request: http::request::Builder, body: &str) -> Answer {
    let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
    let (head, body) = fake.clone().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, text, json }
}

async fn post(fake: &FakeNeonomics, path: &str, content_type: Option<&str>, body: &str) -> Answer {
    let mut request = Request::post(path);
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    send(fake, request, body).await
}

async fn exchange(fake: &FakeNeonomics, pairs: &[(&str, &str)]) -> Answer {
    post(fake, TOKEN_PATH, Some(FORM), &form(fake, pairs)).await
}

async fn grant(fake: &FakeNeonomics) -> Tokens {
    Tokens::of(&exchange(fake, &[("grant_type", "client_credentials")]).await.json)
}

async fn try_grant(fake: &FakeNeonomics) -> std::io::Result<Response<FakeBody>> {
    let body = form(fake, &[("grant_type", "client_credentials")]);
    let request = Request::post(TOKEN_PATH).header(CONTENT_TYPE, FORM).body(Full::<Bytes>::from(body)).unwrap();
    fake.clone().oneshot(request).await
}

async fn refresh(fake: &FakeNeonomics, token: &str) -> Answer {
    exchange(fake, &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
}

async fn logout(fake: &FakeNeonomics, token: &str) -> Answer {
    post(fake, LOGOUT_PATH, Some(FORM), &form(fake, &[("refresh_token", token)])).await
}

async fn banks(fake: &FakeNeonomics, token: &str) -> Response<FakeBody> {
    let request = on_the_port(fake, token);
    fake.clone().oneshot(request).await.unwrap()
}

fn on_the_port(fake: &FakeNeonomics, token: &str) -> Request<Full<Bytes>> {
    Request::get(format!("{}/ics/v3/banks", fake.origin()))
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header("x-device-id", "a-device")
        .body(Full::default())
        .unwrap()
}

fn challenge<B>(response: &Response<B>) -> &str {
    response.headers().get(WWW_AUTHENTICATE).map_or("", |value| value.to_str().unwrap())
}

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).http2_only(http2).build_http()
}

fn panic_of(assertion: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(assertion)).unwrap_err();
    *panic.downcast::<String>().unwrap()
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let sextets = text.as_bytes().chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        (0..=chunk.len()).map(move |index| char::from(ALPHABET[(bits >> (18 - 6 * index) & 63) as usize]))
    });
    sextets.collect()
}
