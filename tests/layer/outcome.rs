//! `AuthOutcome`: there when something unusual happened, absent otherwise; and that a stale token is nothing unusual.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Response, StatusCode};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{NeonomicsAuth, NoReplay, PassReason};
use tokio::time::advance;
use tokio_test::assert_ready;
use tokio_test::task::spawn;
use tower::ServiceExt;

use crate::api::{Api, ok, refused};
use crate::wire::{Told, authorization, echo, forced, in_time, told};

#[tokio::test(start_paused = true)]
async fn b5_the_outcome_says_that_the_request_waited() {
    let scene = Scene::new();
    assert_eq!(scene.answer(&[200]).await, Some(Told { waited: true, ..Told::default() }));
    // Only that one.
    assert_eq!(scene.answer(&[200]).await, None);
    // Any status: it is about the token.
    assert_eq!(scene.answer(&[500]).await, None);
}

#[tokio::test(start_paused = true)]
async fn c1_the_outcome_says_that_this_is_the_second_answer() {
    let scene = Scene::new();
    assert_eq!(scene.answer(&[401, 200]).await, Some(Told { replayed: true, waited: true, ..Told::default() }));
    assert_eq!(scene.answer(&[401, 200]).await, Some(Told::replayed()));
    assert_eq!(scene.answer(&[401, 401]).await, Some(Told::replayed()));
    assert_eq!(scene.answer(&[401, 503]).await, Some(Told::replayed()));
    assert_eq!(scene.answer(&[403]).await, None);
}

#[tokio::test(start_paused = true)]
async fn c5_the_outcome_says_why_there_was_no_second_attempt() {
    let scene = Scene::new();
    // The client is rejected after its first token.
    scene.provider.token().await.unwrap();
    scene.fake.set_client_enabled(false);
    let Some(Told { replayed: false, waited: false, passed: None, renewal_error: Some(error) }) =
        scene.answer(&[401]).await
    else {
        panic!("no cause")
    };
    assert!(error.starts_with("the authorization server rejected the client (invalid_client)"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn c5_the_outcome_of_a_request_that_waited_in_vain_says_both() {
    let scene = Scene::new();
    // The first exchange brings a token, the ones after it are reset.
    let token = r#"{"access_token":"one","expires_in":300}"#;
    scene.fake.fail_exchanges(1, Fault::Answer(Response::new(token.into())));
    scene.fake.fail_exchanges(usize::MAX, Fault::Reset);
    let told = scene.answer(&[401]).await.unwrap();
    assert!(told.waited && !told.replayed);
    let error = told.renewal_error.unwrap();
    assert!(error.starts_with("the authorization server could not be reached; next attempt in 1 s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn b2_the_outcome_says_why_there_was_no_token() {
    let scene = Scene::new();
    let client = NeonomicsAuth::new(Api::answering(|_| Ok(ok(""))), scene.provider.clone());
    let mut elsewhere = echo(&scene.fake, String::new());
    *elsewhere.uri_mut() = "https://evil.example/".parse().unwrap();
    let mut authorized = echo(&scene.fake, String::new());
    authorized.headers_mut().insert(AUTHORIZATION, "Basic dXNlcjpwYXNz".parse().unwrap());
    let mut connect = echo(&scene.fake, String::new());
    *connect.method_mut() = http::Method::CONNECT;

    for (request, reason) in [
        (elsewhere, PassReason::OtherOrigin),
        (authorized, PassReason::CallerAuthorized),
        (connect, PassReason::Connect),
    ] {
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(told(&response), Some(Told::passed(reason)));
    }
    assert_eq!(scene.provider.status().passed_without_token, 3);
    scene.fake.expect().client_credentials(0);
}

#[tokio::test(start_paused = true)]
async fn c6_a_401_that_may_not_be_replayed_is_nothing_unusual() {
    let scene = Scene::new();
    let client = NeonomicsAuth::new(Api::answering(|_| Ok(refused(""))), scene.provider.clone());
    for waited in [true, false] {
        let mut request = echo(&scene.fake, String::new());
        request.extensions_mut().insert(NoReplay);
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(told(&response), waited.then_some(Told { waited, ..Told::default() }));
    }
}

#[tokio::test(start_paused = true)]
async fn a3_with_a_stale_token_no_request_waits_and_one_renewal_starts_behind_them() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(Duration::from_secs(100));
    let provider = fake.provider();
    let api = Api::answering(|_| Ok(ok("")));
    let client = NeonomicsAuth::new(api.clone(), provider.clone());
    client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
    let first = provider.cached().unwrap();
    assert_eq!(provider.status().waited, 1);

    // Stale from 80 s on at the latest. The exchange stands at the gate, the requests do not.
    advance(Duration::from_secs(80)).await;
    let gate = fake.hold_exchanges();
    for _ in 0..100 {
        let mut response = spawn(client.clone().oneshot(echo(&fake, String::new())));
        assert_eq!(told(&assert_ready!(response.poll()).unwrap()), None);
    }
    in_time(gate.arrived(1)).await;
    assert!(api.take().iter().all(|request| authorization(request) == first.authorization()));
    fake.expect().client_credentials(1).refresh(1);

    // From then on the new one is sent.
    gate.open();
    let second = provider.renew(&first).await.unwrap();
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(told(&response), None);
    assert_eq!(authorization(&api.take_only()), second.authorization());
    let status = provider.status();
    assert_eq!((status.waited, status.renewals.due.succeeded, forced(&provider)), (1, 1, (0, 0)));
    fake.expect().client_credentials(1).refresh(1);
}

struct Scene {
    fake: FakeNeonomics,
    provider: neonomics_auth::TokenProvider,
}

impl Scene {
    fn new() -> Self {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        Self { fake, provider }
    }

    /// What is said when the API answers one request with these, one after the other.
    async fn answer(&self, statuses: &'static [u16]) -> Option<Told> {
        let api = Api::answering(|number| {
            let status = StatusCode::from_u16(statuses[number]).unwrap();
            Ok(Response::builder().status(status).body(String::new()).unwrap())
        });
        let client = NeonomicsAuth::new(api.clone(), self.provider.clone());
        let response = client.oneshot(echo(&self.fake, String::new())).await.unwrap();
        // All of them, and the last is the answer.
        assert_eq!(api.calls(), statuses.len());
        assert_eq!(Some(&response.status().as_u16()), statuses.last());
        told(&response)
    }
}
