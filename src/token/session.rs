//! The end of a session: `end_session`.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use crate::error::Error;
use crate::secret::Secret;
use crate::token::flight::{Boarding, Takeoff};
use crate::token::provider::{Outcome, Source, TokenProvider};
use crate::token::renewal::Session;

/// The deadline of the logout: credentials, connection and body included.
const LOGOUT_TIMEOUT: Duration = Duration::from_secs(5);

impl TokenProvider {
    /// Ends the session at the authorization server, by Keycloak's logout endpoint, and forgets its tokens.
    ///
    /// Waits for a renewal that is under way, whose callers keep their token. Then token and refresh token are
    /// forgotten, whatever the server answers. Until somebody asks for a token, nothing starts a new session, a late
    /// 401 included; [`token`](Self::token) does. Calls at the same time share one outcome. Without a refresh token
    /// there is nothing to tell the server.
    ///
    /// # Errors
    ///
    /// Fails when the server did not confirm the end within 5 seconds, or the client secret could not be obtained: the
    /// session then lives on there until its idle limit. An answer that it is over already is a success. Fails outside
    /// a tokio runtime, when the provider was given none, and for a fixed token.
    ///
    /// # Cancel safety
    ///
    /// Once polled it goes on by itself: who stops waiting does not stop it.
    pub async fn end_session(&self) -> Result<(), Error> {
        let runtime = self.source()?.runtime().ok_or_else(Error::no_runtime)?;
        let ending = runtime.spawn(end(self.clone()));
        ending.await.unwrap_or_else(|_| Err(Error::abandoned()))
    }
}

/// Takes the flight, or shares the outcome of the one who ends the session already.
async fn end(provider: TokenProvider) -> Result<(), Error> {
    let source = provider.source()?;
    loop {
        match source.flights.board(|_| None::<Infallible>) {
            Boarding::Settled(never) => match never {},
            Boarding::TookOff(takeoff) => return log_out(&provider, source, takeoff).await,
            Boarding::Joined(flight) => match flight.landed().await {
                Some(Outcome::Ended(outcome)) => return outcome,
                Some(Outcome::Renewed(_)) | None => {}
            },
        }
    }
}

async fn log_out(
    provider: &TokenProvider,
    source: &Source,
    mut takeoff: Takeoff<Session, Outcome>,
) -> Result<(), Error> {
    // Forgotten first: from here on nobody can use or revive what is about to end, however the logout goes.
    source.ended.store(true, Ordering::Relaxed);
    provider.current().set(None);
    let outcome = match takeoff.state().forget() {
        Some(refresh_token) => match timeout(LOGOUT_TIMEOUT, tell_server(source, &refresh_token)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::timeout()),
        },
        None => Ok(()),
    };
    takeoff.land(Outcome::Ended(outcome.clone()));
    outcome
}

async fn tell_server(source: &Source, refresh_token: &Secret) -> Result<(), Error> {
    let secret = source.credentials.secret().await?;
    source.endpoint.end(&secret, refresh_token).await
}
