//! The wire: form out, JSON in, error codes. The only file with serde, and the only one that sends secrets.
//!
//! Knows what an answer means for one exchange, not what follows from it. No text of the server, and none of
//! `serde_json` (it quotes what it met), gets into an error unless it went through [`quotable`].

use std::num::IntErrorKind;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::Value;
use tower::ServiceExt;

use crate::environment::Environment;
use crate::error::Error;
use crate::secret::{self, Secret};
use crate::token::access_token::bearer;
use crate::token::clock;
use crate::token::renewal::{Class, Failed, Grant, Granted, LONGEST_LIFETIME, UNSTATED_LIFETIME};
use crate::transport::{TokenRequest, Transport};

/// Text of the server in our errors, in characters.
const LONGEST_QUOTE: usize = 256;

/// Token and logout endpoint of one client at one realm.
#[derive(Clone)]
pub(crate) struct Endpoint {
    token: Uri,
    logout: Uri,
    realm: String,
    client_id: String,
    transport: Transport,
}

/// A successful exchange.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) authorization: HeaderValue,
    /// `session_state`: opaque.
    pub(crate) session: Option<Box<str>>,
    pub(crate) granted: Granted,
}

/// A failed exchange: for the policy, and for the caller.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) failed: Failed,
    pub(crate) error: Error,
}

impl Endpoint {
    pub(crate) fn new(environment: &Environment, client_id: &str, transport: Transport) -> Self {
        Self {
            token: environment.token_endpoint().clone(),
            logout: environment.logout_endpoint().clone(),
            realm: environment.realm_name().to_owned(),
            client_id: client_id.to_owned(),
            transport,
        }
    }

    /// RFC 6749 §4.4.2, or §6 with a refresh token. Neither `secret` nor `tokens` get into an error.
    pub(crate) async fn exchange(
        &self,
        secret: &Secret,
        refresh_token: Option<&Secret>,
        tokens: &[&str],
    ) -> Result<Answer, Failure> {
        let (grant, form) = match refresh_token {
            Some(token) => {
                let form = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
                (Grant::RefreshToken, self.form(secret, &form))
            }
            None => (Grant::ClientCredentials, self.form(secret, &[("grant_type", "client_credentials")])),
        };
        match self.post(&self.token, form).await {
            Ok(answer) => self.read(grant, &answer, clock::wall(), &[&[secret.expose()], tokens].concat()),
            Err(error) => Err(Failure::from(error)),
        }
    }

    /// Keycloak's logout (OpenID Connect RP-Initiated Logout by the client itself): ends one session.
    pub(crate) async fn end(&self, secret: &Secret, refresh_token: &Secret) -> Result<(), Error> {
        let form = self.form(secret, &[("refresh_token", refresh_token.expose())]);
        let answer = self.post(&self.logout, form).await?;
        // Without a refresh token Keycloak answers with a page, and ends nothing.
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.as_bytes().get(..9));
        let is_page = content_type.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/html"));
        let code = Members::read(answer.body()).and_then(|mut members| text(&mut members.error));
        match answer.status() {
            StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            StatusCode::OK if !is_page => Ok(()),
            _ if code.as_deref() == Some("invalid_grant") => Ok(()),
            status => Err(Error::end_refused(status)),
        }
    }

    /// The form body of RFC 6749 §2.3.1, in a buffer that never grows and is wiped.
    fn form(&self, secret: &Secret, pairs: &[(&str, &str)]) -> Bytes {
        let credentials = [("client_id", self.client_id.as_str()), ("client_secret", secret.expose())];
        // In this order: an answer that quotes the form is cut at the id.
        let pairs = || credentials.iter().chain(pairs);
        // A byte of a value takes three at the most.
        let capacity = pairs().map(|(name, value)| name.len() + 3 * value.len() + "=&".len()).sum();
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(capacity));
        form.extend_pairs(pairs());
        secret::wiped_bytes(form.finish())
    }

    async fn post(&self, uri: &Uri, form: Bytes) -> Result<Response<Bytes>, Error> {
        let request = Request::post(uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .extension(TokenRequest)
            .body(Full::new(form))
            .map_err(|_| Error::configuration("the token endpoint's URL cannot be requested"))?;
        self.transport.clone().oneshot(request).await
    }

    /// What an answer to an exchange means.
    fn read(
        &self,
        grant: Grant,
        answer: &Response<Bytes>,
        now: SystemTime,
        secrets: &[&str],
    ) -> Result<Answer, Failure> {
        let mut members = Members::read(answer.body());
        let code = members.as_mut().and_then(|members| text(&mut members.error));
        let retry_after = retry_after(answer.headers(), now);
        let Some(class) = classify(grant, answer.status(), code.as_deref()) else {
            let answer = members.ok_or("it is not a JSON object").and_then(|members| members.into_answer(secrets));
            return answer.map_err(|what| Failure {
                failed: Failed { class: Class::Malformed, retry_after },
                error: Error::malformed(what),
            });
        };
        let quotable = |text: String| self.quotable(&text, secrets);
        let code = code.and_then(|code| if is_known(&code) { Some(code) } else { quotable(code) });
        let error = match class {
            Class::GrantRefused => Error::refresh_token_refused(answer.status(), code),
            Class::Transient => Error::unavailable(answer.status(), code),
            _ => {
                let description = members.and_then(|mut members| text(&mut members.error_description));
                Error::rejected(answer.status(), code, description.and_then(quotable), self.realm.clone())
            }
        };
        Err(Failure { failed: Failed { class, retry_after }, error })
    }

    fn quotable(&self, text: &str, secrets: &[&str]) -> Option<String> {
        quotable(text, secrets.iter().copied().chain([self.client_id.as_str()]))
    }
}

/// Neither a control character nor one that hides, reorders or breaks what is shown.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the predicate of a filter")]
fn is_shown(c: &char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text of the server: without control characters, cut to a length and where something of ours occurs in it.
fn quotable<'a>(text: &str, ours: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut text: String = text.chars().filter(is_shown).collect();
    for ours in ours {
        // As it is left without control characters, and as it was sent. A buffer that grew would leave copies behind.
        let mut plain = String::with_capacity(ours.len());
        plain.extend(ours.chars().filter(is_shown));
        let mut sent = String::with_capacity(3 * ours.len());
        sent.extend(form_urlencoded::byte_serialize(ours.as_bytes()));
        for ours in [plain, sent].map(Secret::from) {
            if let Some(at) = text.find(ours.expose()) {
                text.truncate(at);
            }
        }
    }
    // Shortened last: half a secret would not be found.
    let text: String = text.chars().take(LONGEST_QUOTE).collect();
    (!text.is_empty()).then_some(text)
}

impl Failure {
    pub(crate) fn transient(error: Error) -> Self {
        Self { failed: Failed { class: Class::Transient, retry_after: None }, error }
    }

    /// There was no client secret to send.
    pub(crate) fn not_sent(error: Error) -> Self {
        Self { failed: Failed { class: Class::NotSent, retry_after: None }, error }
    }
}

/// No answer, or none that could be read.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = if error.is_transient() { Class::Transient } else { Class::Malformed };
        Self { failed: Failed { class, retry_after: None }, error }
    }
}

/// Names of RFC 6749 §4.1.2.1 and §5.2: told as they are, since they are no text of the server's own.
fn is_known(code: &str) -> bool {
    matches!(
        code,
        "invalid_client" | "unauthorized_client" | "invalid_grant" | "temporarily_unavailable" | "server_error"
    )
}

/// The class of a failed exchange; none if it may have succeeded.
///
/// Known names decide, whatever the status: Neonomics answers 510 with the OAuth error beside it. Any other name, and
/// Keycloak puts whole sentences there, is decided by the status.
fn classify(grant: Grant, status: StatusCode, code: Option<&str>) -> Option<Class> {
    match code {
        Some("invalid_client" | "unauthorized_client") => Some(Class::Rejected),
        Some("invalid_grant") if grant == Grant::RefreshToken => Some(Class::GrantRefused),
        Some("temporarily_unavailable" | "server_error") => Some(Class::Transient),
        None if status.is_success() => None,
        _ => match status.as_u16() {
            // 409: Keycloak 24 and older, to two first grants of a client at once.
            408 | 409 | 425 | 429 | 500 | 502..=504 | 506..=509 | 511..=599 => Some(Class::Transient),
            // Nothing is said of the client: the other grant is another request.
            _ if grant == Grant::RefreshToken => Some(Class::GrantRefused),
            _ => Some(Class::Rejected),
        },
    }
}

/// RFC 9110 §10.2.3: seconds, or a date; a date in the past means now.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(Duration::MAX),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

/// The members that mean something; RFC 6749 §5.1 and §5.2. Others are ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    error: Option<Value>,
    error_description: Option<Value>,
    access_token: Token,
    token_type: Option<Value>,
    expires_in: Option<Value>,
    refresh_token: Token,
    refresh_expires_in: Option<Value>,
    session_state: Option<Value>,
}

/// A text that is not empty; from the moment it is read on it is wiped when it goes, also with an answer that is no use.
#[derive(Default, Deserialize)]
#[serde(from = "Value")]
struct Token(Option<Secret>);

impl From<Value> for Token {
    fn from(value: Value) -> Self {
        Self(text(&mut Some(value)).map(Secret::from))
    }
}

impl Members {
    fn read(body: &[u8]) -> Option<Self> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
        // A derived `Deserialize` takes an array for a struct.
        if !body.starts_with(b"{") {
            return None;
        }
        serde_json::from_slice(body).ok()
    }

    /// Neither `secrets` nor the tokens that it brings get into the name of the session, which is shown to operators.
    fn into_answer(mut self, secrets: &[&str]) -> Result<Answer, &'static str> {
        let token = self.access_token.0.ok_or("it has no access_token")?;
        let authorization = bearer(token.expose()).ok_or("its access_token cannot be sent in a header")?;
        match self.token_type {
            None => {}
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
            Some(_) => return Err("its token_type is not bearer"),
        }
        let expires_in = match self.expires_in {
            None => UNSTATED_LIFETIME,
            Some(value) => lifetime(&value).ok_or("its expires_in is not a positive number")?,
        };
        let refresh_token = self.refresh_token.0;
        let brought = [Some(&token), refresh_token.as_ref()].into_iter().flatten().map(Secret::expose);
        let session = text(&mut self.session_state)
            .and_then(|id| quotable(&id, secrets.iter().copied().chain(brought)))
            .map(String::into_boxed_str);
        let granted = Granted {
            expires_in,
            refresh_token,
            refresh_expires_in: self.refresh_expires_in.as_ref().and_then(lifetime),
        };
        Ok(Answer { authorization, session, granted })
    }
}

/// A member that is a text and not empty.
fn text(member: &mut Option<Value>) -> Option<String> {
    match member.take() {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Seconds as a number or as a numeric text, more than zero.
fn lifetime(member: &Value) -> Option<Duration> {
    let seconds = match member {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    // NaN is not more than zero; infinity is not a number of seconds.
    (seconds > 0.0 && seconds.is_finite()).then(|| Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME.as_secs_f64())))
}

#[cfg(test)]
mod tests;
