//! No token, no secret and no body in anything that is printed; and no more than needed in memory.

#![allow(clippy::unwrap_used)]

mod canary;
mod errors;
#[cfg(feature = "tracing")]
mod events;
mod memory;
mod printed;
mod process;
mod quotations;
mod server;
#[cfg(target_os = "linux")]
mod wiped;
