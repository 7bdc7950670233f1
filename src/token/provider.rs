//! [`TokenProvider`]: the handle; what the token is, judged against the clock, and who has to wait for which renewal.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::Error;
use crate::origin::Origins;
use crate::token::access_token::{AccessToken, Current, Freshness, bearer};
use crate::token::builder::TokenProviderBuilder;
use crate::token::clock;
use crate::token::endpoint::Endpoint;
use crate::token::flight::{Boarding, Flight, SingleFlight, Takeoff};
use crate::token::renewal::Session;
use crate::token::status::Counters;
use crate::token::task;
use crate::transport::Transport;

/// A renewal that outlives this cannot be told from none; and `Instant + Duration` must not overflow.
const LONGEST_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The shared session of one client id: obtains the access token, renews it, hands it out.
///
/// A token is *fresh* for 70 to 80 % of its lifetime (drawn once per token), then *stale* until it expires. A fresh
/// token costs one atomic load and one look at the clock. The first caller that meets a stale one starts its renewal
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

/// Where new tokens come from.
pub(super) struct Source {
    pub(super) flights: Arc<SingleFlight<Session, Outcome>>,
    pub(super) endpoint: Endpoint,
    pub(super) credentials: Credentials,
    pub(super) timeout: Duration,
    pub(super) generations: AtomicU64,
    /// The last failure, and until when it holds back the next renewal.
    pub(super) failure: ArcSwapOption<Failure>,
    /// `end_session` was called, and nobody has asked for a token since.
    pub(super) ended: AtomicBool,
    runtime: Option<Handle>,
}

/// A failed renewal.
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) at: Instant,
    pub(super) hold_until: Instant,
}

/// How a flight can end.
#[derive(Clone)]
pub(super) enum Outcome {
    Renewed(Result<AccessToken, Error>),
    Ended(Result<(), Error>),
}

/// Why a renewal starts.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// There was no usable token.
    First,
    /// The token turned stale.
    Due,
    /// An API refused the token.
    Forced,
}

/// What a caller asks for.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    Usable,
    /// Any but this one, which was refused.
    InsteadOf(&'a AccessToken),
}

impl TokenProvider {
    /// A provider with the default transport: reqwest over TLS, without redirects, cookies, idle connections or a
    /// resending of its own. No I/O, spawns nothing, needs no runtime.
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
        let token = crate::secret::Secret::from(token.into());
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
        let source = Source {
            flights: Arc::new(SingleFlight::new()),
            endpoint: Endpoint::new(&environment, credentials.id(), transport),
            credentials,
            timeout: timeout.min(LONGEST_RENEWAL),
            generations: AtomicU64::new(0),
            failure: ArcSwapOption::empty(),
            ended: AtomicBool::new(false),
            runtime,
        };
        Self::with(environment, None, Some(source))
    }

    fn with(environment: Environment, token: Option<AccessToken>, source: Option<Source>) -> Self {
        let current = Current::new(token);
        Self { shared: Arc::new(Shared { environment, current, counters: Counters::default(), source }) }
    }

    /// The current token. Waits only when there is none that is usable: for the one renewal that all share, at most
    /// its deadline (10 seconds unless set), or 15 seconds behind a running [`end_session`](Self::end_session).
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
    /// fixed.
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
            drop(self.board(source, Wanted::InsteadOf(rejected), source.runtime()));
        }
    }

    #[cold]
    fn renew_stale(&self) {
        let Some(source) = &self.shared.source else { return };
        if source.flights.is_flying() || source.held_back().is_some() {
            return;
        }
        // Outside a runtime the token is all there is to take.
        let Some(runtime) = source.runtime() else { return };
        if !source.flights.claim() {
            return;
        }
        let boarding = source.flights.board(|_| {
            let still_stale = matches!(self.shared.current.usable(), Some((_, Freshness::Stale)));
            (!still_stale || source.held_back().is_some()).then_some(())
        });
        if let Boarding::TookOff(takeoff) = boarding {
            self.take_off(&runtime, takeoff, Cause::Due);
        }
    }

    /// Waits for what is wanted; boards a second time when a flight is abandoned.
    async fn obtain(&self, wanted: Wanted<'_>) -> Result<AccessToken, Error> {
        let source = self.source()?;
        let mut runtime = source.runtime();
        let mut abandoned = false;
        loop {
            let flight = match self.board(source, wanted, runtime.take()) {
                Ok(flight) => flight,
                Err(settled) => return settled,
            };
            match flight.landed().await {
                Some(Outcome::Renewed(outcome)) => return wanted.accept(outcome),
                Some(Outcome::Ended(_)) => runtime = source.runtime(),
                None if abandoned => return Err(Error::abandoned()),
                // The runtime that carried it may be gone: the next one is carried by our own.
                None => {
                    abandoned = true;
                    runtime = Handle::try_current().ok().or_else(|| source.runtime());
                }
            }
        }
    }

    /// The flight to wait for, joined or started; or the answer, if it is known already.
    fn board(
        &self,
        source: &Source,
        wanted: Wanted<'_>,
        runtime: Option<Handle>,
    ) -> Result<Arc<Flight<Outcome>>, Result<AccessToken, Error>> {
        if let Some(answer) = self.answer(source, wanted) {
            return Err(answer);
        }
        let mut cause = Cause::First;
        let boarding = source.flights.board(|session| {
            if let Some(answer) = self.answer(source, wanted) {
                return Some(answer);
            }
            if runtime.is_none() {
                return Some(Err(Error::no_runtime()));
            }
            if self.is_current(wanted) {
                cause = Cause::Forced;
                if let Err(wait) = session.take_forced(clock::monotonic()) {
                    return Some(Err(Error::refused_too_often().with_retry_after(wait)));
                }
            }
            source.ended.store(false, Ordering::Relaxed);
            None
        });
        match (boarding, runtime) {
            (Boarding::Settled(answer), _) => Err(answer),
            (Boarding::Joined(flight), _) => Ok(flight),
            (Boarding::TookOff(takeoff), Some(runtime)) => {
                let flight = takeoff.flight();
                self.take_off(&runtime, takeoff, cause);
                Ok(flight)
            }
            (Boarding::TookOff(_), None) => Err(Err(Error::no_runtime())),
        }
    }

    /// What can be said without a renewal.
    fn answer(&self, source: &Source, wanted: Wanted<'_>) -> Option<Result<AccessToken, Error>> {
        match (wanted, self.cached()) {
            (Wanted::Usable, Some(token)) => return Some(Ok(token)),
            (Wanted::InsteadOf(rejected), Some(token)) if !token.is(rejected) => return Some(Ok(token)),
            (Wanted::InsteadOf(_), _) if source.ended.load(Ordering::Relaxed) => return Some(Err(Error::ended())),
            _ => {}
        }
        source.held_back().map(Err)
    }

    /// Whether it is the current token that was refused.
    fn is_current(&self, wanted: Wanted<'_>) -> bool {
        match (wanted, self.shared.current.get()) {
            (Wanted::InsteadOf(rejected), Some(current)) => current.is(rejected),
            _ => false,
        }
    }

    fn take_off(&self, runtime: &Handle, takeoff: Takeoff<Session, Outcome>, cause: Cause) {
        runtime.spawn(task::renew(self.clone(), takeoff, cause));
    }

    pub(super) fn source(&self) -> Result<&Source, Error> {
        self.shared.source.as_ref().ok_or_else(Error::not_renewable)
    }

    pub(super) fn current(&self) -> &Current {
        &self.shared.current
    }
}

impl Source {
    /// The configured runtime, or the caller's.
    pub(super) fn runtime(&self) -> Option<Handle> {
        self.runtime.clone().or_else(|| Handle::try_current().ok())
    }

    /// The failure that holds back the next renewal, with the time left.
    fn held_back(&self) -> Option<Error> {
        let failure = self.failure.load();
        let failure = failure.as_ref()?;
        let left = failure.hold_until.saturating_duration_since(clock::monotonic());
        (!left.is_zero()).then(|| failure.error.clone().with_retry_after(left))
    }
}

impl Wanted<'_> {
    /// A renewal that brought the refused token again has not helped.
    fn accept(self, outcome: Result<AccessToken, Error>) -> Result<AccessToken, Error> {
        match (self, outcome) {
            (Wanted::InsteadOf(rejected), Ok(token)) if token.is(rejected) => Err(Error::unchanged()),
            (_, outcome) => outcome,
        }
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
