//! The layer in process: over `tower_test::mock`, strict services of our own and `FakeNeonomics`, with paused time.

#![allow(clippy::unwrap_used)]

mod api;
mod buffered;
mod called_back;
mod challenges;
mod dropping;
mod joined;
mod nested;
mod outcome;
mod readiness;
mod refusal;
mod replay;
mod stamping;
mod storm;
mod upload;
mod wire;
