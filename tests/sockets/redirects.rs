//! Redirects of the API, followed by tower-http.

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{AuthOutcome, NeonomicsAuthLayer, PassReason};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::Limited;

use crate::{clients, unless_it_hangs};

const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

// lesson 18
#[tokio::test]
async fn b2_a_redirect_to_another_port_followed_outside_the_layer_does_not_take_the_token_there() {
    for status in STATUSES {
        let (fake, other) = (FakeNeonomics::listen().await.unwrap(), FakeNeonomics::listen().await.unwrap());
        follow_outside(&fake, &other, status, format!("{}/echo/there", other.origin())).await;
    }
}

/// The same server by another name: what an origin is, is said by its name.
// lesson 18
#[tokio::test]
async fn b2_a_redirect_to_another_host_name_followed_outside_the_layer_does_not_take_the_token_there() {
    for status in STATUSES {
        let fake = FakeNeonomics::listen().await.unwrap();
        let there = format!("{}/echo/there", fake.origin().replace("127.0.0.1", "localhost"));
        follow_outside(&fake, &fake, status, there).await;
    }
}

/// The policy keeps every header, so that nothing but the layer decides who gets the token.
async fn follow_outside(fake: &FakeNeonomics, other: &FakeNeonomics, status: u16, there: String) {
    let provider = clients::provider(fake);
    let client = ServiceBuilder::new()
        .layer(FollowRedirectLayer::with_policy(Limited::default()))
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .service(clients::http1());
    let response = redirected(client, fake, status, &there).await;

    // The other one asks for a token and gets none: not with this request, not with a second one, not by a renewal.
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert_eq!(outcome.passed_without_token(), Some(PassReason::OtherOrigin));
    assert_tokens_went(fake, other, &provider.cached().unwrap());
    assert_eq!(provider.status().passed_without_token, 1);
}

/// Below the layer it is tower-http that takes the token off; a redirect within the origin keeps it.
// lesson 18
#[tokio::test]
async fn b2_a_redirect_followed_inside_the_layer_does_not_take_the_token_elsewhere_either() {
    for status in STATUSES {
        let (fake, other) = (FakeNeonomics::listen().await.unwrap(), FakeNeonomics::listen().await.unwrap());
        let provider = clients::provider(&fake);
        let client = ServiceBuilder::new()
            .layer(NeonomicsAuthLayer::new(provider.clone()).without_retry())
            .layer(FollowRedirectLayer::new())
            .service(clients::http1());
        let response = redirected(client, &fake, status, &format!("{}/echo/there", other.origin())).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(other.requests().iter().all(|request| !request.headers.contains_key(AUTHORIZATION)));
        assert_eq!(other.counts().requests, 1);
    }
}

#[tokio::test]
async fn b1_a_redirect_within_the_origin_gets_the_token_again() {
    for status in STATUSES {
        let fake = FakeNeonomics::listen().await.unwrap();
        let client = ServiceBuilder::new()
            .layer(FollowRedirectLayer::with_policy(Limited::default()))
            .layer(NeonomicsAuthLayer::new(clients::provider(&fake)))
            .service(clients::http1());
        let response = redirected(client, &fake, status, "/echo/there").await;
        assert_eq!(response.status(), StatusCode::OK);
        fake.expect().client_credentials(1).requests(2).unauthorized(0);
    }
}

/// The answer to a request for `/echo`, which is redirected.
async fn redirected<S, B>(client: S, fake: &FakeNeonomics, status: u16, there: &str) -> Response<B>
where
    S: tower::Service<Request<Full<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
{
    let redirect = Response::builder().status(status).header(LOCATION, there).body(Bytes::new()).unwrap();
    fake.fail_requests(1, Fault::Answer(redirect));
    let request = Request::get(format!("{}/echo", fake.origin())).body(Full::default()).unwrap();
    unless_it_hangs(client.oneshot(request)).await.unwrap()
}

/// One request to the API with the token, one to the other without it, one exchange.
fn assert_tokens_went(fake: &FakeNeonomics, other: &FakeNeonomics, token: &neonomics_auth::AccessToken) {
    fake.expect().client_credentials(1).refresh(0);
    let find = |fake: &FakeNeonomics, path: &str| {
        let requests = fake.requests();
        let mut found = requests.into_iter().filter(|request| request.uri.path() == path);
        let first = found.next().unwrap_or_else(|| panic!("nobody asked for {path}"));
        assert!(found.next().is_none(), "{path} was asked for twice");
        first
    };
    assert_eq!(find(fake, "/echo").headers[AUTHORIZATION], token.authorization());
    assert!(!find(other, "/echo/there").headers.contains_key(AUTHORIZATION));
}
