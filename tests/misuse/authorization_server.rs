//! What the authorization server, or the source of the client secret, can answer.

use std::error::Error as _;
use std::future::pending;
use std::io;

use bytes::Bytes;
use http::Response;
use http::header::{LOCATION, RETRY_AFTER};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, Error, NeonomicsAuth, TokenProvider};
use tower::ServiceExt;

use crate::{answer, echo, page};

// lesson 17
#[tokio::test(start_paused = true)]
async fn a15_a_wrong_secret_and_a_wrong_id_are_told_apart_and_asked_about_once() {
    let fake = FakeNeonomics::new();
    for (exchanges, credentials, code) in [
        (1, Credentials::new(fake.client_id(), "wrong"), "unauthorized_client"),
        (2, Credentials::new("unknown", fake.client_secret()), "invalid_client"),
    ] {
        let builder = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone());
        let client = NeonomicsAuth::new(fake.clone(), builder.build().unwrap());
        // The second one finds the hold.
        for _ in 0..2 {
            let error = *client.clone().oneshot(echo(&fake)).await.unwrap_err().downcast::<Error>().unwrap();
            assert!(error.is_rejected() && error.retry_after().is_some());
            assert_eq!(error.oauth_code(), Some(code));
            page::entry(&error);
            fake.expect().client_credentials(exchanges).requests(0);
        }
    }
}

/// The answer to every exchange, what the error begins with, and how many exchanges it takes to be sure.
#[tokio::test(start_paused = true)]
async fn a15_each_answer_that_is_no_token_can_be_looked_up() {
    let redirect = Response::builder().status(307).header(LOCATION, "https://example.com/").body(Bytes::new()).unwrap();
    let json = |text: &str| answer(200, text.to_owned());
    for (fault, message, exchanges) in [
        (Fault::Answer(redirect), "the token endpoint of realm `sandbox` answered a redirect (status 307)", 1),
        (answer(404, ""), "the authorization server refused the token request for realm `sandbox` (status 404)", 1),
        (
            answer(400, r#"{"error":"invalid_scope","error_description":"of 2 words"}"#),
            "the authorization server refused the token request for realm `sandbox` (invalid_scope, status 400): of",
            1,
        ),
        (answer(503, ""), "the authorization server cannot answer now (status 503)", 3),
        (
            answer(500, r#"{"error":"server_error"}"#),
            "the authorization server cannot answer now (server_error, status 500)",
            3,
        ),
        (Fault::Reset, "the authorization server could not be reached", 3),
        (Fault::Hang, "the authorization server did not answer within the deadline", 1),
        (json("<html>"), "the token endpoint's answer cannot be used: it is not a JSON object", 1),
        (json("{}"), "the token endpoint's answer cannot be used: it has no access_token", 1),
        (json(r#"{"access_token":"a b"}"#), "the token endpoint's answer cannot be used: its access_token", 1),
        (
            json(r#"{"access_token":"a","token_type":"mac"}"#),
            "the token endpoint's answer cannot be used: its token_type",
            1,
        ),
        (
            json(r#"{"access_token":"a","expires_in":0}"#),
            "the token endpoint's answer cannot be used: its expires_in",
            1,
        ),
        (Fault::Endless, "the token endpoint's answer cannot be used: it is longer than 256 KiB", 1),
        (json(r#"{"access_token":"a","expires_in":0.5}"#), "the access token had expired on arrival", 3),
    ] {
        let fake = FakeNeonomics::new();
        fake.fail_exchanges(usize::MAX, fault);
        let error = fake.provider().token().await.unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        page::entry(&error);
        fake.expect().client_credentials(exchanges).refresh(0);
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_refused_refresh_token_is_told_of_where_the_server_asks_to_wait() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    let body = Bytes::from_static(br#"{"error":"invalid_grant"}"#);
    let wait = Response::builder().status(400).header(RETRY_AFTER, 60).body(body).unwrap();
    fake.fail_exchanges(1, Fault::Answer(wait));
    let error = provider.renew(&refused).await.unwrap_err();
    assert!(error.to_string().ends_with("the refresh token (invalid_grant, status 400); next attempt in 60 s"));
    page::entry(&error);
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn a13_a_secret_that_cannot_be_had_is_not_the_servers_fault() {
    let fake = FakeNeonomics::new();
    let provider =
        |credentials| TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    let sealed = || async { Err::<String, _>(io::Error::other("the vault is sealed")) };
    let error = provider(Credentials::from_fn(fake.client_id(), sealed)).token().await.unwrap_err();
    assert!(page::entry(&error).text.contains("`source`"));
    assert_eq!(error.source().unwrap().to_string(), "the vault is sealed");

    let slow = || async { Ok::<String, io::Error>(pending().await) };
    let error = provider(Credentials::from_fn(fake.client_id(), slow)).token().await.unwrap_err();
    assert!(error.is_timeout());
    page::entry(&error);
    fake.expect().client_credentials(0);
}
