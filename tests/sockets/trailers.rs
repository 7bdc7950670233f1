//! Bodies of unknown size, with trailers and without, over sockets.

use bytes::Bytes;
use futures::stream;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::NeonomicsAuthLayer;
use neonomics_auth::testing::FakeNeonomics;
use tower::{Layer, ServiceExt};

use crate::unless_it_hangs;

// lessons 23, 26
#[tokio::test]
async fn c12_both_attempts_of_a_streamed_body_say_the_same_of_its_length_and_bring_its_trailers() {
    for (http2_only, with_trailers) in [(false, false), (false, true), (true, false), (true, true)] {
        let fake = FakeNeonomics::listen().await.unwrap();
        let http = Client::builder(TokioExecutor::new()).http2_only(http2_only).build_http();
        let client = NeonomicsAuthLayer::new(fake.provider()).buffer_body(100).layer(http);
        let trailers =
            with_trailers.then(|| HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]));
        let mut frames = vec![Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"a body")))];
        frames.extend(trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        // HTTP/1.1 wants the names of the trailers before.
        let request = Request::post(format!("{}/echo", fake.origin())).header("trailer", "x-sum");

        fake.refuse_requests(1);
        let sending = client.oneshot(request.body(StreamBody::new(stream::iter(frames))).unwrap());
        assert_eq!(unless_it_hangs(sending).await.unwrap().status(), StatusCode::OK);

        let mut attempts: Vec<_> = fake.requests().into_iter().filter(|r| r.uri.path() == "/echo").collect();
        for attempt in &mut attempts {
            attempt.headers.remove(AUTHORIZATION);
            assert_eq!((&*attempt.body, &attempt.trailers), (&b"a body"[..], &trailers));
        }
        let [first, second] = &attempts[..] else { panic!("{} attempts", attempts.len()) };
        assert_eq!(first.headers, second.headers);
        fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    }
}
