//! An API that refuses a request before it has read its body, as gateways do that look at the head only.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AccessToken, Environment, TokenProvider};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

/// So many bytes of a connection may wait unread in the system, or twice that.
const UNREAD: u32 = 64 << 10;

/// What becomes of a refused request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// So much of its body is read before the answer.
    pub(crate) after: usize,
    /// Bytes of the answer's body.
    pub(crate) length: usize,
    pub(crate) rest: Rest,
}

/// What becomes of the rest of its body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rest {
    /// The client is told that nobody wants it: over HTTP/2 the stream is reset.
    Declined,
    /// It is neither read nor declined.
    Ignored,
}

/// A request that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) authorization: HeaderValue,
    pub(crate) content_length: Option<HeaderValue>,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Refuses one token, and reads what comes with another to its end. Stops when dropped.
pub(crate) struct Refuser {
    pub(crate) fake: FakeNeonomics,
    pub(crate) provider: TokenProvider,
    pub(crate) refused: AccessToken,
    pub(crate) origin: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

struct Shared {
    refused: HeaderValue,
    refusal: Refusal,
    /// One for each refusal that may be sent.
    permits: Semaphore,
    /// Requests whose head has arrived, and of those that are refused as much of the body as is read.
    arrived: watch::Sender<usize>,
    received: Mutex<Vec<Received>>,
    ignored: Mutex<Vec<Incoming>>,
    connections: AtomicUsize,
}

impl Refuser {
    /// Refusals are sent at once.
    pub(crate) async fn listen(refusal: Refusal) -> Self {
        let refuser = Self::holding(refusal).await;
        refuser.release(Semaphore::MAX_PERMITS);
        refuser
    }

    /// Refusals wait to be released.
    pub(crate) async fn holding(refusal: Refusal) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(UNREAD).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());

        let fake = FakeNeonomics::new();
        let realm = format!("{}/auth/realms/sandbox", fake.origin());
        let environment = Environment::realm(realm, &origin).unwrap();
        let provider = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone()).build().unwrap();
        let refused = provider.token().await.unwrap();

        let shared = Arc::new(Shared {
            refused: refused.authorization().clone(),
            refusal,
            permits: Semaphore::new(0),
            arrived: watch::Sender::new(0),
            received: Mutex::default(),
            ignored: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { fake, provider, refused, origin, shared, server }
    }

    pub(crate) fn release(&self, refusals: usize) {
        self.shared.permits.add_permits(refusals);
    }

    /// Waits until so many requests have come, refused ones included.
    pub(crate) async fn arrived(&self, requests: usize) {
        self.shared.arrived.subscribe().wait_for(|arrived| *arrived >= requests).await.unwrap();
    }

    /// One that will not come counts as one that came, so that nobody waits for it.
    pub(crate) fn count_in(&self) {
        self.shared.arrived.send_modify(|arrived| *arrived += 1);
    }

    /// Requests so far, refused ones included.
    pub(crate) fn requests(&self) -> usize {
        *self.shared.arrived.borrow()
    }

    /// What was read to its end.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Refuser {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The body of a refusal: no two places in it look alike.
pub(crate) fn refusal_body(length: usize) -> Bytes {
    (0_u64..).flat_map(u64::to_be_bytes).take(length).collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(10_000);
            // An error is a client that left.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
    let (head, mut body) = request.into_parts();
    let authorization = head.headers[AUTHORIZATION].clone();
    if authorization != shared.refused {
        shared.arrived.send_modify(|arrived| *arrived += 1);
        let whole = body.collect().await?;
        let trailers = whole.trailers().cloned();
        let content_length = head.headers.get(CONTENT_LENGTH).cloned();
        let received = Received { authorization, content_length, body: whole.to_bytes(), trailers };
        shared.received.lock().unwrap().push(received);
        return Ok(Response::new(Full::default()));
    }

    let Refusal { after, length, rest } = shared.refusal;
    let mut read = 0;
    while read < after {
        let frame = body.frame().await.expect("the body is longer than what is read of it")?;
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    shared.arrived.send_modify(|arrived| *arrived += 1);
    shared.permits.acquire().await.unwrap().forget();
    if rest == Rest::Ignored {
        shared.ignored.lock().unwrap().push(body);
    }
    let refusal = Response::builder().status(StatusCode::UNAUTHORIZED);
    Ok(refusal.body(Full::new(refusal_body(length))).unwrap())
}
