//! How a request is kept for its second attempt.

// Knows nothing of tokens, statuses or tower.

use std::convert::Infallible;

use http::Request;

/// How a request is kept for its second attempt: the mode of a [`NeonomicsAuth`](crate::NeonomicsAuth).
///
/// Sealed: implemented by [`CloneBody`] and [`WithoutRetry`].
#[diagnostic::on_unimplemented(
    message = "`NeonomicsAuthLayer` cannot send a request with the body `{B}` twice: this body is not `Clone`",
    label = "this mode does not fit the body `{B}`",
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

    /// The request for the second attempt, as it was.
    #[doc(hidden)]
    fn again(kept: Self::Kept) -> Request<Self::Body>;
}

/// Keeps a clone of the request: for bodies that are `Clone`. The inner service gets the same body type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CloneBody;

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

    fn again(kept: Request<B>) -> Request<B> {
        kept
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

    fn again(kept: Infallible) -> Request<B> {
        match kept {}
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::CloneBody {}
    impl Sealed for super::WithoutRetry {}
}
