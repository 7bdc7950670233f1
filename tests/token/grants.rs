//! Which grant, with which refresh token, in which order: as the server saw it.

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, TokenProvider};
use serde_json::json;

use crate::{
    HOUR, LIFETIME, MILLISECOND, SECOND, STALE, answer, arrivals, exchanges, pass, pass_hold, refresh_tokens, settle,
    turn_stale, unavailable, unavailable_for,
};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const REFRESH_TOKEN: &str = "refresh_token";

#[tokio::test(start_paused = true)]
async fn a5_a_live_refresh_token_goes_first_and_is_enough() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    provider.token().await.unwrap();
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN]);
    assert_eq!(fake.sessions(), 1);
}

// lesson 16
#[tokio::test(start_paused = true)]
async fn a5_after_any_failure_of_the_refresh_client_credentials_follows_within_the_renewal() {
    let failures = [
        ("it hangs", Fault::Hang),
        ("it is silent after the head", Fault::Silence),
        ("it trickles", Fault::Trickle(SECOND)),
        ("it never ends", Fault::Endless),
        ("it breaks off", Fault::Reset),
        ("its answer is lost", Fault::Lose),
        ("its answer is cut off", Fault::Truncate),
        ("its answer is a page", answer(200, "<html></html>")),
        ("invalid_grant, by Keycloak", answer(400, r#"{"error":"invalid_grant"}"#)),
        ("invalid_grant, by Neonomics", answer(510, r#"{"error":"invalid_grant"}"#)),
        ("503", unavailable()),
        ("500 unknown_error", answer(500, r#"{"error":"unknown_error"}"#)),
        ("429", answer(429, "")),
    ];
    for (what, failure) in failures {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        pass(LIFETIME).await;

        // One renewal: the caller that waits sees nothing of the failure.
        fake.fail_exchanges(1, failure);
        let token = provider.token().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(token.generation(), 2, "{what}");
        assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS], "{what}");
        assert_eq!(provider.status().renewals.first.succeeded, 2, "{what}");
        assert_eq!(provider.status().renewals.first.failed, 0, "{what}");
    }
}

// lesson 16
#[tokio::test(start_paused = true)]
async fn a5_after_an_ended_session_client_credentials_follows_within_the_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    // The server has forgotten the session: `invalid_grant` by the fake's own rules.
    fake.restart();
    assert_eq!(provider.token().await.unwrap().generation(), 1);
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 2);
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS]);
}

/// Answers that refuse a refresh and say nothing of the client.
fn refused_by_status() -> [Fault; 3] {
    [
        answer(403, "<html><body>Forbidden</body></html>"),
        answer(400, r#"{"error":"unsupported_grant_type"}"#),
        answer(510, "upstream error"),
    ]
}

// lesson 16
#[tokio::test(start_paused = true)]
async fn a5_after_a_refresh_refused_by_its_status_alone_client_credentials_follows_within_the_renewal() {
    for refusal in refused_by_status() {
        // Nobody waits behind a stale token; behind an expired one somebody does, and sees nothing of it.
        for age in [STALE, LIFETIME] {
            let fake = FakeNeonomics::new();
            let provider = fake.provider();
            provider.token().await.unwrap();
            pass(age).await;
            fake.fail_exchanges(1, refusal.clone());
            provider.token().await.unwrap_or_else(|error| panic!("{refusal:?}: {error}"));
            settle().await;
            assert_eq!(provider.cached().unwrap().generation(), 2, "{refusal:?}");
            assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS], "{refusal:?}");
            assert!(provider.status().last_error.is_none(), "{refusal:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a5_a_refresh_that_hangs_has_half_of_the_deadline() {
    for (timeout, half) in [(None, 5 * SECOND), (Some(4 * SECOND), 2 * SECOND)] {
        let fake = FakeNeonomics::new();
        let mut builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
        if let Some(timeout) = timeout {
            builder = builder.renewal_timeout(timeout);
        }
        let provider = builder.build().unwrap();
        provider.token().await.unwrap();
        pass(LIFETIME).await;
        fake.fail_exchanges(1, Fault::Hang);
        provider.token().await.unwrap();
        assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS]);
        assert_eq!(arrivals(&fake)[1..], [LIFETIME, LIFETIME + half]);
    }
}

#[tokio::test(start_paused = true)]
async fn a5_client_credentials_waits_for_the_retry_after_of_the_refresh() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    // Without it there would be no pause at all.
    fake.fail_exchanges(1, unavailable_for(7));
    provider.token().await.unwrap();
    assert_eq!(arrivals(&fake)[1..], [LIFETIME, LIFETIME + 7 * SECOND]);
}

#[tokio::test(start_paused = true)]
async fn a5_a_rejection_of_the_client_is_not_followed_by_the_other_grant() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.set_client_enabled(false);
    assert!(provider.token().await.unwrap_err().is_rejected());
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN]);
}

// lesson 15
#[tokio::test(start_paused = true)]
async fn a6_after_an_ambiguous_failure_the_same_refresh_token_is_never_on_the_wire_again() {
    let failures = [
        Fault::Lose,
        Fault::Hang,
        Fault::Silence,
        Fault::Trickle(SECOND),
        Fault::Endless,
        Fault::Truncate,
        Fault::Reset,
        unavailable(),
        answer(200, "<html></html>"),
        answer(400, r#"{"error":"invalid_grant"}"#),
    ];
    for failure in failures {
        let fake = FakeNeonomics::new();
        // Here a reuse would end the session with all its tokens.
        fake.set_rotation(true);
        let provider = fake.provider();
        provider.token().await.unwrap();
        // Ten renewals. In each the refresh fails, but for every third.
        for round in 0..10 {
            turn_stale(&provider).await;
            if round % 3 != 2 {
                fake.fail_exchanges(1, failure.clone());
            }
            provider.token().await.unwrap();
            // Time enough for half a deadline.
            pass(6 * SECOND).await;
            assert_eq!(provider.cached().unwrap().generation(), round + 2, "{failure:?}");
        }
        let sent = refresh_tokens(&fake);
        assert_eq!(sent.len(), 10, "{failure:?}");
        assert_eq!(sent.iter().collect::<HashSet<_>>().len(), 10, "{failure:?}: {}", fake.transcript());
        assert_eq!(provider.status().renewals.due.succeeded, 10);
    }
}

// lessons 15, 16
#[tokio::test(start_paused = true)]
async fn a6_it_is_not_on_the_wire_again_either_when_the_whole_renewal_fails() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.fail_exchanges(1, Fault::Lose);
    fake.fail_exchanges(1, Fault::Hang);
    let error = provider.token().await.unwrap_err();
    assert!(error.is_timeout());
    pass_hold(&error).await;
    provider.token().await.unwrap();
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS, CLIENT_CREDENTIALS]);
}

// lesson 16
#[tokio::test(start_paused = true)]
async fn a6_a_refresh_token_refused_by_the_status_alone_is_not_sent_again_when_client_credentials_is_refused_too() {
    for refusal in refused_by_status() {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        pass(LIFETIME).await;
        // The same answer refuses the client where no refresh token could be meant.
        fake.fail_exchanges(2, refusal.clone());
        let error = provider.token().await.unwrap_err();
        assert!(error.is_rejected(), "{refusal:?}: {error}");
        pass_hold(&error).await;
        provider.token().await.unwrap();
        let grants = [CLIENT_CREDENTIALS, REFRESH_TOKEN, CLIENT_CREDENTIALS, CLIENT_CREDENTIALS];
        assert_eq!(exchanges(&fake), grants, "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a6_after_a_rejection_by_name_with_any_status_the_refresh_token_is_kept() {
    for code in ["invalid_client", "unauthorized_client"] {
        for status in [400, 401, 403, 503, 510] {
            let fake = FakeNeonomics::new();
            let provider = fake.provider();
            provider.token().await.unwrap();
            pass(LIFETIME).await;
            fake.fail_exchanges(1, answer(status, json!({ "error": code }).to_string()));
            let error = provider.token().await.unwrap_err();
            assert!(error.is_rejected(), "{status} {code}: {error}");
            assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN], "{status} {code}");

            pass_hold(&error).await;
            provider.token().await.unwrap();
            assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, REFRESH_TOKEN], "{status} {code}");
            let sent = refresh_tokens(&fake);
            assert_eq!(sent[0], sent[1], "{status} {code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a6_after_a_rejection_the_refresh_token_is_kept_and_the_right_secret_continues_the_session() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let provider = fake.provider();
    let secret = fake.client_secret();
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    pass(LIFETIME).await;

    // The server looks at the client first: the refresh token is not used up.
    fake.set_client_secret("another");
    let error = provider.token().await.unwrap_err();
    assert_eq!(error.oauth_code(), Some("unauthorized_client"));
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN]);

    fake.set_client_secret(&secret);
    pass_hold(&error).await;
    provider.token().await.unwrap();
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, REFRESH_TOKEN]);
    let sent = refresh_tokens(&fake);
    assert_eq!(sent[0], sent[1]);
    assert_eq!(provider.status().session_id.unwrap(), session);
    assert_eq!(fake.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a6_a_secret_that_was_rotated_continues_the_session_within_the_renewal() {
    let fake = FakeNeonomics::new();
    let vault = fake.clone();
    // A vault that lags behind: it is asked for each exchange, and gives the new secret the second time only.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let old = fake.client_secret();
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let lags = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 1;
        let secret = if lags { old.clone() } else { vault.client_secret() };
        async move { Ok::<_, std::io::Error>(secret) }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.set_client_secret("new");
    provider.token().await.unwrap();
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, REFRESH_TOKEN]);
    let sent = refresh_tokens(&fake);
    assert_eq!(sent[0], sent[1]);
}

#[tokio::test(start_paused = true)]
async fn a7_a_new_refresh_token_replaces_the_old_one() {
    for rotation in [true, false] {
        let fake = FakeNeonomics::new();
        fake.set_rotation(rotation);
        let provider = fake.provider();
        provider.token().await.unwrap();
        for _ in 0..5 {
            pass(LIFETIME).await;
            provider.token().await.unwrap();
        }
        // Five refreshes with five tokens: with rotation a reuse would have been answered with `invalid_grant`.
        fake.expect().client_credentials(1).refresh(5);
        assert_eq!(refresh_tokens(&fake).into_iter().collect::<HashSet<_>>().len(), 5);
        assert_eq!(fake.sessions(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a7_an_answer_without_a_refresh_token_keeps_the_old_one() {
    let fake = FakeNeonomics::new();
    fake.set_session_idle(24 * HOUR);
    fake.set_session_maximum(24 * HOUR);
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.set_refresh_tokens(false);
    for _ in 0..3 {
        pass(LIFETIME).await;
        provider.token().await.unwrap();
    }
    fake.expect().client_credentials(1).refresh(3);
    let sent = refresh_tokens(&fake);
    assert!(sent.iter().all(|token| *token == sent[0]));
}

#[tokio::test(start_paused = true)]
async fn a7_an_empty_refresh_token_in_an_answer_keeps_the_old_one() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    let empty =
        json!({ "access_token": "second", "expires_in": 3600, "refresh_token": "", "refresh_expires_in": 7200 });
    fake.fail_exchanges(1, answer(200, empty.to_string()));
    assert_eq!(provider.token().await.unwrap().secret(), "second");
    pass(LIFETIME).await;
    provider.token().await.unwrap();
    let sent = refresh_tokens(&fake);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}

#[tokio::test(start_paused = true)]
async fn a8_a_refresh_token_is_used_up_to_95_percent_of_its_life() {
    // 95 % of 7,200 s are 6,840 s, counted from before the exchange: here it took 10 s less a millisecond.
    let late = [(MILLISECOND, CLIENT_CREDENTIALS), (Duration::ZERO, CLIENT_CREDENTIALS)];
    let in_time = [(MILLISECOND, REFRESH_TOKEN)];
    for (before, grant) in in_time {
        assert_eq!(second_grant(Duration::from_secs(6840) - before).await, grant);
    }
    for (after, grant) in late {
        assert_eq!(second_grant(Duration::from_secs(6840) + after).await, grant);
    }
}

/// The grant of the second renewal, `age` after the first exchange was sent.
async fn second_grant(age: Duration) -> String {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(1, Fault::Delay(9 * SECOND));
    provider.token().await.unwrap();
    pass(age - 9 * SECOND).await;
    provider.token().await.unwrap();
    exchanges(&fake)[1].clone()
}

#[tokio::test(start_paused = true)]
async fn a8_refresh_expires_in_of_zero_or_none_is_no_known_end() {
    for member in [json!({ "refresh_expires_in": 0 }), json!({})] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let mut first = json!({ "access_token": "first", "expires_in": 60, "refresh_token": "kept" });
        first.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        fake.fail_exchanges(1, answer(200, first.to_string()));
        provider.token().await.unwrap();
        pass(1000 * HOUR).await;
        provider.token().await.unwrap();
        assert_eq!(refresh_tokens(&fake), ["kept"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a8_without_a_refresh_token_every_renewal_is_client_credentials() {
    let fake = FakeNeonomics::new();
    fake.set_refresh_tokens(false);
    let provider = fake.provider();
    for _ in 0..5 {
        provider.token().await.unwrap();
        pass(LIFETIME).await;
    }
    fake.expect().client_credentials(5).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn a9_a_refreshed_lifetime_below_half_of_the_first_leads_to_a_new_session() {
    let fake = FakeNeonomics::new();
    fake.set_session_idle(4 * HOUR);
    // The third token is asked for after two hours, when the session has 1,799 s left, and gets no more than them.
    fake.set_session_maximum(2 * HOUR + Duration::from_secs(1799));
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    assert_eq!(provider.token().await.unwrap().expires_in(), LIFETIME);
    pass(LIFETIME).await;
    let short = provider.token().await.unwrap();
    assert_eq!(short.expires_in(), Duration::from_secs(1799));
    // Its refresh token would still be good, and is left alone: the next token has its full life again.
    assert_eq!(provider.renew(&short).await.unwrap().expires_in(), LIFETIME);
    assert_eq!(exchanges(&fake), [CLIENT_CREDENTIALS, REFRESH_TOKEN, REFRESH_TOKEN, CLIENT_CREDENTIALS]);
}

#[tokio::test(start_paused = true)]
async fn a9_half_of_the_first_lifetime_is_not_below_half() {
    let fake = FakeNeonomics::new();
    fake.set_session_idle(4 * HOUR);
    fake.set_session_maximum(24 * HOUR);
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.set_access_lifetime(LIFETIME / 2);
    provider.token().await.unwrap();
    pass(LIFETIME / 2).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(1).refresh(2);
}

#[tokio::test(start_paused = true)]
async fn a9_the_first_token_of_the_new_session_is_the_new_measure() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    // An operator shortens all tokens: one refresh tells, one new session follows, and then there is peace.
    fake.set_access_lifetime(60 * SECOND);
    for _ in 0..10 {
        provider.token().await.unwrap();
        pass(60 * SECOND).await;
    }
    fake.expect().client_credentials(2).refresh(9);
    assert!(provider.token().now_or_never().is_none());
}
