//! `.oneshot(..)` and handed on, both under an outer layer.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use neonomics_auth::NeonomicsAuth;
use tower::timeout::Timeout;
use tower::{Service, ServiceExt};

type Once = BoxBody<Bytes, Infallible>;
type Plain = NeonomicsAuth<Client<HttpConnector, Once>>;

fn takes_a_client<S: Service<Request<Once>>>(_: S) {}

fn called(client: Timeout<Plain>, request: Request<Once>) {
    let _ = client.oneshot(request);
}

fn handed_on(client: Timeout<Plain>) {
    takes_a_client(client);
}

fn main() {}
