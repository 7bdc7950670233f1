//! [`NeonomicsAuthLayer`]: options in, service out.

use std::fmt;
use std::sync::Arc;

use http::response::Parts;
use tower_layer::Layer;

use crate::replay::{BufferBody, BufferBodyWith, CloneBody, WithoutRetry};
use crate::service::{NeonomicsAuth, Predicate};
use crate::token::TokenProvider;

/// Puts a valid access token on every request to the environment's API origins, and sends a request once more when the
/// API answered 401 and a renewal brought a new token.
///
/// `R` says what is kept of a request for its second attempt: a clone ([`CloneBody`]), its body as it streams
/// ([`buffer_body`](Self::buffer_body)), or nothing ([`without_retry`](Self::without_retry)). A timeout layer belongs
/// *around* this one, so that it bounds both attempts and the wait for the token.
///
/// # Clone
///
/// Clones share the provider.
///
/// # Examples
///
/// See the [crate root](crate#example).
#[derive(Clone)]
pub struct NeonomicsAuthLayer<R = CloneBody> {
    provider: TokenProvider,
    replay: R,
    refused: Option<Arc<Predicate>>,
}

impl NeonomicsAuthLayer {
    /// For requests whose body is `Clone` (`Full<Bytes>`, `Empty`, `String`): the inner service sees the same body type.
    #[must_use]
    pub fn new(provider: TokenProvider) -> Self {
        Self { provider, replay: CloneBody, refused: None }
    }
}

impl<R> NeonomicsAuthLayer<R> {
    /// Any body, recorded as it streams, up to `limit` bytes: the inner service sees a [`ReplayBody`](crate::ReplayBody).
    ///
    /// The first attempt streams as it would without this layer. After a refusal the second one sends what has passed,
    /// and then the rest of the original. A body that is larger, or that fails, is sent once: its 401 comes back, and a
    /// renewal starts in the background.
    ///
    /// A body that is still being sent when the refusal comes pauses until there is a new token. Then it is called back:
    /// it fails for the first attempt, which has its answer (over HTTP/1.1 the connection goes with it). If there is no
    /// new token, or the inner service has not let go of the body a second later, as when it waits for room to send, the
    /// 401 is returned and the body goes on.
    ///
    /// `limit` bounds the bytes of data of one request; each frame costs some 40 bytes more, and keeps the allocation
    /// behind its [`Bytes`](bytes::Bytes) alive.
    #[must_use]
    pub fn buffer_body(self, limit: usize) -> NeonomicsAuthLayer<BufferBody> {
        self.with(BufferBody { limit })
    }

    /// As [`buffer_body`](Self::buffer_body), and `wrap` gives the inner service its own body type:
    /// `tonic::body::Body::new`, `axum::body::Body::new`.
    #[must_use]
    pub fn buffer_body_with<F>(self, limit: usize, wrap: F) -> NeonomicsAuthLayer<BufferBodyWith<F>> {
        self.with(BufferBodyWith { limit, wrap })
    }

    /// Any body, passed on untouched and sent once: a 401 comes back, and a renewal starts in the background. Until it has
    /// ended, further requests still carry the old token.
    #[must_use]
    pub fn without_retry(self) -> NeonomicsAuthLayer<WithoutRetry> {
        self.with(WithoutRetry)
    }

    /// Replaces the rule that says which answers refuse the token.
    ///
    /// Without it: gRPC status 16 in the headers of an answer, and a 401, unless its Bearer challenge names an error other
    /// than `invalid_token` (RFC 6750 §3.1); a
    /// `WWW-Authenticate` line that cannot be parsed names none, and one with a `token68` (`Negotiate …`) cannot. The
    /// predicate is asked for the answer to each first attempt that carried a token, on the request's task: it must not
    /// block. An answer that it takes for a refusal, but that was applied by the API, leads to a request that is applied
    /// twice.
    #[must_use]
    pub fn rejected_when<P>(mut self, predicate: P) -> Self
    where
        P: Fn(&Parts) -> bool + Send + Sync + 'static,
    {
        self.refused = Some(Arc::new(predicate));
        self
    }

    fn with<Other>(self, replay: Other) -> NeonomicsAuthLayer<Other> {
        NeonomicsAuthLayer { provider: self.provider, replay, refused: self.refused }
    }
}

impl<S: Clone, R: Clone> Layer<S> for NeonomicsAuthLayer<R> {
    type Service = NeonomicsAuth<S, R>;

    fn layer(&self, inner: S) -> NeonomicsAuth<S, R> {
        NeonomicsAuth::with(inner, self.provider.clone(), self.replay.clone(), self.refused.clone())
    }
}

impl<R: fmt::Debug> fmt::Debug for NeonomicsAuthLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NeonomicsAuthLayer")
            .field("provider", &self.provider)
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}
