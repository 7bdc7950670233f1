//! Redirects that reqwest follows by itself, over sockets.

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use neonomics_auth::testing::{FakeNeonomics, Fault, RecordedRequest};
use neonomics_auth::{BoxError, NeonomicsAuth, PassReason, ReqwestService, TokenProvider};
use reqwest::redirect::Policy;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::FollowRedirectLayer;
use tower_http::follow_redirect::policy::{Limited, PolicyExt, SameOrigin, clone_body_fn};

use crate::{echo, outcome, page, unless_it_hangs};

const SYMPTOM: &str = "reqwest follows redirects with the token";

type Client = NeonomicsAuth<ReqwestService>;

/// Follows redirects as it does unless it is told otherwise.
fn following(provider: TokenProvider) -> Client {
    over(reqwest::Client::builder(), provider)
}

/// As the page says.
fn following_none(provider: TokenProvider) -> Client {
    over(reqwest::Client::builder().redirect(Policy::none()), provider)
}

fn over(client: reqwest::ClientBuilder, provider: TokenProvider) -> Client {
    NeonomicsAuth::new(ReqwestService::new(client.no_proxy().tls_certs_only([]).build().unwrap()), provider)
}

fn redirect(status: u16, there: &str) -> Fault {
    Fault::Answer(Response::builder().status(status).header(LOCATION, there).body(Bytes::new()).unwrap())
}

/// Method, path, and whether it carried a token.
fn seen(fake: &FakeNeonomics) -> Vec<(Method, String, bool)> {
    let api = |request: &RecordedRequest| request.uri.path().starts_with("/echo");
    let told = |request: RecordedRequest| {
        let token = request.headers.contains_key(AUTHORIZATION);
        (request.method, request.uri.path().to_owned(), token)
    };
    fake.requests().into_iter().filter(api).map(told).collect()
}

// lesson 18
#[tokio::test]
async fn b2_reqwest_takes_the_token_along_within_the_origin() {
    page::symptom(SYMPTOM);
    for status in [301, 302, 303, 307, 308] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let client = following(fake.provider());
        fake.fail_requests(1, redirect(status, "/echo/there"));
        let response = unless_it_hangs(client.oneshot(echo(&fake))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let hops = [(Method::GET, "/echo".to_owned(), true), (Method::GET, "/echo/there".to_owned(), true)];
        assert_eq!(seen(&fake), hops, "{status}");
        fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(0);
    }
}

// lesson 18
#[tokio::test]
async fn b2_reqwest_takes_the_token_off_for_another_port_and_the_401_from_there_costs_a_renewal() {
    page::symptom(SYMPTOM);
    let (fake, other) = (FakeNeonomics::listen().await.unwrap(), FakeNeonomics::listen().await.unwrap());
    // Allowed: reqwest does not know.
    let environment = fake.environment().allow_origin(other.origin()).unwrap();
    let builder = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone());
    let provider = builder.build().unwrap();
    let client = following(provider.clone());
    let there = format!("{}/echo/there", other.origin());
    fake.fail_requests(2, redirect(307, &there));

    let response = unless_it_hangs(client.oneshot(echo(&fake))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(outcome(&response).replayed());
    assert_eq!(seen(&fake), [(Method::GET, "/echo".to_owned(), true), (Method::GET, "/echo".to_owned(), true)]);
    let without = (Method::GET, "/echo/there".to_owned(), false);
    assert_eq!(seen(&other), [without.clone(), without]);
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(0);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, status.passed_without_token), (1, 1, 0));
}

// lesson 18
#[tokio::test]
async fn b2_without_redirects_of_its_own_reqwest_leaves_them_to_the_layer_above() {
    let entry = page::symptom(SYMPTOM);
    assert!(entry.text.contains("`reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())`"));
    let (fake, other) = (FakeNeonomics::listen().await.unwrap(), FakeNeonomics::listen().await.unwrap());
    let provider = fake.provider();
    let client = ServiceBuilder::new().layer(FollowRedirectLayer::new()).service(following_none(provider.clone()));
    fake.fail_requests(1, redirect(307, &format!("{}/echo/there", other.origin())));

    let response = unless_it_hangs(client.clone().oneshot(echo(&fake))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(outcome(&response).passed_without_token(), Some(PassReason::OtherOrigin));
    assert_eq!(seen(&other), [(Method::GET, "/echo/there".to_owned(), false)]);
    fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
    assert_eq!(provider.status().refusals, 0);
}

#[tokio::test]
async fn b1_a_redirect_with_a_body_is_handed_out_unless_somebody_keeps_the_body() {
    let entry = page::symptom("a 307 or 308 comes back although redirects are followed");
    assert!(entry.text.contains("`Limited::default().and(SameOrigin::new()).and(clone_body_fn("));
    for status in [307, 308] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let provider = fake.provider();
        let hop = (Method::POST, "/echo".to_owned(), true);

        fake.fail_requests(1, redirect(status, "/echo/there"));
        let response = unless_it_hangs(following(provider.clone()).oneshot(post(&fake))).await.unwrap();
        assert_eq!(response.status().as_u16(), status);

        let client = following_none(provider);
        fake.fail_requests(1, redirect(status, "/echo/there"));
        let followed = FollowRedirectLayer::new().layer(client.clone());
        let response = unless_it_hangs(followed.oneshot(post(&fake))).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(seen(&fake), [hop.clone(), hop.clone()]);

        fake.fail_requests(1, redirect(status, "/echo/there"));
        let keeping = clone_body_fn(|body: &Full<Bytes>| Some(body.clone()));
        let within = PolicyExt::and::<_, Full<Bytes>, BoxError>(Limited::default(), SameOrigin::new());
        let policy = PolicyExt::and::<_, Full<Bytes>, BoxError>(within, keeping);
        let followed = FollowRedirectLayer::with_policy(policy).layer(client);
        let response = unless_it_hangs(followed.clone().oneshot(post(&fake))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(seen(&fake)[2..], [hop, (Method::POST, "/echo/there".to_owned(), true)]);
        fake.expect().client_credentials(1).refresh(0).requests(4).unauthorized(0);

        // Nor does the body go to anybody else.
        let other = FakeNeonomics::listen().await.unwrap();
        fake.fail_requests(1, redirect(status, &format!("{}/echo", other.origin())));
        let response = unless_it_hangs(followed.oneshot(post(&fake))).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        other.expect().requests(0);
    }
}

fn post(fake: &FakeNeonomics) -> Request<Full<Bytes>> {
    Request::post(format!("{}/echo", fake.origin())).body(Full::from("a body")).unwrap()
}
