//! The form of an exchange and the credentials in it, read as Keycloak reads them.

use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};

use super::record::RecordedRequest;

pub(super) struct Form(Vec<(String, String)>);

/// A `%` that is not followed by two hexadecimal digits.
pub(super) struct BadEscape;

impl Form {
    /// Without the content type of a form there are no parameters: "no `grant_type`, empty body,
    /// JSON body, no content type" are one case.
    pub(super) fn of(request: &RecordedRequest) -> Result<Self, BadEscape> {
        if !is_form(&request.headers) {
            return Ok(Self::empty());
        }
        check_escapes(&request.body)?;
        Ok(Self(form_urlencoded::parse(&request.body).into_owned().collect()))
    }

    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn repeats_a_parameter(&self) -> bool {
        self.0.iter().enumerate().any(|(index, (name, _))| self.0[..index].iter().any(|(earlier, _)| earlier == name))
    }
}

/// The id and the secret of `Authorization: Basic`, the scheme in any case; none for another scheme
/// and for what is not base64.
///
/// "form-encoded Basic parts work, raw `%` does not".
pub(super) fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, BadEscape> {
    let Some(decoded) = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| decode_base64(encoded))
    else {
        return Ok(None);
    };
    let Some(colon) = decoded.iter().position(|&byte| byte == b':') else {
        return Ok(None);
    };
    Ok(Some((decode_part(&decoded[..colon])?, decode_part(&decoded[colon + 1..])?)))
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// `form_urlencoded` lets a bad escape stand as it is; Keycloak fails.
fn check_escapes(text: &[u8]) -> Result<(), BadEscape> {
    let escapes = text.iter().enumerate().filter(|&(_, &byte)| byte == b'%');
    for (index, _) in escapes {
        match text.get(index + 1..index + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(BadEscape),
        }
    }
    Ok(())
}

fn decode_part(part: &[u8]) -> Result<String, BadEscape> {
    check_escapes(part)?;
    // Read as the value of one parameter: it may hold `=`, and `&` is escaped for the purpose.
    let parameter = format!("={}", String::from_utf8_lossy(part).replace('&', "%26"));
    Ok(form_urlencoded::parse(parameter.as_bytes()).map(|(_, value)| value).collect())
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let sextet = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count).to_be_bytes()[3]);
        }
    }
    Some(decoded)
}
