//! [`Readiness`]: what an attempt needs when it cannot be made at once.
//!
//! The token is looked at last, directly before the attempt: making ready may take long.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::error::BoxError;
use crate::service::{HttpService, Shared};
use crate::token::{AccessToken, TokenFuture};

/// A usable token and a ready service, the token looked at last: what an attempt needs when it cannot be made at once.
pub(crate) struct Readiness<S> {
    shared: Arc<Shared<S>>,
    /// The token that the first attempt was refused with, for a second one.
    refused: Option<AccessToken>,
    phase: Phase<S>,
}

enum Phase<S> {
    /// Nothing is reserved meanwhile.
    AwaitingToken(TokenFuture),
    MakingReady(S),
}

impl<S> Readiness<S> {
    /// For a first attempt: there is no token yet.
    pub(crate) fn after_token(shared: Arc<Shared<S>>) -> Self {
        let phase = Phase::AwaitingToken(shared.provider.token_future());
        Self { shared, refused: None, phase }
    }

    /// For a second attempt: this token was refused, and has just been replaced.
    pub(crate) fn after_refusal(shared: Arc<Shared<S>>, token: AccessToken) -> Self
    where
        S: Clone,
    {
        let phase = Phase::MakingReady(shared.spare());
        Self { shared, refused: Some(token), phase }
    }

    pub(crate) fn poll<B>(&mut self, cx: &mut Context<'_>) -> Poll<Result<AccessToken, BoxError>>
    where
        S: HttpService<B>,
    {
        loop {
            self.phase = match &mut self.phase {
                // ## AwaitingToken => (MakingReady | error)
                Phase::AwaitingToken(token) => {
                    ready!(token.as_mut().poll(cx))?;
                    Phase::MakingReady(self.shared.spare())
                }
                // ## MakingReady => (done | AwaitingToken | error)
                Phase::MakingReady(service) => {
                    ready!(service.poll_ready(cx)).map_err(Into::into)?;
                    match self.shared.provider.usable() {
                        Some(token) => return Poll::Ready(Ok(token)),
                        // It expired while the service made itself ready; or the session was ended, and then a late
                        // refusal must not start another.
                        None => Phase::AwaitingToken(match &self.refused {
                            Some(refused) => self.shared.provider.renew_future(refused.clone()),
                            None => self.shared.provider.token_future(),
                        }),
                    }
                }
            }
        }
    }

    /// The service, which may be called once, after `poll` came to its end.
    pub(crate) fn into_ready(self) -> (S, Arc<Shared<S>>) {
        match self.phase {
            Phase::MakingReady(service) => (service, self.shared),
            Phase::AwaitingToken(_) => unreachable!("polled to its end"),
        }
    }
}
