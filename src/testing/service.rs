//! The fake as a tower service: how a request goes from its arrival to its answer.

use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::SERVER;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tower_service::Service;

use super::body::FakeBody;
use super::fault::{Fault, Turn};
use super::state::{Arrival, Shared};
use super::{FakeNeonomics, api};

impl<B> Service<Request<B>> for FakeNeonomics
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response<FakeBody>;
    type Error = io::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        ResponseFuture { answering: Box::pin(serve(Arc::clone(&self.shared), request)) }
    }
}

/// The future of [`FakeNeonomics`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture {
    answering: Pin<Box<dyn Future<Output = io::Result<Response<FakeBody>>> + Send>>,
}

impl Future for ResponseFuture {
    type Output = io::Result<Response<FakeBody>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answering.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

async fn serve<B>(shared: Arc<Shared>, request: Request<B>) -> io::Result<Response<FakeBody>>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?;
    let trailers = body.trailers().cloned();
    let Arrival { number, turn, barrier } = shared.arrive(head, body.to_bytes(), trailers);
    barrier.pass().await;
    let mut response = take(turn, || shared.judge(number)).await?;
    response.headers_mut().entry(SERVER).or_insert(HeaderValue::from_static("FakeNeonomics"));
    shared.answered(number, response.status());
    Ok(response)
}

/// `usual` does the work of the request, so it is called where the fault says that the work is
/// done.
async fn take(turn: Turn, usual: impl FnOnce() -> Response<Bytes>) -> io::Result<Response<FakeBody>> {
    let fault = match turn {
        Turn::Usual => return Ok(usual().map(FakeBody::whole)),
        Turn::Refuse => return Ok(api::refusal().map(FakeBody::whole)),
        Turn::Fault(fault) => fault,
    };
    let response = match fault {
        Fault::Answer(response) => response.map(FakeBody::whole),
        Fault::Delay(delay) => {
            let response = usual();
            tokio::time::sleep(delay).await;
            response.map(FakeBody::whole)
        }
        Fault::Hang => pending().await,
        Fault::Silence => usual().map(|_| FakeBody::silent()),
        Fault::Trickle(every) => usual().map(|bytes| FakeBody::trickling(bytes, every)),
        Fault::Endless => usual().map(|_| FakeBody::endless()),
        Fault::Truncate => usual().map(|bytes| FakeBody::whole(bytes.slice(..bytes.len() / 2))),
        Fault::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
        Fault::Lose => {
            usual();
            pending().await
        }
    };
    Ok(response)
}
