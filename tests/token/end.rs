//! The end of a session, and everything that can happen at the same time.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::FutureExt;
use futures::future::join_all;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, TokenProvider, TokenState};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use crate::{
    HOUR, LIFETIME, MILLISECOND, SECOND, answer, exchanges, member, pass, settle, tasks, turn_stale, unavailable,
};

#[tokio::test(start_paused = true)]
async fn d1_the_end_forgets_the_tokens_and_tells_the_server() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    assert_eq!(fake.sessions(), 1);
    provider.end_session().await.unwrap();

    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::Ended);
    assert_eq!(fake.sessions(), 0);
    fake.expect().client_credentials(1).refresh(0).logout(1);
    // With the refresh token, and with the credentials in the form.
    let logout = &fake.requests()[1];
    assert!(member(logout, "refresh_token").unwrap().starts_with("fake-refresh-"));
    assert_eq!(member(logout, "client_id").unwrap(), fake.client_id());
    assert_eq!(member(logout, "client_secret").unwrap(), fake.client_secret());
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_the_next_token_starts_a_new_session() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let old = provider.status().session_id;
    provider.end_session().await.unwrap();
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    assert_eq!(provider.status().state, TokenState::Fresh);
    assert_ne!(provider.status().session_id, old);
    assert_eq!(exchanges(&fake), ["client_credentials", "logout", "client_credentials"]);
    assert_eq!(fake.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn d1_during_a_first_renewal_the_end_waits_and_the_waiters_keep_their_token() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let gate = fake.hold_exchanges();
    let mut waiters: Vec<_> = (0..10).map(|_| task::spawn(provider.token())).collect();
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }
    gate.arrived(1).await;
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    settle().await;
    // It does not overtake the renewal, nor break it off.
    assert_eq!(exchanges(&fake), ["client_credentials"]);
    assert!(!end.is_woken());

    gate.open();
    settle().await;
    for waiter in &mut waiters {
        assert_eq!(assert_ready_ok!(waiter.poll()).generation(), 1);
    }
    assert_ready_ok!(end.poll());
    assert!(provider.cached().is_none());
    assert_eq!(exchanges(&fake), ["client_credentials", "logout"]);
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_during_a_renewal_behind_a_stale_token_the_end_waits_and_ends_what_it_brought() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    let gate = fake.hold_exchanges();
    provider.token().await.unwrap();
    gate.arrived(1).await;
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    settle().await;
    // Until then the old token is handed out.
    assert_eq!(provider.cached().unwrap().generation(), 1);

    gate.open();
    settle().await;
    assert_ready_ok!(end.poll());
    assert!(provider.cached().is_none());
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "logout"]);
    // Not with the refresh token that the renewal has used up.
    let requests = fake.requests();
    assert_ne!(member(&requests[1], "refresh_token"), member(&requests[2], "refresh_token"));
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_during_a_renewal_that_fails_the_end_still_ends_what_there_was() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let token = provider.token().await.unwrap();
    // A rejection keeps the refresh token, so that there is a session to be ended.
    let gate = fake.hold_exchanges();
    fake.fail_exchanges(1, answer(510, r#"{"error":"invalid_client"}"#));
    let mut renewed = task::spawn(provider.renew(&token));
    assert_pending!(renewed.poll());
    gate.arrived(1).await;
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    settle().await;
    gate.open();
    settle().await;
    assert!(assert_ready_err!(renewed.poll()).is_rejected());
    assert_ready_ok!(end.poll());
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "logout"]);
    assert_eq!(fake.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_tokens_are_forgotten_before_the_server_is_told() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let gate = fake.hold_exchanges();
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    gate.arrived(1).await;
    // The logout is on its way, and the token is gone.
    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::Ended);
    assert_eq!(fake.sessions(), 1);
    gate.open();
    settle().await;
    assert_ready_ok!(end.poll());
}

#[tokio::test(start_paused = true)]
async fn d1_token_during_the_end_waits_for_it_and_then_starts_one_new_session() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let gate = fake.hold_exchanges();
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    gate.arrived(1).await;
    let mut callers: Vec<_> = (0..100).map(|_| task::spawn(Box::pin(provider.token()))).collect();
    for caller in &mut callers {
        assert_pending!(caller.poll());
    }
    settle().await;
    assert_eq!(exchanges(&fake), ["client_credentials", "logout"]);

    gate.open();
    settle().await;
    assert_ready_ok!(end.poll());
    for caller in &mut callers {
        assert!(caller.is_woken());
    }
    for token in join_all(callers.into_iter().map(task::Spawn::into_inner)).await {
        assert_eq!(token.unwrap().generation(), 2);
    }
    assert_eq!(exchanges(&fake), ["client_credentials", "logout", "client_credentials"]);
}

#[tokio::test(start_paused = true)]
async fn d1_token_behind_an_end_that_hangs_waits_for_15_seconds_at_the_most() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    let caller = provider.token();
    tokio::pin!(caller);
    settle().await;
    assert!(timeout(15 * SECOND - 2 * MILLISECOND, &mut caller).await.is_err());
    let error = timeout(3 * MILLISECOND, &mut caller).await.expect("5 s and 10 s are all").unwrap_err();
    assert!(error.is_timeout());
    assert!(assert_ready_err!(end.poll()).is_timeout());
    assert_eq!(exchanges(&fake), ["client_credentials", "logout", "client_credentials"]);
}

#[tokio::test(start_paused = true)]
async fn d1_calls_at_the_same_time_share_one_logout_and_one_outcome() {
    for (fault, fine) in [(None, true), (Some(unavailable()), false)] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        if let Some(fault) = fault {
            fake.fail_exchanges(1, fault);
        }
        let gate = fake.hold_exchanges();
        let mut ends: Vec<_> = (0..10).map(|_| task::spawn(provider.end_session())).collect();
        for end in &mut ends {
            assert_pending!(end.poll());
        }
        gate.arrived(1).await;
        settle().await;
        gate.open();
        settle().await;
        for end in &mut ends {
            assert_eq!(tokio_test::assert_ready!(end.poll()).is_ok(), fine);
        }
        fake.expect().logout(1);
    }
}

/// As above, but the answer is there before the second task has run.
#[tokio::test(start_paused = true)]
async fn d1_calls_at_the_same_time_share_an_outcome_that_comes_at_once() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.fail_exchanges(1, unavailable());
    let (first, second) = futures::join!(provider.end_session(), provider.end_session());
    assert!(first.is_err());
    assert!(second.is_err(), "the session was not ended, and the second call says it was");
    fake.expect().logout(1);
}

/// As above, but both waited for a renewal before.
#[tokio::test(start_paused = true)]
async fn d1_calls_behind_a_renewal_share_an_outcome_that_comes_at_once() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let gate = fake.hold_exchanges();
    let mut waiter = task::spawn(provider.token());
    assert_pending!(waiter.poll());
    gate.arrived(1).await;
    let mut ends: Vec<_> = (0..10).map(|_| task::spawn(provider.end_session())).collect();
    for end in &mut ends {
        assert_pending!(end.poll());
    }
    settle().await;
    fake.fail_exchanges(1, unavailable());
    gate.open();
    settle().await;
    assert_ready_ok!(waiter.poll());
    for end in &mut ends {
        assert_ready_err!(end.poll(), "the session was not ended, and this call says it was");
    }
    assert_eq!(exchanges(&fake), ["client_credentials", "logout"]);
}

#[tokio::test(start_paused = true)]
async fn d1_an_end_that_is_dropped_half_way_goes_on() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let gate = fake.hold_exchanges();
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    gate.arrived(1).await;
    drop(end);
    // The last handle too: the task has its own.
    drop(provider);
    gate.open();
    settle().await;
    fake.expect().client_credentials(1).logout(1);
    assert_eq!(fake.sessions(), 0);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_an_end_that_is_dropped_before_its_task_has_run_goes_on() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    drop(end);
    settle().await;
    assert!(provider.cached().is_none());
    fake.expect().logout(1);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_an_end_that_is_dropped_while_it_waits_for_a_renewal_goes_on() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let gate = fake.hold_exchanges();
    let mut waiter = task::spawn(provider.token());
    assert_pending!(waiter.poll());
    gate.arrived(1).await;
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    settle().await;
    drop(end);
    gate.open();
    settle().await;
    assert_ready_ok!(waiter.poll());
    assert!(provider.cached().is_none());
    assert_eq!(exchanges(&fake), ["client_credentials", "logout"]);
}

#[tokio::test(start_paused = true)]
async fn d1_whatever_the_server_says_the_tokens_are_forgotten() {
    let errors = [
        ("500", answer(500, "")),
        ("503", unavailable()),
        ("401", answer(401, r#"{"error":"unauthorized_client"}"#)),
        ("510", answer(510, r#"{"error":"invalid_client"}"#)),
        ("400 of another kind", answer(400, r#"{"error":"invalid_request"}"#)),
        ("a redirect", answer(302, "")),
        ("it breaks off", Fault::Reset),
        ("it hangs", Fault::Hang),
        ("it is silent", Fault::Silence),
        ("it never ends", Fault::Endless),
    ];
    for (what, fault) in errors {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let token = provider.token().await.unwrap();
        fake.fail_exchanges(1, fault);
        let outcome = timeout(5 * SECOND + MILLISECOND, provider.end_session()).await;
        assert!(outcome.expect("five seconds are all").is_err(), "{what}");
        assert!(provider.cached().is_none(), "{what}");
        assert_eq!(provider.status().state, TokenState::Ended);
        assert!(provider.renew(&token).now_or_never().unwrap().is_err());

        // A new session, with nothing of the old one.
        provider.token().await.unwrap();
        assert_eq!(exchanges(&fake), ["client_credentials", "logout", "client_credentials"], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn d1_a_page_with_200_is_no_end() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let page = http::Response::builder().header("content-type", "text/html;charset=utf-8");
    fake.fail_exchanges(1, Fault::Answer(page.body("<html></html>".into()).unwrap()));
    let error = provider.end_session().await.unwrap_err();
    assert!(error.to_string().contains("did not confirm"), "{error}");
    assert!(provider.cached().is_none());
}

#[tokio::test(start_paused = true)]
async fn d1_answers_that_say_it_is_over_are_fine() {
    let answers = [
        (204, ""),
        (200, ""),
        (200, "{}"),
        (404, r#"{"error":"Realm does not exist"}"#),
        (400, r#"{"error":"invalid_grant","error_description":"Session not active"}"#),
        (510, r#"{"error":"invalid_grant"}"#),
        (500, r#"{"error":"invalid_grant"}"#),
    ];
    for (status, body) in answers {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        provider.token().await.unwrap();
        fake.fail_exchanges(1, answer(status, body));
        provider.end_session().await.unwrap_or_else(|error| panic!("{status} {body}: {error}"));
        fake.expect().logout(1);
    }
}

#[tokio::test(start_paused = true)]
async fn d1_a_logout_that_hangs_fails_after_five_seconds() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.fail_exchanges(1, Fault::Hang);
    let end = provider.end_session();
    tokio::pin!(end);
    assert!(timeout(5 * SECOND - MILLISECOND, &mut end).await.is_err());
    let error = timeout(2 * MILLISECOND, &mut end).await.unwrap().unwrap_err();
    assert!(error.is_timeout());
    fake.expect().logout(1);
    assert_eq!(tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn d1_a_closure_that_hangs_is_within_the_five_seconds() {
    let fake = FakeNeonomics::new();
    let (asked, secret) = (AtomicUsize::new(0), fake.client_secret());
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let (first, secret) = (asked.fetch_add(1, Ordering::Relaxed) == 0, secret.clone());
        async move { if first { Ok::<_, io::Error>(secret) } else { pending().await } }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    provider.token().await.unwrap();
    let outcome = timeout(5 * SECOND + MILLISECOND, provider.end_session()).await;
    let error = outcome.unwrap().unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(error.to_string(), "the client secret could not be obtained within the deadline");
    assert!(provider.cached().is_none());
    fake.expect().logout(0);
}

#[tokio::test(start_paused = true)]
async fn d1_a_second_end_has_nothing_to_tell() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    provider.end_session().await.unwrap();
    provider.end_session().await.unwrap();
    fake.expect().client_credentials(1).logout(1);
    assert_eq!(provider.status().state, TokenState::Ended);
}

#[tokio::test(start_paused = true)]
async fn d1_an_expired_token_does_not_keep_the_session_from_being_ended() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    provider.end_session().await.unwrap();
    fake.expect().client_credentials(1).refresh(0).logout(1);
    assert_eq!(fake.sessions(), 0);
}

// lesson 37
#[tokio::test(start_paused = true)]
async fn d1_late_refusals_revive_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let token = provider.token().await.unwrap();
    let gate = fake.hold_exchanges();
    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    gate.arrived(1).await;

    // They come while the server is being told, and afterwards.
    for _ in 0..100 {
        let error = provider.renew(&token).now_or_never().expect("nothing is waited for").unwrap_err();
        assert!(error.to_string().contains("the session was ended"), "{error}");
    }
    gate.open();
    settle().await;
    assert_ready_ok!(end.poll());
    for _ in 0..100 {
        assert!(provider.renew(&token).now_or_never().unwrap().is_err());
        pass(SECOND).await;
    }
    pass(HOUR).await;
    fake.expect().client_credentials(1).refresh(0).logout(1);
    assert_eq!(provider.status().state, TokenState::Ended);
}

// lesson 37
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_an_end_under_load_is_followed_by_no_exchange() {
    for _ in 0..50 {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let token = provider.token().await.unwrap();
        // Refusals from four tasks, until the end has been told and a while longer.
        let over = Arc::new(AtomicBool::new(false));
        let load = || {
            let (provider, token, over) = (provider.clone(), token.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    drop(provider.renew(&token).await);
                    yield_now().await;
                }
                for _ in 0..50 {
                    assert!(provider.renew(&token).await.is_err());
                }
            })
        };
        let load: Vec<_> = (0..4).map(|_| load()).collect();
        // Under way: one renewal answers all of them.
        while fake.counts().refresh == 0 {
            yield_now().await;
        }
        provider.end_session().await.unwrap();
        over.store(true, Ordering::Relaxed);
        for load in load {
            load.await.unwrap();
        }
        assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "logout"]);
        assert_eq!(provider.status().state, TokenState::Ended);
        assert_eq!(fake.sessions(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn d2_without_a_refresh_token_the_session_is_forgotten_and_nobody_is_told() {
    let fake = FakeNeonomics::new();
    fake.set_refresh_tokens(false);
    let provider = fake.provider();
    provider.token().await.unwrap();
    provider.end_session().await.unwrap();
    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::Ended);
    fake.expect().client_credentials(1).refresh(0).logout(0);
}

#[tokio::test(start_paused = true)]
async fn d2_without_a_session_there_is_nothing_to_end() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.end_session().await.unwrap();
    assert_eq!(provider.status().state, TokenState::Ended);
    fake.expect().client_credentials(0).logout(0);
    // The next call starts one.
    assert_eq!(provider.token().await.unwrap().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn d2_a_fixed_token_has_no_session_to_end() {
    let provider = TokenProvider::fixed(FakeNeonomics::new().environment(), "constant").unwrap();
    assert!(provider.end_session().await.is_err());
    assert_eq!(provider.cached().unwrap().secret(), "constant");
}

/// The task of an end dies after it has forgotten the session, while somebody waits for the next one: that one is not
/// ended in its place.
#[tokio::test(start_paused = true)]
async fn d1_an_end_that_panics_at_the_logout_leaves_the_next_session_alone() {
    let fake = FakeNeonomics::new();
    let (asked, secret, go) = (AtomicUsize::new(0), fake.client_secret(), Arc::new(Notify::new()));
    let gate = Arc::clone(&go);
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let (for_the_logout, secret) = (asked.fetch_add(1, Ordering::Relaxed) == 1, secret.clone());
        let gate = Arc::clone(&gate);
        async move {
            if for_the_logout {
                gate.notified().await;
                panic!("on purpose");
            }
            Ok::<_, io::Error>(secret)
        }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    provider.token().await.unwrap();

    let mut end = task::spawn(provider.end_session());
    assert_pending!(end.poll());
    settle().await;
    assert_eq!(provider.status().state, TokenState::Ended);
    let mut next = task::spawn(provider.token());
    assert_pending!(next.poll());
    go.notify_one();
    settle().await;

    // The waiter of the next session first, as it may well be.
    assert_pending!(next.poll());
    settle().await;
    let token = assert_ready_ok!(next.poll());
    let error = assert_ready_err!(end.poll());
    assert!(error.to_string().starts_with("the end of the session was dropped before"), "{error}");
    assert_eq!(provider.cached().unwrap().secret(), token.secret());
    fake.expect().client_credentials(2).refresh(0).logout(0);
}

/// The same by a runtime that is shut down.
#[test]
fn d1_an_end_whose_runtime_is_shut_down_at_the_logout_leaves_the_next_session_alone() {
    let fake = FakeNeonomics::new();
    let given = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let own = Builder::new_current_thread().enable_all().build().unwrap();
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    let provider = builder.runtime(given.handle().clone()).build().unwrap();
    own.block_on(async {
        provider.token().await.unwrap();
        let gate = fake.hold_exchanges();
        let (ending, asking) = (provider.clone(), provider.clone());
        let end = tokio::spawn(async move { ending.end_session().await });
        gate.arrived(1).await;
        let next = tokio::spawn(async move { asking.token().await });
        settle().await;
        tokio::task::spawn_blocking(move || drop(given)).await.unwrap();
        gate.open();
        let token = next.await.unwrap().unwrap();
        let error = end.await.unwrap().unwrap_err();
        assert!(error.to_string().starts_with("the end of the session was dropped before"), "{error}");
        assert_eq!(provider.cached().unwrap().secret(), token.secret());
        fake.expect().client_credentials(2).refresh(0);
    });
}

#[test]
fn d1_an_end_whose_runtimes_die_twice_before_it_began_is_an_error() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let mut end = task::spawn(provider.end_session());
    // Neither of the first two is ever driven: the end dies with each of them.
    for _ in 0..2 {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let entered = runtime.enter();
        assert_pending!(end.poll());
        drop(entered);
        drop(runtime);
        assert!(end.is_woken());
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let error = assert_ready_err!(end.poll());
    assert!(error.to_string().starts_with("the end of the session was dropped before"), "{error}");
}
