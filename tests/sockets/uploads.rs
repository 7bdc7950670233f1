//! Uploads that are refused while they are still being sent.
//!
//! Their producers go on only when they are told to: a pause lasts as long as the test wants it to.

use bytes::Bytes;
use futures::future::join_all;
use http::header::{CONTENT_LENGTH, TRAILER};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::replay::BufferBody;
use neonomics_auth::testing::Fault;
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuth, NeonomicsAuthLayer, ReplayBody};
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt};

use crate::producer::{Producer, Upload, large, produced, trailers};
use crate::refuser::{Received, Refusal, Refuser, Rest, refusal_body};
use crate::socket::NarrowConnector;
use crate::unless_it_hangs;

type Buffering = NeonomicsAuth<Client<HttpConnector, ReplayBody<Upload>>, BufferBody>;
type Answer = Result<Response<Incoming>, BoxError>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Protocol {
    Http1,
    Http2,
}

use Protocol::{Http1, Http2};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Before the first byte of the body, and in the middle of it; an API that declines the rest, and one that says nothing.
fn refusals(length: usize) -> impl Iterator<Item = (Protocol, Refusal)> {
    [Http1, Http2].into_iter().flat_map(move |protocol| {
        [Rest::Declined, Rest::Ignored]
            .into_iter()
            .flat_map(move |rest| [0, 5].map(|after| (protocol, Refusal { after, length, rest })))
    })
}

/// The producer pauses from before the refusal until the second attempt has begun: nothing but the call-back gives the
/// body back.
// lessons 23, 24
#[tokio::test]
async fn c10_an_upload_that_is_refused_while_its_producer_pauses_is_sent_again_whole() {
    for (protocol, refusal) in refusals(3 * KIB) {
        let api = Refuser::listen(refusal).await;
        let client = buffering(&api, protocol, MIB);
        let (producer, upload) = Producer::new();
        let request = Request::post(format!("{}/upload", api.origin)).header(TRAILER, "x-checksum").body(upload);
        if refusal.after > 0 {
            producer.send("first").await;
        }
        let answer = spawn(&client, request.unwrap());

        // Both attempts are with the server, and the body stands where it stood.
        unless_it_hangs(api.arrived(2)).await;
        assert_eq!(api.received().len(), 0);
        if refusal.after == 0 {
            producer.send("first").await;
        }
        producer.send(", second").await;
        producer.send_trailers().await;
        drop(producer);

        assert_replayed(&unless_it_hangs(answer).await.unwrap().unwrap());
        let received = received_once(&api);
        assert_eq!(received.body, "first, second", "{protocol:?}, {refusal:?}");
        assert_eq!(received.trailers, Some(trailers()));
        assert_eq!(received.content_length, None);
        // Over HTTP/1.1 the price is the connection.
        let connections = if protocol == Http1 { 2 } else { 1 };
        assert_eq!((api.requests(), api.connections()), (2, connections), "{protocol:?}, {refusal:?}");
        assert_renewed_once(&api, 1, 1);
    }
}

// lessons 23, 26
#[tokio::test]
async fn c12_the_content_length_that_the_caller_has_set_is_right_on_the_second_attempt() {
    for (protocol, refusal) in refusals(3 * KIB) {
        let api = Refuser::listen(refusal).await;
        let client = buffering(&api, protocol, MIB);
        let (producer, upload) = Producer::new();
        let request = Request::post(format!("{}/upload", api.origin)).header(CONTENT_LENGTH, 13).body(upload);
        producer.send("first").await;
        let answer = spawn(&client, request.unwrap());

        unless_it_hangs(api.arrived(2)).await;
        producer.send(", second").await;
        drop(producer);
        assert_replayed(&unless_it_hangs(answer).await.unwrap().unwrap());
        let received = received_once(&api);
        assert_eq!(received.content_length.unwrap(), "13");
        assert_eq!(received.body, "first, second", "{protocol:?}, {refusal:?}");
        assert_renewed_once(&api, 1, 1);
    }
}

// lessons 24, 29
#[tokio::test]
async fn c5_the_401_of_an_upload_is_whole_where_the_renewal_fails() {
    for length in [0, 3 * KIB, 200 * KIB] {
        for (protocol, refusal) in refusals(length) {
            let api = Refuser::listen(refusal).await;
            api.fake.fail_exchanges(usize::MAX, Fault::Reset);
            let error = original_refusal(&api, protocol, refusal, MIB).await.unwrap();
            assert!(error.starts_with("the authorization server could not be reached"), "{error}");
            assert_eq!(api.provider.status().renewals.forced.failed, 1);
        }
    }
}

// lessons 29, 32
#[tokio::test]
async fn c5_the_401_of_an_upload_is_whole_where_the_renewal_brings_the_same_token() {
    for (protocol, refusal) in refusals(200 * KIB) {
        let api = Refuser::listen(refusal).await;
        let same = format!("{{\"access_token\":\"{}\",\"expires_in\":3600}}", api.refused.secret());
        api.fake.fail_exchanges(1, Fault::Answer(Response::new(same.into())));
        let error = original_refusal(&api, protocol, refusal, MIB).await.unwrap();
        assert!(error.contains("same"), "{error}");
        api.fake.expect().client_credentials(1).refresh(1);
    }
}

// lessons 24, 29
#[tokio::test]
async fn c6_the_401_of_an_upload_over_the_limit_is_whole_and_one_renewal_starts_behind_it() {
    for (protocol, refusal) in refusals(200 * KIB).filter(|(_, refusal)| refusal.after > 0) {
        let api = Refuser::listen(refusal).await;
        let error = original_refusal(&api, protocol, refusal, 4).await;
        assert_eq!(error, None);
        assert_eq!(unless_it_hangs(api.provider.renew(&api.refused)).await.unwrap().generation(), 2);
        assert_renewed_once(&api, 1, 0);
    }
}

/// Nothing is called back: what the server does with the rest is between it and the producer.
// lesson 24
#[tokio::test]
async fn c6_without_retry_the_401_of_an_upload_is_whole_and_one_renewal_starts_behind_it() {
    for (protocol, refusal) in refusals(200 * KIB) {
        let api = Refuser::listen(refusal).await;
        let layer = NeonomicsAuthLayer::new(api.provider.clone()).without_retry();
        let client = layer.layer(client::<Upload>(protocol));
        let (producer, upload) = Producer::new();
        producer.send("first").await;
        let request = Request::post(format!("{}/upload", api.origin)).body(upload).unwrap();
        let response = unless_it_hangs(client.oneshot(request)).await.unwrap();
        assert!(response.extensions().get::<AuthOutcome>().is_none());
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let body = unless_it_hangs(response.into_body().collect()).await.unwrap().to_bytes();
        assert!(body == refusal_body(refusal.length), "{} bytes, {protocol:?}, {refusal:?}", body.len());
        assert_eq!(unless_it_hangs(api.provider.renew(&api.refused)).await.unwrap().generation(), 2);
        assert_eq!(api.requests(), 1);
        assert_renewed_once(&api, 1, 0);
    }
}

/// Far more than a window: the client waits for room, not for the producer, and learns from the reset that it may stop.
// lesson 23
#[tokio::test]
async fn c10_a_large_upload_that_is_declined_while_it_waits_for_room_is_sent_again_whole() {
    let refusal = Refusal { after: 0, length: 3 * KIB, rest: Rest::Declined };
    let api = Refuser::listen(refusal).await;
    let client = buffering(&api, Http2, 16 * MIB);
    let whole = large();
    let answer = spawn(&client, Request::post(format!("{}/upload", api.origin)).body(produced(&whole)).unwrap());
    assert_replayed(&unless_it_hangs(answer).await.unwrap().unwrap());
    let received = received_once(&api);
    assert!(received.body == whole, "{} bytes", received.body.len());
    assert_eq!((api.requests(), api.connections()), (2, 1));
    assert_renewed_once(&api, 1, 1);
}

/// A client that waits for room does not ask for the body, and cannot be made to give it back.
// lessons 24, 29
#[tokio::test]
async fn c6_a_large_upload_that_is_ignored_while_it_waits_for_room_is_not_sent_again() {
    for protocol in [Http1, Http2] {
        let refusal = Refusal { after: 0, length: 200 * KIB, rest: Rest::Ignored };
        let api = Refuser::holding(refusal).await;
        let connector = NarrowConnector::new(256 * KIB);
        let client = Client::builder(TokioExecutor::new()).http2_only(protocol == Http2).build(connector.clone());
        let client = NeonomicsAuthLayer::new(api.provider.clone()).buffer_body(16 * MIB).layer(client);
        let request = Request::post(format!("{}/upload", api.origin)).body(produced(&large())).unwrap();
        let answer = tokio::spawn(client.oneshot(request));
        unless_it_hangs(connector.full()).await;
        api.release(1);

        let response = unless_it_hangs(answer).await.unwrap().unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{protocol:?}");
        assert!(response.extensions().get::<AuthOutcome>().is_none());
        let body = unless_it_hangs(response.into_body().collect()).await.unwrap().to_bytes();
        assert!(body == refusal_body(refusal.length), "{} bytes over {protocol:?}", body.len());
        assert_eq!((api.requests(), api.connections()), (1, 1));
        assert_renewed_once(&api, 1, 0);
    }
}

/// There is no need to call it back: the second attempt has a body of its own. An API that ignores the rest costs a
/// connection over HTTP/1.1; over HTTP/2 it keeps the window of the connection, for all that follows on it.
// lesson 23
#[tokio::test]
async fn c10_a_large_body_that_is_cloned_is_sent_again_whole_while_the_first_is_under_way() {
    for (protocol, rest, connections) in [(Http1, Rest::Ignored, 2), (Http2, Rest::Declined, 1)] {
        let api = Refuser::listen(Refusal { after: 0, length: 3 * KIB, rest }).await;
        let client = NeonomicsAuthLayer::new(api.provider.clone()).layer(client::<Full<Bytes>>(protocol));
        let whole = large();
        let request = Request::post(format!("{}/upload", api.origin)).body(Full::new(whole.clone())).unwrap();
        assert_replayed(&unless_it_hangs(client.oneshot(request)).await.unwrap());
        let received = received_once(&api);
        assert!(received.body == whole, "{} bytes", received.body.len());
        assert_eq!(received.content_length.unwrap(), whole.len().to_string());
        assert_eq!((api.requests(), api.connections()), (2, connections));
        assert_renewed_once(&api, 1, 1);
    }
}

const CROWD: usize = 100;

// lessons 3, 23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_hundred_uploads_that_are_refused_early_on_one_http2_connection_lead_to_one_renewal() {
    let crowd = Crowd::upload(Http2).await;
    crowd.api.release(CROWD);
    crowd.assert_replayed(1).await;
}

/// All but one are refused when the token has been replaced: there is nothing to wait for but the body.
// lessons 3, 23, 24
#[tokio::test]
async fn c2_uploads_that_are_refused_after_the_renewal_are_sent_again_too() {
    for protocol in [Http1, Http2] {
        refuse_late(protocol).await;
    }
}

// lessons 3, 23, 24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_on_two_workers_uploads_that_are_refused_after_the_renewal_are_sent_again_too() {
    for protocol in [Http1, Http2] {
        refuse_late(protocol).await;
    }
}

async fn refuse_late(protocol: Protocol) {
    let crowd = Crowd::upload(protocol).await;
    crowd.api.release(1);
    unless_it_hangs(crowd.api.arrived(CROWD + 1)).await;
    assert_eq!(crowd.api.provider.cached().unwrap().generation(), 2);
    crowd.api.release(CROWD - 1);
    crowd.assert_replayed(if protocol == Http1 { 2 * CROWD } else { 1 }).await;
}

/// Uploads whose first part is with the server, and whose producers pause.
struct Crowd {
    api: Refuser,
    uploads: Vec<(Producer, JoinHandle<Answer>)>,
}

impl Crowd {
    async fn upload(protocol: Protocol) -> Self {
        let api = Refuser::holding(Refusal { after: 5, length: KIB, rest: Rest::Declined }).await;
        let client = buffering(&api, protocol, MIB);
        let mut uploads = Vec::new();
        for _ in 0..CROWD {
            let (producer, upload) = Producer::new();
            producer.send("first").await;
            let request = Request::post(format!("{}/upload", api.origin)).body(upload).unwrap();
            uploads.push((producer, spawn(&client, request)));
        }
        unless_it_hangs(api.arrived(CROWD)).await;
        Self { api, uploads }
    }

    /// The producers go on when all second attempts have begun, or when their answer is there.
    async fn assert_replayed(self, connections: usize) {
        let Self { api, uploads } = self;
        let answers = uploads.into_iter().enumerate().map(|(number, (producer, mut answer))| {
            let api = &api;
            async move {
                let begun = api.arrived(2 * CROWD);
                let early = tokio::select! {
                    () = begun => None,
                    answer = &mut answer => Some(answer),
                };
                if early.is_some() {
                    api.count_in();
                }
                producer.send(&format!(", {number:03}")).await;
                drop(producer);
                let answer = if let Some(answer) = early { answer } else { answer.await };
                answer.unwrap().unwrap()
            }
        });
        let answers = unless_it_hangs(join_all(answers)).await;
        let refused = answers.iter().filter(|answer| answer.status() == StatusCode::UNAUTHORIZED).count();
        assert_eq!(refused, 0, "so many of {CROWD} were not sent again");
        for answer in &answers {
            assert_replayed(answer);
        }
        let mut bodies: Vec<_> = api.received().into_iter().map(|received| received.body).collect();
        bodies.sort();
        let whole: Vec<_> = (0..CROWD).map(|number| Bytes::from(format!("first, {number:03}"))).collect();
        assert_eq!(bodies, whole);
        assert_eq!((api.requests(), api.connections()), (2 * CROWD, connections));
        assert_renewed_once(&api, CROWD as u64, CROWD as u64);
    }
}

/// The answer to an upload whose producer pauses, which is the original one; and why.
async fn original_refusal(api: &Refuser, protocol: Protocol, refusal: Refusal, limit: usize) -> Option<String> {
    let client = buffering(api, protocol, limit);
    let (producer, upload) = Producer::new();
    producer.send("first").await;
    let request = Request::post(format!("{}/upload", api.origin)).body(upload).unwrap();
    let response = unless_it_hangs(spawn(&client, request)).await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let outcome = response.extensions().get::<AuthOutcome>().cloned();
    let body = unless_it_hangs(response.into_body().collect()).await;
    let body = body.unwrap_or_else(|error| panic!("{error:?}: {protocol:?}, {refusal:?}")).to_bytes();
    assert!(body == refusal_body(refusal.length), "{} bytes: {protocol:?}, {refusal:?}", body.len());
    assert_eq!((api.requests(), api.received().len()), (1, 0));
    assert_eq!(api.provider.status().replays, 0);
    outcome.map(|outcome| outcome.renewal_error().unwrap().to_string())
}

fn client<B: Body<Data: Send> + Send>(protocol: Protocol) -> Client<HttpConnector, B> {
    Client::builder(TokioExecutor::new()).http2_only(protocol == Http2).build_http()
}

fn buffering(api: &Refuser, protocol: Protocol, limit: usize) -> Buffering {
    NeonomicsAuthLayer::new(api.provider.clone()).buffer_body(limit).layer(client(protocol))
}

fn spawn(client: &Buffering, request: Request<Upload>) -> JoinHandle<Answer> {
    tokio::spawn(client.clone().oneshot(request))
}

#[track_caller]
fn assert_replayed(response: &Response<Incoming>) {
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.extensions().get::<AuthOutcome>().unwrap().replayed());
}

/// What the server has read to its end: one request, with the new token.
#[track_caller]
fn received_once(api: &Refuser) -> Received {
    let mut received = api.received();
    assert_eq!(received.len(), 1);
    let received = received.remove(0);
    assert_eq!(received.authorization, api.provider.cached().unwrap().authorization());
    received
}

#[track_caller]
fn assert_renewed_once(api: &Refuser, refusals: u64, replays: u64) {
    let status = api.provider.status();
    assert_eq!((status.renewals.forced.succeeded, status.renewals.forced.failed), (1, 0));
    assert_eq!((status.refusals, status.replays), (refusals, replays));
    api.fake.expect().client_credentials(1).refresh(1);
}
