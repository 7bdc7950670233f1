//! A 401 from the API, and how to tell why.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{AuthOutcome, NeonomicsAuth, NeonomicsAuthLayer, NoReplay, PassReason, TokenProvider};
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::set_header::SetRequestHeaderLayer;

use crate::{answer, echo, get, outcome, page};

#[tokio::test(start_paused = true)]
async fn b2_a_request_to_an_origin_that_is_not_allowed_gets_no_token() {
    let entry = page::symptom("401, and `passed_without_token()` is `OtherOrigin`");
    assert!(entry.text.contains("`localhost` is not `127.0.0.1`"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client = NeonomicsAuth::new(fake.clone(), provider.clone());
    let elsewhere = fake.origin().replace("127.0.0.1", "localhost");
    let response = client.oneshot(get(format!("{elsewhere}/echo"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(outcome(&response).passed_without_token(), Some(PassReason::OtherOrigin));
    fake.expect().client_credentials(0).refresh(0).requests(1).unauthorized(1);
    let status = provider.status();
    assert_eq!((status.passed_without_token, status.refusals, status.waited), (1, 0, 0));

    assert!(entry.text.contains("allow_origin("));
    let environment = fake.environment().allow_origin(&elsewhere).unwrap();
    let builder = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone());
    let client = NeonomicsAuth::new(fake.clone(), builder.build().unwrap());
    assert_eq!(client.oneshot(get(format!("{elsewhere}/echo"))).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).requests(2).unauthorized(1);
}

// lesson 27
#[tokio::test(start_paused = true)]
async fn b3_an_authorization_of_the_callers_keeps_the_token_out() {
    page::symptom("401, and `passed_without_token()` is `CallerAuthorized`");
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let plain = NeonomicsAuth::new(fake.clone(), provider.clone());
    // By hand, or by a layer above.
    let basic = HeaderValue::from_static("Basic dXNlcjpwYXNz");
    let mut by_hand = echo(&fake);
    by_hand.headers_mut().insert(AUTHORIZATION, basic.clone());
    let by_a_layer = SetRequestHeaderLayer::if_not_present(AUTHORIZATION, basic).layer(plain.clone());
    for response in [plain.clone().oneshot(by_hand).await.unwrap(), by_a_layer.oneshot(echo(&fake)).await.unwrap()] {
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(outcome(&response).passed_without_token(), Some(PassReason::CallerAuthorized));
    }
    fake.expect().client_credentials(0).refresh(0).requests(2).unauthorized(2);
    assert_eq!(provider.status().passed_without_token, 2);

    assert_eq!(plain.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).requests(3).unauthorized(2);
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_a_proxy_that_strips_the_token_is_told_by_the_challenge_and_the_counts() {
    let entry = page::symptom("401, and `replayed()` is true");
    assert!(entry.text.contains("names no `error`"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client = ServiceBuilder::new()
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .map_request(|mut request: Request<_>| {
            request.headers_mut().remove(AUTHORIZATION);
            request
        })
        .service(fake.clone());
    for number in 1..=10 {
        let response = client.clone().oneshot(echo(&fake)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(outcome(&response).replayed());
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer realm=\"sandbox\"");
        fake.expect().client_credentials(1).refresh(number).requests(2 * number).unauthorized(2 * number);
    }

    // The bucket is empty.
    for number in 1..=5 {
        let response = client.clone().oneshot(echo(&fake)).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let error = outcome(&response).renewal_error().unwrap();
        assert_eq!(
            error.to_string(),
            "the API refuses one fresh token after another: check that no proxy strips `authorization`, and that \
         the token's realm is that of the API; next attempt in 60 s"
        );
        assert_eq!(error.retry_after().unwrap().as_secs(), 60);
        page::entry(error);
        fake.expect().client_credentials(1).refresh(10).requests(20 + number).unauthorized(20 + number);
    }
    let status = provider.status();
    assert_eq!((status.renewals.forced.succeeded, status.replays, status.refusals), (10, 10, 15));
    assert_eq!(status.passed_without_token, 0);
    assert!(status.last_error.is_none() && status.hold_left.is_none(), "no renewal failed");

    // One more a minute later.
    sleep(Duration::from_secs(60)).await;
    assert!(outcome(&client.oneshot(echo(&fake)).await.unwrap()).replayed());
    fake.expect().refresh(11).requests(27).unauthorized(27);
}

#[tokio::test(start_paused = true)]
async fn c7_a_token_that_the_api_refuses_for_itself_is_named_in_the_challenge() {
    let fake = FakeNeonomics::new();
    // The API counts every token from before a moment to come as revoked.
    fake.set_not_before(Duration::from_secs(60));
    let client = NeonomicsAuth::new(fake.clone(), fake.provider());
    let response = client.oneshot(echo(&fake)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(outcome(&response).replayed());
    assert!(response.headers()[WWW_AUTHENTICATE].to_str().unwrap().contains("error=\"invalid_token\""));
}

// lesson 32
#[tokio::test(start_paused = true)]
async fn c5_a_server_that_hands_out_one_token_for_ever_is_told() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(2, answer(200, r#"{"access_token":"the-same","expires_in":60}"#));
    let client = NeonomicsAuth::new(fake.clone(), fake.provider());
    let response = client.oneshot(echo(&fake)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    page::entry(outcome(&response).renewal_error().unwrap());
    fake.expect().client_credentials(2).refresh(0).requests(1).unauthorized(1);
}

#[tokio::test(start_paused = true)]
async fn c6_a_401_without_an_outcome_is_one_that_was_not_to_be_replayed_or_not_about_the_token() {
    let entry = page::symptom("401, and there is no `AuthOutcome`, or one that says no more than `waited()`");
    assert!(entry.text.contains("`.without_retry()`") && entry.text.contains("an `error` other than `invalid_token`"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let layer = NeonomicsAuthLayer::new(provider.clone());

    // Not to be replayed, by the layer or by the request.
    for (number, no_replay) in [(1, false), (2, true)] {
        fake.refuse_requests(1);
        let mut request = echo(&fake);
        let response = if no_replay {
            request.extensions_mut().insert(NoReplay);
            layer.clone().layer(fake.clone()).oneshot(request).await.unwrap()
        } else {
            layer.clone().without_retry().layer(fake.clone()).oneshot(request).await.unwrap()
        };
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.extensions().get::<AuthOutcome>().is_none());
        // The renewal behind it comes to its end, time being paused.
        sleep(Duration::from_millis(1)).await;
        fake.expect().client_credentials(1).refresh(number).requests(number).unauthorized(number);
    }

    // The first request of a program has waited for its token: that is said, and no more.
    let cold = NeonomicsAuthLayer::new(fake.provider()).without_retry().layer(fake.clone());
    fake.refuse_requests(1);
    let response = cold.oneshot(echo(&fake)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let told = outcome(&response);
    assert!(told.waited() && !told.replayed() && told.renewal_error().is_none());
    sleep(Duration::from_millis(1)).await;
    fake.expect().client_credentials(2).refresh(3).requests(3).unauthorized(3);

    // Not about the token.
    let scope = r#"Bearer error="insufficient_scope""#;
    let refusal = Response::builder().status(401).header(WWW_AUTHENTICATE, scope).body(Bytes::new()).unwrap();
    fake.fail_requests(1, Fault::Answer(refusal));
    let response = layer.layer(fake.clone()).oneshot(echo(&fake)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    sleep(Duration::from_millis(1)).await;
    fake.expect().client_credentials(2).refresh(3).requests(4).unauthorized(4);
    assert_eq!(provider.status().replays, 0);
}
