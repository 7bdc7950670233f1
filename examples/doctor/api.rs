//! The questions to the API: without a token, with garbage, with a good one; and the whole crate at last.

use http::StatusCode;
use neonomics_auth::{AuthOutcome, TokenProvider};

use crate::examination::{Examination, Taken, is_tls};
use crate::realm::Session;

pub(crate) const GARBAGE: &str = "garbage token";

impl Examination {
    /// What a garbage token was answered.
    pub(crate) async fn api(&mut self, session: Option<&Session>) -> Option<StatusCode> {
        let request = self.request();
        match self.ask("no token", request).await {
            Ok(answer) => {
                self.connection(&answer, is_tls(&self.subject.api));
                let meaning = if answer.status.is_success() {
                    "this URL needs no token: give another one"
                } else {
                    "the layer sends no such request"
                };
                self.report.finding("no token", answer.described(&self.quotes), meaning);
            }
            Err(reason) => self.report.finding("reachable", format!("no: {reason}"), "check the URL of --api"),
        }
        let garbage = self
            .bearer(GARBAGE, "neonomics-auth-doctor".to_owned(), "this URL takes any token: give another one")
            .await;
        match session {
            Some(session) => {
                self.bearer("good token", session.access.clone(), "the API takes the realm's tokens").await;
            }
            None => self.report.finding("good token", "not asked", "there is none"),
        }
        garbage
    }

    /// One token, asked for through the layer, which judges the answer and cannot renew. `taken` is what a success means.
    pub(crate) async fn bearer(&mut self, question: &'static str, token: String, taken: &str) -> Option<StatusCode> {
        let asked = match TokenProvider::fixed(self.subject.environment.clone(), token) {
            Ok(provider) => self.ask_as(question, &provider).await,
            Err(error) => Err(error.to_string()),
        };
        match asked {
            Ok(answer) => {
                self.garbage_is_refused |= question == GARBAGE && answer.refused;
                let meaning = answer.meaning(taken);
                self.report.finding(question, answer.answer.described(&self.quotes), meaning);
                Some(answer.answer.status)
            }
            Err(reason) => {
                self.report.finding(question, format!("no answer: {reason}"), "not found out");
                None
            }
        }
    }

    /// The crate as users have it: its transport, its layer, one request, and the end of the session.
    pub(crate) async fn proof(&mut self) -> Result<StatusCode, String> {
        let provider = TokenProvider::new(self.subject.environment.clone(), self.subject.credentials.clone())
            .map_err(|error| self.quotes.failure(error.into()))?;
        if let Err(error) = provider.token().await {
            let meaning = match &error {
                error if error.is_rejected() => "`is_rejected()`: a setting is wrong, the id, the secret or the realm",
                error if error.is_transient() => "`is_transient()`: it may pass by itself",
                _ => "neither rejected nor transient: the answer cannot be used",
            };
            let reason = self.quotes.failure(error.into());
            self.report.finding("token", &reason, meaning);
            return Err(reason);
        }
        let left = provider.status().expires_in.unwrap_or_default().as_secs();
        self.report.finding("token", format!("had; expires in {left} s"), "`TokenProvider` works here");
        // Without refresh tokens the server keeps no session, and names none.
        let session = usize::from(provider.status().session_id.is_some());
        self.begun += session;
        let asked = self.ask_as("the crate's request", &provider).await;
        let proof = match asked {
            Ok(taken) => {
                let value = format!("{}\n{}", taken.answer.described(&self.quotes), told(taken.outcome.as_ref()));
                self.report.finding("request", value, taken.meaning("layer and provider work here"));
                Ok(taken.answer.status)
            }
            Err(reason) => {
                self.report.finding("request", &reason, "the API was not reached");
                Err(reason)
            }
        };
        match provider.end_session().await {
            Ok(()) => {
                self.ended += session;
                let meaning = match session {
                    0 => "there was none at the server",
                    _ => "it returned `Ok`; what the server did is what \"logout\" above says",
                };
                self.report.finding("end_session()", "ended", meaning);
            }
            Err(error) => {
                let reason = self.quotes.failure(error.into());
                self.report.finding("end_session()", reason, "the session lives until it expires");
            }
        }
        proof
    }
}

impl Taken {
    /// What the answer means to the crate; `taken` is what a success means.
    pub(crate) fn meaning<'a>(&self, taken: &'a str) -> &'a str {
        match self.answer.status {
            status if status.is_success() => taken,
            _ if self.refused => "a refusal to the crate: the token is renewed and the request replayed",
            _ => "no refusal to the crate: passed to you as it is; `.rejected_when(…)` can change that",
        }
    }
}

fn told(outcome: Option<&AuthOutcome>) -> String {
    let Some(outcome) = outcome else { return "no `AuthOutcome`: nothing unusual".to_owned() };
    let renewal = outcome.renewal_error().map(|error| format!(", renewal_error: {error}")).unwrap_or_default();
    format!("`AuthOutcome` waited: {}, replayed: {}{renewal}", outcome.waited(), outcome.replayed())
}
