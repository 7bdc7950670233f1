//! Layers that change the request on its way: its headers, its URI.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use neonomics_auth::PassReason;
use neonomics_auth::testing::FakeNeonomics;
use tower::ServiceBuilder;
use tower_http::set_header::SetRequestHeaderLayer;

use super::{Scene, Seen, ask};

const NUMBER: HeaderName = HeaderName::from_static("x-number");
const OTHERS: HeaderValue = HeaderValue::from_static("Bearer of-a-layer");

#[tokio::test]
async fn b3_an_authorization_that_an_outer_layer_sets_is_the_callers() {
    for scene in Scene::each().await {
        for (round, set) in [
            SetRequestHeaderLayer::overriding(AUTHORIZATION, OTHERS),
            SetRequestHeaderLayer::if_not_present(AUTHORIZATION, OTHERS),
        ]
        .into_iter()
        .enumerate()
        {
            let client = ServiceBuilder::new().layer(set).layer(scene.auth()).service(scene.client.clone());
            let answer = ask(client, scene.request()).await.unwrap();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);
            assert_eq!(answer.passed(), Some(PassReason::CallerAuthorized), "{:?}", scene.version);
            let seen = Seen { attempts: round + 1, refused: round + 1, ..Seen::default() };
            scene.assert_seen("set outside", seen);
            assert_eq!(scene.attempts()[round].headers[AUTHORIZATION], OTHERS, "{:?}", scene.version);
        }
    }
}

/// The layer cannot know that its token does not arrive: it renews a token that nobody has refused.
#[tokio::test]
async fn c4_an_authorization_that_an_inner_layer_overrides_costs_a_renewal_and_a_replay_in_vain() {
    for scene in Scene::each_warm().await {
        let set = SetRequestHeaderLayer::overriding(AUTHORIZATION, OTHERS);
        let client = ServiceBuilder::new().layer(scene.auth()).layer(set).service(scene.client.clone());
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::UNAUTHORIZED, true), "{:?}", scene.version);
        scene.assert_seen("overridden inside", Seen { attempts: 2, refused: 2, exchanges: 2, replays: 1 });
        assert!(scene.attempts().iter().all(|attempt| attempt.headers[AUTHORIZATION] == OTHERS));
    }
    // One that only fills the gap finds none.
    for scene in Scene::each_warm().await {
        let set = SetRequestHeaderLayer::if_not_present(AUTHORIZATION, OTHERS);
        let client = ServiceBuilder::new().layer(scene.auth()).layer(set).service(scene.client.clone());
        assert_eq!(ask(client, scene.request()).await.unwrap().status, StatusCode::OK, "{:?}", scene.version);
        scene.assert_seen("not present", Seen { attempts: 1, exchanges: 1, ..Seen::default() });
    }
}

/// A number for each request outside, for each attempt inside; else the attempts differ in `authorization` alone.
#[tokio::test]
async fn c12_a_header_set_outside_is_the_same_on_both_attempts_and_one_set_inside_is_made_for_each() {
    for scene in Scene::each_warm().await {
        let numbers = SetRequestHeaderLayer::overriding(NUMBER, numbers());
        let client = ServiceBuilder::new().layer(numbers).layer(scene.auth()).service(scene.client.clone());
        scene.fake.refuse_requests(1);
        assert!(ask(client, scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        assert_eq!(numbers_but_for_which_all_is_equal(&scene), [1, 1], "outside, {:?}", scene.version);
        scene.assert_seen("outside", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });
    }
    for scene in Scene::each_warm().await {
        let numbers = SetRequestHeaderLayer::overriding(NUMBER, numbers());
        let client = ServiceBuilder::new().layer(scene.auth()).layer(numbers).service(scene.client.clone());
        scene.fake.refuse_requests(1);
        assert!(ask(client, scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        assert_eq!(numbers_but_for_which_all_is_equal(&scene), [1, 2], "inside, {:?}", scene.version);
        scene.assert_seen("inside", Seen { attempts: 2, refused: 1, exchanges: 2, replays: 1 });
    }
}

fn numbers() -> impl FnMut(&Request<Full<Bytes>>) -> Option<HeaderValue> + Clone {
    let next = Arc::new(AtomicUsize::new(1));
    move |_| Some(next.fetch_add(1, Ordering::Relaxed).into())
}

/// The numbers of the two attempts; two tokens, and everything else twice.
#[track_caller]
fn numbers_but_for_which_all_is_equal(scene: &Scene) -> [usize; 2] {
    let mut attempts = scene.attempts();
    let tokens: Vec<_> = attempts.iter_mut().map(|attempt| attempt.headers.remove(AUTHORIZATION).unwrap()).collect();
    let numbers = attempts.iter_mut().map(|attempt| attempt.headers.remove(NUMBER).unwrap());
    let numbers: Vec<usize> = numbers.map(|number| number.to_str().unwrap().parse().unwrap()).collect();
    let [first, second] = <[_; 2]>::try_from(attempts).unwrap();
    assert_ne!(tokens[0], tokens[1], "{:?}", scene.version);
    assert_eq!(tokens[1], scene.provider.cached().unwrap().authorization(), "{:?}", scene.version);
    assert_eq!((first.method, first.uri, first.body), (second.method, second.uri, second.body), "{:?}", scene.version);
    assert!(first.headers.iter().eq(second.headers.iter()), "{:?}", scene.version);
    numbers.try_into().unwrap()
}

/// A base URL may stand on either side: a URI that names no host is taken for one of the API.
#[tokio::test]
async fn b1_a_layer_that_completes_the_uri_may_stand_on_either_side() {
    for scene in Scene::each_warm().await {
        let origin = scene.fake.origin().to_owned();
        let complete = move |request| sent_to(&origin, request);
        let path_only = || {
            let mut request = scene.request();
            *request.uri_mut() = Uri::from_static("/echo");
            request
        };
        scene.fake.refuse_requests(1);
        let outside =
            ServiceBuilder::new().map_request(complete.clone()).layer(scene.auth()).service(scene.client.clone());
        assert!(ask(outside, path_only()).await.unwrap().replayed(), "{:?}", scene.version);
        scene.fake.refuse_requests(1);
        let inside = ServiceBuilder::new().layer(scene.auth()).map_request(complete).service(scene.client.clone());
        assert!(ask(inside, path_only()).await.unwrap().replayed(), "{:?}", scene.version);
        scene.assert_seen("a base URL", Seen { attempts: 4, refused: 2, exchanges: 3, replays: 2 });
    }
}

/// The layer judges by the URI that it sees: what sends requests elsewhere belongs above it.
#[tokio::test]
async fn b2_a_layer_outside_that_leads_elsewhere_gets_no_token_and_one_inside_takes_it_there() {
    for scene in Scene::each_warm().await {
        let elsewhere = FakeNeonomics::listen().await.unwrap();
        let there = elsewhere.origin().to_owned();
        let lead = move |request| sent_to(&there, request);
        let outside = ServiceBuilder::new().map_request(lead.clone()).layer(scene.auth()).service(scene.client.clone());
        let answer = ask(outside, scene.request()).await.unwrap();
        assert_eq!(answer.passed(), Some(PassReason::OtherOrigin), "{:?}", scene.version);
        let inside =
            ServiceBuilder::new().layer(scene.auth().without_retry()).map_request(lead).service(scene.client.clone());
        assert_eq!(ask(inside, scene.request()).await.unwrap().status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);

        let there: Vec<_> = elsewhere.requests().iter().map(|got| got.headers.get(AUTHORIZATION).cloned()).collect();
        elsewhere.expect().requests(2).unauthorized(2);
        assert_eq!(there[0], None, "{:?}", scene.version);
        let token = scene.provider.cached().unwrap();
        assert_eq!(there[1].as_ref(), Some(token.authorization()), "{:?}", scene.version);
    }
}

fn sent_to(origin: &str, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    *request.uri_mut() = format!("{origin}{path}").parse().unwrap();
    request
}
