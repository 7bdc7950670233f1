//! Each kind of error can be looked up.

use super::*;

const PAGE: &str = include_str!("../troubleshooting.md");

/// One of each: a new kind does not compile until it stands here.
fn one_of_each() -> Vec<Error> {
    let kinds = [
        Kind::Configuration("the client id is empty".into()),
        rejected(StatusCode::UNAUTHORIZED, Some("invalid_client")),
        rejected(StatusCode::UNAUTHORIZED, Some("unauthorized_client")),
        rejected(StatusCode::FOUND, None),
        rejected(StatusCode::NOT_FOUND, None),
        Kind::Unavailable { status: StatusCode::BAD_GATEWAY, code: None },
        Kind::Unreachable,
        Kind::Timeout,
        Kind::SecretTimeout,
        Kind::Malformed("it is not a JSON object"),
        Kind::ExpiredOnArrival,
        Kind::Credentials,
        Kind::RefreshTokenRefused { status: StatusCode::BAD_REQUEST, code: Some("invalid_grant".to_owned()) },
        Kind::Abandoned,
        Kind::EndAbandoned,
        Kind::NoRuntime,
        Kind::Recursive,
        Kind::Ended,
        Kind::NotRenewable,
        Kind::Unchanged,
        Kind::RefusedTooOften,
        Kind::EndRefused(StatusCode::BAD_GATEWAY),
    ];
    let mut named = [false; 19];
    for kind in &kinds {
        named[place(kind)] = true;
    }
    assert_eq!(named, [true; 19], "one of each");
    kinds.into_iter().map(Error::from).collect()
}

fn rejected(status: StatusCode, code: Option<&str>) -> Kind {
    Kind::Rejected { status, code: code.map(str::to_owned), description: None, realm: "sandbox".to_owned() }
}

fn place(kind: &Kind) -> usize {
    match kind {
        Kind::Configuration(_) => 0,
        Kind::Rejected { .. } => 1,
        Kind::Unavailable { .. } => 2,
        Kind::Unreachable => 3,
        Kind::Timeout => 4,
        Kind::SecretTimeout => 5,
        Kind::Malformed(_) => 6,
        Kind::ExpiredOnArrival => 7,
        Kind::Credentials => 8,
        Kind::RefreshTokenRefused { .. } => 9,
        Kind::Abandoned => 10,
        Kind::EndAbandoned => 11,
        Kind::NoRuntime => 12,
        Kind::Recursive => 13,
        Kind::Ended => 14,
        Kind::NotRenewable => 15,
        Kind::Unchanged => 16,
        Kind::RefusedTooOften => 17,
        Kind::EndRefused(_) => 18,
    }
}

#[test]
fn each_kind_of_error_has_one_entry_in_the_troubleshooting_page() {
    let named: Vec<&str> = PAGE.split("``").skip(1).step_by(2).map(str::trim).collect();
    for error in one_of_each() {
        let mut message = error.to_string();
        for status in ["302", "400", "404", "502"] {
            message = message.replace(&format!("status {status}"), "status N");
        }
        let entries = named.iter().filter(|named| covers(named, &message)).count();
        assert_eq!(entries, 1, "{message}");
    }
    #[cfg(feature = "reqwest")]
    assert!(named.contains(&Error::default_transport("no certificates").to_string().as_str()));
}

/// `…` stands for anything.
fn covers(named: &str, message: &str) -> bool {
    match named.split_once('…') {
        None => named == message,
        Some((begin, rest)) => {
            message.starts_with(begin) && rest.split('…').all(|piece| message[begin.len()..].contains(piece))
        }
    }
}
