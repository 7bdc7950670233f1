//! The conversation: every step is held with both peers at the same time, and their answers are compared.

use std::mem;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::Theme;
use super::aspects::{self, Aspect};
use super::difference::Difference;
use super::peer::Peer;
use super::step::{Act, Step};
use super::wire::Heard;

pub(super) struct Conversation {
    theme: Theme,
    version: String,
    table: &'static [Difference],
    /// One for each entry of the table.
    used: Vec<bool>,
    keycloak: Peer,
    fake: Peer,
    held: usize,
    /// The whole seconds that the slowest step took: so far apart two answers to one step may be.
    apart: u64,
    found: Vec<Found>,
}

/// A difference that the table does not know, or an entry of the table that nothing needed.
pub(super) struct Found {
    /// None for an entry.
    pub(super) aspects: Vec<Aspect>,
    pub(super) text: String,
}

impl Conversation {
    pub(super) fn new(theme: Theme, version: &str, table: &'static [Difference], keycloak: Peer, fake: Peer) -> Self {
        let version = version.to_owned();
        let used = vec![false; table.len()];
        Self { theme, version, table, used, keycloak, fake, held: 0, apart: 0, found: Vec::new() }
    }

    pub(super) async fn hold(&mut self, script: &[Step]) {
        for step in script {
            self.act(step.before).await;
            if step.race {
                self.race(step).await;
            } else {
                self.step(step).await;
            }
        }
    }

    /// What the operator of both servers does, and what time does.
    pub(super) async fn act(&mut self, acts: &[Act]) {
        for &act in acts {
            if let Act::Wait(milliseconds) = act {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            tokio::join!(self.keycloak.act(act), self.fake.act(act));
        }
    }

    /// One session, refreshed once a second as often as that. A session that is over counts as one with nothing left,
    /// since the last seconds of the two servers may be one apart. Returns what Keycloak had left, access and refresh.
    pub(super) async fn series(&mut self, step: &Step, times: u32) -> Vec<(u64, u64)> {
        let began = now();
        let mut series = Vec::new();
        for second in 1..=times {
            tokio::time::sleep_until(began + Duration::from_secs(second.into())).await;
            let (keycloak, fake) = self.both(step).await;
            if keycloak.status == fake.status {
                self.compare(step.name, &keycloak, &fake);
            }
            let (left, right) = (left(&keycloak), left(&fake));
            let near = |a: u64, b: u64| a.abs_diff(b) <= 1 + self.apart;
            if !(near(left.0, right.0) && near(left.1, right.1)) {
                let unknown = (Aspect::ExpiresIn, format!("{left:?}"), format!("{right:?}"));
                self.report(step.name, &[unknown], &[keycloak, fake]);
            }
            series.push(left);
        }
        series
    }

    /// How many steps were held, and what was found.
    pub(super) fn end(&mut self) -> (usize, Vec<Found>) {
        for (entry, used) in self.table.iter().zip(&self.used) {
            if !used && entry.is_needed(self.theme, &self.version) {
                let text = format!("no step needed this entry of the table: {}", entry.describe());
                self.found.push(Found { aspects: Vec::new(), text });
            }
        }
        (self.held, mem::take(&mut self.found))
    }

    /// Fails with all that was found.
    pub(super) fn agree(mut self, steps: usize) {
        let (held, found) = self.end();
        let Self { theme, version, .. } = &self;
        let texts: Vec<_> = found.iter().map(|found| found.text.as_str()).collect();
        assert!(found.is_empty(), "{theme:?}, Keycloak {version}: {}\n\n{}", found.len(), texts.join("\n\n"));
        assert_eq!(held, steps, "steps held, and steps expected: the number stands in mod.rs");
    }

    async fn step(&mut self, step: &Step) {
        let (keycloak, fake) = self.both(step).await;
        self.compare(step.name, &keycloak, &fake);
    }

    async fn both(&mut self, step: &Step) -> (Heard, Heard) {
        let asked = now();
        let answers = tokio::join!(self.keycloak.ask(step), self.fake.ask(step));
        self.took(asked);
        answers
    }

    async fn race(&mut self, step: &Step) {
        let asked = now();
        let (keycloak, fake) = tokio::join!(self.keycloak.race(step), self.fake.race(step));
        self.took(asked);
        let (left, right) = (aspects::of_race(&keycloak), aspects::of_race(&fake));
        self.compare_aspects(step.name, &left, &right, &[keycloak, fake].concat());
    }

    fn took(&mut self, asked: Instant) {
        self.held += 1;
        self.apart = self.apart.max(now().duration_since(asked).as_secs());
    }

    fn compare(&mut self, name: &str, keycloak: &Heard, fake: &Heard) {
        let left = aspects::of(keycloak, self.keycloak.session(keycloak));
        let right = aspects::of(fake, self.fake.session(fake));
        self.compare_aspects(name, &left, &right, &[keycloak.clone(), fake.clone()]);
    }

    fn compare_aspects(
        &mut self,
        name: &str,
        keycloak: &[(Aspect, String)],
        fake: &[(Aspect, String)],
        answers: &[Heard],
    ) {
        let answer = (Aspect::Answer, aspects::answer(keycloak), aspects::answer(fake));
        if answer.1 != answer.2 && self.is_meant(name, &answer) {
            return;
        }
        let pairs =
            keycloak.iter().zip(fake).map(|((aspect, left), (_, right))| (*aspect, left.clone(), right.clone()));
        let different = pairs.filter(|(aspect, left, right)| !aspects::agree(*aspect, left, right, self.apart));
        let different: Vec<_> = different.collect();
        let unknown: Vec<_> = different.into_iter().filter(|difference| !self.is_meant(name, difference)).collect();
        if !unknown.is_empty() {
            self.report(name, &unknown, answers);
        }
    }

    /// Whether the table knows it.
    fn is_meant(&mut self, name: &str, (aspect, keycloak, fake): &(Aspect, String, String)) -> bool {
        let covers = |entry: &Difference| {
            entry.may_be_met(self.theme, &self.version) && entry.covers(name, *aspect, keycloak, fake)
        };
        let entry = self.table.iter().position(covers);
        if let Some(entry) = entry {
            self.used[entry] = true;
        }
        entry.is_some()
    }

    fn report(&mut self, name: &str, unknown: &[(Aspect, String, String)], answers: &[Heard]) {
        let mut lines = vec![format!("`{name}`")];
        let described = |(aspect, keycloak, fake): &(Aspect, String, String)| {
            format!("  {aspect:?}: Keycloak {keycloak:?}, the fake {fake:?}")
        };
        lines.extend(unknown.iter().map(described));
        lines.extend(answers.iter().map(whole));
        let text = lines.join("\n");
        self.found.push(Found { aspects: unknown.iter().map(|(aspect, ..)| *aspect).collect(), text });
    }
}

/// The answer as a reader wants to see it.
fn whole(heard: &Heard) -> String {
    let mut lines = vec![format!("    {}", heard.status)];
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("    {name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    lines.extend(heard.headers.iter().map(header));
    lines.push(format!("    {:.400}", String::from_utf8_lossy(&heard.body)));
    lines.join("\n")
}

fn left(heard: &Heard) -> (u64, u64) {
    let json: serde_json::Value = serde_json::from_slice(&heard.body).unwrap_or_default();
    let seconds = |name: &str| json[name].as_u64().unwrap_or(u64::MAX);
    match (heard.status, json["error"].as_str()) {
        (400, Some("invalid_grant")) => (0, 0),
        _ => (seconds("expires_in"), seconds("refresh_expires_in")),
    }
}

#[expect(clippy::disallowed_methods, reason = "the test's own clock, which nothing shifts")]
fn now() -> Instant {
    Instant::now()
}
