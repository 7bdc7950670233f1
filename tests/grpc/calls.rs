//! Calls that go as usual, and clients of all shapes.

use futures::StreamExt;
use http::header::AUTHORIZATION;
use neonomics_auth::replay::{BufferBodyWith, WithoutRetry};
use neonomics_auth::{NeonomicsAuth, NeonomicsAuthLayer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;

use crate::api::Api;
use crate::clients::{self, Wrap};
use crate::echo::{EchoClient, Kind};
use crate::{attempt, refused_replayed_forced, unless_it_hangs};

#[tokio::test]
async fn b1_each_kind_of_call_carries_the_token_and_each_message_once() {
    for kind in Kind::ALL {
        let api = Api::start().await;
        let provider = api.provider();
        let answer = unless_it_hangs(clients::echo(&api, &provider).ask(kind)).await.unwrap();
        assert_eq!(answer, kind.answer());
        assert_eq!(api.attempts(), [attempt(1, kind.question())], "{kind:?}");

        let token = provider.cached().unwrap();
        let headers = &api.headers()[0];
        assert_eq!(headers.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), [token.authorization()]);
        api.fake.expect().client_credentials(1).refresh(0).requests(1).unauthorized(0);
        assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
    }
}

#[tokio::test]
async fn b1_a_generated_client_is_built_in_one_line() {
    let api = Api::start().await;
    let (provider, channel) = (api.provider(), clients::channel(&api));
    let mut client =
        HealthClient::new(NeonomicsAuthLayer::new(provider).buffer_body_with(64 << 10, Body::new).layer(channel));

    let answer = unless_it_hangs(client.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().status(), Serving);

    // The answer of a watch goes on for as long as its caller likes.
    let mut watched = unless_it_hangs(client.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    assert_eq!(unless_it_hangs(watched.next()).await.unwrap().unwrap().status(), Serving);
    api.health.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(unless_it_hangs(watched.next()).await.unwrap().unwrap().status(), NotServing);
    api.fake.expect().client_credentials(1).requests(2).unauthorized(0);
    assert_eq!(api.connections(), 1);
}

/// The clients of a program, in a struct.
struct Clients {
    health: HealthClient<NeonomicsAuth<Channel, BufferBodyWith<Wrap>>>,
    plain: HealthClient<NeonomicsAuth<Channel, WithoutRetry>>,
}

#[tokio::test]
async fn c8_a_client_that_is_named_in_a_struct_heals_unless_it_is_told_not_to() {
    let api = Api::start().await;
    let (provider, channel) = (api.provider(), clients::channel(&api));
    let layer = NeonomicsAuthLayer::new(provider.clone());
    let mut clients = Clients {
        health: HealthClient::new(layer.clone().buffer_body_with(64 << 10, Body::new as Wrap).layer(channel.clone())),
        plain: HealthClient::new(layer.without_retry().layer(channel)),
    };

    api.fake.refuse_requests(1);
    let answer = unless_it_hangs(clients.health.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().status(), Serving);
    assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
    let answer = unless_it_hangs(clients.plain.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().status(), Serving);
    assert_eq!(api.attempts(), [attempt(1, &[]), attempt(2, &[]), attempt(2, &[])]);
    api.fake.expect().client_credentials(1).refresh(1).requests(3).unauthorized(1);
}

#[tokio::test]
async fn a_call_that_is_longer_than_the_limit_streams_on_when_it_is_accepted() {
    const TEXTS: usize = 300;
    for kind in Kind::STREAMING {
        let api = Api::start().await;
        let provider = api.provider();
        let mut client = EchoClient::new(clients::limited(&api, &provider, 100));
        let (texts, stream) = mpsc::unbounded_channel();
        let asking = tokio::spawn(async move { client.call(kind, UnboundedReceiverStream::new(stream)).await });
        // The next one is sent when the last one has been read: nothing waits for the end of the stream.
        for number in 0..TEXTS {
            texts.send(number.to_string()).unwrap();
            api.has_read(0, number + 1).await;
        }
        drop(texts);

        let numbers: Vec<_> = (0..TEXTS).map(|number| number.to_string()).collect();
        let answer = unless_it_hangs(asking).await.unwrap().unwrap();
        assert_eq!(answer.join(" "), numbers.join(" "), "{kind:?}");
        assert_eq!(api.attempts(), [(1, numbers)]);
        assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
    }
}
