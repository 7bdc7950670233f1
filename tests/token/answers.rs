//! Odd answers of the token endpoint, as the provider's caller sees them.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::RETRY_AFTER;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use serde_json::json;

use crate::{SECOND, answer, arrivals, exchanges, pass, settle, turn_stale};

const LARGEST: usize = 256 * 1024;

/// An answer with these members beside the token, as long as asked for.
fn padded(length: usize) -> String {
    let answer = json!({ "access_token": "padded", "expires_in": 60 }).to_string();
    format!("{answer}{}", " ".repeat(length - answer.len()))
}

// lesson 14
#[tokio::test(start_paused = true)]
async fn a14_what_is_no_token_is_a_malformed_error_within_the_deadline() {
    let answers = [
        ("a page", answer(200, "<!DOCTYPE html><html><body>canary</body></html>")),
        ("nothing", answer(200, "")),
        ("no content", answer(204, "")),
        ("cut off", Fault::Truncate),
        ("a list", answer(200, r#"["canary", "bearer"]"#)),
        ("a text", answer(200, r#""canary""#)),
        ("null", answer(200, "null")),
        ("no token", answer(200, "{}")),
        ("an empty token", answer(200, r#"{"access_token":""}"#)),
        ("a token with a line break", answer(200, r#"{"access_token":"can\r\nary"}"#)),
        ("a token with a space", answer(200, r#"{"access_token":"can ary"}"#)),
        ("another kind of token", answer(200, r#"{"access_token":"canary","token_type":"mac"}"#)),
        ("not UTF-8", answer(200, &b"{\"access_token\":\"\xff\"}"[..])),
        ("256 KiB and a byte", answer(200, padded(LARGEST + 1))),
        ("no end", Fault::Endless),
    ];
    for (what, answer) in answers {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(1, answer);
        let error = tokio::time::timeout(10 * SECOND, provider.token()).await.expect(what).unwrap_err();
        assert!(error.is_malformed() && !error.is_transient() && !error.is_rejected(), "{what}: {error}");
        assert!(!format!("{error} {error:?}").contains("ary"), "{what}: {error:?} quotes the answer");
        fake.expect().client_credentials(1);

        // Nothing is broken by it.
        pass(SECOND).await;
        assert_eq!(provider.token().await.unwrap().generation(), 1, "{what}");
    }
}

// lesson 14
#[tokio::test(start_paused = true)]
async fn a14_odd_answers_that_are_tokens_are_taken() {
    let answers = [
        ("a byte order mark", "\u{feff}{\"access_token\":\"token\"}".to_owned(), 300),
        ("white space around it", " \r\n{\"access_token\":\"token\"}\n".to_owned(), 300),
        ("unknown members", r#"{"access_token":"token","expires_in":60,"x":[{"error":"no"}]}"#.to_owned(), 60),
        ("an error that is empty", r#"{"access_token":"token","error":""}"#.to_owned(), 300),
        ("bearer in capitals", r#"{"access_token":"token","token_type":"BEARER"}"#.to_owned(), 300),
        ("256 KiB to the byte", padded(LARGEST), 60),
    ];
    for (what, body, lifetime) in answers {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(1, answer(200, body));
        let token = provider.token().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(token.expires_in(), Duration::from_secs(lifetime), "{what}");
        fake.expect().client_credentials(1);
    }
}

// lesson 14
#[tokio::test(start_paused = true)]
async fn a14_an_odd_answer_to_a_renewal_takes_nothing_from_a_usable_token() {
    for fault in [answer(200, "<html></html>"), answer(200, ""), Fault::Truncate, Fault::Endless, Fault::Silence] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let first = provider.token().await.unwrap();
        turn_stale(&provider).await;
        // Both grants meet it.
        fake.fail_exchanges(2, fault.clone());
        provider.token().await.unwrap();
        pass(11 * SECOND).await;
        assert_eq!(exchanges(&fake).len(), 3, "{fault:?}");
        assert_eq!(provider.status().renewals.due.failed, 1, "{fault:?}");
        assert_eq!(provider.cached().unwrap().secret(), first.secret());
        // The next call renews.
        provider.token().await.unwrap();
        settle().await;
        assert_eq!(provider.cached().unwrap().generation(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a15_a_503_whose_body_is_too_long_is_transient_and_its_retry_after_counts() {
    let answer = |retry_after: u64| {
        let body = Bytes::from(vec![b'x'; LARGEST + 1]);
        Fault::Answer(Response::builder().status(503).header(RETRY_AFTER, retry_after).body(body).unwrap())
    };
    // Within the deadline: repeated not before the server wants it.
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(1, answer(7));
    assert_eq!(fake.provider().token().await.unwrap().generation(), 1);
    assert_eq!(arrivals(&fake), [Duration::ZERO, 7 * SECOND]);

    // Beyond it: the renewal ends with it as its hold.
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.fail_exchanges(1, answer(100));
    let error = provider.token().await.unwrap_err();
    assert!(error.is_transient() && !error.is_malformed(), "{error}");
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(error.retry_after(), Some(100 * SECOND));
    fake.expect().client_credentials(1);
    pass(100 * SECOND).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(2);
}
