//! A provider is made without I/O and without a runtime; a fixed one needs neither ever.

use std::time::Duration;

use futures::executor::block_on;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Credentials, Environment, TokenProvider, TokenState};

#[cfg(feature = "reqwest")]
#[test]
fn a_provider_is_made_without_a_runtime_and_without_a_connection() {
    // Somebody listens where the realm is said to be, and is not called.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let environment = Environment::realm(format!("{origin}/realms/x"), &origin).unwrap();

    let provider = TokenProvider::new(environment, Credentials::new("id", "secret")).unwrap();
    assert!(provider.cached().is_none());
    assert_eq!(provider.status().state, TokenState::None);
    drop(provider.clone());

    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[cfg(feature = "reqwest")]
#[test]
fn a_provider_over_tls_is_made_without_a_runtime() {
    TokenProvider::new(Environment::sandbox(), Credentials::new("id", "secret")).unwrap();
    TokenProvider::new(Environment::production("x").unwrap(), Credentials::new("id", "secret")).unwrap();
}

#[cfg(not(feature = "reqwest"))]
#[test]
fn without_a_transport_and_without_reqwest_there_is_no_provider() {
    let builder = TokenProvider::builder(Environment::sandbox(), Credentials::new("id", "secret"));
    let error = builder.build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no transport: give one with `.transport(…)`, or enable the feature `reqwest`"
    );
    assert!(!error.is_transient() && !error.is_rejected());
}

#[test]
fn a_provider_that_would_have_to_wait_outside_a_runtime_says_so() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let error = block_on(provider.token()).unwrap_err();
    assert!(error.to_string().starts_with("a renewal, and the end of a session, need a tokio runtime"), "{error}");
    assert!(!error.is_transient() && error.retry_after().is_none());
    // The failure is the caller's and is held against nobody: no hold, no exchange, and it works where it can.
    assert!(provider.status().last_error.is_none());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(provider.token()).unwrap();
    fake.expect().client_credentials(1);
}

#[test]
fn a_provider_with_a_runtime_can_be_waited_for_outside_of_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = FakeNeonomics::new();
    let provider = TokenProvider::builder(fake.environment(), fake.credentials())
        .transport(fake.clone())
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    assert_eq!(block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(1);
}

#[test]
fn a_fixed_token_never_expires_and_needs_no_runtime() {
    let provider = TokenProvider::fixed(Environment::sandbox(), "a.fixed-token_~+/==").unwrap();
    let token = block_on(provider.token()).unwrap();
    assert_eq!(token.secret(), "a.fixed-token_~+/==");
    assert_eq!(token.authorization(), "Bearer a.fixed-token_~+/==");
    assert!(token.authorization().is_sensitive());
    assert_eq!((token.generation(), token.expires_in()), (0, Duration::MAX));
    assert_eq!(provider.cached().unwrap().secret(), token.secret());

    let status = provider.status();
    assert_eq!((status.state, status.expires_in), (TokenState::Fresh, Some(Duration::MAX)));

    // It is not renewed and has no session to end; and it stays what it is.
    let expected = "a fixed token is neither renewed nor ended";
    assert_eq!(block_on(provider.renew(&token)).unwrap_err().to_string(), expected);
    assert_eq!(block_on(provider.end_session()).unwrap_err().to_string(), expected);
    assert_eq!(block_on(provider.token()).unwrap().secret(), token.secret());
}

// lesson 31
#[test]
fn a_fixed_token_that_is_no_b64token_is_refused_without_being_repeated() {
    for token in [
        "",
        "=",
        "==",
        " ",
        "can ary",
        " canary",
        "canary ",
        "canary\n",
        "canary\r\nx-evil: 1",
        "can\tary",
        "canary\0",
        "canary\u{7f}",
        "canáry",
        "canary🔑",
        "can=ary",
        "=canary",
        "canary,",
        "\"canary\"",
        "canary:",
        "canary%20",
        "Bearer canary",
    ] {
        let error = TokenProvider::fixed(Environment::sandbox(), token).unwrap_err();
        assert_eq!(error.to_string(), "the fixed token cannot be sent in a header", "{token:?}");
        let debug = format!("{error:?}");
        assert!(!debug.contains("can") || debug.matches("can").count() == debug.matches("cannot").count(), "{debug}");
        assert!(!error.is_malformed() && !error.is_rejected() && !error.is_transient());
    }
}
