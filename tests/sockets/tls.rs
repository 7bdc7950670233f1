//! TLS that nobody vouches for.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Environment, ReqwestService, TokenProvider};
use rcgen::CertifiedKey;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::{told_by, unless_it_hangs};

#[tokio::test]
async fn e3_a_certificate_that_nobody_trusts_is_a_transient_error_that_names_no_secret() {
    let fake = FakeNeonomics::new();
    let server = TlsServer::listen(fake.clone()).await;
    let environment = Environment::realm(format!("{}/auth/realms/sandbox", server.origin), &server.origin).unwrap();
    let provider = TokenProvider::new(environment.clone(), fake.credentials()).unwrap();

    let error = unless_it_hangs(provider.token()).await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout() && !error.is_rejected(), "{error}");
    let told = told_by(&error);
    assert!(told.contains("certificate"), "an operator must see what is wrong:\n{told}");
    for secret in [&fake.client_secret(), "/auth/realms", fake.client_id()] {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }
    // Tried as often as the policy says, and not one byte of HTTP was sent.
    assert_eq!(server.shared.connections.load(Ordering::Relaxed), 3);
    assert_eq!(server.shared.handshakes.load(Ordering::Relaxed), 0);
    fake.expect().client_credentials(0).other_grants(0);

    // A client that trusts this certificate gets a token there: nothing else was wrong.
    let certificate = reqwest::Certificate::from_pem(server.certificate.as_bytes()).unwrap();
    let trusting = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy().build().unwrap();
    let provider = TokenProvider::builder(environment, fake.credentials())
        .transport(ReqwestService::new(trusting))
        .build()
        .unwrap();
    assert_eq!(unless_it_hangs(provider.token()).await.unwrap().generation(), 1);
    assert_eq!(server.shared.handshakes.load(Ordering::Relaxed), 1);
    fake.expect().client_credentials(1);
}

/// A fake behind TLS, with a certificate that it has signed itself.
struct TlsServer {
    origin: String,
    certificate: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
}

impl TlsServer {
    async fn listen(fake: FakeNeonomics) -> Self {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let server = tokio::spawn(accept(listener, acceptor, fake, Arc::clone(&shared))).abort_handle();
        Self { origin, certificate: cert.pem(), shared, server }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, fake: FakeNeonomics, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (acceptor, fake, shared) = (acceptor.clone(), fake.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            // A client that does not trust the certificate leaves.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            shared.handshakes.fetch_add(1, Ordering::Relaxed);
            let service = TowerToHyperService::new(fake);
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}
