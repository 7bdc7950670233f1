//! How long a token lives, when it turns stale, what the two clocks say.

use std::time::Duration;

use futures::FutureExt;
use neonomics_auth::testing::{FakeNeonomics, Fault, shift_wall_clock};
use neonomics_auth::{TokenProvider, TokenState};
use serde_json::{Value, json};

use crate::{HOUR, LIFETIME, MILLISECOND, SECOND, answer, pass, settle, tasks, turn_stale};

const DAY: Duration = Duration::from_secs(86_400);

/// A provider whose first token has this `expires_in`.
fn granting(expires_in: &Value) -> (FakeNeonomics, TokenProvider) {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, answer(200, json!({ "access_token": "token", "expires_in": expires_in }).to_string()));
    let provider = fake.provider();
    (fake, provider)
}

// lesson 11
#[tokio::test(start_paused = true)]
async fn a16_a_lifetime_is_a_number_a_float_or_a_numeric_text_up_to_30_days() {
    let month = 30 * DAY;
    let lifetimes = [
        (json!(60), Duration::from_secs(60)),
        (json!(60.5), Duration::from_millis(60_500)),
        (json!("60"), Duration::from_secs(60)),
        (json!(" 60.5 "), Duration::from_millis(60_500)),
        (json!(2_592_000), month),
        (json!(2_592_001), month),
        (json!(u64::MAX), month),
        (json!(1e300), month),
        (json!("1e300"), month),
    ];
    for (stated, lifetime) in lifetimes {
        let (_fake, provider) = granting(&stated);
        assert_eq!(provider.token().await.unwrap().expires_in(), lifetime, "{stated}");
        // And it ends there.
        pass(lifetime - MILLISECOND).await;
        assert!(provider.cached().is_some(), "{stated}");
        pass(MILLISECOND).await;
        assert!(provider.cached().is_none(), "{stated}");
    }
}

// lesson 11
#[tokio::test(start_paused = true)]
async fn a16_a_lifetime_that_is_none_is_malformed() {
    let none = [
        json!(0),
        json!(-1),
        json!(-0.5),
        json!("0"),
        json!("-60"),
        json!("soon"),
        json!(""),
        json!("NaN"),
        json!("inf"),
        json!(true),
        json!([60]),
        json!({ "seconds": 60 }),
    ];
    for stated in none {
        let (fake, provider) = granting(&stated);
        assert!(provider.token().await.unwrap_err().is_malformed(), "{stated}");
        assert!(provider.cached().is_none());
        fake.expect().client_credentials(1);
    }
}

// lesson 11
#[tokio::test(start_paused = true)]
async fn a16_a_lifetime_that_is_not_stated_is_five_minutes() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, answer(200, r#"{"access_token":"token"}"#));
    assert_eq!(fake.provider().token().await.unwrap().expires_in(), Duration::from_secs(300));
}

// lesson 12
#[tokio::test(start_paused = true)]
async fn a16_a_slow_answer_shortens_the_life_of_its_token() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(20 * SECOND);
    let provider = fake.provider();
    fake.fail_exchanges(1, Fault::Delay(5 * SECOND));
    assert_eq!(provider.token().await.unwrap().expires_in(), 15 * SECOND);
    // Stale is counted from there too: 80 % of 20 s, of which five have passed.
    pass(11 * SECOND).await;
    assert_eq!(provider.status().state, TokenState::Stale);
    pass(4 * SECOND - MILLISECOND).await;
    assert!(provider.cached().is_some());
    pass(MILLISECOND).await;
    assert!(provider.cached().is_none());
}

// lesson 12
#[tokio::test(start_paused = true)]
async fn a16_a_slow_body_shortens_it_as_well() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(1, Fault::Trickle(10 * MILLISECOND));
    let left = provider.token().await.unwrap().expires_in();
    // Hundreds of bytes, ten milliseconds after each, the end of the body included.
    let arrived = LIFETIME - left;
    assert!(arrived > 2 * SECOND && arrived < 9 * SECOND, "{arrived:?}");
    assert_eq!(arrived.as_millis() % 10, 0);
}

// lesson 12
#[tokio::test(start_paused = true)]
async fn a16_a_token_that_has_expired_on_arrival_is_never_handed_out() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(3 * SECOND);
    let provider = fake.provider();
    // To the very second.
    fake.fail_exchanges(usize::MAX, Fault::Delay(3 * SECOND));
    let mut waiting = tokio_test::task::spawn(provider.token());
    assert!(waiting.poll().is_pending());
    for _ in 0..100 {
        pass(100 * MILLISECOND).await;
        assert!(provider.cached().is_none());
    }
    settle().await;
    let error = tokio_test::assert_ready_err!(waiting.poll());
    assert!(error.is_transient());
    // Transient: so it was repeated, as often as the deadline allowed.
    fake.expect().client_credentials(3).refresh(0);
    assert_eq!(provider.status().state, TokenState::None);

    fake.heal();
    pass(error.retry_after().unwrap()).await;
    assert_eq!(provider.token().await.unwrap().generation(), 1);
}

// lesson 10
#[tokio::test(start_paused = true)]
async fn a16_a_token_that_lives_less_than_a_second_is_never_handed_out() {
    for stated in [json!(0.5), json!("0.999"), json!(1e-9)] {
        // It counts as expired on arrival, a transient failure: repeated once, and the caller sees the other token.
        let (fake, provider) = granting(&stated);
        assert_ne!(provider.token().await.unwrap().secret(), "token", "{stated}");
        fake.expect().client_credentials(2);

        // Without end: three exchanges, and an error.
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let short = json!({ "access_token": "token", "expires_in": stated }).to_string();
        fake.fail_exchanges(usize::MAX, answer(200, short.clone()));
        let error = provider.token().await.unwrap_err();
        assert!(error.is_transient() && !error.is_malformed(), "{stated}: {error}");
        assert!(provider.cached().is_none(), "{stated}");
        fake.expect().client_credentials(3);
        fake.heal();

        // Behind a usable token: that one stays.
        pass(SECOND).await;
        let usable = provider.token().await.unwrap();
        fake.fail_exchanges(2, answer(200, short));
        assert!(provider.renew(&usable).await.unwrap_err().is_transient(), "{stated}");
        assert_eq!(provider.cached().unwrap().secret(), usable.secret(), "{stated}");
        fake.expect().client_credentials(3 + 1 + 1).refresh(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a16_a_token_that_lives_a_second_is_handed_out() {
    let (fake, provider) = granting(&json!(1));
    let token = provider.token().await.unwrap();
    assert_eq!((token.secret(), token.expires_in()), ("token", SECOND));
    fake.expect().client_credentials(1);
}

#[tokio::test(start_paused = true)]
async fn a16_a_refreshed_token_that_has_expired_on_arrival_leaves_the_usable_one_in_place() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    turn_stale(&provider).await;
    fake.set_access_lifetime(SECOND);
    fake.fail_exchanges(2, Fault::Delay(2 * SECOND));
    provider.token().await.unwrap();
    pass(5 * SECOND).await;
    assert_eq!(provider.cached().unwrap().secret(), first.secret());
    fake.expect().client_credentials(2).refresh(1);
}

// lesson 10
#[tokio::test(start_paused = true)]
async fn a17_a_token_turns_stale_within_70_to_80_percent_of_its_life_drawn_once_for_each() {
    fastrand::seed(42);
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(1000 * SECOND);
    fake.set_session_idle(DAY);
    fake.set_session_maximum(3650 * DAY);
    let provider = fake.provider();
    let mut ages = Vec::new();
    for generation in 1..=200 {
        // Renewed by the look of `token`, so that the next round has a new one.
        let mut age = 699;
        if generation == 1 {
            provider.token().await.unwrap();
        }
        pass(699 * SECOND - MILLISECOND * u32::from(generation > 1)).await;
        assert_eq!(provider.cached().unwrap().generation(), generation);
        while provider.status().state == TokenState::Fresh {
            // Looked at twice: once drawn it stays.
            assert_eq!(provider.status().state, TokenState::Fresh);
            pass(SECOND).await;
            age += 1;
        }
        assert_eq!(provider.status().state, TokenState::Stale);
        ages.push(age);
        provider.token().await.unwrap();
        settle().await;
    }
    // Every one lies before the expiry; over 200 of them the whole range is used.
    assert!(ages.iter().all(|age| (700..=800).contains(age)), "{ages:?}");
    assert!(*ages.iter().min().unwrap() < 710 && *ages.iter().max().unwrap() > 790, "{ages:?}");
    fake.expect().client_credentials(1).refresh(200);
}

// lesson 10
#[tokio::test(start_paused = true)]
async fn a17_no_lifetime_leads_to_more_renewals_than_its_rollovers() {
    for lifetime in [1, 5, 20, 30, 60, 240, 300, 3600, 86_400_u32] {
        for refresh_tokens in [true, false] {
            let fake = FakeNeonomics::new();
            fake.set_access_lifetime(SECOND * lifetime);
            fake.set_session_idle(2 * SECOND * lifetime);
            fake.set_session_maximum(1000 * DAY);
            fake.set_refresh_tokens(refresh_tokens);
            let provider = fake.provider();

            // Load: twenty calls within a short life, one a second within a longer one, over an hour or six lives.
            let every = SECOND.min(SECOND * lifetime / 20).max(SECOND * lifetime / 3600);
            let duration = HOUR.max(6 * SECOND * lifetime);
            let calls = u32::try_from(duration.as_millis() / every.as_millis()).unwrap();
            provider.token().await.unwrap();
            for _ in 0..calls {
                pass(every).await;
                let token = provider.token().now_or_never().expect("under load nobody ever waits").unwrap();
                assert!(!token.expires_in().is_zero(), "an expired token was handed out");
            }
            let status = provider.status();
            let made = status.exchanges.client_credentials + status.exchanges.refresh_token;
            // The bound of the contract, for the time that was simulated; and below it there is no way either.
            let most = duration.as_secs_f64() / (0.7 * f64::from(lifetime)) + 1.0;
            let fewest = duration.as_secs_f64() / (0.8 * f64::from(lifetime) + every.as_secs_f64());
            #[allow(clippy::cast_precision_loss, reason = "some thousands")]
            let made_f64 = made as f64;
            assert!(fewest <= made_f64 && made_f64 <= most, "{lifetime} s: {made} not in {fewest}..={most}");
            assert_eq!(status.renewals.due.succeeded, made - 1);
            assert_eq!(status.renewals.due.failed, 0);
        }
    }
}

/// Puts the wall clock of this thread right, whatever becomes of the test.
struct WallClock;

impl Drop for WallClock {
    fn drop(&mut self) {
        shift_wall_clock(0);
    }
}

// lesson 13
#[tokio::test(start_paused = true)]
async fn a18_a_wall_clock_beyond_the_expiry_ends_the_token_within_a_second() {
    let _reset = WallClock;
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(10 * SECOND).await;
    // A look, after which the next second belongs to the monotonic clock alone.
    assert!(provider.cached().is_some());

    // A suspended machine: the monotonic clock saw nothing of it.
    shift_wall_clock(3601);
    pass(999 * MILLISECOND).await;
    assert!(provider.cached().is_some(), "the wall clock is looked at once a second");
    pass(MILLISECOND).await;
    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::Expired);

    // Whoever asks now waits for a new one; the refresh token is as old by the wall, and still within its two hours.
    assert!(provider.token().now_or_never().is_none());
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
}

// lesson 13
#[tokio::test(start_paused = true)]
async fn a18_a_wall_clock_short_of_the_expiry_changes_nothing() {
    let _reset = WallClock;
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    // The test itself takes real time, which is what the wall clock tells: a minute is more than enough for it.
    shift_wall_clock(3540);
    pass(2 * SECOND).await;
    assert_eq!(provider.status().state, TokenState::Fresh);
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
    fake.expect().client_credentials(1).refresh(0);
}

// lesson 13
#[tokio::test(start_paused = true)]
async fn a18_a_wall_clock_that_jumps_back_prolongs_nothing() {
    let _reset = WallClock;
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    shift_wall_clock(-7 * 86_400);
    // It turns stale as ever, and expires to the millisecond.
    turn_stale(&provider).await;
    pass(LIFETIME - crate::STALE - MILLISECOND).await;
    assert!(provider.cached().is_some());
    pass(MILLISECOND).await;
    assert!(provider.cached().is_none());

    // Nor does it prolong a refresh token: 6,840 s after its exchange it is not sent any more.
    pass(Duration::from_secs(6840) - LIFETIME).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(2).refresh(0);
}

// lesson 13
#[tokio::test(start_paused = true)]
async fn a18_a_refresh_token_that_was_slept_through_is_not_sent() {
    let _reset = WallClock;
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    shift_wall_clock(6841);
    pass(SECOND).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(2).refresh(0);
}

// lesson 13
#[tokio::test(start_paused = true)]
async fn a18_a_token_that_was_slept_through_on_its_way_is_not_handed_out() {
    let _reset = WallClock;
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let gate = fake.hold_exchanges();
    let mut waiting = tokio_test::task::spawn(provider.token());
    assert!(waiting.poll().is_pending());
    gate.arrived(1).await;
    shift_wall_clock(3601);
    gate.open();
    // The first answer is thrown away; the repeat is counted from the new time.
    pass(SECOND).await;
    assert_eq!(tokio_test::assert_ready_ok!(waiting.poll()).generation(), 1);
    fake.expect().client_credentials(2).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn d4_an_idle_provider_causes_no_traffic_for_a_day() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    // Before the first token, with a token, and with one that has long expired.
    pass(DAY).await;
    fake.expect().client_credentials(0).refresh(0);
    provider.token().await.unwrap();
    for _ in 0..24 {
        pass(HOUR).await;
        assert_eq!(tasks(), 0);
        // Looking is not asking.
        let _ = (provider.cached(), provider.status());
    }
    fake.expect().client_credentials(1).refresh(0).logout(0).requests(0);
}

#[tokio::test(start_paused = true)]
async fn d4_after_a_failure_nothing_tries_again_by_itself() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, answer(503, ""));
    provider.token().await.unwrap_err();
    fake.expect().client_credentials(3);
    assert_eq!(tasks(), 0);
    pass(DAY).await;
    fake.expect().client_credentials(3);
}
