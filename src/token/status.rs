//! [`Status`]: a snapshot for operators, read without a lock, and the counters behind it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::token::access_token::{AccessToken, Freshness};
use crate::token::clock;
use crate::token::provider::TokenProvider;
use crate::token::renewal::Grant;
use crate::token::source::Cause;

/// A snapshot of a provider, by [`TokenProvider::status`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Where the token stands.
    pub state: TokenState,
    /// Time left until the token expires, by the monotonic clock; none without a token, [`Duration::MAX`] for a fixed one.
    pub expires_in: Option<Duration>,
    /// The authorization server's name for the session (`session_state`), if it told one.
    pub session_id: Option<String>,
    /// How long the last failure still holds back the next renewal; after one that lost its task, only those that nobody
    /// waits for. What limits forced renewals is not told here.
    pub hold_left: Option<Duration>,
    /// The last failure of a renewal. A later success does not remove it.
    pub last_error: Option<LastError>,
    /// Renewals so far, by cause.
    pub renewals: Renewals,
    /// Exchanges so far, by grant.
    pub exchanges: Exchanges,
    /// Requests that found no usable token, and waited for one or for the error.
    pub waited: u64,
    /// First attempts whose answer refused the token.
    pub refusals: u64,
    /// Requests sent a second time.
    pub replays: u64,
    /// Requests passed on without a token.
    pub passed_without_token: u64,
}

/// Where the token of a provider stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenState {
    /// None was asked for yet, or none could be had.
    None,
    /// Handed out as it is.
    Fresh,
    /// Handed out while it is renewed.
    Stale,
    /// Not handed out any more.
    Expired,
    /// The session was ended, and no other one has been asked for since. While a failure holds back renewals none can be.
    Ended,
}

/// A failure of a renewal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastError {
    /// What went wrong.
    pub error: Error,
    /// How long ago it was.
    pub age: Duration,
}

/// Renewals by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Renewals {
    /// There was no usable token.
    pub first: Tally,
    /// The token had turned stale.
    pub due: Tally,
    /// An API refused the token.
    pub forced: Tally,
    /// [`TokenProvider::keep_alive`] renewed an idle session.
    pub keep_alive: Tally,
}

/// Outcomes of renewals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Brought a token.
    pub succeeded: u64,
    /// Brought none.
    pub failed: u64,
}

/// Exchanges by grant (RFC 6749 §4.4 and §6), successful or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchanges {
    /// `client_credentials`.
    pub client_credentials: u64,
    /// `refresh_token`.
    pub refresh_token: u64,
}

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    first: Pair,
    due: Pair,
    forced: Pair,
    keep_alive: Pair,
    client_credentials: Counter,
    refresh_token: Counter,
    pub(crate) waited: Counter,
    pub(crate) refusals: Counter,
    pub(crate) replays: Counter,
    pub(crate) passed: Counter,
}

/// Stands for itself and guards nothing, so that all accesses are relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

#[derive(Debug, Default)]
struct Pair {
    succeeded: Counter,
    failed: Counter,
}

impl TokenProvider {
    /// A snapshot: what the token is, what went wrong last, what was done so far. No I/O, no lock; each number is
    /// exact, but they are read one after another.
    #[must_use]
    pub fn status(&self) -> Status {
        let source = self.source().ok();
        let now = clock::monotonic();
        let token = self.current().get();
        let failure = source.and_then(|source| source.failure.load_full());
        let counters = self.counters();
        let state = match &token {
            None if source.is_some_and(|source| source.ended.load(Ordering::Relaxed)) => TokenState::Ended,
            None => TokenState::None,
            Some(token) => match token.freshness() {
                Freshness::Fresh => TokenState::Fresh,
                Freshness::Stale => TokenState::Stale,
                Freshness::Expired => TokenState::Expired,
            },
        };
        Status {
            state,
            expires_in: token.as_ref().map(AccessToken::expires_in),
            session_id: token.as_ref().and_then(AccessToken::session).map(str::to_owned),
            hold_left: failure
                .as_ref()
                .map(|failure| failure.hold_until.saturating_duration_since(now))
                .filter(|left| !left.is_zero()),
            last_error: failure.as_ref().map(|failure| LastError {
                error: failure.error.clone(),
                age: now.saturating_duration_since(failure.at),
            }),
            renewals: Renewals {
                first: counters.first.tally(),
                due: counters.due.tally(),
                forced: counters.forced.tally(),
                keep_alive: counters.keep_alive.tally(),
            },
            exchanges: Exchanges {
                client_credentials: counters.client_credentials.get(),
                refresh_token: counters.refresh_token.get(),
            },
            waited: counters.waited.get(),
            refusals: counters.refusals.get(),
            replays: counters.replays.get(),
            passed_without_token: counters.passed.get(),
        }
    }
}

impl Counters {
    pub(super) fn renewed(&self, cause: Cause, succeeded: bool) {
        let pair = match cause {
            Cause::First => &self.first,
            Cause::Due => &self.due,
            Cause::Forced => &self.forced,
            Cause::KeepAlive => &self.keep_alive,
        };
        if succeeded { pair.succeeded.count() } else { pair.failed.count() }
    }

    pub(super) fn exchanged(&self, grant: Grant) {
        match grant {
            Grant::ClientCredentials => self.client_credentials.count(),
            Grant::RefreshToken => self.refresh_token.count(),
        }
    }
}

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Pair {
    fn tally(&self) -> Tally {
        Tally { succeeded: self.succeeded.get(), failed: self.failed.get() }
    }
}
