//! The body of an answer, the faulty ones included.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// The body of an answer of [`FakeNeonomics`](super::FakeNeonomics).
///
/// Usually the whole of it is there at once. After [`Fault::Silence`](super::Fault::Silence),
/// [`Fault::Trickle`](super::Fault::Trickle) and [`Fault::Endless`](super::Fault::Endless) it
/// behaves as they say.
pub struct FakeBody {
    state: State,
}

enum State {
    /// Empty when it has been read.
    Whole(Bytes),
    /// A piece, a pause, a piece: the pause comes after its piece.
    Pieces {
        rest: Rest,
        every: Duration,
        pause: Option<Pin<Box<Sleep>>>,
    },
    Silent,
}

enum Rest {
    ByteByByte(Bytes),
    Endless,
}

impl FakeBody {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { state: State::Whole(bytes) }
    }

    pub(super) fn trickling(bytes: Bytes, every: Duration) -> Self {
        Self { state: State::Pieces { rest: Rest::ByteByByte(bytes), every, pause: None } }
    }

    /// About 1.6 MB a second. Not without pauses: such a body would never let a deadline pass.
    pub(super) fn endless() -> Self {
        Self { state: State::Pieces { rest: Rest::Endless, every: Duration::from_millis(10), pause: None } }
    }

    pub(super) fn silent() -> Self {
        Self { state: State::Silent }
    }
}

impl Body for FakeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut self.state {
            State::Silent => return Poll::Pending,
            State::Whole(bytes) => std::mem::take(bytes),
            State::Pieces { rest, every, pause } => {
                if let Some(sleep) = pause {
                    ready!(sleep.as_mut().poll(cx));
                }
                *pause = Some(Box::pin(sleep(*every)));
                rest.next()
            }
        };
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.state, State::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Pieces { .. } | State::Silent => SizeHint::default(),
        }
    }
}

impl Rest {
    /// Empty at the end.
    fn next(&mut self) -> Bytes {
        match self {
            Self::ByteByByte(bytes) => bytes.split_to(bytes.len().min(1)),
            // White space is JSON to the end.
            Self::Endless => Bytes::from_static(&[b' '; 16 << 10]),
        }
    }
}

/// Says how the body behaves, not what is in it, which may be a token.
impl fmt::Debug for FakeBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.state {
            State::Whole(_) => "FakeBody(whole)",
            State::Pieces { rest: Rest::ByteByByte(_), .. } => "FakeBody(trickling)",
            State::Pieces { rest: Rest::Endless, .. } => "FakeBody(endless)",
            State::Silent => "FakeBody(silent)",
        })
    }
}
