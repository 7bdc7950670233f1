//! Which calls carry the token.

use http::header::AUTHORIZATION;
use neonomics_auth::NeonomicsAuthLayer;
use tonic::body::Body;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;

use crate::api::Api;
use crate::{attempt, clients, refused_replayed_forced, unless_it_hangs};

/// Generated clients name no origin of their own: the channel adds it, below the layer.
#[tokio::test]
async fn b2_a_client_with_an_origin_gets_the_token_if_that_is_the_apis() {
    let api = Api::start().await;
    let provider = api.provider();
    let service = || NeonomicsAuthLayer::new(provider.clone()).buffer_body_with(100, Body::new);
    let service = || service().layer(clients::channel(&api));

    let mut client = HealthClient::with_origin(service(), "http://127.0.0.1:1".parse().unwrap());
    let status = unless_it_hangs(client.check(HealthCheckRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(!api.headers()[0].contains_key(AUTHORIZATION));
    assert_eq!(provider.status().passed_without_token, 1);
    api.fake.expect().client_credentials(0).requests(1).unauthorized(1);

    let mut client = HealthClient::with_origin(service(), api.origin().parse().unwrap());
    unless_it_hangs(client.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(&api.headers()[1][AUTHORIZATION], provider.cached().unwrap().authorization());
    assert_eq!(provider.status().passed_without_token, 1);
    api.fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(1);
}

#[tokio::test]
async fn b3_metadata_that_authorizes_the_call_is_left_alone() {
    let api = Api::start().await;
    let provider = api.provider();
    let mut request = Request::new(HealthCheckRequest::default());
    request.metadata_mut().insert("authorization", "Bearer of-the-caller".parse().unwrap());
    let status = unless_it_hangs(clients::health(&api, &provider).check(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(api.headers()[0][AUTHORIZATION], "Bearer of-the-caller");
    assert_eq!(api.attempts(), [attempt(1, &[])]);
    api.fake.expect().client_credentials(0).requests(1).unauthorized(1);
    assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
}
