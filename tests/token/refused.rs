//! An API refused the token: what `renew` does, line by line, and how often it may.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::Empty;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{TokenProvider, TokenState};
use serde_json::json;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::ServiceExt;

use crate::{
    HOUR, LIFETIME, MILLISECOND, SECOND, answer, exchanges, pass, pass_hold, settle, tasks, turn_stale, unavailable,
};

#[tokio::test(start_paused = true)]
async fn a20_a_refused_token_is_handed_to_others_until_it_is_replaced() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    let gate = fake.hold_exchanges();
    let mut renewed = task::spawn(provider.renew(&refused));
    assert_pending!(renewed.poll());
    gate.arrived(1).await;

    // A refusal concerns the request that met it.
    assert_eq!(provider.cached().unwrap().secret(), refused.secret());
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().secret(), refused.secret());
    assert_eq!(provider.status().state, TokenState::Fresh);

    gate.open();
    settle().await;
    let token = assert_ready_ok!(renewed.poll());
    assert_eq!(token.generation(), 2);
    assert_eq!(provider.cached().unwrap().secret(), token.secret());
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn a20_a_refused_token_is_handed_to_others_after_its_renewal_has_failed_too() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    fake.fail_exchanges(2, unavailable());
    provider.renew(&refused).await.unwrap_err();
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().secret(), refused.secret());
    assert_eq!(provider.cached().unwrap().secret(), refused.secret());
}

#[tokio::test(start_paused = true)]
async fn renew_of_the_current_token_joins_the_renewal_that_is_running() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    turn_stale(&provider).await;
    // Started because the token is stale, not because of a refusal.
    let gate = fake.hold_exchanges();
    provider.token().await.unwrap();
    gate.arrived(1).await;

    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(provider.renew(&refused))).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    gate.open();
    settle().await;
    for caller in &mut callers {
        assert_eq!(assert_ready_ok!(caller.poll()).generation(), 2);
    }
    fake.expect().client_credentials(1).refresh(1);
    let renewals = provider.status().renewals;
    assert_eq!((renewals.due.succeeded, renewals.forced.succeeded), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn renew_of_the_current_token_during_a_hold_is_an_error_at_once() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    fake.fail_exchanges(2, unavailable());
    let error = provider.renew(&refused).await.unwrap_err();
    let hold = error.retry_after().unwrap();

    for _ in 0..100 {
        let again = provider.renew(&refused).now_or_never().expect("a hold is not waited for").unwrap_err();
        assert!(again.is_transient());
        assert_eq!(again.retry_after().unwrap(), hold);
    }
    fake.expect().client_credentials(2).refresh(1);
    pass_hold(&error).await;
    assert_eq!(provider.renew(&refused).await.unwrap().generation(), 2);
    fake.expect().client_credentials(3).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn renew_of_the_current_token_forces_a_renewal_and_waits_for_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    assert_eq!(provider.status().state, TokenState::Fresh);
    let token = provider.renew(&refused).await.unwrap();
    assert_ne!(token.secret(), refused.secret());
    assert_eq!(token.generation(), 2);
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token"]);
    assert_eq!(provider.status().renewals.forced.succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn renew_of_the_current_token_by_a_thousand_at_once_is_one_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    for token in join_all((0..1000).map(|_| provider.renew(&refused))).await {
        assert_eq!(token.unwrap().generation(), 2);
    }
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn renew_of_the_current_token_that_has_expired_is_no_forced_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let mut refused = provider.token().await.unwrap();
    // Ten forced ones, and there is none left: C9.
    for _ in 0..10 {
        refused = provider.renew(&refused).await.unwrap();
    }
    provider.renew(&refused).await.unwrap_err();
    fake.set_access_lifetime(SECOND);
    pass(60 * SECOND).await;
    let short = provider.renew(&refused).await.unwrap();
    pass(SECOND).await;
    assert_eq!(provider.renew(&short).await.unwrap().generation(), 13);
    assert_eq!(provider.status().renewals.forced.succeeded, 11);
    assert_eq!(provider.status().renewals.first.succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn renew_of_an_older_token_yields_the_usable_one_without_an_exchange() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let older = provider.token().await.unwrap();
    let current = provider.renew(&older).await.unwrap();
    for _ in 0..100 {
        let token = provider.renew(&older).now_or_never().expect("the current one is there").unwrap();
        assert_eq!(token.secret(), current.secret());
    }
    // A stale one is usable, and this is not a call that renews it.
    turn_stale(&provider).await;
    assert_eq!(provider.renew(&older).now_or_never().unwrap().unwrap().secret(), current.secret());
    settle().await;
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn renew_of_a_foreign_token_yields_the_usable_one_without_an_exchange() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let current = provider.token().await.unwrap();
    let fixed = TokenProvider::fixed(fake.environment(), "foreign").unwrap().token().await.unwrap();
    // Of the same generation as the current one: the bytes decide.
    let other = fake.provider().token().await.unwrap();
    assert_eq!(other.generation(), current.generation());
    for foreign in [fixed, other] {
        let token = provider.renew(&foreign).now_or_never().unwrap().unwrap();
        assert_eq!(token.secret(), current.secret());
    }
    fake.expect().client_credentials(2).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn renew_of_a_foreign_token_with_the_same_bytes_is_a_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let current = provider.token().await.unwrap();
    let same = TokenProvider::fixed(fake.environment(), current.secret()).unwrap().token().await.unwrap();
    assert_eq!(provider.renew(&same).await.unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn renew_of_another_token_does_as_token_when_none_is_usable() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let foreign = fake.provider().token().await.unwrap();
    // No token yet: a first renewal, not a forced one.
    assert_eq!(provider.renew(&foreign).await.unwrap().generation(), 1);
    // An expired one.
    pass(LIFETIME).await;
    assert_eq!(provider.renew(&foreign).await.unwrap().generation(), 2);
    let renewals = provider.status().renewals;
    assert_eq!((renewals.first.succeeded, renewals.forced.succeeded), (2, 0));
    fake.expect().client_credentials(2).refresh(1);

    // A hold.
    pass(LIFETIME).await;
    fake.fail_exchanges(usize::MAX, unavailable());
    let error = provider.renew(&foreign).await.unwrap_err();
    let again = provider.renew(&foreign).now_or_never().unwrap().unwrap_err();
    assert_eq!(again.retry_after(), error.retry_after());
}

// lesson 37
#[tokio::test(start_paused = true)]
async fn renew_after_the_end_is_an_error_until_somebody_asks_for_a_token() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    let foreign = fake.provider().token().await.unwrap();
    provider.end_session().await.unwrap();
    for rejected in [&refused, &foreign] {
        let error = provider.renew(rejected).now_or_never().expect("nothing is waited for").unwrap_err();
        assert!(error.to_string().contains("the session was ended"), "{error}");
        assert!(!error.is_transient() && !error.is_rejected() && error.retry_after().is_none());
    }
    fake.expect().client_credentials(2).refresh(0).logout(1);

    let token = provider.token().await.unwrap();
    assert_eq!(provider.renew(&refused).await.unwrap().secret(), token.secret());
    assert_eq!(provider.renew(&token).await.unwrap().generation(), 3);
    fake.expect().client_credentials(3).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn renew_of_a_fixed_provider_is_an_error() {
    let fake = FakeNeonomics::new();
    let provider = TokenProvider::fixed(fake.environment(), "constant").unwrap();
    let token = provider.token().now_or_never().unwrap().unwrap();
    assert_eq!(token.generation(), 0);
    assert_eq!(token.expires_in(), Duration::MAX);
    let foreign = fake.provider().token().await.unwrap();
    for rejected in [&token, &foreign] {
        let error = provider.renew(rejected).now_or_never().unwrap().unwrap_err();
        assert!(error.to_string().contains("neither renewed nor ended"), "{error}");
        assert!(!error.is_transient() && !error.is_rejected());
    }
    // It is handed out as before, for ever.
    pass(1000 * HOUR).await;
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().secret(), "constant");
    assert_eq!(provider.cached().unwrap().secret(), "constant");
}

#[tokio::test(start_paused = true)]
async fn renew_that_brings_the_same_bytes_is_an_error_and_the_token_has_its_new_expiry() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    pass(1000 * SECOND).await;
    let same = json!({ "access_token": refused.secret(), "expires_in": 3600 });
    fake.fail_exchanges(1, answer(200, same.to_string()));
    let error = provider.renew(&refused).await.unwrap_err();
    assert!(error.to_string().contains("the same token"), "{error}");

    let token = provider.cached().unwrap();
    assert_eq!(token.secret(), refused.secret());
    assert_eq!(token.expires_in(), LIFETIME);
    assert_eq!(refused.expires_in(), LIFETIME - 1000 * SECOND);
    // Past the old expiry it is still there.
    pass(LIFETIME - 1000 * SECOND).await;
    assert!(provider.cached().is_some());
    fake.expect().client_credentials(1).refresh(1);
}

/// Whether the API takes this token.
async fn accepts(fake: &FakeNeonomics, token: &str) -> bool {
    let request = Request::get("/ics/v3/banks").header("x-device-id", "a-device");
    let request = request.header("authorization", format!("Bearer {token}")).body(Empty::<bytes::Bytes>::new());
    fake.clone().oneshot(request.unwrap()).await.unwrap().status() == StatusCode::OK
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_endless_refusals_force_10_renewals_in_the_first_minute_and_69_in_the_first_hour() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let mut forced = Vec::new();
    // Ten refusals a second for an hour and a minute, each of the token that is current.
    for _ in 0..61 {
        for _ in 0..600 {
            // Those that the bucket holds back are not waited for, those that it lets through are.
            let current = provider.cached().unwrap();
            let _ = provider.renew(&current).await;
            pass(100 * MILLISECOND).await;
        }
        forced.push(provider.status().renewals.forced.succeeded);
    }
    assert_eq!(forced[0], 10);
    assert_eq!(forced[59], 69);
    // One a minute, no minute without and none with two.
    assert!(forced.windows(2).all(|minutes| minutes[1] == minutes[0] + 1), "{forced:?}");
    fake.expect().client_credentials(1).refresh(70);
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_an_empty_bucket_is_an_error_at_once_that_tells_when() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let mut token = first.clone();
    for _ in 0..10 {
        token = provider.renew(&token).await.unwrap();
    }
    let error = provider.renew(&token).now_or_never().expect("nothing is waited for").unwrap_err();
    assert_eq!(error.retry_after().unwrap(), 60 * SECOND);
    assert!(!error.is_transient() && !error.is_rejected());
    // Others still get the token, and an older refused one is still exchanged for it.
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 11);
    assert_eq!(provider.renew(&first).now_or_never().unwrap().unwrap().generation(), 11);

    pass(60 * SECOND - MILLISECOND).await;
    let error = provider.renew(&token).now_or_never().unwrap().unwrap_err();
    assert_eq!(error.retry_after().unwrap(), MILLISECOND);
    fake.expect().client_credentials(1).refresh(10);
    pass(MILLISECOND).await;
    assert_eq!(provider.renew(&token).await.unwrap().generation(), 12);
    fake.expect().client_credentials(1).refresh(11);
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_an_idle_bucket_fills_up_to_ten_and_no_further() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let mut token = provider.token().await.unwrap();
    for _ in 0..3 {
        for _ in 0..10 {
            token = provider.renew(&token).await.unwrap();
        }
        assert!(provider.renew(&token).now_or_never().unwrap().is_err());
        // A day fills it no more than ten minutes do. The token of then is the one to refuse.
        pass(24 * HOUR).await;
        token = provider.token().await.unwrap();
    }
    assert_eq!(provider.status().renewals.forced.succeeded, 30);
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_an_empty_bucket_does_not_hold_back_what_is_due() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let mut token = provider.token().await.unwrap();
    // Short-lived, so that the bucket is still empty when it turns stale.
    fake.set_access_lifetime(10 * SECOND);
    for _ in 0..10 {
        token = provider.renew(&token).await.unwrap();
    }
    assert!(provider.renew(&token).now_or_never().unwrap().is_err());
    let due = provider.status().renewals.due.succeeded;
    pass(8 * SECOND).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.status().renewals.due.succeeded, due + 1);
    // And an expired one is renewed for whoever asks.
    pass(10 * SECOND).await;
    assert_eq!(provider.token().await.unwrap().generation(), token.generation() + 2);
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_ten_revocations_within_five_seconds_are_all_healed() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let mut token = provider.token().await.unwrap();
    for _ in 0..10 {
        assert!(accepts(&fake, token.secret()).await);
        fake.revoke_all();
        assert!(!accepts(&fake, token.secret()).await);
        token = provider.renew(&token).await.unwrap();
        pass(SECOND / 2).await;
    }
    assert!(accepts(&fake, token.secret()).await);
    // A revoked session has no refresh token to go on with: each renewal asked with both grants.
    fake.expect().client_credentials(11).refresh(10).unauthorized(10);
}

#[tokio::test(start_paused = true)]
async fn renew_waits_no_longer_than_the_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let refused = provider.token().await.unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    let mut caller = task::spawn(provider.renew(&refused));
    assert_pending!(caller.poll());
    pass(10 * SECOND - MILLISECOND).await;
    assert!(!caller.is_woken());
    pass(2 * MILLISECOND).await;
    assert!(tokio_test::assert_ready_err!(caller.poll()).is_timeout());
    fake.expect().client_credentials(2).refresh(1);
}
