//! What is kept of a request is decided in this crate.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::Request;
use neonomics_auth::replay::Replay;

struct Mine;

impl<B> Replay<B> for Mine {
    type Body = B;
    type Kept = Infallible;

    fn once(&self, request: Request<B>) -> Request<B> {
        request
    }

    fn keep(&self, request: Request<B>) -> (Request<B>, Option<Infallible>) {
        (request, None)
    }

    fn halt(kept: &Infallible) -> bool {
        match *kept {}
    }

    fn poll_back(kept: &Infallible, _: &mut Context<'_>) -> Poll<()> {
        match *kept {}
    }

    fn again(kept: Infallible) -> Option<Request<B>> {
        match kept {}
    }
}

fn main() {}
