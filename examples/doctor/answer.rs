//! One answer with what the crate hides: headers, body, and how far the server's clock is off.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};

use crate::quotes::Quotes;

/// In bytes; the crate reads no more from a token endpoint.
const LONGEST_BODY: usize = 256 * 1024;

/// The members of an error that are shown: OAuth's, then Neonomics'.
const SHOWN: [&str; 4] = ["error", "error_description", "type", "errorCode"];

/// An answer. Its headers are quotable as they are; its members hold tokens.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) milliseconds: u128,
    /// In seconds; none without a `Date`.
    pub(crate) clock_ahead: Option<f64>,
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<String>,
    location: Option<String>,
    content_type: Option<String>,
    bytes: usize,
    is_json: bool,
    members: Map<String, Value>,
}

impl Answer {
    /// Reads the body. The tokens in it are hidden from then on.
    pub(crate) async fn read(
        response: Response<reqwest::Body>,
        asked: SystemTime,
        quotes: &mut Quotes,
    ) -> Result<Self, String> {
        let answered = now();
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_BODY).collect().await.map_err(|error| quotes.failure(error))?.to_bytes();
        let json = serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body)).ok();
        let is_json = json.is_some();
        let members = if let Some(Value::Object(members)) = json { members } else { Map::new() };
        for name in ["access_token", "refresh_token", "id_token"] {
            if let Some(Value::String(token)) = members.get(name) {
                quotes.hide(token);
            }
        }
        let header = |name| quoted(&head.headers, &name, quotes);
        Ok(Self {
            status: head.status,
            version: head.version,
            milliseconds: answered.duration_since(asked).unwrap_or_default().as_millis(),
            clock_ahead: clock_ahead(&head.headers, asked, answered),
            challenge: header(WWW_AUTHENTICATE),
            retry_after: header(RETRY_AFTER),
            // A query is the user's.
            location: header(LOCATION).map(|url| url.split(['?', '#']).next().unwrap_or_default().to_owned()),
            content_type: header(CONTENT_TYPE),
            bytes: body.len(),
            is_json,
            members,
        })
    }

    /// A member that is a text and not empty, as it came.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A member that is a text, a number or a truth value, quotable.
    pub(crate) fn shown(&self, name: &str, quotes: &Quotes) -> Option<String> {
        match self.members.get(name)? {
            Value::String(text) => Some(quotes.quote(text)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
            value => Some(quotes.quote(&value.to_string())),
        }
    }

    /// A lifetime in seconds, as a number or a numeric text.
    pub(crate) fn seconds(&self, name: &str) -> Option<f64> {
        match self.members.get(name)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite()),
            _ => None,
        }
    }

    /// Keycloak answers 200 with a page where it has ended nothing.
    pub(crate) fn confirms_logout(&self) -> bool {
        let is_page = self.content_type.as_ref().is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
        self.status == StatusCode::NO_CONTENT || self.status == StatusCode::OK && !is_page
    }

    /// What the crate takes for the end of a session that was over already.
    pub(crate) fn says_it_was_over(&self) -> bool {
        self.status == StatusCode::NOT_FOUND || self.text("error") == Some("invalid_grant")
    }

    /// Status and OAuth error in short.
    pub(crate) fn outcome(&self, quotes: &Quotes) -> String {
        let error = self.text("error").map(|error| format!(" {}", quotes.quote(error)));
        format!("{}{}", self.status.as_u16(), error.unwrap_or_default())
    }

    /// All of it, in several lines.
    pub(crate) fn described(&self, quotes: &Quotes) -> String {
        let mut lines = vec![self.status.as_u16().to_string()];
        let headers =
            [("WWW-Authenticate", &self.challenge), ("Retry-After", &self.retry_after), ("Location", &self.location)];
        lines.extend(headers.iter().filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?))));
        lines.push(format!("body: {}", self.body(quotes)));
        lines.join("\n")
    }

    fn body(&self, quotes: &Quotes) -> String {
        let kind = self.content_type.as_deref().unwrap_or("without a type");
        match self.bytes {
            0 => "empty".to_owned(),
            bytes if !self.is_json => format!("no JSON, {kind}, {bytes} B"),
            bytes => {
                let shown = SHOWN.iter().filter_map(|name| Some(format!(", {name} `{}`", self.shown(name, quotes)?)));
                format!("JSON, {kind}, {bytes} B{}", shown.collect::<String>())
            }
        }
    }
}

/// The only place that asks the clock.
#[expect(clippy::disallowed_methods, reason = "a server's `Date` is compared with the wall clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// All lines of a header.
fn quoted(headers: &HeaderMap, name: &HeaderName, quotes: &Quotes) -> Option<String> {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| quotes.quote(&lines.join(", ")))
}

/// `Date` is cut to whole seconds, and was written somewhere between question and answer: good to a second or so.
fn clock_ahead(headers: &HeaderMap, asked: SystemTime, answered: SystemTime) -> Option<f64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Some(seconds(date) + 0.5 - f64::midpoint(seconds(asked), seconds(answered)))
}
