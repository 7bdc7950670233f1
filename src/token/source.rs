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
    /// The session was ended, or there was no runtime to renew it on: whoever wants a token boards again.
    NoToken,
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
                Some(Outcome::NoToken) => {}
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
        // The runtime that was given may have been shut down, and this caller have none; others may.
        let stranded = Handle::try_current().is_err() && source.runtime(on_own_runtime).is_none();
        let mut cause = Cause::First;
        let boarding = source.flights.board(|session| {
            if let Some(answer) = self.answer(source, wanted) {
                return Some(answer);
            }
            if stranded {
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
                // Shut down since the look before.
                let Some(runtime) = source.runtime(on_own_runtime) else {
                    takeoff.land(Outcome::NoToken);
                    return Err(Err(Error::no_runtime()));
                };
                let flight = takeoff.flight();
                self.take_off(&runtime, takeoff, cause);
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

    /// Whether it is the current token that was refused, and the refusal the reason to replace it.
    fn is_current(&self, wanted: Wanted<'_>) -> bool {
        match (wanted, self.cached()) {
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

#[cfg(test)]
mod tests {
    use std::future::Ready;
    use std::io;
    use std::sync::Barrier;
    use std::thread;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;

    use super::*;
    use crate::environment::Environment;
    use crate::token::access_token::bearer;

    /// A token of its own, whatever others have the same bytes.
    fn token(bytes: &str) -> AccessToken {
        AccessToken::fixed(bearer(bytes).unwrap())
    }

    #[test]
    fn renew_of_a_token_that_was_published_but_had_not_landed_is_not_answered_by_that_token() {
        let refused = token("refused");
        assert!(Wanted::InsteadOf(&refused).accept(Ok(refused.clone())).is_none());
    }

    #[test]
    fn renew_that_brings_the_same_bytes_in_another_token_is_an_error() {
        let outcome = Wanted::InsteadOf(&token("refused")).accept(Ok(token("refused")));
        let error = outcome.expect("it is the answer").unwrap_err();
        assert_eq!(error.to_string(), Error::unchanged().to_string());
    }

    #[test]
    fn renew_that_brings_another_token_or_an_error_is_answered_by_it() {
        let (refused, brought) = (token("refused"), token("brought"));
        let wanted = Wanted::InsteadOf(&refused);
        assert!(wanted.accept(Ok(brought.clone())).unwrap().unwrap().is_same(&brought));
        let error = wanted.accept(Err(Error::abandoned())).unwrap().unwrap_err();
        assert!(error.is_abandoned());
    }

    #[test]
    fn a1_whoever_wants_any_usable_token_is_content_with_every_outcome() {
        let brought = token("brought");
        assert!(Wanted::Usable.accept(Ok(brought.clone())).unwrap().unwrap().is_same(&brought));
        assert!(Wanted::Usable.accept(Err(Error::abandoned())).unwrap().unwrap_err().is_abandoned());
    }

    #[test]
    fn a20_whoever_finds_a_renewal_under_way_and_a_usable_token_beside_it_takes_the_token() {
        for round in 0..200 {
            let provider = idle_provider();
            let source = provider.source().unwrap();
            let brought = token("brought");
            let start = Barrier::new(2);
            thread::scope(|threads| {
                // Looks, finds no token, and stands at the lock while one is published and a forced renewal takes off.
                let caller = threads.spawn(|| {
                    start.wait();
                    provider.board(source, Wanted::Usable, false)
                });
                let boarding = source.flights.board(|_| {
                    start.wait();
                    // Time for its first look. Should it come later, it finds the token there: then this round proves
                    // nothing, and the others do.
                    for _ in 0..round {
                        thread::yield_now();
                    }
                    provider.current().set(Some(brought.clone()));
                    None::<()>
                });
                let Boarding::TookOff(_takeoff) = boarding else { panic!("nobody flies") };
                let Err(settled) = caller.join().unwrap() else { panic!("it waits for the forced renewal") };
                assert!(settled.unwrap().is_same(&brought));
            });
        }
    }

    /// A provider whose exchanges are never made.
    fn idle_provider() -> TokenProvider {
        let environment = Environment::realm("http://127.0.0.1:1/auth/realms/idle", "http://127.0.0.1:1").unwrap();
        let transport = tower::service_fn(|_: Request<Full<Bytes>>| -> Ready<io::Result<Response<Full<Bytes>>>> {
            panic!("no exchange is asked for")
        });
        TokenProvider::builder(environment, Credentials::new("id", "secret")).transport(transport).build().unwrap()
    }
}
