//! Ways to misuse the crate: what each leads to, and that the page on troubleshooting has an entry for it.
//!
//! In the order of the page, `src/troubleshooting.md`. Messages are those that the crate really gives, so that page and
//! code cannot part.

#![allow(clippy::unwrap_used)]

mod api;
mod authorization_server;
mod compiler;
mod page;
#[cfg(feature = "reqwest")]
mod redirected_by_reqwest;
mod runtimes;
mod sessions;
mod settings;
mod stack;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::AuthOutcome;
use neonomics_auth::testing::{FakeNeonomics, Fault};

/// A request that the fake sends back as it came.
fn echo(fake: &FakeNeonomics) -> Request<Full<Bytes>> {
    get(format!("{}/echo", fake.origin()))
}

fn get(uri: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::get(uri.as_ref()).body(Full::default()).unwrap()
}

/// This answer instead of the usual one.
fn answer(status: u16, body: impl Into<Bytes>) -> Fault {
    Fault::Answer(Response::builder().status(status).body(body.into()).unwrap())
}

/// What the layer says of an answer.
fn outcome<B>(response: &Response<B>) -> &AuthOutcome {
    response.extensions().get().expect("something unusual happened")
}

/// Turns a hang into a failure; says nothing about time.
async fn unless_it_hangs<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}
