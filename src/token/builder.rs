//! [`TokenProviderBuilder`]: what a provider can be given besides environment and credentials.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use tokio::runtime::Handle;
use tower_service::Service;

use crate::credentials::Credentials;
use crate::environment::Environment;
use crate::error::{BoxError, Error};
use crate::token::provider::TokenProvider;
use crate::transport::{self, Transport};

const RENEWAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds a [`TokenProvider`]; made by [`TokenProvider::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `.build()`"]
pub struct TokenProviderBuilder {
    environment: Environment,
    credentials: Credentials,
    transport: Option<Transport>,
    renewal_timeout: Duration,
    runtime: Option<Handle>,
}

impl TokenProviderBuilder {
    pub(super) fn new(environment: Environment, credentials: Credentials) -> Self {
        Self { environment, credentials, transport: None, renewal_timeout: RENEWAL_TIMEOUT, runtime: None }
    }

    /// Any tower service over `http` types sends the token requests: one with your proxy, your certificates, your
    /// traces.
    ///
    /// It must not follow redirects, nor send a request again by itself: a refresh token may be good for one use only.
    /// It must not contain [`NeonomicsAuthLayer`](crate::NeonomicsAuthLayer): such a request is answered by an error,
    /// since it would wait for itself. It is cloned for each exchange and made ready before. An answer is read up to
    /// 256 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use neonomics_auth::{Credentials, Environment, TokenProvider};
    /// use hyper_util::client::legacy::Client;
    /// use hyper_util::rt::TokioExecutor;
    ///
    /// # fn main() -> Result<(), neonomics_auth::Error> {
    /// let environment = Environment::realm("http://127.0.0.1:8180/realms/sandbox", "http://127.0.0.1:3000")?;
    /// let provider = TokenProvider::builder(environment, Credentials::new("id", "secret"))
    ///     .transport(Client::builder(TokioExecutor::new()).build_http())
    ///     .build()?;
    /// # let _ = provider;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transport<T, B>(mut self, service: T) -> Self
    where
        T: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
            + Clone
            + Send
            + Sync
            + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        self.transport = Some(transport::erase(service));
        self
    }

    /// The deadline of a whole renewal, counted from its start: credentials, connection, bodies, pauses and up to three
    /// exchanges, the first of which has half of it when it uses a refresh token. 10 seconds unless set; a longer one than
    /// 30 days is cut to that.
    pub fn renewal_timeout(mut self, timeout: Duration) -> Self {
        self.renewal_timeout = timeout;
        self
    }

    /// Renewals run here instead of on the runtime of whoever needs the token first.
    ///
    /// For programs with several runtimes, for callers outside of any, and where a runtime of a single thread is driven by
    /// `block_on` for one call at a time: between two calls a renewal stands still on it, beyond its deadline. When this
    /// one has been shut down, renewals run on the caller's.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Asks nobody, spawns nothing, needs no runtime; for the default transport over https the system's CA certificates
    /// are read.
    ///
    /// # Errors
    ///
    /// Fails when the client id or a fixed secret is empty, when the default transport cannot be built, and when there
    /// is none (the feature `reqwest` is off and no `.transport(…)` was given).
    pub fn build(self) -> Result<TokenProvider, Error> {
        self.credentials.validate()?;
        let transport = match self.transport {
            Some(transport) => transport,
            None => default_transport(&self.environment)?,
        };
        Ok(TokenProvider::renewable(self.environment, self.credentials, transport, self.renewal_timeout, self.runtime))
    }
}

#[cfg(feature = "reqwest")]
fn default_transport(environment: &Environment) -> Result<Transport, Error> {
    transport::reqwest::default_transport(environment)
}

#[cfg(not(feature = "reqwest"))]
fn default_transport(_: &Environment) -> Result<Transport, Error> {
    Err(Error::configuration("there is no transport: give one with `.transport(…)`, or enable the feature `reqwest`"))
}
