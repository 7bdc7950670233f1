//! An inner service that takes another body than the requests have, and one whose error is none.

use std::future::Ready;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use neonomics_auth::NeonomicsAuth;
use tower::Service;

fn takes_a_client<B, S: Service<Request<B>>>(_: S) {}

fn another_body(client: NeonomicsAuth<Client<HttpConnector, Full<Bytes>>>) {
    takes_a_client::<Empty<Bytes>, _>(client);
}

#[derive(Clone)]
struct Failing;

/// Not an error.
struct Failure;

impl Service<Request<Empty<Bytes>>> for Failing {
    type Response = Response<()>;
    type Error = Failure;
    type Future = Ready<Result<Response<()>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Err(Failure))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        std::future::ready(Err(Failure))
    }
}

fn no_error(client: NeonomicsAuth<Failing>) {
    takes_a_client::<Empty<Bytes>, _>(client);
}

fn main() {}
