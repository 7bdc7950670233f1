//! What is compared: requests and answers as they are on the wire, and what the layer says of them.

use std::task::Poll;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AuthOutcome, PassReason, TokenProvider};
use tower_test::mock::{Handle, SendResponse};

/// An extension of the caller's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Marker(pub(crate) u32);

/// All of a request that an inner service can see, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: String,
    pub(crate) version: Version,
    pub(crate) headers: Vec<Header>,
    pub(crate) extensions: usize,
    pub(crate) marker: Option<Marker>,
    pub(crate) body: String,
}

/// Name, value, and whether the value is marked sensitive.
pub(crate) type Header = (String, Vec<u8>, bool);

impl Seen {
    pub(crate) fn of(request: &Request<String>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().to_string(),
            version: request.version(),
            headers: headers(request.headers()),
            extensions: request.extensions().len(),
            marker: request.extensions().get().copied(),
            body: request.body().clone(),
        }
    }

    /// The same with the token at the end of the headers, marked sensitive.
    pub(crate) fn stamped(mut self, authorization: &HeaderValue) -> Self {
        self.headers.push((AUTHORIZATION.to_string(), authorization.as_bytes().to_vec(), true));
        self
    }
}

/// Every header in its order.
pub(crate) fn headers(headers: &HeaderMap) -> Vec<Header> {
    headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec(), value.is_sensitive())).collect()
}

/// A request that has of everything what is unusual.
pub(crate) fn unusual(fake: &FakeNeonomics) -> Request<String> {
    let mut device = HeaderValue::from_static("a-device");
    device.set_sensitive(true);
    Request::builder()
        .method("BREW")
        .uri(format!("{}/ics/v3/b%C3%A4nks;a=1?q=%20&q=2", fake.origin()))
        .version(Version::HTTP_10)
        .header("accept", "text/html")
        .header("x-device-id", device)
        .header("x-empty", "")
        .header("accept", "application/json")
        .header("x-bytes", HeaderValue::from_bytes(b"\xfc").unwrap())
        .header("proxy-authorization", "Basic cHJveHk=")
        .header("accept", "*/*")
        .extension(Marker(7))
        .body("the body".to_owned())
        .unwrap()
}

/// A request to the API of `fake`, which sends the body back.
pub(crate) fn echo<B>(fake: &FakeNeonomics, body: B) -> Request<B> {
    Request::post(format!("{}/echo", fake.origin())).body(body).unwrap()
}

/// The only `authorization` of a request.
pub(crate) fn authorization<B>(request: &Request<B>) -> &HeaderValue {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let value = values.next().expect("a token");
    assert!(values.next().is_none(), "one authorization only");
    assert!(value.is_sensitive());
    value
}

/// What surely comes, with paused time. What does not come fails the test instead of holding it up: time runs ahead
/// as soon as there is nothing left to do.
pub(crate) async fn in_time<F: Future>(awaited: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(24 * 3600), awaited).await.expect("nothing comes any more")
}

/// The next request that reaches the service.
pub(crate) async fn next_request<B, RB>(
    api: &mut Handle<Request<B>, Response<RB>>,
) -> (Request<B>, SendResponse<Response<RB>>) {
    in_time(api.next_request()).await.expect("a client")
}

/// No request has reached the service, whether its last client is gone or not.
#[track_caller]
pub(crate) fn assert_nothing_sent<B, RB>(api: &mut Handle<Request<B>, Response<RB>>) {
    assert!(!matches!(api.poll_request(), Poll::Ready(Some(_))), "sent");
}

/// What the layer says of an answer; none if all went as usual.
pub(crate) fn told<B>(response: &Response<B>) -> Option<Told> {
    let outcome = response.extensions().get::<AuthOutcome>()?;
    Some(Told {
        replayed: outcome.replayed(),
        waited: outcome.waited(),
        passed: outcome.passed_without_token(),
        renewal_error: outcome.renewal_error().map(ToString::to_string),
    })
}

/// An `AuthOutcome` that can be compared.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) replayed: bool,
    pub(crate) waited: bool,
    pub(crate) passed: Option<PassReason>,
    pub(crate) renewal_error: Option<String>,
}

impl Told {
    pub(crate) fn replayed() -> Self {
        Self { replayed: true, ..Self::default() }
    }

    pub(crate) fn passed(reason: PassReason) -> Self {
        Self { passed: Some(reason), ..Self::default() }
    }
}

/// Forced renewals so far: those that succeeded, those that failed.
pub(crate) fn forced(provider: &TokenProvider) -> (u64, u64) {
    let forced = provider.status().renewals.forced;
    (forced.succeeded, forced.failed)
}
