//! hyper-util's client, over HTTP/1.1 and over HTTP/2: named in the field of a struct, with a timeout around both attempts.
//!
//! Runs on an embedded Neonomics. The real one speaks TLS only: there `HttpsConnector<HttpConnector>` (of `hyper-rustls` or
//! `hyper-tls`) takes the place of `HttpConnector`, and `Environment::sandbox()` that of `fake.environment()`.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuth, TokenProvider};
use tower::ServiceExt;
use tower::timeout::Timeout;

type HyperClient = Client<HttpConnector, Full<Bytes>>;

/// What a program knows of Neonomics.
struct Banks {
    api: String,
    client: Timeout<NeonomicsAuth<HyperClient>>,
}

impl Banks {
    fn new(api: &str, http: HyperClient, provider: TokenProvider) -> Self {
        // Around the layer: it bounds both attempts and the wait for a token.
        let client = Timeout::new(NeonomicsAuth::new(http, provider), Duration::from_secs(30));
        Self { api: api.to_owned(), client }
    }

    async fn fetch(&self) -> Result<Response<Incoming>, BoxError> {
        let request = Request::get(format!("{}/ics/v3/banks", self.api))
            .header("x-device-id", "a-device")
            .body(Full::default())?;
        // A clone is cheap and shares token and connections.
        self.client.clone().oneshot(request).await
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut connector = HttpConnector::new();
    // Else the body of a request waits until its head is acknowledged.
    connector.set_nodelay(true);
    let http1 = Client::builder(TokioExecutor::new()).build(connector.clone());
    // HTTP/2 by prior knowledge; a TLS connector would negotiate it.
    let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    show(Version::HTTP_11, http1).await?;
    show(Version::HTTP_2, http2).await
}

async fn show(version: Version, http: HyperClient) -> Result<(), BoxError> {
    let fake = FakeNeonomics::listen().await?;
    // Any tower service fetches the token: here the same client, without the layer.
    let provider = TokenProvider::builder(fake.environment(), fake.credentials()).transport(http.clone()).build()?;
    let banks = Banks::new(fake.origin(), http, provider.clone());

    let response = banks.fetch().await?;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, version), "status and version");
    let list: Vec<serde_json::Value> = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    assert_eq!(list.len(), 3, "banks");
    println!("{version:?}: {} banks, {} token request", list.len(), fake.counts().client_credentials);

    // The API refuses the token: it is renewed, and the request sent once more.
    fake.refuse_requests(1);
    let response = banks.fetch().await?;
    assert_eq!(response.status(), StatusCode::OK, "the 401 was healed");
    assert!(response.extensions().get().is_some_and(AuthOutcome::replayed), "the answer is that of the replay");
    println!("{version:?}: a 401 was healed, {} replay", provider.status().replays);

    // Two fetches, three requests, one of them answered with 401; one token each before and after it.
    fake.expect().client_credentials(1).refresh(1).requests(3).unauthorized(1);
    Ok(())
}
