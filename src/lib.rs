//! A valid Neonomics access token on every request of a tower HTTP client.
//!
//! Neonomics is an open-banking API behind OAuth 2 client credentials (RFC 6749 §4.4); its authorization server is
//! Keycloak. [`NeonomicsAuthLayer`] wraps any tower client service over [`http`] types. It takes the token from a shared
//! [`TokenProvider`], stamps the bearer header, and when the API refuses the token renews it once for all and sends the
//! request once more.
//!
//! # Example
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use http::{Request, StatusCode};
//! use http_body_util::Full;
//! use neonomics_auth::NeonomicsAuthLayer;
//! use neonomics_auth::testing::FakeNeonomics;
//! use tower::{ServiceBuilder, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), neonomics_auth::BoxError> {
//! // For the real one: TokenProvider::new(Environment::sandbox(), Credentials::from_env()?)?
//! let neonomics = FakeNeonomics::new();
//! let provider = neonomics.provider();
//!
//! let client = ServiceBuilder::new()
//!     .timeout(Duration::from_secs(30))
//!     .layer(NeonomicsAuthLayer::new(provider.clone()))
//!     .service(neonomics.clone());
//!
//! let banks = Request::get(format!("{}/ics/v3/banks", neonomics.origin()))
//!     .header("x-device-id", "a-device")
//!     .body(Full::<Bytes>::default())?;
//! let response = client.oneshot(banks).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//!
//! provider.end_session().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! 1. A request comes in. It may carry the token if it goes to one of the environment's API origins and has no
//!    `authorization` of its own; any other is passed on as it is.
//! 2. The token is *fresh*, *stale* (for the last 20 to 30 % of its life) or *expired*. Fresh: stamped and sent.
//!    Stale: the same, and one request starts a renewal in the background. Expired, or none: the request waits for the one
//!    renewal, and reserves nothing in the inner service meanwhile.
//! 3. A *renewal* is one to three *exchanges* with the token endpoint, on a task of the provider: the refresh token if it
//!    is alive, else, or when that failed, `client_credentials`.
//! 4. A 401 *refuses* the token. The answer is kept, the renewal is forced, or joined if it runs already; then the inner
//!    service is made ready again and the request is sent once more, a *replay*. A request that met an older token than the
//!    current one takes the current.
//! 5. After a failed renewal a *hold* keeps the next one back. While a token is usable nobody notices; after that the
//!    error comes at once and says how long.
//!
//! # Guarantees
//!
//! The names of the tests that hold a row begin with it: `a1_…`.
//!
//! | row | what holds |
//! |---|---|
//! | A1 | without a token, any number of callers share one renewal and its outcome |
//! | A2 | a fresh token costs a few atomic operations and one read of the clock (once a second, of both): no I/O, no lock, no allocation |
//! | A3 | a stale token is handed out at once; one caller starts the renewal |
//! | A4, A13 | a renewal has a deadline, 10 s unless set ([`TokenProviderBuilder::renewal_timeout`]), whatever the server does; [`TokenProvider::token`] says how long one can wait in all |
//! | A5, A6 | the refresh token first, with half of the deadline; unless the client was rejected, one that was sent in vain is never sent again, and `client_credentials` follows at once |
//! | A7, A8, A9 | a new refresh token replaces the old; one is used up to 95 % of its life; a session near its end is left for a new one |
//! | A10, A19 | a renewal survives whoever waits for it; one whose runtime dies is started once more by those who wait |
//! | A11, A12 | transient failures are repeated up to twice within the renewal when no token is usable; then a hold of 1, 2, 4 … 30 s (60 s when rejected) × 0.5 to 1, at least `Retry-After` up to 300 s |
//! | A14, A15 | any answer is a token or a typed error; known error names decide, then the status |
//! | A16, A17, A18 | lifetimes count from before the exchange, on the monotonic and the wall clock (looked at once a second); renewal after 70 to 80 % of them |
//! | A20 | a refused token is still handed to others until it is replaced |
//! | A21 | rejected credentials from a file or closure are asked for once more |
//! | B1 | exactly one `authorization`, marked sensitive; nothing else changes |
//! | B2, B3 | other origins, plain http beyond loopback, `CONNECT`, and the caller's own `authorization`: passed on untouched |
//! | B4 | a request that should carry a token is never sent without one |
//! | B5 | nothing of the inner service is reserved while waiting; the token is read after readiness |
//! | B6 | the inner service is `Clone` with an error that becomes a [`BoxError`]; `Send`, `Sync`, `Unpin` follow from it |
//! | C1, C4 | a 401 leads to one renewal and one second attempt, whose outcome is final, error included |
//! | C2, C3 | a thousand 401s for one token: one renewal, a thousand second attempts |
//! | C5, C6 | when no second attempt is possible, the original 401 comes back with its body |
//! | C7 | 403, 407, 510, 520, 530, and a Bearer challenge with another error than `invalid_token`, are no refusals |
//! | C8 | gRPC: status 16 in the headers of the answer (Trailers-Only) is a refusal like a 401; in real trailers it is the caller's |
//! | C9 | forced renewals: ten at once, then one a minute |
//! | C10 | the second attempt sends the original bytes and trailers once, wherever the first one stopped |
//! | C11, C12 | the second attempt differs in `authorization` alone; after a 401 of up to 8,000 bytes it needs no new connection |
//! | C13, C14 | [`NoReplay`] forbids it; what is kept for it is dropped when it is not needed |
//! | D1, D2 | [`TokenProvider::end_session`] forgets first, then tells the server; the next `token()` or request starts a new session, a late 401 does not |
//! | D3 | [`TokenProvider::keep_alive`] renews an idle session, and starts none |
//! | D4 | an idle provider without `keep_alive` causes no traffic |
//! | D5 | [`TokenProvider::status`]: state, last error and totals, without I/O and lock |
//! | E1, E4 | no secret in `Debug`, errors or events; text of the server is cut |
//! | E2 | secrets, the form and the header value are wiped when their last clone goes |
//! | E3 | the token endpoint: https beyond loopback, no redirects, no proxy for loopback, no resending |
//! | E6 | a token request that meets the layer is an error, not a hang |
//!
//! # Among other layers
//!
//! | layer | outside of this one | inside |
//! |---|---|---|
//! | timeout | **bounds both attempts and the wait for a token**; the renewal goes on for the others | bounds each attempt, not the wait; an attempt that took too long is not repeated |
//! | retry, `n` attempts | each has its own replay: `2 × n` requests at the most. Its policy sends again what may be applied twice ([`NoReplay`] does not bind it), leaves a 401 alone, and sleeps [`Error::retry_after`] after an error of this crate: else all attempts meet the same hold | each of the two attempts is repeated with the token that it has: `2 × n` as well |
//! | concurrency limit | a permit is kept while its request waits for a token | **holds nothing while waiting** |
//! | load shed | **a replay waits for room** | a replay can be shed, and then that is the outcome |
//! | rate limit | counts requests: the API sees up to twice as many | exact for the API; a `Buffer` between them makes it `Clone` |
//! | buffer, decompression, boxes | as you like | as you like, if it is `Clone` |
//! | trace | one span for a request | one for each attempt; the token is marked sensitive |
//! | request id | both attempts have the same | each has its own |
//! | one that sets `authorization` | the request is passed on as it is, without the token | every 401 costs a renewal and a replay in vain |
//! | one that sends to another host: redirects, a rewritten URI | **each target is looked at** | none is: the token goes along, or is taken off, and then the 401 costs a renewal |
//!
//! Two layers of this crate may stand in one stack. Each stamps what goes to its own origins; where both might, the outer one
//! does, and the inner one passes it on ([`PassReason::CallerAuthorized`]).
//!
//! hyper-util's `HttpConnector` waits for the acknowledgement of a request's head before it sends the body over HTTP/2, some
//! 40 ms: `set_nodelay(true)` helps.
//!
//! When something does not work, look up its message or symptom in [`troubleshooting`].
//!
//! # Limitations
//!
//! * Not wiped from memory: the buffers of hyper and rustls, an answer as it arrived, the kept copy of a request.
//! * A session is not shared between processes; each process, and each provider, has its own.
//! * A renewal runs on the runtime of the caller that started it. One of a single thread stands still while nobody is in its
//!   `block_on`, and whoever waits for the renewal stands with it: such a program gives the provider a runtime that is
//!   always driven ([`TokenProviderBuilder::runtime`]).
//! * Redirects that the HTTP client follows by itself are below the layer, which cannot see where its token goes.
//! * A gateway that answers 401 after it has applied a request defeats the second attempt: see [`NoReplay`].
//!
//! # Features
//!
//! * `reqwest` (default): `TokenProvider::new` with a transport over TLS, and `ReqwestService`.
//! * `testing`: `testing::FakeNeonomics`, an embedded Neonomics for your tests.
//! * `tracing`: events of renewals, target `neonomics_auth`: `DEBUG` for a new token (`cause`, `generation`, `expires_in` in
//!   seconds), `WARN` for a failure (`cause`, `error`), but not for one that lost its task. What is behind the error is in [`TokenProvider::status`].
//!
//! Rust 1.85 or newer.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod credentials;
mod environment;
mod error;
mod future;
mod layer;
mod origin;
mod outcome;
mod readiness;
mod refusal;
pub mod replay;
mod secret;
mod service;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod transport;
#[cfg(doc)]
#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}

pub use credentials::Credentials;
pub use environment::Environment;
pub use error::{BoxError, Error};
pub use future::ResponseFuture;
pub use layer::NeonomicsAuthLayer;
pub use outcome::{AuthOutcome, NoReplay, PassReason};
pub use replay::body::ReplayBody;
pub use service::{HttpService, NeonomicsAuth};
pub use token::{
    AccessToken, Exchanges, KeepAlive, LastError, Renewals, Status, Tally, TokenProvider, TokenProviderBuilder,
    TokenState,
};
#[cfg(feature = "reqwest")]
pub use transport::reqwest::{ReqwestFuture, ReqwestService};

/// The README's examples.
#[cfg(all(doctest, feature = "reqwest", feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
