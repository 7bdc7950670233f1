//! How a request is kept for its second attempt.

// Knows nothing of tokens, statuses or tower.

pub(crate) mod body;
mod original;
mod record;

use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};

use http::Request;
use http::request::Parts;
use http_body::Body;

use self::body::{Recording, ReplayBody};
use crate::error::BoxError;

/// How a request is kept for its second attempt: the mode of a [`NeonomicsAuth`](crate::NeonomicsAuth).
///
/// Sealed: implemented by [`CloneBody`], [`BufferBody`], [`BufferBodyWith`] and [`WithoutRetry`].
#[diagnostic::on_unimplemented(
    message = "`NeonomicsAuthLayer` cannot send a request with the body `{B}` twice: this body is not `Clone`",
    label = "this mode does not fit the body `{B}`",
    note = "`.buffer_body(limit)` takes any body and records it as it streams, so that it can be sent again",
    note = "`.without_retry()` takes any body and passes it on untouched: a 401 then comes back to you"
)]
pub trait Replay<B>: sealed::Sealed {
    /// The body that the inner service gets.
    type Body;

    /// What is kept while the first attempt is under way.
    #[doc(hidden)]
    type Kept;

    /// For a request that is sent once at the most.
    #[doc(hidden)]
    fn once(&self, request: Request<B>) -> Request<Self::Body>;

    /// For a request that may be sent twice; `None` kept: this one cannot.
    #[doc(hidden)]
    fn keep(&self, request: Request<B>) -> (Request<Self::Body>, Option<Self::Kept>);

    /// The first attempt was refused: whether a second one can be made. What the first one still holds of the request
    /// is halted.
    #[doc(hidden)]
    fn halt(kept: &Self::Kept) -> bool;

    /// There is a new token: what the first attempt still holds of the request is called back. Ready when it is back, or
    /// is lost.
    #[doc(hidden)]
    fn poll_back(kept: &Self::Kept, cx: &mut Context<'_>) -> Poll<()>;

    /// The request for the second attempt, as it was; `None`: it has not been given back.
    #[doc(hidden)]
    fn again(kept: Self::Kept) -> Option<Request<Self::Body>>;
}

/// Keeps a clone of the request: for bodies that are `Clone`. The inner service gets the same body type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CloneBody;

/// Records the body as it streams, up to a limit: any body. The inner service gets a [`ReplayBody`].
#[derive(Clone, Copy, Debug)]
pub struct BufferBody {
    pub(crate) limit: usize,
}

/// As [`BufferBody`], and `F` turns the [`ReplayBody`] into the body that the inner service takes.
#[derive(Clone, Copy)]
pub struct BufferBodyWith<F> {
    pub(crate) limit: usize,
    pub(crate) wrap: F,
}

/// Keeps nothing: any body, passed on untouched, never sent twice.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct WithoutRetry;

#[diagnostic::do_not_recommend]
impl<B: Clone> Replay<B> for CloneBody {
    type Body = B;
    type Kept = Request<B>;

    fn once(&self, request: Request<B>) -> Request<B> {
        request
    }

    fn keep(&self, request: Request<B>) -> (Request<B>, Option<Request<B>>) {
        let kept = request.clone();
        (request, Some(kept))
    }

    fn halt(_: &Request<B>) -> bool {
        true
    }

    fn poll_back(_: &Request<B>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn again(kept: Request<B>) -> Option<Request<B>> {
        Some(kept)
    }
}

impl<B> Replay<B> for WithoutRetry {
    type Body = B;
    type Kept = Infallible;

    fn once(&self, request: Request<B>) -> Request<B> {
        request
    }

    fn keep(&self, request: Request<B>) -> (Request<B>, Option<Infallible>) {
        (request, None)
    }

    fn halt(kept: &Infallible) -> bool {
        match *kept {}
    }

    fn poll_back(kept: &Infallible, _: &mut Context<'_>) -> Poll<()> {
        match *kept {}
    }

    fn again(kept: Infallible) -> Option<Request<B>> {
        match kept {}
    }
}

/// The head of a request, and the recording of its body.
#[doc(hidden)]
#[derive(Debug)]
pub struct Recorded<B> {
    head: Parts,
    body: Recording<B>,
}

impl<B: Body> Recorded<B> {
    fn of(request: Request<B>, limit: usize) -> (Request<ReplayBody<B>>, Option<Self>) {
        let (head, body) = request.into_parts();
        let (body, recording) = ReplayBody::recorded(body, limit);
        let kept = recording.map(|body| Self { head: head.clone(), body });
        (Request::from_parts(head, body), kept)
    }

    fn again(self) -> Option<Request<ReplayBody<B>>> {
        Some(Request::from_parts(self.head, self.body.play()?))
    }
}

impl<B> Replay<B> for BufferBody
where
    B: Body<Error: Into<BoxError>>,
{
    type Body = ReplayBody<B>;
    type Kept = Recorded<B>;

    fn once(&self, request: Request<B>) -> Request<ReplayBody<B>> {
        request.map(ReplayBody::untouched)
    }

    fn keep(&self, request: Request<B>) -> (Request<ReplayBody<B>>, Option<Recorded<B>>) {
        Recorded::of(request, self.limit)
    }

    fn halt(kept: &Recorded<B>) -> bool {
        kept.body.halt()
    }

    fn poll_back(kept: &Recorded<B>, cx: &mut Context<'_>) -> Poll<()> {
        kept.body.poll_back(cx)
    }

    fn again(kept: Recorded<B>) -> Option<Request<ReplayBody<B>>> {
        kept.again()
    }
}

impl<B, C, F> Replay<B> for BufferBodyWith<F>
where
    B: Body<Error: Into<BoxError>>,
    F: Fn(ReplayBody<B>) -> C + Clone,
{
    type Body = C;
    type Kept = (Recorded<B>, F);

    fn once(&self, request: Request<B>) -> Request<C> {
        request.map(ReplayBody::untouched).map(&self.wrap)
    }

    fn keep(&self, request: Request<B>) -> (Request<C>, Option<(Recorded<B>, F)>) {
        let (request, kept) = Recorded::of(request, self.limit);
        (request.map(&self.wrap), kept.map(|kept| (kept, self.wrap.clone())))
    }

    fn halt((kept, _): &(Recorded<B>, F)) -> bool {
        kept.body.halt()
    }

    fn poll_back((kept, _): &(Recorded<B>, F), cx: &mut Context<'_>) -> Poll<()> {
        kept.body.poll_back(cx)
    }

    fn again((kept, wrap): (Recorded<B>, F)) -> Option<Request<C>> {
        Some(kept.again()?.map(wrap))
    }
}

impl<F> fmt::Debug for BufferBodyWith<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferBodyWith").field("limit", &self.limit).finish_non_exhaustive()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::BufferBody {}
    impl<F> Sealed for super::BufferBodyWith<F> {}
    impl Sealed for super::CloneBody {}
    impl Sealed for super::WithoutRetry {}
}
