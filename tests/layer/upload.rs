//! Bodies as an application streams them, and a client that sends them to a scripted API.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use neonomics_auth::replay::{BufferBody, BufferBodyWith, Replay};
use neonomics_auth::testing::{FakeNeonomics, Gate};
use neonomics_auth::{AccessToken, BoxError, NeonomicsAuth, NeonomicsAuthLayer, ReplayBody, TokenProvider};
use tokio_test::assert_pending;
use tokio_test::task::{Spawn, spawn};
use tower::Layer;
use tower::ServiceExt;
use tower::util::Oneshot;
use tower_test::mock::{self, Handle, Mock, SendResponse};

use crate::api::refused;
use crate::wire::{assert_nothing_sent, authorization, echo, forced, headers, in_time, next_request, told};

/// Of unknown size, neither `Clone` nor `Sync`.
pub(crate) type Upload = StreamBody<BoxStream<'static, Result<Frame<Bytes>, BoxError>>>;
/// What the API gets of it.
pub(crate) type Sent = ReplayBody<Upload>;

/// What it gets where that is wrapped.
pub(crate) type Boxed = UnsyncBoxBody<Bytes, BoxError>;
/// Can be written in a struct field.
type Wrap = fn(Sent) -> Boxed;

type Client<R, C> = NeonomicsAuth<Mock<Request<C>, Response<String>>, R>;
pub(crate) type Answer<R, C> = Spawn<Oneshot<Client<R, C>, Request<Upload>>>;

/// Bytes of an [`upload`].
pub(crate) const SIZE: usize = 11;

/// Three frames and trailers.
pub(crate) fn upload() -> Upload {
    StreamBody::new(frames().boxed())
}

/// The first frame; the next one takes its time.
pub(crate) fn slow_upload() -> Upload {
    StreamBody::new(frames().take(1).chain(stream::pending()).boxed())
}

/// The first frame; then it fails.
pub(crate) fn failing_upload() -> Upload {
    StreamBody::new(frames().take(1).chain(stream::iter([Err("disk".into())])).boxed())
}

/// One more frame at the beginning, whose memory is counted: one reference for the caller, and one more while anybody
/// keeps the frame.
pub(crate) fn counted_upload(memory: &Arc<[u8]>) -> Upload {
    let counted = Frame::data(Bytes::from_owner(Arc::clone(memory)));
    StreamBody::new(stream::iter([Ok(counted)]).chain(frames()).boxed())
}

pub(crate) fn memory() -> Arc<[u8]> {
    Arc::from(*b"zero")
}

pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), "7".parse().unwrap())])
}

fn frames() -> stream::Iter<impl Iterator<Item = Result<Frame<Bytes>, BoxError>> + Send> {
    let data = ["one", "two", "three"].map(|frame| Frame::data(Bytes::from_static(frame.as_bytes())));
    stream::iter(data.into_iter().chain([Frame::trailers(trailers())]).map(Ok))
}

/// All of an [`upload`], once.
pub(crate) async fn assert_whole<B>(body: B)
where
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let whole = in_time(body.collect()).await.unwrap();
    assert_eq!(whole.trailers(), Some(&trailers()));
    assert_eq!(whole.to_bytes(), "onetwothree");
}

/// Takes so many frames; the end is one more.
pub(crate) async fn take<B>(body: &mut B, frames: usize)
where
    B: Body<Error: std::fmt::Debug> + Unpin,
{
    for _ in 0..frames {
        if let Some(frame) = in_time(body.frame()).await {
            frame.unwrap();
        }
    }
}

/// The 401 as the API sent it, of which nothing is to be said.
#[track_caller]
pub(crate) fn assert_original(response: Response<String>) {
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(headers(response.headers()), headers(refused("first").headers()));
    assert_eq!(told(&response), None);
    assert_eq!(response.into_body(), "first");
}

/// A client of a scripted API, with a token at hand.
pub(crate) struct Scene<R = BufferBody, C = Sent> {
    pub(crate) fake: FakeNeonomics,
    pub(crate) provider: TokenProvider,
    pub(crate) first: AccessToken,
    pub(crate) client: Client<R, C>,
    pub(crate) api: Handle<Request<C>, Response<String>>,
}

impl Scene {
    pub(crate) async fn buffering(limit: usize) -> Self {
        Self::of(|layer| layer.buffer_body(limit)).await
    }
}

impl Scene<BufferBodyWith<Wrap>, Boxed> {
    pub(crate) async fn wrapping(limit: usize) -> Self {
        Self::of(|layer| layer.buffer_body_with(limit, Sent::boxed_unsync as Wrap)).await
    }
}

impl<R, C> Scene<R, C>
where
    R: Replay<Upload, Body = C> + Clone,
{
    pub(crate) async fn of(mode: impl FnOnce(NeonomicsAuthLayer) -> NeonomicsAuthLayer<R>) -> Self {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let first = provider.token().await.unwrap();
        let (mock, api) = mock::pair();
        let client = mode(NeonomicsAuthLayer::new(provider.clone())).layer(mock);
        Self { fake, provider, first, client, api }
    }

    /// A first attempt that is under way.
    pub(crate) async fn sending(&mut self, body: Upload) -> (Answer<R, C>, Request<C>, SendResponse<Response<String>>) {
        let request = echo(&self.fake, body);
        self.sending_request(request).await
    }

    pub(crate) async fn sending_request(
        &mut self,
        request: Request<Upload>,
    ) -> (Answer<R, C>, Request<C>, SendResponse<Response<String>>) {
        let mut response = spawn(self.client.clone().oneshot(request));
        assert_pending!(response.poll());
        let (sent, respond) = next_request(&mut self.api).await;
        assert_eq!(authorization(&sent), self.first.authorization());
        (response, sent, respond)
    }

    /// The second attempt of a request that was refused, after the one renewal.
    pub(crate) async fn resent(&mut self, response: &mut Answer<R, C>) -> (Request<C>, SendResponse<Response<String>>) {
        assert_pending!(response.poll());
        let second = self.provider.renew(&self.first).await.unwrap();
        assert!(response.is_woken());
        assert_pending!(response.poll());
        let (sent, respond) = next_request(&mut self.api).await;
        assert_eq!(authorization(&sent), second.authorization());
        self.fake.expect().client_credentials(1).refresh(1);
        assert_eq!((self.provider.status().replays, forced(&self.provider)), (1, (1, 0)));
        (sent, respond)
    }

    /// One forced renewal was started by a refusal, and there is no second attempt.
    pub(crate) async fn assert_renewed_behind(&mut self, gate: Gate) {
        in_time(gate.arrived(1)).await;
        gate.open();
        assert_eq!(self.provider.renew(&self.first).await.unwrap().generation(), 2);
        self.assert_sent_once();
    }

    #[track_caller]
    pub(crate) fn assert_sent_once(&mut self) {
        assert_nothing_sent(&mut self.api);
        self.fake.expect().client_credentials(1).refresh(1);
        let status = self.provider.status();
        assert_eq!((status.refusals, status.replays, forced(&self.provider)), (1, 0, (1, 0)));
    }
}
