//! Where new tokens come from: who starts a renewal, who joins one, who is told without one.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::credentials::Credentials;
use crate::error::Error;
use crate::token::access_token::{AccessToken, Freshness};
use crate::token::clock;
use crate::token::endpoint::Endpoint;
use crate::token::flight::{Boarding, Flight, SingleFlight, Takeoff};
use crate::token::provider::TokenProvider;
use crate::token::renewal::Session;
use crate::token::task;

/// A renewal that outlives this cannot be told from none; and `Instant + Duration` must not overflow.
const LONGEST_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where new tokens come from.
pub(super) struct Source {
    pub(super) flights: Arc<SingleFlight<Session, Outcome>>,
    pub(super) endpoint: Endpoint,
    pub(super) credentials: Credentials,
    pub(super) timeout: Duration,
    pub(super) generations: AtomicU64,
    /// The last failure, and until when it holds back the next renewal.
    pub(super) failure: ArcSwapOption<Failure>,
    /// When the session wants to be renewed to stay alive; `None` while there is none.
    pub(super) keep_alive_at: watch::Sender<Option<Instant>>,
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
    /// The session would end while it is idle.
    KeepAlive,
}

/// What a caller asks for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    Usable,
    /// Any but this one, which was refused.
    InsteadOf(&'a AccessToken),
}

impl TokenProvider {
    /// Waits for what is wanted; boards a second time when a flight is abandoned.
    pub(super) async fn obtain(&self, wanted: Wanted<'_>) -> Result<AccessToken, Error> {
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
    pub(super) fn board(
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
        match (wanted, self.current().get()) {
            (Wanted::InsteadOf(rejected), Some(current)) => current.is(rejected),
            _ => false,
        }
    }

    fn take_off(&self, runtime: &Handle, takeoff: Takeoff<Session, Outcome>, cause: Cause) {
        runtime.spawn(task::renew(self.clone(), takeoff, cause));
    }

    #[cold]
    pub(super) fn renew_stale(&self) {
        let Ok(source) = self.source() else { return };
        if source.flights.is_flying() || source.held_back().is_some() {
            return;
        }
        // Outside a runtime the token is all there is to take.
        let Some(runtime) = source.live_runtime() else { return };
        if !source.flights.claim() {
            return;
        }
        let boarding = source.flights.board(|_| {
            let still_stale = matches!(self.current().usable(), Some((_, Freshness::Stale)));
            (!still_stale || source.held_back().is_some()).then_some(())
        });
        if let Boarding::TookOff(takeoff) = boarding {
            self.take_off(&runtime, takeoff, Cause::Due);
        }
    }

    /// Renews a session that exists and that nobody has renewed meanwhile; says whether it did.
    pub(super) fn renew_idle(&self) -> bool {
        let Ok(source) = self.source() else { return false };
        let Some(runtime) = source.live_runtime() else { return false };
        let boarding = source.flights.board(|session| {
            let now = clock::now();
            let due = source.keep_alive_at.borrow().is_some_and(|due| due <= now.monotonic);
            let exists = session.refresh_is_alive(now) || self.cached().is_some();
            (!due || !exists || source.held_back().is_some()).then_some(())
        });
        match boarding {
            Boarding::TookOff(takeoff) => {
                self.take_off(&runtime, takeoff, Cause::KeepAlive);
                true
            }
            Boarding::Joined(_) => true,
            Boarding::Settled(()) => false,
        }
    }
}

impl Source {
    pub(super) fn new(
        endpoint: Endpoint,
        credentials: Credentials,
        timeout: Duration,
        runtime: Option<Handle>,
    ) -> Self {
        Self {
            flights: Arc::new(SingleFlight::new()),
            endpoint,
            credentials,
            timeout: timeout.min(LONGEST_RENEWAL),
            generations: AtomicU64::new(0),
            failure: ArcSwapOption::empty(),
            keep_alive_at: watch::Sender::new(None),
            ended: AtomicBool::new(false),
            runtime,
        }
    }

    /// The configured runtime, or the caller's.
    pub(super) fn runtime(&self) -> Option<Handle> {
        self.runtime.clone().or_else(|| Handle::try_current().ok())
    }

    /// For work that nobody waits for, so that nobody would start it again: not a runtime that has been shut down.
    pub(super) fn live_runtime(&self) -> Option<Handle> {
        self.runtime.clone().filter(is_alive).or_else(|| Handle::try_current().ok())
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

/// A runtime that has been shut down drops a new task at once.
fn is_alive(runtime: &Handle) -> bool {
    let probe = runtime.spawn(pending::<()>());
    let alive = !probe.is_finished();
    probe.abort();
    alive
}
