//! The token and the logout endpoint: forms in, OAuth JSON out, as recorded from Keycloak 26.7.3.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::endpoint::{Answer, json_response};
use super::form::{self, BadEscape, Form};
use super::realm::{self, Client, Grant, Realm};
use super::record::RecordedRequest;

/// What the vendor's page shows on a refresh and "every real version sends … on the first grant
/// too".
const SCOPE: &str = "banqbridge_client";

/// The realm and the endpoint in the path of an exchange.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let (realm, endpoint) = path.strip_prefix("/auth/realms/")?.split_once("/protocol/openid-connect/")?;
    matches!(endpoint, "token" | "logout").then_some((realm, endpoint))
}

pub(super) fn token(realm: &mut Realm, request: &RecordedRequest, now: u64) -> Answer {
    let mut answer = match grant(realm, request, now) {
        Ok(grant) => success(&grant),
        Err(refusal) => refusal.answer(),
    };
    let status = answer.response.status();
    // "Cache-Control `no-store` on successes and OAuth errors", which 404, 405 and 500 are not.
    if matches!(status, StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) {
        let headers = answer.response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    }
    // "The token endpoint itself answers 510 for bad credentials"; "the error statuses become 510
    // and the JSON stays".
    if realm.settings.gateway && status != StatusCode::OK {
        *answer.response.status_mut() = StatusCode::NOT_EXTENDED;
    }
    answer
}

pub(super) fn logout(realm: &mut Realm, request: &RecordedRequest) -> Answer {
    match end_session(realm, request) {
        Ok(mut answer) => {
            answer.response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            answer
        }
        Err(refusal) => refusal.answer(),
    }
}

fn grant(realm: &mut Realm, request: &RecordedRequest, now: u64) -> Result<Grant, Refusal> {
    check_realm(request)?;
    // "GET: 405 with a sentence in `error`".
    if request.method != Method::POST {
        return Err(METHOD_NOT_ALLOWED);
    }
    let form = Form::of(request)?;
    // The order is Keycloak's: the grant, then the client, then the rest of the form.
    let grant_type =
        form.get("grant_type").ok_or_else(|| INVALID_REQUEST.because("Missing form parameter: grant_type"))?;
    if !matches!(grant_type, "client_credentials" | "refresh_token") {
        return Err(UNSUPPORTED_GRANT_TYPE.because("Unsupported grant_type"));
    }
    authenticate(&realm.client, &form, request)?;
    if form.repeats_a_parameter() {
        return Err(INVALID_REQUEST.because("duplicated parameter"));
    }
    if grant_type == "client_credentials" {
        check_scope(&form)?;
        return Ok(realm.client_credentials(now));
    }
    let refresh_token = form.get("refresh_token").ok_or_else(|| INVALID_REQUEST.because("No refresh token"))?;
    check_scope(&form)?;
    realm.refresh(refresh_token, now).map_err(|description| INVALID_GRANT.because(description))
}

/// "204 and empty for a live, used, expired, superseded or already ended token"; "Garbage or
/// foreign: 400 `invalid_grant`. Refused client: 401."
fn end_session(realm: &mut Realm, request: &RecordedRequest) -> Result<Answer, Refusal> {
    check_realm(request)?;
    let form = match request.method {
        Method::POST => Form::of(request)?,
        // "So is a GET, whatever its query says": a browser comes that way.
        Method::GET | Method::HEAD => Form::empty(),
        _ => return Err(METHOD_NOT_ALLOWED),
    };
    // "Without a refresh token: 200 and an HTML page, nothing ended"; the client is not asked for.
    let Some(refresh_token) = form.get("refresh_token") else {
        let page = "<!DOCTYPE html>\n<html><body>Do you want to log out?</body></html>\n";
        let mut response = Response::new(Bytes::from_static(page.as_bytes()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html;charset=utf-8"));
        return Ok(Answer { response, remark: "nothing ended".to_owned() });
    };
    authenticate(&realm.client, &form, request)?;
    realm.logout(refresh_token).map_err(|description| INVALID_GRANT.because(description))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(Answer { response, remark: "session ended".to_owned() })
}

/// "unknown realm: 404 `Realm does not exist`".
fn check_realm(request: &RecordedRequest) -> Result<(), Refusal> {
    match split(request.uri.path()) {
        Some((realm::NAME, _)) => Ok(()),
        _ => Err(UNKNOWN_REALM),
    }
}

/// "wrong, missing or empty secret … 401 `unauthorized_client`; unknown or disabled client; no
/// `client_id`: 401 `invalid_client`"; "Basic and form together: the form alone counts".
fn authenticate(client: &Client, form: &Form, request: &RecordedRequest) -> Result<(), Refusal> {
    let malformed = |BadEscape| MALFORMED_BASIC.because("Unexpected error when authenticating client");
    let (basic_id, basic_secret) = form::basic(&request.headers).map_err(malformed)?.unzip();
    let id = form.get("client_id").or(basic_id.as_deref());
    let secret = form.get("client_secret").or(basic_secret.as_deref());
    if id != Some(&client.id) || !client.enabled {
        return Err(INVALID_CLIENT.because(BAD_CREDENTIALS));
    }
    if secret != Some(&client.secret) {
        return Err(UNAUTHORIZED_CLIENT.because(BAD_CREDENTIALS));
    }
    Ok(())
}

/// "unknown or empty … scope: 400 … `invalid_scope`"; on a refresh: "A wider scope: 400 `invalid_scope`".
fn check_scope(form: &Form) -> Result<(), Refusal> {
    match form.get("scope") {
        Some(scope) if scope.split(' ').any(|scope| scope != SCOPE) => {
            Err(INVALID_SCOPE.because(format!("Invalid scopes: {scope}")))
        }
        _ => Ok(()),
    }
}

/// `token_type` is "`Bearer`, or `bearer` by an option of the client"; the vendor's page has the
/// latter.
fn success(grant: &Grant) -> Answer {
    let mut members = json!({
        "access_token": grant.access_token,
        "expires_in": grant.expires_in,
        "refresh_expires_in": grant.refresh_expires_in,
        "token_type": "bearer",
        "not-before-policy": grant.not_before,
        "scope": SCOPE,
    });
    if let Some(refresh_token) = &grant.refresh_token {
        members["refresh_token"] = refresh_token.as_str().into();
    }
    if let Some(session_state) = &grant.session_state {
        members["session_state"] = session_state.as_str().into();
    }
    Answer { response: json_response(StatusCode::OK, &members), remark: grant.label.clone() }
}

/// An OAuth error. "So `error` can hold a sentence or `unknown_error`."
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: Option<String>,
}

const UNKNOWN_REALM: Refusal = Refusal::new(StatusCode::NOT_FOUND, "Realm does not exist");
const METHOD_NOT_ALLOWED: Refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "HTTP 405 Method Not Allowed");
const INVALID_REQUEST: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_request");
const INVALID_GRANT: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_grant");
const INVALID_SCOPE: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_scope");
const UNSUPPORTED_GRANT_TYPE: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "unsupported_grant_type");
const INVALID_CLIENT: Refusal = Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client");
const UNAUTHORIZED_CLIENT: Refusal = Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized_client");
/// "Basic, malformed: 400 `unauthorized_client`".
const MALFORMED_BASIC: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "unauthorized_client");
/// "bad percent-encoding in the form: **500 `{"error":"unknown_error"}`**".
const UNKNOWN_ERROR: Refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "unknown_error");

const BAD_CREDENTIALS: &str = "Invalid client or Invalid client credentials";

impl Refusal {
    const fn new(status: StatusCode, error: &'static str) -> Self {
        Self { status, error, description: None }
    }

    fn because(self, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    fn answer(self) -> Answer {
        let mut members = json!({ "error": self.error });
        let mut remark = self.error.to_owned();
        if let Some(description) = self.description {
            remark = format!("{remark}: {description}");
            members["error_description"] = description.into();
        }
        Answer { response: json_response(self.status, &members), remark }
    }
}

impl From<BadEscape> for Refusal {
    fn from(BadEscape: BadEscape) -> Self {
        UNKNOWN_ERROR.because("For more on this error consult the server log.")
    }
}
