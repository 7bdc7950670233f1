//! The API: two of Neonomics' paths and an echo, each for a live bearer only.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::endpoint::{Answer, bearer, json_response};
use super::realm::{self, Realm};
use super::record::RecordedRequest;

pub(super) fn knows(method: &Method, path: &str) -> bool {
    match path {
        "/ics/v3/banks" => method == Method::GET,
        "/ics/v3/session" => method == Method::POST,
        _ => path == "/echo" || path.starts_with("/echo/"),
    }
}

pub(super) fn answer(realm: &Realm, request: &RecordedRequest, now: u64) -> Answer {
    let verdict = match bearer(&request.headers) {
        Some(token) => realm.verify(token, now).map_err(Some),
        None => Err(None),
    };
    if let Err(description) = verdict {
        return unauthorized(description);
    }
    let response = match request.uri.path() {
        // "API requests carry `x-device-id` (always)".
        path if path.starts_with("/ics/") && !request.headers.contains_key("x-device-id") => missing_device_id(now),
        "/ics/v3/banks" => banks(),
        "/ics/v3/session" => bank_session(),
        _ => echo(request),
    };
    Answer { response, remark: String::new() }
}

/// The answer to a request that was scripted to be refused, whatever its token.
pub(super) fn refusal() -> Response<Bytes> {
    unauthorized(Some("Token verification failed")).response
}

/// "401 with an empty body; missing token: `Bearer realm="…"` without `error`; expired, garbage,
/// revoked: `error="invalid_token"`".
fn unauthorized(description: Option<&'static str>) -> Answer {
    let realm = realm::NAME;
    let (challenge, remark) = match description {
        None => (format!("Bearer realm=\"{realm}\""), "no bearer"),
        Some(description) => (
            format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{description}\""),
            description,
        ),
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain;charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(WWW_AUTHENTICATE, challenge.parse().expect("a challenge is visible ASCII"));
    Answer { response, remark: remark.to_owned() }
}

/// "**510** client error … Body: `{id, errorCode (string), message, source, type, timestamp,
/// links[]}`". Which code a missing header has is not documented.
fn missing_device_id(now: u64) -> Response<Bytes> {
    let error = json!({
        "id": realm::invented("error", 16),
        "errorCode": "0",
        "message": "the header x-device-id is missing",
        "source": "FakeNeonomics",
        "type": "BAD_REQUEST",
        "timestamp": now * 1_000,
        "links": [],
    });
    json_response(StatusCode::NOT_EXTENDED, &error)
}

fn banks() -> Response<Bytes> {
    let bank = |country: &str, name: &str, id: &str| {
        json!({
            "id": id,
            "countryCode": country,
            "bankDisplayName": name,
            "bankOfficialName": name,
            "bankingGroupName": name,
            "bic": "FAKENOKKXXX",
            "personalIdentificationRequired": false,
            "supportedServices": ["accounts", "balances", "transactions"],
            "status": "AVAILABLE",
        })
    };
    let banks = [
        bank("NO", "Fake Sparebank", "ZmFrZS1zcGFyZWJhbms="),
        bank("SE", "Fake Bank", "ZmFrZS1iYW5r"),
        bank("FI", "Fake Pankki", "ZmFrZS1wYW5ra2k="),
    ];
    json_response(StatusCode::OK, &json!(banks))
}

/// The bank session, which is "business data, not the OAuth session".
fn bank_session() -> Response<Bytes> {
    json_response(StatusCode::CREATED, &json!({ "sessionId": realm::invented("bank-session", 16) }))
}

/// The body comes back as it came, and what was asked in three headers.
fn echo(request: &RecordedRequest) -> Response<Bytes> {
    let mut response = Response::new(request.body.clone());
    let headers = response.headers_mut();
    let path = HeaderValue::from_bytes(request.uri.path().as_bytes()).expect("a path has no control characters");
    headers.insert(HeaderName::from_static("x-echo-path"), path);
    let method = HeaderValue::from_str(request.method.as_str()).expect("a method is a token");
    headers.insert(HeaderName::from_static("x-echo-method"), method);
    headers.insert(HeaderName::from_static("x-echo-length"), request.body.len().into());
    if let Some(kind) = request.headers.get(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, kind.clone());
    }
    response
}
