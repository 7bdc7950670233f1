//! What becomes of the connection on which a token was refused.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy;
use hyper_util::rt::TokioIo;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{AuthOutcome, NeonomicsAuthLayer};
use tokio::net::TcpStream;
use tower::buffer::Buffer;
use tower::{Layer, Service, ServiceExt};

use crate::{clients, echo, unless_it_hangs};

/// On a current-thread runtime: elsewhere the connection may still be on its way back when the replay asks for one.
#[tokio::test]
async fn c11_three_hundred_refusals_of_up_to_8000_bytes_use_one_http1_connection() {
    // As many forced renewals follow one another per provider, as fast as one likes.
    const BURST: usize = 10;
    for length in [0, 1, 1_000, 8_000] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let client = clients::http1();
        for _ in 0..300 / BURST {
            // Its exchanges stay in process: all connections are those of the API.
            let client = NeonomicsAuthLayer::new(fake.provider()).layer(client.clone());
            for _ in 0..BURST {
                fake.fail_requests(1, Fault::Answer(refusal(length)));
                let answering = client.clone().oneshot(echo(fake.origin(), "a body"));
                let response = unless_it_hangs(answering).await.unwrap();
                assert!(response.extensions().get::<AuthOutcome>().unwrap().replayed());
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
            }
        }
        fake.expect().requests(600).unauthorized(300);
        assert_eq!(fake.connections(), 1, "refusals of {length} bytes");
    }
}

/// The service below the layer has one connection and no other: a refusal that is kept unread would keep it busy.
// lesson 38
#[tokio::test]
async fn c11_where_there_is_one_connection_in_all_the_replay_follows_the_refusal_on_it() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let authority = fake.origin().strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(authority).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    // The buffer makes it `Clone`, and asks it for readiness before each request.
    let client = NeonomicsAuthLayer::new(fake.provider()).layer(Buffer::new(OneConnection(sender), 1));

    for round in 1..=3 {
        // More than hyper reads at once: unread, the rest of it stands between the connection and its next request.
        fake.fail_requests(1, Fault::Answer(refusal(12_000)));
        let request = Request::post("/echo").header(HOST, authority).body(Full::from("a body")).unwrap();
        let response = unless_it_hangs(client.clone().oneshot(request)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.extensions().get::<AuthOutcome>().unwrap().replayed());
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "a body");
        fake.expect().client_credentials(1).refresh(round).requests(2 * round).unauthorized(round);
    }
    assert_eq!(fake.connections(), 1);

    // It is closed by its client, properly.
    drop(client);
    unless_it_hangs(connection).await.unwrap().unwrap();
}

// lesson 39
#[tokio::test]
async fn c1_a_second_attempt_that_is_reset_is_the_outcome_and_the_refusal_is_not() {
    for client in [clients::http1(), clients::http2()] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let provider = clients::provider(&fake);
        let client = NeonomicsAuthLayer::new(provider.clone()).layer(client);
        fake.refuse_requests(1);
        fake.fail_requests(1, Fault::Reset);

        // The server has the whole second request: it may have paid somebody.
        let error = unless_it_hangs(client.oneshot(echo(fake.origin(), "pay"))).await.unwrap_err();
        assert!(error.is::<legacy::Error>(), "{error:?}");
        assert_eq!(provider.status().replays, 1);

        // The connection of the second attempt was in use before, and still nobody sent it a third time.
        fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
        let statuses: Vec<_> = fake.requests().iter().filter(|r| r.uri.path() == "/echo").map(|r| r.status).collect();
        assert_eq!(statuses, [Some(StatusCode::UNAUTHORIZED), None]);
    }
}

/// A second attempt whose connection breaks inside the answer's body is the caller's too.
#[tokio::test]
async fn c1_a_second_answer_that_breaks_off_is_not_covered_up() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = clients::provider(&fake);
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());
    fake.refuse_requests(1);
    fake.fail_requests(1, Fault::Silence);

    let response = unless_it_hangs(client.oneshot(echo(fake.origin(), "pay"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<AuthOutcome>().unwrap().replayed());
    fake.expect().requests(2).unauthorized(1);

    // The server goes away while the body is under way. The provider has no handle of it, only its address.
    drop(fake);
    unless_it_hangs(response.into_body().collect()).await.unwrap_err();
    assert_eq!(provider.status().replays, 1);
}

fn refusal(length: usize) -> Response<Bytes> {
    Response::builder().status(StatusCode::UNAUTHORIZED).body(Bytes::from(vec![b'x'; length])).unwrap()
}

/// One HTTP/1.1 connection as a service: ready when the last exchange on it is over.
struct OneConnection(SendRequest<Full<Bytes>>);

impl Service<Request<Full<Bytes>>> for OneConnection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
