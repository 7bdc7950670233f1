//! Which answers refuse the token (C7).

use http::header::{PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use neonomics_auth::NeonomicsAuth;
use neonomics_auth::testing::FakeNeonomics;
use tower::ServiceExt;

use crate::api::{Api, ok};
use crate::wire::{Told, echo, forced, told};

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
