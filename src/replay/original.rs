//! [`Original`]: the body that the caller gave.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::error::BoxError;

/// In a box, so that a body that is not `Unpin` can be given back. None at its end: there are bodies that must not be
/// polled beyond it, and the second attempt does not know how far the first one came.
pub(super) struct Original<B>(Option<Pin<Box<B>>>);

impl<B> Original<B> {
    pub(super) fn of(body: B) -> Self {
        Self(Some(Box::pin(body)))
    }
}

impl<B: Body> Original<B> {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B::Error: Into<BoxError>,
    {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = body.as_mut().poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled.map(|polled| polled.map(|frame| frame.map(|it| it.map_data(into_bytes)).map_err(Into::into)))
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Of a [`Bytes`], without a copy.
fn into_bytes<D: Buf>(mut data: D) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
