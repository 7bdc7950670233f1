//! Layers in the wrong order, and a provider behind its own layer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use neonomics_auth::testing::{FakeBody, FakeNeonomics, Fault};
use neonomics_auth::{Error, NeonomicsAuth, NeonomicsAuthLayer, PassReason, TokenProvider};
use tokio::time::sleep;
use tower::timeout::error::Elapsed;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::Limited;

use crate::{echo, get, outcome, page};

const SECOND: Duration = Duration::from_secs(1);

/// The same server by another name: another origin.
const ELSEWHERE: &str = "http://localhost:1";

/// What the API has moved to the other origin.
fn moved(fake: &FakeNeonomics) -> Request<Full<Bytes>> {
    get(format!("{}/echo/moved", fake.origin()))
}

/// The API, which redirects every request for what has moved.
fn moving(
    fake: &FakeNeonomics,
) -> impl Service<Request<Full<Bytes>>, Response = Response<FakeBody>, Error = io::Error, Future: Send> + Clone + use<>
{
    let fake = fake.clone();
    service_fn(move |request: Request<Full<Bytes>>| {
        if request.uri().path() == "/echo/moved" {
            let redirect = Response::builder().status(307).header(LOCATION, format!("{ELSEWHERE}/echo/here"));
            fake.fail_requests(1, Fault::Answer(redirect.body(Bytes::new()).unwrap()));
        }
        fake.clone().oneshot(request)
    })
}

// lesson 18
#[tokio::test(start_paused = true)]
async fn b2_a_redirect_to_another_origin_that_is_followed_below_the_layer_costs_a_renewal_each_time() {
    page::symptom("a request that is redirected comes back as 401, and costs a renewal");
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client = ServiceBuilder::new()
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .layer(FollowRedirectLayer::new())
        .service(moving(&fake));
    for number in 1..=10 {
        let response = client.clone().oneshot(moved(&fake)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(outcome(&response).replayed());
        // Two hops, twice; the second hop without a token.
        fake.expect().client_credentials(1).refresh(number).requests(4 * number).unauthorized(2 * number);
    }
    let response = client.clone().oneshot(moved(&fake)).await.unwrap();
    assert!(!outcome(&response).replayed());
    page::entry(outcome(&response).renewal_error().unwrap());
    fake.expect().client_credentials(1).refresh(10).requests(42).unauthorized(21);
    // The layer saw requests to the API only.
    assert_eq!(provider.status().passed_without_token, 0);

    // With a policy that takes nothing off, the other origin gets the token, and here takes it.
    let fake = FakeNeonomics::new();
    let keeping = FollowRedirectLayer::with_policy(Limited::default());
    let client = NeonomicsAuthLayer::new(fake.provider()).layer(keeping.layer(moving(&fake)));
    assert_eq!(client.oneshot(moved(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(0);
}

// lesson 18
#[tokio::test(start_paused = true)]
async fn b2_a_redirect_to_another_origin_that_is_followed_above_the_layer_costs_none() {
    let entry = page::symptom("a request that is redirected comes back as 401, and costs a renewal");
    assert!(entry.text.contains("`FollowRedirectLayer` *above* `NeonomicsAuthLayer`"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .service(moving(&fake));
    for number in 1..=11 {
        let response = client.clone().oneshot(moved(&fake)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(outcome(&response).passed_without_token(), Some(PassReason::OtherOrigin));
        fake.expect().client_credentials(1).refresh(0).requests(2 * number).unauthorized(number);
    }
    let status = provider.status();
    assert_eq!((status.passed_without_token, status.refusals, status.replays), (11, 0, 0));

    // It is one of ours.
    assert!(entry.text.contains("`allow_origin`"));
    let fake = FakeNeonomics::new();
    let environment = fake.environment().allow_origin(ELSEWHERE).unwrap();
    let provider = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone()).build().unwrap();
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::new())
        .layer(NeonomicsAuthLayer::new(provider))
        .service(moving(&fake));
    assert_eq!(client.oneshot(moved(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(0);
}

#[tokio::test(start_paused = true)]
async fn a10_a_timeout_below_the_layer_bounds_neither_the_wait_nor_both_attempts() {
    page::symptom("a request takes longer than its timeout");
    let fake = FakeNeonomics::new();
    let client =
        ServiceBuilder::new().layer(NeonomicsAuthLayer::new(fake.provider())).timeout(SECOND).service(fake.clone());
    fake.fail_exchanges(2, Fault::Delay(4 * SECOND));
    fake.refuse_requests(1);
    assert_eq!(client.clone().oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    // Eight seconds, with a timeout of one.
    let attempts = fake.requests().into_iter().filter(|request| request.uri.path() == "/echo");
    assert_eq!(attempts.map(|request| request.at.as_secs()).collect::<Vec<_>>(), [4, 8]);

    // An attempt it bounds.
    fake.fail_requests(1, Fault::Hang);
    assert!(client.oneshot(echo(&fake)).await.unwrap_err().is::<Elapsed>());
    fake.expect().requests(3);
}

#[tokio::test(start_paused = true)]
async fn a10_a_timeout_above_the_layer_bounds_everything_and_the_reason_is_in_the_status() {
    let entry = page::symptom("a request takes longer than its timeout");
    assert!(entry.text.contains("`ServiceBuilder::new().timeout(…).layer(NeonomicsAuthLayer::new(provider))`"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client =
        ServiceBuilder::new().timeout(SECOND).layer(NeonomicsAuthLayer::new(provider.clone())).service(fake.clone());
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    let error = client.oneshot(echo(&fake)).await.unwrap_err();
    assert!(error.is::<Elapsed>());
    assert!(page::entry_for(&error.to_string()).text.contains("`provider.status().last_error`"));
    assert!(provider.status().last_error.is_none(), "it is still asking");

    // Nobody waits for it any more, and its ten seconds pass.
    sleep(10 * SECOND).await;
    page::entry(&provider.status().last_error.unwrap().error);
    fake.expect().client_credentials(1).refresh(0).requests(0);
}

/// One client for everything, the token requests of another provider included.
// lesson 33
#[tokio::test(start_paused = true)]
async fn e6_a_provider_over_an_authenticated_stack_says_so() {
    let fake = FakeNeonomics::new();
    let everything = NeonomicsAuth::new(fake.clone(), fake.provider());
    let builder = TokenProvider::builder(fake.environment(), fake.credentials());
    let client = NeonomicsAuth::new(fake.clone(), builder.transport(everything).build().unwrap());

    let error = *client.oneshot(echo(&fake)).await.unwrap_err().downcast::<Error>().unwrap();
    page::entry(&error);
    assert!(!error.is_timeout() && !error.is_transient() && !error.is_rejected());
    fake.expect().client_credentials(0).refresh(0).requests(0);

    // The client below the layer.
    let builder = TokenProvider::builder(fake.environment(), fake.credentials());
    let client = NeonomicsAuth::new(fake.clone(), builder.transport(fake.clone()).build().unwrap());
    assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).requests(1);
}
