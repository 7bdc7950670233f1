//! x
#![cfg_attr(docsrs, feature(doc_cfg))]

mod credentials;
mod environment;
mod error;
mod future;
mod layer;
mod origin;
mod outcome;
mod refusal;
pub mod replay;
mod secret;
mod service;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod transport;

pub use credentials::Credentials;
pub use environment::Environment;
pub use error::{BoxError, Error};
pub use future::ResponseFuture;
pub use layer::NeonomicsAuthLayer;
pub use outcome::{AuthOutcome, NoReplay, PassReason};
pub use service::{HttpService, NeonomicsAuth};
pub use token::{AccessToken, Exchanges, Renewals, Status, Tally, TokenProvider, TokenProviderBuilder, TokenState};
#[cfg(feature = "reqwest")]
pub use transport::reqwest::{ReqwestFuture, ReqwestService};
