//! An application that produces the body of a request piece by piece.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use neonomics_auth::BoxError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::refuser::refusal_body;

/// Of unknown size, neither `Clone` nor `Sync`.
pub(crate) type Upload = StreamBody<ReceiverStream<Piece>>;

type Piece = Result<Frame<Bytes>, BoxError>;

/// The body ends when it is dropped.
pub(crate) struct Producer(mpsc::Sender<Piece>);

impl Producer {
    pub(crate) fn new() -> (Self, Upload) {
        let (pieces, received) = mpsc::channel(8);
        (Self(pieces), StreamBody::new(ReceiverStream::new(received)))
    }

    /// Whether or not somebody still wants it.
    pub(crate) async fn send(&self, data: &str) {
        self.0.send(Ok(Frame::data(Bytes::copy_from_slice(data.as_bytes())))).await.ok();
    }

    pub(crate) async fn send_trailers(&self) {
        self.0.send(Ok(Frame::trailers(trailers()))).await.ok();
    }
}

pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), "7".parse().unwrap())])
}

/// A body of which all pieces are there before they are asked for.
pub(crate) fn produced(whole: &Bytes) -> Upload {
    const PIECE: usize = 16 << 10;
    let (pieces, received) = mpsc::channel(whole.len().div_ceil(PIECE));
    for start in (0..whole.len()).step_by(PIECE) {
        let end = whole.len().min(start + PIECE);
        pieces.try_send(Ok(Frame::data(whole.slice(start..end)))).unwrap();
    }
    StreamBody::new(ReceiverStream::new(received))
}

/// Eight MiB, more than any window.
pub(crate) fn large() -> Bytes {
    refusal_body(8 << 20)
}
