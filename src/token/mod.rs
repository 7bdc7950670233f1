//! Answers two questions: what is the token; this one was refused, what now.
//!
//! Invariants of the room:
//!
//! 1. A token is published before its flight leaves the slot: nobody finds both no token and no flight after a success.
//! 2. Whoever holds the flight is the only writer of the current token, the last failure and the session.
//! 3. An exchange runs on a task of the provider. Callers only wait; whoever stops waiting changes nothing.
//! 4. Time is asked for in `clock`, locks are taken in `flight`, secrets are sent by `endpoint`, and nowhere else.
//! 5. Nothing in here knows a layer.

pub(crate) mod access_token;
mod builder;
pub(crate) mod clock;
mod endpoint;
mod flight;
mod provider;
pub(crate) mod renewal;
mod session;
mod source;
mod status;
mod task;

pub use access_token::AccessToken;
pub use builder::TokenProviderBuilder;
pub use provider::TokenProvider;
pub(crate) use provider::{Pause, TokenFuture};
pub use session::KeepAlive;
pub use status::{Exchanges, LastError, Renewals, Status, Tally, TokenState};
