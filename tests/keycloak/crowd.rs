//! Crowds over both versions of HTTP, counted at the API and in Keycloak's list of sessions; and odd client secrets.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::poll;
use http::StatusCode;
use neonomics_auth::{Credentials, TokenProvider};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::api::Api;
use crate::load::{self, Http, Load, allow_sockets, outcome, send, unless_it_hangs};
use crate::server::{CLIENT, Keycloak, SPECIAL, credentials};

const CROWD: usize = 1_000;
const IN_FLIGHT: usize = 200;

const ODD_SECRETS: [&str; 10] = ["+", "%", "&", "=", "ü", "a b", "&client_secret=x", "%C3%BC", "100%", "日本€🔑"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_thousand_first_callers_on_http1_make_one_session() {
    make_one_session(Http::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_thousand_first_callers_on_http2_make_one_session() {
    make_one_session(Http::Two).await;
}

async fn make_one_session(http: Http) {
    // Alone, since others make sessions of the same client.
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * CROWD);
    let api = Api::start(&keycloak, "sandbox").await;
    // A slow machine may need long for a thousand callers.
    let provider = TokenProvider::builder(keycloak.environment("sandbox", api.origin()), credentials())
        .renewal_timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let client = load::client(http, &provider);
    let before = keycloak.sessions("sandbox", CLIENT).await;

    // The server stands still until everybody waits.
    keycloak.operate(&["pause"]).await;
    let everybody_waits = Arc::new(Barrier::new(CROWD + 1));
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let (client, origin) = (client.clone(), api.origin().to_owned());
        let everybody_waits = Arc::clone(&everybody_waits);
        crowd.spawn(async move {
            let mut answer = pin!(send(&client, &origin, number.to_string()));
            assert!(poll!(answer.as_mut()).is_pending());
            everybody_waits.wait().await;
            (number, answer.await.unwrap())
        });
    }
    unless_it_hangs(everybody_waits.wait()).await;
    assert_eq!(provider.status().waited, CROWD as u64);
    assert_eq!(api.accepted(), 0);
    keycloak.operate(&["continue"]).await;

    for (number, answer) in unless_it_hangs(crowd.join_all()).await {
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(*answer.body(), number.to_string(), "each gets its own answer");
        assert!(outcome(&answer).is_some_and(|outcome| outcome.waited() && !outcome.replayed()));
    }
    assert_eq!((api.accepted(), api.refused(), api.tokens(), api.sessions()), (CROWD as u64, 0, 1, 1));
    let status = provider.status();
    assert_eq!((status.exchanges.client_credentials, status.exchanges.refresh_token), (1, 0));
    assert_eq!((status.renewals.first.succeeded, status.renewals.first.failed), (1, 0));
    // What the administration interface says: one more than before, and it is ours.
    let after = keycloak.sessions("sandbox", CLIENT).await;
    assert_eq!(after.len(), before.len() + 1);
    let made: Vec<_> = after.into_iter().filter(|session| !before.contains(session)).collect();
    assert_eq!(made, [status.session_id.unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_tokens_revoked_by_not_before_fail_no_request_on_http1() {
    revoke_by_not_before(Http::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_tokens_revoked_by_not_before_fail_no_request_on_http2() {
    revoke_by_not_before(Http::Two).await;
}

async fn revoke_by_not_before(http: Http) {
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * IN_FLIGHT);
    let api = Api::start(&keycloak, "sandbox").await;
    let provider = TokenProvider::new(keycloak.environment("sandbox", api.origin()), credentials()).unwrap();
    let client = load::client(http, &provider);
    unless_it_hangs(provider.token()).await.unwrap();

    // Each worker's request stands at the API while the operator revokes what it carries.
    let late_gate = api.hold();
    let late = Load::start(&client, api.origin(), IN_FLIGHT / 2);
    unless_it_hangs(late_gate.arrived(IN_FLIGHT / 2)).await;
    let gate = api.hold();
    let prompt = Load::start(&client, api.origin(), IN_FLIGHT / 2);
    unless_it_hangs(gate.arrived(IN_FLIGHT / 2)).await;
    keycloak.operate(&["not-before", "sandbox"]).await;
    api.follow(&keycloak).await;
    assert_eq!((api.accepted(), api.refused()), (0, 0));

    // Half of them learn it while the token is the current one: their second attempts, and further requests.
    gate.open();
    unless_it_hangs(api.accepts(IN_FLIGHT as u64)).await;
    assert_eq!(api.tokens(), 1);
    // The others learn it when it has been replaced.
    late_gate.open();
    unless_it_hangs(api.accepts(2 * IN_FLIGHT as u64)).await;
    let totals = late.stop().await.and(prompt.stop().await);
    keycloak.operate(&["not-before", "sandbox", "0"]).await;
    totals.assert_none_failed();
    assert_eq!((api.refused(), totals.replays), (IN_FLIGHT as u64, IN_FLIGHT as u64));
    assert_eq!((api.tokens(), api.sessions()), (1, 1), "the revoked token was never accepted");
    // One renewal. The refresh token was revoked too, so it took both grants.
    let status = provider.status();
    assert_eq!((status.renewals.forced.succeeded, status.renewals.forced.failed), (1, 0));
    assert_eq!((status.renewals.first.succeeded, status.renewals.due.succeeded), (1, 0));
    assert_eq!((status.exchanges.client_credentials, status.exchanges.refresh_token), (2, 1));
    assert_eq!((status.refusals, status.replays), (IN_FLIGHT as u64, IN_FLIGHT as u64));
    assert_eq!(provider.cached().unwrap().generation(), 2);
}

// lesson 30
#[tokio::test]
async fn e3_secrets_with_special_characters_are_accepted() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    let api = Api::start(&keycloak, "sandbox").await;
    assert_accepted(&keycloak, &api, SPECIAL).await;

    let printable_ascii: String = (b' '..=b'~').map(char::from).collect();
    for secret in ODD_SECRETS.into_iter().chain([printable_ascii.as_str()]) {
        set_secret(&keycloak, secret).await;
        assert_accepted(&keycloak, &api, secret).await;
    }
    // Taken as they are, neither decoded nor encoded once too often.
    for (secret, alike) in [("a%2Bb", "a+b"), ("a+b", "a b"), ("a b", "a%20b"), ("%252B", "%2B"), ("%2b", "%2B")] {
        set_secret(&keycloak, secret).await;
        assert_accepted(&keycloak, &api, secret).await;
        let error = provider(&keycloak, &api, alike).token().await.unwrap_err();
        assert!(error.is_rejected(), "{alike} for {secret}: {error:?}");
        assert_eq!(error.oauth_code(), Some("unauthorized_client"));
    }
    set_secret(&keycloak, SPECIAL).await;
}

fn provider(keycloak: &Keycloak, api: &Api, secret: &str) -> TokenProvider {
    TokenProvider::new(keycloak.environment("sandbox", api.origin()), Credentials::new("special", secret)).unwrap()
}

async fn set_secret(keycloak: &Keycloak, secret: &str) {
    // The script puts it between quotes of its own.
    let json = serde_json::to_string(secret).unwrap();
    keycloak.operate(&["set-secret", "sandbox", "special", &json[1..json.len() - 1]]).await;
}

/// By all three forms that carry it: both grants and the logout.
async fn assert_accepted(keycloak: &Keycloak, api: &Api, secret: &str) {
    let provider = provider(keycloak, api, secret);
    let token = provider.token().await.unwrap_or_else(|error| panic!("{secret}: {error}"));
    let answer = send(&load::client(Http::One, &provider), api.origin(), "").await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{secret}");
    let session = provider.status().session_id.unwrap();
    provider.renew(&token).await.unwrap_or_else(|error| panic!("{secret}: {error}"));
    assert_eq!(provider.status().session_id.as_ref(), Some(&session), "{secret}");
    let exchanges = provider.status().exchanges;
    assert_eq!((exchanges.client_credentials, exchanges.refresh_token), (1, 1), "{secret}");
    assert!(keycloak.sessions("sandbox", "special").await.contains(&session), "{secret}");
    provider.end_session().await.unwrap_or_else(|error| panic!("{secret}: {error}"));
    assert!(!keycloak.sessions("sandbox", "special").await.contains(&session), "{secret}");
}
