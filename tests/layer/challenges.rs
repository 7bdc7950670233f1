//! Which answers refuse the token (C7, C8).

use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuth, NeonomicsAuthLayer};
use tokio_test::assert_ready;
use tokio_test::task::spawn;
use tower::{Layer, ServiceExt};

use crate::api::{Api, ok};
use crate::wire::{Told, echo, forced, in_time, told};

#[tokio::test(start_paused = true)]
async fn c7_a_401_is_a_refusal_unless_its_bearer_challenge_names_another_error() {
    let refusals: [&[&[u8]]; 17] = [
        &[],
        &[b""],
        // RFC 6750 3.1: no error at all, when the request seemed to bring no token.
        &[b"Bearer"],
        &[b"Bearer realm=\"sandbox\""],
        &[b"Bearer realm=\"sandbox\", error=\"invalid_token\""],
        &[b"Bearer realm=\"a, error=insufficient_scope\", error=\"invalid_token\""],
        &[b"Bearer error=invalid_token"],
        &[b"bearer ERROR=\"invalid_token\""],
        &[b"Bearer error=\"invalid\\_token\""],
        &[b"Bearer error=\"invalid_token\", error_description=\"insufficient_scope\""],
        &[b"Bearer error_description=\"insufficient_scope\""],
        // Without a Bearer challenge.
        &[b"Basic realm=\"gateway\""],
        &[b"Basic realm=\"gateway\", error=\"insufficient_scope\""],
        &[b"Negotiate dG9rZW4="],
        // Two schemes, in two lines and in one.
        &[b"Basic realm=\"gateway\"", b"Bearer error=\"invalid_token\""],
        &[b"Basic realm=\"gateway\", Bearer realm=\"sandbox\", error=\"invalid_token\""],
        // A line that cannot be read says nothing.
        &[b"\xfc"],
    ];
    for challenges in refusals {
        assert_refusal(&answer(StatusCode::UNAUTHORIZED, challenges)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c7_a_401_for_another_reason_than_the_token_is_no_refusal() {
    let others: [&[&[u8]]; 12] = [
        &[b"Bearer error=\"insufficient_scope\""],
        &[b"Bearer error=\"invalid_request\""],
        &[b"Bearer error=\"something_else\""],
        &[b"Bearer error=\"\""],
        &[b"Bearer error=insufficient_scope"],
        &[b"BEARER realm=\"sandbox\", Error=\"insufficient_scope\", scope=\"accounts\""],
        &[b"Bearer error=\"insufficient_scope\", error_description=\"invalid_token\""],
        &[b"Bearer error=\"INVALID_TOKEN\""],
        // The Bearer challenge comes second.
        &[b"Basic realm=\"gateway\", Bearer error=\"insufficient_scope\""],
        &[b"Basic realm=\"gateway\"", b"Bearer error=\"insufficient_scope\""],
        // Of two lines one cannot be read.
        &[b"Negotiate dG9rZW4=", b"Bearer error=\"insufficient_scope\""],
        &[b"Bearer error=\"insufficient_scope\"", b"\xfc"],
    ];
    for challenges in others {
        assert_no_refusal(&answer(StatusCode::UNAUTHORIZED, challenges)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c7_no_other_status_is_a_refusal() {
    for status in [200, 204, 302, 400, 402, 403, 404, 407, 429, 500, 501, 502, 503, 504, 510, 511, 520, 530, 599] {
        let mut answer = answer(StatusCode::from_u16(status).unwrap(), &[b"Bearer error=\"invalid_token\""]);
        // What a proxy asks for is not ours.
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        answer.headers_mut().insert(PROXY_AUTHENTICATE, challenge);
        assert_no_refusal(&answer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c8_status_16_in_the_headers_of_a_grpc_answer_is_a_refusal() {
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/GRPC",
        "application/grpc; charset=utf-8",
        "Application/gRPC-Web+proto",
    ] {
        assert_refusal(&grpc(200, Some(content_type), &["16"])).await;
    }
    // And so is a 401, whatever it says of itself: a gateway in front may answer so.
    assert_refusal(&grpc(401, Some("application/grpc"), &[])).await;
    assert_refusal(&grpc(401, Some("application/grpc"), &["7"])).await;
}

#[tokio::test(start_paused = true)]
async fn c8_no_other_grpc_answer_is_a_refusal() {
    // Another status, none (it comes in the trailers, if at all), one that is not written so, and two.
    let others: [&[&str]; 11] =
        [&["7"], &["0"], &[], &["016"], &["16 "], &["+16"], &[""], &["1"], &["16", "16"], &["16", "0"], &["0", "16"]];
    for statuses in others {
        assert_no_refusal(&grpc(200, Some("application/grpc"), statuses)).await;
    }
    // No gRPC.
    for content_type in
        ["text/html", "application/grp", "application/json", " application/grpc", "x-application/grpc", ""]
    {
        assert_no_refusal(&grpc(200, Some(content_type), &["16"])).await;
    }
    assert_no_refusal(&grpc(200, None, &["16"])).await;
    // Another status of HTTP.
    for status in [204, 400, 403, 500, 503] {
        assert_no_refusal(&grpc(status, Some("application/grpc"), &["16"])).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c8_without_retry_status_16_comes_back_at_once_and_one_renewal_starts_behind_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let first = provider.token().await.unwrap();
    let unauthenticated = grpc(200, Some("application/grpc"), &["16"]);
    let api = Api::answering({
        let answer = unauthenticated.clone();
        move |_| Ok(answer.clone())
    });
    let client = NeonomicsAuthLayer::new(provider.clone()).without_retry().layer(api.clone());
    let gate = fake.hold_exchanges();
    let response = assert_ready!(spawn(client.oneshot(echo(&fake, String::new()))).poll()).unwrap();
    assert_eq!(told(&response), None);
    assert_eq!(response.headers(), unauthenticated.headers());
    in_time(gate.arrived(1)).await;
    gate.open();
    assert_eq!(provider.renew(&first).await.unwrap().generation(), 2);
    assert_eq!((api.calls(), provider.status().refusals, forced(&provider)), (1, 1, (1, 0)));
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test(start_paused = true)]
async fn c8_a_predicate_of_the_callers_replaces_this_rule_too() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let unauthenticated = grpc(200, Some("application/grpc"), &["16"]);
    let api = Api::answering(move |_| Ok(unauthenticated.clone()));
    let layer = NeonomicsAuthLayer::new(provider.clone()).rejected_when(|head| head.status == StatusCode::UNAUTHORIZED);
    layer.layer(api.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!((api.calls(), provider.status().refusals, forced(&provider)), (1, 0, (0, 0)));
}

/// An answer that is nothing but its headers.
fn grpc(status: u16, content_type: Option<&str>, statuses: &[&str]) -> Response<String> {
    let mut answer = Response::builder().status(status).body("first".to_owned()).unwrap();
    if let Some(content_type) = content_type {
        answer.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
    }
    for status in statuses {
        answer.headers_mut().append("grpc-status", status.parse().unwrap());
    }
    answer
}

fn answer(status: StatusCode, challenges: &[&[u8]]) -> Response<String> {
    let mut answer = Response::builder().status(status).body("first".to_owned()).unwrap();
    for challenge in challenges {
        answer.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_bytes(challenge).unwrap());
    }
    answer
}

async fn assert_refusal(first: &Response<String>) {
    let (attempts, renewals, response) = answered(first).await;
    assert_eq!((attempts, renewals), (2, (1, 0)), "{first:?}");
    assert_eq!(told(&response), Some(Told::replayed()));
    assert_eq!(response.into_body(), "second");
}

async fn assert_no_refusal(first: &Response<String>) {
    let (attempts, renewals, response) = answered(first).await;
    assert_eq!((attempts, renewals), (1, (0, 0)), "{first:?}");
    assert_eq!(told(&response), None);
    assert_eq!(response.headers(), first.headers());
    assert_eq!((response.status(), response.into_body()), (first.status(), "first".to_owned()));
}

/// How many attempts and forced renewals there were when the API's first answer is this one. Each has a provider of
/// its own: ten renewals would use up the allowance of one.
async fn answered(first: &Response<String>) -> (usize, (u64, u64), Response<String>) {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let api = Api::answering({
        let first = first.clone();
        move |number| Ok(if number == 0 { first.clone() } else { ok("second") })
    });
    let response = NeonomicsAuth::new(api.clone(), provider.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
    // No refusal that was seen, and none behind the answer.
    let refusals = provider.status().refusals;
    assert_eq!(refusals, u64::from(api.calls() == 2));
    (api.calls(), forced(&provider), response)
}
