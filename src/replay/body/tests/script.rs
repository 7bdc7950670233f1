//! A body that does as it is told, and a client that polls by hand.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio_test::task::{Spawn, spawn};

use crate::error::BoxError;
use crate::replay::body::{Recording, ReplayBody};

/// What one poll does.
pub(super) enum Step {
    Wait,
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
    Panic,
    /// Something else happens during the poll that does the next step.
    Meanwhile(Box<dyn FnOnce()>),
}

/// What the body says of its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Announced {
    Nothing,
    /// From half of it to somewhat more.
    Roughly,
    AtMost,
    Exactly,
}

/// Is never to be polled beyond its end, as some bodies must not be.
pub(super) struct Script {
    steps: VecDeque<Step>,
    announced: Announced,
    tells_its_end: bool,
    ended: bool,
    /// Dropped with the body.
    _alive: Arc<()>,
}

impl Script {
    pub(super) fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        let steps = steps.into_iter().collect();
        let (announced, tells_its_end) = (Announced::Nothing, false);
        Self { steps, announced, tells_its_end, ended: false, _alive: Arc::default() }
    }

    pub(super) fn announcing(self, announced: Announced) -> Self {
        Self { announced, ..self }
    }

    /// Whether `is_end_stream` says what it can.
    pub(super) fn telling_its_end(self, tells_its_end: bool) -> Self {
        Self { tells_its_end, ..self }
    }

    /// As many references as there are bodies, and one.
    pub(super) fn watched(self, alive: &Arc<()>) -> Self {
        Self { _alive: Arc::clone(alive), ..self }
    }

    fn left(&self) -> u64 {
        self.steps.iter().map(|step| if let Step::Data(data) = step { data.len() as u64 } else { 0 }).sum()
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        assert!(!self.ended, "polled beyond its end");
        loop {
            return match self.steps.pop_front() {
                Some(Step::Wait) => Poll::Pending,
                Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Some(Step::Fail) => {
                    self.ended = true;
                    Poll::Ready(Some(Err("broken")))
                }
                Some(Step::Panic) => panic!("as told"),
                Some(Step::Meanwhile(happens)) => {
                    happens();
                    continue;
                }
                None => {
                    self.ended = true;
                    Poll::Ready(None)
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left();
        let mut hint = SizeHint::default();
        match self.announced {
            Announced::Nothing => {}
            Announced::Roughly => {
                hint.set_upper(left + 7);
                hint.set_lower(left / 2);
            }
            Announced::AtMost => hint.set_upper(left),
            Announced::Exactly => hint = SizeHint::with_exact(left),
        }
        hint
    }
}

pub(super) fn data(data: &'static str) -> Step {
    Step::Data(Bytes::from_static(data.as_bytes()))
}

pub(super) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from_static("7"))])
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Polled {
    Pending,
    Data(Bytes),
    Trailers(HeaderMap),
    Failed(String),
    End,
}

pub(super) fn polled(data: &'static str) -> Polled {
    Polled::Data(Bytes::from_static(data.as_bytes()))
}

/// What the attempt is told that does not give the body back by itself.
pub(super) fn called_back() -> Polled {
    let text = "the request was answered before all of its body was sent, and is to be sent once more";
    Polled::Failed(text.to_owned())
}

/// Halted, and asked for at once. Whether it can be played again, as far as one knows.
pub(super) fn call_back<B>(recording: &Recording<B>) -> bool {
    let playable = recording.halt();
    spawn(()).enter(|cx, _| recording.poll_back(cx).is_pending());
    playable
}

/// Both ends of a recorded body, the attempt on a task of its own.
pub(super) fn recorded<B>(body: B, limit: usize) -> (Spawn<ReplayBody<B>>, Recording<B>)
where
    B: Body<Error: Into<BoxError>>,
{
    let (attempt, recording) = ReplayBody::recorded(body, limit);
    (spawn(attempt), recording.expect("within the limit, as far as one knows"))
}

/// The second attempt, on a task of its own.
pub(super) fn played<B>(recording: Recording<B>) -> Spawn<ReplayBody<B>>
where
    B: Body<Error: Into<BoxError>>,
{
    spawn(recording.play().expect("given back"))
}

pub(super) fn poll<B>(body: &mut Spawn<B>) -> Polled
where
    B: Body<Error: Into<BoxError>>,
{
    body.enter(|cx, body| match body.poll_frame(cx) {
        Poll::Pending => Polled::Pending,
        Poll::Ready(None) => Polled::End,
        Poll::Ready(Some(Err(error))) => Polled::Failed(error.into().to_string()),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(mut data) => Polled::Data(data.copy_to_bytes(data.remaining())),
            Err(frame) => Polled::Trailers(frame.into_trailers().ok().expect("nothing else")),
        },
    })
}

/// Polls until there is nothing more to come.
pub(super) fn poll_all<B>(body: &mut Spawn<B>) -> Vec<Polled>
where
    B: Body<Error: Into<BoxError>>,
{
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Polled::End | Polled::Failed(_))) {
        seen.push(poll(body));
        assert!(seen.len() < 100, "endless: {seen:?}");
    }
    seen
}

/// Lower bound, upper bound, and whether it is known to be at its end.
pub(super) fn outlook<B: Body>(body: &B) -> (u64, Option<u64>, bool) {
    let hint = body.size_hint();
    (hint.lower(), hint.upper(), body.is_end_stream())
}
