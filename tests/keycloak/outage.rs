//! The server is killed under load, over both versions of HTTP, and starts again with the realms as first imported: keys
//! and clients are the same, every session is gone.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Response, StatusCode};
use neonomics_auth::{AuthOutcome, BoxError, Error, Status, TokenProvider, TokenState};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::api::Api;
use crate::load::{self, Client, Http, Load, allow_sockets, outcome, send, unless_it_hangs};
use crate::server::{CLIENT, Keycloak, credentials};

/// Over each version of HTTP.
const IN_FLIGHT: usize = 200;
const ALL: usize = 2 * IN_FLIGHT;

/// After a failure that passes by itself (A11).
const LONGEST_HOLD: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_refresh_token_that_died_with_the_server_is_followed_by_client_credentials() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * ALL);
    let api = Api::start(&keycloak, "sandbox").await;
    let provider = TokenProvider::new(keycloak.environment("sandbox", api.origin()), credentials()).unwrap();
    let clients = clients(&provider);
    let loads = loads(&clients, &api);
    unless_it_hangs(api.accepts(ALL as u64)).await;

    // All are in flight when it dies; the API answers them, and those that follow, by the keys that it has.
    let gate = api.hold();
    unless_it_hangs(gate.arrived(ALL)).await;
    keycloak.operate(&["kill"]).await;
    gate.open();
    unless_it_hangs(api.accepts(5 * ALL as u64)).await;

    // Held meanwhile, so that the machine is the server's.
    let gate = api.hold();
    unless_it_hangs(gate.arrived(ALL)).await;
    keycloak.operate(&["start"]).await;
    gate.open();
    unless_it_hangs(api.accepts(2 * ALL as u64)).await;
    let status = provider.status();
    assert_eq!(exchanges(&status), (1, 0), "a fresh token needs no server");
    assert_eq!((status.state, status.last_error.is_none()), (TokenState::Fresh, true));
    assert!(keycloak.sessions("sandbox", CLIENT).await.is_empty(), "the session died with the server");

    // The new server knows neither the session nor its refresh token, but the client.
    let renewed = provider.renew(&provider.cached().unwrap()).await.unwrap();
    let status = provider.status();
    assert_eq!((renewed.generation(), exchanges(&status)), (2, (2, 1)));
    assert_eq!((status.renewals.forced.succeeded, status.renewals.forced.failed), (1, 0));
    assert_eq!(keycloak.sessions("sandbox", CLIENT).await, [status.session_id.unwrap()]);

    // More than all that may still be under way with the old token.
    unless_it_hangs(api.accepts(2 * ALL as u64)).await;
    for load in loads {
        let totals = load.stop().await;
        totals.assert_none_failed();
        assert_eq!(totals.replays, 0);
    }
    assert_eq!((api.refused(), api.tokens(), api.sessions(), api.key_fetches()), (0, 2, 2, 1));
}

// lessons 6, 7, 8, 15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_killed_server_is_noticed_at_the_expiry_a11_at_once_and_not_for_longer_than_a_hold() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * ALL);
    // Stale after 14 s at the earliest: time to kill the server before. Stale for 4 s at the least: time for failures.
    keycloak.operate(&["set", "sandbox", r#"{"accessTokenLifespan": 20}"#]).await;
    let api = Api::start(&keycloak, "sandbox").await;
    let provider = TokenProvider::new(keycloak.environment("sandbox", api.origin()), credentials()).unwrap();
    let clients = clients(&provider);

    while_the_token_is_usable(&keycloak, &api, &provider, &clients).await;
    over_its_expiry(&api, &provider, &clients).await;
    while_it_is_held_back(&api, &provider, &clients);
    when_the_server_is_back(&keycloak, &api, &provider, &clients).await;
}

/// The server is killed, renewals fail, and no request does.
async fn while_the_token_is_usable(keycloak: &Keycloak, api: &Api, provider: &TokenProvider, clients: &[Client; 2]) {
    let loads = loads(clients, api);
    unless_it_hangs(api.accepts(ALL as u64)).await;
    keycloak.operate(&["kill"]).await;
    // The stream of answers is the clock here. It ends so early that the last one is there before the expiry.
    while provider.status().expires_in.unwrap() > Duration::from_secs(3) {
        unless_it_hangs(api.accepts(IN_FLIGHT as u64)).await;
    }
    for load in loads {
        let totals = load.stop().await;
        totals.assert_none_failed();
        assert_eq!(totals.replays, 0);
    }
    let status = provider.status();
    assert_eq!(status.state, TokenState::Stale);
    assert!(status.renewals.due.failed > 0, "{status:?}");
    assert_eq!((status.renewals.first.succeeded, status.renewals.first.failed), (1, 0));
    assert_eq!((status.renewals.due.succeeded, status.refusals), (0, 0));
    assert!(status.last_error.unwrap().error.is_transient());
    assert_eq!((api.refused(), api.tokens()), (0, 1));
}

/// Each worker goes on until it meets an error: the same one for all.
async fn over_its_expiry(api: &Api, provider: &TokenProvider, clients: &[Client; 2]) {
    let mut late = 0;
    for load in loads(clients, api) {
        let totals = load.end().await;
        assert_eq!(totals.errors.len(), IN_FLIGHT);
        for error in &totals.errors {
            assert_passes_by_itself(error);
        }
        // A request that left before the expiry and was judged after it comes back with the API's 401 (C5).
        assert!(totals.answers.keys().all(|status| [200, 401].contains(status)), "{totals:?}");
        assert_eq!((totals.answers.get(&401).copied().unwrap_or(0), totals.replays), (totals.unrenewed, 0));
        late += totals.unrenewed;
    }
    assert_eq!(api.refused(), late);

    let status = provider.status();
    assert_eq!(status.state, TokenState::Expired);
    assert_eq!((status.renewals.due.succeeded, status.renewals.forced.succeeded), (0, 0));
    // The refresh token was sent once, in vain. Each renewal made one more exchange while the token was usable, the one
    // that found it expired, and whose outcome all workers share, made three.
    let failed = status.renewals.due.failed + status.renewals.first.failed + status.renewals.forced.failed;
    assert_eq!(exchanges(&status), (1 + (failed - 1) + 3, 1), "{status:?}");
}

/// The first poll brings the error, nothing is asked, nothing is sent.
fn while_it_is_held_back(api: &Api, provider: &TokenProvider, clients: &[Client; 2]) {
    let (before, seen) = (provider.status(), (api.accepted(), api.refused()));
    for client in clients {
        for _ in 0..IN_FLIGHT {
            let error = send(client, api.origin(), "").now_or_never().expect("at once").unwrap_err();
            assert_passes_by_itself(&error);
        }
    }
    let after = provider.status();
    assert_eq!((after.renewals, exchanges(&after)), (before.renewals, exchanges(&before)));
    assert_eq!((api.accepted(), api.refused()), seen);
}

/// The first callers after the hold are served, by one exchange.
async fn when_the_server_is_back(keycloak: &Keycloak, api: &Api, provider: &TokenProvider, clients: &[Client; 2]) {
    keycloak.operate(&["start"]).await;
    let before = provider.status();
    // What `retry_after` tells a caller to do.
    sleep(before.hold_left.unwrap_or_default()).await;
    let mut crowd = JoinSet::new();
    for client in clients {
        for _ in 0..IN_FLIGHT {
            let (client, origin) = (client.clone(), api.origin().to_owned());
            crowd.spawn(async move { send(&client, &origin, "").await });
        }
    }
    for answer in unless_it_hangs(crowd.join_all()).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!replayed(&answer));
    }
    let after = provider.status();
    assert_eq!((after.state, after.hold_left), (TokenState::Fresh, None));
    assert_eq!((after.renewals.first.succeeded, after.renewals.first.failed), (2, before.renewals.first.failed));
    assert_eq!(exchanges(&after), (before.exchanges.client_credentials + 1, 1));
    assert_eq!((api.tokens(), api.sessions(), api.key_fetches()), (2, 2, 1));
    assert_eq!(keycloak.sessions("sandbox", CLIENT).await, [after.session_id.unwrap()]);
}

fn clients(provider: &TokenProvider) -> [Client; 2] {
    [Http::One, Http::Two].map(|http| load::client(http, provider))
}

fn loads(clients: &[Client; 2], api: &Api) -> [Load; 2] {
    clients.each_ref().map(|client| Load::start(client, api.origin(), IN_FLIGHT))
}

/// `client_credentials` and `refresh_token`.
fn exchanges(status: &Status) -> (u64, u64) {
    (status.exchanges.client_credentials, status.exchanges.refresh_token)
}

fn assert_passes_by_itself(error: &BoxError) {
    let error = error.downcast_ref::<Error>().unwrap_or_else(|| panic!("another's: {error:?}"));
    assert!(error.is_transient() && !error.is_rejected() && !error.is_timeout(), "{error:?}");
    assert!(error.retry_after().is_some_and(|wait| wait <= LONGEST_HOLD), "{error:?}");
}

fn replayed(answer: &Response<Bytes>) -> bool {
    outcome(answer).is_some_and(AuthOutcome::replayed)
}
