//! The questions to the authorization server: what a token comes with, rotation, the end of a session, a wrong secret.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};

use crate::answer::Answer;
use crate::examination::Examination;

pub(crate) const WRONG_SECRET: &str = "wrong secret";
pub(crate) const ENDED: &str = "access token after it";

/// Longer than a second: the server counts whole seconds, and lets pass what it knows from the current one.
const LATER_SECOND: Duration = Duration::from_millis(1_100);

/// The tokens of one session.
pub(crate) struct Session {
    pub(crate) access: String,
    pub(crate) refresh: Option<String>,
}

impl Examination {
    /// Whether the client was accepted.
    pub(crate) async fn authorization_server(&mut self) -> bool {
        let answer = match self.grant("first grant").await {
            Ok(answer) => answer,
            Err(reason) => {
                let meaning = "check the URL of the realm, the network, the proxy";
                self.report.finding("reachable", format!("no: {reason}"), meaning);
                return false;
            }
        };
        self.connection(&answer, self.subject.realm.to_ascii_lowercase().starts_with("https:"));
        let Some(session) = self.session(&answer) else {
            let meaning = "no token; what the crate makes of it stands below, at \"token\"";
            self.report.finding("client", answer.described(&self.quotes), meaning);
            return false;
        };
        self.report.finding(
            "client",
            format!("accepted: {}", answer.status.as_u16()),
            "id and secret belong to this realm",
        );
        self.lifetimes(&answer);
        self.members(&answer);
        if let Some(refresh_token) = session.refresh {
            self.rotation(&refresh_token).await;
        } else {
            "not found out: there is no refresh token".clone_into(&mut self.rotation);
        }
        true
    }

    /// Another session. If there is none after all, the crate's own request says why.
    pub(crate) async fn new_session(&mut self) -> Option<Session> {
        let answer = self.grant("second grant").await.ok()?;
        self.session(&answer)
    }

    /// A logout, then whether the tokens are dead.
    pub(crate) async fn end_of_session(&mut self, session: Session) {
        let Session { access, refresh: Some(refresh_token) } = session else {
            let meaning = "`end_session()` forgets the token here, and asks nobody";
            self.report.finding("logout", "not asked: there is no refresh token", meaning);
            return;
        };
        let (value, meaning) = match self.log_out("logout", &refresh_token).await {
            Ok(answer) if answer.confirms_logout() => {
                (answer.described(&self.quotes), "`end_session()` ends the session at the server")
            }
            Ok(answer) if answer.says_it_was_over() => (
                answer.described(&self.quotes),
                "`end_session()` returns `Ok`, as for a session that is over; nothing may have been ended here",
            ),
            Ok(answer) => (answer.described(&self.quotes), "to `end_session()` this is an error"),
            Err(reason) => (reason, "to `end_session()` this is an error"),
        };
        self.report.finding("logout", value, meaning);
        let (value, meaning) = match self.refresh("refresh after logout", &refresh_token).await {
            Ok(answer) if answer.status.is_success() => {
                (format!("alive: {}", answer.status.as_u16()), "the session goes on at the server")
            }
            Ok(answer) if answer.text("error") == Some("invalid_grant") => {
                (format!("dead: {}", answer.outcome(&self.quotes)), "the session is over at the server")
            }
            Ok(answer) => (answer.outcome(&self.quotes), "not found out: this is no `invalid_grant`"),
            Err(reason) => (reason, "not found out"),
        };
        self.report.finding("refresh token after it", value, meaning);
        let still = "the API does not ask the server: a token given out lives until it expires";
        self.bearer(ENDED, access, still).await;
    }

    /// Once only: who guesses secrets may be locked out.
    pub(crate) async fn wrong_secret(&mut self) {
        let form = [("grant_type", "client_credentials")];
        let answer = self.post(WRONG_SECRET, "token", &form, "a-wrong-secret-of-neonomics-auth-doctor").await;
        let (value, meaning) = match answer {
            Ok(answer) => {
                let meaning = match answer.text("error") {
                    Some("invalid_client" | "unauthorized_client") => {
                        "the crate says `is_rejected()` by the error's name, whatever the status; its pauses grow to 60 s"
                    }
                    Some("server_error" | "temporarily_unavailable") => "the crate takes it for a fault that passes",
                    _ if answer.status.is_success() => "the realm does not look at the secret",
                    _ => "no error name that decides: the crate judges by the status",
                };
                if let Some(Session { refresh: Some(refresh_token), .. }) = self.session(&answer) {
                    self.log_out("logout", &refresh_token).await.ok();
                }
                (answer.described(&self.quotes), meaning)
            }
            Err(reason) => (reason, "not found out"),
        };
        self.report.finding("answer", value, meaning);
    }

    /// Where a question went, and the clock at the other end.
    pub(crate) fn connection(&mut self, answer: &Answer, is_tls: bool) {
        let (scheme, meaning) = if is_tls {
            ("https", "the certificate is trusted here")
        } else {
            ("http without TLS", "the crate accepts that on loopback only")
        };
        let value = format!("yes: {scheme}, {:?}, after {} ms", answer.version, answer.milliseconds);
        self.report.finding("reachable", value, meaning);
        let value = match answer.clock_ahead {
            None => "its answers have no `Date`".to_owned(),
            Some(seconds) if seconds.abs() < 2.0 => "the same as here, to a second or two".to_owned(),
            Some(seconds) if seconds > 0.0 => format!("{seconds:.0} s ahead of ours"),
            Some(seconds) => format!("{:.0} s behind ours", -seconds),
        };
        self.report.finding("clock", value, "of no effect on lifetimes, which are counted here");
    }

    fn lifetimes(&mut self, answer: &Answer) {
        let (value, meaning) = match answer.seconds("expires_in") {
            Some(seconds) if seconds > 0.0 => {
                // The crate believes no more than 30 days.
                let (from, to) = (seconds.min(2_592_000.0) * 0.7, seconds.min(2_592_000.0) * 0.8);
                (format!("{seconds} s"), format!("renewed in the background after {from:.0} to {to:.0} s"))
            }
            None if answer.shown("expires_in", &self.quotes).is_none() => {
                ("absent".to_owned(), "the crate assumes 300 s".to_owned())
            }
            _ => ("no positive number".to_owned(), "the crate cannot use this answer".to_owned()),
        };
        self.report.finding("expires_in", value, meaning);
        let (value, meaning) = match answer.seconds("refresh_expires_in") {
            Some(seconds) if seconds > 0.0 => (format!("{seconds} s"), "so long a session lives without a renewal"),
            Some(seconds) => (format!("{seconds} s"), "no end is known: it does not mean \"already over\""),
            None => ("absent".to_owned(), "no end is known"),
        };
        self.report.finding("refresh_expires_in", value, meaning);
    }

    fn members(&mut self, answer: &Answer) {
        let token_type = answer.shown("token_type", &self.quotes);
        let meaning = match &token_type {
            None => "the crate takes it for a bearer",
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => "as the crate wants it, in any case",
            Some(_) => "the crate cannot use this answer",
        };
        self.report.finding("token_type", token_type.as_deref().unwrap_or("absent"), meaning);
        let scope = answer.shown("scope", &self.quotes);
        self.report.finding(
            "scope",
            scope.as_deref().unwrap_or("absent"),
            "the crate asks for none, and does not look at it",
        );
        let (value, meaning) = match answer.text("session_state") {
            Some(_) => ("yes", "`status().session_id` tells it"),
            None => ("no", "`status().session_id` is none"),
        };
        self.report.finding("session_state", value, meaning);
        let (value, meaning) = match answer.text("refresh_token") {
            Some(_) => ("yes", "sessions are continued; `keep_alive()` and `end_session()` pay off"),
            None => ("no", "each renewal begins anew by client_credentials; there is no session to end"),
        };
        self.report.finding("refresh token", value, meaning);
    }

    /// Uses one refresh token twice. That may cost the session, which ends here anyway.
    async fn rotation(&mut self, refresh_token: &str) {
        let first = match self.refresh("refresh", refresh_token).await {
            Ok(answer) if answer.status.is_success() => answer,
            failed => {
                let (value, meaning) = match failed {
                    Ok(answer) => (answer.described(&self.quotes), "each renewal begins anew by client_credentials"),
                    Err(reason) => (reason, "not found out"),
                };
                self.report.finding("refresh", value, meaning);
                self.log_out("logout", refresh_token).await.ok();
                return;
            }
        };
        let newest = first.text("refresh_token").unwrap_or(refresh_token).to_owned();
        let value = match first.text("refresh_token") {
            Some(new) if new != refresh_token => "with a new refresh token",
            Some(_) => "with the same refresh token",
            None => "without a refresh token",
        };
        let value = format!("{}, {value}", first.status.as_u16());
        self.report.finding("refresh", value, "a renewal continues the session");

        tokio::time::sleep(LATER_SECOND).await;
        let meaning = match self.refresh("same refresh token again", refresh_token).await {
            Ok(again) if again.status.is_success() => {
                "no: a refresh token works twice".clone_into(&mut self.rotation);
                "an answer that gets lost costs no session"
            }
            Ok(again) if again.text("error") == Some("invalid_grant") => {
                let session = match self.refresh("newest refresh token after reuse", &newest).await {
                    Ok(after) if after.status.is_success() => "after reuse the session lives on",
                    Ok(after) if after.text("error") == Some("invalid_grant") => "after reuse the session is over, too",
                    _ => "what becomes of the session was not found out",
                };
                let outcome = again.outcome(&self.quotes);
                self.rotation = format!("yes: a refresh token works once ({outcome}); {session}");
                "the crate never repeats one that may have been used; do not share a session between processes"
            }
            Ok(again) => {
                self.rotation = format!("not found out: {}", again.outcome(&self.quotes));
                "neither a token nor `invalid_grant`"
            }
            Err(reason) => {
                self.rotation = format!("not found out: {reason}");
                "no answer"
            }
        };
        self.report.finding("rotation", &self.rotation, meaning);
        self.log_out("logout", &newest).await.ok();
    }

    /// The session in an answer that has a token; counted if the server keeps it.
    fn session(&mut self, answer: &Answer) -> Option<Session> {
        let access = answer.text("access_token").filter(|_| answer.status.is_success())?.to_owned();
        let refresh = answer.text("refresh_token").map(str::to_owned);
        self.begun += usize::from(refresh.is_some());
        Some(Session { access, refresh })
    }

    async fn grant(&mut self, question: &'static str) -> Result<Answer, String> {
        let secret = self.subject.secret.clone();
        self.post(question, "token", &[("grant_type", "client_credentials")], &secret).await
    }

    async fn refresh(&mut self, question: &'static str, refresh_token: &str) -> Result<Answer, String> {
        let secret = self.subject.secret.clone();
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.post(question, "token", &form, &secret).await
    }

    async fn log_out(&mut self, question: &'static str, refresh_token: &str) -> Result<Answer, String> {
        let secret = self.subject.secret.clone();
        let answer = self.post(question, "logout", &[("refresh_token", refresh_token)], &secret).await?;
        self.ended += usize::from(answer.confirms_logout());
        Ok(answer)
    }

    async fn post(
        &mut self,
        question: &'static str,
        endpoint: &str,
        form: &[(&str, &str)],
        secret: &str,
    ) -> Result<Answer, String> {
        let credentials = [("client_id", self.subject.id.as_str()), ("client_secret", secret)];
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form.iter().chain(&credentials));
        let request = Request::post(format!("{}/protocol/openid-connect/{endpoint}", self.subject.realm))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(Bytes::from(body.finish()))
            .map_err(|error| error.to_string())?;
        self.ask(question, request).await
    }
}
