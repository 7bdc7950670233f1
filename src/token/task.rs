//! The task that a renewal runs on: asks the policy, talks to the endpoint, publishes.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep_until, timeout_at};

use crate::error::Error;
use crate::secret::Secret;
use crate::token::access_token::AccessToken;
use crate::token::clock::{self, Moment};
use crate::token::endpoint::{Answer, Failure};
use crate::token::flight::Takeoff;
use crate::token::provider::TokenProvider;
use crate::token::renewal::{Exchange, Grant, Lifetime, Next, Renewal, SHORTEST_LIFETIME, Session};
use crate::token::source::{self, Cause, Outcome, Source};

/// After a renewal that panicked or lost its runtime.
const ABANDONED_HOLD: Duration = Duration::from_secs(1);

/// A successful exchange, with the moment before it was sent.
struct Brought {
    answer: Answer,
    sent: Moment,
    lifetime: Lifetime,
}

/// One renewal from take-off to landing. Dropped half-way, it leaves an abandoned flight behind.
pub(super) async fn renew(provider: TokenProvider, mut takeoff: Takeoff<Session, Outcome>, cause: Cause) {
    let Ok(source) = provider.source() else { return };
    let unfinished = Unfinished { provider: &provider, source, cause };
    let outcome = match exchange_until_done(&provider, source, takeoff.state(), cause).await {
        Ok((grant, brought)) => Ok(publish(&provider, source, takeoff.state(), grant, brought)),
        Err(failure) => {
            let error = failure.error.clone();
            let left = failure.hold_until.saturating_duration_since(failure.at);
            source.keep_alive_at.send_modify(|at| *at = at.map(|at| at.max(failure.hold_until)));
            // Before the landing: whoever learns of the failure and asks again finds the hold.
            source.failure.store(Some(Arc::new(failure)));
            Err(error.with_retry_after(left))
        }
    };
    unfinished.disarm();
    provider.counters().renewed(cause, outcome.is_ok());
    takeoff.land(Outcome::Renewed(outcome.clone()));
    // After the landing: a subscriber is foreign code, and nobody waits for it.
    report(cause, &outcome);
}

/// Leaves a trace of a renewal that had begun when its task panicked or lost its runtime: it counts as failed, and the
/// next one that nobody waits for keeps a distance. Dropped before the take-off, so that the trace is there when the
/// flight is abandoned.
struct Unfinished<'a> {
    provider: &'a TokenProvider,
    source: &'a Source,
    cause: Cause,
}

impl Unfinished<'_> {
    fn disarm(self) {
        mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.provider.counters().renewed(self.cause, false);
        let at = clock::monotonic();
        let failure = source::Failure { error: Error::abandoned(), at, hold_until: at + ABANDONED_HOLD };
        self.source.failure.store(Some(Arc::new(failure)));
    }
}

/// Makes the exchanges that the policy asks for, until one succeeds or it gives up.
async fn exchange_until_done(
    provider: &TokenProvider,
    source: &Source,
    session: &mut Session,
    cause: Cause,
) -> Result<(Grant, Brought), source::Failure> {
    let now = clock::now();
    let usable_until = provider.current().get().and_then(|token| token.usable_until(now));
    let mut renewal = Renewal::new(now.monotonic, source.timeout, usable_until, source.credentials.may_change());
    if matches!(cause, Cause::KeepAlive) {
        renewal = renewal.for_nobody();
    }
    let mut exchange = renewal.begin(session, now);
    let mut secret = None;
    // What no answer is quoted with. The refresh token of an exchange that failed is gone by the next.
    let token = provider.current().get();
    let refresh_token = session.refresh_token().cloned();
    let tokens: Vec<_> =
        token.iter().map(AccessToken::secret).chain(refresh_token.iter().map(Secret::expose)).collect();
    loop {
        sleep_until(exchange.not_before).await;
        let failure = match attempt(provider, source, session, exchange, &mut secret, &tokens).await {
            Ok(brought) => return Ok((exchange.grant, brought)),
            Err(failure) => failure,
        };
        let now = clock::monotonic();
        let hold_until = match renewal.after_failure(session, exchange.grant, failure.failed, now, fastrand::f64()) {
            Next::Exchange(next) => {
                exchange = next;
                secret = None;
                continue;
            }
            Next::WithAnotherSecret(next) => {
                if ask_again(source, next, &mut secret).await {
                    exchange = next;
                    continue;
                }
                renewal.give_up(session, failure.failed, clock::monotonic(), fastrand::f64())
            }
            Next::Hold(until) => until,
        };
        return Err(source::Failure { error: failure.error, at: clock::monotonic(), hold_until });
    }
}

/// One exchange, the client secret included.
async fn attempt(
    provider: &TokenProvider,
    source: &Source,
    session: &Session,
    exchange: Exchange,
    secret: &mut Option<Secret>,
    tokens: &[&str],
) -> Result<Brought, Failure> {
    let secret = match secret {
        Some(secret) => secret,
        None => match timeout_at(exchange.deadline, source.credentials.secret()).await {
            Ok(Ok(asked)) => secret.insert(asked),
            Ok(Err(error)) => return Err(Failure::not_sent(error)),
            Err(_) => return Err(Failure::not_sent(Error::secret_timeout())),
        },
    };
    let refresh_token = match exchange.grant {
        Grant::RefreshToken => session.refresh_token(),
        Grant::ClientCredentials => None,
    };
    provider.counters().exchanged(exchange.grant);
    let sent = clock::now();
    let answer = timeout_at(exchange.deadline, source.endpoint.exchange(secret, refresh_token, tokens))
        .await
        .unwrap_or_else(|_| Err(Failure::transient(Error::timeout())))?;
    let lifetime = Lifetime::new(sent, answer.granted.expires_in, fastrand::f64());
    if answer.granted.expires_in < SHORTEST_LIFETIME || lifetime.has_expired(clock::now()) {
        return Err(Failure::transient(Error::expired_on_arrival()));
    }
    Ok(Brought { answer, sent, lifetime })
}

/// Whether the closure or the file has another client secret than the one that was rejected.
async fn ask_again(source: &Source, exchange: Exchange, secret: &mut Option<Secret>) -> bool {
    match timeout_at(exchange.deadline, source.credentials.secret()).await {
        Ok(Ok(asked)) if secret.as_ref() != Some(&asked) => {
            *secret = Some(asked);
            true
        }
        _ => false,
    }
}

/// Hands the token out. Only the holder of the flight does this.
fn publish(
    provider: &TokenProvider,
    source: &Source,
    session: &mut Session,
    grant: Grant,
    Brought { answer, sent, lifetime }: Brought,
) -> AccessToken {
    let generation = source.generations.fetch_add(1, Ordering::Relaxed) + 1;
    // An answer need not name the session that goes on.
    let known = provider.current().get().filter(|_| grant == Grant::RefreshToken);
    let name = answer.session.or_else(|| known.and_then(|token| token.session().map(Box::from)));
    let token = AccessToken::new(answer.authorization, generation, name, lifetime);
    session.granted(grant, answer.granted, sent);
    source.keep_alive_at.send_replace(Some(session.keep_alive_at(&lifetime, fastrand::f64())));
    provider.current().set(Some(token.clone()));
    token
}

#[cfg(feature = "tracing")]
fn report(cause: Cause, outcome: &Result<AccessToken, Error>) {
    match outcome {
        Ok(token) => tracing::debug!(
            target: "neonomics_auth",
            ?cause,
            generation = token.generation(),
            expires_in = token.expires_in().as_secs(),
            "access token renewed"
        ),
        Err(error) => tracing::warn!(target: "neonomics_auth", ?cause, %error, "access token not renewed"),
    }
}

#[cfg(not(feature = "tracing"))]
fn report(_: Cause, _: &Result<AccessToken, Error>) {}
