//! `status()`: what it says of the token, and the totals.

use std::time::Duration;

use futures::future::join_all;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Exchanges, LastError, Renewals, Tally, TokenProvider, TokenState};

use crate::{LIFETIME, MILLISECOND, SECOND, answer, pass, pass_hold, settle, turn_stale, unavailable};

#[tokio::test(start_paused = true)]
async fn d5_the_state_goes_from_none_over_fresh_and_stale_to_expired_and_ended() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let status = provider.status();
    assert_eq!(status.state, TokenState::None);
    assert_eq!((status.expires_in, status.session_id), (None, None));

    provider.token().await.unwrap();
    let status = provider.status();
    assert_eq!(status.state, TokenState::Fresh);
    assert_eq!(status.expires_in, Some(LIFETIME));
    let session = status.session_id.unwrap();

    turn_stale(&provider).await;
    assert_eq!(provider.status().expires_in, Some(Duration::from_secs(720)));
    pass(Duration::from_secs(720)).await;
    let status = provider.status();
    assert_eq!(status.state, TokenState::Expired);
    assert_eq!(status.expires_in, Some(Duration::ZERO));
    // A refresh goes on with the session.
    provider.token().await.unwrap();
    assert_eq!(provider.status().session_id.unwrap(), session);

    provider.end_session().await.unwrap();
    let status = provider.status();
    assert_eq!(status.state, TokenState::Ended);
    assert_eq!((status.expires_in, status.session_id), (None, None));
    provider.token().await.unwrap();
    assert_eq!(provider.status().state, TokenState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn d5_a_failure_is_told_with_its_hold_and_its_age() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    assert!(provider.status().hold_left.is_none() && provider.status().last_error.is_none());
    fake.fail_exchanges(1, answer(200, "<html></html>"));
    let error = provider.token().await.unwrap_err();
    let hold = error.retry_after().unwrap();
    let status = provider.status();
    assert_eq!(status.hold_left, Some(hold));
    let LastError { error: last, age, .. } = status.last_error.unwrap();
    assert!(last.is_malformed());
    assert_eq!(age, Duration::ZERO);
    assert_eq!(status.state, TokenState::None);

    pass(100 * MILLISECOND).await;
    assert_eq!(provider.status().hold_left, Some(hold - 100 * MILLISECOND));
    pass_hold(&error).await;
    assert_eq!(provider.status().hold_left, None);
    // A later success does not remove it: it grows older.
    provider.token().await.unwrap();
    pass(SECOND).await;
    let LastError { error: last, age, .. } = provider.status().last_error.unwrap();
    assert!(last.is_malformed());
    assert!((hold + SECOND + 100 * MILLISECOND..=hold + SECOND + 105 * MILLISECOND).contains(&age), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn d5_totals_count_each_renewal_by_cause_and_outcome_and_each_exchange_by_grant() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();

    // A first one that fails, three exchanges; whoever joins it counts for nothing.
    fake.fail_exchanges(3, unavailable());
    let outcomes = join_all((0..10).map(|_| provider.token())).await;
    pass_hold(&outcomes[0].clone().unwrap_err()).await;
    // A first one that succeeds.
    let first = provider.token().await.unwrap();
    // A forced one that succeeds, and a late refusal that needs none.
    let second = provider.renew(&first).await.unwrap();
    provider.renew(&first).await.unwrap();
    // A forced one that fails with both grants, and one that a hold keeps back.
    fake.fail_exchanges(2, unavailable());
    let error = provider.renew(&second).await.unwrap_err();
    provider.renew(&second).await.unwrap_err();
    pass_hold(&error).await;
    // One that is due, by client_credentials, since the refresh token is gone. The same instance is stale here by far.
    pass(Duration::from_secs(2880)).await;
    provider.token().await.unwrap();
    settle().await;
    // One that is due and fails with both grants.
    turn_stale(&provider).await;
    fake.fail_exchanges(2, unavailable());
    provider.token().await.unwrap();
    settle().await;

    let status = provider.status();
    let tally = |succeeded, failed| {
        let mut tally = Tally::default();
        (tally.succeeded, tally.failed) = (succeeded, failed);
        tally
    };
    let mut renewals = Renewals::default();
    (renewals.first, renewals.forced, renewals.due) = (tally(1, 1), tally(1, 1), tally(1, 1));
    assert_eq!(status.renewals, renewals);
    let mut exchanges = Exchanges::default();
    (exchanges.client_credentials, exchanges.refresh_token) = (3 + 1 + 1 + 1 + 1, 1 + 1 + 1);
    assert_eq!(status.exchanges, exchanges);
    // The server has counted the same.
    fake.expect().client_credentials(7).refresh(3);
    // Nobody used a layer.
    assert_eq!((status.waited, status.refusals, status.replays, status.passed_without_token), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn d5_the_status_of_a_fixed_token_is_fresh_for_ever() {
    let provider = TokenProvider::fixed(FakeNeonomics::new().environment(), "constant").unwrap();
    pass(1000 * LIFETIME).await;
    let status = provider.status();
    assert_eq!(status.state, TokenState::Fresh);
    assert_eq!(status.expires_in, Some(Duration::MAX));
    assert!(status.last_error.is_none() && status.hold_left.is_none() && status.session_id.is_none());
}

#[test]
fn d5_a_status_needs_no_runtime() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    assert_eq!(provider.status().state, TokenState::None);
    // And shows no secret: the tokens are not in it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(provider.token()).unwrap();
    let shown = format!("{:?}", provider.status());
    assert!(!shown.contains(token.secret()), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn d5_a_session_keeps_its_name_when_a_refresh_does_not_repeat_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    let nameless = |token: &str| answer(200, format!(r#"{{"access_token":"{token}","expires_in":3600}}"#));
    fake.fail_exchanges(1, nameless("second"));
    let second = provider.renew(&first).await.unwrap();
    assert_eq!(provider.status().session_id, Some(session));

    // A new one is another, and has no name.
    fake.fail_exchanges(1, answer(400, r#"{"error":"invalid_grant"}"#));
    fake.fail_exchanges(1, nameless("third"));
    provider.renew(&second).await.unwrap();
    assert_eq!(provider.status().session_id, None);
}
