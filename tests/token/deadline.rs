//! A token endpoint, or a vault, that does not come to an end: one deadline for everything.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use futures::future::join_all;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, Error, TokenProvider};
use tokio::time::timeout;
use tokio_test::{assert_pending, assert_ready_err, task};

use crate::{LIFETIME, MILLISECOND, SECOND, arrivals, exchanges, pass, tasks, unavailable, unavailable_for};

/// A hundred callers fail together, `deadline` after they came: not before, not one after another.
async fn hundred_fail_at(deadline: Duration, provider: &TokenProvider) -> Vec<Error> {
    let callers = join_all((0..100).map(|_| provider.token()));
    tokio::pin!(callers);
    let early = timeout(deadline - MILLISECOND, &mut callers).await;
    assert!(early.is_err(), "nobody waits for less than the deadline");
    // The first millisecond is the deadline's own, in the second everybody has heard.
    let outcomes = timeout(2 * MILLISECOND, &mut callers).await.expect("nobody waits for more than the deadline");
    outcomes.into_iter().map(Result::unwrap_err).collect()
}

// lesson 2
#[tokio::test(start_paused = true)]
async fn a13_without_a_refresh_token_a_hundred_waiters_fail_within_one_deadline_after_one_exchange() {
    // A byte a second is an answer of some minutes.
    for fault in [Fault::Hang, Fault::Silence, Fault::Trickle(SECOND), Fault::Lose, Fault::Delay(11 * SECOND)] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, fault.clone());
        for error in hundred_fail_at(10 * SECOND, &provider).await {
            assert!(error.is_timeout() && error.is_transient(), "{fault:?}: {error}");
        }
        fake.expect().client_credentials(1).refresh(0);
        assert_eq!(tasks(), 0);
    }
}

// lesson 2
#[tokio::test(start_paused = true)]
async fn a13_with_a_refresh_token_a_hundred_waiters_fail_within_one_deadline_after_two_exchanges() {
    for fault in [Fault::Hang, Fault::Silence, Fault::Trickle(SECOND), Fault::Lose, Fault::Delay(11 * SECOND)] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        pass(LIFETIME).await;
        fake.fail_exchanges(usize::MAX, fault.clone());
        for error in hundred_fail_at(10 * SECOND, &provider).await {
            assert!(error.is_timeout(), "{fault:?}: {error}");
        }
        assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "client_credentials"]);
        assert_eq!(arrivals(&fake)[1..], [LIFETIME, LIFETIME + 5 * SECOND], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a13_an_answer_without_end_is_cut_off_long_before_the_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, Fault::Endless);
    // 16 KiB every ten milliseconds: the seventeenth piece is beyond the cap.
    let mut caller = task::spawn(provider.token());
    assert_pending!(caller.poll());
    pass(159 * MILLISECOND).await;
    assert!(!caller.is_woken());
    pass(2 * MILLISECOND).await;
    assert!(assert_ready_err!(caller.poll()).is_malformed());
    fake.expect().client_credentials(1);
}

#[tokio::test(start_paused = true)]
async fn a13_a_closure_that_hangs_is_within_the_deadline() {
    let fake = FakeNeonomics::new();
    let vault = || pending::<Result<String, Infallible>>();
    let credentials = Credentials::from_fn(fake.client_id(), vault);
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    for error in hundred_fail_at(10 * SECOND, &provider).await {
        assert!(error.is_timeout());
    }
    // Without a secret there is nothing to send.
    fake.expect().client_credentials(0).refresh(0).other_grants(0);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a13_a_transport_that_is_never_ready_is_within_the_deadline() {
    let fake = FakeNeonomics::new();
    // A limit of one whose permit somebody else has.
    let mut busy = tower::limit::ConcurrencyLimit::new(fake.clone(), 1);
    let free = busy.clone();
    tower::ServiceExt::<http::Request<http_body_util::Full<bytes::Bytes>>>::ready(&mut busy).await.unwrap();
    let provider = TokenProvider::builder(fake.environment(), fake.credentials()).transport(free).build().unwrap();
    for error in hundred_fail_at(10 * SECOND, &provider).await {
        assert!(error.is_timeout());
    }
    fake.expect().client_credentials(0);
}

#[tokio::test(start_paused = true)]
async fn a13_pauses_and_repeats_are_within_the_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    // Four seconds of pause, twice, and then the last exchange hangs.
    fake.fail_exchanges(2, unavailable_for(4));
    fake.fail_exchanges(1, Fault::Hang);
    for error in hundred_fail_at(10 * SECOND, &provider).await {
        assert!(error.is_timeout());
    }
    fake.expect().client_credentials(3);
}

#[tokio::test(start_paused = true)]
async fn a13_the_deadline_can_be_set() {
    let fake = FakeNeonomics::new();
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    let provider = builder.renewal_timeout(3 * SECOND).build().unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    for error in hundred_fail_at(3 * SECOND, &provider).await {
        assert!(error.is_timeout());
    }
    fake.expect().client_credentials(1);
}

#[tokio::test(start_paused = true)]
async fn a13_a_deadline_without_end_does_not_overflow() {
    let fake = FakeNeonomics::new();
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    let provider = builder.renewal_timeout(Duration::MAX).build().unwrap();
    fake.fail_exchanges(1, unavailable());
    assert_eq!(provider.token().await.unwrap().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a13_a_deadline_of_zero_is_a_timeout_and_no_panic() {
    let fake = FakeNeonomics::new();
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    let provider = builder.renewal_timeout(Duration::ZERO).build().unwrap();
    let _gate = fake.hold_exchanges();
    assert!(provider.token().await.unwrap_err().is_timeout());
}

// lesson 2
#[tokio::test(start_paused = true)]
async fn a13_whoever_comes_after_the_deadline_does_not_wait_for_another() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    hundred_fail_at(10 * SECOND, &provider).await;
    // The hold is at least half a second.
    for error in join_all((0..100).map(|_| provider.token())).await {
        assert!(error.unwrap_err().is_timeout());
    }
    fake.expect().client_credentials(1);
}
