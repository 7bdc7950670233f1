//! [`TokenProvider`]: the handle; what the token is, judged against the clock.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::Error;
use crate::origin::Origins;
use crate::secret::Secret;
use crate::token::access_token::{AccessToken, Current, Freshness, bearer};
use crate::token::builder::TokenProviderBuilder;
use crate::token::clock;
use crate::token::endpoint::Endpoint;
use crate::token::source::{Source, Wanted};
use crate::token::status::Counters;
use crate::transport::Transport;

/// The shared session of one client id: obtains the access token, renews it, hands it out.
///
/// A token is *fresh* for 70 to 80 % of its lifetime (drawn once per token), then *stale* until it expires. A fresh
/// token costs a few atomic operations and one look at the clock. The first caller that meets a stale one starts its renewal
/// and takes the token all the same. Only who finds no usable token waits, and all who wait share one renewal and its
/// outcome.
///
/// Make one provider per client id: each further one is one more session at the authorization server.
///
/// # Clone
///
/// Clones share everything. A renewal that is under way when the last clone goes runs to its end on its own.
///
/// # Examples
///
#[cfg_attr(feature = "testing", doc = "```")]
#[cfg_attr(not(feature = "testing"), doc = "```ignore")]
/// use neonomics_auth::testing::FakeNeonomics;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), neonomics_auth::Error> {
/// let fake = FakeNeonomics::new();
/// let provider = fake.provider();
/// assert!(provider.cached().is_none());
///
/// let token = provider.token().await?;
/// assert_eq!(token.generation(), 1);
/// assert_eq!(fake.counts().client_credentials, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenProvider {
    shared: Arc<Shared>,
}

/// The future of [`TokenProvider::token`], for a caller that keeps it in a struct.
pub(crate) type TokenFuture = Pin<Box<dyn Future<Output = Result<AccessToken, Error>> + Send + Sync>>;

struct Shared {
    environment: Environment,
    current: Current,
    counters: Counters,
    /// `None`: a fixed token.
    source: Option<Source>,
}

/// A provider that may be gone.
pub(super) struct WeakProvider(Weak<Shared>);

impl TokenProvider {
    /// A provider with the default transport: reqwest over TLS, without redirects, cookies, idle connections or a
    /// resending of its own. Asks nobody, spawns nothing, needs no runtime; over https the system's CA certificates are
    /// read.
    ///
    /// # Errors
    ///
    /// Fails when the client id or a fixed secret is empty, and when the default transport cannot be built.
    #[cfg(feature = "reqwest")]
    pub fn new(environment: Environment, credentials: Credentials) -> Result<Self, Error> {
        Self::builder(environment, credentials).build()
    }

    /// A provider with a transport, a deadline or a runtime of your own.
    pub fn builder(environment: Environment, credentials: Credentials) -> TokenProviderBuilder {
        TokenProviderBuilder::new(environment, credentials)
    }

    /// A constant token for the environment's origins, never renewed: for tests and scripts.
    ///
    /// # Errors
    ///
    /// Fails when `token` is not a `b64token` (RFC 6750 §2.1); the error does not show it.
    pub fn fixed(environment: Environment, token: impl Into<String>) -> Result<Self, Error> {
        let token = Secret::from(token.into());
        let authorization =
            bearer(token.expose()).ok_or_else(|| Error::configuration("the fixed token cannot be sent in a header"))?;
        Ok(Self::with(environment, Some(AccessToken::fixed(authorization)), None))
    }

    pub(super) fn renewable(
        environment: Environment,
        credentials: Credentials,
        transport: Transport,
        timeout: Duration,
        runtime: Option<Handle>,
    ) -> Self {
        let endpoint = Endpoint::new(&environment, credentials.id(), transport);
        let source = Source::new(endpoint, credentials, timeout, runtime);
        Self::with(environment, None, Some(source))
    }

    fn with(environment: Environment, token: Option<AccessToken>, source: Option<Source>) -> Self {
        let current = Current::new(token);
        Self { shared: Arc::new(Shared { environment, current, counters: Counters::default(), source }) }
    }

    /// The current token. Waits only when there is none that is usable: for the one renewal that all share, at most
    /// its deadline (10 seconds unless set), 5 seconds more while [`end_session`](Self::end_session) runs, and once
    /// again when the runtime that carried the renewal is shut down.
    ///
    /// # Errors
    ///
    /// The outcome of the renewal, or of the last one while it holds back the next. A typed error outside a tokio
    /// runtime, when a renewal would have to start and the provider was given no runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the renewal goes on without this caller, and its result is kept.
    pub async fn token(&self) -> Result<AccessToken, Error> {
        match self.usable() {
            Some(token) => Ok(token),
            None => self.obtain(Wanted::Usable).await,
        }
    }

    /// A usable token or none, without waiting and without side effect: a stale token is not renewed by this.
    ///
    /// For places that cannot wait, such as tonic's interceptors.
    #[must_use]
    pub fn cached(&self) -> Option<AccessToken> {
        self.shared.current.usable().map(|(token, _)| token)
    }

    /// "This token was refused": a newer one.
    ///
    /// Decides by the token's bytes. When `rejected` is the current token, waits for the renewal that is under way or
    /// starts one; when it is any other and there is a usable token, yields that one without an exchange; else does as
    /// [`token`](Self::token). Until the renewal has succeeded, others still get the old token: a refusal concerns the
    /// request that met it.
    ///
    /// # Errors
    ///
    /// Those of the renewal; at once while a failure holds back the next one, or when ten forced renewals followed one
    /// another faster than one a minute ([`retry_after`](Error::retry_after) tells how long); when the renewal brought
    /// the same token again; when the session was ended and nobody has asked for a token since; when the token is
    /// fixed; outside a tokio runtime as [`token`](Self::token), which says too how long it can take.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the renewal goes on without this caller, and its result is kept.
    pub async fn renew(&self, rejected: &AccessToken) -> Result<AccessToken, Error> {
        self.obtain(Wanted::InsteadOf(rejected)).await
    }

    pub(crate) fn origins(&self) -> &Origins {
        self.shared.environment.origins()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// The hot path: a usable token or none, at once. Whoever meets a stale one first starts its renewal behind it.
    #[inline]
    pub(crate) fn usable(&self) -> Option<AccessToken> {
        let (token, freshness) = self.shared.current.usable()?;
        if freshness == Freshness::Stale {
            self.renew_stale();
        }
        Some(token)
    }

    /// [`token`](Self::token) for a caller that keeps the future.
    pub(crate) fn token_future(&self) -> TokenFuture {
        let provider = self.clone();
        Box::pin(async move { provider.token().await })
    }

    /// [`renew`](Self::renew) for a caller that keeps the future.
    pub(crate) fn renew_future(&self, rejected: AccessToken) -> TokenFuture {
        let provider = self.clone();
        Box::pin(async move { provider.renew(&rejected).await })
    }

    /// [`renew`](Self::renew) for a caller that does not wait.
    pub(crate) fn renew_behind(&self, rejected: &AccessToken) {
        if let Some(source) = &self.shared.source {
            // Settled, joined or started: nobody is there to be told which.
            drop(self.board(source, Wanted::InsteadOf(rejected), false));
        }
    }

    /// By the timer of the runtime that renewals have, whoever polls it; none where there is none.
    pub(crate) fn pause(&self, duration: Duration) -> Option<Pause> {
        let runtime = self.shared.source.as_ref()?.runtime(false)?;
        let until = clock::monotonic() + duration;
        Some(Pause(runtime.spawn(async move { sleep_until(until).await })))
    }

    /// A handle that does not keep the provider.
    pub(super) fn downgrade(&self) -> WeakProvider {
        WeakProvider(Arc::downgrade(&self.shared))
    }

    pub(super) fn source(&self) -> Result<&Source, Error> {
        self.shared.source.as_ref().ok_or_else(Error::not_renewable)
    }

    pub(super) fn current(&self) -> &Current {
        &self.shared.current
    }
}

/// Over when its time is, or at once when the runtime that measures it is shut down or has no timers. On a task, since a
/// timer by itself panics then.
pub(crate) struct Pause(JoinHandle<()>);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl WeakProvider {
    pub(super) fn upgrade(&self) -> Option<TokenProvider> {
        self.0.upgrade().map(|shared| TokenProvider { shared })
    }
}

impl fmt::Debug for TokenProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenProvider")
            .field("environment", &self.shared.environment)
            .field("current", &self.shared.current.get())
            .finish_non_exhaustive()
    }
}
