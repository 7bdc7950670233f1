//! What is on the wire, byte by byte.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Environment, NeonomicsAuthLayer, TokenProvider};
use tower::{Layer, ServiceExt};

use crate::servers::RawServer;
use crate::{clients, unless_it_hangs};

const REFUSAL: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

// lessons 25, 26
#[tokio::test]
async fn c12_the_bytes_of_the_second_attempt_differ_in_the_authorization_line_alone() {
    let (api, provider) = api_with_answers([REFUSAL, OK]).await;
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());
    let mut secret = HeaderValue::from_static("of the caller");
    secret.set_sensitive(true);
    // Repeated names, apart from one another, an empty value and bytes beyond ASCII.
    let request = Request::builder()
        .method(Method::from_bytes(b"PROPPATCH").unwrap())
        .uri(format!("{}/ics/v3/%C3%BC//x?b=2&a=1&a", api.origin()))
        .header("x-device-id", "a-device")
        .header("x-repeated", "second")
        .header("x-secret", secret)
        .header("accept", "application/json")
        .header("x-repeated", "first")
        .header("x-empty", "")
        .header("x-bytes", HeaderValue::from_bytes(b"caf\xe9").unwrap())
        .body(Full::new(Bytes::from_static(b"\x00one\r\n\r\ntwo\xff")))
        .unwrap();

    let response = unless_it_hangs(client.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");

    let received = api.received();
    let [first, second] = received.as_slice() else { panic!("{} attempts", received.len()) };
    // One line is the token's: the first one's, then the second one's. All else is the same, in the same order.
    let (first_lines, first_token) = without_authorization(first);
    let (second_lines, second_token) = without_authorization(second);
    assert_eq!(first_lines, second_lines);
    assert_ne!(first_token, second_token);
    assert_eq!(second_token, provider.cached().unwrap().authorization().as_bytes());
    // And it is what the caller sent.
    assert!(first.starts_with(b"PROPPATCH /ics/v3/%C3%BC//x?b=2&a=1&a HTTP/1.1\r\n"));
    assert!(first.ends_with(b"\r\n\r\n\x00one\r\n\r\ntwo\xff"));
}

#[tokio::test]
async fn b1_a_request_gets_one_authorization_line_and_nothing_else() {
    // The same request, once through the layer and once without it.
    let (api, provider) = api_with_answers([OK, OK]).await;
    let token = provider.token().await.unwrap();
    let request = Request::get(format!("{}/ics/v3/banks", api.origin()))
        .header("x-device-id", "a-device")
        .body(Full::<Bytes>::default())
        .unwrap();
    let stamped = NeonomicsAuthLayer::new(provider).layer(clients::http1()).oneshot(request.clone());
    unless_it_hangs(stamped).await.unwrap();
    unless_it_hangs(clients::http1().oneshot(request)).await.unwrap();

    let received = api.received();
    let [stamped, plain] = received.as_slice() else { panic!("{} requests", received.len()) };
    let (lines, value) = without_authorization(stamped);
    assert_eq!(lines.concat(), *plain);
    assert_eq!(value, token.authorization().as_bytes());
}

/// An API that answers so, and a provider for it whose tokens come from a fake in process.
async fn api_with_answers<const N: usize>(answers: [&str; N]) -> (RawServer, TokenProvider) {
    let api = RawServer::listen(answers).await;
    let fake = FakeNeonomics::new();
    let realm = format!("{}/auth/realms/sandbox", fake.origin());
    let environment = Environment::realm(realm, api.origin()).unwrap();
    let provider = TokenProvider::builder(environment, fake.credentials()).transport(fake).build().unwrap();
    (api, provider)
}

/// The lines of a request but for the one of the token, and the value in that one.
fn without_authorization(request: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let name = b"authorization: ";
    let (mine, others): (Vec<_>, Vec<_>) =
        request.split_inclusive(|byte| *byte == b'\n').partition(|line| line.starts_with(name));
    let [line] = mine.as_slice() else { panic!("{} authorization lines", mine.len()) };
    (others, line[name.len()..].strip_suffix(b"\r\n").unwrap())
}
