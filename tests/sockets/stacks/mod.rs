//! The layer among other layers of tower and tower-http, over HTTP/1.1 and over HTTP/2.

mod boxes;
mod decompression;
mod headers;
mod limits;
mod queues;
mod retries;
mod timeouts;
mod traces;
mod two_layers;
mod whole;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use neonomics_auth::testing::{FakeNeonomics, Fault, RecordedRequest};
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuthLayer, PassReason, TokenProvider};
use tower::{Service, ServiceExt};

use crate::clients::{self, HyperClient};
use crate::{echo, unless_it_hangs};

/// One server, one provider, and a client that speaks one version of HTTP.
struct Scene {
    version: Version,
    client: HyperClient,
    fake: FakeNeonomics,
    provider: TokenProvider,
}

/// What has come to the server, and what the provider says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    /// Requests at the API.
    attempts: usize,
    /// Those of them that were answered with 401.
    refused: usize,
    exchanges: usize,
    replays: u64,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
    outcome: Option<AuthOutcome>,
}

impl Scene {
    /// The same for each version.
    async fn each() -> [Self; 2] {
        let over = async |version, client| {
            let fake = FakeNeonomics::listen().await.unwrap();
            Self { version, client, provider: clients::provider(&fake), fake }
        };
        [over(Version::HTTP_11, clients::http1()).await, over(Version::HTTP_2, clients::http2()).await]
    }

    /// The first token is there.
    async fn each_warm() -> [Self; 2] {
        let scenes = Self::each().await;
        for scene in &scenes {
            unless_it_hangs(scene.provider.token()).await.unwrap();
        }
        scenes
    }

    fn auth(&self) -> NeonomicsAuthLayer {
        NeonomicsAuthLayer::new(self.provider.clone())
    }

    fn request(&self) -> Request<Full<Bytes>> {
        echo(self.fake.origin(), "a body")
    }

    /// Passed on as it is, and answered with 401.
    fn request_of_its_own(&self) -> Request<Full<Bytes>> {
        let mut request = self.request();
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer of-the-caller"));
        request
    }

    /// The requests at the API, all of the scene's version.
    #[track_caller]
    fn attempts(&self) -> Vec<RecordedRequest> {
        let mut requests = self.fake.requests();
        requests.retain(|request| request.uri.path().starts_with("/echo"));
        assert!(requests.iter().all(|request| request.version == self.version), "{:?}: {requests:?}", self.version);
        requests
    }

    #[track_caller]
    fn assert_seen(&self, what: &str, expected: Seen) {
        // Panics if a request came that is not known.
        self.fake.expect();
        let (counts, status) = (self.fake.counts(), self.provider.status());
        let seen = Seen {
            attempts: counts.requests,
            refused: counts.unauthorized,
            exchanges: counts.client_credentials + counts.refresh + counts.other_grants,
            replays: status.replays,
        };
        assert_eq!(seen, expected, "{what}, {:?}\n\n{}", self.version, self.fake.transcript());
        assert_eq!(self.attempts().len(), seen.attempts, "{what}, {:?}", self.version);
    }
}

/// What becomes of a request, its answer read to the end.
async fn ask<S, B>(service: S, request: Request<Full<Bytes>>) -> Result<Answer, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Error: Into<BoxError>>,
{
    let answering = async {
        let (head, body) = service.oneshot(request).await.map_err(Into::into)?.into_parts();
        let body = body.collect().await.map_err(Into::into)?.to_bytes();
        Ok(Answer { status: head.status, body, outcome: head.extensions.get().cloned() })
    };
    unless_it_hangs(answering).await
}

impl Answer {
    fn replayed(&self) -> bool {
        self.outcome.as_ref().is_some_and(AuthOutcome::replayed)
    }

    fn passed(&self) -> Option<PassReason> {
        self.outcome.as_ref().and_then(AuthOutcome::passed_without_token)
    }
}

/// Waits for `event` while `request` is under way.
async fn until<F: Future + Unpin>(event: impl Future<Output = ()>, mut request: F) {
    tokio::select! {
        _ = &mut request => panic!("it is over too soon"),
        () = unless_it_hangs(event) => {}
    }
}

/// Refused, renewed and sent again, three times; the service stays alive, with all that it holds.
async fn assert_heals<S, B>(scene: &Scene, what: &str, mut service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    for round in 1..=3 {
        scene.fake.refuse_requests(1);
        let answer = ask(&mut service, scene.request()).await.unwrap();
        assert_eq!((answer.status, answer.replayed()), (StatusCode::OK, true), "{what}, {:?}", scene.version);
        let waited = answer.outcome.is_some_and(|outcome| outcome.waited());
        assert_eq!(waited, round == 1, "{what}, {:?}: the first one waits for its token", scene.version);
        assert_eq!(answer.body, "a body");
        scene.assert_seen(
            what,
            Seen { attempts: 2 * round, refused: round, exchanges: 1 + round, replays: round as u64 },
        );
    }
}

/// An answer of the authorization server that rejects the client, and asks for this much patience.
fn rejection(retry_after: u32) -> Fault {
    let answer = Response::builder().status(StatusCode::UNAUTHORIZED).header("retry-after", retry_after);
    Fault::Answer(answer.body(Bytes::from_static(br#"{"error":"invalid_client"}"#)).unwrap())
}

fn unavailable() -> Response<Bytes> {
    Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Bytes::new()).unwrap()
}
