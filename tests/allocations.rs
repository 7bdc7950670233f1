//! What the fresh path costs in allocations: none.
//!
//! The counter looks at one thread and at what runs inside one closure, so that neither the harness nor a renewal on
//! another thread is counted. Futures are polled by hand: no runtime, no executor, no task. Everything is done once
//! before it is counted, since the first atomic load of a thread allocates the place where its loads are noted.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::io::{self, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuthLayer, TokenProvider};
use tower::{Layer, Service};

type Body = Full<Bytes>;

#[test]
fn a2_the_counter_counts() {
    // One allocation, given back.
    let boxed = measure(|| drop(black_box(Box::new(1_u64))));
    assert_eq!((boxed.count_total, boxed.bytes_total, boxed.count_current), (1, 8, 0));
    // One that stays until it is dropped outside.
    let mut kept = None;
    let made = measure(|| kept = Some(black_box(Box::new([0_u8; 100]))));
    assert_eq!((made.count_total, made.bytes_total, made.count_current), (1, 100, 1));
    // And none where there is none.
    assert_eq!(measure(|| _ = black_box(1 + 1)), AllocationInfo::default());
    drop(kept);
}

#[test]
fn a2_a_fresh_token_costs_no_allocation() {
    let provider = fresh_provider();
    let token = || _ = black_box(now(provider.token()).unwrap());
    let cached = || _ = black_box(provider.cached().unwrap());
    token();

    assert_eq!(measure(token).count_total, 0, "token()");
    assert_eq!(measure(cached).count_total, 0, "cached()");
    // Nor do a thousand: nothing is done every now and then.
    assert_eq!(measure(|| (0..1000).for_each(|_| token())).count_total, 0, "token() a thousand times");
    assert_eq!(measure(|| (0..1000).for_each(|_| cached())).count_total, 0, "cached() a thousand times");
}

#[test]
fn a2_a_fixed_token_costs_no_allocation() {
    let environment = FakeNeonomics::new().environment();
    let provider = TokenProvider::fixed(environment, "fake-fixed").unwrap();
    let token = || _ = black_box(now(provider.token()).unwrap());
    token();

    assert_eq!(measure(token).count_total, 0);
}

#[test]
fn a2_a_request_without_retry_costs_no_allocation() {
    let provider = fresh_provider();
    let mut client = NeonomicsAuthLayer::new(provider).without_retry().layer(Immediate);
    send(&mut client, request());

    // Built outside of what is counted, dropped inside: the layer's part is readiness, call, poll and drop.
    let request = request();
    let counted = measure(|| send(&mut client, request));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// The price of a second attempt. What is kept is a clone of the request, and the clone of a header map takes two
/// allocations: the index and the entries. Method, URI, body, static names and values, and extensions that are not there
/// take none. (A name or value made at run time takes one more at its first clone: it becomes shared then.)
#[test]
fn a2_a_request_with_retry_costs_the_clone_of_its_head_and_nothing_else() {
    let provider = fresh_provider();
    let mut client = NeonomicsAuthLayer::new(provider).layer(Immediate);
    send(&mut client, request());

    let (sent, other) = (request(), request());
    let counted = measure(|| send(&mut client, sent));
    let clone = measure(|| drop(black_box(other.clone())));
    // Not by `println!`, which the harness keeps to itself.
    writeln!(io::stderr(), "a request with retry: {counted:?}").unwrap();
    assert_eq!(counted.count_total, 2, "{counted:?}");
    assert_eq!(clone.count_total, counted.count_total, "the clone is all of it");
    assert_eq!(clone.bytes_total, counted.bytes_total, "the clone is all of it");
}

/// A provider with a token that is fresh for the next forty minutes.
fn fresh_provider() -> TokenProvider {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    // The renewal needs a runtime; what is counted does not, and runs after it is gone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(provider.token()).unwrap();
    fake.expect().client_credentials(1);
    provider
}

/// The outcome of a future that has nothing to wait for.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits"),
    }
}

/// With room for one more header: a map that must grow allocates, and that is the caller's map.
fn request() -> Request<Body> {
    let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
    *request.uri_mut() = Uri::from_static("http://127.0.0.1:1/ics/v3/banks");
    let headers = request.headers_mut();
    headers.reserve(4);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("x-device-id"), HeaderValue::from_static("a-device"));
    request
}

fn send<C>(client: &mut C, request: Request<Body>)
where
    C: Service<Request<Body>, Response = Response<()>, Error: std::fmt::Debug>,
{
    let ready = client.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))));
    let response = now(client.call(request)).unwrap();
    // Only a stamped request is answered so.
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

/// Answers at once, and allocates nothing.
#[derive(Clone)]
struct Immediate;

impl Service<Request<Body>> for Immediate {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(());
        let stamped = request.headers().contains_key(AUTHORIZATION);
        *response.status_mut() = if stamped { StatusCode::NO_CONTENT } else { StatusCode::IM_A_TEAPOT };
        ready(Ok(response))
    }
}
