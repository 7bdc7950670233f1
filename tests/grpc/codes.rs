//! What a caller learns from the status, and deadlines.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use futures::join;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{BoxError, Error, NeonomicsAuthLayer, TokenProvider};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceBuilder;
use tower::timeout::error::Elapsed;

use crate::api::Api;
use crate::{clients, refused_replayed_forced, unless_it_hangs};

#[tokio::test]
async fn b4_without_a_token_the_code_is_unknown_and_its_source_is_our_error() {
    let api = Api::start().await;
    let rejected = api.provider();
    let down = api.builder().renewal_timeout(Duration::from_millis(50)).build().unwrap();
    api.fake.set_client_secret("another");
    let status = check(clients::health(&api, &rejected)).await;
    let error = source::<Error>(&status).expect("our error is a source");
    assert!(error.is_rejected());
    assert_eq!((status.code(), status.message()), (Code::Unknown, &*error.to_string()));

    api.fake.fail_exchanges(usize::MAX, Fault::Hang);
    let status = check(clients::health(&api, &down)).await;
    let error = source::<Error>(&status).expect("our error is a source");
    assert!(error.is_transient() && error.is_timeout());
    assert_eq!((status.code(), status.message()), (Code::Unknown, &*error.to_string()));
    // Nothing was sent without a token.
    assert_eq!(api.attempts(), []);
}

/// Around the layer: codes for those who branch on them.
fn with_code(error: BoxError) -> BoxError {
    let error = match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => return error,
    };
    let retry = error.is_transient() || error.is_malformed();
    // Not `unauthenticated`: that would be about a token of the caller's.
    let mut status = if retry { Status::unavailable } else { Status::internal }(error.to_string());
    status.set_source(Arc::new(*error));
    status.into()
}

#[tokio::test]
async fn b4_codes_can_be_put_on_our_errors_around_the_layer() {
    let api = Api::start().await;
    let rejected = api.provider();
    let down = api.builder().renewal_timeout(Duration::from_millis(50)).build().unwrap();
    api.fake.set_client_secret("another");
    let status = check_with_codes(&rejected, clients::channel(&api)).await;
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("(unauthorized_client)"), "{}", status.message());
    assert!(source::<Error>(&status).is_some_and(Error::is_rejected), "{status:?}");

    api.fake.fail_exchanges(usize::MAX, Fault::Hang);
    let status = check_with_codes(&down, clients::channel(&api)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("; next attempt in "), "{}", status.message());
    assert_eq!(api.attempts(), []);
}

#[tokio::test]
async fn the_errors_of_the_channel_keep_their_codes() {
    // Nobody listens at its origin.
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let channel = Channel::from_shared(fake.origin().to_owned()).unwrap().connect_lazy();
    let status = check_with_codes(&provider, channel).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(source::<tonic::ConnectError>(&status).is_some(), "{status:?}");
    assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
    fake.expect().client_credentials(1).refresh(0);
}

/// The deadline of a call is the channel's, for each attempt; the wait for a token is bounded by a timeout around the layer.
#[tokio::test]
async fn a10_a_timeout_around_the_layer_bounds_the_wait_and_the_deadline_of_the_call_does_not() {
    let api = Api::start().await;
    let provider = api.provider();
    let service = ServiceBuilder::new()
        .timeout(Duration::from_millis(200))
        .layer(NeonomicsAuthLayer::new(provider.clone()).buffer_body_with(100, Body::new))
        .service(clients::channel(&api));
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(1));

    let gate = api.fake.hold_exchanges();
    let status = unless_it_hangs(HealthClient::new(service).check(request)).await.unwrap_err();
    assert!(source::<Elapsed>(&status).is_some(), "{status:?}");
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(api.attempts(), []);

    // The renewal goes on without it.
    unless_it_hangs(gate.arrived(1)).await;
    gate.open();
    assert_eq!(unless_it_hangs(provider.token()).await.unwrap().generation(), 1);
    api.fake.expect().client_credentials(1).refresh(0).requests(0);
}

#[tokio::test]
async fn a_deadline_that_passes_below_the_layer_is_no_refusal() {
    let api = Api::start().await;
    let provider = api.provider();
    unless_it_hangs(provider.token()).await.unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_secs(1));

    // It comes to the API, which does not answer before it.
    let gate = api.fake.hold_requests();
    let mut client = clients::health(&api, &provider);
    let (answer, ()) = unless_it_hangs(async { join!(client.check(request), gate.arrived(1)) }).await;
    let status = answer.unwrap_err();
    // Which of the two is tonic's choice.
    assert!(matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded), "{status:?}");
    assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
    gate.open();
    unless_it_hangs(clients::health(&api, &provider).check(HealthCheckRequest::default())).await.unwrap();
    api.fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(0);
}

/// The status that a health check fails with.
async fn check(mut client: HealthClient<clients::Authorized>) -> Status {
    unless_it_hangs(client.check(HealthCheckRequest::default())).await.unwrap_err()
}

async fn check_with_codes(provider: &TokenProvider, channel: Channel) -> Status {
    let service = ServiceBuilder::new()
        .map_err(with_code)
        .layer(NeonomicsAuthLayer::new(provider.clone()).buffer_body_with(100, Body::new))
        .service(channel);
    unless_it_hangs(HealthClient::new(service).check(HealthCheckRequest::default())).await.unwrap_err()
}

/// The first error of this type among a status and its sources.
fn source<E: StdError + 'static>(status: &Status) -> Option<&E> {
    let first: &(dyn StdError + 'static) = status;
    std::iter::successors(Some(first), |&error| error.source()).find_map(|error| error.downcast_ref())
}
