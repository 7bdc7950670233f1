//! The session beyond its tokens: `keep_alive` and `end_session`.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::Error;
use crate::token::clock;
use crate::token::flight::{Boarding, Takeoff};
use crate::token::provider::{TokenProvider, WeakProvider};
use crate::token::renewal::Session;
use crate::token::source::{Idle, Outcome, Source};

/// The deadline of the logout: credentials, connection and body included.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps the session alive until dropped; made by [`TokenProvider::keep_alive`].
#[derive(Debug)]
#[must_use = "the session is kept alive until this is dropped"]
pub struct KeepAlive {
    /// `None`: a fixed token has no session.
    task: Option<AbortHandle>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl TokenProvider {
    /// Keeps the session alive while nobody asks for its token, until the handle is dropped.
    ///
    /// Renews a session that exists, when its access token turns stale or at 70 to 80 % of the refresh token's life,
    /// whichever comes first. Where there is no session it does nothing; after [`end_session`](Self::end_session), and
    /// for a fixed token, neither. A renewal is one as any other: if the refresh token is refused, or there is none,
    /// `client_credentials` follows, and the session has another id. A failure is tried again when its hold is over, as
    /// long as the access token or the refresh token lives; after that it waits until somebody has asked for a token.
    ///
    /// Holds the provider weakly: when its last handle goes, this ends too. It also ends with the runtime that it was
    /// called on, or that the provider was given.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, when the provider was given none or that has been shut down.
    pub fn keep_alive(&self) -> KeepAlive {
        let Ok(source) = self.source() else { return KeepAlive { task: None } };
        let runtime = source.runtime(false).expect("keep_alive needs a tokio runtime: call from within one");
        let task = runtime.spawn(keep_alive(self.downgrade(), source.keep_alive_at.subscribe()));
        KeepAlive { task: Some(task.abort_handle()) }
    }

    /// Ends the session at the authorization server, by Keycloak's logout endpoint, and forgets its tokens.
    ///
    /// Waits for a renewal that is under way (its deadline, 10 seconds unless set), whose callers keep their token. Then
    /// token and refresh token are forgotten, whatever the server answers, and the server is told, within 5 seconds.
    /// Calls at the same time share one outcome. Without a refresh token there is nothing to tell.
    ///
    /// Until somebody asks for a token nothing starts a new session, a late 401 included. [`token`](Self::token) asks, and
    /// so does every request that goes through the layer without having got its token yet: stop the traffic first. While a
    /// failure holds back the next renewal nobody can start one, and the session stays ended.
    ///
    /// # Errors
    ///
    /// Fails when the server did not confirm the end, or the client secret could not be obtained: the session then lives
    /// on there until its idle limit, and to call again does not help, whatever the error's predicates say. What it would
    /// be ended with is forgotten, and a second call succeeds without telling anybody. An answer that the session is over
    /// already is a success. Fails outside a tokio runtime, when the provider was given none, for a fixed token, and when
    /// the runtime that carried it was shut down on the way.
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on by itself: who stops waiting does not stop it.
    pub async fn end_session(&self) -> Result<(), Error> {
        let source = self.source()?;
        let mut abandoned = false;
        loop {
            let runtime = source.runtime(abandoned).ok_or_else(Error::no_runtime)?;
            let ending = match source.endings.board(|()| None::<Infallible>) {
                Boarding::Settled(never) => match never {},
                Boarding::Joined(ending) => ending,
                Boarding::TookOff(takeoff) => {
                    let ending = takeoff.flight();
                    runtime.spawn(end(self.clone(), takeoff));
                    ending
                }
            };
            match ending.landed().await {
                Some(outcome) => return outcome,
                // Nothing was forgotten yet: see `Forgotten`.
                None if abandoned => return Err(Error::end_abandoned()),
                None => abandoned = true,
            }
        }
    }
}

/// Ends with the provider: its last handle takes the sender of `due` along.
async fn keep_alive(provider: WeakProvider, mut due: watch::Receiver<Option<Instant>>) {
    loop {
        let at = *due.borrow_and_update();
        let renewed_meanwhile = match at {
            Some(at) => timeout_at(at, due.changed()).await,
            None => Ok(due.changed().await),
        };
        let provider_lives = match renewed_meanwhile {
            Ok(changed) => changed.is_ok(),
            Err(_) => match provider.upgrade().map(|provider| provider.renew_idle()) {
                // The outcome, good or bad, brings a new time; one that was abandoned brings a hold.
                Some(Idle::Renewing(flight)) => {
                    flight.landed().await;
                    true
                }
                Some(Idle::HeldBack(left)) => {
                    timeout(left, due.changed()).await.map_or(true, |changed| changed.is_ok())
                }
                Some(Idle::Over) => due.changed().await.is_ok(),
                None => false,
            },
        };
        if !provider_lives {
            return;
        }
    }
}

/// Takes the flight as soon as it is free.
async fn end(provider: TokenProvider, ending: Takeoff<(), Result<(), Error>>) {
    let Ok(source) = provider.source() else { return };
    loop {
        match source.flights.board(|_| None::<Infallible>) {
            Boarding::Settled(never) => match never {},
            Boarding::Joined(flight) => drop(flight.landed().await),
            Boarding::TookOff(mut takeoff) => {
                let ending = Forgotten(Some(ending));
                let outcome = log_out(&provider, source, takeoff.state()).await;
                // First: whoever is let on by the landing may start a session, whose end must not share this outcome.
                ending.land(outcome);
                return takeoff.land(Outcome::NoToken);
            }
        }
    }
}

/// An end that is not begun anew when its task is lost: the session is forgotten, and the next one is not its business.
/// Dropped before the flight, whose waiters may start that one at once.
struct Forgotten(Option<Takeoff<(), Result<(), Error>>>);

impl Forgotten {
    fn land(mut self, outcome: Result<(), Error>) {
        if let Some(ending) = self.0.take() {
            ending.land(outcome);
        }
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        if let Some(ending) = self.0.take() {
            ending.land(Err(Error::end_abandoned()));
        }
    }
}

async fn log_out(provider: &TokenProvider, source: &Source, session: &mut Session) -> Result<(), Error> {
    // Forgotten first: from here on nobody can use or revive what is about to end, however the logout goes.
    source.ended.store(true, Ordering::Relaxed);
    provider.current().set(None);
    source.keep_alive_at.send_replace(None);
    let Some(refresh_token) = session.forget() else { return Ok(()) };
    let deadline = clock::monotonic() + LOGOUT_TIMEOUT;
    let secret = timeout_at(deadline, source.credentials.secret()).await.map_err(|_| Error::secret_timeout())??;
    let told = timeout_at(deadline, source.endpoint.end(&secret, &refresh_token)).await;
    told.unwrap_or_else(|_| Err(Error::timeout()))
}
