//! The renewal policy: which grant, when, how often, after which failure.
//!
//! Pure: no I/O, no clock, no randomness of its own. It is given what is known, the time and a random number in
//! [0, 1), and answers what to do next. [`Renewal`] is one renewal from its first exchange to its outcome,
//! [`Session`] what is known from one renewal to the next.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::secret::Secret;
use crate::token::clock::Moment;
use crate::token::flight::Baggage;

/// Lifetime of a token whose answer did not say (RFC 6749 §5.1 makes `expires_in` optional).
pub(crate) const UNSTATED_LIFETIME: Duration = Duration::from_secs(300);
/// A shorter one would make one renewal follow the other.
pub(crate) const SHORTEST_LIFETIME: Duration = Duration::from_secs(1);
/// No server means more; and `Instant + Duration` stays far from its end.
pub(crate) const LONGEST_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

const MOST_EXCHANGES: u32 = 3;
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);
const FORCED_BURST: u32 = 10;
const FORCED_INTERVAL: Duration = Duration::from_secs(60);

/// What is known from one renewal to the next.
#[derive(Debug, Default)]
pub(crate) struct Session {
    refresh: Option<Refresh>,
    /// `expires_in` of the session's first token, the measure of those that follow.
    first_lifetime: Option<Duration>,
    /// Failed renewals in a row.
    failures: u32,
    forced: Bucket,
}

#[derive(Debug)]
struct Refresh {
    token: Secret,
    /// `None`: no known end.
    life: Option<Life>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    since: Moment,
    length: Duration,
}

/// The forced renewals that may follow one another: a burst, then one a minute.
#[derive(Clone, Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

/// When a token was asked for, turns stale, expires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) since: Instant,
    pub(crate) refresh_at: Instant,
    pub(crate) expires_at: Instant,
    pub(crate) wall_expires_at: SystemTime,
}

/// RFC 6749 §4.4 and §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    ClientCredentials,
    RefreshToken,
}

/// What a failed exchange means for the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The client or the request is refused for good.
    Rejected,
    /// The refresh token is refused, the client is not.
    GrantRefused,
    /// It passes by itself.
    Transient,
    /// As transient, but nothing was sent: there was no client secret.
    NotSent,
    /// An answer that makes no sense.
    Malformed,
}

/// A failed exchange, as far as the policy cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) class: Class,
    pub(crate) retry_after: Option<Duration>,
}

/// A successful exchange, as far as the policy cares.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) expires_in: Duration,
    pub(crate) refresh_token: Option<Secret>,
    /// `None`: no known end.
    pub(crate) refresh_expires_in: Option<Duration>,
}

/// One renewal: at most three exchanges, one outcome.
#[derive(Debug)]
pub(crate) struct Renewal {
    started: Instant,
    timeout: Duration,
    /// Until when the current token can be handed out, if there is one.
    usable_until: Option<Instant>,
    /// Whether asking for the client secret again can bring another one.
    secret_may_change: bool,
    /// Whether it goes without repeats whatever the token is worth.
    for_nobody: bool,
    exchanges: u32,
    repeats: u32,
}

/// An exchange to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) grant: Grant,
    pub(crate) not_before: Instant,
    pub(crate) deadline: Instant,
}

/// What follows a failed exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Exchange(Exchange),
    /// Only if asking for the client secret again brings another one; else [`Renewal::give_up`].
    WithAnotherSecret(Exchange),
    /// The renewal failed, and none may start before this instant.
    Hold(Instant),
}

/// A refresh token that went with a lost task may have been spent; what limits the renewals must not be forgotten.
impl Baggage for Session {
    fn left_behind(&self) -> Self {
        Self { failures: self.failures, forced: self.forced.clone(), ..Self::default() }
    }
}

impl Session {
    pub(crate) fn refresh_token(&self) -> Option<&Secret> {
        self.refresh.as_ref().map(|refresh| &refresh.token)
    }

    /// Forgets the session, not the failures; yields the refresh token with which it can be ended.
    pub(crate) fn forget(&mut self) -> Option<Secret> {
        self.refresh.take().map(|refresh| refresh.token)
    }

    /// Takes a forced renewal out of the bucket, or says how long until there is one.
    pub(crate) fn take_forced(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.forced.full_at.map_or(now, |full_at| full_at.max(now)) + FORCED_INTERVAL;
        match (full_at - now).checked_sub(FORCED_INTERVAL * FORCED_BURST) {
            None | Some(Duration::ZERO) => {
                self.forced.full_at = Some(full_at);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }

    /// Takes over what a successful exchange brought.
    pub(crate) fn granted(&mut self, grant: Grant, answer: Granted, sent: Moment) {
        self.failures = 0;
        let life = answer.refresh_expires_in.map(|length| Life { since: sent, length: length.min(LONGEST_LIFETIME) });
        let brought = answer.refresh_token.map(|token| Refresh { token, life });
        match grant {
            Grant::ClientCredentials => {
                self.first_lifetime = Some(answer.expires_in);
                self.refresh = brought;
            }
            // Near the session's maximum lifetimes shrink: a new session costs less than ever shorter tokens.
            Grant::RefreshToken if self.first_lifetime.is_some_and(|first| answer.expires_in < first / 2) => {
                self.refresh = None;
            }
            Grant::RefreshToken => match (brought, &mut self.refresh) {
                (Some(brought), _) => self.refresh = Some(brought),
                (None, Some(kept)) if life.is_some() => kept.life = life,
                (None, _) => {}
            },
        }
    }

    /// When an idle session wants to be renewed: before its access token and its refresh token grow old.
    pub(crate) fn keep_alive_at(&self, lifetime: &Lifetime, random: f64) -> Instant {
        // A life that is over as soon as it begins cannot be kept: each renewal would be a new session.
        let life =
            self.refresh.as_ref().and_then(|refresh| refresh.life).filter(|life| life.usable() > SHORTEST_LIFETIME);
        let due = match life {
            Some(life) => lifetime.refresh_at.min(life.since.monotonic + turning_stale(life.length, random)),
            None => lifetime.refresh_at,
        };
        due.max(lifetime.since + SHORTEST_LIFETIME)
    }

    pub(crate) fn refresh_is_alive(&self, now: Moment) -> bool {
        self.refresh.as_ref().is_some_and(|refresh| refresh.life.is_none_or(|life| life.holds(now)))
    }
}

impl Life {
    /// The last twentieth is left alone: there the answer may come too late.
    fn usable(self) -> Duration {
        self.length.mul_f64(0.95)
    }

    fn holds(self, now: Moment) -> bool {
        let usable = self.usable();
        now.monotonic < self.since.monotonic + usable && now.wall < self.since.wall + usable
    }
}

impl Lifetime {
    /// Counted from the moment before the exchange was sent, so that a slow answer shortens it.
    pub(crate) fn new(sent: Moment, expires_in: Duration, random: f64) -> Self {
        let expires_in = expires_in.min(LONGEST_LIFETIME);
        Self {
            since: sent.monotonic,
            refresh_at: sent.monotonic + turning_stale(expires_in, random),
            expires_at: sent.monotonic + expires_in,
            wall_expires_at: sent.wall + expires_in,
        }
    }

    pub(crate) fn has_expired(&self, now: Moment) -> bool {
        now.monotonic >= self.expires_at || now.wall >= self.wall_expires_at
    }
}

impl Renewal {
    pub(crate) fn new(
        started: Instant,
        timeout: Duration,
        usable_until: Option<Instant>,
        secret_may_change: bool,
    ) -> Self {
        Self { started, timeout, usable_until, secret_may_change, for_nobody: false, exchanges: 0, repeats: 0 }
    }

    /// Nobody waits for it, even if the token has expired.
    pub(crate) fn for_nobody(self) -> Self {
        Self { for_nobody: true, ..self }
    }

    /// The first exchange: the refresh token, if it is alive.
    pub(crate) fn begin(&mut self, session: &Session, now: Moment) -> Exchange {
        if session.refresh_is_alive(now) {
            self.exchange(Grant::RefreshToken, now.monotonic)
        } else {
            self.exchange(Grant::ClientCredentials, now.monotonic)
        }
    }

    /// What follows a failed exchange.
    pub(crate) fn after_failure(
        &mut self,
        session: &mut Session,
        grant: Grant,
        failed: Failed,
        now: Instant,
        random: f64,
    ) -> Next {
        if failed.class == Class::Rejected {
            // The server did not look at the refresh token: another secret may still continue the session.
            if self.secret_may_change && self.exchanges < self.most_exchanges(now) {
                self.secret_may_change = false;
                let not_before = now + failed.retry_after.unwrap_or_default().min(LONGEST_LIFETIME);
                let exchange = self.exchange(grant, not_before);
                if not_before < exchange.deadline {
                    return Next::WithAnotherSecret(exchange);
                }
            }
            return Next::Hold(self.give_up(session, failed, now, random));
        }
        if grant == Grant::RefreshToken && failed.class != Class::NotSent {
            // It may have been spent, and a reuse would kill what it brought; a new session always works.
            session.refresh = None;
        }
        let transient = matches!(failed.class, Class::Transient | Class::NotSent);
        let pause = match grant {
            // Nobody waits, and the session may go on later.
            Grant::RefreshToken if failed.class == Class::NotSent && self.nobody_waits(now) => {
                return Next::Hold(self.give_up(session, failed, now, random));
            }
            Grant::RefreshToken => Duration::ZERO,
            Grant::ClientCredentials if transient && !self.nobody_waits(now) => {
                self.repeats += 1;
                // Half a second at the most before the first repeat, a second before the next.
                Duration::from_millis(500).mul_f64(f64::from(self.repeats) * random)
            }
            Grant::ClientCredentials => return Next::Hold(self.give_up(session, failed, now, random)),
        };
        let not_before = now + pause.max(failed.retry_after.unwrap_or_default().min(LONGEST_LIFETIME));
        if self.exchanges < self.most_exchanges(now) && not_before < self.deadline() {
            Next::Exchange(self.exchange(Grant::ClientCredentials, not_before))
        } else {
            Next::Hold(self.give_up(session, failed, now, random))
        }
    }

    /// The renewal failed: until when none may start.
    pub(crate) fn give_up(&self, session: &mut Session, failed: Failed, now: Instant, random: f64) -> Instant {
        session.failures = session.failures.saturating_add(1);
        let own = now + back_off(session.failures, failed.class).mul_f64(0.5 + 0.5 * random);
        // While the token holds nobody is hurt; once it has expired, the next caller may try.
        let own = match self.usable_until {
            Some(end) if failed.class != Class::Rejected && now < end => own.min(end),
            _ => own,
        };
        own.max(now + failed.retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER))
    }

    fn exchange(&mut self, grant: Grant, not_before: Instant) -> Exchange {
        self.exchanges += 1;
        let deadline = match grant {
            // The rest is kept for the grant that always works.
            Grant::RefreshToken => self.started + self.timeout / 2,
            Grant::ClientCredentials => self.deadline(),
        };
        Exchange { grant, not_before, deadline }
    }

    fn most_exchanges(&self, now: Instant) -> u32 {
        if self.nobody_waits(now) { MOST_EXCHANGES - 1 } else { MOST_EXCHANGES }
    }

    fn nobody_waits(&self, now: Instant) -> bool {
        self.for_nobody || self.usable_until.is_some_and(|end| now < end)
    }

    fn deadline(&self) -> Instant {
        self.started + self.timeout
    }
}

/// 70 to 80 % of a life.
fn turning_stale(life: Duration, random: f64) -> Duration {
    life.mul_f64(0.70 + 0.10 * random)
}

/// 1, 2, 4, … seconds for the n-th failure in a row, up to a cap.
fn back_off(failures: u32, class: Class) -> Duration {
    let cap = if class == Class::Rejected { 60 } else { 30 };
    // 2⁶ is beyond either cap.
    Duration::from_secs((1_u64 << failures.saturating_sub(1).min(6)).min(cap))
}

#[cfg(test)]
mod tests;
