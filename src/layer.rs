//! [`NeonomicsAuthLayer`]: options in, service out.

use std::fmt;
use std::sync::Arc;

use http::response::Parts;
use tower_layer::Layer;

use crate::replay::{CloneBody, WithoutRetry};
use crate::service::{NeonomicsAuth, Predicate};
use crate::token::TokenProvider;

/// Puts a valid access token on every request to the environment's API origins, and sends a request once more when the
/// API answered 401 and a renewal brought a new token.
///
/// `R` says what is kept of a request for its second attempt: a clone ([`CloneBody`]), or nothing
/// ([`without_retry`](Self::without_retry)). A timeout layer belongs *around* this one, so that it bounds both attempts
/// and the wait for the token.
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
    /// Any body, passed on untouched and sent once: a 401 comes back, and a renewal starts in the background. Until it has
    /// ended, further requests still carry the old token.
    #[must_use]
    pub fn without_retry(self) -> NeonomicsAuthLayer<WithoutRetry> {
        NeonomicsAuthLayer { provider: self.provider, replay: WithoutRetry, refused: self.refused }
    }

    /// Replaces the rule that says which answers refuse the token.
    ///
    /// Without it: a 401, unless its Bearer challenge names an error other than `invalid_token` (RFC 6750 §3.1); a
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
