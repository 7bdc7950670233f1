//! Which responses mean "this token was refused". Knows nothing of tokens and renewals.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use http_auth::ChallengeRef;

/// How the content types of gRPC begin.
const GRPC: &[u8] = b"application/grpc";

/// Whether a new token may cure this answer: a 401, unless its Bearer challenge names an error other than
/// `invalid_token` (RFC 6750 §3.1), or the same said by gRPC.
#[inline]
pub(crate) fn is_refusal(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::UNAUTHORIZED => !names_another_error(headers),
        StatusCode::OK => is_unauthenticated(headers),
        _ => false,
    }
}

/// Status 16 of an answer that is nothing but its headers (Trailers-Only). In real trailers it comes too late.
#[inline]
fn is_unauthenticated(headers: &HeaderMap) -> bool {
    let mut statuses = headers.get_all("grpc-status").iter();
    statuses.next().is_some_and(|status| status == "16")
        && statuses.next().is_none()
        && headers.get(CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes();
            kind.len() >= GRPC.len() && kind[..GRPC.len()].eq_ignore_ascii_case(GRPC)
        })
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
