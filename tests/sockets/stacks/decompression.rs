//! Decompression by tower-http, outside and inside the layer.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use neonomics_auth::BoxError;
use neonomics_auth::testing::Fault;
use tower::{Service, ServiceBuilder};
use tower_http::decompression::DecompressionLayer;

use super::{Scene, Seen, ask, rejection};

const TEXT: &str = "a body, compressed";
const COMPRESSED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03KTH\xcaO\xa9\xd4QH\xce\xcf-(J-.NM\x01\x00\x04\xe1\x1d\xae\x12\x00\x00\x00";

#[tokio::test]
async fn c1_decompression_on_either_side_unpacks_the_answer_to_the_replay() {
    for scene in Scene::each_warm().await {
        let outside =
            ServiceBuilder::new().layer(DecompressionLayer::new()).layer(scene.auth()).service(scene.client.clone());
        assert_unpacks_the_second(&scene, 1, "outside", outside).await;
        let inside =
            ServiceBuilder::new().layer(scene.auth()).layer(DecompressionLayer::new()).service(scene.client.clone());
        assert_unpacks_the_second(&scene, 2, "inside", inside).await;
    }
}

async fn assert_unpacks_the_second<S, B>(scene: &Scene, round: usize, what: &str, service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    scene.fake.fail_requests(1, Fault::Answer(compressed(StatusCode::UNAUTHORIZED)));
    scene.fake.fail_requests(1, Fault::Answer(compressed(StatusCode::OK)));
    let answer = ask(service, scene.request()).await.unwrap();
    assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{what}, {:?}", scene.version);
    assert_eq!(answer.body, TEXT, "{what}, {:?}", scene.version);
    let seen = Seen { attempts: 2 * round, refused: round, exchanges: 1 + round, replays: round as u64 };
    scene.assert_seen(what, seen);
    // Both attempts say that the client can unpack.
    for attempt in scene.attempts() {
        assert_eq!(attempt.headers[ACCEPT_ENCODING], "gzip", "{what}, {:?}", scene.version);
    }
}

/// It is kept as it came, while there is an attempt at a renewal, and unpacked when it is read.
// lesson 29
#[tokio::test]
async fn c5_a_compressed_refusal_that_cannot_be_healed_comes_back_with_its_body() {
    for scene in Scene::each_warm().await {
        scene.fake.fail_exchanges(usize::MAX, rejection(300));
        let outside =
            ServiceBuilder::new().layer(DecompressionLayer::new()).layer(scene.auth()).service(scene.client.clone());
        assert_comes_back(&scene, 1, "outside", outside, TEXT.as_bytes()).await;
        // From here on the hold answers.
        let inside =
            ServiceBuilder::new().layer(scene.auth()).layer(DecompressionLayer::new()).service(scene.client.clone());
        assert_comes_back(&scene, 2, "inside", inside, TEXT.as_bytes()).await;
        let without = ServiceBuilder::new().layer(scene.auth()).service(scene.client.clone());
        assert_comes_back(&scene, 3, "without", without, COMPRESSED).await;
    }
}

async fn assert_comes_back<S, B>(scene: &Scene, round: usize, what: &str, service: S, body: &'static [u8])
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    scene.fake.fail_requests(1, Fault::Answer(compressed(StatusCode::UNAUTHORIZED)));
    let answer = ask(service, scene.request()).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{what}, {:?}", scene.version);
    assert_eq!(answer.body, body, "{what}, {:?}", scene.version);
    let cause = answer.outcome.unwrap().renewal_error().cloned().unwrap();
    assert!(cause.is_rejected(), "{what}, {:?}: {cause:?}", scene.version);
    // Once with the refresh token, and never again.
    scene.assert_seen(what, Seen { attempts: round, refused: round, exchanges: 2, replays: 0 });
}

fn compressed(status: StatusCode) -> Response<Bytes> {
    let answer = Response::builder().status(status).header(CONTENT_ENCODING, "gzip");
    answer.body(Bytes::from_static(COMPRESSED)).unwrap()
}
