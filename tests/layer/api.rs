//! An inner service that is strict about tower's contract, answers as it is told and keeps what it received.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::header::WWW_AUTHENTICATE;
use http::{Request, Response, StatusCode};
use neonomics_auth::BoxError;
use tower::Service;

/// What the API answers.
pub(crate) type Answer = Result<Response<String>, BoxError>;

/// The API behind the layer.
///
/// It panics when it is called without having been made ready, and no clone is ready: readiness does not come along.
pub(crate) struct Api<B = String> {
    answer: Arc<dyn Fn(usize) -> Answer + Send + Sync>,
    received: Arc<Mutex<Vec<Request<B>>>>,
    ready: bool,
}

impl Api {
    /// Refuses the first request, takes the second, and knows no third.
    pub(crate) fn refusing_once() -> Self {
        Self::answering(|number| match number {
            0 => Ok(refused("first")),
            1 => Ok(ok("second")),
            _ => panic!("a third attempt"),
        })
    }

    /// Panics when it is called.
    pub(crate) fn never_called() -> Self {
        Self::answering(|_| panic!("sent"))
    }
}

impl<B> Api<B> {
    /// Answers by the number of requests since the last look, from 0.
    pub(crate) fn answering(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), received: Arc::default(), ready: false }
    }

    /// How many requests came.
    pub(crate) fn calls(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// The requests that came since the last look.
    pub(crate) fn take(&self) -> Vec<Request<B>> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// The only request that came since the last look.
    pub(crate) fn take_only(&self) -> Request<B> {
        let mut received = self.take();
        assert_eq!(received.len(), 1, "attempts");
        received.remove(0)
    }
}

impl<B> Clone for Api<B> {
    fn clone(&self) -> Self {
        Self { answer: Arc::clone(&self.answer), received: Arc::clone(&self.received), ready: false }
    }
}

impl<B> Service<Request<B>> for Api<B> {
    type Response = Response<String>;
    type Error = BoxError;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Ready<Answer> {
        assert!(std::mem::take(&mut self.ready), "called without having been made ready");
        let number = {
            let mut received = self.received.lock().unwrap();
            received.push(request);
            received.len() - 1
        };
        ready((self.answer)(number))
    }
}

pub(crate) fn ok(body: &str) -> Response<String> {
    Response::new(body.to_owned())
}

/// A 401 with a body of its own, as the API refuses an access token.
pub(crate) fn refused(body: &str) -> Response<String> {
    Response::builder()
        .status(StatusCode::UNAUTHORIZED)
        .header(WWW_AUTHENTICATE, "Bearer realm=\"sandbox\", error=\"invalid_token\"")
        .header("x-attempt", body)
        .body(body.to_owned())
        .unwrap()
}
