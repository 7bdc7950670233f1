//! The two ends of a recorded body, without any client.

mod announcing;
mod calling_back;
mod kinds;
mod limits;
mod model;
mod script;
mod streaming;
