//! What travels in extensions: [`NoReplay`] on a request, [`AuthOutcome`] on a response.

use http::Response;

use crate::error::Error;

/// Request extension: the request is stamped, but never sent twice.
///
/// A 401 says that a request was not applied (RFC 9110 §15.5.2), so that sending a payment again is sound. This is for
/// the cautious. It binds the layer, and no retry of somebody else's.
///
/// # Examples
///
/// ```
/// use neonomics_auth::NoReplay;
///
/// let mut request = http::Request::post("https://api.neonomics.io/ics/v3/payments/sepa-credit").body("{}")?;
/// request.extensions_mut().insert(NoReplay);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NoReplay;

/// Response extension: what the layer did, present only when something unusual happened.
///
/// Several layers in one stack share it: an outer one that has something to say replaces what an inner one said.
///
/// # Examples
///
/// ```
/// use neonomics_auth::AuthOutcome;
///
/// /// Why a 401 came back.
/// fn explain<B>(response: &http::Response<B>) -> String {
///     let Some(outcome) = response.extensions().get::<AuthOutcome>() else {
///         return "not to be replayed, or not about the token".to_owned();
///     };
///     if let Some(error) = outcome.renewal_error() {
///         return format!("refused, and there is no new token: {error}");
///     }
///     if let Some(reason) = outcome.passed_without_token() {
///         return format!("sent without our token: {reason:?}");
///     }
///     if outcome.replayed() { "refused with a new token, too" } else { "not to be replayed" }.to_owned()
/// }
/// # assert!(explain(&http::Response::new(())).starts_with("not to be replayed"));
/// ```
#[derive(Clone, Debug)]
pub struct AuthOutcome {
    pub(crate) replayed: bool,
    pub(crate) waited: bool,
    pub(crate) passed: Option<PassReason>,
    pub(crate) renewal_error: Option<Error>,
}

impl AuthOutcome {
    /// The first attempt was refused; this is the answer to the second.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.replayed
    }

    /// There was no usable token: the request waited for one before its first attempt.
    #[must_use]
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// The request was passed on without a token, and why.
    #[must_use]
    pub fn passed_without_token(&self) -> Option<PassReason> {
        self.passed
    }

    /// Why the refused request was not sent again, when that was for want of another token: what
    /// [`TokenProvider::renew`](crate::TokenProvider::renew) failed with.
    #[must_use]
    pub fn renewal_error(&self) -> Option<&Error> {
        self.renewal_error.as_ref()
    }
}

impl AuthOutcome {
    /// All went as usual.
    pub(crate) const USUAL: Self = Self { replayed: false, waited: false, passed: None, renewal_error: None };

    /// Puts this on a response.
    pub(crate) fn on<B>(self, mut response: Response<B>) -> Response<B> {
        response.extensions_mut().insert(self);
        response
    }

    /// Puts this on a response, unless all went as usual.
    #[inline]
    pub(crate) fn on_unusual<B>(self, response: Response<B>) -> Response<B> {
        let Self { replayed, waited, passed, renewal_error } = &self;
        if *replayed || *waited || passed.is_some() || renewal_error.is_some() { self.on(response) } else { response }
    }
}

/// Why a request was passed on without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PassReason {
    /// The request goes to an origin that must not receive the token, or says so in its `Host` where the URI names none, or
    /// has a path that may be taken for a host (`//…`, or one without a slash at its beginning).
    OtherOrigin,
    /// The caller set `authorization`.
    CallerAuthorized,
    /// `CONNECT` speaks to a proxy.
    Connect,
}
