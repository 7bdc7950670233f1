//! What a request asks for, and the pure step from a request to its answer.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::form::Form;
use super::realm::Realm;
use super::record::RecordedRequest;
use super::{api, authorization};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    ClientCredentials,
    Refresh,
    OtherGrant,
    Logout,
    Api,
    Unknown,
}

/// An answer, and what the transcript says of it.
pub(super) struct Answer {
    pub(super) response: Response<Bytes>,
    pub(super) remark: String,
}

impl Endpoint {
    /// More than one `Authorization` is unknown too: no client should send it, and none should get
    /// away with it.
    pub(super) fn of(request: &RecordedRequest) -> Self {
        let path = request.uri.path();
        if api::knows(&request.method, path) && !repeats_authorization(&request.headers) {
            return Self::Api;
        }
        match authorization::split(path) {
            Some((_, "token")) => {
                let form = Form::of(request).ok();
                match form.as_ref().and_then(|form| form.get("grant_type")) {
                    Some("client_credentials") => Self::ClientCredentials,
                    Some("refresh_token") => Self::Refresh,
                    _ => Self::OtherGrant,
                }
            }
            Some((_, "logout")) => Self::Logout,
            _ => Self::Unknown,
        }
    }

    pub(super) fn is_exchange(self) -> bool {
        !matches!(self, Self::Api | Self::Unknown)
    }
}

/// The whole server: the answer to a request that is judged at the second `now`.
pub(super) fn answer(realm: &mut Realm, request: &RecordedRequest, now: u64) -> Answer {
    match request.endpoint {
        Endpoint::Api => api::answer(realm, request, now),
        Endpoint::Unknown => unknown(request),
        Endpoint::Logout => authorization::logout(realm, request),
        Endpoint::ClientCredentials | Endpoint::Refresh | Endpoint::OtherGrant => {
            authorization::token(realm, request, now)
        }
    }
}

/// The name of the token that a request brings: the bearer at the API, else the refresh token in
/// the form.
pub(super) fn token_label(realm: &Realm, request: &RecordedRequest) -> String {
    let label = |token: &str| realm.label(token);
    if request.endpoint.is_exchange() {
        let form = Form::of(request).ok();
        form.as_ref().and_then(|form| form.get("refresh_token")).map(label).unwrap_or_default()
    } else {
        bearer(&request.headers).map(label).unwrap_or_default()
    }
}

/// The token of `Authorization: Bearer`, the scheme in any case; none for another scheme, and none
/// unless exactly one word follows after one space.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.contains(' ')).then_some(token)
}

pub(super) fn json_response(status: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = Response::new(value.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Loud on purpose: a real server would answer something here, and what that is, is not known.
fn unknown(request: &RecordedRequest) -> Answer {
    let reason = if repeats_authorization(&request.headers) { " with more than one `authorization`" } else { "" };
    let text = format!("FakeNeonomics does not know {} {}{reason}\n", request.method, request.uri.path());
    let mut response = Response::new(text.into());
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    Answer { response, remark: format!("unknown to FakeNeonomics{reason}") }
}

fn repeats_authorization(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().nth(1).is_some()
}
