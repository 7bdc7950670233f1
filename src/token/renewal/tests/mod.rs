//! The policy by tables, in virtual time: one base instant, and arithmetic from there. Nothing here waits.

mod bucket;
mod hold;
mod lifetime;
mod order;
mod simulation;

use std::time::Duration;

use tokio::time::Instant;

use crate::secret::Secret;
use crate::token::clock::{self, Moment};
use crate::token::renewal::{Class, Exchange, Failed, Grant, Granted, Next, Renewal, Session};

const TIMEOUT: Duration = Duration::from_secs(10);
const CLASSES: [Class; 4] = [Class::Rejected, Class::GrantRefused, Class::Transient, Class::Malformed];
/// The random numbers that bound what is drawn: [0, 1).
const LEAST: f64 = 0.0;
const MOST: f64 = 1.0 - f64::EPSILON / 2.0;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A nanosecond less.
fn just_before(duration: Duration) -> Duration {
    duration.checked_sub(Duration::from_nanos(1)).expect("more than nothing")
}

/// `elapsed` later on both clocks.
fn later(moment: Moment, elapsed: Duration) -> Moment {
    Moment { monotonic: moment.monotonic + elapsed, wall: moment.wall + elapsed }
}

fn failed(class: Class) -> Failed {
    Failed { class, retry_after: None }
}

fn failed_with(class: Class, retry_after: Duration) -> Failed {
    Failed { class, retry_after: Some(retry_after) }
}

fn answer(expires_in: u64, refresh_token: Option<&str>, refresh_expires_in: Option<u64>) -> Granted {
    Granted {
        expires_in: seconds(expires_in),
        refresh_token: refresh_token.map(|token| Secret::from(token.to_owned())),
        refresh_expires_in: refresh_expires_in.map(seconds),
    }
}

/// A session that began at `sent`: tokens of an hour, and the refresh token `r1` for two.
fn session_since(sent: Moment) -> Session {
    let mut session = Session::default();
    session.granted(Grant::ClientCredentials, answer(3600, Some("r1"), Some(7200)), sent);
    session
}

fn refresh_token(session: &Session) -> Option<&str> {
    session.refresh_token().map(Secret::expose)
}

/// The grant that a renewal would begin with at `now`.
fn first_grant(session: &Session, now: Moment) -> Grant {
    Renewal::new(now.monotonic, TIMEOUT, None, false).begin(session, now).grant
}

/// The exchange of [`Next::Exchange`].
fn exchange(next: Next) -> Exchange {
    match next {
        Next::Exchange(exchange) => exchange,
        other => panic!("an exchange was expected, not {other:?}"),
    }
}

/// The end of [`Next::Hold`], counted from `now`.
fn hold(next: Next, now: Instant) -> Duration {
    match next {
        // Instants saturate: a hold that ends before now would pass for none.
        Next::Hold(until) => until.checked_duration_since(now).expect("a hold does not end before it begins"),
        other => panic!("a hold was expected, not {other:?}"),
    }
}

/// A renewal at `now` that fails with one of `failures` after the other, each exchange taking no time: the grants
/// that it sent, when it sent each, and the length of the hold in the end.
fn run(
    mut renewal: Renewal,
    session: &mut Session,
    now: Moment,
    failures: &[Failed],
    random: f64,
) -> (Vec<Grant>, Vec<Duration>, Duration) {
    let (mut grants, mut sent) = (Vec::new(), Vec::new());
    let mut next = renewal.begin(session, now);
    for failure in failures {
        grants.push(next.grant);
        sent.push(next.not_before - now.monotonic);
        let at = next.not_before;
        match renewal.after_failure(session, next.grant, *failure, at, random) {
            Next::Exchange(exchange) => next = exchange,
            Next::Hold(until) => return (grants, sent, until - at),
            Next::WithAnotherSecret(_) => panic!("the secret was said to be fixed"),
        }
    }
    panic!("the renewal goes on after {} failures", failures.len());
}
