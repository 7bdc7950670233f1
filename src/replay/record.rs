//! [`Record`]: the frames of a body that have passed; [`Player`]: the same once more, and then what is left of it.

use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::original::Original;
use crate::error::BoxError;

pub(super) struct Record {
    frames: Vec<Passed>,
    /// Bytes of data in `frames`.
    size: usize,
    limit: usize,
    /// What the original announced before the first of them; none if that was its end.
    announced: Option<SizeHint>,
}

pub(super) enum Passed {
    Data(Bytes),
    /// In a box, since they are three times as large as the data, of which there are many.
    Trailers(Box<HeaderMap>),
}

pub(super) struct Player<B> {
    frames: vec::IntoIter<Passed>,
    /// Of the whole, by the original, less what has been played. It is known better by now, but clients make of an exact
    /// size a `content-length` that the first attempt had not, and then over HTTP/1.1 send no trailers.
    announced: SizeHint,
    rest: Original<B>,
}

impl Record {
    /// An empty one, of a body that announces so much.
    pub(super) fn up_to(limit: usize, announced: Option<SizeHint>) -> Self {
        Self { frames: Vec::new(), size: 0, limit, announced }
    }

    /// False if it does not fit.
    pub(super) fn push(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(data) = frame.data_ref() {
            if data.len() > self.limit - self.size {
                return false;
            }
            self.size += data.len();
            if !data.is_empty() {
                self.frames.push(Passed::Data(data.clone()));
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            self.frames.push(Passed::Trailers(Box::new(trailers.clone())));
        }
        true
    }
}

impl<B> Player<B> {
    pub(super) fn of(record: Record, rest: Original<B>) -> Self
    where
        B: Body,
    {
        let Record { mut frames, announced, .. } = record;
        if frames.is_empty() && announced.is_some() {
            // It may have proved empty, and must not say so now, as it did not before: clients send that in another form.
            frames.push(Passed::Data(Bytes::new()));
        }
        Self { frames: frames.into_iter(), announced: announced.unwrap_or_default(), rest }
    }

    /// Without a record.
    pub(super) fn of_rest(rest: Original<B>) -> Self {
        Self { frames: Vec::new().into_iter(), announced: SizeHint::default(), rest }
    }
}

impl<B: Body> Player<B> {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B::Error: Into<BoxError>,
    {
        match self.frames.next() {
            Some(Passed::Data(data)) if !data.is_empty() => {
                self.announced = without(&self.announced, data.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Passed::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(*trailers)))),
            Some(Passed::Data(_)) | None => self.rest.poll_frame(cx),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.frames.len() == 0 && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.frames.len() == 0 { self.rest.size_hint() } else { self.announced }
    }
}

/// What is announced when so many bytes have passed. No bound can cross the other, which is a panic.
fn without(announced: &SizeHint, passed: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(announced.lower().saturating_sub(passed));
    if let Some(upper) = announced.upper() {
        hint.set_upper(upper.saturating_sub(passed));
    }
    hint
}
