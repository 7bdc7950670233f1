//! A real Keycloak: the crate is right against it, and `FakeNeonomics` answers as it does.
//!
//! `tests/keycloak/keycloak start` starts one, and `KEYCLOAK_VERSION=26.7.3 cargo test --test keycloak` asks it; without
//! that variable each test that needs it says "skipped: …". `.ci/run` provides the server, `.ci/truth` every version that
//! is promised.
//!
//! Time is real here, in whole seconds: what a test waits for is the server's own expiry, never another task.

#![allow(clippy::unwrap_used)]

mod api;
mod conversation;
mod crowd;
mod load;
mod log;
mod outage;
mod rotation;
mod secret;
mod server;
mod session;
mod wire;
