//! `ReqwestService`: a `reqwest::Client` as a tower service, for any body.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Empty, Full, StreamBody};
use neonomics_auth::testing::{FakeNeonomics, RecordedRequest};
use neonomics_auth::{AuthOutcome, NeonomicsAuthLayer, ReqwestFuture, ReqwestService};
use reqwest::redirect::Policy;
use tower::{Layer, ServiceExt};

use crate::{chain, clients, echo, unless_it_hangs};

#[tokio::test]
async fn c1_a_refused_request_is_healed_over_reqwest_and_its_answer_becomes_reqwests_own() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let client = NeonomicsAuthLayer::new(clients::provider(&fake)).layer(service());
    fake.refuse_requests(1);

    let answer = unless_it_hangs(client.oneshot(echo(fake.origin(), "a body"))).await.unwrap();
    let answer: reqwest::Response = answer.into();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.url().as_str(), format!("{}/echo", fake.origin()));
    assert_eq!(answer.headers()["x-echo-method"], "POST");
    assert!(answer.extensions().get::<AuthOutcome>().unwrap().replayed());
    assert_eq!(answer.text().await.unwrap(), "a body");

    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    // Both attempts told how long their body was.
    for request in sent(&fake) {
        assert_eq!(request.headers[CONTENT_LENGTH], "6");
        assert_eq!(request.body, "a body");
    }
}

/// reqwest wants bodies that are `Sync`; this one is not.
#[tokio::test]
async fn b6_a_body_that_is_not_sync_goes_through_and_keeps_its_length_if_it_has_one() {
    for (sized, length, encoding) in [(true, Some("9"), None), (false, None, Some("chunked"))] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let client = NeonomicsAuthLayer::new(clients::provider(&fake)).without_retry().layer(service());
        let request = Request::put(format!("{}/echo", fake.origin())).body(Pieces::new(sized)).unwrap();

        let answer: reqwest::Response = unless_it_hangs(client.oneshot(request)).await.unwrap().into();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.bytes().await.unwrap(), "onetwosix");
        let [request] = sent(&fake).try_into().unwrap();
        assert_eq!(request.headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap()), length);
        assert_eq!(request.headers.get(TRANSFER_ENCODING).map(|value| value.to_str().unwrap()), encoding);
    }
}

#[tokio::test]
async fn b6_a_request_without_body_is_sent_without_one() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let client = NeonomicsAuthLayer::new(clients::provider(&fake)).layer(service());
    let request = Request::get(format!("{}/echo", fake.origin())).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(unless_it_hangs(client.oneshot(request)).await.unwrap().status(), StatusCode::OK);
    let [request] = sent(&fake).try_into().unwrap();
    assert!(!request.headers.contains_key(CONTENT_LENGTH) && !request.headers.contains_key(TRANSFER_ENCODING));
}

/// Data that is not `Bytes`, but becomes it.
#[tokio::test]
async fn b6_a_body_of_other_data_than_bytes_goes_through() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let client = NeonomicsAuthLayer::new(clients::provider(&fake)).layer(service());
    let request = Request::post(format!("{}/echo", fake.origin())).body(Full::new(b"borrowed".as_slice())).unwrap();
    let answer: reqwest::Response = unless_it_hangs(client.oneshot(request)).await.unwrap().into();
    assert_eq!(answer.bytes().await.unwrap(), "borrowed");
}

#[tokio::test]
async fn b6_the_failure_of_a_body_is_the_source_of_the_error() {
    #[derive(Debug)]
    struct Torn;
    impl fmt::Display for Torn {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the body is torn")
        }
    }
    impl StdError for Torn {}

    let fake = FakeNeonomics::listen().await.unwrap();
    let client = NeonomicsAuthLayer::new(clients::provider(&fake)).without_retry().layer(service());
    let frames = [Ok(Frame::data(Bytes::from_static(b"begun"))), Err(Torn)];
    let request = Request::post(format!("{}/echo", fake.origin())).body(StreamBody::new(stream::iter(frames))).unwrap();

    let error = unless_it_hangs(client.oneshot(request)).await.unwrap_err();
    let error = error.downcast::<reqwest::Error>().unwrap();
    assert!(chain(&*error).any(<dyn StdError>::is::<Torn>), "{error:?}");
    // Half a request is none.
    fake.expect().client_credentials(1).requests(0);
}

#[tokio::test]
async fn b6_a_uri_without_scheme_is_an_error_and_no_panic() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let client = NeonomicsAuthLayer::new(clients::provider(&fake)).layer(service());
    for uri in ["/echo", "*", "127.0.0.1:1"] {
        let request = || Request::get(uri).body(Full::<Bytes>::default()).unwrap();
        let error = unless_it_hangs(service().oneshot(request())).await.unwrap_err();
        assert!(error.is_builder(), "{uri}: {error:?}");
        let error = unless_it_hangs(client.clone().oneshot(request())).await.unwrap_err();
        assert!(error.downcast::<reqwest::Error>().unwrap().is_builder(), "{uri}");
    }
    fake.expect().requests(0);
}

#[test]
fn b6_the_service_and_its_future_are_send_sync_and_unpin() {
    fn holds<T: Send + Sync + Unpin + 'static>() {}
    holds::<ReqwestService>();
    holds::<ReqwestFuture>();
}

/// Straight to the server: no proxy of the environment, no redirects below the layer, no certificates of the machine.
fn service() -> ReqwestService {
    let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).tls_certs_only([]);
    ReqwestService::new(client.build().unwrap())
}

/// What reached the API.
fn sent(fake: &FakeNeonomics) -> Vec<RecordedRequest> {
    fake.requests().into_iter().filter(|request| request.uri.path() == "/echo").collect()
}

/// Comes in pieces, and is not `Sync` for the cell in it.
struct Pieces {
    left: VecDeque<Bytes>,
    sized: bool,
    polled: Cell<usize>,
}

impl Pieces {
    fn new(sized: bool) -> Self {
        let left = ["one", "two", "six"].map(Bytes::from).into();
        Self { left, sized, polled: Cell::new(0) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Every other time it is not ready yet.
        let polled = self.polled.replace(self.polled.get() + 1);
        if polled % 2 == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.left.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized {
            SizeHint::with_exact(self.left.iter().map(|piece| piece.len() as u64).sum())
        } else {
            SizeHint::default()
        }
    }
}
