//! `ResponseFuture` dropped in each of its states, and polled after its end.
//!
//! Whoever gives up takes nothing along: the renewal completes, nothing stays reserved or kept, others go on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use http::{Request, Response};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuth, TokenProvider};
use tokio_test::task::{Spawn, spawn};
use tokio_test::{assert_pending, assert_ready};
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};
use tower_test::mock::{self, Handle, Mock, SendResponse};

use crate::api::{Api, refused};
use crate::wire::{assert_nothing_sent, authorization, echo, forced, in_time, next_request};

/// A body whose clones are counted.
type Body = Arc<()>;
type Client = NeonomicsAuth<ConcurrencyLimit<Mock<Request<Body>, Response<Body>>>>;

#[tokio::test(start_paused = true)]
async fn a10_dropped_while_waiting_for_the_token() {
    let mut scene = Scene::new();
    let gate = scene.fake.hold_exchanges();
    let mut response = spawn(scene.call().await);
    assert_pending!(response.poll());
    in_time(gate.arrived(1)).await;

    drop(response);
    scene.assert_nothing_is_left();
    // The exchange is not the caller's: it goes on, and its token is there for the next.
    gate.open();
    scene.assert_others_go_on(1).await;
    scene.fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_while_waiting_together_with_others() {
    let mut scene = Scene::new();
    let gate = scene.fake.hold_exchanges();
    let mut dropped = spawn(scene.call().await);
    let mut other = spawn(scene.call().await);
    assert_pending!(dropped.poll());
    assert_pending!(other.poll());
    in_time(gate.arrived(1)).await;

    // The first started the renewal; the second gets its outcome all the same.
    drop(dropped);
    gate.open();
    let token = scene.provider.token().await.unwrap();
    assert!(other.is_woken());
    assert_pending!(other.poll());
    let (sent, respond) = next_request(&mut scene.api).await;
    assert_eq!(authorization(&sent), token.authorization());
    respond.send_response(Response::new(Body::default()));
    assert_ready!(other.poll()).unwrap();
    drop((other, sent));
    scene.assert_nothing_is_left();
    scene.fake.expect().client_credentials(1);
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_while_the_service_makes_itself_ready_for_the_first_attempt() {
    let mut scene = Scene::new();
    let mut response = spawn(scene.call().await);
    assert_pending!(response.poll());
    // The token is there; the only permit is taken, and the service behind it is not ready.
    scene.api.allow(0);
    scene.provider.token().await.unwrap();
    assert_pending!(response.poll());

    drop(response);
    scene.assert_nothing_is_left();
    scene.api.allow(u64::MAX);
    scene.assert_others_go_on(1).await;
    scene.fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_during_the_first_attempt() {
    let mut scene = Scene::warm().await;
    let (response, sent, _respond) = scene.sending().await;
    drop((response, sent));
    scene.assert_nothing_is_left();
    scene.assert_others_go_on(1).await;
    scene.fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_while_renewing() {
    let mut scene = Scene::warm().await;
    let gate = scene.fake.hold_exchanges();
    let (mut response, _, respond) = scene.sending().await;
    let kept = refuse(respond);
    assert_pending!(response.poll());
    in_time(gate.arrived(1)).await;
    assert_eq!(Arc::strong_count(&kept), 2, "the 401 is kept");

    drop(response);
    scene.assert_nothing_is_left();
    assert_eq!(Arc::strong_count(&kept), 1);
    // The renewal completes: the next request has the new token.
    gate.open();
    let first = scene.provider.cached().unwrap();
    scene.provider.renew(&first).await.unwrap();
    scene.assert_others_go_on(2).await;
    assert_eq!(forced(&scene.provider), (1, 0));
    scene.fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_while_the_service_makes_itself_ready_for_the_second_attempt() {
    let mut scene = Scene::warm().await;
    let first = scene.provider.cached().unwrap();
    let (mut response, _, respond) = scene.sending().await;
    scene.api.allow(0);
    refuse(respond);
    assert_pending!(response.poll());
    scene.provider.renew(&first).await.unwrap();
    // Renewed; the only permit is taken, and the service behind it is not ready.
    assert_pending!(response.poll());

    drop(response);
    scene.assert_nothing_is_left();
    scene.api.allow(u64::MAX);
    scene.assert_others_go_on(2).await;
    assert_eq!((scene.provider.status().replays, forced(&scene.provider)), (0, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn a10_dropped_during_the_second_attempt() {
    let mut scene = Scene::warm().await;
    let first = scene.provider.cached().unwrap();
    let (mut response, _, respond) = scene.sending().await;
    refuse(respond);
    assert_pending!(response.poll());
    scene.provider.renew(&first).await.unwrap();
    assert_pending!(response.poll());
    let (sent, _respond) = next_request(&mut scene.api).await;

    drop((response, sent));
    scene.assert_nothing_is_left();
    scene.assert_others_go_on(2).await;
    assert_eq!((scene.provider.status().replays, forced(&scene.provider)), (1, (1, 0)));
    scene.fake.expect().client_credentials(1).refresh(1);
}

/// One permit for all requests, so that one that stays reserved is noticed.
struct Scene {
    fake: FakeNeonomics,
    provider: TokenProvider,
    client: Client,
    api: Handle<Request<Body>, Response<Body>>,
    body: Body,
}

type Answer = Spawn<<Client as Service<Request<Body>>>::Future>;

impl Scene {
    fn new() -> Self {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let (mock, api) = mock::pair();
        let client = NeonomicsAuth::new(ConcurrencyLimit::new(mock, 1), provider.clone());
        Self { fake, provider, client, api, body: Body::default() }
    }

    async fn warm() -> Self {
        let scene = Self::new();
        scene.provider.token().await.unwrap();
        scene
    }

    /// The client is kept alive across the call.
    async fn call(&mut self) -> <Client as Service<Request<Body>>>::Future {
        let request = echo(&self.fake, Arc::clone(&self.body));
        in_time(self.client.ready()).await.unwrap().call(request)
    }

    /// A first attempt that is under way.
    async fn sending(&mut self) -> (Answer, Request<Body>, SendResponse<Response<Body>>) {
        let mut response = spawn(self.call().await);
        assert_pending!(response.poll());
        let (sent, respond) = next_request(&mut self.api).await;
        (response, sent, respond)
    }

    /// No copy of the request is alive, and none was sent behind our back.
    #[track_caller]
    fn assert_nothing_is_left(&mut self) {
        assert_eq!(Arc::strong_count(&self.body), 1, "copies of the request");
        assert_nothing_sent(&mut self.api);
    }

    /// Another request gets the only permit and the token of this generation.
    async fn assert_others_go_on(&mut self, generation: u64) {
        let token = self.provider.token().await.unwrap();
        assert_eq!(token.generation(), generation);
        let (mut response, sent, respond) = self.sending().await;
        assert_eq!(authorization(&sent), token.authorization());
        respond.send_response(Response::new(Body::default()));
        assert_eq!(assert_ready!(response.poll()).unwrap().status(), 200);
    }
}

/// Answers with a 401, and yields its body.
fn refuse(respond: SendResponse<Response<Body>>) -> Body {
    let body = Body::default();
    respond.send_response(Response::builder().status(401).body(Arc::clone(&body)).unwrap());
    body
}

// Polled after its end

#[tokio::test(start_paused = true)]
async fn c4_polling_after_completion_panics_and_sends_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let elsewhere = || Request::get("https://evil.example/").body(String::new()).unwrap();
    let here = || echo(&fake, String::new());

    // A passed request, a second attempt, a first attempt.
    let api = Api::answering(|number| if number == 1 { Ok(refused("")) } else { Ok(Response::default()) });
    let mut client = NeonomicsAuth::new(api.clone(), provider);
    for request in [elsewhere(), here(), here()] {
        assert_panics_when_polled_again(client.ready().await.unwrap().call(request)).await;
    }
    assert_eq!(api.calls(), 4);

    // Errors: of the API, of a passed request, of the token.
    let broken = FakeNeonomics::new();
    broken.set_client_enabled(false);
    let mut client = NeonomicsAuth::new(Api::answering(|_| Err("reset".into())), broken.provider());
    for request in [elsewhere(), here(), here()] {
        assert_panics_when_polled_again(client.ready().await.unwrap().call(request)).await;
    }
}

async fn assert_panics_when_polled_again(future: impl Future) {
    let mut future = pin!(future);
    future.as_mut().await;
    let mut cx = Context::from_waker(Waker::noop());
    let panic = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx).is_ready())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"polled after completion"));
}
