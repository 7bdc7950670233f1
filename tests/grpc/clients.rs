//! The clients, as users build and name them.

use neonomics_auth::replay::BufferBodyWith;
use neonomics_auth::{NeonomicsAuth, NeonomicsAuthLayer, ReplayBody, TokenProvider};
use tonic::body::Body;
use tonic::transport::Channel;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;

use crate::api::Api;
use crate::echo::EchoClient;

/// A function that can be named.
pub(crate) type Wrap = fn(ReplayBody<Body>) -> Body;
pub(crate) type Authorized = NeonomicsAuth<Channel, BufferBodyWith<Wrap>>;

/// More than any of the tests sends.
const LIMIT: usize = 64 << 10;

/// Opens its one connection with the first request.
pub(crate) fn channel(api: &Api) -> Channel {
    Channel::from_shared(api.origin().to_owned()).unwrap().connect_lazy()
}

/// Keeps so many bytes of a request.
pub(crate) fn limited(api: &Api, provider: &TokenProvider, limit: usize) -> Authorized {
    NeonomicsAuthLayer::new(provider.clone()).buffer_body_with(limit, Body::new as Wrap).layer(channel(api))
}

pub(crate) fn echo(api: &Api, provider: &TokenProvider) -> EchoClient {
    EchoClient::new(limited(api, provider, LIMIT))
}

pub(crate) fn health(api: &Api, provider: &TokenProvider) -> HealthClient<Authorized> {
    HealthClient::new(limited(api, provider, LIMIT))
}
