//! `reqwest` behind tower's interface, and the default transport built from it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use reqwest::ResponseBuilderExt;
use reqwest::redirect::Policy;
use sync_wrapper::SyncWrapper;
use tower_service::Service;

use crate::environment::Environment;
use crate::error::{BoxError, Error};
use crate::transport::{Transport, erase};

/// A [`reqwest::Client`] as a tower service over `http` types, for any body.
///
/// Two things are reqwest's own: it normalises the URL (`/a/../b` becomes `/b`), and it adds `accept: */*` where none
/// is set. Its redirects carry on inside the client, below every layer: turn them off where a token is on the request.
///
/// # Clone
///
/// Clones share the client and its connections.
///
/// # Examples
///
/// ```
/// use neonomics_auth::{Credentials, Environment, NeonomicsAuthLayer, ReqwestService, TokenProvider};
/// use tower::ServiceBuilder;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = TokenProvider::new(Environment::sandbox(), Credentials::new("id", "secret"))?;
/// let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
/// let client = ServiceBuilder::new()
///     .layer(NeonomicsAuthLayer::new(provider))
///     .service(ReqwestService::new(client));
/// # let _: neonomics_auth::NeonomicsAuth<ReqwestService> = client;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestService {
    client: reqwest::Client,
}

impl ReqwestService {
    /// Sends with this client, as it is configured.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self { client }
    }
}

impl From<reqwest::Client> for ReqwestService {
    fn from(client: reqwest::Client) -> Self {
        Self::new(client)
    }
}

impl<B> Service<Request<B>> for ReqwestService
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<reqwest::Body>;
    type Error = reqwest::Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), reqwest::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        let request = request.map(|body| reqwest::Body::wrap(SyncBody::new(body)));
        let state = match reqwest::Request::try_from(request) {
            Ok(request) => State::Sending(self.client.call(request)),
            Err(error) => State::Failed(Some(error)),
        };
        ReqwestFuture { state }
    }
}

/// The answer of a [`ReqwestService`].
///
/// # Panics
///
/// When polled after completion.
#[must_use = "futures do nothing unless polled"]
pub struct ReqwestFuture {
    state: State,
}

enum State {
    Sending(<reqwest::Client as Service<reqwest::Request>>::Future),
    /// The request has no URL that can be called.
    Failed(Option<reqwest::Error>),
}

impl Future for ReqwestFuture {
    type Output = Result<Response<reqwest::Body>, reqwest::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Sending(sending) => {
                let response = ready!(Pin::new(sending).poll(cx))?;
                Poll::Ready(Ok(with_its_url(response)))
            }
            State::Failed(error) => Poll::Ready(Err(error.take().expect("polled after completion"))),
        }
    }
}

/// The URL goes along as an extension, for the way back to reqwest's own response: without it `url()` and the errors of
/// that one name a host that was never asked.
fn with_its_url(response: reqwest::Response) -> Response<reqwest::Body> {
    let mut url = Response::builder().url(response.url().clone());
    let mut response = Response::from(response);
    if let Some(url) = url.extensions_mut() {
        response.extensions_mut().extend(std::mem::take(url));
    }
    response
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body that is `Sync`, as reqwest asks, since it is only ever reached through `&mut`.
    ///
    /// Size hint and end are asked for without `&mut`: they are noted after each frame.
    struct SyncBody<B> {
        #[pin]
        body: SyncWrapper<B>,
        size_hint: SizeHint,
        ended: bool,
    }
}

impl<B: Body> SyncBody<B> {
    fn new(body: B) -> Self {
        let (size_hint, ended) = (body.size_hint(), body.is_end_stream());
        Self { body: SyncWrapper::new(body), size_hint, ended }
    }
}

impl<B: Body> Body for SyncBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let mut body = this.body.get_pin_mut();
        let frame = ready!(body.as_mut().poll_frame(cx));
        *this.size_hint = body.size_hint();
        *this.ended = body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    #[allow(clippy::clone_on_copy, reason = "`Copy` only since http-body 1.1")]
    fn size_hint(&self) -> SizeHint {
        self.size_hint.clone()
    }
}

/// The transport for users who bring none.
///
/// Every setting keeps a secret from going where it was not sent, or a refresh token from being sent twice: no
/// redirects, no resending, no referer, https beyond loopback, no proxy for loopback. No idle connections either: they
/// belong to the runtime that opened them, and an exchange an hour gains nothing from them. The deadline is not the
/// client's: one deadline of the renewal covers call and body.
pub(crate) fn default_transport(environment: &Environment) -> Result<Transport, Error> {
    let client = reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_max_idle_per_host(0)
        .pool_idle_timeout(Duration::ZERO)
        .https_only(!environment.is_loopback());
    let client = if environment.is_loopback() { client.no_proxy() } else { client };
    // Without TLS no certificates are needed, and a slim container may have none.
    let client = if environment.is_plain() { client.tls_certs_only([]) } else { client };
    let client = client.build().map_err(|error| Error::default_transport(error.without_url()))?;
    // The text and the `Debug` of reqwest's error carry the whole URL.
    let client = tower::util::MapErr::new(ReqwestService::new(client), reqwest::Error::without_url);
    Ok(erase(client))
}
