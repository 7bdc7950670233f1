//! An embedded Neonomics for tests.
//!
//! [`FakeNeonomics`] stands for the API and for the Keycloak realm in front of it. It behaves as
//! the vendor's documentation and recordings of Keycloak 26.7.3 say, fails as it is told to, and
//! tells what it received.

// Quotations in the comments of these files are lines of FACTS.md, beside them.

mod api;
mod authorization;
mod body;
mod endpoint;
mod expectation;
mod fault;
mod form;
mod gate;
mod port;
mod realm;
mod record;
mod service;
mod state;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::body::FakeBody;
pub use self::expectation::Expectation;
pub use self::fault::Fault;
pub use self::gate::Gate;
use self::port::Port;
pub use self::record::{Counts, RecordedRequest};
pub use self::service::ResponseFuture;
use self::state::Shared;
use crate::token::clock;
use crate::{Credentials, Environment, TokenProvider};

/// A whole Neonomics in one handle: the authorization server and the API, scripted by the test.
///
/// The handle itself is the tower service, so it goes where the HTTP client would. It knows `POST`
/// to the token and the logout endpoint of the realm `sandbox`, `GET /ics/v3/banks`, `POST
/// /ics/v3/session`, and `/echo` with everything below it, which sends the body back, whatever the
/// method. The API wants a live bearer, and below `/ics` an `x-device-id`. Any other request is
/// answered with 501 and makes [`expect`](Self::expect) panic.
///
/// # How it differs from the real ones
///
/// Its client id, its secret and its tokens begin with `fake-` and are invented anew for each
/// instance. It listens on 127.0.0.1 only, if at all. Its time is the time of tokio, which a test
/// can pause, in whole seconds from its start. A request is looked at when its body has arrived.
/// Everything that it received is kept until the last handle goes.
///
/// # Clone
///
/// Clones share everything: realm, script and record.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use bytes::Bytes;
/// use http::{Request, StatusCode};
/// use http_body_util::Full;
/// use neonomics_auth::NeonomicsAuthLayer;
/// use neonomics_auth::testing::FakeNeonomics;
/// use tower::{Layer, ServiceExt};
///
/// let fake = FakeNeonomics::new();
/// let client = NeonomicsAuthLayer::new(fake.provider()).layer(fake.clone());
///
/// let request = Request::get(format!("{}/ics/v3/banks", fake.origin()))
///     .header("x-device-id", "a-device")
///     .body(Full::<Bytes>::default())?;
/// let response = client.oneshot(request).await?;
///
/// assert_eq!(response.status(), StatusCode::OK);
/// fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FakeNeonomics {
    shared: Arc<Shared>,
    /// None in process, and in the handle that the port itself serves.
    _port: Option<Arc<Port>>,
}

impl FakeNeonomics {
    /// A fake in process only: no sockets, so it works with paused time.
    ///
    /// [`origin`](Self::origin) is a loopback origin at which nobody listens.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new("http://127.0.0.1:1".to_owned())), _port: None }
    }

    /// A fake that is also served on 127.0.0.1, at a port that the system chooses, over HTTP/1.1
    /// and, with prior knowledge, over HTTP/2.
    ///
    /// The server stops when the last handle goes, the one in [`provider`](Self::provider)
    /// included. It runs on the runtime of this call. Paused time runs ahead while a task waits for
    /// a socket, so the two do not mix.
    ///
    /// # Errors
    ///
    /// The port could not be opened.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn listen() -> io::Result<Self> {
        port::listen().await
    }

    /// Where the API is: `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The environment of this fake: its realm and its API.
    ///
    /// # Panics
    ///
    /// Never: the fake's own URLs are valid.
    pub fn environment(&self) -> Environment {
        let realm = format!("{}/auth/realms/{}", self.origin(), realm::NAME);
        Environment::realm(realm, self.origin()).expect("a realm on loopback is valid")
    }

    /// The credentials that the realm accepts now.
    pub fn credentials(&self) -> Credentials {
        Credentials::new(self.client_id(), self.client_secret())
    }

    /// A new provider for this fake, with the credentials of now. Its transport is this handle, in
    /// process.
    ///
    /// # Panics
    ///
    /// When [`set_client_secret`](Self::set_client_secret) was given an empty secret.
    pub fn provider(&self) -> TokenProvider {
        TokenProvider::builder(self.environment(), self.credentials())
            .transport(self.clone())
            .build()
            .expect("only an empty secret is refused")
    }

    /// The id of the one client of the realm.
    pub fn client_id(&self) -> &str {
        &self.shared.client_id
    }

    /// The client secret that the realm accepts now.
    pub fn client_secret(&self) -> String {
        self.shared.lock().realm.client.secret.clone()
    }
}

/// Settings of the realm. Durations are cut to whole seconds.
impl FakeNeonomics {
    /// The lifetime of access tokens, from the next grant on: 3,600 s at first.
    pub fn set_access_lifetime(&self, lifetime: Duration) {
        self.shared.lock().realm.settings.access_lifetime = lifetime.as_secs();
    }

    /// How long a session lives without a refresh, from the next grant on: 7,200 s at first.
    ///
    /// It is the lifetime of refresh tokens. Access tokens do not depend on it.
    pub fn set_session_idle(&self, idle: Duration) {
        self.shared.lock().realm.settings.session_idle = idle.as_secs();
    }

    /// How long a session lives in all, counted from its start: 36,000 s at first. It holds for
    /// running sessions too.
    ///
    /// No token outlives it: `refresh_expires_in` shrinks first, then `expires_in`.
    pub fn set_session_maximum(&self, maximum: Duration) {
        self.shared.lock().realm.settings.session_maximum = maximum.as_secs();
    }

    /// Whether a refresh token works once only; off at first.
    ///
    /// On: reuse ends the session with all its tokens, as does a race of refreshes. An *older*
    /// refresh token than the last one used is recognized only in a later second than the last
    /// refresh.
    pub fn set_rotation(&self, on: bool) {
        self.shared.lock().realm.settings.rotation = on;
    }

    /// Whether answers bring a refresh token; on at first.
    ///
    /// Off: `refresh_expires_in` is 0, and a new session has no `session_state`. Refresh tokens
    /// given out before go on working, and their refreshes bring no new one (RFC 6749 section 6).
    pub fn set_refresh_tokens(&self, on: bool) {
        self.shared.lock().realm.settings.refresh_tokens = on;
    }

    /// Whether the gateway of Neonomics stands before the token endpoint; on at first.
    ///
    /// On: every error of the token endpoint has status 510. Off: it has Keycloak's own.
    pub fn set_gateway(&self, on: bool) {
        self.shared.lock().realm.settings.gateway = on;
    }

    /// Gives the client another secret. Sessions and tokens live on.
    pub fn set_client_secret(&self, secret: &str) {
        secret.clone_into(&mut self.shared.lock().realm.client.secret);
    }

    /// Disables or enables the client. While it is disabled, every grant, logout and access token
    /// is refused.
    pub fn set_client_enabled(&self, enabled: bool) {
        self.shared.lock().realm.client.enabled = enabled;
    }
}

/// What an operator does.
impl FakeNeonomics {
    /// Ends all sessions and refuses every token issued so far.
    pub fn revoke_all(&self) {
        let now = self.shared.now();
        let realm = &mut self.shared.lock().realm;
        realm.end_sessions();
        realm.set_not_before(now);
    }

    /// Refuses every token issued before `from_now`, whatever it says of its lifetime; sessions
    /// stay.
    ///
    /// [`Duration::ZERO`] is now: the next grant works. Later than now: fresh tokens are dead on
    /// arrival until then.
    pub fn set_not_before(&self, from_now: Duration) {
        let not_before = self.shared.now().saturating_add(from_now.as_secs());
        self.shared.lock().realm.set_not_before(not_before);
    }

    /// Forgets all sessions, as a server that kept them in memory. Their tokens are refused from
    /// now on.
    pub fn restart(&self) {
        self.shared.lock().realm.end_sessions();
    }
}

/// What has happened.
impl FakeNeonomics {
    /// The numbers so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().journal.counts()
    }

    /// All requests so far, in the order in which their bodies had arrived.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.lock().journal.requests().to_vec()
    }

    /// How many connections the port has accepted; 0 in process.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many sessions are alive. Without refresh tokens the server keeps none.
    pub fn sessions(&self) -> usize {
        let now = self.shared.now();
        self.shared.lock().realm.sessions_alive(now)
    }

    /// The conversation so far as aligned text, a line for each request.
    ///
    /// Tokens appear by their number, the first access token as `access 1`; secrets do not appear.
    pub fn transcript(&self) -> String {
        self.shared.lock().journal.transcript()
    }

    /// Asserts exact numbers.
    ///
    /// # Panics
    ///
    /// If a request came that the fake does not know. The methods of [`Expectation`] panic on a
    /// wrong number.
    #[track_caller]
    pub fn expect(&self) -> Expectation {
        let (counts, transcript) = {
            let journal = &self.shared.lock().journal;
            (journal.counts(), journal.transcript())
        };
        Expectation::new(counts, transcript)
    }
}

/// Moves the wall clock, as this crate sees it on the current thread, by this many seconds; zero puts it right.
///
/// For what a suspended machine or a corrected clock does to a token: the monotonic clock, which tokio can pause, stays
/// where it is. It holds for one thread, so that tests in one process do not disturb one another: use a runtime of one
/// thread.
pub fn shift_wall_clock(seconds: i64) {
    clock::shifted::set(seconds);
}

impl Default for FakeNeonomics {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows no secret.
impl fmt::Debug for FakeNeonomics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeNeonomics")
            .field("origin", &self.origin())
            .field("client_id", &self.client_id())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
