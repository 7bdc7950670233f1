//! Which requests may carry the token. Knows nothing of tokens.
//!
//! Invariant: an origin without TLS is loopback, checked when it is made, so that comparing is enough afterwards.

use std::net::Ipv4Addr;

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method, Uri};

use crate::error::Error;
use crate::outcome::PassReason;

/// The API origins that may receive the token.
#[derive(Clone, Debug)]
pub(crate) struct Origins(Vec<Origin>);

/// Scheme, host and port (RFC 9110 §4.3.1).
#[derive(Clone, Debug)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
    port: u16,
}

impl Origins {
    /// Fails when `url` is not a bare origin: with path, query or user-info, without host, or http beyond loopback.
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        Origin::parse(url).map(|origin| Self(vec![origin]))
    }

    pub(crate) fn allow(&mut self, url: &str) -> Result<(), Error> {
        self.0.push(Origin::parse(url)?);
        Ok(())
    }

    /// Whether a request may carry the token; if not, why.
    #[inline]
    pub(crate) fn admit(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), PassReason> {
        if *method == Method::CONNECT {
            return Err(PassReason::Connect);
        }
        let allowed = match (uri.scheme(), uri.authority()) {
            // Without the slash, clients that parse the text again read on into another host.
            (Some(scheme), Some(authority)) => uri.path().starts_with('/') && self.allows(scheme, authority),
            // The inner service knows where it goes; a `Host` that names somebody else would tell it otherwise, and so
            // would a path that is a host where it is joined to a base (RFC 3986 §5.2.2).
            (None, None) => is_path(uri.path()) && headers.get_all(HOST).iter().all(|host| self.names(host.as_bytes())),
            _ => false,
        };
        if allowed { Ok(()) } else { Err(PassReason::OtherOrigin) }
    }

    #[inline]
    fn allows(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.0.iter().any(|origin| origin.scheme == *scheme && origin.authority.as_str() == authority.as_str())
            || self.allows_after_normalizing(scheme, authority)
    }

    #[cold]
    fn allows_after_normalizing(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.0.iter().any(|origin| origin.scheme == *scheme && origin.matches(authority))
    }

    /// Whether a `Host` names one of the origins, whatever the scheme.
    fn names(&self, host: &[u8]) -> bool {
        Authority::try_from(host).is_ok_and(|authority| self.0.iter().any(|origin| origin.matches(&authority)))
    }
}

impl Origin {
    fn parse(url: &str) -> Result<Self, Error> {
        let uri = absolute_uri(url, "the API origin")?;
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(Error::configuration(
                "the API origin must be scheme, host and port only: the token is valid for all of it",
            ));
        }
        let parts = uri.into_parts();
        match (parts.scheme, parts.authority) {
            (Some(scheme), Some(authority)) => match port(&authority, &scheme) {
                Some(port) => Ok(Self { scheme, authority, port }),
                None => Err(Error::configuration("the API origin has a port that is not one")),
            },
            _ => Err(Error::configuration("the API origin has no host")),
        }
    }

    /// Host and port, with case and the default port evened out. User-info never matches.
    fn matches(&self, authority: &Authority) -> bool {
        self.authority.host().eq_ignore_ascii_case(authority.host()) && port(authority, &self.scheme) == Some(self.port)
    }
}

/// Whether a path stays one where it is joined to a base.
fn is_path(path: &str) -> bool {
    match path.as_bytes() {
        [b'/', b'/' | b'\\', ..] => false,
        [b'/', ..] | b"*" => true,
        _ => false,
    }
}

/// The port as it is written, or the scheme's. None with user-info, and where what is written is no port: `Authority` lets
/// `:`, `:+443` and `:99999` pass.
fn port(authority: &Authority, scheme: &Scheme) -> Option<u16> {
    match authority.as_str().strip_prefix(authority.host())? {
        "" if *scheme == Scheme::HTTP => Some(80),
        "" => Some(443),
        written => {
            let digits = written.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
            digits.parse().ok()
        }
    }
}

/// Parses what `http::Uri` alone would accept too gladly: `what` names the URL in the error.
pub(crate) fn absolute_uri(url: &str, what: &str) -> Result<Uri, Error> {
    let refuse = |why: &str| Err(Error::configuration(format!("{what} {why}")));
    // `Uri` drops a fragment without a word.
    if url.contains('#') {
        return refuse("must not have a fragment");
    }
    let Ok(uri) = Uri::try_from(url) else { return refuse("is not a URL") };
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return refuse("has no host");
    };
    if authority.as_str().contains('@') {
        return refuse("must not contain user-info");
    }
    if matches!(port(authority, &Scheme::HTTPS), None | Some(0)) {
        return refuse("has a port that is not one");
    }
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(authority.host()) => Ok(uri),
        Some("http") => refuse("must use https: http is accepted on loopback only"),
        _ => refuse("must begin with https://"),
    }
}

/// 127.0.0.0/8, `[::1]` and `localhost`.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "[::1]"
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}
