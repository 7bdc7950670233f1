//! What is compared of an answer. Not compared: token texts, the wording of descriptions, ids.

use std::collections::BTreeSet;

use http::HeaderName;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::Value;

use super::wire::Heard;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    Status,
    /// Status and `error` together. Only in the table: all other aspects of such an answer differ as a matter of course.
    Answer,
    /// Without its parameters.
    ContentType,
    CacheControl,
    RetryAfter,
    /// The scheme of `www-authenticate` and its `error`.
    Challenge,
    /// Whether the connection takes another request.
    Connection,
    /// The names and types of the members of a JSON object; of anything else what it is.
    Body,
    Error,
    TokenType,
    ExpiresIn,
    RefreshExpiresIn,
    /// The step in which the session of the answer began.
    Session,
    /// Of eight at once: how many were granted, and what the others were told.
    Winners,
    Losers,
}

/// The aspects of one answer, always the same ones in the same order; what is missing is empty.
pub(super) fn of(heard: &Heard, session: Option<&str>) -> Vec<(Aspect, String)> {
    let json: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    let member = |name: &str| match &json[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    vec![
        (Aspect::Status, heard.status.to_string()),
        (Aspect::ContentType, header(heard, CONTENT_TYPE).split(';').next().unwrap_or_default().to_owned()),
        (Aspect::CacheControl, header(heard, CACHE_CONTROL)),
        (Aspect::RetryAfter, header(heard, RETRY_AFTER)),
        (Aspect::Challenge, challenge(&header(heard, WWW_AUTHENTICATE))),
        (Aspect::Connection, if heard.kept { "kept" } else { "closed" }.to_owned()),
        (Aspect::Body, body(heard, &json)),
        (Aspect::Error, member("error")),
        (Aspect::TokenType, member("token_type")),
        (Aspect::ExpiresIn, member("expires_in")),
        (Aspect::RefreshExpiresIn, member("refresh_expires_in")),
        (Aspect::Session, session.unwrap_or_default().to_owned()),
    ]
}

/// Status and `error` of such aspects.
pub(super) fn answer(aspects: &[(Aspect, String)]) -> String {
    let told = aspects.iter().filter(|(aspect, _)| matches!(aspect, Aspect::Status | Aspect::Error));
    told.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// The aspects of eight answers to one refresh token.
pub(super) fn of_race(heard: &[Heard]) -> Vec<(Aspect, String)> {
    let (winners, losers): (Vec<_>, Vec<_>) = heard.iter().partition(|heard| heard.status == 200);
    let told: BTreeSet<_> = losers
        .iter()
        .map(|heard| {
            let json: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            format!("{} {}", heard.status, json["error"].as_str().unwrap_or_default())
        })
        .collect();
    let told: Vec<_> = told.into_iter().collect();
    vec![(Aspect::Winners, winners.len().to_string()), (Aspect::Losers, told.join(", "))]
}

/// Two values that mean the same. Numbers of seconds may be one apart, as the two servers' seconds do not begin
/// together, and further by as many seconds as their answers were apart.
pub(super) fn agree(aspect: Aspect, keycloak: &str, fake: &str, apart: u64) -> bool {
    if keycloak == fake {
        return true;
    }
    match (aspect, keycloak.parse::<u64>(), fake.parse::<u64>()) {
        (Aspect::ExpiresIn | Aspect::RefreshExpiresIn, Ok(left), Ok(right)) => left.abs_diff(right) <= 1 + apart,
        _ => false,
    }
}

/// All values of a header, in a fixed order.
fn header(heard: &Heard, name: HeaderName) -> String {
    let values: BTreeSet<_> = heard.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    values.into_iter().collect::<Vec<_>>().join(", ")
}

fn challenge(text: &str) -> String {
    let scheme = text.split(' ').next().unwrap_or_default();
    match text.split_once("error=\"").and_then(|(_, rest)| rest.split_once('"')) {
        Some((error, _)) => format!("{scheme} {error}"),
        None => scheme.to_owned(),
    }
}

fn body(heard: &Heard, json: &Value) -> String {
    match json {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(name, value)| format!("{name}: {}", kind(value))).collect();
            members.sort_unstable();
            members.join(", ")
        }
        Value::Null if heard.body.is_empty() => "nothing".to_owned(),
        Value::Null => "text".to_owned(),
        other => kind(other).to_owned(),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
