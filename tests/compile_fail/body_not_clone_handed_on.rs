//! Boxed, or handed to a function: the message is ours.

use std::convert::Infallible;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::BoxBody;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use neonomics_auth::NeonomicsAuth;
use tower::Service;
use tower::util::BoxCloneService;

type Once = BoxBody<Bytes, Infallible>;
type Plain = NeonomicsAuth<Client<HttpConnector, Once>>;

fn takes_a_client<S: Service<Request<Once>>>(_: S) {}

fn handed_on(client: Plain) {
    takes_a_client(client);
}

fn boxed(client: Plain) {
    let _ = BoxCloneService::new(client);
}

fn main() {}
