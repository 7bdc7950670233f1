//! The layer among other layers of tower, over sockets.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuthLayer, TokenProvider};
use tower::limit::ConcurrencyLimit;
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{clients, echo, unless_it_hangs};

#[tokio::test]
async fn a10_a_timeout_around_the_layer_ends_one_wait_and_the_renewal_goes_on() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = clients::provider(&fake);
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());
    let impatient = ServiceBuilder::new().timeout(Duration::from_millis(50)).service(client.clone());

    // The impatient one starts the renewal, the patient one joins it.
    let gate = fake.hold_exchanges();
    let mut impatient = Box::pin(impatient.oneshot(echo(fake.origin(), "impatient")));
    assert!(poll!(impatient.as_mut()).is_pending());
    let mut patient = pin!(client.clone().oneshot(echo(fake.origin(), "patient")));
    assert!(poll!(patient.as_mut()).is_pending());
    // It is dropped with all that it holds.
    let error = unless_it_hangs(impatient).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");

    unless_it_hangs(gate.arrived(1)).await;
    gate.open();
    assert_eq!(unless_it_hangs(patient).await.unwrap().status(), StatusCode::OK);
    // The impatient request was never sent; the exchange that it began was made once.
    fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
    assert_eq!(provider.status().renewals.first.succeeded, 1);
}

#[tokio::test]
async fn a10_a_timeout_during_the_renewal_after_a_refusal_does_not_stop_it() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = clients::provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());
    let impatient = ServiceBuilder::new().timeout(Duration::from_secs(1)).service(client.clone());

    // The refusal comes at once; the renewal stands at the gate until the time is up.
    let gate = fake.hold_exchanges();
    fake.refuse_requests(1);
    let error = unless_it_hangs(impatient.oneshot(echo(fake.origin(), "impatient"))).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");
    let mut renewed = pin!(provider.renew(&first));
    assert!(poll!(renewed.as_mut()).is_pending(), "the renewal is under way");
    gate.open();

    assert_eq!(unless_it_hangs(renewed).await.unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1).requests(1).unauthorized(1);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, status.renewals.forced.succeeded), (1, 0, 1));
}

// lesson 21
#[tokio::test]
async fn c12_a_concurrency_limit_of_one_below_the_layer_lets_the_replay_through() {
    let fake = FakeNeonomics::listen().await.unwrap();
    // One idle connection at the most, one request at a time: all on one connection.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build_http();
    let service = ServiceBuilder::new()
        .layer(NeonomicsAuthLayer::new(fake.provider()))
        .concurrency_limit(1)
        .service::<clients::HyperClient>(client);
    assert_heals(&fake, service).await;
    assert_eq!(fake.connections(), 1);
}

// lesson 21
#[tokio::test]
async fn c12_a_buffer_of_one_below_the_layer_lets_the_replay_through() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let service = ServiceBuilder::new()
        .layer(NeonomicsAuthLayer::new(fake.provider()))
        .buffer(1)
        .concurrency_limit(1)
        .service(clients::http1());
    assert_heals(&fake, service).await;
}

/// API and token endpoint share one permit: whoever keeps it while waiting for the other waits for ever.
// lesson 22
#[tokio::test]
async fn b5_one_permit_shared_by_api_and_token_endpoint_does_not_lock_up() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let limited = ConcurrencyLimit::new(clients::http1(), 1);
    let provider =
        TokenProvider::builder(fake.environment(), fake.credentials()).transport(limited.clone()).build().unwrap();
    assert_heals(&fake, NeonomicsAuthLayer::new(provider).layer(limited)).await;
}

/// Refused, renewed and sent again, three times; the service stays alive, with all that it holds.
async fn assert_heals<S>(fake: &FakeNeonomics, mut service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = BoxError>,
{
    for round in 1..=3 {
        fake.refuse_requests(1);
        let ready = unless_it_hangs(service.ready()).await.unwrap();
        let response = unless_it_hangs(ready.call(echo(fake.origin(), "a body"))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let outcome = response.extensions().get::<AuthOutcome>().unwrap();
        assert!(outcome.replayed());
        assert_eq!(outcome.waited(), round == 1, "the first one waits for its token");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
        fake.expect().client_credentials(1).refresh(round).requests(2 * round).unauthorized(round);
    }
}
