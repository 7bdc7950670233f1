//! The forced renewals that may follow one another.

use super::*;

/// How many of `asked` forced renewals the session gives at `now`.
fn given(session: &mut Session, now: Instant, asked: usize) -> usize {
    (0..asked).filter(|_| session.take_forced(now).is_ok()).count()
}

#[test]
fn c9_ten_forced_renewals_come_at_once_and_the_next_after_a_minute() {
    let base = clock::monotonic();
    let mut session = Session::default();
    assert_eq!(given(&mut session, base, 10), 10);
    assert_eq!(session.take_forced(base), Err(seconds(60)));
    // Asking in vain costs nothing: the minute still counts from the same instant.
    assert_eq!(given(&mut session, base + seconds(59), 1000), 0);
    assert_eq!(given(&mut session, base + seconds(60), 1000), 1);
}

#[test]
fn c9_endless_demand_gets_10_in_the_first_minute_and_69_in_the_first_hour() {
    let base = clock::monotonic();
    let mut session = Session::default();
    let (mut minute, mut hour, mut second_hour) = (0, 0, 0);
    // Asked every 100 ms.
    for tick in 0..72_000 {
        let elapsed = millis(100 * tick);
        if session.take_forced(base + elapsed).is_ok() {
            minute += u32::from(elapsed < seconds(60));
            hour += u32::from(elapsed < seconds(3600));
            second_hour += u32::from(elapsed >= seconds(3600));
        }
    }
    assert_eq!((minute, hour, second_hour), (10, 69, 60));
}

#[test]
fn c9_the_bucket_refills_by_one_a_minute_to_the_brim_and_no_further() {
    let base = clock::monotonic();
    for (waited, expected) in [
        (seconds(0), 0),
        (just_before(seconds(60)), 0),
        (seconds(60), 1),
        (seconds(119), 1),
        (seconds(300), 5),
        (just_before(seconds(600)), 9),
        (seconds(600), 10),
        (seconds(660), 10),
        (seconds(3600), 10),
        (seconds(365 * 24 * 3600), 10),
    ] {
        let mut session = Session::default();
        assert_eq!(given(&mut session, base, 100), 10);
        assert_eq!(given(&mut session, base + waited, 100), expected, "after {waited:?}");
    }
    // A bucket that nobody has touched is not fuller than full.
    let mut session = Session::default();
    assert_eq!(given(&mut session, base, 1), 1);
    assert_eq!(given(&mut session, base + seconds(3600), 100), 10);
}

#[test]
fn c9_the_wait_that_is_told_is_exact() {
    let base = clock::monotonic();
    let mut session = Session::default();
    let mut now = base;
    assert_eq!(given(&mut session, now, 10), 10);
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..100 {
        // Asked at an odd moment of the minute.
        now += Duration::from_nanos(random.u64(..60_000_000_000));
        let Err(wait) = session.take_forced(now) else { continue };
        // A nanosecond early there is a nanosecond left; then there is exactly one.
        assert_eq!(session.take_forced(now + just_before(wait)), Err(Duration::from_nanos(1)));
        now += wait;
        assert_eq!(session.take_forced(now), Ok(()));
        assert_eq!(session.take_forced(now), Err(seconds(60)));
    }
}

#[test]
fn c9_success_and_the_end_of_the_session_do_not_refill_the_bucket() {
    let base = clock::now();
    let mut session = session_since(base);
    assert_eq!(given(&mut session, base.monotonic, 10), 10);
    // The renewals succeed, and the API refuses on: that is what the bucket is for.
    session.granted(Grant::RefreshToken, answer(3600, Some("r2"), Some(7200)), base);
    session.forget();
    assert_eq!(given(&mut session, base.monotonic, 10), 0);
}
