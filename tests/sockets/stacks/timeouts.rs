//! Timeouts outside and inside the layer. Outside they bound the whole request; inside each attempt by itself, and not
//! the wait for the token.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::poll;
use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::BoxError;
use neonomics_auth::testing::Fault;
use tower::timeout::error::Elapsed;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use super::{Scene, Seen, ask};
use crate::unless_it_hangs;

/// Long enough for an attempt on a machine that has much to do.
const LIMIT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a10_a_timeout_around_the_layer_ends_one_wait_and_the_renewal_goes_on() {
    for scene in Scene::each().await {
        let client = ServiceBuilder::new().layer(scene.auth()).service(scene.client.clone());
        let impatient = ServiceBuilder::new().timeout(Duration::from_millis(50)).service(client.clone());

        // The impatient one starts the renewal, the patient one joins it.
        let gate = scene.fake.hold_exchanges();
        let mut impatient = Box::pin(impatient.oneshot(scene.request()));
        assert!(poll!(impatient.as_mut()).is_pending());
        let mut patient = pin!(ask(client, scene.request()));
        assert!(poll!(patient.as_mut()).is_pending());
        // It is dropped with all that it holds.
        let error = unless_it_hangs(impatient).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{:?}: {error:?}", scene.version);

        unless_it_hangs(gate.arrived(1)).await;
        gate.open();
        assert_eq!(patient.await.unwrap().status, StatusCode::OK, "{:?}", scene.version);
        // The impatient request was never sent; the exchange that it began was made once.
        scene.assert_seen("one gave up", Seen { attempts: 1, exchanges: 1, ..Seen::default() });
        assert_eq!(scene.provider.status().renewals.first.succeeded, 1, "{:?}", scene.version);
    }
}

#[tokio::test]
async fn a10_a_timeout_during_the_renewal_after_a_refusal_does_not_stop_it() {
    join_all(Scene::each_warm().await.map(async |scene| {
        let first = scene.provider.cached().unwrap();
        let impatient = ServiceBuilder::new().timeout(LIMIT).layer(scene.auth()).service(scene.client.clone());

        // The refusal comes at once; the renewal stands at the gate until the time is up.
        let gate = scene.fake.hold_exchanges();
        scene.fake.refuse_requests(1);
        let error = ask(impatient, scene.request()).await.err().unwrap();
        assert!(error.is::<Elapsed>(), "{:?}: {error:?}", scene.version);
        let mut renewed = pin!(scene.provider.renew(&first));
        assert!(poll!(renewed.as_mut()).is_pending(), "{:?}: the renewal is under way", scene.version);
        gate.open();

        assert_eq!(unless_it_hangs(renewed).await.unwrap().generation(), 2, "{:?}", scene.version);
        scene.assert_seen("gave up", Seen { attempts: 1, refused: 1, exchanges: 2, replays: 0 });
        let status = scene.provider.status();
        assert_eq!((status.refusals, status.renewals.forced.succeeded), (1, 1), "{:?}", scene.version);
    }))
    .await;
}

/// Both exchanges take longer than the limit, and so does the request, and no attempt does.
#[tokio::test]
async fn a4_a_timeout_below_the_layer_does_not_bound_the_wait_for_the_token() {
    join_all(Scene::each().await.map(async |scene| {
        let client = ServiceBuilder::new().layer(scene.auth()).timeout(LIMIT).service(scene.client.clone());
        scene.fake.refuse_requests(1);
        let gate = scene.fake.hold_exchanges();
        let asked = tokio::spawn(ask(client, scene.request()));
        unless_it_hangs(gate.arrived(1)).await;
        the_limit_is_over().await;
        let next_gate = scene.fake.hold_exchanges();
        gate.open();
        unless_it_hangs(next_gate.arrived(1)).await;
        the_limit_is_over().await;
        assert!(!asked.is_finished(), "{:?}", scene.version);
        next_gate.open();

        let answer = unless_it_hangs(asked).await.unwrap().unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
        scene.assert_seen("waited", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });
    }))
    .await;
}

/// A timeout like that of the test, begun later.
async fn the_limit_is_over() {
    let never = service_fn(|()| pending::<Result<(), BoxError>>());
    let error = ServiceBuilder::new().timeout(LIMIT).service(never).oneshot(()).await.unwrap_err();
    assert!(error.is::<Elapsed>(), "{error:?}");
}

#[tokio::test]
async fn c1_a_first_attempt_that_times_out_is_the_callers_and_is_not_repeated() {
    join_all(Scene::each_warm().await.map(async |scene| {
        scene.fake.fail_requests(1, Fault::Hang);
        let client = ServiceBuilder::new().layer(scene.auth()).timeout(LIMIT).service(scene.client.clone());
        let error = ask(client, scene.request()).await.err().unwrap();
        assert!(error.is::<Elapsed>(), "{:?}: {error:?}", scene.version);
        scene.assert_seen("the first hangs", Seen { attempts: 1, exchanges: 1, ..Seen::default() });
        assert_eq!(scene.provider.status().refusals, 0, "{:?}", scene.version);
    }))
    .await;
}

// lesson 39
#[tokio::test]
async fn c1_a_second_attempt_that_times_out_is_the_outcome_and_the_refusal_is_not() {
    join_all(Scene::each_warm().await.map(async |scene| {
        scene.fake.refuse_requests(1);
        scene.fake.fail_requests(1, Fault::Hang);
        let client = ServiceBuilder::new().layer(scene.auth()).timeout(LIMIT).service(scene.client.clone());
        let error = ask(client, scene.request()).await.err().unwrap();
        assert!(error.is::<Elapsed>(), "{:?}: {error:?}", scene.version);
        scene.assert_seen("the second hangs", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });

        // One around the layer ends the second attempt as well.
        scene.fake.refuse_requests(1);
        scene.fake.fail_requests(1, Fault::Hang);
        let client = ServiceBuilder::new().timeout(LIMIT).layer(scene.auth()).service(scene.client.clone());
        let error = ask(client, scene.request()).await.err().unwrap();
        assert!(error.is::<Elapsed>(), "{:?}: {error:?}", scene.version);
        scene.assert_seen("it hangs again", Seen { attempts: 4, refused: 2, exchanges: 3, replays: 2 });
    }))
    .await;
}

/// tower-http's is an answer, of a body that can be made from nothing.
#[tokio::test]
async fn c7_the_408_of_a_timeout_of_tower_http_is_no_refusal_on_either_side() {
    join_all(Scene::each_warm().await.map(async |scene| {
        let timeout = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, LIMIT);
        let inside =
            ServiceBuilder::new().layer(scene.auth()).layer(timeout).map_response(boxed).service(scene.client.clone());
        let outside =
            ServiceBuilder::new().layer(timeout).layer(scene.auth()).map_response(boxed).service(scene.client.clone());
        scene.fake.fail_requests(2, Fault::Hang);
        let inside = tokio::spawn(ask(inside, scene.request()));
        let outside = tokio::spawn(ask(outside, scene.request()));
        for answer in [inside.await, outside.await] {
            assert_eq!(answer.unwrap().unwrap().status, StatusCode::REQUEST_TIMEOUT, "{:?}", scene.version);
        }
        scene.assert_seen("408", Seen { attempts: 2, exchanges: 1, ..Seen::default() });
    }))
    .await;
}

/// tower-http's timeout of the request's body makes a body that is not `Clone`: below it the layer has to record.
#[tokio::test]
async fn c10_a_timeout_of_the_body_outside_the_layer_goes_with_a_recorded_body() {
    for scene in Scene::each_warm().await {
        let client =
            legacy::Client::builder(TokioExecutor::new()).http2_only(scene.version == Version::HTTP_2).build_http();
        let client = ServiceBuilder::new()
            .layer(RequestBodyTimeoutLayer::new(LIMIT))
            .layer(scene.auth().buffer_body(1 << 10))
            .service(client);
        scene.fake.refuse_requests(1);
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
        assert_eq!(answer.body, "a body", "{:?}", scene.version);
        scene.assert_seen("a recorded body", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });
    }
}

fn boxed(response: Response<Incoming>) -> Response<BoxBody<Bytes, hyper::Error>> {
    response.map(BodyExt::boxed)
}
