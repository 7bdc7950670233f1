//! A thousand requests at once.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::poll;
use http::StatusCode;
use http_body_util::BodyExt;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AuthOutcome, NeonomicsAuth, NeonomicsAuthLayer, TokenProvider};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::clients::{self, HyperClient};
use crate::{echo, unless_it_hangs};

const CROWD: usize = 1_000;

// lessons 3, 4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_thousand_refusals_on_a_thousand_http1_sockets_lead_to_one_renewal() {
    allow_sockets(2 * CROWD);
    // The exchanges have a client of their own, and so one more connection.
    refuse_a_crowd(clients::http1(), clients::http1(), CROWD + 1).await;
}

// lessons 3, 4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_thousand_refusals_on_one_http2_connection_lead_to_one_renewal() {
    // The first exchange opens it: many at once might open two.
    let client = clients::http2();
    refuse_a_crowd(client.clone(), client, 1).await;
}

/// Half of the crowd is refused while the first token is the current one, half when it no longer is.
async fn refuse_a_crowd(client: HyperClient, exchanges: HyperClient, connections: usize) {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = TokenProvider::builder(fake.environment(), fake.credentials()).transport(exchanges).build().unwrap();
    let first = unless_it_hangs(provider.token()).await.unwrap();
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(client);

    // All have reached the server before the first refusal: none can have taken a newer token.
    let mut crowd = JoinSet::new();
    let prompt = fake.hold_requests();
    for number in 0..CROWD / 2 {
        crowd.spawn(ask(client.clone(), fake.origin().to_owned(), number));
    }
    unless_it_hangs(prompt.arrived(CROWD / 2)).await;
    let late = fake.hold_requests();
    for number in CROWD / 2..CROWD {
        crowd.spawn(ask(client.clone(), fake.origin().to_owned(), number));
    }
    unless_it_hangs(late.arrived(CROWD / 2)).await;
    assert_eq!(fake.connections(), connections);
    fake.expect().client_credentials(1).refresh(0).requests(CROWD).unauthorized(0);

    // Every token so far is dead. The first half learns it, and its replays stand at the second gate beside the late.
    fake.revoke_all();
    prompt.open();
    unless_it_hangs(late.arrived(CROWD)).await;
    fake.expect().client_credentials(2).refresh(1).requests(CROWD / 2 * 3).unauthorized(CROWD / 2);

    // The late refusals concern a token that has been replaced.
    late.open();
    for (number, (status, body, outcome)) in unless_it_hangs(crowd.join_all()).await {
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body, number.to_string(), "each gets its own answer");
        let outcome = outcome.expect("a replay is said");
        assert!(outcome.replayed() && !outcome.waited() && outcome.renewal_error().is_none());
    }

    // One renewal: the refresh token had died with its session, so it took both grants.
    fake.expect().client_credentials(2).refresh(1).other_grants(0).requests(2 * CROWD).unauthorized(CROWD);
    let status = provider.status();
    assert_eq!((status.renewals.forced.succeeded, status.renewals.forced.failed), (1, 0));
    assert_eq!((status.renewals.first.succeeded, status.renewals.due.succeeded), (1, 0));
    assert_eq!((status.refusals, status.replays), (CROWD as u64, CROWD as u64));
    let second = provider.cached().unwrap();
    assert_eq!(second.generation(), 2);

    // What was refused had the first token, what was sent again had the second.
    for request in fake.requests().iter().filter(|request| request.uri.path() == "/echo") {
        let token = if request.status == Some(StatusCode::UNAUTHORIZED) { &first } else { &second };
        assert_eq!(request.headers[http::header::AUTHORIZATION], token.authorization());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_thousand_first_requests_over_sockets_share_one_exchange() {
    allow_sockets(2 * CROWD);
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = clients::provider(&fake);
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());

    // The exchange stands at the gate until everybody waits for it.
    let gate = fake.hold_exchanges();
    let everybody_waits = Arc::new(Barrier::new(CROWD + 1));
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let (client, origin) = (client.clone(), fake.origin().to_owned());
        let everybody_waits = Arc::clone(&everybody_waits);
        crowd.spawn(async move {
            let mut asking = pin!(ask(client, origin, number));
            assert!(poll!(asking.as_mut()).is_pending());
            everybody_waits.wait().await;
            asking.await
        });
    }
    unless_it_hangs(everybody_waits.wait()).await;
    assert_eq!(provider.status().waited, CROWD as u64);
    unless_it_hangs(gate.arrived(1)).await;
    fake.expect().client_credentials(1).requests(0);
    gate.open();

    for (number, (status, body, outcome)) in unless_it_hangs(crowd.join_all()).await {
        assert_eq!(status, StatusCode::OK);
        assert_eq!(body, number.to_string(), "each gets its own answer");
        let outcome = outcome.expect("a wait is said");
        assert!(outcome.waited() && !outcome.replayed());
    }
    fake.expect().client_credentials(1).refresh(0).requests(CROWD).unauthorized(0);
    assert_eq!(provider.status().renewals.first.succeeded, 1);
}

type Answer = (StatusCode, Bytes, Option<AuthOutcome>);

/// Sends its number, and comes back with it and the answer.
async fn ask(client: NeonomicsAuth<HyperClient>, origin: String, number: usize) -> (usize, Answer) {
    let response = client.oneshot(echo(&origin, number.to_string())).await.unwrap();
    let (head, body) = response.into_parts();
    let outcome = head.extensions.get::<AuthOutcome>().cloned();
    (number, (head.status, body.collect().await.unwrap().to_bytes(), outcome))
}

/// Both ends of a socket are in this process.
fn allow_sockets(ends: usize) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let needed = ends as u64 + 500;
    assert!(limit >= needed, "{needed} open files are needed, {limit} are allowed");
}
