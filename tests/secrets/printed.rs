//! Every public value that can be printed, with canaries inside.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{
    AuthOutcome, BoxError, Credentials, NeonomicsAuth, NeonomicsAuthLayer, ReplayBody, TokenProvider, TokenState,
};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::canary::{ACCESS, REFRESH, SECRET, assert_silent, printed};
use crate::process;
use crate::server::{API, ID, Server, Turn, environment, refusal, token};

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_credentials_and_no_builder_show_a_secret() {
    let fixed = Credentials::new(ID, SECRET);
    assert_eq!(format!("{fixed:?}"), r#"Credentials { id: "the-client-id", secret: [redacted] }"#);
    let closure = Credentials::from_fn(ID, || async { Ok::<_, io::Error>(SECRET) });
    assert_eq!(format!("{closure:?}"), r#"Credentials { id: "the-client-id", secret: [a closure] }"#);
    assert_silent("credentials", &printed(&(fixed, &closure)));

    let builder = Server::default().builder().runtime(tokio::runtime::Handle::current());
    assert_silent("the builder", &printed(&builder));
    assert_silent("the builder with a closure", &printed(&Server::default().builder_with(closure)));
    assert_silent("the environment", &printed(&environment()));
}

// lesson 20
#[test]
fn e1_no_credentials_from_the_environment_show_a_secret() {
    for variable in ["NEONOMICS_CLIENT_SECRET", "NEONOMICS_CLIENT_SECRET_FILE"] {
        let variables = [("NEONOMICS_CLIENT_ID", ID), (variable, SECRET)];
        process::run("printed::in_a_process_credentials_are_printed", &variables);
    }
}

#[test]
#[ignore = "run by another test, in a process with the variables that it needs"]
fn in_a_process_credentials_are_printed() {
    assert_silent("credentials from the environment", &printed(&Credentials::from_env().unwrap()));
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_provider_and_no_token_show_a_secret_at_any_time() {
    let server = Server::default();
    let provider = server.provider();
    assert_eq!(provider.status().state, TokenState::None);
    assert_provider_is_silent("before", &provider);

    let first = provider.token().await.unwrap();
    assert_eq!(first.secret(), format!("{ACCESS}1"), "the control");
    assert_provider_is_silent("with a token", &provider);
    assert_silent("the token", &printed(&first));
    assert_silent("its header value", &printed(first.authorization()));

    // After a refresh, and after one that failed.
    let second = provider.renew(&first).await.unwrap();
    assert!(server.forms()[1].contains(&format!("refresh_token={REFRESH}1")), "the control");
    assert_provider_is_silent("with another token", &provider);
    server.next([refusal(400, "some_error", SECRET), refusal(400, "some_error", SECRET)]);
    provider.renew(&second).await.unwrap_err();
    assert!(provider.status().last_error.is_some());
    assert_provider_is_silent("after a failure", &provider);

    provider.end_session().await.unwrap();
    assert_eq!(provider.status().state, TokenState::Ended);
    assert_provider_is_silent("after the end", &provider);

    let fixed = TokenProvider::fixed(environment(), ACCESS).unwrap();
    assert_provider_is_silent("a fixed token", &fixed);
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_future_of_the_layer_shows_a_secret_in_any_state() {
    let server = Server::default();
    let provider = server.provider();
    let mut client = NeonomicsAuth::new(Api::refusing(3), provider);
    let mut cx = Context::from_waker(Waker::noop());
    let mut seen = Vec::new();

    // Waiting for the first token; then refused twice.
    let mut future = client.ready().await.unwrap().call(request());
    assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
    seen.push(printed(&future));
    let answer = future.await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);

    // Sent; then, refused, waiting for a renewal that fails.
    server.next([refusal(400, "some_error", SECRET)]);
    let mut future = client.ready().await.unwrap().call(request());
    seen.push(printed(&future));
    assert!(Pin::new(&mut future).poll(&mut cx).is_pending());
    seen.push(printed(&future));
    let answer = future.await;
    seen.push(printed(&answer));

    // Passed on.
    let mut elsewhere = request();
    *elsewhere.uri_mut() = Uri::from_static("https://elsewhere.example/");
    seen.push(printed(&client.ready().await.unwrap().call(elsewhere)));
    seen.push(printed(&client));
    for text in seen {
        assert_silent("the future", &text);
    }
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_a_session_that_is_named_after_secrets_is_not_shown_so() {
    let server = Server::default();
    for shown in [SECRET.to_owned(), format!("{ACCESS}1"), format!("{REFRESH}1")] {
        let mut answer = token(1);
        answer["session_state"] = format!("session {shown}").into();
        server.next([Turn::Answer(200, answer.to_string())]);
        let provider = server.provider();
        provider.token().await.unwrap();
        assert_eq!(provider.status().session_id.as_deref(), Some("session "));
        assert_silent("the status", &printed(&provider.status()));
    }
}

/// Redacted is not empty.
#[tokio::test(start_paused = true)]
async fn e1_what_is_printed_instead_of_secrets_says_what_it_is() {
    let server = Server::default();
    let provider = server.provider();
    let token = provider.token().await.unwrap();
    assert_eq!(format!("{token:?}"), "AccessToken { generation: 1, expires_in: 3600s, .. }");
    let known = "TokenProvider { environment: Environment { token_endpoint: https://id.example.com/";
    assert!(format!("{provider:?}").starts_with(known), "{provider:?}");
    let future = NeonomicsAuth::new(Api::refusing(0), provider).call(request());
    assert_eq!(format!("{future:?}"), "ResponseFuture { .. }");
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_neither_a_stamped_request_nor_its_answer_shows_a_token() {
    let server = Server::default();
    let provider = server.provider();
    let api = Api::refusing(1);
    let layer = NeonomicsAuthLayer::new(provider.clone());
    assert_silent("the layer", &printed(&layer));
    assert_silent("the layer without retry", &printed(&layer.clone().without_retry().rejected_when(|_| false)));
    assert_silent("the layer that records", &printed(&layer.clone().buffer_body(100)));
    let wrapping = layer.clone().buffer_body_with(100, std::convert::identity::<ReplayBody<Full<Bytes>>>);
    assert_silent("the layer that records and wraps", &printed(&wrapping));

    // Refused, and the renewal fails: the answer says why.
    provider.token().await.unwrap();
    server.next([refusal(400, "some_error", SECRET), refusal(400, "some_error", SECRET)]);
    let response = layer.layer(api.clone()).oneshot(request()).await.unwrap();
    let outcome: &AuthOutcome = response.extensions().get().unwrap();
    assert!(outcome.renewal_error().is_some());
    assert_silent("the outcome", &printed(outcome));
    assert_silent("the answer", &printed(&response));
    assert_silent("its extensions", &printed(response.extensions()));

    // What a layer below ours could print of the request.
    let seen = api.seen.lock().unwrap();
    let [request] = &seen[..] else { panic!("one request") };
    assert_eq!(request.headers()[AUTHORIZATION], format!("Bearer {ACCESS}1"), "the control");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());
    assert_silent("the headers", &printed(request.headers()));
    assert_silent("the request", &printed(request));
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_no_recorded_body_is_shown() {
    let server = Server::default();
    let provider = server.provider();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let api = service_fn({
        let seen = Arc::clone(&seen);
        move |mut request: Request<ReplayBody<Full<Bytes>>>| {
            let seen = Arc::clone(&seen);
            async move {
                let before = printed(&request);
                let body = request.body_mut().collect().await?.to_bytes();
                assert_eq!(body, SECRET, "the control");
                let mut seen = seen.lock().unwrap();
                seen.extend([before, printed(&request)]);
                let mut response = Response::new(());
                if seen.len() == 2 {
                    *response.status_mut() = StatusCode::UNAUTHORIZED;
                }
                Ok::<_, BoxError>(response)
            }
        }
    });
    let layer = NeonomicsAuthLayer::new(provider).buffer_body(100);
    let request = request().map(|_| Full::new(Bytes::from_static(SECRET.as_bytes())));
    layer.layer(api).oneshot(request).await.unwrap();

    // Before and after the first attempt, before and after the second.
    let seen = seen.lock().unwrap();
    let states = ["Recorded", "Over", "Played", "Played"];
    assert_eq!(seen.len(), states.len());
    for (text, state) in seen.iter().zip(states) {
        assert!(text.contains(&format!("ReplayBody({state})")), "{text}");
        assert_silent("the request", text);
    }
    // The modes say what they are.
    let layer = format!("{layer:?}");
    assert!(layer.contains("replay: BufferBody { limit: 100 }"), "{layer}");
    let wrapping = NeonomicsAuthLayer::new(server.provider()).buffer_body_with(7, ReplayBody::<Full<Bytes>>::boxed);
    let wrapping = format!("{wrapping:?}");
    assert!(wrapping.contains("replay: BufferBodyWith { limit: 7, .. }"), "{wrapping}");
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e1_the_fake_shows_no_secret_of_its_own() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    provider.renew(&first).await.unwrap();
    fake.refuse_requests(1);
    let mut future = fake.clone().call(Request::new(Full::<Bytes>::default()));
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(fake.clone());
    let get = Request::get(format!("{}/echo", fake.origin())).body(Full::<Bytes>::default()).unwrap();
    let answer = client.oneshot(get).await.unwrap();
    provider.end_session().await.unwrap();
    let gate = fake.hold_requests();

    // What there is to be shown: the secret, and all tokens that went over the wire.
    let requests = fake.requests();
    let mut secrets = vec![fake.client_secret()];
    for request in &requests {
        secrets.extend(request.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap()[7..].to_owned()));
        let form = form_urlencoded::parse(&request.body);
        secrets.extend(form.filter(|(name, _)| name == "refresh_token").map(|(_, token)| token.into_owned()));
    }
    assert_eq!(
        secrets.len(),
        1 + 2 + 3,
        "the secret, the token twice at the API, three exchanges with a refresh token"
    );

    let printed = [
        printed(&fake),
        printed(&fake.credentials()),
        printed(&provider),
        printed(&requests),
        printed(&fake.counts()),
        printed(&fake.expect()),
        printed(&gate),
        printed(&future),
        printed(&answer),
        fake.transcript(),
    ];
    assert!(printed[9].contains("access 2"), "the transcript has names for the tokens: {}", printed[9]);
    for text in printed {
        for secret in &secrets {
            assert!(!text.contains(secret.trim_start_matches("fake-")), "{secret}: {text}");
        }
    }
    // Not polled: it is only there to be printed.
    assert!(Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[track_caller]
fn assert_provider_is_silent(when: &str, provider: &TokenProvider) {
    assert_silent(when, &printed(provider));
    assert_silent(when, &printed(&provider.status()));
    assert_silent(when, &printed(&provider.cached()));
    let layer = NeonomicsAuthLayer::new(provider.clone());
    assert_silent(when, &printed(&layer));
    assert_silent(when, &printed(&layer.layer(Api::refusing(0))));
    assert_silent(when, &printed(&layer.without_retry().layer(Api::refusing(0))));
}

fn request() -> Request<Full<Bytes>> {
    Request::get(format!("{API}/accounts")).body(Full::default()).unwrap()
}

/// An API that refuses the first requests and keeps all of them. Its `Debug` is not under test.
#[derive(Clone)]
struct Api {
    refusals: Arc<Mutex<usize>>,
    seen: Arc<Mutex<Vec<Request<Full<Bytes>>>>>,
}

impl Api {
    fn refusing(refusals: usize) -> Self {
        Self { refusals: Arc::new(Mutex::new(refusals)), seen: Arc::default() }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Service<Request<Full<Bytes>>> for Api {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.seen.lock().unwrap().push(request);
        let mut response = Response::new(());
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        ready(Ok(response))
    }
}
