//! Real clients and servers on loopback: what only sockets show.
//!
//! No paused time: it runs ahead while a task waits for a socket.

#![allow(clippy::unwrap_used)]

mod bad_answers;
mod clients;
mod connections;
mod crowds;
#[cfg(feature = "reqwest")]
mod default_transport;
mod names;
mod producer;
mod redirects;
mod refuser;
#[cfg(feature = "reqwest")]
mod reqwest_service;
#[cfg(feature = "reqwest")]
mod runtimes;
mod servers;
mod socket;
mod stacks;
#[cfg(feature = "reqwest")]
mod tls;
mod trailers;
mod uploads;
mod wire;

use std::error::Error as StdError;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

/// A request that the fake sends back as it came.
fn echo(origin: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(format!("{origin}/echo")).body(Full::new(body.into())).unwrap()
}

/// Turns a hang into a failure; says nothing about time.
async fn unless_it_hangs<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}

/// Everything that an error says, and its sources say.
fn told_by(error: &(dyn StdError + 'static)) -> String {
    let mut told = String::new();
    for error in chain(error) {
        writeln!(told, "{error}\n{error:?}\n{error:#?}").unwrap();
    }
    told
}

/// An error and its sources.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
