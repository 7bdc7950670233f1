//! The provider alone: what the token is, who waits for which renewal, and what a renewal asks of the server.
//!
//! The server is `FakeNeonomics` in process, the time is paused: it passes only when nobody can run any more, so that
//! every number of seconds below is exact, and nothing is waited for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::unchecked_time_subtraction, reason = "a test that takes away too much has failed")]

mod answers;
mod deadline;
mod dropped;
mod end;
mod failures;
mod grants;
mod lifetimes;
mod obtaining;
mod outage;
mod refused;
mod runtimes;
mod secrets;
mod status;

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::RETRY_AFTER;
use neonomics_auth::testing::{FakeNeonomics, Fault, RecordedRequest};
use neonomics_auth::{Error, TokenProvider, TokenState};
use tokio::runtime::Handle;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The lifetime of the fake's tokens, unless a test sets another.
const LIFETIME: Duration = HOUR;
/// From here on such a token is stale, whatever was drawn for it.
const STALE: Duration = Duration::from_secs(2880);

/// Time passes, timer by timer; whoever can run, runs.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Everybody runs who can run without the time. Costs a millisecond, which passes only when nobody can.
async fn settle() {
    pass(MILLISECOND).await;
}

/// Passes until the provider's one-hour token, just obtained, is stale, and makes sure that it is.
async fn turn_stale(provider: &TokenProvider) {
    pass(STALE).await;
    assert_eq!(provider.status().state, TokenState::Stale);
}

/// Asks again right after the hold that `error` tells.
async fn pass_hold(error: &Error) {
    pass(error.retry_after().unwrap()).await;
}

/// Tasks of the current runtime, the test itself not counted.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// What the token and the logout endpoint were asked for, in the order of arrival.
fn exchanges(fake: &FakeNeonomics) -> Vec<String> {
    let exchange = |request: &RecordedRequest| {
        if request.uri.path().ends_with("/logout") { Some("logout".to_owned()) } else { member(request, "grant_type") }
    };
    fake.requests().iter().filter_map(exchange).collect()
}

/// The refresh tokens at the token endpoint, in the order of arrival.
fn refresh_tokens(fake: &FakeNeonomics) -> Vec<String> {
    let requests = fake.requests();
    let refreshes = requests.iter().filter(|request| request.uri.path().ends_with("/token"));
    refreshes.filter_map(|request| member(request, "refresh_token")).collect()
}

/// How long after the start of the fake each request arrived.
fn arrivals(fake: &FakeNeonomics) -> Vec<Duration> {
    fake.requests().iter().map(|request| request.at).collect()
}

/// A member of the form that a request brought.
fn member(request: &RecordedRequest, name: &str) -> Option<String> {
    form_urlencoded::parse(&request.body).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// This answer instead of the usual one.
fn answer(status: u16, body: impl Into<Bytes>) -> Fault {
    Fault::Answer(Response::builder().status(status).body(body.into()).unwrap())
}

/// A fault that passes by itself.
fn unavailable() -> Fault {
    answer(503, "")
}

/// The same, and the server says when to come again.
fn unavailable_for(seconds: u64) -> Fault {
    let answer = Response::builder().status(503).header(RETRY_AFTER, seconds).body(Bytes::new());
    Fault::Answer(answer.unwrap())
}
