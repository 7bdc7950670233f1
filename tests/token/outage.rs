//! Renewals that fail behind a token that is still usable: nobody notices.

use std::time::Duration;

use futures::FutureExt;
use http::{Request, StatusCode};
use http_body_util::Empty;
use neonomics_auth::TokenState;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use tower::ServiceExt;

use crate::{
    LIFETIME, MILLISECOND, SECOND, answer, exchanges, pass, settle, tasks, turn_stale, unavailable, unavailable_for,
};

// lessons 6, 7
#[tokio::test(start_paused = true)]
async fn a12_an_outage_from_the_roll_over_to_the_expiry_is_not_noticed() {
    for outage in [unavailable(), Fault::Hang, Fault::Reset, Fault::Truncate, answer(500, "<html></html>")] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        fake.fail_exchanges(usize::MAX, outage.clone());

        // A request a second for the whole life of the token, the last one a second before its end.
        for _ in 1..3600 {
            pass(SECOND).await;
            let token = provider.token().now_or_never().expect("a usable token is not waited for").unwrap();
            assert_eq!(api(&fake, token.secret()).await, StatusCode::OK, "{outage:?}");
        }
        settle().await;
        let status = provider.status();
        assert_eq!(status.state, TokenState::Stale);
        assert_eq!((status.renewals.due.succeeded, status.renewals.first.failed), (0, 0));
        // No repeats: the first renewal tried the refresh too, and each has made one exchange of the other grant, that
        // included which is under way (one that hangs).
        assert_eq!(status.exchanges.refresh_token, 1, "{outage:?}");
        let renewals = status.renewals.due.failed + tasks() as u64;
        assert_eq!(status.exchanges.client_credentials, 1 + renewals, "{outage:?}");

        // After its expiry the token is never sent: a typed error instead, within the deadline.
        pass(SECOND).await;
        assert!(provider.cached().is_none());
        let error = provider.token().await.unwrap_err();
        assert!(error.is_transient() || error.is_malformed(), "{error}");
        let again = provider.token().now_or_never().expect("and at once during the hold").unwrap_err();
        assert!(again.retry_after().unwrap() <= 30 * SECOND);

        // The endpoint is back: so is the same provider, after one hold.
        fake.heal();
        pass(again.retry_after().unwrap()).await;
        let token = provider.token().await.unwrap();
        assert_eq!(api(&fake, token.secret()).await, StatusCode::OK);
        fake.expect().unauthorized(0).requests(3600);
    }
}

/// What the API says to this token.
async fn api(fake: &FakeNeonomics, token: &str) -> StatusCode {
    let request = Request::get("/ics/v3/banks").header("x-device-id", "a-device");
    let request = request.header("authorization", format!("Bearer {token}")).body(Empty::<bytes::Bytes>::new());
    fake.clone().oneshot(request.unwrap()).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn a12_behind_a_usable_token_a_renewal_has_two_exchanges_at_the_most() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    fake.fail_exchanges(usize::MAX, unavailable());
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "client_credentials"]);

    // The next one has no refresh token to try, and does not repeat.
    pass(SECOND).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(exchanges(&fake).len(), 4);
    assert_eq!(provider.status().renewals.due.failed, 2);
}

#[tokio::test(start_paused = true)]
async fn a12_the_hold_ends_with_the_token() {
    let fake = FakeNeonomics::new();
    fake.set_refresh_tokens(false);
    let provider = fake.provider();
    provider.token().await.unwrap();
    // Four failures make the next hold 8 s at least, and the last of them leaves half a second of the token.
    fake.fail_exchanges(usize::MAX, unavailable());
    turn_stale(&provider).await;
    for _ in 0..4 {
        provider.token().await.unwrap();
        settle().await;
        pass(provider.status().hold_left.unwrap()).await;
    }
    pass(provider.cached().unwrap().expires_in() - SECOND / 2).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.status().renewals.due.failed, 5);
    assert_eq!(provider.status().hold_left, provider.status().expires_in);

    // So that the first call without a token tries at once.
    pass(SECOND / 2).await;
    assert!(provider.cached().is_none());
    fake.heal();
    assert_eq!(provider.token().await.unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a12_a_hold_that_the_server_asked_for_outlasts_the_token() {
    let fake = FakeNeonomics::new();
    fake.set_refresh_tokens(false);
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME - 10 * SECOND).await;
    fake.fail_exchanges(1, unavailable_for(60));
    provider.token().await.unwrap();
    settle().await;

    // Within the hold the token goes, and the error of the hold comes at once.
    pass(10 * SECOND).await;
    let error = provider.token().now_or_never().unwrap().unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.retry_after().unwrap(), 50 * SECOND - MILLISECOND);
    fake.expect().client_credentials(2);
    pass(error.retry_after().unwrap()).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(3);
}

#[tokio::test(start_paused = true)]
async fn a12_the_hold_of_a_rejected_client_outlasts_the_token() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(100 * SECOND);
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.set_client_enabled(false);
    // Asked as late as the last hundredth of a second: half a second is the shortest hold.
    pass(Duration::from_millis(99_990)).await;
    provider.token().await.unwrap();
    settle().await;
    fake.expect().client_credentials(1).refresh(1);
    pass(10 * MILLISECOND).await;
    let error = provider.token().now_or_never().expect("the hold goes on").unwrap_err();
    assert!(error.is_rejected());
    fake.expect().client_credentials(1).refresh(1);
}

// lesson 7
#[tokio::test(start_paused = true)]
async fn a12_a_renewal_that_began_behind_a_usable_token_may_repeat_once_it_has_expired() {
    let fake = FakeNeonomics::new();
    fake.set_refresh_tokens(false);
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME - SECOND).await;
    // The first answer comes after the expiry: whoever waits by then must not get an error for one bad answer.
    let gate = fake.hold_exchanges();
    fake.fail_exchanges(1, unavailable());
    provider.token().await.unwrap();
    gate.arrived(1).await;
    pass(SECOND).await;
    assert!(provider.cached().is_none());
    gate.open();
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    fake.expect().client_credentials(3);
}
