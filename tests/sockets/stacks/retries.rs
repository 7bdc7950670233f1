//! tower's retry, outside and inside the layer. `n` attempts of its own, and one replay of ours, make `2 × n` requests at
//! the most, on either side.

use std::future::{Ready, ready};

use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use neonomics_auth::testing::Fault;
use neonomics_auth::{BoxError, Error};
use tokio::time::{Sleep, sleep};
use tower::ServiceBuilder;
use tower::retry::Policy;

use super::{Scene, Seen, ask, rejection, unavailable};
use crate::unless_it_hangs;

/// So many times in all: after 5xx and errors, and after 401 too if it says so.
#[derive(Clone, Copy)]
struct Times {
    left: usize,
    unauthorized: bool,
}

impl Times {
    const fn after_faults(attempts: usize) -> Self {
        Self { left: attempts - 1, unauthorized: false }
    }

    const fn after_refusals_too(attempts: usize) -> Self {
        Self { left: attempts - 1, unauthorized: true }
    }
}

impl<B, E> Policy<Request<Full<Bytes>>, Response<B>, E> for Times {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<Full<Bytes>>, result: &mut Result<Response<B>, E>) -> Option<Ready<()>> {
        let again = result.as_ref().map_or(true, |response| {
            response.status().is_server_error() || self.unauthorized && response.status() == StatusCode::UNAUTHORIZED
        });
        self.left = self.left.checked_sub(usize::from(again))?;
        again.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

/// What the API does with a request, one after another; then it answers as usual.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Refused,
    Unavailable,
    Broken,
}
use Turn::{Broken, Refused, Unavailable};

impl Scene {
    fn script(&self, turns: &[Turn]) {
        for turn in turns {
            match turn {
                Refused => self.fake.refuse_requests(1),
                Unavailable => self.fake.fail_requests(1, Fault::Answer(unavailable())),
                Broken => self.fake.fail_requests(1, Fault::Reset),
            }
        }
    }
}

/// `ends` is the status in the end, none for a connection that broke.
async fn assert_outside(policy: Times, turns: &[Turn], ends: Option<u16>, seen: Seen) {
    for scene in Scene::each().await {
        scene.script(turns);
        let client = ServiceBuilder::new().retry(policy).layer(scene.auth()).service(scene.client.clone());
        let status = ask(client, scene.request()).await.ok().map(|answer| answer.status.as_u16());
        scene.assert_seen(&format!("outside, {turns:?}"), seen);
        assert_eq!(status, ends, "outside, {turns:?}, {:?}", scene.version);
    }
}

async fn assert_inside(policy: Times, turns: &[Turn], ends: Option<u16>, seen: Seen) {
    for scene in Scene::each().await {
        scene.script(turns);
        let client = ServiceBuilder::new().layer(scene.auth()).retry(policy).service(scene.client.clone());
        let status = ask(client, scene.request()).await.ok().map(|answer| answer.status.as_u16());
        scene.assert_seen(&format!("inside, {turns:?}"), seen);
        assert_eq!(status, ends, "inside, {turns:?}, {:?}", scene.version);
    }
}

const THRICE: Times = Times::after_faults(3);
const THRICE_REFUSALS_TOO: Times = Times::after_refusals_too(3);

/// Each of its attempts is a request of its own to the layer: with its own replay, and its own renewal.
#[tokio::test]
async fn c4_a_retry_outside_brings_a_replay_into_each_of_its_attempts() {
    // What is no refusal costs one request each.
    assert_outside(THRICE, &[Unavailable; 3], Some(503), Seen { attempts: 3, exchanges: 1, ..Seen::default() }).await;
    assert_outside(THRICE, &[Broken; 2], Some(200), Seen { attempts: 3, exchanges: 1, ..Seen::default() }).await;
    assert_outside(THRICE, &[Broken; 3], None, Seen { attempts: 3, exchanges: 1, ..Seen::default() }).await;
    // A second 401 is an answer.
    let twice = Seen { attempts: 2, refused: 2, exchanges: 2, replays: 1 };
    assert_outside(THRICE, &[Refused; 2], Some(401), twice).await;
    // The most that there can be: 2 × 3.
    let most = Seen { attempts: 6, refused: 3, exchanges: 4, replays: 3 };
    let healed = [Refused, Unavailable, Refused, Broken, Refused];
    assert_outside(THRICE, &healed, Some(200), most).await;
    assert_outside(THRICE, &[Refused, Unavailable].repeat(3), Some(503), most).await;
    assert_outside(THRICE, &[Refused, Broken].repeat(3), None, most).await;
}

#[tokio::test]
async fn c4_a_retry_outside_that_repeats_401_renews_for_each_of_its_attempts() {
    let once_more = Seen { attempts: 3, refused: 2, exchanges: 2, replays: 1 };
    assert_outside(THRICE_REFUSALS_TOO, &[Refused; 2], Some(200), once_more).await;
    let most = Seen { attempts: 6, refused: 6, exchanges: 4, replays: 3 };
    assert_outside(THRICE_REFUSALS_TOO, &[Refused; 6], Some(401), most).await;
}

/// Ten renewals, then none: attempts eleven and twelve are single, so there are 22 requests and not 24.
#[tokio::test]
async fn c9_a_retry_outside_that_repeats_401_does_not_renew_without_end() {
    let seen = Seen { attempts: 22, refused: 22, exchanges: 11, replays: 10 };
    assert_outside(Times::after_refusals_too(12), &[Refused; 24], Some(401), seen).await;
}

/// The attempts of the layer multiply: each is sent up to `n` times.
#[tokio::test]
async fn c4_a_retry_inside_repeats_each_of_the_two_attempts() {
    assert_inside(THRICE, &[Unavailable; 3], Some(503), Seen { attempts: 3, exchanges: 1, ..Seen::default() }).await;
    assert_inside(THRICE, &[Broken; 3], None, Seen { attempts: 3, exchanges: 1, ..Seen::default() }).await;
    let twice = Seen { attempts: 2, refused: 2, exchanges: 2, replays: 1 };
    assert_inside(THRICE, &[Refused; 2], Some(401), twice).await;
    // The most that there can be: 3 + 3.
    let most = Seen { attempts: 6, refused: 1, exchanges: 2, replays: 1 };
    assert_inside(THRICE, &[Unavailable, Broken, Refused, Broken, Unavailable], Some(200), most).await;
    assert_inside(THRICE, &[Broken, Broken, Refused, Broken, Broken, Broken], None, most).await;
    let second_in_vain = Seen { attempts: 4, refused: 1, exchanges: 2, replays: 1 };
    assert_inside(THRICE, &[Refused, Unavailable, Unavailable, Unavailable], Some(503), second_in_vain).await;
}

/// It sees the 401 first, and repeats it with the token that was refused.
#[tokio::test]
async fn c4_a_retry_inside_that_repeats_401_sends_a_dead_token_three_times() {
    let most = Seen { attempts: 6, refused: 6, exchanges: 2, replays: 1 };
    assert_inside(THRICE_REFUSALS_TOO, &[Refused; 6], Some(401), most).await;

    for scene in Scene::each_warm().await {
        let first = scene.provider.cached().unwrap();
        scene.fake.revoke_all();
        let client = ServiceBuilder::new().layer(scene.auth()).retry(THRICE_REFUSALS_TOO).service(scene.client.clone());
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
        // The refresh token died with the session, so the renewal took two.
        scene.assert_seen("revoked", Seen { attempts: 4, refused: 3, exchanges: 3, replays: 1 });
        let second = scene.provider.cached().unwrap();
        let sent: Vec<_> = scene.attempts().iter().map(|attempt| attempt.headers[AUTHORIZATION].clone()).collect();
        let [first, second] = [&first, &second].map(|token| token.authorization().clone());
        assert_eq!(sent, [first.clone(), first.clone(), first, second], "{:?}", scene.version);
    }
}

#[tokio::test]
async fn c4_retries_on_both_sides_multiply() {
    for scene in Scene::each().await {
        scene.script(&[Refused; 8]);
        let client = ServiceBuilder::new()
            .retry(Times::after_refusals_too(2))
            .layer(scene.auth())
            .retry(Times::after_refusals_too(2))
            .service(scene.client.clone());
        assert_eq!(ask(client, scene.request()).await.unwrap().status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);
        // 2 outside × 2 of ours × 2 inside.
        scene.assert_seen("two retries", Seen { attempts: 8, refused: 8, exchanges: 3, replays: 2 });
    }
}

/// A retry outside meets the hold: the authorization server is asked once, whatever the policy.
// lesson 28
#[tokio::test]
async fn b4_a_retry_outside_that_has_no_patience_gets_the_same_error_without_an_exchange() {
    let mut down = unavailable();
    down.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("300"));
    for fault in [rejection(300), Fault::Answer(down)] {
        for scene in Scene::each().await {
            scene.fake.fail_exchanges(usize::MAX, fault.clone());
            let client = ServiceBuilder::new().retry(THRICE).layer(scene.auth()).service(scene.client.clone());
            let error = ask(client, scene.request()).await.err().unwrap();
            let error = error.downcast_ref::<Error>().unwrap();
            assert!(error.is_rejected() || error.is_transient(), "{error:?}");
            assert!(error.retry_after().is_some(), "{error:?}");
            scene.assert_seen("no token", Seen { exchanges: 1, ..Seen::default() });
            let status = scene.provider.status();
            assert_eq!((status.waited, status.renewals.first.failed), (3, 1), "{:?}", scene.version);
        }
    }
}

// lesson 28
#[tokio::test]
async fn b4_a_retry_inside_does_not_see_that_there_is_no_token() {
    for scene in Scene::each().await {
        scene.fake.fail_exchanges(usize::MAX, rejection(300));
        let client = ServiceBuilder::new().layer(scene.auth()).retry(THRICE).service(scene.client.clone());
        let error = ask(client, scene.request()).await.err().unwrap();
        assert!(error.downcast_ref::<Error>().unwrap().is_rejected(), "{error:?}");
        scene.assert_seen("no token", Seen { exchanges: 1, ..Seen::default() });
        assert_eq!(scene.provider.status().waited, 1, "{:?}", scene.version);
    }
}

/// Waits as long as the error says.
#[derive(Clone)]
struct Patient;

impl<B> Policy<Request<Full<Bytes>>, Response<B>, BoxError> for Patient {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Request<Full<Bytes>>, result: &mut Result<Response<B>, BoxError>) -> Option<Sleep> {
        result.as_ref().err()?.downcast_ref::<Error>()?.retry_after().map(sleep)
    }

    fn clone_request(&mut self, request: &Request<Full<Bytes>>) -> Option<Request<Full<Bytes>>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a11_a_retry_outside_that_waits_as_long_as_the_error_says_is_healed_by_its_second_attempt() {
    let healed = async |scene: Scene| {
        scene.fake.fail_exchanges(1, rejection(1));
        let client = ServiceBuilder::new().retry(Patient).layer(scene.auth()).service(scene.client.clone());
        assert_eq!(ask(client, scene.request()).await.unwrap().status, StatusCode::OK, "{:?}", scene.version);
        scene.assert_seen("a patient retry", Seen { attempts: 1, exchanges: 2, ..Seen::default() });
        assert_eq!(scene.provider.status().waited, 2, "{:?}", scene.version);
    };
    unless_it_hangs(futures::future::join_all(Scene::each().await.map(healed))).await;
}
