//! Limits of concurrency: outside the layer a permit is kept through the renewal, inside it is released.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use neonomics_auth::TokenProvider;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Scene, Seen, ask, assert_heals};
use crate::clients::HyperClient;
use crate::unless_it_hangs;

// lesson 21
#[tokio::test]
async fn c12_a_concurrency_limit_of_one_below_the_layer_lets_the_replay_through() {
    for scene in Scene::each().await {
        // Its exchanges stay in process: all connections are those of the API. One request at a time needs one.
        let scene = Scene { provider: scene.fake.provider(), ..scene };
        let service = ServiceBuilder::new().layer(scene.auth()).concurrency_limit(1).service(scene.client.clone());
        assert_heals(&scene, "a limit of one", service).await;
        assert_eq!(scene.fake.connections(), 1, "{:?}", scene.version);
    }
}

/// API and token endpoint share one permit: whoever keeps it while waiting for the other waits for ever.
// lesson 22
#[tokio::test]
async fn b5_one_permit_shared_by_api_and_token_endpoint_does_not_lock_up() {
    for scene in Scene::each().await {
        let limited = ConcurrencyLimit::new(scene.client.clone(), 1);
        let provider = TokenProvider::builder(scene.fake.environment(), scene.fake.credentials())
            .transport(limited.clone())
            .build()
            .unwrap();
        let scene = Scene { provider, ..scene };
        assert_heals(&scene, "one permit for all", scene.auth().layer(limited)).await;
    }
}

#[tokio::test]
async fn b5_a_limit_outside_keeps_its_permit_while_a_request_waits_for_its_token() {
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().concurrency_limit(1).layer(scene.auth()).service(scene.client.clone());
        // First without a token, then with a refused one.
        for round in 1..=2 {
            let gate = scene.fake.hold_exchanges();
            let waiting = tokio::spawn(ask(client.clone(), scene.request()));
            unless_it_hangs(gate.arrived(1)).await;
            // Nobody else comes in, though nothing is under way to the API.
            let mut next = client.clone();
            assert!(poll!(pin!(next.ready())).is_pending(), "round {round}, {:?}", scene.version);
            gate.open();
            assert_eq!(unless_it_hangs(waiting).await.unwrap().unwrap().status, StatusCode::OK);
            unless_it_hangs(next.ready()).await.unwrap();
            scene.fake.refuse_requests(1);
        }
        scene.assert_seen("two renewals", Seen { attempts: 3, refused: 1, exchanges: 2, replays: 1 });
    }
}

// lesson 22
#[tokio::test]
async fn b5_a_limit_inside_has_its_permit_back_while_a_request_waits_for_its_token() {
    for scene in Scene::each().await {
        let mut client = ServiceBuilder::new().layer(scene.auth()).concurrency_limit(1).service(scene.client.clone());
        for round in 1..=2 {
            let gate = scene.fake.hold_exchanges();
            // The service stays, with what it has reserved.
            let ready = unless_it_hangs(client.ready()).await.unwrap();
            let waiting = tokio::spawn(ready.call(scene.request()));
            unless_it_hangs(gate.arrived(1)).await;
            // Others come through, one after another.
            for _ in 0..2 {
                let other = ask(client.clone(), scene.request_of_its_own()).await.unwrap();
                assert_eq!(other.status, StatusCode::UNAUTHORIZED, "round {round}, {:?}", scene.version);
            }
            gate.open();
            let answer = unless_it_hangs(waiting).await.unwrap().unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "round {round}, {:?}", scene.version);
            scene.fake.refuse_requests(1);
        }
        scene.assert_seen("two renewals", Seen { attempts: 3 + 4, refused: 1 + 4, exchanges: 2, replays: 1 });
        assert_eq!(scene.provider.status().passed_without_token, 4, "{:?}", scene.version);
    }
}

const CROWD: usize = 1_000;
const PERMITS: usize = 10;

/// While the token is renewed all thousand come through ten permits, are refused, and wait without one.
// lesson 22
#[tokio::test]
async fn b5_a_thousand_callers_share_ten_permits_through_two_renewals() {
    for mut scene in Scene::each().await {
        // The renewal stands until all have been refused, however long that takes on this machine.
        let patient = TokenProvider::builder(scene.fake.environment(), scene.fake.credentials());
        let patient = patient.transport(scene.client.clone()).renewal_timeout(Duration::from_secs(60));
        scene.provider = patient.build().unwrap();
        let under_way = Arc::new(UnderWay::default());
        let client =
            scene.auth().layer(ConcurrencyLimit::new(counted(scene.client.clone(), Arc::clone(&under_way)), PERMITS));

        // All wait for the first token; then ten at a time.
        let (exchanges, requests) = (scene.fake.hold_exchanges(), scene.fake.hold_requests());
        let everybody_waits = Arc::new(Barrier::new(CROWD + 1));
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (client, request) = (client.clone(), scene.request());
            let everybody_waits = Arc::clone(&everybody_waits);
            crowd.spawn(async move {
                let mut asked = pin!(ask(client, request));
                assert!(poll!(asked.as_mut()).is_pending());
                everybody_waits.wait().await;
                asked.await.unwrap().status
            });
        }
        unless_it_hangs(everybody_waits.wait()).await;
        exchanges.open();
        unless_it_hangs(requests.arrived(PERMITS)).await;
        requests.open();
        assert_eq!(unless_it_hangs(crowd.join_all()).await, [StatusCode::OK; CROWD]);
        scene.assert_seen("the first token", Seen { attempts: CROWD, exchanges: 1, ..Seen::default() });
        assert_eq!(scene.provider.status().waited, CROWD as u64, "{:?}", scene.version);

        let exchanges = scene.fake.hold_exchanges();
        scene.fake.revoke_all();
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            crowd.spawn(ask(client.clone(), scene.request()));
        }
        let mut over = under_way.over.subscribe();
        unless_it_hangs(over.wait_for(|over| *over == 2 * CROWD)).await.unwrap();
        unless_it_hangs(exchanges.arrived(1)).await;
        exchanges.open();
        for answer in unless_it_hangs(crowd.join_all()).await {
            let answer = answer.unwrap();
            assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
        }
        // The refresh token died with the session, so the renewal took two.
        let seen = Seen { attempts: 3 * CROWD, refused: CROWD, exchanges: 3, replays: CROWD as u64 };
        scene.assert_seen("the second token", seen);
        assert_eq!(scene.provider.status().renewals.forced.succeeded, 1, "{:?}", scene.version);
        assert_eq!(under_way.most.load(Ordering::Relaxed), PERMITS, "{:?}", scene.version);
    }
}

/// The attempts below a limit: at once, the most at once, and how many are over.
#[derive(Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
    over: watch::Sender<usize>,
}

/// Counts what comes through it, and no more.
fn counted(
    client: HyperClient,
    under_way: Arc<UnderWay>,
) -> impl Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error = legacy::Error, Future: Send> + Clone + Send
{
    service_fn(move |request| {
        let (client, under_way) = (client.clone(), Arc::clone(&under_way));
        async move {
            let now = under_way.now.fetch_add(1, Ordering::Relaxed) + 1;
            under_way.most.fetch_max(now, Ordering::Relaxed);
            let answer = client.oneshot(request).await;
            under_way.now.fetch_sub(1, Ordering::Relaxed);
            under_way.over.send_modify(|over| *over += 1);
            answer
        }
    })
}
