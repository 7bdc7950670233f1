//! What may be sent, shared and moved: of our own types everything may; what wraps a user's service follows the service.

#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::convert::Infallible;
use std::marker::{PhantomData, PhantomPinned};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{self, LocalBoxStream, StreamExt};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use neonomics_auth::replay::{BufferBody, BufferBodyWith, CloneBody, WithoutRetry};
use neonomics_auth::testing::{self, Counts, Expectation, FakeBody, FakeNeonomics, Fault, Gate, RecordedRequest};
use neonomics_auth::{
    AccessToken, AuthOutcome, BoxError, Credentials, Environment, Error, Exchanges, NeonomicsAuth, NeonomicsAuthLayer,
    NoReplay, PassReason, Renewals, ReplayBody, ResponseFuture, Status, Tally, TokenProvider, TokenProviderBuilder,
    TokenState,
};
use tower::{Layer, Service, ServiceExt};

#[test]
fn our_own_types_go_everywhere() {
    everywhere::<AccessToken>();
    everywhere::<AuthOutcome>();
    everywhere::<BoxError>();
    everywhere::<BufferBody>();
    everywhere::<CloneBody>();
    everywhere::<Credentials>();
    everywhere::<Environment>();
    everywhere::<Error>();
    everywhere::<Exchanges>();
    everywhere::<NeonomicsAuthLayer>();
    everywhere::<NeonomicsAuthLayer<BufferBody>>();
    everywhere::<NeonomicsAuthLayer<WithoutRetry>>();
    everywhere::<NoReplay>();
    everywhere::<PassReason>();
    everywhere::<Renewals>();
    everywhere::<Status>();
    everywhere::<Tally>();
    everywhere::<TokenProvider>();
    everywhere::<TokenProviderBuilder>();
    everywhere::<TokenState>();
    everywhere::<WithoutRetry>();

    everywhere::<Counts>();
    everywhere::<Expectation>();
    everywhere::<FakeBody>();
    everywhere::<FakeNeonomics>();
    everywhere::<Fault>();
    everywhere::<Gate>();
    everywhere::<RecordedRequest>();
    // It holds the user's body, of which `Send` is all that is asked.
    assert_eq!(auto::<testing::ResponseFuture>().send().sync().unpin(), "Send Unpin");
}

#[cfg(feature = "reqwest")]
#[test]
fn what_wraps_reqwest_goes_everywhere() {
    use neonomics_auth::{ReqwestFuture, ReqwestService};

    everywhere::<ReqwestService>();
    everywhere::<ReqwestFuture>();
}

/// A handle's futures may be spawned, and kept in what is shared: tonic's interceptors and axum's states are.
#[test]
fn the_futures_of_a_provider_are_sent_and_shared() {
    let provider = FakeNeonomics::new().provider();
    let fixed = TokenProvider::fixed(Environment::sandbox(), "a-token").unwrap();
    let rejected = fixed.cached().unwrap();
    sent_and_shared(&provider.token());
    sent_and_shared(&provider.renew(&rejected));
    sent_and_shared(&provider.end_session());

    // Without a borrow, once the handle is inside.
    let token = provider.clone();
    owned(&async move { token.token().await });
    let renew = provider.clone();
    owned(&async move { renew.renew(&rejected).await });
    owned(&async move { provider.end_session().await });
}

#[test]
fn the_futures_of_the_fake_are_sent_and_shared() {
    let fake = FakeNeonomics::new();
    let gate = fake.hold_requests();
    sent_and_shared(&gate.arrived(1));
    sent_and_shared(&FakeNeonomics::listen());
}

#[test]
fn b6_the_service_is_sent_shared_and_moved_as_the_inner_one_is() {
    type Once<S> = NeonomicsAuth<S, WithoutRetry>;
    type Wrapping<F> = NeonomicsAuth<Inner, BufferBodyWith<F>>;
    assert_eq!(auto::<NeonomicsAuth<Inner>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<NeonomicsAuth<Inner<SendOnly>>>().send().sync().unpin(), "Send Unpin");
    // A spare clone is shared by all clones, which live on several threads: to be `Sync` alone is not enough.
    assert_eq!(auto::<NeonomicsAuth<Inner<SyncOnly>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<NeonomicsAuth<Inner<Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<NeonomicsAuth<Inner<Pinned>>>().send().sync().unpin(), "Send Sync");
    // Its future and the body of its responses are nothing to the service.
    assert_eq!(auto::<NeonomicsAuth<Inner<(), Neither, Neither>>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<NeonomicsAuth<Inner<(), Pinned, Pinned>>>().send().sync().unpin(), "Send Sync Unpin");

    // The mode makes no difference.
    assert_eq!(auto::<Once<Inner>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<Once<Inner<SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Once<Inner<SyncOnly>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner<Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner<Pinned>>>().send().sync().unpin(), "Send Sync");
    assert_eq!(auto::<Once<Inner<(), Neither, Neither>>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<Once<Inner<(), Pinned, Pinned>>>().send().sync().unpin(), "Send Sync Unpin");
    // Nor does the limit; a closure that wraps bodies is part of the service.
    assert_eq!(auto::<NeonomicsAuth<Inner, BufferBody>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<NeonomicsAuth<Inner<Neither>, BufferBody>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Wrapping<fn(())>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<Wrapping<SendOnly>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Wrapping<SyncOnly>>().send().sync().unpin(), "Sync Unpin");
    assert_eq!(auto::<Wrapping<Pinned>>().send().sync().unpin(), "Send Sync");
}

#[test]
fn b6_a_recorded_body_is_sent_and_shared_as_the_original_is() {
    assert_eq!(auto::<ReplayBody<()>>().send().sync().unpin(), "Send Sync Unpin");
    assert_eq!(auto::<ReplayBody<SendOnly>>().send().sync().unpin(), "Send Unpin");
    // It is given back to another thread: to be `Sync` alone is not enough.
    assert_eq!(auto::<ReplayBody<SyncOnly>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<ReplayBody<Neither>>().send().sync().unpin(), "Unpin");
    // It is pinned in a box.
    assert_eq!(auto::<ReplayBody<Pinned>>().send().sync().unpin(), "Send Sync Unpin");
}

#[test]
fn b6_the_future_is_sent_shared_and_moved_as_the_inner_one_is() {
    type Plain<S, B = ()> = ResponseFuture<S, B, CloneBody>;
    assert_eq!(auto::<Plain<Inner>>().send().sync().unpin(), "Send Sync Unpin");
    // The inner future runs in it.
    assert_eq!(auto::<Plain<Inner<(), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Plain<Inner<(), Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Plain<Inner<(), Pinned>>>().send().sync().unpin(), "Send Sync");
    // The service is made ready in it, when the token or the second attempt had to wait.
    assert_eq!(auto::<Plain<Inner<SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Plain<Inner<Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Plain<Inner<Pinned>>>().send().sync().unpin(), "Send Sync Unpin");
    // The answer that refused the token is kept until there is another one.
    assert_eq!(auto::<Plain<Inner<(), (), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Plain<Inner<(), (), Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Plain<Inner<(), (), Pinned>>>().send().sync().unpin(), "Send Sync Unpin");
    // The request waits for the first token.
    assert_eq!(auto::<Plain<Inner, SendOnly>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Plain<Inner, Neither>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Plain<Inner, Pinned>>().send().sync().unpin(), "Send Sync Unpin");
}

#[test]
fn b6_the_future_without_retry_is_sent_shared_and_moved_as_the_inner_one_is() {
    type Once<S, B = ()> = ResponseFuture<S, B, WithoutRetry>;
    assert_eq!(auto::<Once<Inner>>().send().sync().unpin(), "Send Sync Unpin");
    // The inner future runs in it.
    assert_eq!(auto::<Once<Inner<(), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Once<Inner<(), Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner<(), Pinned>>>().send().sync().unpin(), "Send Sync");
    // The service is made ready in it, when the token had to wait.
    assert_eq!(auto::<Once<Inner<SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Once<Inner<Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner<Pinned>>>().send().sync().unpin(), "Send Sync Unpin");
    // The states are those of the other modes: the one that keeps an answer is never reached.
    assert_eq!(auto::<Once<Inner<(), (), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Once<Inner<(), (), Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner<(), (), Pinned>>>().send().sync().unpin(), "Send Sync Unpin");
    // The request waits for the first token.
    assert_eq!(auto::<Once<Inner, SendOnly>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Once<Inner, Neither>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Once<Inner, Pinned>>().send().sync().unpin(), "Send Sync Unpin");
}

#[test]
fn b6_the_future_that_records_is_sent_shared_and_moved_as_the_inner_one_is() {
    type Recording<S, B = ()> = ResponseFuture<S, Streamed<B>, BufferBody>;
    type Wrapping<F> = ResponseFuture<Inner, Streamed, BufferBodyWith<F>>;
    assert_eq!(auto::<Recording<Inner>>().send().sync().unpin(), "Send Sync Unpin");
    // The inner future runs in it.
    assert_eq!(auto::<Recording<Inner<(), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Recording<Inner<(), Pinned>>>().send().sync().unpin(), "Send Sync");
    // The service is made ready in it, and the answer that refused the token is kept.
    assert_eq!(auto::<Recording<Inner<Neither>>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Recording<Inner<(), (), SendOnly>>>().send().sync().unpin(), "Send Unpin");
    // The request waits for the first token; its body is claimed back.
    assert_eq!(auto::<Recording<Inner, SendOnly>>().send().sync().unpin(), "Send Unpin");
    assert_eq!(auto::<Recording<Inner, SyncOnly>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Recording<Inner, Neither>>().send().sync().unpin(), "Unpin");
    assert_eq!(auto::<Recording<Inner, Pinned>>().send().sync().unpin(), "Send Sync Unpin");
    // What wraps the body is kept with it.
    assert_eq!(auto::<Wrapping<fn(ReplayBody<Streamed>)>>().send().sync().unpin(), "Send Sync Unpin");
}

/// Neither service nor body need outlive the call that uses them.
#[test]
fn b6_service_and_body_may_borrow() {
    fn serves<B, S: Service<Request<B>>>(_: PhantomData<S>) {}
    fn within<'a>(_: &'a str) {
        serves::<&'a str, NeonomicsAuth<Inner<&'a str>>>(PhantomData);
        serves::<&'a str, NeonomicsAuth<Inner<&'a str>, WithoutRetry>>(PhantomData);
        serves::<Full<&'a [u8]>, NeonomicsAuth<Inner<&'a str>, BufferBody>>(PhantomData);
    }
    within("a while");
}

/// Nothing but `Clone` and an error is asked of the inner service, on no path of the future.
#[tokio::test]
async fn b6_a_service_that_can_be_neither_sent_nor_shared_is_served_where_it_lives() {
    let fake = FakeNeonomics::new();
    let calls = Rc::new(Cell::new(0));
    let inner = {
        let (fake, calls) = (fake.clone(), Rc::clone(&calls));
        tower::service_fn(move |request: Request<Full<Bytes>>| {
            let (fake, calls) = (fake.clone(), Rc::clone(&calls));
            async move {
                calls.set(calls.get() + 1);
                let response = fake.oneshot(request).await?;
                Ok::<_, std::io::Error>(response.map(|_| Rc::new("a body for this thread")))
            }
        })
    };
    // There is no token yet, and the first one is refused: the request passes through every state.
    fake.refuse_requests(1);
    let client = NeonomicsAuthLayer::new(fake.provider()).layer(inner);
    let request = Request::get(format!("{}/echo", fake.origin())).body(Full::default()).unwrap();
    let response = client.oneshot(request).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    let outcome: &AuthOutcome = response.extensions().get().unwrap();
    assert!(outcome.waited() && outcome.replayed());
    assert_eq!(calls.get(), 2, "the inner service");
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
}

/// And nothing of the body.
#[tokio::test]
async fn b6_a_body_that_can_be_neither_sent_nor_shared_is_recorded_where_it_lives() {
    type Local = StreamBody<LocalBoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

    let fake = FakeNeonomics::new();
    let inner = {
        let fake = fake.clone();
        tower::service_fn(move |request: Request<ReplayBody<Local>>| {
            let fake = fake.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = Full::new(body.collect().await?.to_bytes());
                Ok::<_, BoxError>(fake.oneshot(Request::from_parts(head, body)).await?)
            }
        })
    };
    fake.refuse_requests(1);
    let client = NeonomicsAuthLayer::new(fake.provider()).buffer_body(100).layer(inner);
    let piece = Rc::new("a piece of this thread");
    let frames = stream::repeat(piece).take(2).map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
    let body = StreamBody::new(frames.boxed_local());
    let response = client.oneshot(Request::post(format!("{}/echo", fake.origin())).body(body).unwrap()).await.unwrap();

    assert_eq!(response.status(), StatusCode::OK);
    let echoed = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(echoed, "a piece of this threada piece of this thread");
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
}

// What is tested with

fn everywhere<T: Send + Sync + Unpin + 'static>() {}

fn sent_and_shared<T: Send + Sync>(_: &T) {}

fn owned<T: Send + Sync + 'static>(_: &T) {}

/// Finds out what the compiler knows of `T`: each method of [`Auto`] is there where its bound holds, and elsewhere the one
/// of [`Otherwise`] is called.
fn auto<T>() -> Auto<T> {
    Auto { found: Vec::new(), of: PhantomData }
}

struct Auto<T> {
    found: Vec<&'static str>,
    of: PhantomData<T>,
}

impl<T: Send> Auto<T> {
    fn send(mut self) -> Self {
        self.found.push("Send");
        self
    }
}

impl<T: Sync> Auto<T> {
    fn sync(mut self) -> Self {
        self.found.push("Sync");
        self
    }
}

impl<T: Unpin> Auto<T> {
    fn unpin(mut self) -> String {
        self.found.push("Unpin");
        self.found.join(" ")
    }
}

trait Otherwise: Sized {
    fn send(self) -> Self {
        self
    }

    fn sync(self) -> Self {
        self
    }

    fn unpin(self) -> String;
}

impl<T> Otherwise for Auto<T> {
    fn unpin(self) -> String {
        self.found.join(" ")
    }
}

/// `Send`, but not `Sync`.
type SendOnly = Cell<()>;
/// `Sync`, but not `Send`.
type SyncOnly = PhantomData<MutexGuard<'static, ()>>;
/// Neither `Send` nor `Sync`.
type Neither = Rc<()>;
/// Not `Unpin`.
type Pinned = PhantomPinned;

/// A service that is what `Own` is, its future what `Fut` is, its response body `Res`.
#[derive(Clone)]
struct Inner<Own = (), Fut = (), Res = ()> {
    _own: Own,
    future: PhantomData<fn() -> Answer<Fut, Res>>,
}

/// A request body that is what `Own` is.
struct Streamed<Own = ()> {
    _own: Own,
}

impl<Own> Body for Streamed<Own> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

struct Answer<Fut, Res> {
    _own: Fut,
    response: PhantomData<fn() -> Res>,
}

impl<B, Own, Fut, Res> Service<Request<B>> for Inner<Own, Fut, Res> {
    type Response = Response<Res>;
    type Error = Infallible;
    type Future = Answer<Fut, Res>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<B>) -> Answer<Fut, Res> {
        unreachable!("never ready")
    }
}

impl<Fut, Res> Future for Answer<Fut, Res> {
    type Output = Result<Response<Res>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}
