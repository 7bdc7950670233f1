//! What a realm and an API really do, as text for a bug report: `cargo run --example doctor -- --help`.
//!
//! Neonomics does not document whether refresh tokens are rotated, how the API refuses a token, or when it asks for
//! patience. This asks, by real requests, and says what each answer means for a user of the crate. It shows no secret and
//! no token. Three sessions are begun for it, and ended.

mod answer;
mod api;
mod examination;
mod quotes;
mod realm;
mod report;
mod subject;

use std::io::{self, Write};
use std::process::ExitCode;

use examination::Examination;
use subject::{Asked, Subject};

const HELP: &str = "\
Asks a realm and an API what they do, and prints it for a bug report. No secret and no token is shown.

usage: cargo run --example doctor -- [--realm URL --api URL | --fake | --help]

  (nothing)                the Neonomics sandbox and its list of banks
  --realm URL --api URL    a Keycloak realm (…/realms/NAME), and a URL of the API to GET, with its path
  --fake                   the embedded FakeNeonomics; needs no credentials

Credentials: NEONOMICS_CLIENT_ID, and NEONOMICS_CLIENT_SECRET or NEONOMICS_CLIENT_SECRET_FILE.
The report shows the URLs of realm and API, without the query. Three sessions are begun and ended; one that is interrupted
lives until its idle limit. One request is made with a wrong secret. Exit status 0: a token can be had, and the API takes it. Else 1.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match examined().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(()) => ExitCode::FAILURE,
    }
}

async fn examined() -> Result<(), ()> {
    let asked = subject::parse(std::env::args_os().skip(1)).map_err(|reason| not_begun(&reason))?;
    if asked == Asked::Help {
        println!("{HELP}");
        return Ok(());
    }
    let subject = Subject::new(asked).await.map_err(|reason| not_begun(&reason))?;
    eprintln!("Asking; that takes a few seconds, a minute if nobody answers.");
    let (text, healthy) = Examination::new(subject).run().await;
    // Into a pipe that is closed, as `head` does: nothing is lost to anybody.
    io::stdout().write_all(text.as_bytes()).ok();
    if healthy { Ok(()) } else { Err(()) }
}

/// There is nothing to report on.
fn not_begun(reason: &str) {
    println!("FAILED: {reason}");
    println!("`cargo run --example doctor -- --help` says what is needed.");
}
