//! `.oneshot(..)` and `.ready()`: the cause is rustc's, the cure is quoted from beside the type parameter.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use neonomics_auth::NeonomicsAuth;
use tower::ServiceExt;

type Once = BoxBody<Bytes, Infallible>;
type Plain = NeonomicsAuth<Client<HttpConnector, Once>>;

fn oneshot(client: Plain, request: Request<Once>) {
    let _ = client.oneshot(request);
}

fn ready(mut client: Plain) {
    let _ = client.ready();
}

fn main() {}
