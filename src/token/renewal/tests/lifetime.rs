//! When a token turns stale and when it expires, on two clocks.

use super::*;
use crate::token::renewal::{LONGEST_LIFETIME, Lifetime, UNSTATED_LIFETIME};

/// The lifetimes of lesson 10, in seconds.
pub(super) const LIFETIMES: [u64; 9] = [1, 5, 20, 30, 60, 240, 300, 3600, 86400];

#[test]
fn a16_a_lifetime_counts_from_before_the_exchange_on_both_clocks() {
    let sent = clock::now();
    for said in LIFETIMES {
        let lifetime = Lifetime::new(sent, seconds(said), 0.5);
        assert_eq!(lifetime.since, sent.monotonic);
        assert_eq!(lifetime.expires_at, sent.monotonic + seconds(said));
        assert_eq!(lifetime.wall_expires_at, sent.wall + seconds(said));
    }
    // An answer that took as long as the token lives brings an expired one.
    let lifetime = Lifetime::new(sent, seconds(20), 0.5);
    assert!(!lifetime.has_expired(later(sent, just_before(seconds(20)))));
    assert!(lifetime.has_expired(later(sent, seconds(20))));
}

// lesson 11
#[test]
fn a16_a_lifetime_is_clamped_to_30_days() {
    let sent = clock::now();
    let month = seconds(30 * 24 * 3600);
    assert_eq!(LONGEST_LIFETIME, month);
    assert_eq!(UNSTATED_LIFETIME, seconds(300));
    for (said, expected) in [
        (just_before(month), just_before(month)),
        (month, month),
        (month + Duration::from_nanos(1), month),
        (seconds(u64::MAX), month),
        (Duration::MAX, month),
        (Duration::ZERO, Duration::ZERO),
    ] {
        for random in [LEAST, MOST] {
            let lifetime = Lifetime::new(sent, said, random);
            assert_eq!(lifetime.expires_at, sent.monotonic + expected);
            assert_eq!(lifetime.wall_expires_at, sent.wall + expected);
            assert!(lifetime.refresh_at <= sent.monotonic + expected.mul_f64(0.80));
        }
    }
}

// lesson 10
#[test]
fn a17_a_token_turns_stale_between_70_and_80_percent_of_its_lifetime() {
    let sent = clock::now();
    for said in LIFETIMES {
        let stale_after = |random| Lifetime::new(sent, seconds(said), random).refresh_at - sent.monotonic;
        let full = seconds(said);
        // Where the range begins, its middle, and its end, which it does not reach: one in ten million before it.
        assert_eq!(stale_after(LEAST), full * 70 / 100, "{said} s");
        assert_eq!(stale_after(0.5), full * 75 / 100, "{said} s");
        assert!(stale_after(0.999_999_9) < full * 80 / 100, "{said} s");
        assert!(stale_after(0.999_999_9) > full * 799_999 / 1_000_000, "{said} s");
        // The greatest number that can be drawn is nearer than a nanosecond, to which it is rounded.
        assert!(stale_after(MOST) <= full * 80 / 100, "{said} s");
    }
}

// lesson 10
#[test]
fn a17_what_is_drawn_spreads_over_the_whole_range_and_always_lies_before_the_expiry() {
    let sent = clock::now();
    let mut random = fastrand::Rng::with_seed(10);
    for said in LIFETIMES {
        let mut tenths = [false; 10];
        for _ in 0..1000 {
            let lifetime = Lifetime::new(sent, seconds(said), random.f64());
            assert!(lifetime.refresh_at < lifetime.expires_at);
            // In permille of the lifetime: from 700 to 799, in steps of ten.
            let permille = (lifetime.refresh_at - sent.monotonic).as_nanos() * 1000 / seconds(said).as_nanos();
            let tenth = usize::try_from(permille).expect("less than a thousand") - 700;
            tenths[tenth / 10] = true;
        }
        assert_eq!(tenths, [true; 10], "{said} s");
    }
}

#[test]
fn a18_a_token_has_expired_as_soon_as_either_clock_says_so() {
    let sent = clock::now();
    let lifetime = Lifetime::new(sent, seconds(60), 0.5);
    let before = later(sent, just_before(seconds(60)));
    let at = later(sent, seconds(60));
    for (monotonic, wall, expired) in [
        (sent.monotonic, sent.wall, false),
        (before.monotonic, before.wall, false),
        (at.monotonic, at.wall, true),
        (at.monotonic, before.wall, true),
        // The machine slept: the monotonic clock stood still.
        (before.monotonic, at.wall, true),
        (sent.monotonic, sent.wall + seconds(8 * 3600), true),
        // The wall clock was set back: the token does not live longer for it.
        (at.monotonic, sent.wall - seconds(24 * 3600), true),
        (before.monotonic, sent.wall - seconds(24 * 3600), false),
    ] {
        assert_eq!(lifetime.has_expired(Moment { monotonic, wall }), expired);
    }
}

#[test]
fn d3_an_idle_session_is_renewed_when_the_first_of_its_two_tokens_grows_old() {
    let base = clock::now();
    // Lifetimes of both tokens, the random number of the refresh token, when; the access token turns stale at 75 %.
    for (expires_in, refresh_expires_in, random, expected) in [
        (3600, Some(7200), LEAST, 2700),
        (3600, Some(1800), LEAST, 1260),
        (3600, Some(1800), 0.5, 1350),
        (3600, Some(1800), MOST, 1440),
        // Either may come first.
        (1000, Some(1000), LEAST, 700),
        (1000, Some(1000), MOST, 750),
        // No known end.
        (3600, None, LEAST, 2700),
    ] {
        let mut session = Session::default();
        session.granted(Grant::ClientCredentials, answer(expires_in, Some("r1"), refresh_expires_in), base);
        let lifetime = Lifetime::new(base, seconds(expires_in), 0.5);
        let at = session.keep_alive_at(&lifetime, random);
        assert_eq!(at - base.monotonic, seconds(expected), "{expires_in}, {refresh_expires_in:?}, {random}");
    }

    // Without a refresh token there is the access token alone.
    let mut session = Session::default();
    session.granted(Grant::ClientCredentials, answer(3600, None, Some(60)), base);
    let lifetime = Lifetime::new(base, seconds(3600), 0.5);
    assert_eq!(session.keep_alive_at(&lifetime, LEAST), lifetime.refresh_at);
}

// lesson 10
#[test]
fn d3_a_refresh_token_that_hardly_lives_does_not_make_one_renewal_follow_the_other() {
    let base = clock::now();
    // 95 % of it must be more than a second; then a second is the least.
    for (lives, expected) in
        [(1_052_631_579, 2_700_000), (1_052_631_580, 1000), (1_200_000_000, 1000), (2_000_000_000, 1400)]
    {
        let granted =
            Granted { refresh_expires_in: Some(Duration::from_nanos(lives)), ..answer(3600, Some("r1"), None) };
        let mut session = Session::default();
        session.granted(Grant::ClientCredentials, granted, base);
        let lifetime = Lifetime::new(base, seconds(3600), 0.5);
        assert_eq!(session.keep_alive_at(&lifetime, LEAST) - base.monotonic, millis(expected), "{lives}");
    }
}

#[test]
fn d3_a_refresh_token_that_was_not_replaced_counts_from_its_own_answer() {
    let base = clock::now();
    let refreshed = later(base, seconds(3000));
    // What the second answer says of the refresh token that stays: nothing, or a new lifetime.
    for (said, expected) in [(None, seconds(5040)), (Some(2000), seconds(3000 + 1400))] {
        let mut session = session_since(base);
        session.granted(Grant::RefreshToken, answer(3600, None, said), refreshed);
        let lifetime = Lifetime::new(refreshed, seconds(3600), 0.5);
        assert_eq!(session.keep_alive_at(&lifetime, LEAST) - base.monotonic, expected, "{said:?}");
    }
}
