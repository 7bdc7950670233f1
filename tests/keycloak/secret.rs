//! What an operator does to the client: another secret, and the client disabled for a while.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::{Credentials, Environment, Error, TokenProvider};
use tokio::process::Command;
use tokio::time::sleep;

use crate::api::Api;
use crate::load::{Http, Load, client, unless_it_hangs};
use crate::log::{Event, Log, kinds};
use crate::server::{CLIENT, Keycloak, SECRET, credentials};

const REALM: &str = "sandbox";
/// Nothing is sent there.
const NO_API: &str = "http://127.0.0.1:1";
const SECRET_FILE: &str = "NEONOMICS_CLIENT_SECRET_FILE";

#[tokio::test]
async fn a21_a_closure_is_asked_again_and_its_new_secret_continues_the_session() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    let log = Log::open(&keycloak, REALM).await;
    let vault = Vault::default();
    let provider = provider(keycloak.environment(REALM, NO_API), vault.credentials());
    vault.fill([SECRET]);
    let token = provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    let new = keycloak.operate(&["rotate-secret", REALM, CLIENT]).await;

    // Asked again once, it has nothing new: then nothing is repeated, and the token is handed out as before.
    vault.fill([SECRET, SECRET]);
    let error = provider.renew(&token).await.unwrap_err();
    assert_rejected(&error, "unauthorized_client");
    assert_eq!((vault.left(), provider.status().exchanges.refresh_token), (0, 1));
    assert_eq!(provider.token().await.unwrap().generation(), 1);
    sleep(error.retry_after().unwrap()).await;

    // Asked again, it has the new one: within the same renewal the kept refresh token continues the session.
    vault.fill([SECRET, &new]);
    assert_eq!(provider.renew(&token).await.unwrap().generation(), 2);
    let status = provider.status();
    assert_eq!((vault.left(), status.exchanges.client_credentials, status.exchanges.refresh_token), (0, 1, 3));
    assert_eq!(status.session_id.as_deref(), Some(session.as_str()));
    assert_continued(&log.events().await, &session, 2);

    // It is asked for the logout too.
    keycloak.operate(&["set-secret", REALM, CLIENT, SECRET]).await;
    vault.fill([SECRET]);
    provider.end_session().await.unwrap();
    assert_eq!(vault.left(), 0);
    log.close().await;
}

#[tokio::test]
async fn a21_a_file_is_read_again_and_its_new_secret_continues_the_session() {
    let Some(_keycloak) = Keycloak::alone().await else { return };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("keycloak-client-secret");
    fs::write(&path, SECRET).unwrap();
    // The server is this test's for as long as its process runs.
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "secret::in_a_process_the_secret_file_is_rotated", "--ignored"])
        .env_remove("NEONOMICS_CLIENT_SECRET")
        .env("NEONOMICS_CLIENT_ID", CLIENT)
        .env(SECRET_FILE, &path)
        .output()
        .await
        .unwrap();
    fs::remove_file(&path).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A test that is not found passes too.
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{stdout}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
#[ignore = "run by another test, in a process with the variables that it needs"]
async fn in_a_process_the_secret_file_is_rotated() {
    let path = PathBuf::from(env::var_os(SECRET_FILE).unwrap());
    let next = path.with_extension("next");
    let keycloak = Keycloak::alone().await.unwrap();
    let log = Log::open(&keycloak, REALM).await;
    let environment = keycloak.environment(REALM, NO_API);
    let provider = provider_with_a_late_file(environment, path.clone(), next.clone());
    let token = provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();

    let new = keycloak.operate(&["rotate-secret", REALM, CLIENT]).await;
    fs::write(&next, new).unwrap();
    assert_eq!(provider.renew(&token).await.unwrap().generation(), 2);
    let status = provider.status();
    assert_eq!((status.exchanges.client_credentials, status.exchanges.refresh_token), (1, 2));
    assert_eq!(status.session_id.as_deref(), Some(session.as_str()));
    assert_continued(&log.events().await, &session, 1);

    // It is read for the logout too.
    provider.end_session().await.unwrap();
    assert_eq!(kinds(&log.events().await).last(), Some(&"LOGOUT"));
    keycloak.operate(&["set-secret", REALM, CLIENT, SECRET]).await;
    log.close().await;
}

#[tokio::test]
async fn a11_a_fixed_secret_that_the_server_no_longer_takes_is_a_typed_error_and_a_hold() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    let log = Log::open(&keycloak, REALM).await;
    let environment = || keycloak.environment(REALM, NO_API);
    let (holder, newcomer) = (provider(environment(), credentials()), provider(environment(), credentials()));
    let token = holder.token().await.unwrap();
    let session = holder.status().session_id.unwrap();
    keycloak.operate(&["rotate-secret", REALM, CLIENT]).await;

    // Who has a token goes on with it, and with its refresh token later.
    assert_rejected(&holder.renew(&token).await.unwrap_err(), "unauthorized_client");
    assert_eq!(holder.token().await.unwrap().generation(), 1);

    // Who has none: one exchange for each call that is not held back, and each failure doubles the hold.
    let mut error = newcomer.token().await.unwrap_err();
    for failures in 1..=3 {
        assert_rejected(&error, "unauthorized_client");
        assert_eq!(newcomer.status().exchanges.client_credentials, failures);
        let hold = error.retry_after().unwrap().as_secs_f64();
        let longest = [1.0, 2.0, 4.0][usize::try_from(failures - 1).unwrap()];
        assert!((longest / 2.0 - 0.1..=longest).contains(&hold), "{hold} s after {failures} failures");
        if failures < 3 {
            sleep(error.retry_after().unwrap()).await;
            error = newcomer.token().await.unwrap_err();
        }
    }
    // During the hold: the same error at once, and nothing is asked.
    let held = newcomer.token().await.unwrap_err();
    assert_rejected(&held, "unauthorized_client");
    assert!(held.retry_after() <= error.retry_after());
    assert_eq!(newcomer.status().exchanges.client_credentials, 3);
    let events = log.events().await;
    let refused = "CLIENT_LOGIN_ERROR";
    assert_eq!(kinds(&events), ["CLIENT_LOGIN", "REFRESH_TOKEN_ERROR", refused, refused, refused]);

    // The old secret back: after the hold the first call heals, and the session of the first one goes on.
    keycloak.operate(&["set-secret", REALM, CLIENT, SECRET]).await;
    sleep(held.retry_after().unwrap()).await;
    newcomer.token().await.unwrap();
    assert_eq!(holder.renew(&token).await.unwrap().generation(), 2);
    assert_eq!(holder.status().session_id.as_deref(), Some(session.as_str()));
    let exchanges = holder.status().exchanges;
    assert_eq!((exchanges.client_credentials, exchanges.refresh_token), (1, 2));

    holder.end_session().await.unwrap();
    newcomer.end_session().await.unwrap();
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_while_the_client_is_disabled_nobody_notices_who_has_a_token() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    // It turns stale after 14 to 16 s. A second failure would hold back the third renewal until shortly before the expiry.
    keycloak.operate(&["set", REALM, r#"{"accessTokenLifespan": 20}"#]).await;
    let log = Log::open(&keycloak, REALM).await;
    let api = Api::start(&keycloak, REALM).await;
    let environment = || keycloak.environment(REALM, api.origin());
    let (holder, newcomer) = (provider(environment(), credentials()), provider(environment(), credentials()));
    holder.token().await.unwrap();
    let session = holder.status().session_id.unwrap();
    keycloak.operate(&["disable-client", REALM, CLIENT]).await;

    // Who has none is told.
    assert_rejected(&newcomer.token().await.unwrap_err(), "invalid_client");
    assert_eq!(newcomer.status().exchanges.client_credentials, 1);

    // Its renewal fails behind the requests, until the client is enabled again.
    let load = Load::start(&client(Http::Two, &holder), api.origin(), 200);
    while holder.status().renewals.due.failed == 0 {
        unless_it_hangs(api.accepts(1)).await;
    }
    assert_rejected(&holder.status().last_error.unwrap().error, "invalid_client");
    // Those that stand at the gate start no renewals, and leave the machine to the server.
    let gate = api.hold();
    unless_it_hangs(gate.arrived(200)).await;
    keycloak.operate(&["enable-client", REALM, CLIENT]).await;
    gate.open();
    while holder.status().renewals.due.succeeded == 0 {
        unless_it_hangs(api.accepts(1)).await;
    }
    let totals = load.stop().await;
    totals.assert_none_failed();
    assert_eq!((totals.replays, api.refused(), api.sessions()), (0, 0, 1));

    // The refresh token was kept: the session goes on. And the other one starts its own.
    newcomer.token().await.unwrap();
    holder.end_session().await.unwrap();
    newcomer.end_session().await.unwrap();
    let status = holder.status();
    let exchanges = (status.exchanges.client_credentials, status.exchanges.refresh_token);
    assert_eq!(exchanges, (1, status.renewals.due.failed + status.renewals.due.succeeded));
    let events = log.events().await;
    let of_the_session: Vec<_> = events.iter().filter(|event| event.session() == Some(&session)).collect();
    let [login, refreshes @ .., logout] = &of_the_session[..] else { panic!("{events:?}") };
    assert_eq!((login.kind(), logout.kind()), ("CLIENT_LOGIN", "LOGOUT"));
    assert!(refreshes.iter().all(|refresh| refresh.kind() == "REFRESH_TOKEN"), "{refreshes:?}");
    assert_eq!(refreshes.len() as u64, status.renewals.due.succeeded);
    let refused = events.iter().filter(|event| event.kind() == "REFRESH_TOKEN_ERROR").count() as u64;
    assert_eq!(refused, status.renewals.due.failed);

    log.close().await;
    keycloak.operate(&["set", REALM, r#"{"accessTokenLifespan": 3600}"#]).await;
}

fn provider(environment: Environment, credentials: Credentials) -> TokenProvider {
    TokenProvider::new(environment, credentials).unwrap()
}

/// Its secret comes from the variables. Whoever puts secrets into files is late: the new one is at its place when the
/// server has refused the old.
fn provider_with_a_late_file(environment: Environment, path: PathBuf, next: PathBuf) -> TokenProvider {
    let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let transport = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (answer, path, next) = (http.request(request), path.clone(), next.clone());
        async move {
            let answer = answer.await?;
            if answer.status() == StatusCode::UNAUTHORIZED {
                fs::rename(&next, &path).unwrap();
            }
            Ok::<_, hyper_util::client::legacy::Error>(answer)
        }
    });
    TokenProvider::builder(environment, Credentials::from_env().unwrap()).transport(transport).build().unwrap()
}

fn assert_rejected(error: &Error, code: &str) {
    assert!(error.is_rejected(), "{error}");
    assert_eq!(error.oauth_code(), Some(code));
}

/// One login, so many refreshes with a refused secret, and one that continues the session with its first refresh token.
fn assert_continued(events: &[Event], session: &str, refused: usize) {
    let [login, errors @ .., refresh] = events else { panic!("{events:?}") };
    assert_eq!((login.kind(), refresh.kind()), ("CLIENT_LOGIN", "REFRESH_TOKEN"));
    assert_eq!(kinds(errors), vec!["REFRESH_TOKEN_ERROR"; refused]);
    assert_eq!((login.session(), refresh.session()), (Some(session), Some(session)));
    assert_eq!(refresh.refresh_token(), login.refresh_token());
}

/// Hands out what it was filled with, one after another.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<VecDeque<String>>>);

impl Vault {
    fn credentials(&self) -> Credentials {
        let vault = self.clone();
        Credentials::from_fn(CLIENT, move || {
            let secret = vault.0.lock().unwrap().pop_front().expect("asked once too often");
            async move { Ok::<_, Infallible>(secret) }
        })
    }

    fn fill<const N: usize>(&self, secrets: [&str; N]) {
        self.0.lock().unwrap().extend(secrets.map(str::to_owned));
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}
