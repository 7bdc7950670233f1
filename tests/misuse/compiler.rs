//! What the compiler says of a service or a body that does not fit.

use std::io;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use http_body_util::combinators::BoxBody;
use neonomics_auth::NeonomicsAuthLayer;
use neonomics_auth::testing::{FakeBody, FakeNeonomics, ResponseFuture};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::{echo, page};

const SERVICE_NOT_CLONE: &str = include_str!("../compile_fail/service_not_clone.stderr");
const SERVICE_FOR_ANOTHER_BODY: &str = include_str!("../compile_fail/service_for_another_body.stderr");
const BODY_CALLED: &str = include_str!("../compile_fail/body_not_clone_called.stderr");
const BODY_CALLED_GENERIC: &str = include_str!("../compile_fail/body_not_clone_called_generic.stderr");
const BODY_HANDED_ON: &str = include_str!("../compile_fail/body_not_clone_handed_on.stderr");
const BODY_UNDER_AN_OUTER_LAYER: &str = include_str!("../compile_fail/body_not_clone_under_an_outer_layer.stderr");

/// The entries for all errors that rustc prints for a case.
#[track_caller]
fn entries(case: &str, expected: usize) -> Vec<page::Entry> {
    let entries: Vec<_> = case.lines().filter(|line| line.starts_with("error[")).map(page::entry_for).collect();
    assert_eq!(entries.len(), expected);
    entries
}

/// A client that is not `Clone`.
struct Single(FakeNeonomics);

impl Service<Request<Full<Bytes>>> for Single {
    type Response = Response<FakeBody>;
    type Error = io::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> ResponseFuture {
        self.0.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn b6_a_service_that_is_not_clone_goes_behind_a_buffer() {
    for entry in entries(SERVICE_NOT_CLONE, 3) {
        assert!(entry.text.contains("`ServiceBuilder::new().layer(layer).buffer(32).service(inner)`"));
    }
    let fake = FakeNeonomics::new();
    let layer = NeonomicsAuthLayer::new(fake.provider());
    let client = ServiceBuilder::new().layer(layer.clone()).buffer(32).service(Single(fake.clone()));
    fake.refuse_requests(1);
    assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);

    // A box that is `Clone`.
    let client = layer.layer(BoxCloneService::new(fake.clone()));
    assert_eq!(client.oneshot(echo(&fake)).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(1).requests(3).unauthorized(1);
}

#[tokio::test(start_paused = true)]
async fn b6_a_body_that_is_not_clone_is_recorded_or_sent_once() {
    for entry in entries(BODY_CALLED_GENERIC, 1).into_iter().chain(entries(BODY_HANDED_ON, 2)) {
        for way in ["`.buffer_body(limit)`", "`.buffer_body_with(limit, wrap)`", "`.without_retry()`"] {
            assert!(entry.text.contains(way), "{way}");
        }
    }
    // What is to be looked for is there.
    let hint = "doesn't satisfy `…: Clone`";
    let (begin, end) = hint.split_once('…').unwrap();
    for entry in entries(BODY_CALLED, 2) {
        assert!(entry.text.contains(hint));
    }
    entries(BODY_UNDER_AN_OUTER_LAYER, 2);
    for called in BODY_CALLED.split("\n\n").chain(BODY_UNDER_AN_OUTER_LAYER.split("\n\n").take(1)) {
        assert!(called.lines().any(|line| line.contains(begin) && line.trim_end().ends_with(end)), "{called}");
    }

    let fake = FakeNeonomics::new();
    let layer = NeonomicsAuthLayer::new(fake.provider());
    let request = || echo(&fake).map(BoxBody::new);
    fake.refuse_requests(1);
    let recorded = layer.clone().buffer_body(1024).layer(fake.clone());
    assert_eq!(recorded.oneshot(request()).await.unwrap().status(), StatusCode::OK);
    fake.refuse_requests(1);
    let wrapped = layer.clone().buffer_body_with(1024, BoxBody::new).layer(fake.clone());
    assert_eq!(wrapped.oneshot(request()).await.unwrap().status(), StatusCode::OK);
    fake.expect().client_credentials(1).refresh(2).requests(4).unauthorized(2);
    fake.refuse_requests(1);
    let once = layer.without_retry().layer(fake.clone());
    assert_eq!(once.oneshot(request()).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    fake.expect().requests(5).unauthorized(3);
}

#[test]
fn b6_a_service_for_another_body_has_an_entry() {
    for entry in entries(SERVICE_FOR_ANOTHER_BODY, 2) {
        assert!(entry.text.contains("takes another body") && entry.text.contains("has an error that is none"));
    }
}
