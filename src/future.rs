//! [`ResponseFuture`]: one request, at most two attempts.
//!
//! The state graph bounds the attempts: no state after the first refusal leads back to `Sending`. Whatever is needed on
//! the cold paths only sits in one box each, which keeps the hot future small.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::{BoxError, Error};
use crate::outcome::{AuthOutcome, NoReplay, PassReason};
use crate::readiness::Readiness;
use crate::replay::Replay;
use crate::service::{HttpService, Shared};
use crate::token::{AccessToken, Pause, TokenFuture};

pin_project! {
    /// The answer of a [`NeonomicsAuth`](crate::NeonomicsAuth).
    ///
    /// # Panics
    ///
    /// When polled after completion.
    ///
    /// # Cancel safety
    ///
    /// Dropping it cancels this request; a renewal that it waits for goes on for the others.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, B, R>
    where
        R: Replay<B>,
        S: Service<Request<R::Body>>,
    {
        #[pin]
        state: State<S, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    #[project_replace = StateOwn]
    enum State<S, B, R>
    where
        R: Replay<B>,
        S: Service<Request<R::Body>>,
    {
        /// There was no usable token.
        Preparing { preparing: Box<Preparing<S, B, R>> },
        /// The first attempt.
        Sending { #[pin] attempt: S::Future, sent: Sent<S, R::Kept> },
        /// The first attempt was refused; its answer is kept.
        Renewing { renewing: Box<Renewing<S, S::Response, R::Kept>> },
        /// There is a new token; the first attempt has yet to give the request back.
        Recalling { recalling: Box<Renewing<S, S::Response, R::Kept>> },
        /// The answer of the first attempt is gone.
        PreparingAgain { preparing: Box<PreparingAgain<S, R::Body>> },
        /// The second attempt.
        Resending { #[pin] attempt: S::Future, waited: bool },
        /// The only attempt of a request that may not carry the token.
        Passing { #[pin] attempt: S::Future, reason: PassReason },
        /// Nothing can be sent.
        Failing { error: Error },
        Done,
    }
}

/// What the answer to a first attempt is.
enum Verdict<RB, N> {
    Final(Response<RB>),
    /// A renewal may cure it.
    Refused(Box<N>),
}

/// Beside the first attempt: what a refusal would need.
struct Sent<S, K> {
    shared: Arc<Shared<S>>,
    token: AccessToken,
    kept: Option<K>,
    waited: bool,
}

struct Preparing<S, B, R> {
    readiness: Readiness<S>,
    replay: R,
    request: Request<B>,
}

struct Renewing<S, Res, K> {
    renewal: TokenFuture,
    /// How long the request is waited for, once that has begun.
    patience: Option<Pause>,
    token: AccessToken,
    refused: Res,
    kept: K,
    shared: Arc<Shared<S>>,
    waited: bool,
}

struct PreparingAgain<S, B> {
    readiness: Readiness<S>,
    request: Request<B>,
    waited: bool,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    R: Replay<B>,
    S: HttpService<R::Body>,
{
    #[inline]
    pub(crate) fn sending(
        inner: &mut S,
        replay: &R,
        shared: Arc<Shared<S>>,
        token: AccessToken,
        request: Request<B>,
    ) -> Self {
        Self { state: send(inner, replay, shared, token, request, false) }
    }

    #[cold]
    pub(crate) fn preparing(shared: Arc<Shared<S>>, replay: R, request: Request<B>) -> Self {
        shared.provider.counters().waited.count();
        let preparing = Preparing { readiness: Readiness::after_token(shared), replay, request };
        Self { state: State::Preparing { preparing: Box::new(preparing) } }
    }

    pub(crate) fn passing(attempt: S::Future, reason: PassReason) -> Self {
        Self { state: State::Passing { attempt, reason } }
    }

    #[cold]
    pub(crate) fn failing(error: Error) -> Self {
        Self { state: State::Failing { error } }
    }
}

impl<S, B, R> Future for ResponseFuture<S, B, R>
where
    R: Replay<B>,
    S: HttpService<R::Body>,
{
    type Output = Result<Response<S::ResponseBody>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                // ## Preparing => (Sending | done)
                StateProj::Preparing { preparing } => {
                    let token = ready!(preparing.readiness.poll(cx));
                    let StateOwn::Preparing { preparing } = state.as_mut().project_replace(State::Done) else {
                        unreachable!("matched above")
                    };
                    let token = token?;
                    let Preparing { readiness, replay, request } = *preparing;
                    let (mut service, shared) = readiness.into_ready();
                    send(&mut service, &replay, shared, token, request, true)
                }
                // ## Sending => (Renewing | done)
                StateProj::Sending { attempt, .. } => {
                    let answer = ready!(attempt.poll(cx));
                    let StateOwn::Sending { sent, .. } = state.as_mut().project_replace(State::Done) else {
                        unreachable!("matched above")
                    };
                    match sent.judge::<B, R, _>(answer.map_err(Into::into)?) {
                        Verdict::Final(answer) => return Poll::Ready(Ok(answer)),
                        Verdict::Refused(renewing) => State::Renewing { renewing },
                    }
                }
                // ## Renewing => (Recalling | done)
                StateProj::Renewing { renewing } => {
                    let renewed = ready!(renewing.renewal.as_mut().poll(cx));
                    let StateOwn::Renewing { renewing } = state.as_mut().project_replace(State::Done) else {
                        unreachable!("matched above")
                    };
                    if let Err(error) = renewed {
                        let Renewing { refused, waited, .. } = *renewing;
                        let outcome = AuthOutcome { waited, renewal_error: Some(error), ..AuthOutcome::USUAL };
                        return Poll::Ready(Ok(outcome.on(refused)));
                    }
                    State::Recalling { recalling: renewing }
                }
                // ## Recalling => (Renewing | PreparingAgain | done)
                StateProj::Recalling { recalling } => {
                    let is_here = recalling.shared.provider.cached().is_some();
                    if is_here && R::poll_back(&recalling.kept, cx).is_pending() {
                        ready!(recalling.poll_patience(cx));
                    }
                    let StateOwn::Recalling { recalling: mut renewing } = state.as_mut().project_replace(State::Done)
                    else {
                        unreachable!("matched above")
                    };
                    if is_here {
                        let Renewing { token, refused, kept, shared, waited, .. } = *renewing;
                        let Some(request) = R::again(kept) else {
                            let outcome = AuthOutcome { waited, ..AuthOutcome::USUAL };
                            return Poll::Ready(Ok(outcome.on_unusual(refused)));
                        };
                        // Before the service is asked for readiness: an answer that is not read may hold the only
                        // connection.
                        drop(refused);
                        let readiness = Readiness::after_refusal(shared, token);
                        State::PreparingAgain { preparing: Box::new(PreparingAgain { readiness, request, waited }) }
                    } else {
                        // The token is gone again, as when the session was ended: while the answer is here, no other
                        // error takes its place, and the body is not given up in vain.
                        R::halt(&renewing.kept);
                        renewing.patience = None;
                        renewing.renewal = renewing.shared.provider.renew_future(renewing.token.clone());
                        State::Renewing { renewing }
                    }
                }
                // ## PreparingAgain => (Resending | done)
                StateProj::PreparingAgain { preparing } => {
                    let token = ready!(preparing.readiness.poll(cx));
                    let StateOwn::PreparingAgain { preparing } = state.as_mut().project_replace(State::Done) else {
                        unreachable!("matched above")
                    };
                    let token = token?;
                    let PreparingAgain { readiness, mut request, waited } = *preparing;
                    let (mut service, shared) = readiness.into_ready();
                    shared.provider.counters().replays.count();
                    stamp(request.headers_mut(), &token);
                    State::Resending { attempt: service.call(request), waited }
                }
                // ## Resending => done
                StateProj::Resending { attempt, waited } => {
                    // An error of this attempt is the outcome: it may have been applied, and the 401 would deny that.
                    let outcome = AuthOutcome { replayed: true, waited: *waited, ..AuthOutcome::USUAL };
                    let answer = ready!(attempt.poll(cx));
                    state.set(State::Done);
                    return Poll::Ready(answer.map(|answer| outcome.on(answer)).map_err(Into::into));
                }
                // ## Passing => done
                StateProj::Passing { attempt, reason } => {
                    let outcome = AuthOutcome { passed: Some(*reason), ..AuthOutcome::USUAL };
                    let answer = ready!(attempt.poll(cx));
                    state.set(State::Done);
                    return Poll::Ready(answer.map(|answer| outcome.on(answer)).map_err(Into::into));
                }
                // ## Failing => done
                StateProj::Failing { .. } => {
                    let StateOwn::Failing { error } = state.as_mut().project_replace(State::Done) else {
                        unreachable!("matched above")
                    };
                    return Poll::Ready(Err(error.into()));
                }
                StateProj::Done => panic!("polled after completion"),
            };
            state.set(next);
        }
    }
}

/// Stamps and sends the first attempt. What is kept for a second one carries no token.
#[inline]
fn send<S, B, R>(
    service: &mut S,
    replay: &R,
    shared: Arc<Shared<S>>,
    token: AccessToken,
    request: Request<B>,
    waited: bool,
) -> State<S, B, R>
where
    R: Replay<B>,
    S: HttpService<R::Body>,
{
    let (mut request, kept) = match request.extensions().get::<NoReplay>() {
        Some(NoReplay) => (replay.once(request), None),
        None => replay.keep(request),
    };
    stamp(request.headers_mut(), &token);
    State::Sending { attempt: service.call(request), sent: Sent { shared, token, kept, waited } }
}

/// The only place where a token gets into a request.
#[inline]
fn stamp(headers: &mut HeaderMap, token: &AccessToken) {
    headers.insert(AUTHORIZATION, token.authorization().clone());
}

impl<S, K> Sent<S, K> {
    #[inline]
    fn judge<B, R, RB>(self, answer: Response<RB>) -> Verdict<RB, Renewing<S, Response<RB>, K>>
    where
        R: Replay<B, Kept = K>,
    {
        let (refused, answer) = self.shared.refuses(answer);
        if refused { self.refused::<B, R, RB>(answer) } else { Verdict::Final(self.outcome().on_unusual(answer)) }
    }

    #[cold]
    fn refused<B, R, RB>(self, refused: Response<RB>) -> Verdict<RB, Renewing<S, Response<RB>, K>>
    where
        R: Replay<B, Kept = K>,
    {
        let outcome = self.outcome();
        let Self { shared, token, kept, waited } = self;
        shared.provider.counters().refusals.count();
        if let Some(kept) = kept.filter(R::halt) {
            let renewal = shared.provider.renew_future(token.clone());
            let renewing = Renewing { renewal, patience: None, token, refused, kept, shared, waited };
            return Verdict::Refused(Box::new(renewing));
        }
        shared.provider.renew_behind(&token);
        Verdict::Final(outcome.on_unusual(refused))
    }

    fn outcome(&self) -> AuthOutcome {
        AuthOutcome { waited: self.waited, ..AuthOutcome::USUAL }
    }
}

/// How long a first attempt has, once the token is renewed, to give back what it holds of its request. A client that
/// can do so at all does it as soon as it runs; one that waits for room to send does not.
const PATIENCE: Duration = Duration::from_secs(1);

impl<S, Res, K> Renewing<S, Res, K> {
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.patience.is_none() {
            self.patience = self.shared.provider.pause(PATIENCE);
        }
        self.patience.as_mut().map_or(Poll::Ready(()), |patience| Pin::new(patience).poll(cx))
    }
}

impl<S, B, R> fmt::Debug for ResponseFuture<S, B, R>
where
    R: Replay<B>,
    S: Service<Request<R::Body>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
