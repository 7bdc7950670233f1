//! The clients that use the layer, one request and a stream of requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuth, NeonomicsAuthLayer, TokenProvider};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

/// hyper-util's client under the layer; the same type for both versions of HTTP.
pub(crate) type Client = NeonomicsAuth<Hyper<HttpConnector, Full<Bytes>>>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Http {
    One,
    /// With prior knowledge, as there is no TLS to negotiate it.
    Two,
}

pub(crate) fn client(http: Http, provider: &TokenProvider) -> Client {
    let hyper = Hyper::builder(TokioExecutor::new()).http2_only(matches!(http, Http::Two)).build_http();
    NeonomicsAuthLayer::new(provider.clone()).layer(hyper)
}

/// Posts `body` and reads the answer whole.
pub(crate) async fn send(client: &Client, origin: &str, body: impl Into<Bytes>) -> Result<Response<Bytes>, BoxError> {
    let request = Request::post(format!("{origin}/ics/v3/payments")).body(Full::new(body.into()))?;
    let (head, body) = client.clone().oneshot(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

/// What the layer did, if it was unusual.
pub(crate) fn outcome(answer: &Response<Bytes>) -> Option<&AuthOutcome> {
    answer.extensions().get()
}

/// Turns a hang into a failure; says nothing about time.
pub(crate) async fn unless_it_hangs<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(120), future).await.expect("hangs")
}

/// Both ends of a socket are in this process.
pub(crate) fn allow_sockets(ends: usize) {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let needed = ends as u64 + 500;
    assert!(limit >= needed, "{needed} open files are needed, {limit} are allowed");
}

/// So many workers, each of which sends one request after another until it is told to stop or meets its first error.
pub(crate) struct Load {
    workers: JoinSet<Totals>,
    stop: watch::Sender<bool>,
}

/// What became of the requests of a [`Load`].
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Answers by status.
    pub(crate) answers: BTreeMap<u16, u64>,
    /// Answers to a second attempt.
    pub(crate) replays: u64,
    /// Answers that came back as they were since the renewal failed.
    pub(crate) unrenewed: u64,
    /// One for each worker that met one.
    pub(crate) errors: Vec<BoxError>,
}

impl Load {
    pub(crate) fn start(client: &Client, origin: &str, in_flight: usize) -> Self {
        let stop = watch::Sender::new(false);
        let origin: Arc<str> = origin.into();
        let mut workers = JoinSet::new();
        for number in 0..in_flight {
            workers.spawn(work(number, client.clone(), Arc::clone(&origin), stop.subscribe()));
        }
        Self { workers, stop }
    }

    /// Lets each worker end the request that it is at.
    pub(crate) async fn stop(self) -> Totals {
        self.stop.send_replace(true);
        self.end().await
    }

    /// Until each worker has met its error.
    pub(crate) async fn end(self) -> Totals {
        unless_it_hangs(self.workers.join_all()).await.into_iter().fold(Totals::default(), Totals::and)
    }
}

impl Totals {
    /// Every request was answered with 200.
    pub(crate) fn assert_none_failed(&self) {
        let failed = || self.answers.keys().any(|status| *status != 200) || !self.errors.is_empty();
        assert!(self.answers.contains_key(&200) && !failed(), "{self:?}");
    }

    fn count(&mut self, answer: &Response<Bytes>) {
        *self.answers.entry(answer.status().as_u16()).or_default() += 1;
        if let Some(outcome) = outcome(answer) {
            self.replays += u64::from(outcome.replayed());
            self.unrenewed += u64::from(outcome.renewal_error().is_some());
        }
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        for (status, number) in other.answers {
            *self.answers.entry(status).or_default() += number;
        }
        self.replays += other.replays;
        self.unrenewed += other.unrenewed;
        self.errors.extend(other.errors);
        self
    }
}

async fn work(number: usize, client: Client, origin: Arc<str>, stop: watch::Receiver<bool>) -> Totals {
    let mut totals = Totals::default();
    let mut sent = 0_u64;
    while !*stop.borrow() {
        sent += 1;
        let body = format!("{number}:{sent}");
        match send(&client, &origin, body.clone()).await {
            Ok(answer) => {
                assert!(answer.status() != StatusCode::OK || *answer.body() == body, "each gets its own answer");
                totals.count(&answer);
            }
            Err(error) => {
                totals.errors.push(error);
                break;
            }
        }
    }
    totals
}
