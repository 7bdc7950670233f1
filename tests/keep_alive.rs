//! `keep_alive` (D3): an idle session stays, and none is started.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{KeepAlive, Tally, TokenProvider, TokenState};
use tokio::runtime::{Builder, Handle};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn d3_an_idle_client_still_has_its_first_session_after_three_idle_limits() {
    let fake = FakeNeonomics::new();
    fake.set_session_maximum(24 * HOUR);
    let provider = fake.provider();
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();

    // Without it the session is over after one idle limit: this is what the rest is measured against.
    let idle = fake.provider();
    idle.token().await.unwrap();
    let _kept = provider.keep_alive();
    sleep(3 * 2 * HOUR).await;

    assert_eq!(fake.sessions(), 1);
    assert_eq!(provider.status().session_id, Some(session));
    assert!(provider.cached().is_some());
    assert_eq!(fake.counts().client_credentials, 2);
    let renewals = provider.status().renewals;
    assert_eq!(usize::try_from(renewals.keep_alive.succeeded).unwrap(), fake.counts().refresh);
    assert_eq!((renewals.keep_alive.failed, renewals.due.succeeded), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn d3_what_ends_first_is_renewed_at_70_to_80_percent_of_its_life() {
    // The access token decides, then the refresh token.
    for (access, idle, first) in [(1000, 7200, 1000), (3600, 1000, 1000)] {
        let fake = FakeNeonomics::new();
        fake.set_access_lifetime(SECOND * access);
        fake.set_session_idle(SECOND * idle);
        let provider = fake.provider();
        let _kept = provider.keep_alive();
        provider.token().await.unwrap();

        sleep(SECOND * first * 69 / 100).await;
        fake.expect().client_credentials(1).refresh(0);
        sleep(SECOND * first * 12 / 100).await;
        fake.expect().client_credentials(1).refresh(1);
    }
}

#[tokio::test(start_paused = true)]
async fn d3_it_starts_no_session() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    sleep(24 * HOUR).await;
    fake.expect().client_credentials(0).refresh(0).logout(0);
    assert_eq!(provider.status().state, TokenState::None);
}

#[tokio::test(start_paused = true)]
async fn d3_it_rests_after_the_end_of_a_session_until_somebody_asks_for_a_token() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();
    provider.end_session().await.unwrap();
    sleep(24 * HOUR).await;
    fake.expect().client_credentials(1).refresh(0).logout(1);

    provider.token().await.unwrap();
    sleep(HOUR).await;
    fake.expect().client_credentials(2).refresh(1).logout(1);
}

#[tokio::test(start_paused = true)]
async fn d3_a_failure_is_tried_again_when_its_hold_is_over() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();

    // Both exchanges of the renewal fail; the hold after the first failure is half a second at least, a second at the
    // most: a look every tenth of a second comes before its end.
    fake.fail_exchanges(2, Fault::Reset);
    while provider.status().renewals.keep_alive.failed == 0 {
        sleep(SECOND / 10).await;
    }
    assert_eq!(fake.counts().refresh, 1);
    assert_eq!(fake.counts().client_credentials, 2);
    sleep(SECOND).await;
    settle().await;
    // The refresh token may have been spent: a new session takes the place of the old one.
    fake.expect().client_credentials(3).refresh(1);
    assert_eq!(provider.status().renewals.keep_alive.succeeded, 1);
    assert!(provider.cached().is_some());
}

#[tokio::test(start_paused = true)]
async fn d3_a_forced_renewal_that_failed_does_not_bring_forward_what_is_due_later() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    let token = provider.token().await.unwrap();

    // Both exchanges fail, and the hold after them is over long before the token turns stale.
    fake.fail_exchanges(2, Fault::Reset);
    provider.renew(&token).await.unwrap_err();
    fake.expect().client_credentials(2).refresh(1);
    sleep(HOUR * 69 / 100).await;
    settle().await;
    fake.expect().client_credentials(2).refresh(1);
    assert_eq!(provider.status().state, TokenState::Fresh);

    // It is renewed when it would have been.
    sleep(HOUR * 12 / 100).await;
    settle().await;
    fake.expect().client_credentials(3).refresh(1);
    assert_eq!(provider.status().renewals.keep_alive, tally(1, 0));
}

// lesson 8
#[allow(clippy::disallowed_methods, reason = "measures paused time")]
#[tokio::test(start_paused = true)]
async fn d3_a_renewal_that_panics_is_tried_again_a_second_later() {
    let fake = FakeNeonomics::new();
    let (panics, server) = (Arc::new(Mutex::new(Vec::new())), fake.clone());
    let inside = panics.clone();
    // The first exchange succeeds, the three after it panic.
    let transport = tower::service_fn(move |request: Request<Full<Bytes>>| {
        if server.counts().client_credentials == 1 {
            let mut panics = inside.lock().unwrap();
            if panics.len() < 3 {
                panics.push(Instant::now());
                drop(panics);
                panic!("a transport that panics on purpose");
            }
        }
        server.clone().oneshot(request)
    });
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(transport);
    let provider = builder.build().unwrap();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();

    sleep(HOUR * 80 / 100 + 5 * SECOND).await;
    let panics = panics.lock().unwrap().clone();
    assert_eq!(panics.len(), 3);
    for pair in panics.windows(2) {
        let distance = pair[1] - pair[0];
        // Timers are exact to a millisecond.
        assert!((SECOND..=SECOND + Duration::from_millis(2)).contains(&distance), "{distance:?}");
    }
    assert_eq!(provider.status().renewals.keep_alive, tally(1, 3));
    assert_eq!(provider.cached().unwrap().generation(), 2);
    // The refresh token went with the first renewal that died.
    fake.expect().client_credentials(2).refresh(0);
}

// lesson 10
#[tokio::test(start_paused = true)]
async fn d3_a_refresh_token_that_is_over_at_once_brings_no_renewal_forward() {
    let fake = FakeNeonomics::new();
    fake.set_session_idle(SECOND);
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();
    // Each would be a session of its own.
    sleep(HOUR * 69 / 100).await;
    settle().await;
    fake.expect().client_credentials(1).refresh(0);
    sleep(HOUR * 12 / 100).await;
    settle().await;
    fake.expect().client_credentials(2).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn d3_a_session_that_is_over_is_let_go() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();

    // The server is away until the access token has expired, and the refresh token is given up at the first failure.
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    sleep(HOUR).await;
    settle().await;
    let made = fake.counts();
    fake.heal();
    sleep(24 * HOUR).await;
    assert_eq!(fake.counts(), made);
    assert_eq!(provider.status().state, TokenState::Expired);
}

#[tokio::test(start_paused = true)]
async fn d3_it_stops_when_it_is_dropped() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let kept = provider.keep_alive();
    provider.token().await.unwrap();
    drop(kept);
    sleep(24 * HOUR).await;
    fake.expect().client_credentials(1).refresh(0);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d3_it_does_not_keep_the_provider() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let kept = provider.keep_alive();
    provider.token().await.unwrap();
    drop(provider);
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "its task ended with the last handle");
    drop(kept);
}

#[tokio::test(start_paused = true)]
async fn d3_two_of_them_renew_once() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let _kept: [KeepAlive; 2] = [provider.keep_alive(), provider.keep_alive()];
    provider.token().await.unwrap();
    sleep(HOUR * 8 / 10).await;
    settle().await;
    fake.expect().client_credentials(1).refresh(1);
}

/// Nobody waits for it, though there is no token left that would bridge the outage.
#[tokio::test(start_paused = true)]
async fn d3_behind_an_expired_token_too_a_renewal_makes_two_exchanges_at_the_most() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(100 * SECOND);
    let provider = fake.provider();
    let _kept = provider.keep_alive();
    provider.token().await.unwrap();
    // Rejected until after the expiry: the refresh token outlives the access token.
    let rejected = http::Response::builder().status(401).body(r#"{"error":"invalid_client"}"#.into()).unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Answer(rejected));
    sleep(110 * SECOND).await;
    assert_eq!(provider.status().state, TokenState::Expired);
    fake.heal();
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    let (before, failed) = (provider.status().exchanges, provider.status().renewals.keep_alive.failed);
    while provider.status().renewals.keep_alive.failed == failed {
        sleep(SECOND).await;
    }
    let after = provider.status().exchanges;
    assert_eq!(after.refresh_token - before.refresh_token, 1);
    assert_eq!(after.client_credentials - before.client_credentials, 1);
}

// lesson 34
#[tokio::test(start_paused = true)]
async fn d3_when_the_given_runtime_has_been_shut_down_it_runs_on_the_callers() {
    let fake = FakeNeonomics::new();
    let given = Builder::new_current_thread().enable_all().build().unwrap();
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    let provider = builder.runtime(given.handle().clone()).build().unwrap();
    given.shutdown_background();

    let kept = provider.keep_alive();
    provider.token().await.unwrap();
    sleep(HOUR).await;
    settle().await;
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(provider.status().renewals.keep_alive, tally(1, 0));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 1, "its own");
    drop(kept);
    settle().await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d3_a_fixed_token_has_no_session_to_keep() {
    let fake = FakeNeonomics::new();
    let provider = TokenProvider::fixed(fake.environment(), "fixed").unwrap();
    let _kept = provider.keep_alive();
    sleep(24 * HOUR).await;
    assert_eq!(provider.status().state, TokenState::Fresh);
}

#[test]
#[should_panic(expected = "keep_alive needs a tokio runtime")]
fn d3_outside_a_runtime_it_panics() {
    let _kept = FakeNeonomics::new().provider().keep_alive();
}

fn tally(succeeded: u64, failed: u64) -> Tally {
    let mut tally = Tally::default();
    (tally.succeeded, tally.failed) = (succeeded, failed);
    tally
}

/// Lets all tasks run that can.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}
