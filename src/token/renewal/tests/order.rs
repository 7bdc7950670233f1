//! Which grant, in which order, and what becomes of the refresh token.

use super::*;

#[test]
fn a5_the_refresh_token_goes_first_with_half_of_the_deadline() {
    let base = clock::now();
    let session = session_since(base);
    let started = later(base, seconds(3000)).monotonic;
    for timeout in [millis(1), seconds(1), seconds(10), seconds(3600)] {
        // The task may reach the policy a little after its start: the deadline counts from the start all the same.
        for late in [Duration::ZERO, millis(20)] {
            let now = later(base, seconds(3000) + late);
            let first = Renewal::new(started, timeout, None, false).begin(&session, now);
            let expected =
                Exchange { grant: Grant::RefreshToken, not_before: now.monotonic, deadline: started + timeout / 2 };
            assert_eq!(first, expected);
        }
    }
}

#[test]
fn a5_without_a_living_refresh_token_client_credentials_have_the_whole_deadline() {
    let base = clock::now();
    let dead = later(base, seconds(7200));
    for (session, now) in [(Session::default(), base), (session_since(base), dead)] {
        let first = Renewal::new(now.monotonic, TIMEOUT, None, false).begin(&session, now);
        let expected =
            Exchange { grant: Grant::ClientCredentials, not_before: now.monotonic, deadline: now.monotonic + TIMEOUT };
        assert_eq!(first, expected);
    }
}

#[test]
fn a5_after_a_failed_refresh_client_credentials_follow_at_once_with_the_rest() {
    let base = clock::now();
    let started = base.monotonic;
    for class in [Class::GrantRefused, Class::Transient, Class::Malformed] {
        for usable_until in [None, Some(started + seconds(600))] {
            for took in [Duration::ZERO, millis(70), seconds(5)] {
                for random in [LEAST, MOST] {
                    let mut session = session_since(base);
                    let mut renewal = Renewal::new(started, TIMEOUT, usable_until, false);
                    let first = renewal.begin(&session, base);
                    let now = started + took;
                    let next = renewal.after_failure(&mut session, first.grant, failed(class), now, random);
                    // No pause, whatever was drawn: it is another grant, not a repeat.
                    let expected =
                        Exchange { grant: Grant::ClientCredentials, not_before: now, deadline: started + TIMEOUT };
                    assert_eq!(next, Next::Exchange(expected), "{class:?} after {took:?}");
                }
            }
        }
    }
}

#[test]
fn a5_client_credentials_wait_for_the_retry_after_of_the_failed_refresh() {
    let base = clock::now();
    let now = base.monotonic + seconds(1);
    for class in [Class::GrantRefused, Class::Transient, Class::Malformed] {
        let next_after = |retry_after| {
            let mut session = session_since(base);
            let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
            let first = renewal.begin(&session, base);
            renewal.after_failure(&mut session, first.grant, failed_with(class, retry_after), now, MOST)
        };
        for retry_after in [Duration::ZERO, millis(1), seconds(2), just_before(seconds(9))] {
            let next = exchange(next_after(retry_after));
            assert_eq!(next.grant, Grant::ClientCredentials);
            assert_eq!(next.not_before, now + retry_after);
            assert_eq!(next.deadline, base.monotonic + TIMEOUT);
        }
        // From the deadline on there is nothing left to wait for: the renewal ends, and the hold is what was asked.
        for (retry_after, expected) in [(9, 9), (10, 10), (300, 300), (301, 300), (u64::MAX, 300)] {
            assert_eq!(hold(next_after(seconds(retry_after)), now), seconds(expected), "{class:?}");
        }
    }
}

#[test]
fn a5_a_rejected_refresh_is_not_followed_by_client_credentials() {
    let base = clock::now();
    for usable_until in [None, Some(base.monotonic + seconds(600))] {
        let renewal = Renewal::new(base.monotonic, TIMEOUT, usable_until, false);
        let (grants, ..) = run(renewal, &mut session_since(base), base, &[failed(Class::Rejected)], LEAST);
        assert_eq!(grants, [Grant::RefreshToken]);
    }
}

#[test]
fn a6_a_refresh_token_is_sent_once_unless_the_client_was_rejected() {
    let base = clock::now();
    for (class, kept) in
        [(Class::Rejected, Some("r1")), (Class::GrantRefused, None), (Class::Transient, None), (Class::Malformed, None)]
    {
        let mut session = session_since(base);
        let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
        let first = renewal.begin(&session, base);
        let next = renewal.after_failure(&mut session, first.grant, failed(class), base.monotonic, LEAST);
        assert_eq!(refresh_token(&session), kept, "{class:?}");

        // Not in the same renewal, however often it repeats.
        if kept.is_none() {
            let second = exchange(next);
            assert_eq!(second.grant, Grant::ClientCredentials);
            let next =
                renewal.after_failure(&mut session, second.grant, failed(Class::Transient), base.monotonic, LEAST);
            assert_eq!(exchange(next).grant, Grant::ClientCredentials, "{class:?}");
        }
        // And not in a later one; kept after a rejection, it continues the session.
        let expected = if kept.is_some() { Grant::RefreshToken } else { Grant::ClientCredentials };
        assert_eq!(first_grant(&session, later(base, seconds(60))), expected, "{class:?}");
    }
}

#[test]
fn a6_a_rejection_of_client_credentials_does_not_bring_the_refresh_token_back() {
    let base = clock::now();
    let mut session = session_since(base);
    let renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
    let failures = [failed(Class::GrantRefused), failed(Class::Rejected)];
    let (grants, ..) = run(renewal, &mut session, base, &failures, LEAST);
    assert_eq!(grants, [Grant::RefreshToken, Grant::ClientCredentials]);
    assert_eq!(refresh_token(&session), None);
}

#[test]
fn a7_a_new_refresh_token_replaces_the_old_one_and_none_leaves_it() {
    let base = clock::now();
    let now = later(base, seconds(3000));
    for (brought, expected) in [(Some("r2"), "r2"), (None, "r1")] {
        let mut session = session_since(base);
        session.granted(Grant::RefreshToken, answer(3600, brought, Some(7200)), now);
        assert_eq!(refresh_token(&session), Some(expected));
        // Either way it lives as long as the newest answer says.
        assert_eq!(first_grant(&session, later(now, just_before(seconds(6840)))), Grant::RefreshToken);
        assert_eq!(first_grant(&session, later(now, seconds(6840))), Grant::ClientCredentials);
    }
}

#[test]
fn a7_the_old_refresh_token_keeps_its_end_when_the_answer_says_nothing() {
    let base = clock::now();
    let mut session = session_since(base);
    session.granted(Grant::RefreshToken, answer(3600, None, None), later(base, seconds(3000)));
    // 95 % of its own two hours, from the first answer.
    assert_eq!(first_grant(&session, later(base, just_before(seconds(6840)))), Grant::RefreshToken);
    assert_eq!(first_grant(&session, later(base, seconds(6840))), Grant::ClientCredentials);
}

#[test]
fn a7_a_new_session_does_not_inherit_the_refresh_token_of_the_old_one() {
    let base = clock::now();
    let mut session = session_since(base);
    session.granted(Grant::ClientCredentials, answer(3600, None, None), later(base, seconds(7000)));
    assert_eq!(refresh_token(&session), None);
}

#[test]
fn a8_a_refresh_token_is_alive_for_95_percent_of_its_lifetime_on_both_clocks() {
    let base = clock::now();
    // What the answer says, and 95 % of it; beyond 30 days it counts as 30 days.
    let month = 30 * 24 * 3600;
    for (said, alive) in [
        (1, millis(950)),
        (6, millis(5700)),
        (7200, seconds(6840)),
        (36000, seconds(34200)),
        (month, seconds(2_462_400)),
        (month + 1, seconds(2_462_400)),
        (u64::MAX, seconds(2_462_400)),
    ] {
        let mut session = Session::default();
        session.granted(Grant::ClientCredentials, answer(3600, Some("r1"), Some(said)), base);
        let before = later(base, just_before(alive));
        let after = later(base, alive);
        let either = [
            (before.monotonic, before.wall, Grant::RefreshToken),
            // Each clock alone ends it: one stands still while the machine sleeps, the other can be set back.
            (before.monotonic, after.wall, Grant::ClientCredentials),
            (after.monotonic, before.wall, Grant::ClientCredentials),
            (after.monotonic, base.wall - seconds(3600), Grant::ClientCredentials),
            (after.monotonic, after.wall, Grant::ClientCredentials),
        ];
        for (monotonic, wall, grant) in either {
            assert_eq!(first_grant(&session, Moment { monotonic, wall }), grant, "{said} s");
        }
    }
}

#[test]
fn a8_a_refresh_token_of_unknown_end_is_used_until_it_fails() {
    let base = clock::now();
    let mut session = Session::default();
    session.granted(Grant::ClientCredentials, answer(3600, Some("r1"), None), base);
    for days in [0, 1, 29, 31, 365] {
        assert_eq!(first_grant(&session, later(base, seconds(days * 24 * 3600))), Grant::RefreshToken);
    }
}

#[test]
fn a9_a_lifetime_below_half_of_the_first_ends_the_session() {
    let base = clock::now();
    // Lifetimes of the refreshed tokens, in turn, and how many of them the session survives.
    for (first, refreshed, survives) in [
        (3600, &[3600, 3600][..], 2),
        (3600, &[1800], 1),
        (3600, &[1799], 0),
        // The measure is the first token, not the last one: 1000 is more than half of 1900.
        (3600, &[1900, 1000], 1),
        // And it does not grow either.
        (3600, &[7200, 3599, 1800], 3),
        // Keycloak, near the session's maximum.
        (3, &[3, 3, 3, 2, 1], 4),
        (1, &[1], 1),
    ] {
        let mut session = Session::default();
        session.granted(Grant::ClientCredentials, answer(first, Some("r1"), Some(7200)), base);
        for (number, lifetime) in refreshed.iter().enumerate() {
            session.granted(Grant::RefreshToken, answer(*lifetime, Some("r2"), Some(7200)), base);
            let expected = (number < survives).then_some("r2");
            assert_eq!(refresh_token(&session), expected, "{first} s, then {refreshed:?}, at {lifetime}");
        }
    }
}

#[test]
fn a9_the_first_token_of_the_next_session_is_the_new_measure() {
    let base = clock::now();
    let mut session = session_since(base);
    // An operator has shortened the lifetime: one new session, not one at every renewal.
    session.granted(Grant::RefreshToken, answer(100, Some("r2"), Some(7200)), base);
    assert_eq!(first_grant(&session, base), Grant::ClientCredentials);
    session.granted(Grant::ClientCredentials, answer(100, Some("r3"), Some(7200)), base);
    session.granted(Grant::RefreshToken, answer(50, Some("r4"), Some(7200)), base);
    assert_eq!(refresh_token(&session), Some("r4"));
    session.granted(Grant::RefreshToken, answer(49, Some("r5"), Some(7200)), base);
    assert_eq!(refresh_token(&session), None);
}

#[test]
fn a21_a_rejected_secret_that_may_change_is_asked_for_once_more_with_the_same_grant() {
    let base = clock::now();
    let now = base.monotonic + millis(70);
    for usable_until in [None, Some(base.monotonic + seconds(600))] {
        for (mut session, grant, deadline) in [
            (session_since(base), Grant::RefreshToken, base.monotonic + TIMEOUT / 2),
            (Session::default(), Grant::ClientCredentials, base.monotonic + TIMEOUT),
        ] {
            let mut renewal = Renewal::new(base.monotonic, TIMEOUT, usable_until, true);
            assert_eq!(renewal.begin(&session, base).grant, grant);
            let next = renewal.after_failure(&mut session, grant, failed(Class::Rejected), now, LEAST);
            assert_eq!(next, Next::WithAnotherSecret(Exchange { grant, not_before: now, deadline }));
            // The refresh token has not been looked at: the new secret may continue the session with it.
            assert_eq!(refresh_token(&session).is_some(), grant == Grant::RefreshToken);

            // Rejected again: it is not asked a second time. The rejection counts as one failed renewal.
            let next = renewal.after_failure(&mut session, grant, failed(Class::Rejected), now, LEAST);
            assert_eq!(hold(next, now), millis(500));
            assert_eq!(session.failures, 1);
        }
    }
}

#[test]
fn a21_a_rejection_that_asks_for_time_gets_it_within_the_deadline_of_the_grant() {
    let base = clock::now();
    for (mut session, grant, deadline) in [
        (session_since(base), Grant::RefreshToken, TIMEOUT / 2),
        (Session::default(), Grant::ClientCredentials, TIMEOUT),
    ] {
        for (asked, given) in [(just_before(deadline), true), (deadline, false)] {
            let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, true);
            renewal.begin(&session, base);
            let rejected = failed_with(Class::Rejected, asked);
            match renewal.after_failure(&mut session, grant, rejected, base.monotonic, LEAST) {
                Next::WithAnotherSecret(next) if given => assert_eq!(next.not_before, base.monotonic + asked),
                next => assert!(!given && hold(next, base.monotonic) == asked, "{grant:?} {asked:?}"),
            }
        }
    }
}

#[test]
fn a21_a_fixed_secret_is_not_asked_for_again() {
    let base = clock::now();
    let mut session = Session::default();
    let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, false);
    let first = renewal.begin(&session, base);
    let next = renewal.after_failure(&mut session, first.grant, failed(Class::Rejected), base.monotonic, LEAST);
    assert_eq!(hold(next, base.monotonic), millis(500));
}

#[test]
fn a21_only_a_rejection_asks_for_another_secret() {
    let base = clock::now();
    for class in [Class::GrantRefused, Class::Transient, Class::Malformed] {
        for mut session in [session_since(base), Session::default()] {
            let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, true);
            let first = renewal.begin(&session, base);
            let next = renewal.after_failure(&mut session, first.grant, failed(class), base.monotonic, LEAST);
            assert!(!matches!(next, Next::WithAnotherSecret(_)), "{class:?}");
        }
    }
}

#[test]
fn a21_another_secret_counts_among_the_exchanges_of_a_renewal() {
    let base = clock::now();
    let now = base.monotonic;
    // How often the renewal failed before the rejection, whether the token is usable, whether there is a try left.
    for (transient, usable, left) in [(0, false, true), (1, false, true), (2, false, false), (0, true, true)] {
        let mut session = Session::default();
        let mut renewal = Renewal::new(now, TIMEOUT, usable.then(|| now + seconds(600)), true);
        renewal.begin(&session, base);
        for _ in 0..transient {
            let grant = Grant::ClientCredentials;
            exchange(renewal.after_failure(&mut session, grant, failed(Class::Transient), now, LEAST));
        }
        let grant = Grant::ClientCredentials;
        let next = renewal.after_failure(&mut session, grant, failed(Class::Rejected), now, LEAST);
        assert_eq!(matches!(next, Next::WithAnotherSecret(_)), left, "{transient} transient, usable: {usable}");
    }

    // With a usable token, a spent refresh token and a rejection are the two exchanges.
    let mut session = session_since(base);
    let mut renewal = Renewal::new(now, TIMEOUT, Some(now + seconds(600)), true);
    let first = renewal.begin(&session, base);
    let second = exchange(renewal.after_failure(&mut session, first.grant, failed(Class::GrantRefused), now, LEAST));
    let next = renewal.after_failure(&mut session, second.grant, failed(Class::Rejected), now, LEAST);
    assert_eq!(hold(next, now), millis(500));
}

#[test]
fn a21_asking_in_vain_gives_up_with_one_failure() {
    let base = clock::now();
    let mut session = session_since(base);
    let mut renewal = Renewal::new(base.monotonic, TIMEOUT, None, true);
    let first = renewal.begin(&session, base);
    let rejected = failed(Class::Rejected);
    renewal.after_failure(&mut session, first.grant, rejected, base.monotonic, LEAST);
    // The same secret came: no exchange, and the hold of a first rejection.
    let until = renewal.give_up(&mut session, rejected, base.monotonic, LEAST);
    assert_eq!(until - base.monotonic, millis(500));
    assert_eq!(session.failures, 1);
    assert_eq!(refresh_token(&session), Some("r1"));
}
