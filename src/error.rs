//! What can go wrong between a request and its token. No message contains a token, a secret or a body.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// The error type of tower's middleware: what [`NeonomicsAuth`](crate::NeonomicsAuth) returns, the inner service's
/// error or an [`Error`] of this crate, to be told apart with `downcast_ref::<neonomics_auth::Error>()`.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why there is no token, or why a session was not ended.
///
/// Opaque and cheap to clone: all callers of one failed renewal get the same. Its text says what to do and never
/// contains a token, a secret or a body; text of the authorization server is cut to 256 characters and cleaned of
/// control characters. It does not repeat its cause: log the [`source`](std::error::Error::source) too.
///
/// Each message has an entry in [`troubleshooting`](crate::troubleshooting).
///
/// None of the predicates holds where neither the authorization server nor time can help: a setting that cannot be used,
/// no tokio runtime, a transport that leads through the layer, a session that was ended, a token that is fixed or was
/// brought unchanged, forced renewals that follow one another too fast, a logout that was not confirmed.
///
/// # Examples
///
/// ```
/// use neonomics_auth::Environment;
///
/// let error = Environment::realm("http://example.com/realms/sandbox", "https://example.com").unwrap_err();
/// assert_eq!(error.to_string(), "the realm URL must use https: http is accepted on loopback only");
/// assert!(!error.is_transient());
/// ```
#[derive(Clone)]
pub struct Error {
    cause: Arc<Cause>,
    retry_after: Option<Duration>,
}

struct Cause {
    kind: Kind,
    source: Option<BoxError>,
}

#[derive(Debug)]
enum Kind {
    Configuration(Cow<'static, str>),
    Rejected { status: StatusCode, code: Option<String>, description: Option<String>, realm: String },
    Unavailable { status: StatusCode, code: Option<String> },
    Unreachable,
    Timeout,
    SecretTimeout,
    Malformed(&'static str),
    ExpiredOnArrival,
    Credentials,
    RefreshTokenRefused { status: StatusCode, code: Option<String> },
    Abandoned,
    EndAbandoned,
    NoRuntime,
    Recursive,
    Ended,
    NotRenewable,
    Unchanged,
    RefusedTooOften,
    EndRefused(StatusCode),
}

impl Error {
    /// The authorization server refuses this client or this request: most likely a setting is wrong. The provider asks
    /// again after at most 60 seconds, unless the server asked for more.
    ///
    /// `invalid_client`, `unauthorized_client`, redirects, and statuses that are neither success nor a passing fault
    /// (Neonomics' 510 among them).
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        matches!(self.cause.kind, Kind::Rejected { .. })
    }

    /// A fault that passes by itself: no answer, a timeout, 408, 409, 425, 429, 5xx except 501, 505 and 510, a token that
    /// had expired on arrival, a refresh token that is over, credentials that could not be read just now, a renewal
    /// whose runtime was shut down, or whose transport panicked.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.cause.kind,
            Kind::Unavailable { .. }
                | Kind::Unreachable
                | Kind::Timeout
                | Kind::SecretTimeout
                | Kind::ExpiredOnArrival
                | Kind::Credentials
                | Kind::RefreshTokenRefused { .. }
                | Kind::Abandoned
                | Kind::EndAbandoned
        )
    }

    /// The authorization server, or the source of the client secret, did not answer within the deadline. Also
    /// [transient](Self::is_transient).
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.cause.kind, Kind::Timeout | Kind::SecretTimeout)
    }

    /// An answer that is not what RFC 6749 §5.1 describes: HTML, truncated JSON, a token that cannot be a header.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self.cause.kind, Kind::Malformed(_))
    }

    /// How long the provider will not ask again, counted from the moment this error was handed out.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The `error` of the answer (RFC 6749 §5.2), such as `invalid_client`; at most 256 characters.
    #[must_use]
    pub fn oauth_code(&self) -> Option<&str> {
        match &self.cause.kind {
            Kind::Rejected { code, .. } | Kind::Unavailable { code, .. } | Kind::RefreshTokenRefused { code, .. } => {
                code.as_deref()
            }
            _ => None,
        }
    }

    pub(crate) fn configuration(message: impl Into<Cow<'static, str>>) -> Self {
        Kind::Configuration(message.into()).into()
    }

    #[cfg(feature = "reqwest")]
    pub(crate) fn default_transport(source: impl Into<BoxError>) -> Self {
        let message = "the default transport cannot be built: install the system's CA certificates, or give a transport of \
                       your own with `.transport(…)`";
        Self::new(Kind::Configuration(message.into()), Some(source.into()))
    }

    pub(crate) fn rejected(
        status: StatusCode,
        code: Option<String>,
        description: Option<String>,
        realm: String,
    ) -> Self {
        Kind::Rejected { status, code, description, realm }.into()
    }

    pub(crate) fn unavailable(status: StatusCode, code: Option<String>) -> Self {
        Kind::Unavailable { status, code }.into()
    }

    /// No answer: the connection failed or broke.
    pub(crate) fn unreachable(source: impl Into<BoxError>) -> Self {
        Self::new(Kind::Unreachable, Some(source.into()))
    }

    pub(crate) fn timeout() -> Self {
        Kind::Timeout.into()
    }

    /// The user's file or closure did not yield the client secret in time.
    pub(crate) fn secret_timeout() -> Self {
        Kind::SecretTimeout.into()
    }

    pub(crate) fn malformed(what: &'static str) -> Self {
        Kind::Malformed(what).into()
    }

    pub(crate) fn expired_on_arrival() -> Self {
        Kind::ExpiredOnArrival.into()
    }

    /// The user's file or closure did not yield the client secret.
    pub(crate) fn credentials(source: impl Into<BoxError>) -> Self {
        Self::new(Kind::Credentials, Some(source.into()))
    }

    /// The next renewal starts a new session.
    pub(crate) fn refresh_token_refused(status: StatusCode, code: Option<String>) -> Self {
        Kind::RefreshTokenRefused { status, code }.into()
    }

    pub(crate) fn abandoned() -> Self {
        Kind::Abandoned.into()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(self.cause.kind, Kind::Abandoned)
    }

    pub(crate) fn end_abandoned() -> Self {
        Kind::EndAbandoned.into()
    }

    pub(crate) fn no_runtime() -> Self {
        Kind::NoRuntime.into()
    }

    pub(crate) fn recursive() -> Self {
        Kind::Recursive.into()
    }

    pub(crate) fn ended() -> Self {
        Kind::Ended.into()
    }

    pub(crate) fn not_renewable() -> Self {
        Kind::NotRenewable.into()
    }

    pub(crate) fn unchanged() -> Self {
        Kind::Unchanged.into()
    }

    pub(crate) fn refused_too_often() -> Self {
        Kind::RefusedTooOften.into()
    }

    pub(crate) fn end_refused(status: StatusCode) -> Self {
        Kind::EndRefused(status).into()
    }

    pub(crate) fn with_retry_after(mut self, left: Duration) -> Self {
        self.retry_after = Some(left);
        self
    }

    fn new(kind: Kind, source: Option<BoxError>) -> Self {
        Self { cause: Arc::new(Cause { kind, source }), retry_after: None }
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self::new(kind, None)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.cause.kind)
            .field("source", &self.cause.source)
            .field("retry_after", &self.retry_after)
            .finish()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.kind.fmt(f)?;
        match self.retry_after {
            Some(left) => write!(f, "; next attempt in {} s", left.as_millis().div_ceil(1000)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(message) => f.write_str(message),
            Self::Rejected { status, code, description, realm } => {
                fmt_rejected(f, *status, code.as_deref(), description.as_deref(), realm)
            }
            Self::Unavailable { status, code } => {
                f.write_str("the authorization server cannot answer now")?;
                fmt_answer(f, *status, code.as_deref())
            }
            Self::Unreachable => f.write_str("the authorization server could not be reached"),
            Self::Timeout => f.write_str("the authorization server did not answer within the deadline"),
            Self::SecretTimeout => f.write_str("the client secret could not be obtained within the deadline"),
            Self::Malformed(what) => write!(f, "the token endpoint's answer cannot be used: {what}"),
            Self::ExpiredOnArrival => f.write_str("the access token had expired on arrival"),
            Self::Credentials => f.write_str("the client secret could not be obtained"),
            Self::RefreshTokenRefused { status, code } => {
                f.write_str("the authorization server refused the refresh token")?;
                fmt_answer(f, *status, code.as_deref())
            }
            Self::Abandoned => f.write_str(
                "the renewal was dropped before it ended: its runtime was shut down or has no timers, or the transport \
                 or the secret's closure panicked",
            ),
            Self::EndAbandoned => f.write_str(
                "the end of the session was dropped before the authorization server confirmed it: its runtime was shut \
                 down or has no timers, or the transport or the secret's closure panicked",
            ),
            Self::NoRuntime => f.write_str(
                "a renewal, and the end of a session, need a tokio runtime: call from within one, or give the provider one with \
                 `.runtime(handle)`",
            ),
            Self::Recursive => f.write_str(
                "the token request went through the authenticated stack itself: give the provider a transport \
                 without NeonomicsAuthLayer",
            ),
            Self::Ended => f.write_str("the session was ended: the next `token()` starts a new one"),
            Self::NotRenewable => f.write_str("a fixed token is neither renewed nor ended"),
            Self::Unchanged => f.write_str("the renewal brought the same token that was refused"),
            Self::RefusedTooOften => f.write_str(
                "the API refuses one fresh token after another: check that no proxy strips `authorization`, and that \
                 the token's realm is that of the API",
            ),
            Self::EndRefused(status) => write!(
                f,
                "the session is forgotten here, but the authorization server did not confirm its end (status {})",
                status.as_u16()
            ),
        }
    }
}

fn fmt_rejected(
    f: &mut fmt::Formatter<'_>,
    status: StatusCode,
    code: Option<&str>,
    description: Option<&str>,
    realm: &str,
) -> fmt::Result {
    match code {
        Some(code @ ("invalid_client" | "unauthorized_client")) => write!(
            f,
            "the authorization server rejected the client ({code}): check NEONOMICS_CLIENT_ID and its secret for \
             realm `{realm}`"
        )?,
        _ if status.is_redirection() => write!(
            f,
            "the token endpoint of realm `{realm}` answered a redirect (status {}), which is never followed with a \
             secret: check the realm URL",
            status.as_u16()
        )?,
        _ => {
            write!(f, "the authorization server refused the token request for realm `{realm}`")?;
            fmt_answer(f, status, code)?;
        }
    }
    match description {
        Some(description) => write!(f, ": {description}"),
        None => Ok(()),
    }
}

fn fmt_answer(f: &mut fmt::Formatter<'_>, status: StatusCode, code: Option<&str>) -> fmt::Result {
    match code {
        Some(code) => write!(f, " ({code}, status {})", status.as_u16()),
        None => write!(f, " (status {})", status.as_u16()),
    }
}

#[cfg(test)]
mod tests;
