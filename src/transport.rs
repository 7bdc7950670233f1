//! How an exchange reaches the token endpoint: any tower service over `http` types, erased.
//!
//! Knows nothing of tokens. An erased transport yields the whole answer, capped, so that one deadline around it covers
//! connection, head and body.

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use crate::error::{BoxError, Error};

#[cfg(feature = "reqwest")]
pub(crate) mod reqwest;

/// A request with a form goes in, an answer with its whole body comes out.
///
/// The error is ours and not boxed: with a boxed one the future of an exchange is not `Send` for every lifetime, which
/// `tokio::spawn` asks for.
pub(crate) type Transport = BoxCloneSyncService<Request<Full<Bytes>>, Response<Bytes>, Error>;

/// Request extension: this is a token request. A layer that meets it would wait for the token that it fetches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenRequest;

/// An answer longer than this, in bytes, is not a token.
const LONGEST_ANSWER: usize = 256 * 1024;

pub(crate) fn erase<T, B>(service: T) -> Transport
where
    T: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(tower::service_fn(move |request| {
        let service = service.clone();
        async move {
            let (head, body) = service.oneshot(request).await.map_err(unanswered)?.into_parts();
            let body = match Limited::new(body, LONGEST_ANSWER).collect().await {
                Ok(body) => body.to_bytes(),
                // The page of an error, too long or broken off: its head says enough.
                Err(_) if !head.status.is_success() => Bytes::new(),
                Err(error) => return Err(broken_off(error)),
            };
            Ok(Response::from_parts(head, body))
        }
    }))
}

/// Our own errors come through as they are: the exchange met the layer that waits for it.
fn unanswered(error: impl Into<BoxError>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(ours) => *ours,
        Err(error) => Error::unreachable(error),
    }
}

fn broken_off(error: BoxError) -> Error {
    if error.is::<LengthLimitError>() {
        Error::malformed("it is longer than 256 KiB")
    } else {
        Error::unreachable(error)
    }
}
