//! A client for which every host is this machine, and servers that answer to every name, with TLS and without.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use neonomics_auth::testing::{FakeBody, FakeNeonomics};
use rcgen::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::{Service, ServiceExt};

use crate::socket::{Connecting, Socket};

/// The path that every place redirects.
pub(crate) const MOVED: &str = "/moved";

/// Resolves every name to loopback, and trusts the one certificate.
#[derive(Clone)]
pub(crate) struct Names {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

impl Names {
    /// With a certificate for these, beside loopback itself.
    pub(crate) fn new(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() }
    }
}

impl Service<Uri> for Names {
    type Response = Socket;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let connector = self.connector.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, uri.port_u16().unwrap())).await?;
            if uri.scheme_str() != Some("https") {
                return Ok(Socket::new(stream));
            }
            let name = ServerName::try_from(uri.host().unwrap().to_owned()).map_err(io::Error::other)?;
            Ok(Socket::new(connector.connect(name, stream).await?))
        })
    }
}

/// A fake that takes TLS and plain HTTP on one port, so that a downgrade changes the scheme alone. [`MOVED`] is
/// redirected.
pub(crate) struct Place {
    pub(crate) fake: FakeNeonomics,
    pub(crate) port: u16,
    redirects: Arc<Mutex<Redirects>>,
    server: AbortHandle,
}

struct Redirects {
    status: StatusCode,
    location: HeaderValue,
    /// So many are refused first.
    refusals: usize,
    /// What each request for it brought.
    asked: Vec<Option<HeaderValue>>,
}

impl Place {
    pub(crate) async fn listen(names: &Names) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = FakeNeonomics::new();
        let location = HeaderValue::from_static("/");
        let redirects = Redirects { status: StatusCode::FOUND, location, refusals: 0, asked: Vec::new() };
        let redirects = Arc::new(Mutex::new(redirects));
        let accepting = accept(listener, names.acceptor.clone(), fake.clone(), Arc::clone(&redirects));
        let server = tokio::spawn(accepting).abort_handle();
        Self { fake, port, redirects, server }
    }

    pub(crate) fn redirect(&self, status: StatusCode, location: &str) {
        let mut redirects = self.redirects.lock().unwrap();
        redirects.status = status;
        redirects.location = location.parse().unwrap();
    }

    pub(crate) fn refuse_first(&self, refusals: usize) {
        self.redirects.lock().unwrap().refusals = refusals;
    }

    /// The `authorization` of each request that was redirected, or refused instead.
    pub(crate) fn asked(&self) -> Vec<Option<HeaderValue>> {
        self.redirects.lock().unwrap().asked.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, fake: FakeNeonomics, redirects: Arc<Mutex<Redirects>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, fake, redirects) = (tls.clone(), fake.clone(), Arc::clone(&redirects));
        connections.spawn(async move {
            // What begins a TLS handshake (RFC 8446 §5.1).
            let mut first = [0];
            stream.peek(&mut first).await.unwrap();
            let stream = if first == [22] { Socket::new(tls.accept(stream).await?) } else { Socket::new(stream) };
            let service = service_fn(|request| answer(fake.clone(), Arc::clone(&redirects), request));
            // An error is a client that left.
            auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await.ok();
            io::Result::Ok(())
        });
    }
}

async fn answer(
    fake: FakeNeonomics,
    redirects: Arc<Mutex<Redirects>>,
    request: Request<Incoming>,
) -> io::Result<Response<Either<FakeBody, Empty<Bytes>>>> {
    if request.uri().path() != MOVED {
        return Ok(fake.oneshot(request).await?.map(Either::Left));
    }
    let mut redirects = redirects.lock().unwrap();
    redirects.asked.push(request.headers().get(AUTHORIZATION).cloned());
    let response = Response::builder();
    let response = if let Some(left) = redirects.refusals.checked_sub(1) {
        redirects.refusals = left;
        response.status(StatusCode::UNAUTHORIZED)
    } else {
        response.status(redirects.status).header(LOCATION, redirects.location.clone())
    };
    Ok(response.body(Either::Right(Empty::new())).unwrap())
}
