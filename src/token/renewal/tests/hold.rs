//! How often a renewal repeats, and what holds back the next one.

use super::*;
use crate::token::flight::Baggage;

/// 2^(n−1) seconds, at most `cap`: written down, not computed as the code does.
fn full_back_off(failures: u32, cap: u64) -> Duration {
    let doubled = [1, 2, 4, 8, 16, 32];
    seconds(doubled.get(failures as usize - 1).copied().unwrap_or(60).min(cap))
}

/// The hold after the last of `failures` failed renewals in a row.
fn hold_after(failures: u32, failure: Failed, random: f64) -> Duration {
    let base = clock::now();
    let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
    let mut session = Session { failures: failures - 1, ..Session::default() };
    renewal.give_up(&mut session, failure, base.monotonic, random) - base.monotonic
}

/// A task that was lost may have spent the refresh token; it has made nothing well.
#[test]
fn a19_a_lost_renewal_leaves_the_failures_behind_and_not_the_refresh_token() {
    let base = clock::now();
    let mut session = session_since(base);
    session.failures = 3;
    let mut session = session.left_behind();
    assert_eq!(refresh_token(&session), None);
    // The fourth failure in a row, not the first.
    let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
    let held = renewal.give_up(&mut session, failed(Class::Transient), base.monotonic, LEAST) - base.monotonic;
    assert_eq!(held, full_back_off(4, 30) / 2);
}

#[test]
fn a11_a_renewal_makes_at_most_three_exchanges_and_repeats_what_is_transient_alone() {
    use Class::{GrantRefused, Malformed, Rejected, Transient};
    use Grant::{ClientCredentials as New, RefreshToken as Refresh};

    let base = clock::now();
    // Whether there is a refresh token; the failures, in turn; the grants sent before it gives up.
    let rows: [(bool, &[Class], &[Grant]); 13] = [
        (false, &[Transient, Transient, Transient], &[New, New, New]),
        (false, &[Rejected], &[New]),
        (false, &[Malformed], &[New]),
        (false, &[Transient, Rejected], &[New, New]),
        (false, &[Transient, Malformed], &[New, New]),
        (false, &[Transient, Transient, Rejected], &[New, New, New]),
        (true, &[Transient, Transient, Transient], &[Refresh, New, New]),
        (true, &[GrantRefused, Transient, Transient], &[Refresh, New, New]),
        (true, &[Malformed, Transient, Transient], &[Refresh, New, New]),
        (true, &[GrantRefused, Malformed], &[Refresh, New]),
        (true, &[Malformed, Malformed], &[Refresh, New]),
        (true, &[Transient, Rejected], &[Refresh, New]),
        (true, &[Rejected], &[Refresh]),
    ];
    for (has_refresh_token, classes, expected) in rows {
        let mut session = if has_refresh_token { session_since(base) } else { Session::default() };
        let failures: Vec<_> = classes.iter().copied().map(failed).collect();
        let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let (grants, ..) = run(renewal, &mut session, base, &failures, LEAST);
        assert_eq!(grants, expected, "{classes:?}");
        // However many exchanges it made, it is one failed renewal.
        assert_eq!(session.failures, 1, "{classes:?}");
    }
}

#[test]
fn a11_the_pauses_before_the_repeats_are_drawn_from_half_a_second_and_from_one() {
    let base = clock::now();
    let transient = [failed(Class::Transient); 3];
    for (random, first, second) in [
        (LEAST, Duration::ZERO, Duration::ZERO),
        (0.25, millis(125), millis(250)),
        (0.5, millis(250), millis(500)),
        (0.75, millis(375), millis(750)),
        // Rounded to the nanosecond this is the end of the range.
        (MOST, millis(500), millis(1000)),
    ] {
        let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let (_, sent, _) = run(renewal, &mut Session::default(), base, &transient, random);
        assert_eq!(sent, [Duration::ZERO, first, first + second], "random {random}");

        // After a refresh there is one repeat, and its pause is the first one.
        let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let (_, sent, _) = run(renewal, &mut session_since(base), base, &transient, random);
        assert_eq!(sent, [Duration::ZERO, Duration::ZERO, first], "random {random}");
    }
}

#[test]
fn a11_a_pause_is_at_least_the_retry_after() {
    let base = clock::now();
    // Retry-After, random, the pauses.
    for (retry_after, random, pauses) in [
        (millis(300), 0.5, [millis(300), millis(500)]),
        (millis(600), 0.5, [millis(600), millis(600)]),
        (seconds(2), MOST, [seconds(2), seconds(2)]),
        (Duration::ZERO, 0.5, [millis(250), millis(500)]),
    ] {
        let transient = [failed_with(Class::Transient, retry_after); 3];
        let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let (_, sent, _) = run(renewal, &mut Session::default(), base, &transient, random);
        assert_eq!(sent, [Duration::ZERO, pauses[0], pauses[0] + pauses[1]], "{retry_after:?}, random {random}");
    }
}

#[test]
fn a11_a_repeat_that_would_begin_at_the_deadline_is_not_made() {
    let base = clock::now();
    let deadline = base.monotonic + TIMEOUT;
    let next_at = |now, failure| {
        let mut session = Session::default();
        let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let first = renewal.begin(&session, base);
        renewal.after_failure(&mut session, first.grant, failure, now, 0.5)
    };
    // The pause is 250 ms.
    let transient = failed(Class::Transient);
    let in_time = deadline - millis(250) - Duration::from_nanos(1);
    assert_eq!(exchange(next_at(in_time, transient)).not_before, deadline - Duration::from_nanos(1));
    for now in [deadline - millis(250), deadline, deadline + seconds(1)] {
        assert_eq!(hold(next_at(now, transient), now), millis(750));
    }
    // A Retry-After beyond the deadline ends the renewal at once, and the hold is what it asked for.
    let now = base.monotonic + seconds(1);
    let retry_after = failed_with(Class::Transient, seconds(9));
    assert_eq!(hold(next_at(now, retry_after), now), seconds(9));
}

// lesson 9
#[test]
fn a11_the_hold_after_the_nth_failure_doubles_up_to_its_cap_and_never_overflows() {
    for class in CLASSES {
        let cap = if class == Class::Rejected { 60 } else { 30 };
        for failures in 1..=1000 {
            let full = full_back_off(failures, cap);
            assert_eq!(hold_after(failures, failed(class), LEAST), full / 2, "{class:?}, failure {failures}");
            assert_eq!(hold_after(failures, failed(class), 0.5), full * 3 / 4, "{class:?}, failure {failures}");
            // Rounded to the nanosecond this is the end of the range.
            assert_eq!(hold_after(failures, failed(class), MOST), full, "{class:?}, failure {failures}");
        }
        assert_eq!(hold_after(u32::MAX, failed(class), MOST), seconds(cap), "{class:?}");
    }
}

// lesson 9
#[test]
fn a11_a_thousand_failed_renewals_in_a_row_stay_at_the_cap() {
    let mut now = clock::now();
    let mut session = Session::default();
    for failures in 1..=1000 {
        let renewal = Renewal::new(now.monotonic, TIMEOUT, None, false);
        let (grants, _, held) = run(renewal, &mut session, now, &[failed(Class::Malformed)], MOST);
        assert_eq!(grants, [Grant::ClientCredentials]);
        assert_eq!(session.failures, failures);
        assert_eq!(held, full_back_off(failures, 30), "failure {failures}");
        now = later(now, held);
    }
    // The count itself does not overflow either.
    session.failures = u32::MAX;
    let renewal = Renewal::new(now.monotonic, TIMEOUT, None, false);
    let (.., held) = run(renewal, &mut session, now, &[failed(Class::Malformed)], MOST);
    assert_eq!((held, session.failures), (seconds(30), u32::MAX));
}

#[test]
fn a11_a_longer_retry_after_counts_up_to_five_minutes() {
    for class in CLASSES {
        // After the first failure the hold is 1 s in full, after the tenth 30 or 60 s.
        let cap = if class == Class::Rejected { 60 } else { 30 };
        for (failures, own) in [(1, 1), (10, cap)] {
            for (retry_after, asked) in
                [(0, 0), (1, 1), (20, 20), (60, 60), (61, 61), (299, 299), (300, 300), (301, 300), (u64::MAX, 300)]
            {
                let held = hold_after(failures, failed_with(class, seconds(retry_after)), MOST);
                assert_eq!(held, seconds(own.max(asked)), "{class:?}, failure {failures}, Retry-After {retry_after}");
            }
        }
    }
}

// lesson 8
#[test]
fn a11_after_200_failures_one_hold_is_all_that_stands_before_the_recovery() {
    let mut now = clock::now();
    let mut session = session_since(now);
    let mut last_hold = Duration::ZERO;
    let transient = [failed(Class::Transient); 3];
    for _ in 0..200 {
        let renewal = Renewal::new(now.monotonic, TIMEOUT, None, false);
        let (_, sent, held) = run(renewal, &mut session, now, &transient, MOST);
        now = later(now, sent[2] + held);
        last_hold = held;
    }
    assert_eq!(session.failures, 200);
    assert_eq!(last_hold, seconds(30));

    // The hold has ended: the next renewal asks at once, and succeeds.
    let first = Renewal::new(now.monotonic, TIMEOUT, None, false).begin(&session, now);
    assert_eq!((first.grant, first.not_before), (Grant::ClientCredentials, now.monotonic));
    session.granted(first.grant, answer(3600, Some("r2"), Some(7200)), now);

    // Nothing is left of the failures: the next one counts as the first.
    assert_eq!(session.failures, 0);
    let renewal = Renewal::new(now.monotonic, TIMEOUT, None, false);
    let (.., held) = run(renewal, &mut session, now, &[failed(Class::Rejected)], MOST);
    assert_eq!(held, seconds(1));
}

// lesson 17
#[test]
fn a11_a_rejection_is_one_exchange_and_then_a_hold_of_up_to_a_minute() {
    let mut now = clock::now();
    let mut session = session_since(now);
    let mut holds = Vec::new();
    for _ in 0..8 {
        let renewal = Renewal::new(now.monotonic, TIMEOUT, None, false);
        let (grants, _, held) = run(renewal, &mut session, now, &[failed(Class::Rejected)], MOST);
        assert_eq!(grants, [Grant::RefreshToken]);
        holds.push(held.as_secs());
        now = later(now, held);
    }
    assert_eq!(holds, [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[test]
fn a11_ending_a_session_does_not_forget_the_failures() {
    let base = clock::now();
    let mut session = session_since(base);
    session.failures = 3;
    assert_eq!(session.forget().as_ref().map(Secret::expose), Some("r1"));
    assert_eq!(refresh_token(&session), None);
    assert_eq!(session.forget(), None);
    let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
    let (.., held) = run(renewal, &mut session, base, &[failed(Class::Malformed)], MOST);
    assert_eq!(held, seconds(8));
}

#[test]
fn a12_with_a_usable_token_a_renewal_makes_at_most_two_exchanges_and_no_repeat() {
    use Class::{GrantRefused, Malformed, Rejected, Transient};
    use Grant::{ClientCredentials as New, RefreshToken as Refresh};

    let base = clock::now();
    let rows: [(bool, &[Class], &[Grant]); 9] = [
        (false, &[Transient], &[New]),
        (false, &[Malformed], &[New]),
        (false, &[Rejected], &[New]),
        (true, &[Transient, Transient], &[Refresh, New]),
        (true, &[GrantRefused, Transient], &[Refresh, New]),
        (true, &[Malformed, Transient], &[Refresh, New]),
        (true, &[GrantRefused, Malformed], &[Refresh, New]),
        (true, &[Transient, Rejected], &[Refresh, New]),
        (true, &[Rejected], &[Refresh]),
    ];
    for (has_refresh_token, classes, expected) in rows {
        let mut session = if has_refresh_token { session_since(base) } else { Session::default() };
        let failures: Vec<_> = classes.iter().copied().map(failed).collect();
        let renewal = Renewal::new(base.monotonic, TIMEOUT, Some(base.monotonic + seconds(600)), false);
        let (grants, _, held) = run(renewal, &mut session, base, &failures, MOST);
        assert_eq!(grants, expected, "{classes:?}");
        assert_eq!(held, seconds(1), "{classes:?}");
        assert_eq!(session.failures, 1, "{classes:?}");
    }
}

#[test]
fn a12_a_token_that_expires_during_the_renewal_makes_repeats_worth_while() {
    let base = clock::now();
    let end = base.monotonic + seconds(2);
    let next_at = |now| {
        let mut session = Session::default();
        let mut renewal = Renewal::new(base.monotonic, TIMEOUT, Some(end), false);
        let first = renewal.begin(&session, base);
        renewal.after_failure(&mut session, first.grant, failed(Class::Transient), now, LEAST)
    };
    // The last nanosecond of the token: nobody waits, so nothing is repeated.
    assert_eq!(next_at(end - Duration::from_nanos(1)), Next::Hold(end));
    assert_eq!(exchange(next_at(end)).not_before, end);
}

#[test]
fn a12_the_hold_ends_at_the_expiry_unless_the_server_asked_for_more_or_rejected_the_client() {
    let base = clock::now();
    // The tenth failure in a row: the hold is 30 s in full, 60 s after a rejection.
    // The token's time left; class; Retry-After; the hold.
    for (left, class, retry_after, expected) in [
        (5, Class::Transient, None, 5),
        (5, Class::Malformed, None, 5),
        (5, Class::GrantRefused, None, 5),
        (5, Class::Rejected, None, 60),
        // It ends by itself before the expiry.
        (600, Class::Transient, None, 30),
        (600, Class::Malformed, None, 30),
        (600, Class::Rejected, None, 60),
        // The server asked for less, for more, for too much.
        (5, Class::Transient, Some(3), 5),
        (5, Class::Transient, Some(20), 20),
        (5, Class::Malformed, Some(45), 45),
        (5, Class::Transient, Some(3600), 300),
        (600, Class::Transient, Some(120), 120),
        (5, Class::Rejected, Some(90), 90),
        // The token has expired meanwhile: the hold is not cut to nothing.
        (0, Class::Transient, None, 30),
    ] {
        let mut session = Session { failures: 9, ..Session::default() };
        let renewal = Renewal::new(base.monotonic, TIMEOUT, Some(base.monotonic + seconds(left)), false);
        let failure = Failed { class, retry_after: retry_after.map(seconds) };
        let until = renewal.give_up(&mut session, failure, base.monotonic, MOST);
        assert_eq!(until - base.monotonic, seconds(expected), "{left} s left, {class:?}, {retry_after:?}");
    }
}
