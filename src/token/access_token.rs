//! One access token: its header value, and until when it holds.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio::time::Instant;

use crate::secret;
use crate::token::clock::{self, Moment};
use crate::token::renewal::Lifetime;

const SCHEME: &str = "Bearer ";

/// How long an answer of the wall clock is good on the request path, in milliseconds.
const WALL_CHECK_MS: u64 = 1000;

/// An access token (RFC 6750) with the header value built from it once.
///
/// `Debug` shows the generation and the time left, never the token. The memory of the header value is wiped when its
/// last clone goes; clones that sit in a request, or in the buffers of an HTTP client, are not ours to wipe.
///
/// # Clone
///
/// A clone is a reference: a token that was replaced lives as long as somebody holds it.
#[derive(Clone)]
pub struct AccessToken {
    inner: Arc<Inner>,
}

/// What the provider keeps; shared by all clones.
struct Inner {
    authorization: HeaderValue,
    generation: u64,
    session: Option<Box<str>>,
    /// `None`: a fixed token.
    validity: Option<Validity>,
}

struct Validity {
    lifetime: Lifetime,
    /// When to look at the wall clock again, in milliseconds since `lifetime.since`.
    next_wall_check_ms: AtomicU64,
}

/// Where a token stands on its way from fresh to expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    Stale,
    Expired,
}

impl AccessToken {
    pub(crate) fn new(
        authorization: HeaderValue,
        generation: u64,
        session: Option<Box<str>>,
        lifetime: Lifetime,
    ) -> Self {
        let validity = Validity { lifetime, next_wall_check_ms: AtomicU64::new(WALL_CHECK_MS) };
        Self { inner: Arc::new(Inner { authorization, generation, session, validity: Some(validity) }) }
    }

    /// A token that never expires here.
    pub(crate) fn fixed(authorization: HeaderValue) -> Self {
        Self { inner: Arc::new(Inner { authorization, generation: 0, session: None, validity: None }) }
    }

    /// The token itself, without the scheme: for protocols that do not carry headers.
    ///
    /// # Panics
    ///
    /// Never: the header value is built from `Bearer ` and visible ASCII.
    #[must_use]
    pub fn secret(&self) -> &str {
        let text = self.inner.authorization.to_str().expect("a b64token is visible ASCII");
        text.strip_prefix(SCHEME).expect("the value is built with the scheme")
    }

    /// `Bearer …`, marked sensitive, ready to be cloned into a request.
    #[must_use]
    pub fn authorization(&self) -> &HeaderValue {
        &self.inner.authorization
    }

    /// Counts the tokens that one provider published, from 1; 0 for a fixed token. For logs and tests.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// The time left until the token expires, by the monotonic clock, counted from the moment before it was asked
    /// for; zero when it has passed, [`Duration::MAX`] for a fixed token.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        match &self.inner.validity {
            Some(validity) => validity.lifetime.expires_at.saturating_duration_since(clock::monotonic()),
            None => Duration::MAX,
        }
    }

    /// Same bytes: the identity by which a refusal is matched.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.authorization == other.inner.authorization
    }

    /// The very token of one answer, not only the same bytes.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.inner.session.as_deref()
    }

    pub(crate) fn freshness(&self) -> Freshness {
        self.inner.freshness()
    }

    /// Until when it can be handed out, seen from `now`: a moment that may have passed. None if the wall clock says that
    /// it has, or if there is no end.
    pub(crate) fn usable_until(&self, now: Moment) -> Option<Instant> {
        let lifetime = self.inner.validity.as_ref()?.lifetime;
        let left = lifetime.wall_expires_at.duration_since(now.wall).ok()?;
        Some(lifetime.expires_at.min(now.monotonic + left))
    }
}

/// Where the current token is published: the one thing that every request reads.
pub(crate) struct Current(ArcSwapOption<Inner>);

impl Current {
    pub(crate) fn new(token: Option<AccessToken>) -> Self {
        Self(ArcSwapOption::new(token.map(|token| token.inner)))
    }

    /// The token, unless it has expired. One atomic load, one read of the monotonic clock.
    #[inline]
    pub(crate) fn usable(&self) -> Option<(AccessToken, Freshness)> {
        let inner = self.0.load();
        let inner = inner.as_ref()?;
        match inner.freshness() {
            Freshness::Expired => None,
            freshness => Some((AccessToken { inner: Arc::clone(inner) }, freshness)),
        }
    }

    /// The token, expired or not.
    pub(crate) fn get(&self) -> Option<AccessToken> {
        self.0.load_full().map(|inner| AccessToken { inner })
    }

    pub(crate) fn set(&self, token: Option<AccessToken>) {
        self.0.store(token.map(|token| token.inner));
    }
}

impl Inner {
    /// One read of the monotonic clock; of the wall clock, at most one a second.
    #[inline]
    fn freshness(&self) -> Freshness {
        match &self.validity {
            Some(validity) => validity.freshness(clock::monotonic()),
            None => Freshness::Fresh,
        }
    }
}

impl Validity {
    #[inline]
    fn freshness(&self, now: Instant) -> Freshness {
        if now >= self.lifetime.expires_at || self.expired_on_the_wall(now) {
            Freshness::Expired
        } else if now >= self.lifetime.refresh_at {
            Freshness::Stale
        } else {
            Freshness::Fresh
        }
    }

    /// The wall clock shortens a life, it never prolongs one: it sees what a suspended machine slept through.
    #[inline]
    fn expired_on_the_wall(&self, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.lifetime.since);
        // Not `as_millis`: that is a division of 128 bits, for every request.
        let age_ms = age.as_secs() * 1000 + u64::from(age.subsec_millis());
        // Relaxed: guards nothing, two threads may both look.
        age_ms >= self.next_wall_check_ms.load(Ordering::Relaxed) && self.look_at_the_wall(age_ms)
    }

    #[cold]
    fn look_at_the_wall(&self, age_ms: u64) -> bool {
        let expired = clock::wall() >= self.lifetime.wall_expires_at;
        if !expired {
            self.next_wall_check_ms.store(age_ms + WALL_CHECK_MS, Ordering::Relaxed);
        }
        expired
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("generation", &self.generation())
            .field("expires_in", &self.expires_in())
            .finish_non_exhaustive()
    }
}

/// The header value of a token, or none if it is not a `b64token` (RFC 6750 §2.1).
pub(crate) fn bearer(token: &str) -> Option<HeaderValue> {
    let body = token.trim_end_matches('=');
    let is_b64token = !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/'));
    if !is_b64token {
        return None;
    }
    // Exact capacity: a buffer that grew would leave a copy behind.
    let mut text = String::with_capacity(SCHEME.len() + token.len());
    text.push_str(SCHEME);
    text.push_str(token);
    let mut value = HeaderValue::from_maybe_shared(secret::wiped_bytes(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}
