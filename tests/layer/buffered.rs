//! Bodies that are recorded as they stream and sent twice: `.buffer_body(…)`, `.buffer_body_with(…)` (C1–C4, C10, C12).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{BoxError, NeonomicsAuthLayer, NoReplay, ReplayBody};
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, ServiceExt, service_fn};

use crate::api::{ok, refused};
use crate::upload::{SIZE, Scene, Upload, assert_whole, counted_upload, memory, take, trailers, upload};
use crate::wire::{Seen, Told, assert_nothing_sent, authorization, echo, forced, in_time, next_request, told, unusual};

// lesson 23
#[tokio::test(start_paused = true)]
async fn c10_wherever_the_first_attempt_stopped_the_second_carries_the_whole_body_once() {
    // Nothing, some frames, all of them, the trailers; then the API drops the body. Or the end, and it keeps it.
    for taken in 0..=5 {
        let mut scene = Scene::buffering(SIZE).await;
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), taken).await;
        let kept = (taken == 5).then_some(sent);
        respond.send_response(refused("first"));

        let (sent, respond) = scene.resent(&mut response).await;
        assert_whole(sent.into_body()).await;
        respond.send_response(ok("second"));
        let response = assert_ready!(response.poll()).unwrap();
        assert_eq!(told(&response), Some(Told::replayed()));
        assert_eq!(response.into_body(), "second");
        assert_nothing_sent(&mut scene.api);
        assert_eq!(scene.provider.status().refusals, 1);
        drop(kept);
    }
}

// lesson 23
#[tokio::test(start_paused = true)]
async fn c10_a_server_that_read_all_of_it_reads_all_of_it_again() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let client = NeonomicsAuthLayer::new(provider.clone()).buffer_body(SIZE).layer(fake.clone());
    // Waiting for the first token, and with the token at hand.
    for waited in [true, false] {
        assert_eq!(provider.cached().is_none(), waited);
        let before = fake.requests().len();
        fake.refuse_requests(1);
        let response = client.clone().oneshot(echo(&fake, upload())).await.unwrap();
        assert_eq!(told(&response), Some(Told { waited, ..Told::replayed() }));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "onetwothree");

        let requests = fake.requests().split_off(before);
        let attempts: Vec<_> = requests.iter().filter(|request| request.uri.path() == "/echo").collect();
        assert_eq!(attempts.len(), 2);
        for attempt in attempts {
            assert_eq!((&attempt.body[..], &attempt.trailers), (&b"onetwothree"[..], &Some(trailers())));
        }
    }
    fake.expect().client_credentials(1).refresh(2).requests(4).unauthorized(2);
    assert_eq!(provider.status().replays, 2);
}

#[tokio::test(start_paused = true)]
async fn c2_a_body_that_is_back_is_sent_with_the_token_that_somebody_else_renewed() {
    let mut scene = Scene::buffering(SIZE).await;
    let (mut response, mut sent, respond) = scene.sending(upload()).await;
    take(sent.body_mut(), 2).await;
    drop(sent);
    let second = scene.provider.renew(&scene.first).await.unwrap();

    // At once: the late 401 concerns the old token.
    respond.send_response(refused("late"));
    assert_pending!(response.poll());
    let (sent, _respond) = next_request(&mut scene.api).await;
    assert_eq!(authorization(&sent), second.authorization());
    assert_whole(sent.into_body()).await;
    scene.fake.expect().client_credentials(1).refresh(1);
    assert_eq!(forced(&scene.provider), (1, 0));
}

// lesson 4
#[tokio::test(start_paused = true)]
async fn c3_a_hundred_uploads_that_are_refused_share_one_renewal() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let client = NeonomicsAuthLayer::new(provider.clone()).buffer_body(SIZE).layer(fake.clone());
    let gate = fake.hold_requests();
    let uploads: Vec<_> = (0..100).map(|_| tokio::spawn(client.clone().oneshot(echo(&fake, upload())))).collect();
    in_time(gate.arrived(100)).await;
    fake.restart();
    gate.open();

    for upload in uploads {
        let response = upload.await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "onetwothree");
    }
    fake.expect().requests(200).unauthorized(100);
    assert_eq!((provider.status().replays, forced(&provider)), (100, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn c4_a_second_401_is_returned_unchanged_and_nothing_is_recorded_any_more() {
    let mut scene = Scene::buffering(usize::MAX).await;
    let memory = memory();
    let (mut response, mut sent, respond) = scene.sending(counted_upload(&memory)).await;
    take(sent.body_mut(), 1).await;
    assert_eq!(Arc::strong_count(&memory), 2, "recorded");
    drop(sent);
    respond.send_response(refused("first"));

    let (mut sent, respond) = scene.resent(&mut response).await;
    take(sent.body_mut(), 1).await;
    assert_eq!(Arc::strong_count(&memory), 1, "sent for the last time");
    respond.send_response(refused("second"));
    let response = assert_ready!(response.poll()).unwrap();
    assert_eq!(told(&response), Some(Told::replayed()));
    assert_eq!(response.into_body(), "second");
    // It is not called back either.
    assert_whole(sent.into_body()).await;
    assert_nothing_sent(&mut scene.api);
    assert_eq!((scene.provider.status().refusals, forced(&scene.provider)), (1, (1, 0)));
}

// lessons 25, 26
#[tokio::test(start_paused = true)]
async fn c12_the_second_attempt_differs_from_the_first_in_authorization_alone() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    for waited in [true, false] {
        assert_eq!(provider.cached().is_none(), waited);
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let api = service_fn({
            let attempts = Arc::clone(&attempts);
            move |request: Request<ReplayBody<Full<Bytes>>>| {
                let attempts = Arc::clone(&attempts);
                async move {
                    let (head, body) = request.into_parts();
                    let announced = body.size_hint().exact();
                    let body = body.collect().await?.to_bytes();
                    let request = Request::from_parts(head, String::from_utf8(body.into())?);
                    let mut attempts = attempts.lock().unwrap();
                    attempts.push((request, announced));
                    Ok::<_, BoxError>(if attempts.len() == 1 { refused("first") } else { ok("second") })
                }
            }
        });
        let request = unusual(&fake);
        let before = Seen::of(&request);
        let client = NeonomicsAuthLayer::new(provider.clone()).buffer_body(100).layer(api);
        let response = client.oneshot(request.map(|body| Full::new(Bytes::from(body)))).await.unwrap();
        assert_eq!(told(&response), Some(Told { waited, ..Told::replayed() }));

        let attempts = attempts.lock().unwrap();
        let [(first, first_size), (second, second_size)] = &attempts[..] else { panic!("two attempts") };
        assert_ne!(authorization(first), authorization(second));
        assert_eq!(Seen::of(first), before.clone().stamped(authorization(first)));
        assert_eq!(Seen::of(second), before.stamped(authorization(second)));
        // Of this the client makes `content-length`.
        assert_eq!((*first_size, *second_size), (Some(8), Some(8)));
    }
}

// Wrapped for the inner service

// lesson 23
#[tokio::test(start_paused = true)]
async fn c10_wrapped_the_second_attempt_carries_the_whole_body_too() {
    for taken in 0..=5 {
        let mut scene = Scene::wrapping(SIZE).await;
        let (mut response, mut sent, respond) = scene.sending(upload()).await;
        take(sent.body_mut(), taken).await;
        drop(sent);
        respond.send_response(refused("first"));
        let (sent, respond) = scene.resent(&mut response).await;
        assert_whole(sent.into_body()).await;
        respond.send_response(ok("second"));
        assert_eq!(told(&assert_ready!(response.poll()).unwrap()), Some(Told::replayed()));
    }
}

#[tokio::test(start_paused = true)]
async fn c12_each_attempt_is_wrapped_once() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let wrapped = Arc::new(AtomicUsize::new(0));
    let wrap = {
        let wrapped = Arc::clone(&wrapped);
        move |body: ReplayBody<Upload>| {
            wrapped.fetch_add(1, Ordering::Relaxed);
            body.boxed_unsync()
        }
    };
    let client = NeonomicsAuthLayer::new(provider).buffer_body_with(SIZE, wrap).layer(fake.clone());
    let answer = async |request: Request<Upload>| {
        let response: Response<_> = client.clone().oneshot(request).await.unwrap();
        (response.status().as_u16(), wrapped.swap(0, Ordering::Relaxed))
    };

    assert_eq!(answer(echo(&fake, upload())).await, (200, 1));
    // Refused, and sent again.
    fake.refuse_requests(1);
    assert_eq!(answer(echo(&fake, upload())).await, (200, 2));
    // Not to be sent again, and not to carry the token.
    fake.refuse_requests(1);
    let mut once = echo(&fake, upload());
    once.extensions_mut().insert(NoReplay);
    assert_eq!(answer(once).await, (401, 1));
    let mut authorized = echo(&fake, upload());
    authorized.headers_mut().insert("authorization", "Bearer foreign".parse().unwrap());
    assert_eq!(answer(authorized).await, (401, 1));
}
