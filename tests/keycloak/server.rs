//! The running Keycloak: where it is, whose turn it is, and what its operator does.

use std::env;
use std::io::{self, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use neonomics_auth::{Credentials, Environment};
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::timeout;

/// Starts and stops the server, and is its operator. See README.md beside it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keycloak/keycloak");

/// Who only asks may ask beside others; who changes a realm, or kills the server, is alone.
static TURN: RwLock<()> = RwLock::const_new(());

/// A test that failed while it was alone may have left anything behind.
static DISTURBED: AtomicBool = AtomicBool::new(false);

/// The client of each realm, as Neonomics would give one out.
pub(crate) const CLIENT: &str = "neonomics-app";
pub(crate) const SECRET: &str = "secret-app";
/// The secret of the client `special`, as imported.
pub(crate) const SPECIAL: &str = "s+p%e&c=i ü l";

/// The server, for as long as it is this test's turn.
pub(crate) struct Keycloak {
    version: String,
    port: u16,
    turn: Turn,
}

enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Keycloak {
    /// For a test that changes nothing but its own sessions. `None`: there is no server, and the test is skipped.
    pub(crate) async fn shared() -> Option<Self> {
        let (version, port) = address()?;
        loop {
            let guard = TURN.read().await;
            if !DISTURBED.load(Ordering::Acquire) {
                return Some(Self { version, port, turn: Turn::Shared { _guard: guard } });
            }
            drop(guard);
            drop(mend(TURN.write().await).await);
        }
    }

    /// For a test that changes a realm or stops the server. It undoes what it did; if it fails, the next test finds the
    /// realms as they were first imported.
    pub(crate) async fn alone() -> Option<Self> {
        let (version, port) = address()?;
        let guard = mend(TURN.write().await).await;
        DISTURBED.store(true, Ordering::Release);
        Some(Self { version, port, turn: Turn::Alone { _guard: guard } })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// `http://127.0.0.1:PORT/auth/realms/REALM`.
    pub(crate) fn realm(&self, realm: &str) -> String {
        format!("http://127.0.0.1:{}/auth/realms/{realm}", self.port)
    }

    /// A realm, and an API that takes its tokens.
    pub(crate) fn environment(&self, realm: &str, api_origin: &str) -> Environment {
        Environment::realm(self.realm(realm), api_origin).unwrap()
    }

    /// The ids of the client's sessions, as the administration interface shows them.
    pub(crate) async fn sessions(&self, realm: &str, client: &str) -> Vec<String> {
        self.operate(&["sessions", realm, client]).await.lines().map(str::to_owned).collect()
    }

    /// The event log of the realm, newest first.
    pub(crate) async fn events(&self, realm: &str) -> Vec<Value> {
        serde_json::from_str(&self.operate(&["events", realm]).await).unwrap()
    }

    /// Runs a command of the script and returns what it prints.
    pub(crate) async fn operate(&self, words: &[&str]) -> String {
        operate(words).await
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        if matches!(self.turn, Turn::Alone { .. }) && !thread::panicking() {
            DISTURBED.store(false, Ordering::Release);
        }
    }
}

/// The credentials of [`CLIENT`].
pub(crate) fn credentials() -> Credentials {
    Credentials::new(CLIENT, SECRET)
}

/// `KEYCLOAK_VERSION` says that a server runs; the script reads the same variables.
fn address() -> Option<(String, u16)> {
    let Ok(version) = env::var("KEYCLOAK_VERSION") else {
        // Past the harness, which keeps to itself what a passing test prints.
        let thread = thread::current();
        let name = thread.name().unwrap_or("a test");
        let told = format!("skipped: {name}: KEYCLOAK_VERSION names no server (see tests/keycloak/README.md)\n");
        io::stderr().write_all(told.as_bytes()).unwrap();
        return None;
    };
    let port = env::var("KEYCLOAK_PORT").map_or(8180, |port| port.parse().expect("KEYCLOAK_PORT is a port"));
    Some((version, port))
}

/// The realms as they were first imported, if a test that was alone has failed.
async fn mend(guard: RwLockWriteGuard<'static, ()>) -> RwLockWriteGuard<'static, ()> {
    if DISTURBED.load(Ordering::Acquire) {
        operate(&["restart"]).await;
        DISTURBED.store(false, Ordering::Release);
    }
    guard
}

async fn operate(words: &[&str]) -> String {
    let command = Command::new(SCRIPT).args(words).stdin(Stdio::null()).kill_on_drop(true).output();
    // Longer than the script itself waits for a start.
    let output = timeout(Duration::from_secs(900), command).await;
    let output = output.unwrap_or_else(|_| panic!("keycloak {words:?} does not end")).unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "keycloak {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    told.trim_end().to_owned()
}
