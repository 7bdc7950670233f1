//! `.oneshot(..)` over a service that takes any body: the message is ours.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use neonomics_auth::NeonomicsAuth;
use neonomics_auth::testing::FakeNeonomics;
use tower::ServiceExt;

fn oneshot(client: NeonomicsAuth<FakeNeonomics>, request: Request<BoxBody<Bytes, Infallible>>) {
    let _ = client.oneshot(request);
}

fn main() {}
