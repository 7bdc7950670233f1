//! Which responses mean "this token was refused". Knows nothing of tokens and renewals.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use http_auth::ChallengeRef;

/// Whether a new token may cure this answer (RFC 6750 §3.1): a 401, unless its Bearer challenge names an error other
/// than `invalid_token`.
#[inline]
pub(crate) fn is_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::UNAUTHORIZED && !names_another_error(headers)
}

#[cold]
fn names_another_error(headers: &HeaderMap) -> bool {
    let mut another = false;
    for line in headers.get_all(WWW_AUTHENTICATE) {
        // A line that cannot be parsed says nothing: the parser gives up on all of it.
        let Some(challenges) = line.to_str().ok().and_then(|line| http_auth::parse_challenges(line).ok()) else {
            continue;
        };
        for error in challenges.iter().filter_map(bearer_error) {
            if error == "invalid_token" {
                return false;
            }
            another = true;
        }
    }
    another
}

/// The `error` of a Bearer challenge.
fn bearer_error(challenge: &ChallengeRef<'_>) -> Option<String> {
    if !challenge.scheme.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    let (_, error) = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case("error"))?;
    Some(error.to_unescaped())
}
