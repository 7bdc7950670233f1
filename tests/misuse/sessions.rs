//! Too many sessions, ended ones, and tokens without one.

use std::time::Duration;

use futures::join;
use http::StatusCode;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuth, TokenProvider};
use tokio::time::timeout;
use tower::ServiceExt;

use crate::{answer, echo, outcome, page};

#[tokio::test(start_paused = true)]
async fn a1_a_provider_for_each_request_is_a_session_for_each_request() {
    let entry = page::symptom("several sessions at the authorization server for one client id");
    let fake = FakeNeonomics::new();
    for _ in 0..10 {
        let client = NeonomicsAuth::new(fake.clone(), fake.provider());
        assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    }
    // They are dropped, and still there.
    fake.expect().client_credentials(10).refresh(0).requests(10).logout(0);
    assert_eq!(fake.sessions(), 10);

    assert!(entry.text.contains("clone it"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    for _ in 0..10 {
        let client = NeonomicsAuth::new(fake.clone(), provider.clone());
        assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    }
    fake.expect().client_credentials(1).refresh(0).requests(10);
    assert_eq!(fake.sessions(), 1);
}

/// Where reuse of a refresh token kills its session: neither has the other's.
#[tokio::test(start_paused = true)]
async fn a7_two_providers_of_one_client_do_each_other_no_harm() {
    let entry = page::symptom("several sessions at the authorization server for one client id");
    assert!(entry.text.contains("Two providers for one client id do each other no harm"));
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let providers = [fake.provider(), fake.provider()];
    for round in 0..3 {
        for provider in &providers {
            let refused = provider.token().await.unwrap();
            assert_eq!(provider.renew(&refused).await.unwrap().generation(), round + 2);
        }
    }
    fake.expect().client_credentials(2).refresh(6);
    assert_eq!(fake.sessions(), 2);

    // Each ends its own.
    let [one, other] = providers;
    one.end_session().await.unwrap();
    assert_eq!(fake.sessions(), 1);
    let client = NeonomicsAuth::new(fake.clone(), other);
    assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(2).refresh(6).logout(1).unauthorized(0);
}

// lesson 37
#[tokio::test(start_paused = true)]
async fn d1_a_request_that_is_refused_after_the_end_of_the_session_does_not_revive_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let client = NeonomicsAuth::new(fake.clone(), provider.clone());
    let gate = fake.hold_requests();
    let end = async {
        gate.arrived(1).await;
        provider.end_session().await.unwrap();
        gate.open();
    };
    let both = async { join!(client.clone().oneshot(echo(&fake)), end) };
    let (response, ()) = timeout(Duration::from_secs(60), both).await.expect("hangs");
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    page::entry(outcome(&response).renewal_error().unwrap());
    fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(1).logout(1);
    assert_eq!(fake.sessions(), 0);

    // The next request starts one.
    assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(2);
}

#[tokio::test(start_paused = true)]
async fn d1_an_end_that_is_not_confirmed_is_not_tried_again() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.fail_exchanges(1, answer(503, ""));
    let error = provider.end_session().await.unwrap_err();
    assert!(page::entry(&error).text.contains("To call again does not help"));
    provider.end_session().await.unwrap();
    fake.expect().client_credentials(1).logout(1);
    assert_eq!(fake.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn c5_a_fixed_token_that_is_refused_stays_refused() {
    let fake = FakeNeonomics::new();
    let provider = TokenProvider::fixed(fake.environment(), "over").unwrap();
    let client = NeonomicsAuth::new(fake.clone(), provider);
    let response = client.oneshot(echo(&fake)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    page::entry(outcome(&response).renewal_error().unwrap());
    fake.expect().client_credentials(0).refresh(0).requests(1).unauthorized(1);
}
