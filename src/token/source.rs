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
use crate::token::renewal::{LONGEST_LIFETIME, Session};
use crate::token::task;

/// Where new tokens come from.
pub(super) struct Source {
    pub(super) flights: Arc<SingleFlight<Session, Outcome>>,
    /// Ends of the session, which share an outcome of their own.
    pub(super) endings: Arc<SingleFlight<(), Result<(), Error>>>,
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
    Ended,
}

/// What becomes of an idle session whose time has come.
pub(super) enum Idle {
    Renewing(Arc<Flight<Outcome>>),
    /// For so long.
    HeldBack(Duration),
    /// There is none, or it was renewed meanwhile.
    Over,
}

/// Why a renewal starts.
#[derive(Clone, Copy, Debug)]
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
        let mut abandoned = false;
        loop {
            // The runtime that carried an abandoned renewal may be gone: the next one is carried by our own.
            let flight = match self.board(source, wanted, abandoned) {
                Ok(flight) => flight,
                Err(settled) => return settled,
            };
            match flight.landed().await {
                Some(Outcome::Renewed(outcome)) => {
                    if let Some(outcome) = wanted.accept(outcome) {
                        return outcome;
                    }
                }
                Some(Outcome::Ended) => {}
                None if abandoned => return Err(Error::abandoned()),
                None => abandoned = true,
            }
        }
    }

    /// The flight to wait for, joined or started; or the answer, if it is known already.
    pub(super) fn board(
        &self,
        source: &Source,
        wanted: Wanted<'_>,
        on_own_runtime: bool,
    ) -> Result<Arc<Flight<Outcome>>, Result<AccessToken, Error>> {
        if let Some(answer) = self.answer(source, wanted) {
            return Err(answer);
        }
        let mut cause = Cause::First;
        let boarding = source.flights.board(|session| {
            if let Some(answer) = self.answer(source, wanted) {
                return Some(answer);
            }
            if source.runtime.is_none() && Handle::try_current().is_err() {
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
        match boarding {
            Boarding::Settled(answer) => Err(answer),
            // A flight may have brought a token, and another one begun, since the first look.
            Boarding::Joined(flight) => self.at_hand(wanted).map_or(Ok(flight), |token| Err(Ok(token))),
            Boarding::TookOff(takeoff) => {
                let flight = takeoff.flight();
                match source.runtime(on_own_runtime) {
                    Some(runtime) => self.take_off(&runtime, takeoff, cause),
                    None => takeoff.land(Outcome::Renewed(Err(Error::no_runtime()))),
                }
                Ok(flight)
            }
        }
    }

    /// What can be said without a renewal.
    fn answer(&self, source: &Source, wanted: Wanted<'_>) -> Option<Result<AccessToken, Error>> {
        if let Some(token) = self.at_hand(wanted) {
            return Some(Ok(token));
        }
        if matches!(wanted, Wanted::InsteadOf(_)) && source.ended.load(Ordering::Relaxed) {
            return Some(Err(Error::ended()));
        }
        // An abandoned renewal tells nothing of the next one, which may run elsewhere.
        source.held_back().filter(|error| !error.is_abandoned()).map(Err)
    }

    fn at_hand(&self, wanted: Wanted<'_>) -> Option<AccessToken> {
        self.cached().filter(|token| match wanted {
            Wanted::Usable => true,
            Wanted::InsteadOf(rejected) => !token.is(rejected),
        })
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
        if source.flights.is_flying() || source.hold_left().is_some() {
            return;
        }
        // Outside a runtime the token is all there is to take.
        let Some(runtime) = source.runtime(false) else { return };
        if !source.flights.claim() {
            return;
        }
        let boarding = source.flights.board(|_| {
            let still_stale = matches!(self.current().usable(), Some((_, Freshness::Stale)));
            (!still_stale || source.hold_left().is_some()).then_some(())
        });
        if let Boarding::TookOff(takeoff) = boarding {
            self.take_off(&runtime, takeoff, Cause::Due);
        }
    }

    /// Renews a session that exists and that nobody has renewed meanwhile.
    pub(super) fn renew_idle(&self) -> Idle {
        let Ok(source) = self.source() else { return Idle::Over };
        let Some(runtime) = source.runtime(false) else { return Idle::Over };
        let boarding = source.flights.board(|session| {
            let now = clock::now();
            let due = source.keep_alive_at.borrow().is_some_and(|due| due <= now.monotonic);
            let exists = session.refresh_is_alive(now) || self.cached().is_some();
            if !due || !exists { Some(Idle::Over) } else { source.hold_left().map(Idle::HeldBack) }
        });
        match boarding {
            Boarding::Settled(idle) => idle,
            Boarding::Joined(flight) => Idle::Renewing(flight),
            Boarding::TookOff(takeoff) => {
                let flight = takeoff.flight();
                self.take_off(&runtime, takeoff, Cause::KeepAlive);
                Idle::Renewing(flight)
            }
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
            endings: Arc::new(SingleFlight::new()),
            endpoint,
            credentials,
            timeout: timeout.min(LONGEST_LIFETIME),
            generations: AtomicU64::new(0),
            failure: ArcSwapOption::empty(),
            keep_alive_at: watch::Sender::new(None),
            ended: AtomicBool::new(false),
            runtime,
        }
    }

    /// The configured runtime unless it has been shut down, or the caller's; or the other way round.
    pub(super) fn runtime(&self, own_first: bool) -> Option<Handle> {
        let own = || Handle::try_current().ok();
        let given = || self.runtime.clone().filter(is_alive);
        if own_first { own().or_else(given) } else { given().or_else(own) }
    }

    /// How long the last failure still holds back the next renewal.
    fn hold_left(&self) -> Option<Duration> {
        let failure = self.failure.load();
        let left = failure.as_ref()?.hold_until.saturating_duration_since(clock::monotonic());
        (!left.is_zero()).then_some(left)
    }

    /// The error for those whom it holds back.
    fn held_back(&self) -> Option<Error> {
        let left = self.hold_left()?;
        self.failure.load().as_ref().map(|failure| failure.error.clone().with_retry_after(left))
    }
}

impl Wanted<'_> {
    /// Whether the outcome of a renewal is the answer.
    fn accept(self, outcome: Result<AccessToken, Error>) -> Option<Result<AccessToken, Error>> {
        match (self, outcome) {
            // Published, refused, and only then landed: that renewal could not know of the refusal.
            (Wanted::InsteadOf(rejected), Ok(token)) if token.is_same(rejected) => None,
            (Wanted::InsteadOf(rejected), Ok(token)) if token.is(rejected) => Some(Err(Error::unchanged())),
            (_, outcome) => Some(outcome),
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
