//! No token, fresh, stale, expired: who gets what at once, who waits, and what it costs the server.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use neonomics_auth::TokenState;
use neonomics_auth::testing::FakeNeonomics;
use tokio::runtime::{Builder, Handle};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use crate::{LIFETIME, MILLISECOND, SECOND, exchanges, pass, settle, tasks, turn_stale, unavailable};

#[tokio::test(start_paused = true)]
async fn a1_a_hundred_callers_share_one_exchange() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    // Held until all hundred wait, so that none of them can find the token of another.
    let gate = fake.hold_exchanges();
    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(provider.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    gate.arrived(1).await;
    settle().await;
    fake.expect().client_credentials(1).refresh(0);

    gate.open();
    settle().await;
    for caller in &mut callers {
        assert!(caller.is_woken());
        // The first token that this provider published.
        assert_eq!(assert_ready_ok!(caller.poll()).generation(), 1);
    }
    fake.expect().client_credentials(1).refresh(0);
    assert_eq!(provider.status().renewals.first.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a1_a_hundred_callers_share_one_error() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.set_client_enabled(false);
    let gate = fake.hold_exchanges();
    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(provider.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    gate.arrived(1).await;
    gate.open();
    settle().await;

    // The very same error: its hold is told alike to all, though it was drawn at random.
    let first = assert_ready_err!(callers[0].poll());
    assert_eq!(first.oauth_code(), Some("invalid_client"));
    for caller in &mut callers[1..] {
        let error = assert_ready_err!(caller.poll());
        assert!(error.is_rejected());
        assert_eq!(error.retry_after(), first.retry_after());
        assert_eq!(error.to_string(), first.to_string());
    }
    fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_a_hundred_callers_on_two_threads_share_one_exchange() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(100));
    let callers = (0..100).map(|_| {
        let (provider, start) = (provider.clone(), start.clone());
        tokio::spawn(async move {
            start.wait().await;
            provider.token().await.unwrap().generation()
        })
    });
    for generation in join_all(callers).await {
        assert_eq!(generation.unwrap(), 1);
    }
    fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a2_a_fresh_token_is_there_at_once_and_costs_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();

    // The last instant at which it is fresh whatever was drawn is before 70 % of its life.
    for _ in 0..2519 {
        pass(SECOND).await;
        let token = provider.token().now_or_never().expect("a fresh token is not waited for").unwrap();
        assert_eq!(token.secret(), first.secret());
        assert_eq!(provider.cached().unwrap().secret(), first.secret());
    }
    assert_eq!(provider.status().state, TokenState::Fresh);
    fake.expect().client_credentials(1).refresh(0);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a3_a_stale_token_is_handed_out_at_once_and_renewed_once_behind_a_hundred_callers() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;

    // The renewal stands at the gate for as long as the hundred come.
    let gate = fake.hold_exchanges();
    for _ in 0..100 {
        assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
        settle().await;
    }
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(tasks(), 1);

    gate.open();
    settle().await;
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(tasks(), 0);
    assert_eq!(provider.status().renewals.due.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a3_of_eight_threads_that_meet_a_stale_token_one_starts_the_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;

    // Threads that enter this runtime share its paused clock, and race for real.
    let (runtime, start) = (Handle::current(), Barrier::new(8));
    thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let _entered = runtime.enter();
                start.wait();
                for _ in 0..100 {
                    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
                }
            });
        }
    });
    // No task has run yet: this thread was blocked.
    assert_eq!(tasks(), 1);
    settle().await;
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(provider.cached().unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a3_during_a_hold_no_renewal_starts_behind_a_stale_token() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    fake.fail_exchanges(2, unavailable());
    provider.token().await.unwrap();
    settle().await;
    // The refresh, then the other grant.
    fake.expect().client_credentials(2).refresh(1);

    // Half a second is the shortest first hold.
    let left = provider.status().hold_left.unwrap();
    for _ in 0..100 {
        provider.token().now_or_never().unwrap().unwrap();
    }
    pass(left - 2 * MILLISECOND).await;
    provider.token().now_or_never().unwrap().unwrap();
    settle().await;
    fake.expect().client_credentials(2).refresh(1);

    // The first call after it tries again.
    pass(2 * MILLISECOND).await;
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 2);
    fake.expect().client_credentials(3).refresh(1);
}

/// Real time, since there is none to pause outside a runtime: the clock of the runtime below stands still while the
/// second passes that turns its token stale.
#[test]
fn a3_outside_a_runtime_a_stale_token_is_taken_and_no_renewal_starts() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    loop {
        let fake = FakeNeonomics::new();
        fake.set_access_lifetime(SECOND);
        let provider = fake.provider();
        let token = runtime.block_on(provider.token()).unwrap();
        // Stale is from 80 % on at the latest.
        while token.expires_in() > Duration::from_millis(200) {
            thread::yield_now();
        }
        match (provider.token().now_or_never().unwrap(), provider.cached()) {
            (Ok(taken), Some(_)) => {
                assert_eq!(taken.secret(), token.secret());
                runtime.block_on(tokio::task::yield_now());
                fake.expect().client_credentials(1).refresh(0);
                return;
            }
            (Err(error), Some(_)) => panic!("a usable token was not handed out: {error}"),
            // This thread was not given the processor for a fifth of a second, and the token has expired: once more.
            (_, None) => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a3_cached_takes_a_stale_token_and_starts_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    assert!(provider.cached().is_none());
    provider.token().await.unwrap();
    turn_stale(&provider).await;

    assert_eq!(provider.cached().unwrap().generation(), 1);
    settle().await;
    assert_eq!(tasks(), 0);
    // A millisecond has passed in `settle`, and none is left at the end of the hour.
    pass(LIFETIME).await;
    assert!(provider.cached().is_none());
    fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a4_after_the_expiry_a_hundred_callers_wait_for_one_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    // To the very instant: then it has expired, not a moment later.
    pass(LIFETIME).await;
    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::Expired);

    let gate = fake.hold_exchanges();
    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(provider.token())).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    gate.arrived(1).await;
    gate.open();
    settle().await;
    for caller in &mut callers {
        assert_eq!(assert_ready_ok!(caller.poll()).generation(), 2);
    }
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token"]);
}

#[tokio::test(start_paused = true)]
async fn a4_who_waits_without_a_token_waits_no_longer_than_the_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _gate = fake.hold_exchanges();
    let mut first = task::spawn(provider.token());
    assert_pending!(first.poll());
    // It is the renewal's deadline: who joins late waits for what is left of it.
    pass(9 * SECOND).await;
    let mut late = task::spawn(provider.token());
    assert_pending!(late.poll());

    pass(SECOND - MILLISECOND).await;
    assert!(!first.is_woken() && !late.is_woken());
    pass(2 * MILLISECOND).await;
    assert!(assert_ready_err!(first.poll()).is_timeout());
    assert!(assert_ready_err!(late.poll()).is_timeout());
    fake.expect().client_credentials(1).refresh(0);
}
