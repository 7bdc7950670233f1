//! What is in memory: one copy for all.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::{NeonomicsAuth, TokenProvider};
use tower::{Service, ServiceExt};

use crate::server::{API, Server};

/// A header value is wiped when its last clone goes, so there must be no other copy of it: every token that is handed
/// out and every request that is stamped has the same buffer.
#[tokio::test(start_paused = true)]
async fn e2_the_header_value_is_one_buffer_for_all() {
    let provider = Server::default().provider();
    let token = provider.token().await.unwrap();
    let buffer = token.authorization().as_bytes().as_ptr();
    assert_eq!(provider.token().await.unwrap().authorization().as_bytes().as_ptr(), buffer);
    assert_eq!(provider.cached().unwrap().authorization().as_bytes().as_ptr(), buffer);
    assert_eq!(token.secret().as_ptr(), buffer.wrapping_add("Bearer ".len()));
    assert_eq!(stamped(&provider).await.as_bytes().as_ptr(), buffer);
}

async fn stamped(provider: &TokenProvider) -> http::HeaderValue {
    let api = Api::default();
    let request = Request::get(API).body(Full::default()).unwrap();
    NeonomicsAuth::new(api.clone(), provider.clone()).oneshot(request).await.unwrap();
    let mut seen = api.0.lock().unwrap();
    seen.remove(0).headers_mut().remove(AUTHORIZATION).unwrap()
}

#[derive(Clone, Default)]
struct Api(Arc<Mutex<Vec<Request<Full<Bytes>>>>>);

impl Service<Request<Full<Bytes>>> for Api {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.0.lock().unwrap().push(request);
        ready(Ok(Response::new(())))
    }
}
