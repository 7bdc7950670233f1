//! The words of a script: what is asked of both peers, and what happens before it.
//!
//! In a body or a header `<…>` stands for something that each peer has of its own: `<id>`, `<secret>`, `<old secret>`,
//! `<us>` (both parameters of the form), `<basic>` (both in base64), `<access NAME>` and `<refresh NAME>` (a token from the
//! last successful answer to the step NAME), `<cut access NAME>` (without its last ten characters), `<long>` and `<longish>`
//! (100,000 and 20,000 characters).

#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Unique in its script, unless its tokens are to take the place of an earlier step's.
    pub(super) name: &'static str,
    pub(super) before: &'static [Act],
    pub(super) method: &'static str,
    pub(super) to: To,
    pub(super) realm: Option<&'static str>,
    pub(super) query: &'static str,
    pub(super) content_type: Option<&'static str>,
    pub(super) authorization: Authorization,
    pub(super) header: Option<(&'static str, &'static str)>,
    pub(super) body: Body,
    /// The same request eight times at once, each on a connection of its own.
    pub(super) race: bool,
}

#[derive(Clone, Copy)]
pub(super) enum To {
    Token,
    Logout,
    /// What the access token is for: user info, and the list of banks.
    Resource,
    /// The same with a JSON body: user info, and a new bank session.
    Post,
}

#[derive(Clone, Copy)]
pub(super) enum Authorization {
    None,
    /// As it stands.
    As(&'static str),
    /// This text in base64.
    Basic(&'static str),
    /// The same, with the parts form-encoded first (RFC 6749 section 2.3.1).
    EncodedBasic(&'static str),
}

#[derive(Clone, Copy)]
pub(super) enum Body {
    /// What is filled in is form-encoded.
    Form(&'static str),
    Raw(&'static str),
}

/// What the operator of both servers does, or time.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// The only sleep: until the servers' own whole seconds have passed. In milliseconds.
    Wait(u64),
    /// From now on the script speaks for this client.
    Be(Client),
    /// Of the step of this name.
    EndSession(&'static str),
    DisableClient,
    EnableClient,
    RotateSecret,
    RestoreSecret,
    /// Of the access token, the session when idle, and the session at most. In seconds.
    Lifetimes(u64, u64, u64),
    ClientNotBefore,
    RealmNotBefore,
    /// In seconds after the second in which the step of this name got its token.
    NotBeforeAhead(&'static str, u64),
    LiftNotBefore,
    RevokeAll,
}

#[derive(Clone, Copy)]
pub(super) enum Client {
    /// As Neonomics gives one out.
    App,
    /// Its secret must be form-encoded.
    Special,
    /// Gets no refresh tokens.
    NoRefresh,
}

pub(super) const CLIENT_CREDENTIALS: &str = "grant_type=client_credentials&<us>";

const FORM: &str = "application/x-www-form-urlencoded";

pub(super) const fn token(name: &'static str, form: &'static str) -> Step {
    Step {
        name,
        before: &[],
        method: "POST",
        to: To::Token,
        realm: None,
        query: "",
        content_type: Some(FORM),
        authorization: Authorization::None,
        header: None,
        body: Body::Form(form),
        race: false,
    }
}

/// A client-credentials grant: a new session.
pub(super) const fn grant(name: &'static str) -> Step {
    token(name, CLIENT_CREDENTIALS)
}

pub(super) const fn logout(name: &'static str, form: &'static str) -> Step {
    Step { to: To::Logout, ..token(name, form) }
}

pub(super) const fn resource(name: &'static str, authorization: &'static str) -> Step {
    let step = Step { method: "GET", to: To::Resource, content_type: None, ..token(name, "") };
    step.authorization(Authorization::As(authorization))
}

pub(super) const fn post(name: &'static str, authorization: &'static str) -> Step {
    let step = token(name, "").content_type("application/json").raw(r#"{"amount": 1}"#);
    Step { to: To::Post, ..step }.authorization(Authorization::As(authorization))
}

impl Step {
    pub(super) const fn after(self, before: &'static [Act]) -> Self {
        Self { before, ..self }
    }

    pub(super) const fn method(self, method: &'static str) -> Self {
        Self { method, content_type: None, ..self }
    }

    pub(super) const fn realm(self, realm: &'static str) -> Self {
        Self { realm: Some(realm), ..self }
    }

    pub(super) const fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    pub(super) const fn content_type(self, content_type: &'static str) -> Self {
        Self { content_type: Some(content_type), ..self }
    }

    pub(super) const fn without_content_type(self) -> Self {
        Self { content_type: None, ..self }
    }

    pub(super) const fn authorization(self, authorization: Authorization) -> Self {
        Self { authorization, ..self }
    }

    pub(super) const fn basic(self, text: &'static str) -> Self {
        self.authorization(Authorization::Basic(text))
    }

    pub(super) const fn header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    pub(super) const fn raw(self, body: &'static str) -> Self {
        Self { body: Body::Raw(body), ..self }
    }

    pub(super) const fn eight_at_once(self) -> Self {
        Self { race: true, ..self }
    }
}
