//! `Buffer`, `LoadShed` and `RateLimit`, outside and inside the layer.

use std::pin::pin;
use std::time::Duration;

use futures::poll;
use http::StatusCode;
use neonomics_auth::{Error, PassReason};
use tower::ServiceBuilder;
use tower::load_shed::error::Overloaded;

use super::{Scene, Seen, ask, assert_heals, rejection, until};
use crate::unless_it_hangs;

// lesson 21
#[tokio::test]
async fn c12_a_buffer_of_one_below_the_layer_lets_the_replay_through() {
    for scene in Scene::each().await {
        let service =
            ServiceBuilder::new().layer(scene.auth()).buffer(1).concurrency_limit(1).service(scene.client.clone());
        assert_heals(&scene, "a buffer inside", service).await;
    }
}

/// Its one worker only makes ready and calls: waiting is the business of the callers.
#[tokio::test]
async fn b5_a_buffer_outside_goes_on_while_a_request_waits_for_its_token() {
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().buffer(1).layer(scene.auth()).service(scene.client.clone());
        let gate = scene.fake.hold_exchanges();
        let waiting = tokio::spawn(ask(client.clone(), scene.request()));
        unless_it_hangs(gate.arrived(1)).await;
        for _ in 0..2 {
            let other = ask(client.clone(), scene.request_of_its_own()).await.unwrap();
            assert_eq!(other.passed(), Some(PassReason::CallerAuthorized), "{:?}", scene.version);
        }
        gate.open();
        assert_eq!(unless_it_hangs(waiting).await.unwrap().unwrap().status, StatusCode::OK, "{:?}", scene.version);
        scene.assert_seen("a buffer outside", Seen { attempts: 3, refused: 2, exchanges: 1, replays: 0 });
    }
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().buffer(1).layer(scene.auth()).service(scene.client.clone());
        assert_heals(&scene, "a buffer outside", client).await;
    }
}

/// It comes through as it is, and the buffer lives on.
// lesson 28
#[tokio::test]
async fn b4_the_error_of_a_missing_token_comes_through_a_buffer_outside_as_it_is() {
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().buffer(1).layer(scene.auth()).service(scene.client.clone());
        scene.fake.fail_exchanges(1, rejection(300));
        for _ in 0..2 {
            let error = ask(client.clone(), scene.request()).await.err().unwrap();
            assert!(error.downcast_ref::<Error>().unwrap().is_rejected(), "{:?}: {error:?}", scene.version);
        }
        scene.assert_seen("no token", Seen { exchanges: 1, ..Seen::default() });
    }
}

/// Outside it sheds what the service below has no room for; a request that waits for its token takes no room, and a replay
/// waits for some.
#[tokio::test]
async fn b5_load_shed_outside_counts_attempts_and_not_those_who_wait_for_a_token() {
    for scene in Scene::each().await {
        let client =
            ServiceBuilder::new().load_shed().layer(scene.auth()).concurrency_limit(1).service(scene.client.clone());
        // One waits for its token, and another one comes through.
        let exchanges = scene.fake.hold_exchanges();
        let mut asked = pin!(ask(client.clone(), scene.request()));
        until(exchanges.arrived(1), asked.as_mut()).await;
        let other = ask(client.clone(), scene.request_of_its_own()).await.unwrap();
        assert_eq!(other.status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);
        // It is under way to the API, and another one is shed.
        let requests = scene.fake.hold_requests();
        scene.fake.refuse_requests(1);
        exchanges.open();
        until(requests.arrived(1), asked.as_mut()).await;
        let error = ask(client.clone(), scene.request_of_its_own()).await.err().unwrap();
        assert!(error.is::<Overloaded>(), "{:?}: {error:?}", scene.version);
        // It is refused and renews, while another one takes its place.
        let exchanges = scene.fake.hold_exchanges();
        requests.open();
        until(exchanges.arrived(1), asked.as_mut()).await;
        let requests = scene.fake.hold_requests();
        let occupant = tokio::spawn(ask(client.clone(), scene.request_of_its_own()));
        unless_it_hangs(requests.arrived(1)).await;
        // There is a token again, but no room: the replay is not shed.
        let first = scene.provider.cached().unwrap();
        exchanges.open();
        unless_it_hangs(scene.provider.renew(&first)).await.unwrap();
        assert!(poll!(asked.as_mut()).is_pending(), "{:?}", scene.version);
        assert_eq!(scene.provider.status().replays, 0, "{:?}", scene.version);
        requests.open();
        assert!(asked.await.unwrap().replayed(), "{:?}", scene.version);
        assert_eq!(unless_it_hangs(occupant).await.unwrap().unwrap().status, StatusCode::UNAUTHORIZED);
        scene.assert_seen("shed outside", Seen { attempts: 4, refused: 3, exchanges: 2, replays: 1 });
    }
}

#[tokio::test]
async fn c1_load_shed_inside_refuses_first_attempts_as_it_does_without_the_layer() {
    for scene in Scene::each_warm().await {
        let client =
            ServiceBuilder::new().layer(scene.auth()).load_shed().concurrency_limit(1).service(scene.client.clone());
        let requests = scene.fake.hold_requests();
        let occupant = tokio::spawn(ask(client.clone(), scene.request()));
        unless_it_hangs(requests.arrived(1)).await;
        let error = ask(client.clone(), scene.request()).await.err().unwrap();
        assert!(error.is::<Overloaded>(), "{:?}: {error:?}", scene.version);
        requests.open();
        assert_eq!(unless_it_hangs(occupant).await.unwrap().unwrap().status, StatusCode::OK);
        scene.assert_seen("shed inside", Seen { attempts: 1, exchanges: 1, ..Seen::default() });
    }
}

// lesson 39
#[tokio::test]
async fn c1_a_second_attempt_that_is_shed_is_the_outcome_and_the_refusal_is_not() {
    for scene in Scene::each_warm().await {
        let client =
            ServiceBuilder::new().layer(scene.auth()).load_shed().concurrency_limit(1).service(scene.client.clone());
        // Refused, and renewing.
        let exchanges = scene.fake.hold_exchanges();
        scene.fake.refuse_requests(1);
        let asked = tokio::spawn(ask(client.clone(), scene.request()));
        unless_it_hangs(exchanges.arrived(1)).await;
        // Another one takes the permit meanwhile.
        let requests = scene.fake.hold_requests();
        let occupant = tokio::spawn(ask(client.clone(), scene.request_of_its_own()));
        unless_it_hangs(requests.arrived(1)).await;
        exchanges.open();
        let error = unless_it_hangs(asked).await.unwrap().err().unwrap();
        assert!(error.is::<Overloaded>(), "{:?}: {error:?}", scene.version);
        requests.open();
        assert_eq!(unless_it_hangs(occupant).await.unwrap().unwrap().status, StatusCode::UNAUTHORIZED);
        // The replay is counted, though it did not leave.
        scene.assert_seen("shed inside", Seen { attempts: 2, refused: 2, exchanges: 2, replays: 1 });
    }
}

/// None of these tests lives to see the next one.
const PERIOD: Duration = Duration::from_secs(24 * 3_600);

/// What is over the rate is shed, so that nobody waits.
#[tokio::test]
async fn c12_a_rate_limit_outside_counts_requests_and_not_their_replays() {
    for scene in Scene::each_warm().await {
        let mut client =
            ServiceBuilder::new().load_shed().rate_limit(2, PERIOD).layer(scene.auth()).service(scene.client.clone());
        for _ in 0..2 {
            scene.fake.refuse_requests(1);
            assert!(ask(&mut client, scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        }
        let error = ask(&mut client, scene.request()).await.err().unwrap();
        assert!(error.is::<Overloaded>(), "{:?}: {error:?}", scene.version);
        scene.assert_seen("two requests", Seen { attempts: 4, refused: 2, exchanges: 3, replays: 2 });
    }
}

/// `RateLimit` is not `Clone`: inside the layer a buffer makes it so.
#[tokio::test]
async fn c12_a_rate_limit_inside_counts_each_attempt() {
    for scene in Scene::each_warm().await {
        let client = ServiceBuilder::new()
            .layer(scene.auth())
            .buffer(1)
            .load_shed()
            .rate_limit(3, PERIOD)
            .service(scene.client.clone());
        scene.fake.refuse_requests(1);
        assert!(ask(client.clone(), scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        // One is left: for the first attempt, and the second is over the rate.
        scene.fake.refuse_requests(1);
        let error = ask(client.clone(), scene.request()).await.err().unwrap();
        assert!(error.is::<Overloaded>(), "{:?}: {error:?}", scene.version);
        scene.assert_seen("three attempts", Seen { attempts: 3, refused: 2, exchanges: 3, replays: 2 });
    }
}
