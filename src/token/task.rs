//! The task that a renewal runs on: asks the policy, talks to the endpoint, publishes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{sleep_until, timeout_at};

use crate::error::Error;
use crate::secret::Secret;
use crate::token::access_token::AccessToken;
use crate::token::clock::{self, Moment};
use crate::token::endpoint::{Answer, Failure};
use crate::token::flight::Takeoff;
use crate::token::provider::TokenProvider;
use crate::token::renewal::{Exchange, Grant, Lifetime, Next, Renewal, Session};
use crate::token::source::{self, Cause, Outcome, Source};

/// A successful exchange, with the moment before it was sent.
struct Brought {
    answer: Answer,
    sent: Moment,
    lifetime: Lifetime,
}

/// One renewal from take-off to landing. Dropped half-way, it leaves an abandoned flight behind.
pub(super) async fn renew(provider: TokenProvider, mut takeoff: Takeoff<Session, Outcome>, cause: Cause) {
    let Ok(source) = provider.source() else { return };
    let outcome = match exchange_until_done(&provider, source, takeoff.state()).await {
        Ok((grant, brought)) => Ok(publish(&provider, source, takeoff.state(), grant, brought)),
        Err(failure) => {
            let error = failure.error.clone();
            let left = failure.hold_until.saturating_duration_since(failure.at);
            source.keep_alive_at.send_replace(Some(failure.hold_until));
            // Before the landing: whoever learns of the failure and asks again finds the hold.
            source.failure.store(Some(Arc::new(failure)));
            Err(error.with_retry_after(left))
        }
    };
    provider.counters().renewed(&cause, outcome.is_ok());
    report(&cause, &outcome);
    takeoff.land(Outcome::Renewed(outcome));
}

/// Makes the exchanges that the policy asks for, until one succeeds or it gives up.
async fn exchange_until_done(
    provider: &TokenProvider,
    source: &Source,
    session: &mut Session,
) -> Result<(Grant, Brought), source::Failure> {
    let now = clock::now();
    let usable_until = provider.current().get().and_then(|token| token.usable_until(now));
    let mut renewal = Renewal::new(now.monotonic, source.timeout, usable_until, source.credentials.may_change());
    let mut exchange = renewal.begin(session, now);
    let mut secret = None;
    // What no answer is quoted with. The refresh token of an exchange that failed is gone by the next.
    let token = provider.current().get();
    let refresh_token = session.refresh_token().cloned();
    let tokens: Vec<_> =
        token.iter().map(AccessToken::secret).chain(refresh_token.iter().map(Secret::expose)).collect();
    loop {
        sleep_until(exchange.not_before).await;
        let failure =
            match timeout_at(exchange.deadline, attempt(provider, source, session, exchange, &mut secret, &tokens))
                .await
            {
                Ok(Ok(brought)) => return Ok((exchange.grant, brought)),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::transient(Error::timeout()),
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
        None => secret.insert(source.credentials.secret().await?),
    };
    let refresh_token = match exchange.grant {
        Grant::RefreshToken => session.refresh_token(),
        Grant::ClientCredentials => None,
    };
    provider.counters().exchanged(exchange.grant);
    let sent = clock::now();
    let answer = source.endpoint.exchange(secret, refresh_token, tokens).await?;
    let lifetime = Lifetime::new(sent, answer.granted.expires_in, fastrand::f64());
    if lifetime.has_expired(clock::now()) {
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
    let token = AccessToken::new(answer.authorization, generation, answer.session, lifetime);
    session.granted(grant, answer.granted, sent);
    source.keep_alive_at.send_replace(Some(session.keep_alive_at(&lifetime, fastrand::f64())));
    provider.current().set(Some(token.clone()));
    token
}

#[cfg(feature = "tracing")]
fn report(cause: &Cause, outcome: &Result<AccessToken, Error>) {
    match outcome {
        Ok(token) => tracing::debug!(
            ?cause,
            generation = token.generation(),
            expires_in = token.expires_in().as_secs(),
            "access token renewed"
        ),
        Err(error) => tracing::warn!(?cause, %error, "access token not renewed"),
    }
}

#[cfg(not(feature = "tracing"))]
fn report(_: &Cause, _: &Result<AccessToken, Error>) {}
