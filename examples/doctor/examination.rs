//! The examination: what is asked in which order, what is remembered of it, and the verdict.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use neonomics_auth::{AuthOutcome, NeonomicsAuth, ReqwestService, TokenProvider};
use reqwest::redirect::Policy;
use tower::ServiceExt;

use crate::answer::{Answer, now};
use crate::quotes::Quotes;
use crate::report::Report;
use crate::subject::Subject;

/// For one question, its body included.
const PATIENCE: Duration = Duration::from_secs(10);

/// An examination under way.
pub(crate) struct Examination {
    pub(crate) subject: Subject,
    pub(crate) quotes: Quotes,
    pub(crate) report: Report,
    heard: Vec<Heard>,
    pub(crate) begun: usize,
    pub(crate) ended: usize,
    pub(crate) rotation: String,
    /// Whether the layer would renew and replay.
    pub(crate) garbage_is_refused: bool,
}

/// What is kept of an answer for what no document says.
struct Heard {
    question: &'static str,
    retry_after: bool,
    challenge: Option<String>,
    auth_error: bool,
}

/// How the API took a token.
pub(crate) struct Taken {
    pub(crate) answer: Answer,
    /// Whether the layer took the answer for a refusal of the token.
    pub(crate) refused: bool,
    pub(crate) outcome: Option<AuthOutcome>,
}

impl Examination {
    /// Asks nobody yet.
    pub(crate) fn new(subject: Subject) -> Self {
        let mut quotes = Quotes::new(&subject.id, &subject.secret);
        quotes.hide(subject.api.query().unwrap_or_default());
        let rotation = "not found out".to_owned();
        let report = Report::default();
        Self { subject, quotes, report, heard: Vec::new(), begun: 0, ended: 0, rotation, garbage_is_refused: false }
    }

    /// The whole of it: the report, and whether all is well.
    pub(crate) async fn run(mut self) -> (String, bool) {
        self.introduce();
        self.report.section("The authorization server");
        let accepted = self.authorization_server().await;
        self.report.section("The API");
        let session = if accepted { self.new_session().await } else { None };
        let garbage = self.api(session.as_ref()).await;
        if let Some(session) = session {
            self.report.section("The end of a session");
            self.end_of_session(session).await;
        }
        self.report.section("This crate");
        let proof = self.proof().await;
        if accepted {
            self.report.section("A wrong secret (asked last, once)");
            self.wrong_secret().await;
        }
        self.undocumented();
        match verdict(proof, garbage) {
            Ok(()) if self.garbage_is_refused => {
                (self.report.headed("ok: a token can be had, and the API takes it"), true)
            }
            Ok(()) => {
                let verdict = "ok: a token can be had, and the API takes it; but what it answers to a dead token is no refusal \
                               to the crate, see \"garbage token\"";
                (self.report.headed(verdict), true)
            }
            Err(reason) => (self.report.headed(&format!("FAILED: {reason}")), false),
        }
    }

    fn introduce(&mut self) {
        let Subject { realm, api, source, .. } = &self.subject;
        let query = if api.query().is_some() { "?…" } else { "" };
        let (scheme, authority) = (api.scheme_str().unwrap_or_default(), api.authority().map_or("", |it| it.as_str()));
        let api = format!("GET {scheme}://{authority}{}{query}", api.path());
        self.report.section("neonomics-auth doctor");
        self.report.fact("version", env!("CARGO_PKG_VERSION"));
        self.report.fact("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
        self.report.fact("realm", realm);
        self.report.fact("API", api);
        self.report.fact("credentials", format!("from {source}"));
    }

    /// One raw question; what it was answered is remembered.
    pub(crate) async fn ask(&mut self, question: &'static str, request: Request<Bytes>) -> Result<Answer, String> {
        let asked = now();
        let client = self.client(request.uri())?;
        let response = client.oneshot(request.map(Full::new)).await;
        let response = response.map_err(|error| self.quotes.failure(error.into()))?;
        let answer = Answer::read(response, asked, &mut self.quotes).await?;
        self.remember(question, &answer);
        Ok(answer)
    }

    /// The API's answer to a GET through the layer, with the provider's token.
    pub(crate) async fn ask_as(&mut self, question: &'static str, provider: &TokenProvider) -> Result<Taken, String> {
        let service = NeonomicsAuth::new(self.client(&self.subject.api)?, provider.clone());
        let request = self.request().map(Full::new);
        // The crate's token is met here for the first time; a refused one is replaced meanwhile.
        let sent = provider.cached();
        let asked = now();
        let response: Result<Response<reqwest::Body>, _> = service.oneshot(request).await;
        for token in [sent, provider.cached()].into_iter().flatten() {
            self.quotes.hide(token.secret());
        }
        let response = response.map_err(|error| self.quotes.failure(error))?;
        let outcome = response.extensions().get::<AuthOutcome>().cloned();
        let answer = Answer::read(response, asked, &mut self.quotes).await?;
        self.remember(question, &answer);
        Ok(Taken { answer, refused: provider.status().refusals > 0, outcome })
    }

    /// A GET of the API without a token.
    pub(crate) fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        request.uri_mut().clone_from(&self.subject.api);
        request.headers_mut().insert("x-device-id", http::HeaderValue::from_static("neonomics-auth-doctor"));
        request
    }

    /// As the crate's own: nothing is followed, nothing is sent again, no question meets another's connection.
    fn client(&self, url: &Uri) -> Result<ReqwestService, String> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("neonomics-auth-doctor/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_max_idle_per_host(0)
            .timeout(PATIENCE);
        let client = if is_loopback(url) { client.no_proxy() } else { client };
        // Without TLS no certificates are needed.
        let client = if is_tls(url) { client } else { client.tls_certs_only([]) };
        client.build().map(ReqwestService::new).map_err(|error| self.quotes.failure(error.into()))
    }

    fn remember(&mut self, question: &'static str, answer: &Answer) {
        self.heard.push(Heard {
            question,
            retry_after: answer.retry_after.is_some(),
            challenge: answer.challenge.clone(),
            auth_error: answer.status == StatusCode::NOT_EXTENDED && answer.text("type") == Some("AUTH"),
        });
    }

    /// The questions that Neonomics' documentation leaves open.
    fn undocumented(&mut self) {
        let named = |holds: fn(&Heard) -> bool| {
            let names: Vec<_> = self.heard.iter().filter(|heard| holds(heard)).map(|heard| heard.question).collect();
            if names.is_empty() { format!("on none of {} answers", self.heard.len()) } else { names.join(", ") }
        };
        let challenge = |question: &str| {
            let heard = self.heard.iter().find(|heard| heard.question == question);
            heard.map_or("not found out", |heard| heard.challenge.as_deref().unwrap_or("none")).to_owned()
        };
        let facts = [
            ("rotation", self.rotation.clone(), "the crate is made for either"),
            (
                "challenge: API, garbage",
                challenge(crate::api::GARBAGE),
                "only a Bearer challenge with another error than `invalid_token` makes a 401 no refusal",
            ),
            ("challenge: API, ended", challenge(crate::realm::ENDED), "the same for a token whose session is over"),
            ("challenge: wrong secret", challenge(crate::realm::WRONG_SECRET), "the crate does not look at it there"),
            (
                "510 with type AUTH",
                named(|heard| heard.auth_error),
                "to the crate such an answer is no refusal; `.rejected_when(…)` can change that",
            ),
            ("Retry-After", named(|heard| heard.retry_after), "after a failure the crate waits so long, up to 300 s"),
        ];
        self.report.section("What Neonomics does not document, as found here");
        for (label, value, meaning) in facts {
            self.report.finding(label, value, meaning);
        }
        let sessions = format!("{} begun for this, {} ended", self.begun, self.ended);
        self.report.finding("sessions", sessions, "one that was not ended lives until its idle limit");
    }
}

/// The reason why not all is well.
fn verdict(proof: Result<StatusCode, String>, garbage: Option<StatusCode>) -> Result<(), String> {
    let status = proof?;
    if !status.is_success() {
        return Err(format!("the API answered {} to a request with a new token", status.as_u16()));
    }
    match garbage {
        Some(status) if status.is_success() => {
            Err("the URL of --api takes any token, so it proves nothing: give another one".to_owned())
        }
        _ => Ok(()),
    }
}

pub(crate) fn is_tls(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

fn is_loopback(url: &Uri) -> bool {
    url.host().is_some_and(|host| {
        host.eq_ignore_ascii_case("localhost")
            || host == "[::1]"
            || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
    })
}
