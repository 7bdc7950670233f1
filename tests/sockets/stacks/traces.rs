//! `TraceLayer` of tower-http, outside and inside the layer: what is written, and what is not.

use std::env;
use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use tower::ServiceBuilder;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::Level;

use super::{Scene, Seen, ask};

/// In a process of its own: whether an event is of interest to anybody is remembered for all threads.
#[test]
fn e1_no_span_of_a_trace_layer_shows_the_token() {
    let mut process = Command::new(env::current_exe().unwrap());
    let test = "stacks::traces::in_a_process_every_span_and_event_is_written";
    let output = process.args(["--exact", test, "--ignored"]).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A test that is not found passes too.
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn in_a_process_every_span_and_event_is_written() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(move || writer.clone());
    // The runtime, and with it both ends of every connection, is on this thread.
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    for scene in Scene::each_warm().await {
        // Spans show all headers: what `TraceLayer` does not do unless it is told to.
        let spans = DefaultMakeSpan::new().include_headers(true);
        let trace = TraceLayer::new_for_http().make_span_with(spans);
        let outside = ServiceBuilder::new().layer(trace.clone()).layer(scene.auth()).service(scene.client.clone());
        let inside = ServiceBuilder::new().layer(scene.auth()).layer(trace).service(scene.client.clone());
        let first = scene.provider.cached().unwrap();
        log.take();

        // One span for the request with its replay, which shows no token at all.
        scene.fake.refuse_requests(1);
        assert!(ask(outside.clone(), scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        let outside_text = log.take();
        let second = scene.provider.cached().unwrap();
        assert_eq!(answers(&outside_text), ["200"], "outside, {:?}: {outside_text}", scene.version);
        assert!(!outside_text.contains("authorization"), "outside, {:?}: {outside_text}", scene.version);

        // One for each attempt, the 401 with it. That there is a token is seen, what it is is not.
        scene.fake.refuse_requests(1);
        assert!(ask(inside, scene.request()).await.unwrap().replayed(), "{:?}", scene.version);
        let inside_text = log.take();
        assert_eq!(answers(&inside_text), ["401", "200"], "inside, {:?}: {inside_text}", scene.version);
        assert!(inside_text.contains(r#""authorization": Sensitive"#), "inside, {:?}: {inside_text}", scene.version);

        let third = scene.provider.cached().unwrap();
        for token in [first, second, third] {
            let text = format!("{outside_text}{inside_text}");
            assert!(!text.contains(token.secret()), "{:?}: {text}", scene.version);
        }
        // The control: what the caller has set is not marked by us, and is written.
        let own = ask(outside, scene.request_of_its_own()).await.unwrap();
        assert_eq!(own.status, StatusCode::UNAUTHORIZED, "{:?}", scene.version);
        assert!(log.take().contains("Bearer of-the-caller"), "{:?}", scene.version);
        scene.assert_seen("traced", Seen { attempts: 5, refused: 3, exchanges: 3, replays: 2 });
    }
}

/// The statuses of the answers of which the trace layer tells.
fn answers(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| line.contains("finished processing request"));
    lines.map(|line| line.rsplit_once("status=").unwrap().1).collect()
}

/// Collects what a subscriber writes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What was written since the last call.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
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
