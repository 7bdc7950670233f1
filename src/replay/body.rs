//! [`ReplayBody`]: a body that is recorded while it streams, and can be played again.
//!
//! Knows nothing of tokens, statuses or tower.

use std::error::Error;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::original::Original;
use super::record::{Player, Record};
use crate::error::BoxError;

/// A request body that is recorded while it streams, or played again.
///
/// What the inner service gets under [`buffer_body`](crate::NeonomicsAuthLayer::buffer_body). It streams as the original
/// does; the recording refers to the frames that have passed and copies no [`Bytes`], so it keeps the allocations behind
/// them alive. Size and end are as exact as those of the original.
///
/// # Errors
///
/// Those of the original body, and one more: the request was answered, and is to be sent once more, while the client was
/// still sending it. The client gives up this attempt then, over HTTP/1.1 with its connection.
pub struct ReplayBody<B>(State<B>);

/// The other end of a [`ReplayBody`] that is recorded: what has passed, and the claim to the rest.
pub(crate) struct Recording<B>(Arc<Mutex<Shared<B>>>);

enum State<B> {
    Recorded(Recorder<B>),
    /// For the last time: nobody wants it back.
    Played(Player<B>),
    /// The original was given back.
    Over,
}

struct Recorder<B> {
    original: Original<B>,
    shared: Arc<Mutex<Shared<B>>>,
}

/// What both ends share. Foreign code is never polled, woken or dropped under its lock.
struct Shared<B> {
    /// The frames that have passed; none if they are not to be played again.
    record: Option<Record>,
    /// The original, when the attempt does not hold it any more.
    returned: Option<Original<B>>,
    claim: Claim,
    /// Of the attempt, when it last had to wait for a frame.
    waker: Option<Waker>,
    /// Of whoever waits for the original to be given back.
    asker: Option<Waker>,
}

/// What the recording wants of an attempt that holds the original.
#[derive(Clone, Copy, PartialEq)]
enum Claim {
    None,
    /// It takes no further frame, and waits for what is decided: a failure now might spoil the answer it has.
    Halt,
    /// Its next poll gives the original back, and fails.
    Return,
}

impl<B: Body> ReplayBody<B> {
    /// Recorded up to `limit` bytes of data. There is no recording of a body that announces more.
    pub(crate) fn recorded(body: B, limit: usize) -> (Self, Option<Recording<B>>) {
        let ended = body.is_end_stream();
        let announced = body.size_hint();
        if announced.lower() > limit as u64 {
            return (Self::untouched(body), None);
        }
        let record = Some(Record::up_to(limit, (!ended).then_some(announced)));
        let shared =
            Arc::new(Mutex::new(Shared { record, returned: None, claim: Claim::None, waker: None, asker: None }));
        let recording = Recording(Arc::clone(&shared));
        let mut recorded = Self(State::Recorded(Recorder { original: Original::of(body), shared }));
        if ended {
            // Nobody polls an empty body, and some keep it until the answer is there.
            recorded.give_back();
        }
        (recorded, Some(recording))
    }

    /// Not recorded.
    pub(crate) fn untouched(body: B) -> Self {
        Self(State::Played(Player::of_rest(Original::of(body))))
    }
}

impl<B> Recording<B> {
    /// Whether the body can be played again, as far as one knows. If the attempt still holds it, it pauses until it is
    /// [called back](Self::poll_back), or the recording is dropped.
    pub(crate) fn halt(&self) -> bool {
        let mut shared = lock(&self.0);
        let playable = shared.record.is_some();
        if playable {
            shared.claim = Claim::Halt;
        }
        playable
    }

    /// If the attempt still holds the body, it is asked to give it back: its next poll fails. Ready when it is known
    /// whether the body can be [played](Self::play): it is back, or is lost.
    pub(crate) fn poll_back(&self, cx: &mut Context<'_>) -> Poll<()> {
        let asker = cx.waker().clone();
        let mut shared = lock(&self.0);
        if shared.record.is_none() || shared.returned.is_some() {
            drop(shared);
            return Poll::Ready(());
        }
        shared.claim = Claim::Return;
        let replaced = shared.asker.replace(asker);
        let waker = shared.waker.take();
        drop(shared);
        drop(replaced);
        wake(waker);
        Poll::Pending
    }

    /// From the first byte on; none if it is too large, has failed, or was not given back.
    pub(crate) fn play(self) -> Option<ReplayBody<B>>
    where
        B: Body,
    {
        let mut shared = lock(&self.0);
        // At once: an attempt that gives back later keeps what it has.
        shared.claim = Claim::None;
        let (record, rest) = (shared.record.take(), shared.returned.take());
        drop(shared);
        Some(ReplayBody(State::Played(Player::of(record?, rest?))))
    }
}

impl<B> Drop for Recording<B> {
    fn drop(&mut self) {
        let mut shared = lock(&self.0);
        let unwanted = (shared.record.take(), shared.returned.take());
        shared.claim = Claim::None;
        let waker = shared.waker.take();
        drop(shared);
        drop(unwanted);
        // If the attempt still holds the original, it goes on.
        wake(waker);
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body<Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            // ## Recorded => (Recorded | Played | Over)
            State::Recorded(recorder) => {
                // Asked before the poll: a frame that is taken must be recorded.
                match recorder.heed(cx.waker()) {
                    Claim::None => {}
                    Claim::Halt => return Poll::Pending,
                    Claim::Return => return this.hand_over(cx),
                }
                match recorder.poll_original(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        this.record(&frame);
                        Poll::Ready(Some(Ok(frame)))
                    }
                    over @ Poll::Ready(None | Some(Err(_))) => {
                        this.give_back();
                        over
                    }
                    Poll::Pending if recorder.may_wait(cx.waker()) => Poll::Pending,
                    Poll::Pending => this.hand_over(cx),
                }
            }
            // ## Played => Played
            State::Played(player) => player.poll_frame(cx),
            State::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Recorded(recorder) => recorder.original.is_end_stream(),
            State::Played(player) => player.is_end_stream(),
            State::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Recorded(recorder) => recorder.original.size_hint(),
            State::Played(player) => player.size_hint(),
            State::Over => SizeHint::with_exact(0),
        }
    }
}

impl<B> ReplayBody<B> {
    fn record(&mut self, frame: &Frame<Bytes>)
    where
        B: Body,
    {
        let State::Recorded(recorder) = &self.0 else { return };
        if !recorder.record(frame) {
            self.go_on_unrecorded();
        } else if recorder.original.is_end_stream() {
            // A client that asks whether this is the end does not poll for it.
            self.give_back();
        }
    }

    fn go_on_unrecorded(&mut self) {
        if let State::Recorded(Recorder { original, .. }) = mem::replace(&mut self.0, State::Over) {
            self.0 = State::Played(Player::of_rest(original));
        }
    }

    /// The attempt was called back, and may have been let go since.
    fn hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B: Body<Error: Into<BoxError>>,
    {
        // Where nothing is left, nothing is given up.
        let error = (!self.is_end_stream()).then(|| Err(CalledBack.into()));
        let State::Recorded(Recorder { original, shared }) = mem::replace(&mut self.0, State::Over) else {
            return Poll::Ready(None);
        };
        let mut locked = lock(&shared);
        if locked.claim != Claim::Return || locked.record.is_none() {
            drop(locked);
            self.0 = State::Played(Player::of_rest(original));
            return Pin::new(self).poll_frame(cx);
        }
        locked.returned = Some(original);
        let asker = locked.asker.take();
        drop(locked);
        wake(asker);
        Poll::Ready(error)
    }

    /// The attempt is through with the original, wherever that stands.
    fn give_back(&mut self) {
        if let State::Recorded(Recorder { original, shared }) = mem::replace(&mut self.0, State::Over) {
            let mut locked = lock(&shared);
            let unwanted = match locked.record {
                Some(_) => locked.returned.replace(original),
                None => Some(original),
            };
            let asker = locked.asker.take();
            drop(locked);
            drop(unwanted);
            wake(asker);
        }
    }
}

impl<B> Drop for ReplayBody<B> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<B> Recorder<B> {
    /// Forgets the record if the original fails, by an error or by a panic: what is left of it then is not the rest.
    fn poll_original(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let failure = Failure(&self.shared);
        let polled = self.original.poll_frame(cx);
        if !matches!(polled, Poll::Ready(Some(Err(_)))) {
            mem::forget(failure);
        }
        polled
    }

    /// Keeps what passes; false if it is not to be played again, or is too large for that.
    fn record(&self, frame: &Frame<Bytes>) -> bool {
        let mut shared = lock(&self.shared);
        let recorded = shared.record.as_mut().is_some_and(|record| record.push(frame));
        let (spoilt, asker) = if recorded { (None, None) } else { (shared.record.take(), shared.asker.take()) };
        drop(shared);
        drop(spoilt);
        wake(asker);
        recorded
    }

    /// What is wanted of the attempt; one that is halted is woken when that is over.
    fn heed(&self, waker: &Waker) -> Claim
    where
        B: Body,
    {
        let claim = lock(&self.shared).claim;
        if claim != Claim::Halt {
            return claim;
        }
        // Where nothing is left, there is nothing to halt.
        if self.original.is_end_stream() {
            return Claim::None;
        }
        let waker = waker.clone();
        let mut shared = lock(&self.shared);
        if shared.claim != Claim::Halt {
            return shared.claim;
        }
        let replaced = shared.waker.replace(waker);
        drop(shared);
        drop(replaced);
        Claim::Halt
    }

    /// Whether the attempt may go on waiting for a frame; it is woken when it is called back.
    fn may_wait(&self, waker: &Waker) -> bool {
        let waker = waker.clone();
        let mut shared = lock(&self.shared);
        if shared.claim == Claim::Return {
            return false;
        }
        let replaced = shared.waker.replace(waker);
        drop(shared);
        drop(replaced);
        true
    }
}

/// Forgets the record when it is dropped.
struct Failure<'a, B>(&'a Mutex<Shared<B>>);

impl<B> Drop for Failure<'_, B> {
    fn drop(&mut self) {
        let record = lock(self.0).record.take();
        drop(record);
    }
}

fn lock<B>(shared: &Mutex<Shared<B>>) -> MutexGuard<'_, Shared<B>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Recorded(_) => "Recorded",
            State::Played(_) => "Played",
            State::Over => "Over",
        };
        write!(f, "ReplayBody({state})")
    }
}

impl<B> fmt::Debug for Recording<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct CalledBack;

impl fmt::Display for CalledBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was answered before all of its body was sent, and is to be sent once more")
    }
}

impl Error for CalledBack {}

#[cfg(test)]
mod tests;
