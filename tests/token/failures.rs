//! Renewals that fail when there is no usable token: repeats within them, holds after them.

use std::time::Duration;

use futures::FutureExt;
use http::Response;
use http::header::RETRY_AFTER;
use neonomics_auth::TokenProvider;
use neonomics_auth::testing::{FakeNeonomics, Fault};

use crate::{
    LIFETIME, MILLISECOND, SECOND, answer, arrivals, exchanges, pass, pass_hold, settle, unavailable, unavailable_for,
};

/// `n` failed renewals, each right after the hold of the one before; their holds.
async fn fail(provider: &TokenProvider, n: usize) -> Vec<Duration> {
    let mut holds = Vec::with_capacity(n);
    for _ in 0..n {
        let error = provider.token().await.unwrap_err();
        holds.push(error.retry_after().unwrap());
        pass_hold(&error).await;
    }
    holds
}

/// Whether a hold is `whole` seconds times a number from 0.5 to 1.
#[track_caller]
fn assert_hold(hold: Duration, whole: u64) {
    let whole = Duration::from_secs(whole);
    assert!(whole / 2 <= hold && hold <= whole, "{hold:?} is not within {:?} to {whole:?}", whole / 2);
}

#[tokio::test(start_paused = true)]
async fn a11_a_transient_failure_is_repeated_twice_with_pauses() {
    // Many draws, since each pause is one.
    for _ in 0..100 {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, unavailable());
        assert!(provider.token().await.unwrap_err().is_transient());
        fake.expect().client_credentials(3).refresh(0);
        let at = arrivals(&fake);
        assert!(at[1] - at[0] <= SECOND / 2 + MILLISECOND, "{at:?}");
        assert!(at[2] - at[1] <= SECOND + MILLISECOND, "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a11_pauses_and_holds_are_drawn_over_their_whole_range() {
    let (mut first, mut second, mut holds) = (Vec::new(), Vec::new(), Vec::new());
    // The same numbers in each run.
    fastrand::seed(42);
    for _ in 0..200 {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, unavailable());
        let error = provider.token().await.unwrap_err();
        let at = arrivals(&fake);
        first.push((at[1] - at[0]).as_secs_f64());
        second.push((at[2] - at[1]).as_secs_f64());
        holds.push(error.retry_after().unwrap().as_secs_f64());
    }
    // Of 200 uniform draws the outermost lie within a twentieth of the ends.
    for (drawn, low, high) in [(first, 0.0, 0.5), (second, 0.0, 1.0), (holds, 0.5, 1.0)] {
        let margin = (high - low) / 20.0;
        assert!(drawn.iter().any(|drawn| *drawn < low + margin), "{drawn:?}");
        assert!(drawn.iter().any(|drawn| *drawn > high - margin), "{drawn:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a11_a_repeat_that_succeeds_is_all_that_the_caller_sees() {
    for failures in [1, 2] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(failures, Fault::Reset);
        assert_eq!(provider.token().await.unwrap().generation(), 1);
        fake.expect().client_credentials(failures + 1);
        // No renewal has failed: there is nothing to report and nothing to hold.
        assert!(provider.status().last_error.is_none() && provider.status().hold_left.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a11_a_refresh_and_two_client_credentials_are_three() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.fail_exchanges(usize::MAX, unavailable());
    provider.token().await.unwrap_err();
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "client_credentials", "client_credentials"]);
}

#[tokio::test(start_paused = true)]
async fn a11_a_rejection_and_a_malformed_answer_are_not_repeated() {
    let failures = [
        (answer(401, r#"{"error":"invalid_client"}"#), true),
        (answer(403, ""), true),
        (answer(302, ""), true),
        (answer(510, ""), true),
        (answer(200, "<html></html>"), false),
        (answer(200, ""), false),
        (Fault::Endless, false),
    ];
    for (failure, rejected) in failures {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, failure);
        let error = provider.token().await.unwrap_err();
        assert_eq!((error.is_rejected(), error.is_malformed()), (rejected, !rejected), "{error}");
        fake.expect().client_credentials(1).refresh(0);
        assert_hold(error.retry_after().unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a11_during_the_hold_the_same_error_comes_at_once_with_what_is_left() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, answer(200, "<html></html>"));
    let error = provider.token().await.unwrap_err();
    let hold = error.retry_after().unwrap();

    // Right afterwards, and down to the last millisecond.
    for _ in 0..100 {
        let again = provider.token().now_or_never().expect("nobody waits during a hold").unwrap_err();
        assert_eq!(again.retry_after().unwrap(), hold);
        assert!(again.is_malformed());
        assert_eq!(again.to_string(), error.to_string());
    }
    pass(Duration::from_millis(300)).await;
    let again = provider.token().now_or_never().unwrap().unwrap_err();
    assert_eq!(again.retry_after().unwrap(), hold - Duration::from_millis(300));
    fake.expect().client_credentials(1);

    // The first call after it tries again.
    pass(again.retry_after().unwrap()).await;
    provider.token().await.unwrap_err();
    fake.expect().client_credentials(2);
}

// lesson 9
#[tokio::test(start_paused = true)]
async fn a11_a_thousand_transient_failures_in_a_row_hold_no_longer_than_30_seconds() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, unavailable());
    let holds = fail(&provider, 1000).await;
    for (hold, whole) in holds.into_iter().zip([1, 2, 4, 8, 16].into_iter().chain(std::iter::repeat(30))) {
        assert_hold(hold, whole);
    }
    // Three for each renewal: none was made during a hold, none was left out.
    fake.expect().client_credentials(3000).refresh(0);
    assert_eq!(provider.status().renewals.first.failed, 1000);
}

// lesson 9
#[tokio::test(start_paused = true)]
async fn a11_a_thousand_malformed_answers_in_a_row_hold_no_longer_than_30_seconds() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, answer(200, ""));
    let holds = fail(&provider, 1000).await;
    for (hold, whole) in holds.into_iter().zip([1, 2, 4, 8, 16].into_iter().chain(std::iter::repeat(30))) {
        assert_hold(hold, whole);
    }
    fake.expect().client_credentials(1000).refresh(0);
}

// lesson 9
#[tokio::test(start_paused = true)]
async fn a11_a_thousand_rejections_in_a_row_hold_no_longer_than_60_seconds() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.set_client_enabled(false);
    let holds = fail(&provider, 1000).await;
    for (hold, whole) in holds.into_iter().zip([1, 2, 4, 8, 16, 32].into_iter().chain(std::iter::repeat(60))) {
        assert_hold(hold, whole);
    }
    fake.expect().client_credentials(1000).refresh(0);
}

// lesson 8
#[tokio::test(start_paused = true)]
async fn a11_after_200_failures_in_a_row_recovery_takes_one_hold() {
    for failure in [unavailable(), answer(200, "<html></html>"), answer(510, r#"{"error":"invalid_client"}"#)] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, failure);
        fail(&provider, 199).await;
        let error = provider.token().await.unwrap_err();
        fake.heal();

        // Asked every second, as traffic would: the first one after the hold has the token.
        let exchanges = exchanges(&fake).len();
        let hold = error.retry_after().unwrap();
        assert!(hold <= 60 * SECOND);
        pass(hold - MILLISECOND).await;
        assert!(provider.token().now_or_never().unwrap().is_err());
        pass(MILLISECOND).await;
        assert_eq!(provider.token().await.unwrap().generation(), 1);
        fake.expect().client_credentials(exchanges + 1);

        // A success ends the row of failures: the next one is the first again.
        pass(2 * LIFETIME).await;
        fake.fail_exchanges(usize::MAX, answer(200, ""));
        assert_hold(provider.token().await.unwrap_err().retry_after().unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a11_retry_after_lengthens_the_pauses_within_the_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(2, unavailable_for(4));
    // Twice four seconds and a third exchange fit into ten.
    provider.token().await.unwrap();
    assert_eq!(arrivals(&fake), [Duration::ZERO, 4 * SECOND, 8 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a11_a_retry_after_beyond_the_deadline_ends_the_renewal_and_is_its_hold() {
    // Seconds asked for, and the hold: more than 300 is not believed.
    for (asked, hold) in [(10, 10), (299, 299), (300, 300), (301, 300), (1_000_000, 300), (u64::MAX, 300)] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(1, unavailable_for(asked));
        let error = provider.token().now_or_never();
        assert!(error.is_none());
        let error = provider.token().await.unwrap_err();
        assert_eq!(error.retry_after().unwrap(), Duration::from_secs(hold), "Retry-After: {asked}");
        fake.expect().client_credentials(1);
        pass_hold(&error).await;
        provider.token().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a11_a_shorter_retry_after_does_not_shorten_the_hold() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let answer = Response::builder().status(403).header(RETRY_AFTER, 0).body(bytes::Bytes::new()).unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Answer(answer));
    let holds = fail(&provider, 3).await;
    for (hold, whole) in holds.into_iter().zip([1, 2, 4]) {
        assert_hold(hold, whole);
    }
}

#[tokio::test(start_paused = true)]
async fn a11_under_load_a_hold_lets_nothing_through() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, answer(200, ""));
    // Ten calls a second for ten minutes, which holds of up to 30 seconds divide into renewals.
    for _ in 0..600 {
        for _ in 0..10 {
            drop(provider.token().await.unwrap_err());
        }
        pass(SECOND).await;
    }
    settle().await;
    let status = provider.status();
    assert_eq!(status.exchanges.client_credentials, status.renewals.first.failed);
    // The growing holds last 31 s at the most, each later one at most 31 s with the second until the next call.
    let renewals = usize::try_from(status.renewals.first.failed).unwrap();
    assert!((5 + 569 / 31..=5 + 600 / 15).contains(&renewals), "{renewals}");
    fake.expect().client_credentials(renewals).refresh(0);
}
