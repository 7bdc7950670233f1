//! What is quoted of the server's text.

use neonomics_auth::{Credentials, Error};

use crate::canary::{ACCESS, REFRESH, SECRET, assert_silent, printed_error};
use crate::server::{ID, Server, Turn, refusal};

/// Text around what is quoted.
const BEFORE: &str =
    "the authorization server refused the token request for realm `the-realm` (some_error, status 400)";
const AFTER: &str = "; next attempt in ";

#[tokio::test(start_paused = true)]
async fn e4_a_short_text_is_quoted_as_it_is() {
    for text in ["Invalid scopes: a b", "x", "äöü €", "\"quoted\" \\ back", &"x".repeat(256), &"€".repeat(256)] {
        assert_eq!(quoted(text).await, text);
    }
}

#[tokio::test(start_paused = true)]
async fn e4_no_more_than_256_characters_are_quoted() {
    for character in ["x", "ü", "🔑"] {
        assert_eq!(quoted(&character.repeat(257)).await, character.repeat(256));
        assert_eq!(quoted(&character.repeat(100_000 / character.len())).await, character.repeat(256));
    }
    // What is removed does not count.
    assert_eq!(quoted(&"\nx".repeat(300)).await, "x".repeat(256));
}

#[tokio::test(start_paused = true)]
async fn e4_control_characters_are_removed() {
    assert_eq!(quoted("a\nb\r\nc\td\0e\u{1b}[31mf\u{7f}g\u{80}h\u{85}i\u{9f}j").await, "abcde[31mfghij");
    assert_eq!(quoted_code("a\nb\u{1b}c").await.as_deref(), Some("abc"));
    // Nothing left: as if there had been none.
    assert_eq!(quoted_code("\n\u{7}").await, None);
    // Nor what turns a line around, breaks it, or hides.
    assert_eq!(quoted("a\u{202e}b\u{2066}c\u{2028}d\u{200b}e\u{feff}f").await, "abcdef");
    let (begin, end) = SECRET.split_at(4);
    assert_eq!(quoted(&format!("client {begin}\u{200b}{end}")).await, "client ");
}

#[tokio::test(start_paused = true)]
async fn e4_the_code_is_treated_like_the_description() {
    assert_eq!(quoted_code(&"x".repeat(257)).await, Some("x".repeat(256)));
    for ours in [ID, SECRET] {
        assert_eq!(quoted_code(&format!("no {ours}")).await.as_deref(), Some("no "));
        assert_eq!(quoted_code(ours).await, None);
    }
    // A passing fault has a code and no description.
    let server = Server::default();
    server.next((0..3).map(|_| refusal(503, &format!("busy with {SECRET}"), SECRET)));
    let error = server.provider().token().await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.oauth_code(), Some("busy with "));
    assert_silent("a passing fault", &printed_error(&error));
}

/// A server that quotes the form that it got, and shortens it by itself.
#[tokio::test(start_paused = true)]
async fn e4_a_form_that_is_quoted_is_cut_before_its_secrets() {
    let server = Server::default();
    let provider = server.provider();
    let first = provider.token().await.unwrap();
    provider.renew(&first).await.unwrap();
    for form in server.forms() {
        for (at, _) in form.char_indices().skip("client_id=".len() + ID.len()) {
            assert_eq!(quoted(&form[..at]).await, "client_id=");
        }
    }
}

// lesson 20
#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_our_id_or_our_secret_occurs() {
    for ours in [ID, SECRET] {
        assert_eq!(quoted(&format!("client {ours} with {SECRET} is unknown, {ours}!")).await, "client ");
        assert_eq!(quoted(&format!("x{ours}")).await, "x");
        // Control characters do not hide it.
        let (begin, end) = ours.split_at(4);
        assert_eq!(quoted(&format!("client {begin}\n{end}")).await, "client ");
        // Nor does the limit leave the first half of it.
        assert_eq!(quoted(&format!("{}{ours}", "x".repeat(250))).await, "x".repeat(250));
        // Twice, the second time earlier in the order in which they are looked for.
        assert_eq!(quoted(&format!("a {ID} b {SECRET}")).await, "a ");
        assert_eq!(quoted(&format!("a {SECRET} b {ID}")).await, "a ");
    }
    // Nothing is left to quote.
    let error = refused(Server::default(), SECRET).await;
    let text = error.to_string();
    assert!(text.starts_with(&format!("{BEFORE}{AFTER}")), "{text}");
}

#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_the_refresh_token_occurs() {
    let server = Server::default();
    let provider = server.provider();
    let first = provider.token().await.unwrap();
    // The secret could not be looked at: the refresh token is what is refused, for good.
    server.next([refusal(400, "unauthorized_client", &format!("no {REFRESH}1")), refusal(400, "some_error", "no")]);
    let error = provider.renew(&first).await.unwrap_err();
    assert!(error.is_rejected());
    // The description of this code stands in `Debug` only.
    let debug = format!("{error:?}");
    assert!(debug.contains(r#"description: Some("no ")"#), "{debug}");
    assert_silent("a refused refresh", &printed_error(&error));
    assert!(server.forms()[1].contains(REFRESH), "it was sent");
}

#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_the_refresh_token_of_the_exchange_before_occurs() {
    let server = Server::default();
    let provider = server.provider();
    let first = provider.token().await.unwrap();
    // One renewal, two exchanges (A5): the answer to the second one speaks of the first.
    let description = format!("no {REFRESH}1");
    server.next([refusal(500, "unknown_error", &description), refusal(400, "some_error", &description)]);
    let error = provider.renew(&first).await.unwrap_err();
    assert_silent("a failed renewal", &printed_error(&error));
}

#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_the_access_token_occurs() {
    let server = Server::default();
    let provider = server.provider();
    let first = provider.token().await.unwrap();
    server.next([refusal(400, "unauthorized_client", &format!("no {ACCESS}1"))]);
    let error = provider.renew(&first).await.unwrap_err();
    assert_silent("a refused refresh", &printed_error(&error));
}

/// A secret read from a file often ends in a line break.
#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_a_secret_with_control_characters_occurs() {
    for secret in [format!("{SECRET}\n"), format!("{SECRET}\r\n"), format!("\t{SECRET}"), SECRET.replace(' ', "\t")] {
        let server = Server::default();
        server.next([refusal(400, "some_error", &format!("no {secret}"))]);
        let provider = server.builder_with(Credentials::new(ID, secret.as_str())).build().unwrap();
        let error = provider.token().await.unwrap_err();
        assert_silent(&format!("{secret:?} refused"), &printed_error(&error));
    }
}

/// A server that could not read a form quotes it as it came.
#[tokio::test(start_paused = true)]
async fn e4_a_text_is_cut_where_our_secret_occurs_as_it_was_sent() {
    let sent: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let error = refused(Server::default(), &format!("cannot read client_secret={sent}")).await;
    assert_silent("a quoted form", &printed_error(&error));
}

// lesson 14
#[tokio::test(start_paused = true)]
async fn e4_nothing_is_quoted_of_an_answer_that_is_no_oauth_error() {
    for (status, body) in [
        (200, format!("<html>{SECRET}</html>")),
        (400, format!("<html>{SECRET}</html>")),
        (400, format!(r#"{{"error":{{"message":"{SECRET}"}},"error_description":["{SECRET}"],"message":"{SECRET}"}}"#)),
        (503, format!(r#"{{"error_description":"{SECRET}"}}"#)),
        (503, SECRET.to_owned()),
    ] {
        let server = Server::default();
        server.next((0..3).map(|_| Turn::Answer(status, body.clone())));
        let error = server.provider().token().await.unwrap_err();
        assert_eq!(error.oauth_code(), None);
        assert_silent(&body, &printed_error(&error));
    }
}

/// The error of a token request that was answered with this description.
async fn refused(server: Server, description: &str) -> Error {
    server.next([refusal(400, "some_error", description)]);
    let error = server.provider().token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_silent("a refused request", &printed_error(&error));
    error
}

/// What is left of a description.
async fn quoted(description: &str) -> String {
    let text = refused(Server::default(), description).await.to_string();
    let quoted = text.strip_prefix(BEFORE).and_then(|text| text.strip_prefix(": ")?.rsplit_once(AFTER));
    quoted.unwrap_or_else(|| panic!("{text}")).0.to_owned()
}

/// What is left of a code.
async fn quoted_code(code: &str) -> Option<String> {
    let server = Server::default();
    server.next([refusal(400, code, "")]);
    let error = server.provider().token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_silent("a refused request", &printed_error(&error));
    error.oauth_code().map(str::to_owned)
}
