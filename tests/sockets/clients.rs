//! The clients: hyper-util's, as users build it.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::TokenProvider;
use neonomics_auth::testing::FakeNeonomics;

pub(crate) type HyperClient = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn http1() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// With prior knowledge, as there is no TLS to negotiate it.
pub(crate) fn http2() -> HyperClient {
    let mut connector = HttpConnector::new();
    // Else a request whose body follows its head waits for the server's delayed acknowledgement, some 40 ms.
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
}

/// A provider whose exchanges reach the fake through its port, by a client of their own.
pub(crate) fn provider(fake: &FakeNeonomics) -> TokenProvider {
    TokenProvider::builder(fake.environment(), fake.credentials()).transport(http1()).build().unwrap()
}
