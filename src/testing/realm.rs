//! The realm: its client, settings, sessions and tokens.
//!
//! It knows whole seconds and OAuth, and nothing of HTTP, faults or gates. The same calls at the
//! same seconds give the same answers, but for the text of the tokens.

use std::collections::HashMap;

/// The name of the one realm, which the sandbox of Neonomics has too.
pub(super) const NAME: &str = "sandbox";

pub(super) struct Realm {
    pub(super) client: Client,
    pub(super) settings: Settings,
    /// By index; a session is never removed, so that its tokens can tell how it ended.
    sessions: Vec<Session>,
    tokens: HashMap<String, Token>,
    not_before: u64,
    accesses: usize,
    refreshes: usize,
}

pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) enabled: bool,
}

/// All times in seconds.
pub(super) struct Settings {
    pub(super) access_lifetime: u64,
    pub(super) session_idle: u64,
    pub(super) session_maximum: u64,
    pub(super) rotation: bool,
    pub(super) refresh_tokens: bool,
    pub(super) gateway: bool,
}

/// A successful answer of the token endpoint.
pub(super) struct Grant {
    pub(super) access_token: String,
    pub(super) expires_in: u64,
    pub(super) refresh_token: Option<String>,
    pub(super) refresh_expires_in: u64,
    pub(super) session_state: Option<String>,
    pub(super) not_before: u64,
    /// What the transcript says of it.
    pub(super) label: String,
}

impl Realm {
    pub(super) fn new() -> Self {
        Self {
            client: Client { id: invented("client", 8), secret: invented("secret", 24), enabled: true },
            // "`expires_in` 3600, `refresh_expires_in` 7200"; the maximum is Keycloak's default.
            settings: Settings {
                access_lifetime: 3_600,
                session_idle: 7_200,
                session_maximum: 36_000,
                rotation: false,
                refresh_tokens: true,
                gateway: true,
            },
            sessions: Vec::new(),
            tokens: HashMap::new(),
            not_before: 0,
            accesses: 0,
            refreshes: 0,
        }
    }

    /// "every `client_credentials` call creates one more server-side session", unless refresh
    /// tokens are off.
    pub(super) fn client_credentials(&mut self, now: u64) -> Grant {
        self.sessions.push(Session {
            state: random(24),
            started: now,
            idle_until: now,
            refreshed: now,
            used: None,
            end: None,
            counts: self.settings.refresh_tokens,
        });
        let mut grant = self.issue(self.sessions.len() - 1, now);
        // "then no `refresh_token`, no `session_state`, `refresh_expires_in: 0`"
        grant.session_state = grant.session_state.filter(|_| self.settings.refresh_tokens);
        grant
    }

    /// The error is the description of an `invalid_grant`.
    pub(super) fn refresh(&mut self, refresh_token: &str, now: u64) -> Result<Grant, &'static str> {
        let token = *self.refresh_token(refresh_token)?;
        if token.stale || token.issued < self.not_before {
            return Err("Stale token");
        }
        // In the second in which both end, the session is what the answer names.
        if now > token.expires {
            return Err("Token is not active");
        }
        let maximum = self.settings.session_maximum;
        let session = &mut self.sessions[token.session];
        match session.end {
            Some(End::Reuse) => return Err("Session doesn't have required client"),
            Some(End::Closed) => return Err("Session not active"),
            None if !session.is_alive(maximum, now) => return Err("Session not active"),
            None => {}
        }
        if self.settings.rotation {
            session.use_once(&token)?;
        }
        session.refreshed = now;
        Ok(self.issue(token.session, now))
    }

    /// "204 and empty for a live, used, expired, superseded or already ended token; ends that one
    /// session". The error is the description of an `invalid_grant`.
    pub(super) fn logout(&mut self, refresh_token: &str) -> Result<(), &'static str> {
        let session = self.refresh_token(refresh_token)?.session;
        self.sessions[session].end.get_or_insert(End::Closed);
        Ok(())
    }

    /// Whether the API takes this access token. The error is the description of an `invalid_token`.
    pub(super) fn verify(&self, access_token: &str, now: u64) -> Result<(), &'static str> {
        let token = self.tokens.get(access_token).filter(|token| token.kind == Kind::Access);
        let token = token.ok_or("Token verification failed")?;
        if token.stale || token.issued < self.not_before || now >= token.expires {
            return Err("Token verification failed");
        }
        if !self.client.enabled {
            return Err("Client disabled");
        }
        let session = &self.sessions[token.session];
        if session.end.is_some() || session.is_over(self.settings.session_maximum, now) {
            return Err("user_session_not_found");
        }
        Ok(())
    }

    /// "not-before refuses every token issued before"; "set to a moment in the future, fresh tokens
    /// are dead on arrival until it has passed". A real server compares whole seconds only and lets
    /// live what was issued in the same second; here everything issued before the call is refused,
    /// so that tests need not wait.
    pub(super) fn set_not_before(&mut self, not_before: u64) {
        self.not_before = not_before;
        for token in self.tokens.values_mut() {
            token.stale = true;
        }
    }

    pub(super) fn end_sessions(&mut self) {
        for session in &mut self.sessions {
            session.end.get_or_insert(End::Closed);
        }
    }

    pub(super) fn sessions_alive(&self, now: u64) -> usize {
        let maximum = self.settings.session_maximum;
        self.sessions.iter().filter(|session| session.counts && session.is_alive(maximum, now)).count()
    }

    /// The name of a token in a transcript, which never shows the token.
    pub(super) fn label(&self, token: &str) -> String {
        self.tokens.get(token).map_or_else(|| "unknown token".to_owned(), Token::label)
    }

    /// "Garbage … foreign: 400 `invalid_grant`"; an access token is garbage here.
    fn refresh_token(&self, token: &str) -> Result<&Token, &'static str> {
        self.tokens.get(token).filter(|token| token.kind == Kind::Refresh).ok_or("Invalid refresh token")
    }

    /// "Both are clipped to the session maximum, and refreshing does not extend that." Since an
    /// idle time is longer than a lifetime, `refresh_expires_in` is cut first.
    fn issue(&mut self, index: usize, now: u64) -> Grant {
        let session = &mut self.sessions[index];
        let left = session.started.saturating_add(self.settings.session_maximum).saturating_sub(now);
        let expires_in = self.settings.access_lifetime.min(left);
        let idle = self.settings.session_idle.min(left);
        session.idle_until = now + idle;
        let session_state = Some(session.state.clone());

        self.accesses += 1;
        let access = Token::new(Kind::Access, self.accesses, index, now, expires_in);
        let mut label = access.label();
        let refresh = self.settings.refresh_tokens.then(|| {
            self.refreshes += 1;
            Token::new(Kind::Refresh, self.refreshes, index, now, idle)
        });
        let refresh_expires_in = refresh.map_or(0, |_| idle);
        let refresh_token = refresh.map(|refresh| {
            label = format!("{label}, {}", refresh.label());
            self.keep(refresh)
        });
        let access_token = self.keep(access);
        let not_before = self.not_before;
        Grant { access_token, expires_in, refresh_token, refresh_expires_in, session_state, not_before, label }
    }

    fn keep(&mut self, token: Token) -> String {
        let text = invented(token.kind.name(), 40);
        self.tokens.insert(text.clone(), token);
        text
    }
}

struct Session {
    /// `session_state`, "24 characters in 26.5.6 and 26.7.3".
    state: String,
    started: u64,
    idle_until: u64,
    /// The second of the last refresh.
    refreshed: u64,
    /// With rotation: the refresh token that was used last, by its serial number.
    used: Option<usize>,
    end: Option<End>,
    /// Without refresh tokens a session lives for its access token only, and the server keeps none.
    counts: bool,
}

#[derive(Clone, Copy)]
enum End {
    /// By a logout or by the operator.
    Closed,
    /// By the reuse of a refresh token.
    Reuse,
}

impl Session {
    fn is_alive(&self, maximum: u64, now: u64) -> bool {
        self.end.is_none() && now < self.idle_until && !self.is_over(maximum, now)
    }

    fn is_over(&self, maximum: u64, now: u64) -> bool {
        now >= self.started.saturating_add(maximum)
    }

    /// "Rotation on, reuse: 400 `invalid_grant`, and the newest refresh token **and the newest
    /// access token die at once**"; "Within the second of the last refresh an older token is
    /// accepted (whole seconds)". A race of refreshes needs no rule of its own: the second of them
    /// is the reuse that kills what the first one won.
    fn use_once(&mut self, token: &Token) -> Result<(), &'static str> {
        let reuse = match self.used {
            Some(used) if used == token.serial => Some("Maximum allowed refresh token reuse exceeded"),
            Some(_) if token.issued < self.refreshed => Some("Stale token"),
            _ => None,
        };
        if let Some(description) = reuse {
            self.end = Some(End::Reuse);
            return Err(description);
        }
        self.used = Some(token.serial);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Token {
    kind: Kind,
    /// Counts the tokens of its kind from 1.
    serial: usize,
    session: usize,
    issued: u64,
    expires: u64,
    /// Refused since the operator revoked everything issued so far.
    stale: bool,
}

impl Token {
    fn new(kind: Kind, serial: usize, session: usize, now: u64, lifetime: u64) -> Self {
        Self { kind, serial, session, issued: now, expires: now + lifetime, stale: false }
    }

    fn label(&self) -> String {
        format!("{} {}", self.kind.name(), self.serial)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Access,
    Refresh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// Begins with `fake-`, and is a `b64token` (RFC 6750 section 2.1) whatever `what` is.
pub(super) fn invented(what: &str, length: usize) -> String {
    format!("fake-{what}-{}", random(length))
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
