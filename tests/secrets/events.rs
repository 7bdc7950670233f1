//! What this crate says by `tracing`.

use std::io;
use std::sync::{Arc, Mutex};

use neonomics_auth::Credentials;
use tracing::Level;
use tracing::subscriber::with_default;

use crate::canary::{ACCESS, REFRESH, SECRET, assert_silent, sighting};
use crate::process;
use crate::server::{ID, Server, Turn, refusal, token};

// lesson 20
#[test]
fn e1_no_event_shows_a_secret() {
    // Whether an event is of interest to anybody is remembered for all threads: other tests would decide it.
    process::run("events::in_a_process_every_event_is_written", &[]);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn in_a_process_every_event_is_written() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || writer.clone()).finish();
    with_default(subscriber, || {
        // The control: a secret in an event is found, a field and a message alike.
        tracing::trace!(secret = SECRET, "an event");
        assert!(sighting(&log.take(), SECRET).is_some());
        tracing::trace!("an event with {ACCESS}");
        assert!(sighting(&log.take(), ACCESS).is_some());

        // A runtime of this thread, so that the renewals run under the subscriber too.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(conversation(&log));
    });
}

/// What is said, renewal by renewal: exactly one event each.
async fn conversation(log: &Log) {
    let echo = format!("{SECRET} {ACCESS}1 {REFRESH}1");
    let server = Server::default();
    let provider = server.provider();

    let first = provider.token().await.unwrap();
    log.assert_one("DEBUG neonomics_auth: access token renewed cause=First generation=1");
    let second = provider.renew(&first).await.unwrap();
    log.assert_one("DEBUG neonomics_auth: access token renewed cause=Forced generation=2");
    // Nothing is said where nothing is done.
    provider.token().await.unwrap();
    provider.renew(&first).await.unwrap();
    assert_eq!(log.take(), "");

    server.next([refusal(400, &echo, &echo), refusal(400, &echo, &echo)]);
    provider.renew(&second).await.unwrap_err();
    log.assert_one("WARN neonomics_auth: access token not renewed cause=Forced error=the authorization");
    provider.end_session().await.unwrap();
    assert_silent("the end", &log.take());

    for turn in [
        refusal(510, "invalid_client", &echo),
        refusal(503, &echo, &echo),
        Turn::Answer(307, echo.clone()),
        Turn::Answer(200, echo.clone()),
        Turn::Answer(200, token(1).to_string().replace("bearer", &echo)),
        Turn::Answer(200, token(1).to_string().replace(ACCESS, &format!("{ACCESS} "))),
        Turn::Reset,
        Turn::Hang,
    ] {
        let server = Server::default();
        server.next([turn.clone(), turn.clone(), turn]);
        server.provider().token().await.unwrap_err();
        log.assert_one("WARN neonomics_auth: access token not renewed cause=First error=the ");
    }

    let vault = Credentials::from_fn(ID, || async { Err::<String, _>(io::Error::other("sealed")) });
    let provider = Server::default().builder_with(vault).build().unwrap();
    provider.token().await.unwrap_err();
    log.assert_one("WARN neonomics_auth: access token not renewed cause=First error=the client secret");

    // The end of a session that the server refuses.
    let provider = server.provider();
    provider.token().await.unwrap();
    log.assert_one("DEBUG neonomics_auth: access token renewed cause=First");
    server.next([refusal(400, &echo, &echo)]);
    provider.end_session().await.unwrap_err();
    assert_silent("the refused end", &log.take());
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// One event, with this in it and no canary.
    #[track_caller]
    fn assert_one(&self, expected: &str) {
        let text = self.take();
        assert_silent("the event", &text);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
