//! Bodies that are recorded, but not sent twice, and those that are called back for it (C5, C6, C13, C14).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{NeonomicsAuthLayer, NoReplay, ReplayBody};
use tokio::task::yield_now;
use tokio::time::advance;
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, ServiceExt};
use tower_test::mock;

use crate::api::{ok, refused};
use crate::upload::{
    SIZE, Scene, Sent, assert_original, assert_whole, counted_upload, failing_upload, memory, slow_upload, take, upload,
};
use crate::wire::{Told, assert_nothing_sent, authorization, echo, forced, in_time, next_request, told};

// Never sent twice

// lesson 24
#[tokio::test(start_paused = true)]
async fn c6_over_the_limit_the_401_comes_back_at_once_and_one_renewal_starts_behind_it() {
    // Found out with the third frame; the client goes on to the end, or stops there, and keeps or drops the body.
    for (taken, kept) in [(3, false), (3, true), (5, false), (5, true)] {
        let mut scene = Scene::buffering(SIZE - 1).await;
        let gate = scene.fake.hold_exchanges();
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), taken).await;
        let sent = kept.then_some(sent);
        respond.send_response(refused("first"));
        assert_original(assert_ready!(response.poll()).unwrap());
        // The attempt may go on to its end.
        if let Some(mut sent) = sent {
            take(sent.body_mut(), 5).await;
        }
        scene.assert_renewed_behind(gate).await;
    }
}

// lesson 24
#[tokio::test(start_paused = true)]
async fn c6_a_body_that_announces_more_than_the_limit_passes_unrecorded() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<ReplayBody<Full<Bytes>>>, Response<String>>();
    let client = NeonomicsAuthLayer::new(provider.clone()).buffer_body(3).layer(mock);
    let memory = memory();
    let body = Full::new(Bytes::from_owner(Arc::clone(&memory)));
    let mut response = spawn(client.oneshot(echo(&fake, body)));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(sent.into_body().collect().await.unwrap().to_bytes(), "zero");
    assert_eq!(Arc::strong_count(&memory), 1);

    let gate = fake.hold_exchanges();
    respond.send_response(refused("first"));
    assert_original(assert_ready!(response.poll()).unwrap());
    in_time(gate.arrived(1)).await;
    gate.open();
    assert_eq!(provider.renew(&first).await.unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!((provider.status().replays, forced(&provider)), (0, (1, 0)));
}

// lesson 24
#[tokio::test(start_paused = true)]
async fn c6_a_body_that_failed_is_not_sent_again() {
    let mut scene = Scene::buffering(SIZE).await;
    let gate = scene.fake.hold_exchanges();
    let (mut response, mut sent, respond) = scene.sending(failing_upload()).await;
    take(sent.body_mut(), 1).await;
    let error = in_time(sent.body_mut().frame()).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "disk");
    respond.send_response(refused("first"));
    assert_original(assert_ready!(response.poll()).unwrap());
    scene.assert_renewed_behind(gate).await;
}

// lesson 24
#[tokio::test(start_paused = true)]
async fn c13_a_request_that_forbids_its_replay_is_stamped_passed_unrecorded_and_sent_once() {
    let mut scene = Scene::buffering(usize::MAX).await;
    let gate = scene.fake.hold_exchanges();
    let memory = memory();
    let mut request = echo(&scene.fake, counted_upload(&memory));
    request.extensions_mut().insert(NoReplay);
    let (mut response, mut sent, respond) = scene.sending_request(request).await;
    take(sent.body_mut(), 1).await;
    assert_eq!(Arc::strong_count(&memory), 1, "not recorded");
    respond.send_response(refused("first"));
    assert_original(assert_ready!(response.poll()).unwrap());
    // Nor is it called back.
    assert_whole(sent.into_body()).await;
    scene.assert_renewed_behind(gate).await;
}

// lesson 24
#[tokio::test(start_paused = true)]
async fn c6_wrapped_over_the_limit_the_401_comes_back_at_once_too() {
    let mut scene = Scene::wrapping(SIZE - 1).await;
    let gate = scene.fake.hold_exchanges();
    let (mut response, mut sent, respond) = scene.sending(upload()).await;
    take(sent.body_mut(), 3).await;
    respond.send_response(refused("first"));
    assert_original(assert_ready!(response.poll()).unwrap());
    scene.assert_renewed_behind(gate).await;
}

// Called back

// lessons 23, 24
#[tokio::test(start_paused = true)]
async fn c6_a_body_that_is_back_by_the_time_of_the_renewal_is_sent_again() {
    let mut scene = Scene::buffering(SIZE).await;
    // The client has sent one frame and waits for the next when the 401 comes; or it has not begun.
    for begun in [true, false] {
        let refused_token = scene.provider.token().await.unwrap();
        let mut response = spawn(scene.client.clone().oneshot(echo(&scene.fake, slow_upload())));
        assert_pending!(response.poll());
        let (mut sent, respond) = next_request(&mut scene.api).await;
        let mut sending = spawn(sent.body_mut().collect());
        if begun {
            assert_pending!(sending.poll());
        }
        let gate = scene.fake.hold_exchanges();
        respond.send_response(refused("first"));
        assert_pending!(response.poll());

        // Halted at the 401, so that nothing spoils it.
        in_time(gate.arrived(1)).await;
        assert!(!sending.is_woken());
        assert_pending!(sending.poll());

        // Called back when the token has been renewed: the client is woken, and its next poll fails.
        gate.open();
        let renewed = scene.provider.renew(&refused_token).await.unwrap();
        assert_pending!(response.poll());
        assert!(sending.is_woken());
        let error = assert_ready!(sending.poll()).unwrap_err();
        let text = "the request was answered before all of its body was sent, and is to be sent once more";
        assert_eq!(error.to_string(), text);

        // Back, though the client keeps its end.
        assert!(response.is_woken());
        assert_pending!(response.poll());
        let (mut second, respond) = next_request(&mut scene.api).await;
        assert_eq!(authorization(&second), renewed.authorization());
        assert_eq!(in_time(second.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_pending!(spawn(second.body_mut().frame()).poll().map(drop));
        respond.send_response(ok("second"));
        assert_eq!(told(&assert_ready!(response.poll()).unwrap()), Some(Told::replayed()));
    }
    scene.fake.expect().client_credentials(1).refresh(2);
    assert_eq!((scene.provider.status().replays, forced(&scene.provider)), (2, (2, 0)));
}

#[tokio::test(start_paused = true)]
async fn c6_a_body_that_is_dropped_during_the_renewal_is_sent_again() {
    let mut scene = Scene::buffering(SIZE).await;
    let (mut response, mut sent, respond) = scene.sending(upload()).await;
    take(sent.body_mut(), 2).await;
    let gate = scene.fake.hold_exchanges();
    respond.send_response(refused("first"));
    assert_pending!(response.poll());
    in_time(gate.arrived(1)).await;
    drop(sent);
    gate.open();
    let (sent, _respond) = scene.resent(&mut response).await;
    assert_whole(sent.into_body()).await;
}

// lesson 24
#[tokio::test(start_paused = true)]
async fn c6_a_body_that_is_not_back_by_the_time_of_the_renewal_is_not_sent_again() {
    for taken in [0, 1, 4] {
        let mut scene = Scene::buffering(SIZE).await;
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), taken).await;
        let gate = scene.fake.hold_exchanges();
        respond.send_response(refused("first"));
        assert_pending!(response.poll());
        in_time(gate.arrived(1)).await;
        gate.open();
        scene.provider.renew(&scene.first).await.unwrap();

        // Waited for, but not for ever: a second after the renewal the original 401, whose body is intact. No error:
        // there is a new token.
        assert!(response.is_woken());
        assert_pending!(response.poll());
        advance(Duration::from_millis(999)).await;
        assert_pending!(response.poll());
        advance(Duration::from_millis(2)).await;
        // The timer is a task.
        yield_now().await;
        assert!(response.is_woken());
        assert_original(assert_ready!(response.poll()).unwrap());
        scene.assert_sent_once();
        // The client goes on with it.
        let mut left = 0;
        while let Some(frame) = in_time(sent.body_mut().frame()).await {
            frame.unwrap();
            left += 1;
        }
        assert_eq!(taken + left, 4);
    }
}

// lessons 23, 24
#[tokio::test(start_paused = true)]
async fn c6_wrapped_it_is_called_back_too() {
    for given_up in [true, false] {
        let mut scene = Scene::wrapping(SIZE).await;
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), 1).await;
        let gate = scene.fake.hold_exchanges();
        respond.send_response(refused("first"));
        assert_pending!(response.poll());
        in_time(gate.arrived(1)).await;
        gate.open();
        scene.provider.renew(&scene.first).await.unwrap();
        assert_pending!(response.poll());
        if given_up {
            in_time(sent.body_mut().frame()).await.unwrap().unwrap_err();
            assert!(response.is_woken());
            assert_pending!(response.poll());
            let (sent, _respond) = next_request(&mut scene.api).await;
            assert_whole(sent.into_body()).await;
        } else {
            assert_original(in_time(response).await.unwrap());
            scene.assert_sent_once();
        }
    }
}

/// The renewal that another request has made leaves no time for the body to come back.
// lessons 23, 24
#[tokio::test(start_paused = true)]
async fn c2_where_the_token_has_been_renewed_already_a_body_that_is_held_is_called_back_and_sent_again() {
    for begun in [true, false] {
        let mut scene = Scene::buffering(SIZE).await;
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), usize::from(begun)).await;
        scene.provider.renew(&scene.first).await.unwrap();
        respond.send_response(refused("first"));
        assert_pending!(response.poll());
        in_time(sent.body_mut().frame()).await.unwrap().unwrap_err();
        assert!(response.is_woken());
        assert_pending!(response.poll());
        let (sent, _respond) = next_request(&mut scene.api).await;
        assert_whole(sent.into_body()).await;
    }
}

/// The wait for the body goes by a timer that the caller need not have.
// lesson 24
#[test]
fn c2_outside_a_runtime_a_body_that_is_held_is_asked_for_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut scene, mut response, _sent) = runtime.block_on(async {
        let mut scene = Scene::buffering(SIZE).await;
        let (response, sent, respond) = scene.sending(upload()).await;
        scene.provider.renew(&scene.first).await.unwrap();
        respond.send_response(refused("first"));
        (scene, response, sent)
    });
    assert_original(assert_ready!(response.poll()).unwrap());
    scene.assert_sent_once();
}

/// The wait needs a timer: without one it is over.
// lesson 34
#[test]
fn a19_a_runtime_that_is_gone_or_has_no_timers_leaves_the_original_401() {
    for gone in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut scene, mut response, _sent) = runtime.block_on(async {
            let mut scene = Scene::buffering(SIZE).await;
            let (mut response, sent, respond) = scene.sending(upload()).await;
            scene.provider.renew(&scene.first).await.unwrap();
            respond.send_response(refused("first"));
            if gone {
                assert_pending!(response.poll());
            }
            (scene, response, sent)
        });
        if gone {
            drop(runtime);
            assert!(response.is_woken());
            assert_original(assert_ready!(response.poll()).unwrap());
        } else {
            let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert_original(timeless.block_on(response).unwrap());
        }
        scene.assert_sent_once();
    }
}

// lesson 23
#[tokio::test(start_paused = true)]
async fn c6_a_token_that_expires_while_a_body_is_waited_for_halts_it_again() {
    let mut scene = Scene::buffering(SIZE).await;
    let (mut response, mut sent, respond) = scene.sending(upload()).await;
    scene.fake.set_access_lifetime(Duration::from_secs(1));
    scene.provider.renew(&scene.first).await.unwrap();
    respond.send_response(refused("first"));
    assert_pending!(response.poll());

    // A second later there is no token any more: whether the body can be sent again is open once more.
    scene.fake.set_access_lifetime(Duration::from_secs(300));
    let gate = scene.fake.hold_exchanges();
    advance(Duration::from_secs(1)).await;
    assert_pending!(response.poll());
    assert_pending!(spawn(sent.body_mut().frame()).poll());
    in_time(gate.arrived(1)).await;
    gate.open();
    assert_eq!(scene.provider.token().await.unwrap().generation(), 3);

    // It has a whole second again.
    assert_pending!(response.poll());
    in_time(sent.body_mut().frame()).await.unwrap().unwrap_err();
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut scene.api).await;
    assert_whole(sent.into_body()).await;
    respond.send_response(ok("second"));
    assert_eq!(assert_ready!(response.poll()).unwrap().into_body(), "second");
}

// lesson 29
#[tokio::test(start_paused = true)]
async fn d1_a_session_that_ends_while_a_body_is_waited_for_leaves_the_original_401() {
    let mut scene = Scene::buffering(SIZE).await;
    let (mut response, mut sent, respond) = scene.sending(upload()).await;
    scene.provider.renew(&scene.first).await.unwrap();
    respond.send_response(refused("first"));
    assert_pending!(response.poll());
    scene.provider.end_session().await.unwrap();
    in_time(sent.body_mut().frame()).await.unwrap().unwrap_err();
    let response = assert_ready!(response.poll()).unwrap();
    assert!(told(&response).unwrap().renewal_error.unwrap().contains("ended"));
    assert_eq!(response.into_body(), "first");
    assert_nothing_sent(&mut scene.api);
}

#[tokio::test(start_paused = true)]
async fn c6_the_outcome_of_a_request_that_waited_and_is_not_sent_again_says_so() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (mock, mut api) = mock::pair::<Request<Sent>, Response<String>>();
    let client = NeonomicsAuthLayer::new(provider.clone()).buffer_body(SIZE).layer(mock);
    let mut response = spawn(client.oneshot(echo(&fake, upload())));
    assert_pending!(response.poll());
    let first = provider.token().await.unwrap();
    assert_pending!(response.poll());
    let (_sent, respond) = next_request(&mut api).await;
    respond.send_response(refused("first"));
    assert_pending!(response.poll());
    provider.renew(&first).await.unwrap();
    let response = in_time(response).await.unwrap();
    assert_eq!(told(&response), Some(Told { waited: true, ..Told::default() }));
    assert_eq!(response.into_body(), "first");
}

// lesson 29
#[tokio::test(start_paused = true)]
async fn c5_the_original_401_comes_back_with_the_cause_when_the_renewal_fails() {
    for held in [false, true] {
        let mut scene = Scene::buffering(usize::MAX).await;
        scene.fake.fail_exchanges(usize::MAX, Fault::Reset);
        let memory = memory();
        let (mut response, mut sent, respond) = scene.sending(counted_upload(&memory)).await;
        take(sent.body_mut(), 1).await;
        let _sent = held.then_some(sent);
        respond.send_response(refused("first"));
        assert_pending!(response.poll());
        scene.provider.renew(&scene.first).await.unwrap_err();

        let response = assert_ready!(response.poll()).unwrap();
        let error = told(&response).unwrap().renewal_error.unwrap();
        assert!(error.starts_with("the authorization server could not be reached"), "{error}");
        assert_eq!(response.into_body(), "first");
        assert_eq!(Arc::strong_count(&memory), 1, "kept in vain");
        assert_nothing_sent(&mut scene.api);
        assert_eq!((scene.provider.status().replays, forced(&scene.provider)), (0, (0, 1)));
    }
}

// Not kept for longer than needed

#[tokio::test(start_paused = true)]
async fn c14_the_record_is_gone_before_an_answer_that_is_no_refusal_is_returned() {
    // The client is through with the body, or goes on with it: the answer may come early.
    for held in [false, true] {
        for status in [200, 403, 510] {
            let mut scene = Scene::buffering(usize::MAX).await;
            let memory = memory();
            let (mut response, mut sent, respond) = scene.sending(counted_upload(&memory)).await;
            take(sent.body_mut(), 1).await;
            assert_eq!(Arc::strong_count(&memory), 2, "recorded");
            let sent = held.then_some(sent);
            assert_eq!(Arc::strong_count(&memory), 2, "kept");

            respond.send_response(Response::builder().status(status).body(String::new()).unwrap());
            let answer = assert_ready!(response.poll()).unwrap();
            assert_eq!(Arc::strong_count(&memory), 1);
            assert_eq!(told(&answer), None);
            if let Some(sent) = sent {
                assert_whole(sent.into_body()).await;
            }
            drop(response);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn c14_the_record_is_gone_with_an_error_and_with_a_caller_who_gives_up() {
    for (answered, renewing) in [(true, false), (false, false), (false, true)] {
        let mut scene = Scene::buffering(usize::MAX).await;
        let memory = memory();
        let (mut response, mut sent, respond) = scene.sending(counted_upload(&memory)).await;
        take(sent.body_mut(), 1).await;
        drop(sent);
        assert_eq!(Arc::strong_count(&memory), 2);
        if answered {
            respond.send_error("reset");
            assert_ready!(response.poll()).unwrap_err();
        } else if renewing {
            respond.send_response(refused("first"));
            assert_pending!(response.poll());
            assert_eq!(Arc::strong_count(&memory), 2);
            drop(response);
        } else {
            drop(response);
        }
        assert_eq!(Arc::strong_count(&memory), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn c14_what_carries_no_token_of_ours_is_not_recorded() {
    let mut scene = Scene::buffering(usize::MAX).await;
    let memory = memory();
    let mut request = echo(&scene.fake, counted_upload(&memory));
    request.headers_mut().insert(AUTHORIZATION, "Basic dXNlcjpwYXNz".parse().unwrap());
    let mut response = spawn(scene.client.clone().oneshot(request));
    assert_pending!(response.poll());
    let (mut sent, respond) = next_request(&mut scene.api).await;
    take(sent.body_mut(), 1).await;
    assert_eq!(Arc::strong_count(&memory), 1);
    respond.send_response(refused("first"));
    assert_ready!(response.poll()).unwrap();
    assert_whole(sent.into_body()).await;
    scene.fake.expect().client_credentials(1).refresh(0);
}
