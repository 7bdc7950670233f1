//! What is kept of a request: all of it for the second attempt, and not for longer than needed (C12, C14).

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuth, NeonomicsAuthLayer, NoReplay};
use tokio_test::task::spawn;
use tokio_test::{assert_pending, assert_ready};
use tower::{Layer, ServiceExt};
use tower_test::mock;

use crate::api::Api;
use crate::wire::{Seen, authorization, echo, next_request, unusual};

// lessons 25, 26
#[tokio::test(start_paused = true)]
async fn c12_the_second_attempt_differs_from_the_first_in_authorization_alone() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();

    // With the token at hand, and after waiting for it: the request is kept in either case.
    for waited in [true, false] {
        let api = Api::refusing_once();
        let request = unusual(&fake);
        let before = Seen::of(&request);
        let refused = provider.cached();
        assert_eq!(refused.is_none(), waited);
        NeonomicsAuth::new(api.clone(), provider.clone()).oneshot(request).await.unwrap();

        let attempts = api.take();
        assert_eq!(attempts.len(), 2);
        // Exactly one `authorization` each, sensitive both times; the second is the current token.
        let [first, second] = [0, 1].map(|index| authorization(&attempts[index]));
        assert_ne!(first, second);
        assert_eq!(second, provider.cached().unwrap().authorization());
        if let Some(refused) = refused {
            assert_eq!(first, refused.authorization());
        }
        // Everything else, in its order, is what the caller sent.
        assert_eq!(Seen::of(&attempts[0]), before.clone().stamped(first));
        assert_eq!(Seen::of(&attempts[1]), before.stamped(second));
    }
}

// lesson 25
#[tokio::test(start_paused = true)]
async fn c12_the_server_reads_one_authorization_on_each_attempt_and_the_body_twice() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    fake.revoke_all();

    // The fake takes a repeated `authorization` for a request that it does not know.
    let response = NeonomicsAuth::new(fake.clone(), provider).oneshot(echo(&fake, "body".to_owned())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    fake.expect().client_credentials(2).refresh(1).requests(2).unauthorized(1);
    let requests = fake.requests();
    let attempts: Vec<_> = requests.iter().filter(|request| request.uri.path() == "/echo").collect();
    assert!(attempts.iter().all(|attempt| attempt.body == "body"));
    assert_eq!(attempts[0].headers.get_all(AUTHORIZATION).iter().count(), 1);
    assert_ne!(attempts[0].headers[AUTHORIZATION], attempts[1].headers[AUTHORIZATION]);
}

/// A body whose clones are counted: as many as there are references.
type Counted = Arc<()>;

#[tokio::test(start_paused = true)]
async fn c14_the_kept_copy_is_gone_before_an_answer_that_is_no_refusal_is_returned() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();

    for status in [200, 403, 510] {
        let (mock, mut api) = mock::pair::<Request<Counted>, Response<()>>();
        let body = Counted::default();
        let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, Arc::clone(&body))));
        assert_pending!(response.poll());
        // One here, one that was sent, one that is kept.
        let (sent, respond) = next_request(&mut api).await;
        assert_eq!(Arc::strong_count(&body), 3);

        // The future is alive still, what it kept is not: the caller may hold the answer for long.
        respond.send_response(Response::builder().status(status).body(()).unwrap());
        let answer = assert_ready!(response.poll()).unwrap();
        assert_eq!(Arc::strong_count(&body), 2);
        drop((answer, sent, response));
        assert_eq!(Arc::strong_count(&body), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn c14_the_kept_copy_is_gone_before_an_error_is_returned() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<Counted>, Response<()>>();
    let body = Counted::default();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, Arc::clone(&body))));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    assert_eq!(Arc::strong_count(&body), 3);

    respond.send_error("reset");
    assert_ready!(response.poll()).unwrap_err();
    assert_eq!(Arc::strong_count(&body), 2);
    drop(sent);
}

#[tokio::test(start_paused = true)]
async fn c14_the_second_attempt_takes_the_kept_copy_and_makes_no_other() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let token = provider.token().await.unwrap();
    let (mock, mut api) = mock::pair::<Request<Counted>, Response<()>>();
    let body = Counted::default();
    let mut response = spawn(NeonomicsAuth::new(mock, provider.clone()).oneshot(echo(&fake, Arc::clone(&body))));
    assert_pending!(response.poll());
    let (sent, respond) = next_request(&mut api).await;
    drop(sent);
    respond.send_response(Response::builder().status(401).body(()).unwrap());
    assert_pending!(response.poll());
    // While the token is renewed one copy is kept.
    assert_eq!(Arc::strong_count(&body), 2);
    provider.renew(&token).await.unwrap();
    assert_pending!(response.poll());
    // It is what is sent now.
    let (sent, _respond) = next_request(&mut api).await;
    assert_eq!(Arc::strong_count(&body), 2);
    drop(sent);
    assert_eq!(Arc::strong_count(&body), 1);
}

#[tokio::test(start_paused = true)]
async fn c14_what_is_never_sent_twice_is_never_kept() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let layer = NeonomicsAuthLayer::new(provider);
    let body = Counted::default();
    let request = || echo(&fake, Arc::clone(&body));
    let (mock, mut api) = mock::pair::<Request<Counted>, Response<()>>();

    let (mut forbidden, mut authorized, mut elsewhere) = (request(), request(), request());
    forbidden.extensions_mut().insert(NoReplay);
    authorized.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic dXNlcjpwYXNz"));
    *elsewhere.uri_mut() = Uri::from_static("https://evil.example/");
    let mut left = 4;
    for request in [forbidden, authorized, elsewhere] {
        let mut response = spawn(layer.layer(mock.clone()).oneshot(request));
        assert_pending!(response.poll());
        let (sent, _respond) = next_request(&mut api).await;
        assert_eq!(Arc::strong_count(&body), left, "one here, one in each request: none is kept");
        drop(sent);
        left -= 1;
    }

    let mut response = spawn(layer.without_retry().layer(mock).oneshot(request()));
    assert_pending!(response.poll());
    let (_sent, _respond) = next_request(&mut api).await;
    assert_eq!(Arc::strong_count(&body), 2);
}
