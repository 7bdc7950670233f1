//! Refusals that are healed: the same call once more, with a new token.

use std::time::Duration;

use http::header::{AUTHORIZATION, USER_AGENT};
use neonomics_auth::NeonomicsAuthLayer;
use tonic::Request;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::Serving;
use tower::Layer;

use crate::api::{Api, Manner};
use crate::clients::{self, Wrap};
use crate::echo::{EchoClient, Kind};
use crate::{attempt, refused_replayed_forced, unless_it_hangs};

#[tokio::test]
async fn c8_status_16_in_the_headers_is_healed_for_each_kind_of_call() {
    for kind in Kind::ALL {
        assert_healed(kind, Manner::AtOnce, &[]).await;
    }
}

#[tokio::test]
async fn c8_a_401_that_knows_nothing_of_grpc_is_healed_too() {
    for kind in Kind::ALL {
        assert_healed(kind, Manner::Http401, &[]).await;
    }
}

// lesson 23
#[tokio::test]
async fn c10_the_second_attempt_has_each_message_once_however_many_the_first_one_brought() {
    for kind in Kind::ALL {
        let question = kind.question();
        // A service that takes one message is not called without it.
        let fewest = usize::from(!Kind::STREAMING.contains(&kind));
        for read in fewest..=question.len() {
            assert_healed(kind, Manner::After(read), &question[..read]).await;
        }
    }
}

/// The first attempt was refused after these messages, the second has them all.
async fn assert_healed(kind: Kind, manner: Manner, read: &[&str]) {
    let api = Api::start().await;
    let provider = api.provider();
    api.refuse(manner);
    api.fake.refuse_requests(1);

    let answer = unless_it_hangs(clients::echo(&api, &provider).ask(kind)).await.unwrap();
    assert_eq!(answer, kind.answer(), "{kind:?} {manner:?}");
    assert_eq!(api.attempts(), [attempt(1, read), attempt(2, kind.question())], "{kind:?} {manner:?}");
    api.fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
    assert_eq!(api.connections(), 1);
}

#[tokio::test]
async fn c8_a_watch_that_is_refused_is_healed_and_goes_on() {
    let api = Api::start().await;
    let provider = api.provider();
    unless_it_hangs(provider.token()).await.unwrap();
    // A real revocation: it ends the session, so that the renewal takes both grants.
    api.fake.revoke_all();

    let mut client = clients::health(&api, &provider);
    let mut watched = unless_it_hangs(client.watch(HealthCheckRequest::default())).await.unwrap().into_inner();
    assert_eq!(unless_it_hangs(watched.message()).await.unwrap().unwrap().status(), Serving);
    api.fake.expect().client_credentials(2).refresh(1).requests(2).unauthorized(1);
    assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
}

#[tokio::test]
async fn c12_the_second_attempt_over_a_channel_differs_in_the_authorization_alone() {
    let api = Api::start().await;
    let provider = api.provider();
    let mut request = Request::new(HealthCheckRequest::default());
    request.metadata_mut().append("x-device-id", "a-device".parse().unwrap());
    request.metadata_mut().append("x-device-id", "another".parse().unwrap());
    request.metadata_mut().insert_bin("x-trace-bin", MetadataValue::from_bytes(&[0, 255, 7]));
    request.set_timeout(Duration::from_secs(3_600));

    api.fake.refuse_requests(1);
    unless_it_hangs(clients::health(&api, &provider).check(request)).await.unwrap();

    let mut headers = api.headers();
    let tokens: Vec<_> = headers.iter_mut().map(|headers| headers.remove(AUTHORIZATION).unwrap()).collect();
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(&tokens[1], provider.cached().unwrap().authorization());
    let [first, second] = &headers[..] else { panic!("{} attempts", headers.len()) };
    assert_eq!(first, second);
    assert_eq!(second.get_all("x-device-id").iter().collect::<Vec<_>>(), ["a-device", "another"]);
    assert_eq!(second["x-trace-bin"], "AP8H");
    // Each attempt has all of the time: the wait for the new token is not taken from it.
    assert_eq!(second["grpc-timeout"], "3600000m");
    // The channel puts its name on each attempt, not on what is kept.
    assert_eq!(second[USER_AGENT].to_str().unwrap().matches("tonic/").count(), 1);
}

// lesson 21
#[tokio::test]
async fn c12_a_channel_with_one_place_and_one_permit_lets_the_replay_through() {
    let api = Api::start().await;
    let provider = api.provider();
    let endpoint = Channel::from_shared(api.origin().to_owned()).unwrap();
    let channel = endpoint.buffer_size(1).concurrency_limit(1).connect_lazy();
    let layer = NeonomicsAuthLayer::new(provider.clone()).buffer_body_with(100, Body::new as Wrap);
    // It stays alive, with all that it holds.
    let mut client = EchoClient::new(layer.layer(channel));

    for round in 1..=3 {
        api.fake.refuse_requests(1);
        for kind in Kind::ALL {
            assert_eq!(unless_it_hangs(client.ask(kind)).await.unwrap(), kind.answer());
        }
        assert_eq!(refused_replayed_forced(&provider), (round, round, (round, 0)));
    }
    api.fake.expect().client_credentials(1).refresh(3).requests(15).unauthorized(3);
    assert_eq!(api.connections(), 1);
}
