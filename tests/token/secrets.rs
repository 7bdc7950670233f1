//! Client secrets that come from a closure or a file, and those that do not.

use std::env;
use std::fs;
use std::io;
use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, TokenProvider};

use crate::{LIFETIME, SECOND, answer, exchanges, member, pass, pass_hold, settle, turn_stale, unavailable};

/// A closure that gives these secrets in turn, the last one for ever; and how often it was asked.
fn vault(fake: &FakeNeonomics, secrets: &[&str]) -> (TokenProvider, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let secrets: Vec<_> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let secret = secrets[number.min(secrets.len() - 1)].clone();
        async move { Ok::<_, io::Error>(secret) }
    });
    let builder = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone());
    (builder.build().unwrap(), asked)
}

/// The secrets on the wire, in the order of arrival.
fn sent(fake: &FakeNeonomics) -> Vec<String> {
    fake.requests().iter().map(|request| member(request, "client_secret").unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a21_a_rejected_secret_that_has_changed_since_is_repeated_once() {
    let fake = FakeNeonomics::new();
    fake.set_client_secret("new");
    let (provider, asked) = vault(&fake, &["old", "new"]);
    assert_eq!(provider.token().await.unwrap().generation(), 1);
    assert_eq!(sent(&fake), ["old", "new"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert!(provider.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a21_a_rejected_secret_that_has_not_changed_is_asked_for_once_more_and_not_repeated() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = vault(&fake, &["old"]);
    let error = provider.token().await.unwrap_err();
    assert!(error.is_rejected() && error.retry_after().is_some());
    assert_eq!(sent(&fake), ["old"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a21_a_secret_that_changes_for_ever_is_repeated_once_only() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = vault(&fake, &["a", "b", "c", "d", "e", "f"]);
    let error = provider.token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(sent(&fake), ["a", "b"]);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    // The next renewal, after the hold, asks anew.
    pass_hold(&error).await;
    provider.token().await.unwrap_err();
    assert_eq!(sent(&fake), ["a", "b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a21_a_rejection_of_the_refresh_repeats_the_refresh_with_the_changed_secret() {
    let fake = FakeNeonomics::new();
    let old = fake.client_secret();
    let (provider, asked) = vault(&fake, &[&old, &old, "new"]);
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fake.set_client_secret("new");
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "refresh_token"]);
    assert_eq!(sent(&fake), [old.as_str(), &old, "new"]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a21_a_fixed_secret_is_sent_once() {
    let fake = FakeNeonomics::new();
    let credentials = Credentials::new(fake.client_id(), "wrong");
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    let error = provider.token().await.unwrap_err();
    assert_eq!(error.oauth_code(), Some("unauthorized_client"));
    assert_eq!(sent(&fake), ["wrong"]);
}

#[tokio::test(start_paused = true)]
async fn a21_the_second_question_is_within_the_deadline() {
    let fake = FakeNeonomics::new();
    let asked = AtomicUsize::new(0);
    // Answers once, and hangs when it is asked again.
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Ok::<_, io::Error>("wrong")
        }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    let outcome = tokio::time::timeout(10 * SECOND + Duration::from_millis(1), provider.token()).await;
    // The error is the one that is known: the rejection.
    assert!(outcome.expect("the deadline holds").unwrap_err().is_rejected());
    assert_eq!(sent(&fake), ["wrong"]);
}

#[tokio::test(start_paused = true)]
async fn a21_a_closure_that_fails_is_a_transient_failure_with_its_own_error_as_source() {
    let fake = FakeNeonomics::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, secret) = (asked.clone(), fake.client_secret());
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let (number, secret) = (counter.fetch_add(1, Ordering::Relaxed), secret.clone());
        async move { if number < 3 { Err(io::Error::other("the vault is sealed")) } else { Ok(secret) } }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    let error = provider.token().await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the vault is sealed");
    // Repeated like any transient failure; nothing was sent.
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    fake.expect().client_credentials(0).other_grants(0);
    pass_hold(&error).await;
    provider.token().await.unwrap();
    fake.expect().client_credentials(1);
}

/// A closure that fails at these of its calls, counted from zero.
fn failing_at(fake: &FakeNeonomics, failing: Range<usize>) -> (TokenProvider, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, secret) = (asked.clone(), fake.client_secret());
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let fails = failing.contains(&counter.fetch_add(1, Ordering::Relaxed));
        let secret = secret.clone();
        async move { if fails { Err(io::Error::other("the vault is sealed")) } else { Ok(secret) } }
    });
    let builder = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone());
    (builder.build().unwrap(), asked)
}

#[tokio::test(start_paused = true)]
async fn a12_a_refresh_that_could_not_be_sent_for_want_of_a_secret_continues_the_session_after_the_hold() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = failing_at(&fake, 1..2);
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    turn_stale(&provider).await;

    // Nothing is sent: not the refresh, nor what would start another session.
    provider.token().await.unwrap();
    settle().await;
    fake.expect().client_credentials(1).refresh(0);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let status = provider.status();
    assert_eq!((status.renewals.due.failed, status.exchanges.refresh_token), (1, 0));
    assert!(status.last_error.unwrap().error.is_transient());
    let hold = status.hold_left.unwrap();
    assert!(hold <= SECOND, "{hold:?}");

    pass(hold).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 2);
    assert_eq!(provider.status().session_id.unwrap(), session);
    assert_eq!(fake.sessions(), 1);
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token"]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a5_without_a_usable_token_client_credentials_follows_a_refresh_that_had_no_secret() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = failing_at(&fake, 1..2);
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    assert_eq!(exchanges(&fake), ["client_credentials", "client_credentials"]);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(provider.status().last_error.is_none());
}

#[tokio::test(start_paused = true)]
async fn a6_without_a_usable_token_a_refresh_token_is_not_lost_when_nothing_could_be_sent() {
    let fake = FakeNeonomics::new();
    // The refresh, and client_credentials with its repeat.
    let (provider, asked) = failing_at(&fake, 1..4);
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    pass(LIFETIME).await;
    let error = provider.token().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    fake.expect().client_credentials(1).refresh(0);

    pass_hold(&error).await;
    provider.token().await.unwrap();
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token"]);
    assert_eq!(provider.status().session_id.unwrap(), session);
    assert_eq!(asked.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn a21_the_secret_is_asked_for_at_every_exchange() {
    let fake = FakeNeonomics::new();
    let secret = fake.client_secret();
    let (provider, asked) = vault(&fake, &[&secret]);
    fake.fail_exchanges(2, unavailable());
    provider.token().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    pass(LIFETIME).await;
    provider.token().await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

/// Set for the run of the test below that has its secret in a file.
const FILE: &str = "NEONOMICS_CLIENT_SECRET_FILE";

/// The environment of a process cannot be changed safely while it runs, so that the test runs itself once more, in an
/// environment of its own.
#[test]
fn a21_a_secret_in_a_file_is_read_at_every_exchange_and_once_more_after_a_rejection() {
    if let Some(path) = env::var_os(FILE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(with_a_file(path.as_ref()));
    }
    let path = env::temp_dir().join(format!("neonomics-auth-{}", std::process::id()));
    fs::write(&path, "old\n").unwrap();
    let this = "secrets::a21_a_secret_in_a_file_is_read_at_every_exchange_and_once_more_after_a_rejection";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", this])
        .env("NEONOMICS_CLIENT_ID", "the-id")
        .env_remove("NEONOMICS_CLIENT_SECRET")
        .env(FILE, &path)
        .output();
    fs::remove_file(&path).unwrap();
    let output = output.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

async fn with_a_file(path: &std::path::Path) {
    let fake = FakeNeonomics::new();
    let credentials = Credentials::from_env().unwrap();
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    // The fake invents its id, so that its answers are scripted here: a rejection, which the same secret does not
    // repeat.
    fake.fail_exchanges(1, answer(510, r#"{"error":"unauthorized_client"}"#));
    let error = provider.token().await.unwrap_err();
    assert!(error.is_rejected());
    assert_eq!(sent(&fake), ["old"]);

    // Rejected again after the hold, and changed while the answer was on its way: repeated.
    while provider.status().hold_left.is_some() {
        tokio::task::yield_now().await;
    }
    fake.fail_exchanges(1, answer(510, r#"{"error":"unauthorized_client"}"#));
    fake.fail_exchanges(1, answer(200, r#"{"access_token":"token"}"#));
    let gate = fake.hold_exchanges();
    let (token, ()) = futures::join!(provider.token(), async {
        gate.arrived(1).await;
        fs::write(path, "new\r\n").unwrap();
        gate.open();
    });
    assert_eq!(token.unwrap().generation(), 1);
    // One line break at its end is not part of it.
    assert_eq!(sent(&fake), ["old", "old", "new"]);
}

// lesson 17
#[tokio::test(start_paused = true)]
async fn a21_invalid_client_with_status_510_is_one_call_and_then_a_hold() {
    for status in [510, 400, 401, 200, 500, 503] {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        fake.fail_exchanges(usize::MAX, answer(status, r#"{"error":"invalid_client"}"#));
        // A thousand callers, and as many right behind them.
        for _ in 0..2 {
            for outcome in join_all((0..1000).map(|_| provider.token())).await {
                let error = outcome.unwrap_err();
                assert!(error.is_rejected(), "{status}");
                assert_eq!(error.oauth_code(), Some("invalid_client"));
                assert!(error.retry_after().unwrap() <= SECOND);
            }
        }
        fake.expect().client_credentials(1).refresh(0);
    }
}

// lesson 17
#[tokio::test(start_paused = true)]
async fn a21_a_wrong_secret_under_load_is_some_calls_an_hour() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    fake.set_client_secret("another");
    // Ten calls a second.
    for _ in 0..36_000 {
        assert!(provider.token().await.unwrap_err().is_rejected());
        pass(SECOND / 10).await;
    }
    let made = fake.counts().client_credentials;
    // The holds grow from 0.5–1 s to 30–60 s in six steps.
    assert!((6 + 3537 / 61..=6 + 3600 / 30).contains(&made), "{made}");
    assert_eq!(fake.counts().client_credentials as u64, provider.status().renewals.first.failed);
}

#[tokio::test(start_paused = true)]
async fn a21_a_rejection_behind_a_usable_token_is_asked_again_once_as_well() {
    let fake = FakeNeonomics::new();
    let old = fake.client_secret();
    let (provider, _) = vault(&fake, &[&old, "wrong", "wrong too", "never asked for"]);
    let token = provider.token().await.unwrap();
    assert!(provider.renew(&token).await.unwrap_err().is_rejected());
    assert_eq!(sent(&fake), [old.as_str(), "wrong", "wrong too"]);
    // Two exchanges are all that a usable token allows, and the token stays.
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a21_the_vault_is_not_asked_again_after_another_failure() {
    for failure in [answer(200, "<html></html>"), Fault::Truncate] {
        let fake = FakeNeonomics::new();
        let secret = fake.client_secret();
        let (provider, asked) = vault(&fake, &[&secret, "new"]);
        fake.fail_exchanges(usize::MAX, failure);
        assert!(provider.token().await.unwrap_err().is_malformed());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        fake.expect().client_credentials(1);
    }
}

/// A secret that the closure shares with the test is asked for, not remembered.
#[tokio::test(start_paused = true)]
async fn a21_a_secret_is_never_remembered_from_one_renewal_to_the_next() {
    let fake = FakeNeonomics::new();
    let shared = Arc::new(Mutex::new(fake.client_secret()));
    let vault = shared.clone();
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let secret = vault.lock().unwrap().clone();
        async move { Ok::<_, io::Error>(secret) }
    });
    let provider = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone()).build().unwrap();
    let mut token = provider.token().await.unwrap();
    for new in ["one", "two", "three"] {
        new.clone_into(&mut shared.lock().unwrap());
        fake.set_client_secret(new);
        token = provider.renew(&token).await.unwrap();
    }
    assert_eq!(sent(&fake)[1..], ["one", "two", "three"]);
    fake.expect().client_credentials(1).refresh(3);
}
