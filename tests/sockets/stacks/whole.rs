//! Whole stacks, as one finds them in a service: connections, and requests that are given up.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::server::conn::http2;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{BoxError, NeonomicsAuthLayer, PassReason, TokenProvider};
use tokio::net::TcpListener;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_http::decompression::DecompressionLayer;
use tower_http::trace::TraceLayer;

use super::{Scene, Seen, ask, until};
use crate::{echo, unless_it_hangs};

/// As many forced renewals follow one another per provider, as fast as one likes.
const BURST: usize = 10;

/// On a current-thread runtime: elsewhere the connection may still be on its way back when the replay asks for one.
#[tokio::test]
async fn c11_refusals_in_a_whole_stack_cost_no_connection() {
    for length in [0, 8_000, 60_000] {
        for scene in Scene::each().await {
            // Over HTTP/1.1 a longer one may cost the connection; over HTTP/2 it is one stream among others.
            if length > 8_000 && scene.version == Version::HTTP_11 {
                continue;
            }
            // Its exchanges stay in process: all connections are those of the API.
            let scene = Scene { provider: scene.fake.provider(), ..scene };
            let client = whole(&scene);
            for _ in 0..BURST {
                scene.fake.fail_requests(1, Fault::Answer(refusal(length)));
                let answer = ask(client.clone(), scene.request()).await.unwrap();
                assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{:?}", scene.version);
                assert_eq!(answer.body, "a body");
            }
            let seen = Seen { attempts: 2 * BURST, refused: BURST, exchanges: 1 + BURST, replays: BURST as u64 };
            scene.assert_seen("a whole stack", seen);
            assert_eq!(scene.fake.connections(), 1, "{length} bytes, {:?}", scene.version);
        }
    }
}

/// The server allows one stream at a time, and the client takes no more than a part of a body that it does not read: a
/// refusal that is kept unread would keep the only stream.
// lesson 38
#[tokio::test]
async fn c11_where_one_http2_stream_may_be_open_the_replay_follows_the_refusal() {
    let fake = FakeNeonomics::new();
    let origin = one_stream_at_a_time(fake.clone()).await;
    let environment = fake.environment().allow_origin(&origin).unwrap();
    let provider = TokenProvider::builder(environment, fake.credentials()).transport(fake.clone()).build().unwrap();
    let client = legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(1_000)
        .build_http();
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(client);

    for round in 1..=3 {
        fake.fail_requests(1, Fault::Answer(refusal(12_000)));
        let answer = ask(client.clone(), echo(&origin, "a body")).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true));
        assert_eq!(answer.body, "a body");
        fake.expect().client_credentials(1).refresh(round).requests(2 * round).unauthorized(round);
    }
}

/// The fake on a connection that allows no two requests at once; there is no second connection.
async fn one_stream_at_a_time(fake: FakeNeonomics) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(1);
        let serving = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(fake));
        // The client leaves when the test is over.
        serving.await.ok();
    });
    origin
}

fn refusal(length: usize) -> Response<Bytes> {
    Response::builder().status(StatusCode::UNAUTHORIZED).body(Bytes::from(vec![b'x'; length])).unwrap()
}

/// The whole future is dropped while the first token is awaited, and then while a refused one is renewed.
// lesson 1
#[tokio::test]
async fn a10_giving_up_a_request_to_a_whole_stack_gives_back_its_permits_and_not_its_renewal() {
    for scene in Scene::each().await {
        let client = whole(&scene);
        give_up_during_an_exchange(&scene, &client).await;
        let first = unless_it_hangs(scene.provider.token()).await.unwrap();
        scene.assert_seen("given up", Seen { attempts: 1, refused: 1, exchanges: 1, replays: 0 });

        scene.fake.refuse_requests(1);
        give_up_during_an_exchange(&scene, &client).await;
        let second = unless_it_hangs(scene.provider.renew(&first)).await.unwrap();
        assert_eq!((first.generation(), second.generation()), (1, 2), "{:?}", scene.version);
        scene.assert_seen("given up again", Seen { attempts: 3, refused: 3, exchanges: 2, replays: 0 });
        let status = scene.provider.status();
        assert_eq!((status.renewals.first.succeeded, status.renewals.forced.succeeded), (1, 1), "{:?}", scene.version);

        // The next one finds all in order.
        let answer = ask(client, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.outcome.is_none()), (StatusCode::OK, true), "{:?}", scene.version);
        scene.assert_seen("the next", Seen { attempts: 4, refused: 3, exchanges: 2, replays: 0 });
    }
}

/// The exchange is made all the same, and while it is under way another request comes through both limits.
async fn give_up_during_an_exchange(scene: &Scene, client: &Whole) {
    let gate = scene.fake.hold_exchanges();
    until(gate.arrived(1), Box::pin(client.clone().oneshot(scene.request()))).await;
    let other = ask(client.clone(), scene.request_of_its_own()).await.unwrap();
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);
    assert_eq!(other.passed(), Some(PassReason::CallerAuthorized), "{:?}", scene.version);
    gate.open();
}

type Whole = BoxCloneSyncService<Request<Full<Bytes>>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Everything at once, with a permit for one request on each side of the layer.
fn whole(scene: &Scene) -> Whole {
    let stack = ServiceBuilder::new()
        .map_response(boxed)
        .layer(TraceLayer::new_for_http())
        .concurrency_limit(1)
        .timeout(Duration::from_secs(60))
        .layer(scene.auth())
        .layer(DecompressionLayer::new())
        .concurrency_limit(1)
        .service(scene.client.clone());
    BoxCloneSyncService::new(stack)
}

fn boxed<B>(response: Response<B>) -> Response<UnsyncBoxBody<Bytes, BoxError>>
where
    B: Body<Data = Bytes, Error = BoxError> + Send + 'static,
{
    response.map(BodyExt::boxed_unsync)
}
