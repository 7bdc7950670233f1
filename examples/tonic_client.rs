//! gRPC with tonic: a generated client whose calls carry the token, and a refusal that nobody notices.
//!
//! The tokens come from an embedded Neonomics, in process; the service is a small health check on loopback that takes
//! them.

use std::net::Ipv4Addr;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http_body_util::Empty;
use neonomics_auth::replay::BufferBodyWith;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{BoxError, Environment, NeonomicsAuth, NeonomicsAuthLayer, ReplayBody, TokenProvider};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::{Layer, ServiceExt};

/// A function pointer, so that the client can be named.
type Wrap = fn(ReplayBody<Body>) -> Body;

/// What a program keeps: the generated client over the layer over a channel.
struct Bank {
    health: HealthClient<NeonomicsAuth<Channel, BufferBodyWith<Wrap>>>,
}

impl Bank {
    /// `origin` is where the channel leads: a client without it names no host, and the token goes wherever that goes.
    fn new(channel: Channel, origin: http::Uri, provider: TokenProvider) -> Self {
        // Up to 64 KiB of a call are kept, so that it can be made once more.
        let layer = NeonomicsAuthLayer::new(provider).buffer_body_with(64 << 10, Body::new as Wrap);
        Self { health: HealthClient::with_origin(layer.layer(channel), origin) }
    }

    async fn is_open(&mut self) -> Result<bool, Status> {
        let answer = self.health.check(HealthCheckRequest::default()).await?.into_inner();
        Ok(answer.status() == ServingStatus::Serving)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let fake = FakeNeonomics::new();
    let origin = serve(fake.clone()).await?;

    // For a real one: TokenProvider::new(Environment::realm(…)?, Credentials::from_env()?)?
    let environment = Environment::realm(format!("{}/auth/realms/sandbox", fake.origin()), &origin)?;
    let provider = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone()).build()?;
    let mut bank = Bank::new(Channel::from_shared(origin.clone())?.connect_lazy(), origin.parse()?, provider.clone());

    assert!(bank.is_open().await?);
    fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
    println!("1. A call went out with token {}.", provider.token().await?.generation());

    fake.revoke_all();
    assert!(bank.is_open().await?);
    // The revocation ended the session: its refresh token is tried, then a new session begins.
    fake.expect().client_credentials(2).refresh(1).requests(3).unauthorized(1);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, status.renewals.forced.succeeded), (1, 1, 1));
    println!("2. The token was revoked, and the next call refused with status 16 (UNAUTHENTICATED) in its headers.");
    println!("   One renewal, and the call was made once more with token {}.", provider.token().await?.generation());
    println!("\nEvery count was as promised.");
    Ok(())
}

/// A gRPC server that takes the tokens of this Neonomics.
async fn serve(fake: FakeNeonomics) -> Result<String, BoxError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(health).into_axum_router().layer(from_fn_with_state(fake, admit));
    let server = Server::builder().add_routes(Routes::from(routes));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    Ok(origin)
}

/// Asks Neonomics whether the token of a call is good.
async fn admit(State(fake): State<FakeNeonomics>, request: Request, next: Next) -> Response {
    let mut question = http::Request::new(Empty::<bytes::Bytes>::new());
    *question.uri_mut() = http::Uri::from_static("/echo");
    question.headers_mut().extend(request.headers().get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone())));
    match fake.oneshot(question).await {
        Ok(answer) if answer.status() == StatusCode::OK => next.run(request).await,
        _ => Status::unauthenticated("this token is not good").into_http(),
    }
}
