//! Two of our layers in one stack.

use http::StatusCode;
use http::header::AUTHORIZATION;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{NeonomicsAuthLayer, PassReason};
use tower::ServiceBuilder;

use super::{Scene, Seen, ask};
use crate::clients;
use crate::echo;

#[tokio::test]
async fn b3_of_two_providers_for_one_origin_the_outer_one_stamps_and_the_inner_one_passes_on() {
    for scene in Scene::each().await {
        let inner = clients::provider(&scene.fake);
        let client = ServiceBuilder::new()
            .layer(scene.auth())
            .layer(NeonomicsAuthLayer::new(inner.clone()))
            .service(scene.client.clone());
        // The one whose token was refused heals it.
        scene.fake.refuse_requests(1);
        let answer = ask(client.clone(), scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
        scene.assert_seen("refused once", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });
        let status = inner.status();
        assert_eq!((status.passed_without_token, status.refusals, status.waited), (2, 0, 0), "{:?}", scene.version);
        assert_eq!(status.exchanges.client_credentials, 0, "{:?}", scene.version);

        // When the outer one has nothing to say, the last word is the inner one's.
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.passed()), (StatusCode::OK, Some(PassReason::CallerAuthorized)));
        let token = scene.provider.cached().unwrap();
        assert_eq!(scene.attempts()[2].headers[AUTHORIZATION], token.authorization(), "{:?}", scene.version);
        assert_eq!(scene.provider.status().passed_without_token, 0, "{:?}", scene.version);
    }
}

#[tokio::test]
async fn b2_two_providers_for_two_origins_stamp_each_their_own() {
    for scene in Scene::each().await {
        let other = FakeNeonomics::listen().await.unwrap();
        let others = clients::provider(&other);
        let client = ServiceBuilder::new()
            .layer(scene.auth())
            .layer(NeonomicsAuthLayer::new(others.clone()))
            .service(scene.client.clone());
        for fake in [&scene.fake, &other] {
            fake.refuse_requests(1);
            let answer = ask(client.clone(), echo(fake.origin(), "a body")).await.unwrap();
            assert_eq!(answer.status, StatusCode::OK, "{:?}", scene.version);
        }
        // Each was asked for a token by its own provider, and has seen no other one.
        for (fake, provider) in [(&scene.fake, &scene.provider), (&other, &others)] {
            fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
            let status = provider.status();
            assert_eq!((status.refusals, status.replays), (1, 1), "{:?}", scene.version);
            let tokens = fake.requests().into_iter().filter(|request| request.uri.path() == "/echo");
            let last = tokens.last().unwrap().headers[AUTHORIZATION].clone();
            assert_eq!(last, provider.cached().unwrap().authorization(), "{:?}", scene.version);
        }
        // The outer one passes on the request to the other origin once, and both attempts of its own pass the inner one.
        assert_eq!(scene.provider.status().passed_without_token, 1, "{:?}", scene.version);
        assert_eq!(others.status().passed_without_token, 2, "{:?}", scene.version);
    }
}

#[tokio::test]
async fn c4_one_provider_twice_in_a_stack_sends_a_request_twice_and_not_four_times() {
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().layer(scene.auth()).layer(scene.auth()).service(scene.client.clone());
        scene.fake.refuse_requests(4);
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::UNAUTHORIZED, true), "{:?}", scene.version);
        scene.assert_seen("twice", Seen { attempts: 2, refused: 2, exchanges: 2, replays: 1 });
        let status = scene.provider.status();
        assert_eq!((status.refusals, status.passed_without_token), (1, 2), "{:?}", scene.version);
    }
}
