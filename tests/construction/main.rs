//! What is wrong is refused where it is said, before anything is asked; and what is right is asked for as it was said.

#![allow(clippy::unwrap_used)]

mod credentials;
mod environment;
mod provider;
mod recorder;
