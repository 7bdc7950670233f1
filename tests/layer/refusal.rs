//! What follows a refusal: renewal, one more attempt, or the original 401 (C1, C2, C4, C5, C6, `rejected_when`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{AuthOutcome, Error, NeonomicsAuth, NeonomicsAuthLayer, TokenProvider, TokenState};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, ServiceExt};
use tower_test::mock;

use crate::api::{Api, ok, refused};
use crate::wire::{
    Marker, Told, assert_nothing_sent, authorization, echo, forced, headers, in_time, next_request, told,
};

#[tokio::test(start_paused = true)]
async fn c1_the_401_is_kept_while_renewing_and_dropped_before_the_service_is_asked_for_readiness() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<Arc<()>>>();
    api.allow(1);
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), first.authorization());

    // The body of the 401 is kept while the renewal is under way: it may have to be returned.
    let gate = fake.hold_exchanges();
    let body = Arc::new(());
    respond.send_response(Response::builder().status(401).body(Arc::clone(&body)).unwrap());
    assert_pending!(response.poll());
    in_time(gate.arrived(1)).await;
    assert_eq!(Arc::strong_count(&body), 2);

    // Renewed. The service is not ready: an answer that is not read may hold its only connection, so it is gone.
    gate.open();
    let second = provider.renew(&first).await.unwrap();
    assert!(response.is_woken());
    assert_pending!(response.poll());
    assert_nothing_sent(&mut api);
    assert_eq!(Arc::strong_count(&body), 1);

    // Ready: sent once more, with the new token, and that is the answer.
    api.allow(1);
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), second.authorization());
    respond.send_response(Response::new(Arc::clone(&body)));
    let response = assert_ready!(response.poll()).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(told(&response), Some(Told::replayed()));
    fake.expect().client_credentials(1).refresh(1);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, status.waited), (1, 1, 0));
}

// lesson 39
#[tokio::test(start_paused = true)]
async fn c1_an_error_of_the_second_attempt_comes_back_and_not_the_401() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let api = Api::answering(|number| match number {
        0 => Ok(refused("first")),
        1 => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
        _ => panic!("a third attempt"),
    });
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    // The second attempt may have been applied: the 401 would say that it was not.
    let error = client.oneshot(echo(&fake, String::new())).await.unwrap_err();
    let error = error.downcast::<std::io::Error>().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(api.calls(), 2);
    assert_eq!((provider.status().refusals, provider.status().replays), (1, 1));
}

// lesson 39
#[tokio::test(start_paused = true)]
async fn c1_an_error_of_the_readiness_for_the_second_attempt_comes_back_too() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;
    respond.send_response(refused("first"));
    assert_pending!(response.poll());

    provider.renew(&first).await.unwrap();
    api.send_error("out of order");
    assert_eq!(assert_ready!(response.poll()).unwrap_err().to_string(), "out of order");
    assert_nothing_sent(&mut api);
    // It was not sent a second time.
    assert_eq!(provider.status().replays, 0);
}

#[tokio::test(start_paused = true)]
async fn c1_an_error_of_the_first_attempt_is_no_refusal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let api = Api::answering(|_| Err("reset".into()));
    let client = NeonomicsAuthLayer::new(provider.clone()).rejected_when(|_| true).layer(api.clone());
    let error = client.oneshot(echo(&fake, String::new())).await.unwrap_err();
    assert_eq!(error.to_string(), "reset");
    assert_eq!(api.calls(), 1);
    assert_eq!((provider.status().refusals, forced(&provider)), (0, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn c2_a_refused_token_that_is_no_longer_the_current_one_is_replaced_without_a_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), first.authorization());

    // While the request is under way somebody else has the token renewed.
    let second = provider.renew(&first).await.unwrap();
    fake.expect().client_credentials(1).refresh(1);

    // The late 401 concerns the old token: the new one is sent at once, nothing is waited for.
    respond.send_response(refused("late"));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), second.authorization());
    respond.send_response(ok("second"));
    assert_eq!(told(&assert_ready!(response.poll()).unwrap()), Some(Told::replayed()));
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(forced(&provider), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn c2_a_hold_on_renewals_does_not_hold_back_the_token_that_is_there() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;

    // Meanwhile the token was renewed, and a renewal of the new one has failed.
    let second = provider.renew(&first).await.unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    provider.renew(&second).await.unwrap_err();
    assert!(provider.status().hold_left.is_some());

    respond.send_response(refused("late"));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(authorization(&sent), second.authorization());
    respond.send_response(ok("second"));
    assert_eq!(told(&assert_ready!(response.poll()).unwrap()), Some(Told::replayed()));
    assert_eq!(forced(&provider), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn c4_a_second_401_is_returned_unchanged_and_there_is_no_third_attempt() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let second = || {
        let mut second = refused("second");
        second.headers_mut().append("x-attempt", "again".parse().unwrap());
        *second.version_mut() = http::Version::HTTP_2;
        second.extensions_mut().insert(Marker(2));
        second
    };
    let api = Api::answering(move |number| match number {
        0 => Ok(refused("first")),
        1 => Ok(second()),
        _ => panic!("a third attempt"),
    });
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(api.calls(), 2);
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(headers(response.headers()), headers(second().headers()));
    assert_eq!(response.extensions().get(), Some(&Marker(2)));
    // It says that this is the second.
    assert_eq!(told(&response), Some(Told::replayed()));
    assert_eq!(response.into_body(), "second");
    assert_eq!(forced(&provider), (1, 0));
    fake.expect().client_credentials(1).refresh(1);
}

// The original 401

// lesson 29
#[tokio::test(start_paused = true)]
async fn c5_the_original_401_comes_back_when_the_renewal_fails_and_while_it_is_held_back() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    let api = Api::answering(|number| Ok(refused(["first", "second"][number])));
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
    let failed = assert_original(response, "first");
    assert!(failed.is_transient());
    // The token is usable, so there are two exchanges and no repeats.
    fake.expect().client_credentials(2).refresh(1);

    // Held back: the second request gets its own 401 at once, with the same cause.
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    let held = assert_original(response, "second");
    assert!(held.is_transient());
    assert_eq!(held.retry_after(), failed.retry_after(), "no time has passed");
    assert_eq!(held.retry_after(), provider.status().hold_left);
    fake.expect().client_credentials(2).refresh(1);
    assert_eq!(api.calls(), 2);
    assert_eq!(forced(&provider), (0, 1));
    assert_eq!((provider.status().refusals, provider.status().replays), (2, 0));
}

// lesson 29
#[tokio::test(start_paused = true)]
async fn c5_the_original_401_comes_back_when_the_client_is_rejected() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.set_client_secret("another");
    let api = Api::answering(|_| Ok(refused("first")));

    let response = NeonomicsAuth::new(api.clone(), provider).oneshot(echo(&fake, String::new())).await.unwrap();
    let error = assert_original(response, "first");
    assert!(error.is_rejected());
    assert_eq!(error.oauth_code(), Some("unauthorized_client"));
    assert_eq!(api.calls(), 1);
    fake.expect().client_credentials(1).refresh(1);
}

// lesson 32
#[tokio::test(start_paused = true)]
async fn c5_the_original_401_comes_back_when_the_renewal_brings_the_same_token() {
    let fake = FakeNeonomics::new();
    let same = r#"{"access_token":"same","token_type":"Bearer","expires_in":300}"#;
    fake.fail_exchanges(usize::MAX, Fault::Answer(Response::new(Bytes::from_static(same.as_bytes()))));
    let provider = fake.provider();
    let api = Api::answering(|number| Ok(refused(["first", "second"][number])));
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    // The same token would meet the same refusal: one attempt each, no loop.
    for (number, body) in ["first", "second"].into_iter().enumerate() {
        let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
        assert_eq!(told(&response).unwrap().waited, number == 0);
        let error = assert_original(response, body);
        assert_eq!(error.to_string(), "the renewal brought the same token that was refused");
        assert_eq!(api.calls(), number + 1);
        // One exchange for the first token, one for each refusal.
        fake.expect().client_credentials(number + 2);
    }
    assert_eq!(provider.status().replays, 0);
}

// lesson 31
#[tokio::test(start_paused = true)]
async fn c5_a_fixed_token_is_sent_and_never_renewed() {
    let fake = FakeNeonomics::new();
    let provider = TokenProvider::fixed(fake.environment(), "a-fixed.token").unwrap();
    let api = Api::answering(|_| Ok(refused("first")));

    let response = NeonomicsAuth::new(api.clone(), provider).oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(authorization(&api.take_only()), "Bearer a-fixed.token");
    assert_eq!(assert_original(response, "first").to_string(), "a fixed token is neither renewed nor ended");
    fake.expect().client_credentials(0).refresh(0);

    // What cannot be a header is refused at once, by an error that does not show it.
    for broken in ["", "=", "xy zzy", "xy\nzzy", "xyzzy\r\nx-evil: 1", " xyzzy", "xyzzy ", "xyüzzy", "xy=zzy"] {
        let error = TokenProvider::fixed(fake.environment(), broken).unwrap_err();
        assert_eq!(error.to_string(), "the fixed token cannot be sent in a header");
        assert!(!format!("{error:?}").contains("zzy"), "{error:?}");
        assert!(!error.is_transient() && !error.is_rejected() && !error.is_malformed());
    }
}

#[tokio::test(start_paused = true)]
async fn c5_a_401_after_the_end_of_the_session_is_the_callers_and_revives_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;

    provider.end_session().await.unwrap();
    respond.send_response(refused("late"));
    let response = assert_ready!(response.poll()).unwrap();
    let error = assert_original(response, "late");
    assert_eq!(error.to_string(), "the session was ended: the next `token()` starts a new one");
    assert_nothing_sent(&mut api);
    fake.expect().client_credentials(1).refresh(0).logout(1);
    assert_eq!(provider.status().state, TokenState::Ended);
}

// lesson 37
#[tokio::test(start_paused = true)]
async fn c5_a_second_attempt_after_the_end_of_the_session_revives_nothing() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    api.allow(1);
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;
    respond.send_response(refused("late"));
    assert_pending!(response.poll());
    // Renewed, but the service is not ready; meanwhile the session is ended.
    provider.renew(&first).await.unwrap();
    assert_pending!(response.poll());
    provider.end_session().await.unwrap();
    api.allow(1);
    // The 401 is gone by then: an error, and no new session at the authorization server.
    let error = assert_ready!(response.poll()).unwrap_err();
    assert_eq!(error.to_string(), "the session was ended: the next `token()` starts a new one");
    assert_nothing_sent(&mut api);
    fake.expect().client_credentials(1).refresh(1).logout(1);
    assert_eq!(provider.status().state, TokenState::Ended);
}

/// The 401 as the API sent it, with the cause beside it.
#[track_caller]
fn assert_original(response: Response<String>, body: &str) -> Error {
    let original = refused(body);
    assert_eq!(response.status(), original.status());
    assert_eq!(headers(response.headers()), headers(original.headers()));
    let outcome: &AuthOutcome = response.extensions().get().expect("the cause");
    assert!(!outcome.replayed() && outcome.passed_without_token().is_none());
    let error = outcome.renewal_error().expect("the cause").clone();
    assert_eq!(response.into_body(), body);
    error
}

// Sent once

#[tokio::test(start_paused = true)]
async fn c6_without_retry_the_401_comes_back_at_once_and_one_renewal_starts_behind_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let api = Api::answering(|number| Ok(if number < 3 { refused("first") } else { ok("renewed") }));
    let client = NeonomicsAuthLayer::new(provider.clone()).without_retry().layer(api.clone());

    // Three are refused one after the other while the exchange stands at the gate: nobody waits for it.
    let gate = fake.hold_exchanges();
    for _ in 0..3 {
        let mut response = spawn(client.clone().oneshot(echo(&fake, String::new())));
        let response = assert_ready!(response.poll()).unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(headers(response.headers()), headers(refused("first").headers()));
        assert_eq!(told(&response), None, "nothing unusual for this mode");
        assert_eq!(response.into_body(), "first");
    }
    in_time(gate.arrived(1)).await;
    gate.open();
    let second = provider.renew(&first).await.unwrap();

    // One renewal in all, and the next request has its token.
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(response.into_body(), "renewed");
    let received = api.take();
    assert_eq!(authorization(&received[2]), first.authorization());
    assert_eq!(authorization(&received[3]), second.authorization());
    fake.expect().client_credentials(1).refresh(1);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, forced(&provider)), (3, 0, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn c6_a_request_that_forbids_its_replay_gets_the_401_at_once_and_one_renewal_starts_behind_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let client = NeonomicsAuth::new(Api::answering(|_| Ok(refused("first"))), provider.clone());

    let gate = fake.hold_exchanges();
    let mut request = echo(&fake, String::new());
    request.extensions_mut().insert(neonomics_auth::NoReplay);
    let mut response = spawn(client.oneshot(request));
    let response = assert_ready!(response.poll()).unwrap();
    assert_eq!(told(&response), None);
    assert_eq!(response.into_body(), "first");
    in_time(gate.arrived(1)).await;
    gate.open();
    assert_eq!(provider.renew(&first).await.unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn c6_renewals_behind_are_rationed_like_all_forced_ones() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let api = Api::answering(|_| Ok(refused("always")));
    let client = NeonomicsAuthLayer::new(provider.clone()).without_retry().layer(api.clone());

    for number in 1..=15 {
        let token = provider.token().await.unwrap();
        let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
        assert_eq!(response.into_body(), "always");
        // Joins the renewal that started behind the answer; after the tenth there is none, and none to be had.
        assert_eq!(provider.renew(&token).await.is_ok(), number <= 10, "refusal {number}");
    }
    assert_eq!(forced(&provider), (10, 0));
    fake.expect().client_credentials(1).refresh(10);
}

// The caller's own rule

#[tokio::test(start_paused = true)]
async fn c7_a_predicate_of_the_callers_replaces_the_rule() {
    let fake = FakeNeonomics::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let layer = |provider: &TokenProvider| {
        let asked = Arc::clone(&asked);
        NeonomicsAuthLayer::new(provider.clone()).rejected_when(move |head| {
            asked.fetch_add(1, Ordering::Relaxed);
            head.status == StatusCode::FORBIDDEN && head.headers.contains_key("x-expired")
        })
    };

    // What it takes for a refusal is one.
    let provider = fake.provider();
    let forbidden = || Response::builder().status(403).header("x-expired", "1").body("403".to_owned()).unwrap();
    let api = Api::answering(move |number| Ok(if number == 0 { forbidden() } else { ok("second") }));
    let response = layer(&provider).layer(api.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
    assert!(told(&response).unwrap().replayed);
    assert_eq!(response.into_body(), "second");
    assert_eq!((api.calls(), forced(&provider)), (2, (1, 0)));

    // All else is none: a 401 that the built-in rule would take, a 403 without the header.
    for answer in [refused("401"), Response::builder().status(403).body("403".to_owned()).unwrap()] {
        let provider = fake.provider();
        provider.token().await.unwrap();
        let (status, body) = (answer.status(), answer.body().clone());
        let api = Api::answering(move |_| Ok(answer.clone()));
        asked.store(0, Ordering::Relaxed);
        let response = layer(&provider).layer(api.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
        assert_eq!(told(&response), None);
        assert_eq!((response.status(), response.into_body()), (status, body));
        assert_eq!((api.calls(), forced(&provider)), (1, (0, 0)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn c7_a_predicate_holds_without_retry_and_for_all_clones() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let layer = NeonomicsAuthLayer::new(provider.clone()).rejected_when(|head| head.status == StatusCode::GONE);
    let gone = Api::answering(|_| Ok(Response::builder().status(410).body("gone".to_owned()).unwrap()));

    let response =
        layer.clone().without_retry().layer(gone.clone()).clone().oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(response.into_body(), "gone");
    assert_eq!(gone.calls(), 1);
    assert_eq!(provider.renew(&first).await.unwrap().generation(), 2);
    assert_eq!((provider.status().refusals, forced(&provider)), (1, (1, 0)));

    // A second answer of the same kind is the answer: the predicate does not lead to a third attempt.
    let response = layer.layer(gone.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(told(&response), Some(Told::replayed()));
    assert_eq!(gone.calls(), 3);
}

/// Behind the renewal that it joined waits the end of the session: when it learns of the new token that is gone already.
#[tokio::test(start_paused = true)]
async fn c5_a_401_that_waits_for_a_renewal_behind_which_the_session_is_ended_is_the_callers() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<String>, Response<String>>();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, String::new())));
    assert_pending!(response.poll());
    let (_, respond) = next_request(&mut api).await;

    let gate = fake.hold_exchanges();
    let (renewing, ending) = (provider.clone(), provider.clone());
    let renewed = tokio::spawn(async move { renewing.renew(&first).await });
    gate.arrived(1).await;
    let mut end = spawn(ending.end_session());
    assert_pending!(end.poll());
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    respond.send_response(refused("late"));
    assert_pending!(response.poll());
    gate.open();
    end.await.unwrap();
    renewed.await.unwrap().unwrap();

    let error = assert_original(assert_ready!(response.poll()).unwrap(), "late");
    assert!(error.to_string().starts_with("the session was ended"), "{error}");
    fake.expect().client_credentials(1).refresh(1).logout(1);
}
