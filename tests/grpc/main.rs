//! gRPC: a real tonic server and tonic's clients on loopback; the tokens come from a fake in process.
//!
//! No paused time: it runs ahead while a task waits for a socket.

#![allow(clippy::unwrap_used)]

mod api;
mod attempt;
mod calls;
mod clients;
mod codes;
mod crowd;
mod echo;
mod origins;
mod refusals;
mod streams;
mod unhealed;

use std::time::Duration;

use neonomics_auth::TokenProvider;

/// Turns a hang into a failure; says nothing about time.
async fn unless_it_hangs<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("hangs")
}

/// Answers that refused the token, requests sent a second time, and renewals that a refusal forced.
fn refused_replayed_forced(provider: &TokenProvider) -> (u64, u64, (u64, u64)) {
    let status = provider.status();
    (status.refusals, status.replays, (status.renewals.forced.succeeded, status.renewals.forced.failed))
}

/// An attempt: the number of its token, and the messages that the server read.
fn attempt(token: usize, messages: &[&str]) -> (usize, Vec<String>) {
    (token, messages.iter().map(|message| (*message).to_owned()).collect())
}
