//! A day of load without I/O: the policy against a virtual clock.

use std::collections::VecDeque;

use super::lifetime::LIFETIMES;
use super::*;
use crate::token::renewal::Lifetime;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Requests without end for a day, tokens of `lifetime` seconds, each answer with a new refresh token: when the token
/// endpoint was called, and with which grant.
fn day_of_load(lifetime: u64, random: &mut fastrand::Rng) -> Vec<(Instant, Grant)> {
    let base = clock::now();
    let mut now = base;
    let mut session = Session::default();
    let mut usable_until = None;
    let mut calls = Vec::new();
    while now.monotonic - base.monotonic < DAY {
        // The first request after `refresh_at` starts the renewal. The endpoint answers at once.
        let exchange = Renewal::new(now.monotonic, TIMEOUT, usable_until, false).begin(&session, now);
        assert_eq!(exchange.not_before, now.monotonic);
        calls.push((now.monotonic, exchange.grant));
        let granted = answer(lifetime, Some("r"), Some(2 * lifetime));
        let token = Lifetime::new(now, granted.expires_in, random.f64());
        session.granted(exchange.grant, granted, now);

        // While requests come in, no token is ever sent that has expired.
        assert!(token.refresh_at > now.monotonic);
        assert!(token.refresh_at < token.expires_at);
        now = later(now, token.refresh_at - now.monotonic);
        assert!(!token.has_expired(now));
        usable_until = Some(token.expires_at);
    }
    calls
}

// lesson 10
#[test]
fn a17_under_load_the_token_endpoint_is_called_once_per_lifetime_and_no_more() {
    let mut random = fastrand::Rng::with_seed(10);
    for lifetime in LIFETIMES {
        let calls = day_of_load(lifetime, &mut random);

        // One session for the whole day.
        assert_eq!(calls[0].1, Grant::ClientCredentials, "{lifetime} s");
        assert!(calls[1..].iter().all(|(_, grant)| *grant == Grant::RefreshToken), "{lifetime} s");

        // No hour of the day, wherever it begins, has more calls than 3600 / (0.7 × lifetime) + 1.
        let most = usize::try_from(36_000 / (7 * lifetime) + 1).expect("a few thousand");
        let mut hour = VecDeque::new();
        for (at, _) in &calls {
            hour.push_back(*at);
            while *at - hour[0] >= seconds(3600) {
                hour.pop_front();
            }
            assert!(hour.len() <= most, "{lifetime} s: {} calls in an hour, at most {most}", hour.len());
        }

        // And a day has as many as the draw allows: between 70 and 80 % of a lifetime lie between two calls.
        for pair in calls.windows(2) {
            let between = pair[1].0 - pair[0].0;
            assert!(between >= seconds(lifetime) * 70 / 100 && between < seconds(lifetime) * 80 / 100);
        }
    }
}
