//! What the gateway tells its callers where Neonomics did not answer.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use neonomics_auth::{BoxError, Error};
use tower::timeout::error::Elapsed;

/// Neonomics did not answer, or was not asked for want of a token.
pub(crate) struct NoAnswer(BoxError);

impl<E: Into<BoxError>> From<E> for NoAnswer {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        // Your log: the caller is not told.
        eprintln!("no answer: {}", chain(&*self.0));
        let no_token = self.0.downcast_ref::<Error>();
        let mut response = match no_token {
            Some(error) if error.is_transient() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            None if self.0.is::<Elapsed>() => StatusCode::GATEWAY_TIMEOUT.into_response(),
            _ => StatusCode::BAD_GATEWAY.into_response(),
        };
        if let Some(left) = no_token.and_then(Error::retry_after) {
            response.headers_mut().insert(RETRY_AFTER, (left.as_secs() + 1).into());
        }
        response
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", chain(source)))
}
