//! Readiness of the inner service: asked before each attempt, released while waiting (B5, B6, lessons 21 and 22).

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{BoxError, NeonomicsAuth, NeonomicsAuthLayer, TokenProvider};
use tokio::task::LocalSet;
use tokio::time::advance;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tower::buffer::Buffer;
use tower::limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_test::mock;

use crate::api::{Api, ok, refused};
use crate::wire::{Told, assert_nothing_sent, authorization, echo, forced, in_time, next_request, told};

const LIFETIME: Duration = Duration::from_secs(60);

// One permit for everything

// lesson 22
#[tokio::test(start_paused = true)]
async fn b5_what_was_reserved_is_released_while_the_token_is_awaited() {
    let (fake, provider, limit) = one_permit_for_everything();
    let mut client = NeonomicsAuth::new(limit.layer(fake.clone()), provider.clone());

    // Ready: the client holds the only permit, and it is kept alive across the call. A `oneshot` would drop it.
    let ready = ServiceExt::<Request<String>>::ready(&mut client).await.unwrap();
    let response = in_time(ready.call(echo(&fake, "once".to_owned()))).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    // With the permit kept, the exchange would have stood before the limit until its deadline.
    assert_eq!(provider.status().last_error.map(|last| last.error.to_string()), None);
    fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
    // The permit is free again for the next one.
    ServiceExt::<Request<String>>::ready(&mut client).await.unwrap();
}

// lesson 22
#[tokio::test(start_paused = true)]
async fn c12_no_permit_is_held_while_a_refused_token_is_renewed() {
    let (fake, provider, limit) = one_permit_for_everything();
    provider.token().await.unwrap();
    fake.refuse_requests(1);
    let mut client = NeonomicsAuth::new(limit.layer(fake.clone()), provider.clone());

    let ready = ServiceExt::<Request<String>>::ready(&mut client).await.unwrap();
    let response = in_time(ready.call(echo(&fake, "twice".to_owned()))).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(told(&response), Some(Told::replayed()));
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
}

// lesson 22
#[tokio::test(start_paused = true)]
async fn b5_many_that_wait_for_the_token_share_one_permit_with_its_exchange() {
    let (fake, provider, limit) = one_permit_for_everything();
    let client = NeonomicsAuth::new(limit.layer(fake.clone()), provider.clone());

    let requests = (0..100).map(|_| client.clone().oneshot(echo(&fake, String::new())));
    for response in futures::future::join_all(requests).await {
        assert_eq!(response.unwrap().status(), StatusCode::OK);
    }
    fake.expect().client_credentials(1).requests(100).unauthorized(0);
}

// The token is read last

#[tokio::test(start_paused = true)]
async fn b5_a_token_that_expires_while_the_inner_service_makes_itself_ready_is_not_sent() {
    let (fake, provider) = short_lived();
    provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut client = NeonomicsAuth::new(mock, provider.clone());

    // The token is usable when readiness is asked for, and has expired when it is there.
    api.allow(0);
    let mut ready = spawn(ServiceExt::<Request<String>>::ready(&mut client));
    assert_pending!(ready.poll().map(drop));
    advance(LIFETIME).await;
    api.allow(1);
    assert!(ready.is_woken());
    assert_ready!(ready.poll()).unwrap();
    drop(ready);

    let (response, sent) = tokio::join!(client.call(echo(&fake, String::new())), async {
        let (request, respond) = next_request(&mut api).await;
        respond.send_response(ok(""));
        request
    });
    assert_eq!(authorization(&sent), provider.cached().unwrap().authorization());
    assert_eq!(told(&response.unwrap()), Some(Told { waited: true, ..Told::default() }));
    assert_eq!(provider.cached().unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn b5_a_token_that_expires_after_the_wait_is_not_sent_either() {
    let (fake, provider) = short_lived();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    api.allow(1);
    let mut client = NeonomicsAuth::new(mock, provider.clone());
    ServiceExt::<Request<String>>::ready(&mut client).await.unwrap();
    let mut response = spawn(client.call(echo(&fake, String::new())));
    assert_pending!(response.poll());

    // The token is there, the inner service is not ready any more.
    api.allow(0);
    let first = provider.token().await.unwrap();
    assert!(response.is_woken());
    assert_pending!(response.poll());

    // The token expires before the service is ready: another one is awaited, and nothing is sent.
    advance(LIFETIME).await;
    api.allow(1);
    assert!(response.is_woken());
    assert_pending!(response.poll());
    assert_nothing_sent(&mut api);
    let second = provider.token().await.unwrap();
    assert!(response.is_woken());
    assert_pending!(response.poll());

    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), second.authorization());
    assert_ne!(first.authorization(), second.authorization());
    respond.send_response(ok(""));
    assert_eq!(told(&response.await.unwrap()), Some(Told { waited: true, ..Told::default() }));
    // One request that waited, however often.
    assert_eq!(provider.status().waited, 1);
}

#[tokio::test(start_paused = true)]
async fn b5_the_second_attempt_reads_the_token_last_too() {
    let (fake, provider) = short_lived();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    api.allow(1);
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;
    respond.send_response(refused("first"));
    assert!(response.is_woken());
    assert_pending!(response.poll());

    // Renewed, but the inner service is not ready until the second token has expired as well.
    let second = provider.renew(&first).await.unwrap();
    assert!(response.is_woken());
    assert_pending!(response.poll());
    advance(LIFETIME).await;
    api.allow(1);
    assert_pending!(response.poll());
    let third = provider.token().await.unwrap();
    assert_pending!(response.poll());

    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), third.authorization());
    assert_eq!((second.generation(), third.generation()), (2, 3));
    respond.send_response(ok(""));
    assert_eq!(told(&response.await.unwrap()), Some(Told::replayed()));
}

// Every attempt is made ready

// lesson 21
#[tokio::test(start_paused = true)]
async fn c12_each_attempt_goes_through_poll_ready_of_the_clone_that_is_called() {
    let fake = FakeNeonomics::new();
    // The service panics when it is called without, and no clone of it is ready.
    let api = Api::refusing_once();
    let client = NeonomicsAuth::new(api.clone(), fake.provider());
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(response.into_body(), "second");
    assert_eq!(api.calls(), 2);
}

// lesson 21
#[tokio::test(start_paused = true)]
async fn c12_readiness_is_awaited_on_both_attempts() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    api.allow(0);
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));

    // The first attempt.
    assert_pending!(response.poll());
    assert_nothing_sent(&mut api);
    api.allow(1);
    assert!(response.is_woken());
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;
    respond.send_response(refused("first"));
    assert_pending!(response.poll());

    // The second: there is a new token, but no readiness.
    provider.renew(&first).await.unwrap();
    assert!(response.is_woken());
    assert_pending!(response.poll());
    assert_nothing_sent(&mut api);
    api.allow(1);
    assert!(response.is_woken());
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;
    respond.send_response(ok("second"));
    assert!(response.is_woken());
    assert_eq!(assert_ready!(response.poll()).unwrap().into_body(), "second");
}

// lesson 21
#[tokio::test(start_paused = true)]
async fn c12_a_concurrency_limit_of_one_below_the_layer_heals_a_401() {
    let fake = FakeNeonomics::new();
    let client = NeonomicsAuth::new(ConcurrencyLimit::new(fake.clone(), 1), fake.provider());
    assert_healed_cold_and_warm(&fake, client).await;
}

// lesson 21
#[tokio::test(start_paused = true)]
async fn c12_a_buffer_of_one_below_the_layer_heals_a_401() {
    let fake = FakeNeonomics::new();
    let client = NeonomicsAuth::new(Buffer::new(fake.clone(), 1), fake.provider());
    assert_healed_cold_and_warm(&fake, client).await;
}

/// 401, then 200, with the client kept alive across its calls.
async fn assert_healed_cold_and_warm<S>(fake: &FakeNeonomics, mut client: S)
where
    S: Service<Request<String>, Response = Response<neonomics_auth::testing::FakeBody>, Error = BoxError>,
{
    for waited in [true, false] {
        fake.refuse_requests(1);
        let ready = in_time(client.ready()).await.unwrap();
        let response = in_time(ready.call(echo(fake, String::new()))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(told(&response), Some(Told { replayed: true, waited, ..Told::default() }));
    }
    fake.expect().client_credentials(1).refresh(2).requests(4).unauthorized(2);
}

#[tokio::test(start_paused = true)]
async fn b6_readiness_and_its_error_are_those_of_the_inner_service() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut client = NeonomicsAuth::new(mock, provider.clone());

    api.allow(0);
    let mut ready = spawn(ServiceExt::<Request<String>>::ready(&mut client));
    assert_pending!(ready.poll().map(drop));
    api.send_error("out of order");
    assert!(ready.is_woken());
    assert_eq!(assert_ready!(ready.poll()).map(drop).unwrap_err().to_string(), "out of order");
    // Readiness costs no token.
    fake.expect().client_credentials(0);
}

#[tokio::test(start_paused = true)]
async fn b6_an_error_of_readiness_after_the_wait_comes_back_and_nothing_is_sent() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());

    provider.token().await.unwrap();
    api.send_error("out of order");
    assert_eq!(assert_ready!(response.poll()).unwrap_err().to_string(), "out of order");
    assert_nothing_sent(&mut api);
}

// What is asked of the inner service

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_a_service_that_is_send_but_not_sync_runs_on_tasks() {
    let fake = FakeNeonomics::new();
    let client = NeonomicsAuth::new(NotSync { inner: fake.clone(), not_sync: PhantomData }, fake.provider());

    // Both cold paths clone the service behind a shared reference: waiting, and the second attempt.
    fake.refuse_requests(1);
    let response = tokio::spawn(client.oneshot(echo(&fake, String::new()))).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(told(&response), Some(Told { replayed: true, waited: true, ..Told::default() }));
}

#[tokio::test(start_paused = true)]
async fn b6_a_service_that_is_not_even_send_works_on_one_thread() {
    let fake = FakeNeonomics::new();
    let (provider, calls) = (fake.provider(), Rc::new(Cell::new(0)));
    let service = service_fn({
        let calls = Rc::clone(&calls);
        // Neither the service nor its future nor a body can leave the thread, and no body is one.
        move |request: Request<Rc<str>>| {
            let number = calls.replace(calls.get() + 1);
            async move {
                let status = if number == 0 { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
                let answer = Response::builder().status(status).body(Rc::clone(request.body()))?;
                Ok::<_, http::Error>(answer)
            }
        }
    });
    let client = NeonomicsAuth::new(service, provider.clone());

    let request = echo(&fake, Rc::<str>::from("on this thread"));
    let response = LocalSet::new().run_until(async { tokio::task::spawn_local(client.oneshot(request)).await }).await;
    let response = response.unwrap().unwrap();
    assert_eq!(&**response.body(), "on this thread");
    assert_eq!(told(&response), Some(Told { replayed: true, waited: true, ..Told::default() }));
    assert_eq!(calls.get(), 2);
    assert_eq!(forced(&provider), (1, 0));
}

#[test]
fn b6_send_sync_and_unpin_follow_from_the_inner_service() {
    fn all_three<T: Send + Sync + Unpin>(_: &T) {}
    fn send<T: Send>(_: &T) {}

    let fake = FakeNeonomics::new();
    all_three(&NeonomicsAuthLayer::new(fake.provider()));
    let mut client = NeonomicsAuth::new(fake.clone(), fake.provider());
    all_three(&client);
    send(&client.call(echo(&fake, String::new())));
}

fn one_permit_for_everything() -> (FakeNeonomics, TokenProvider, GlobalConcurrencyLimitLayer) {
    let fake = FakeNeonomics::new();
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let provider = TokenProvider::builder(fake.environment(), fake.credentials())
        .transport(limit.layer(fake.clone()))
        .build()
        .unwrap();
    (fake, provider, limit)
}

fn short_lived() -> (FakeNeonomics, TokenProvider) {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(LIFETIME);
    let provider = fake.provider();
    (fake, provider)
}

#[derive(Clone)]
struct NotSync<S> {
    inner: S,
    not_sync: PhantomData<Cell<()>>,
}

impl<S: Service<R>, R> Service<R> for NotSync<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.inner.call(request)
    }
}
