//! [`NeonomicsAuth`]: readiness, and stamping on the hot path.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::response::Parts;
use http::{Request, Response};
use tower_service::Service;

use crate::error::{BoxError, Error};
use crate::future::ResponseFuture;
use crate::outcome::PassReason;
use crate::refusal;
use crate::replay::{CloneBody, Replay};
use crate::token::TokenProvider;
use crate::transport::TokenRequest;

/// Decides whether an answer refuses the token.
pub(crate) type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// The service that [`NeonomicsAuthLayer`](crate::NeonomicsAuthLayer) wraps around another.
///
/// Its errors are those of the inner service, and [`Error`] where there is no token: tell them apart with
/// `error.downcast_ref::<neonomics_auth::Error>()`.
///
/// # Clone
///
/// Clones share the provider; the inner service is cloned.
#[rustfmt::skip]
#[derive(Clone)]
pub struct NeonomicsAuth<
    S,
    R = CloneBody, /* body not `Clone`? `.buffer_body(limit)` or `.without_retry()` */
> {
    inner: S,
    replay: R,
    shared: Arc<Shared<S>>,
}

/// What all clones and all futures of one service share.
pub(crate) struct Shared<S> {
    pub(crate) provider: TokenProvider,
    /// Never made ready: clones of it serve the cold paths, so that the hot path clones no service. Behind a lock since
    /// an inner service need not be `Sync`; taken only where a request waits anyway.
    spare: Mutex<S>,
    refused: Option<Arc<Predicate>>,
}

impl<S: Clone> NeonomicsAuth<S> {
    /// The plain case, for bodies that are `Clone`: short for
    /// [`NeonomicsAuthLayer::new(provider).layer(inner)`](crate::NeonomicsAuthLayer::new).
    pub fn new(inner: S, provider: TokenProvider) -> Self {
        Self::with(inner, provider, CloneBody, None)
    }
}

impl<S, R> NeonomicsAuth<S, R> {
    pub(crate) fn with(inner: S, provider: TokenProvider, replay: R, refused: Option<Arc<Predicate>>) -> Self
    where
        S: Clone,
    {
        let spare = Mutex::new(inner.clone());
        Self { inner, replay, shared: Arc::new(Shared { provider, spare, refused }) }
    }

    /// The inner service. There is no mutable access: the spare clone would not see the change.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for NeonomicsAuth<S, R>
where
    R: Replay<B> + Clone,
    S: HttpService<R::Body>,
{
    type Response = Response<S::ResponseBody>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.extensions().get::<TokenRequest>().is_some() {
            return ResponseFuture::failing(Error::recursive());
        }
        if let Err(reason) = self.shared.admit(&request) {
            self.shared.provider.counters().passed.count();
            let attempt = self.inner.call(self.replay.once(request));
            return ResponseFuture::passing(attempt, reason);
        }
        if let Some(token) = self.shared.provider.usable() {
            return ResponseFuture::sending(&mut self.inner, &self.replay, Arc::clone(&self.shared), token, request);
        }
        // What was reserved for this request is released while it waits.
        self.inner = self.shared.spare();
        ResponseFuture::preparing(Arc::clone(&self.shared), self.replay.clone(), request)
    }
}

impl<S> Shared<S> {
    #[inline]
    fn admit<B>(&self, request: &Request<B>) -> Result<(), PassReason> {
        if request.headers().contains_key(AUTHORIZATION) {
            return Err(PassReason::CallerAuthorized);
        }
        self.provider.origins().admit(request.method(), request.uri(), request.headers())
    }

    /// A clone of the inner service that is not ready.
    pub(crate) fn spare(&self) -> S
    where
        S: Clone,
    {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the answer refuses the token; hands the answer back.
    #[inline]
    pub(crate) fn refuses<B>(&self, response: Response<B>) -> (bool, Response<B>) {
        match &self.refused {
            None => (refusal::is_refusal(response.status(), response.headers()), response),
            Some(refused) => {
                let (head, body) = response.into_parts();
                (refused(&head), Response::from_parts(head, body))
            }
        }
    }
}

impl<S: fmt::Debug, R: fmt::Debug> fmt::Debug for NeonomicsAuth<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeonomicsAuth")
            .field("inner", &self.inner)
            .field("replay", &self.replay)
            .field("provider", &self.shared.provider)
            .finish_non_exhaustive()
    }
}

/// What the layer asks of the wrapped service: an alias, implemented for every service that fits.
///
/// In generic code write `S: HttpService<B>` rather than a bound on [`Service`].
///
/// A [`Service`] over [`http`] requests and responses that is `Clone` and whose error becomes a [`BoxError`]. Nothing
/// is asked of the response body; `Send`, `Sync` and `Unpin` follow from the service.
#[diagnostic::on_unimplemented(
    message = "`NeonomicsAuthLayer` cannot wrap `{Self}` for requests with the body `{B}`",
    label = "not an HTTP client service for this body",
    note = "it wraps a `Clone` service that takes `http::Request<{B}>`, answers `http::Response<_>` and has an error \
            that becomes a `BoxError`"
)]
pub trait HttpService<B>:
    Service<Request<B>, Response = Response<Self::ResponseBody>, Error: Into<BoxError>> + Clone
{
    /// The body of the service's responses.
    type ResponseBody;
}

#[diagnostic::do_not_recommend]
impl<S, B, RB> HttpService<B> for S
where
    S: Service<Request<B>, Response = Response<RB>, Error: Into<BoxError>> + Clone,
{
    type ResponseBody = RB;
}
