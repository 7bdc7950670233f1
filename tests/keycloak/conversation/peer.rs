//! One side of the conversation: Keycloak or the fake. Here is all that differs in how they are addressed and operated.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use neonomics_auth::testing::FakeNeonomics;
use serde_json::Value;

use super::step::{Act, Authorization, Body, Client, Step, To};
use super::wire::{Heard, Wire};
use crate::server::{CLIENT, Keycloak, SECRET, SPECIAL};

pub(super) struct Peer {
    place: Place,
    wire: Wire,
    id: String,
    secret: String,
    /// Before it was rotated.
    old_secret: String,
    /// The steps so far.
    held: HashSet<&'static str>,
    /// The last successful answer to each step that brought a token.
    grants: HashMap<&'static str, Value>,
    /// The first step of each session, by `session_state`.
    sessions: HashMap<String, &'static str>,
}

enum Place {
    Keycloak { server: Keycloak, realm: &'static str },
    Fake(FakeNeonomics),
}

impl Peer {
    pub(super) fn keycloak(server: Keycloak, realm: &'static str) -> Self {
        let url = server.realm(realm);
        let origin = url.split_once("/auth/").unwrap().0.to_owned();
        Self::new(Place::Keycloak { server, realm }, &origin, CLIENT, SECRET)
    }

    pub(super) fn fake(fake: &FakeNeonomics) -> Self {
        Self::new(Place::Fake(fake.clone()), fake.origin(), fake.client_id(), &fake.client_secret())
    }

    fn new(place: Place, origin: &str, id: &str, secret: &str) -> Self {
        Self {
            place,
            wire: Wire::to(origin),
            id: id.to_owned(),
            secret: secret.to_owned(),
            old_secret: secret.to_owned(),
            held: HashSet::new(),
            grants: HashMap::new(),
            sessions: HashMap::new(),
        }
    }

    pub(super) async fn ask(&mut self, step: &Step) -> Heard {
        let request = self.request(step);
        let heard = self.wire.ask(request).await;
        self.remember(step.name, &heard);
        heard
    }

    /// Each runner's connection is open before the first one starts.
    pub(super) async fn race(&mut self, step: &Step) -> Vec<Heard> {
        let mut wires: Vec<_> = (0..8).map(|_| self.wire.another()).collect();
        join_all(wires.iter_mut().map(Wire::connect)).await;
        let heard = join_all(wires.iter_mut().map(|wire| wire.ask(self.request(step)))).await;
        for heard in &heard {
            self.remember(step.name, heard);
        }
        heard
    }

    /// The step in which the session of this answer began; none for an answer without a session.
    pub(super) fn session(&self, heard: &Heard) -> Option<&'static str> {
        let json: Value = serde_json::from_slice(&heard.body).ok()?;
        self.sessions.get(json["session_state"].as_str()?).copied()
    }

    fn remember(&mut self, name: &'static str, heard: &Heard) {
        self.held.insert(name);
        let json: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
        if let Some(session) = json["session_state"].as_str() {
            self.sessions.entry(session.to_owned()).or_insert(name);
        }
        if json["access_token"].is_string() {
            self.grants.insert(name, json);
        }
    }

    fn request(&self, step: &Step) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(step.method).uri(self.path(step));
        if let Some(content_type) = step.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let raw = str::to_owned;
        let authorization = match step.authorization {
            Authorization::None | Authorization::As("") => None,
            Authorization::As(text) => Some(self.fill(text, raw)),
            Authorization::Basic(text) => Some(format!("Basic {}", base64(&self.fill(text, raw)))),
            Authorization::EncodedBasic(text) => Some(format!("Basic {}", base64(&self.fill(text, encoded)))),
        };
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((name, value)) = step.header {
            request = request.header(name, self.fill(value, raw));
        }
        if matches!((&self.place, step.to), (Place::Fake(_), To::Resource | To::Post)) {
            request = request.header("x-device-id", "a-device");
        }
        let body = match step.body {
            Body::Form(text) => self.fill(text, encoded),
            Body::Raw(text) => self.fill(text, raw),
        };
        request.body(body.into()).unwrap()
    }

    fn path(&self, step: &Step) -> String {
        let (own, resource, post) = match &self.place {
            Place::Keycloak { realm, .. } => (*realm, None, None),
            Place::Fake(_) => ("sandbox", Some("/ics/v3/banks"), Some("/ics/v3/session")),
        };
        let endpoint = |leaf| format!("/auth/realms/{}/protocol/openid-connect/{leaf}", step.realm.unwrap_or(own));
        let path = match step.to {
            To::Token => endpoint("token"),
            To::Logout => endpoint("logout"),
            To::Resource => resource.map_or_else(|| endpoint("userinfo"), str::to_owned),
            To::Post => post.map_or_else(|| endpoint("userinfo"), str::to_owned),
        };
        format!("{path}{}", self.fill(step.query, encoded))
    }

    fn fill(&self, template: &str, encode: fn(&str) -> String) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('<') {
            let (name, after) = after.split_once('>').expect("what is opened is closed");
            filled.push_str(before);
            filled.push_str(&self.value(name, encode));
            rest = after;
        }
        filled + rest
    }

    fn value(&self, name: &str, encode: fn(&str) -> String) -> String {
        // A step that got no token has been reported; its script goes on.
        let token = |step: &str, member: &str| {
            assert!(self.held.contains(step), "no earlier step is called `{step}`");
            let token = self.grants.get(step).and_then(|grant| grant[member].as_str());
            token.unwrap_or("of-a-step-that-got-none").to_owned()
        };
        match name.split_once(' ') {
            _ if name == "id" => encode(&self.id),
            _ if name == "secret" => encode(&self.secret),
            _ if name == "old secret" => encode(&self.old_secret),
            _ if name == "us" => format!("client_id={}&client_secret={}", encode(&self.id), encode(&self.secret)),
            _ if name == "basic" => base64(&format!("{}:{}", self.id, self.secret)),
            _ if name == "long" => "x".repeat(100_000),
            _ if name == "longish" => "x".repeat(20_000),
            Some(("access", step)) => token(step, "access_token"),
            Some(("refresh", step)) => token(step, "refresh_token"),
            Some(("cut", whole)) => {
                let mut token = self.value(whole, encode);
                token.truncate(token.len() - 10);
                token
            }
            _ => panic!("nothing is called `{name}`"),
        }
    }
}

/// What the operator does.
impl Peer {
    pub(super) async fn act(&mut self, act: Act) {
        match &self.place {
            Place::Keycloak { .. } => self.act_at_keycloak(act).await,
            Place::Fake(fake) => {
                let fake = fake.clone();
                self.act_at_fake(&fake, act);
            }
        }
    }

    async fn act_at_keycloak(&mut self, act: Act) {
        let Place::Keycloak { server, realm } = &self.place else { unreachable!("the caller has looked") };
        let client = self.id.clone();
        match act {
            Act::Be(client) => {
                (self.id, self.secret) = match client {
                    Client::App => (CLIENT.to_owned(), SECRET.to_owned()),
                    Client::Special => ("special".to_owned(), SPECIAL.to_owned()),
                    Client::NoRefresh => ("no-refresh".to_owned(), "secret-no-refresh".to_owned()),
                };
            }
            Act::RotateSecret => self.secret = server.operate(&["rotate-secret", realm, &client]).await,
            Act::RestoreSecret => {
                server.operate(&["set-secret", realm, &client, &self.old_secret]).await;
                self.secret.clone_from(&self.old_secret);
            }
            Act::EndSession(step) => {
                let session = self.grants[step]["session_state"].as_str().unwrap();
                server.operate(&["end-session", realm, session]).await;
            }
            Act::Lifetimes(access, idle, maximum) => {
                let settings = format!(
                    r#"{{"accessTokenLifespan":{access},"ssoSessionIdleTimeout":{idle},"ssoSessionMaxLifespan":{maximum}}}"#
                );
                server.operate(&["set", realm, &settings]).await;
            }
            Act::NotBeforeAhead(step, seconds) => {
                let token = self.grants[step]["access_token"].as_str().unwrap();
                let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims;
                let when = (claims["iat"].as_u64().unwrap() + seconds).to_string();
                // The client's: the realm's would lock the operator out.
                server.operate(&["not-before", realm, &when, &client]).await;
            }
            Act::LiftNotBefore => {
                server.operate(&["not-before", realm, "0", &client]).await;
                server.operate(&["not-before", realm, "0"]).await;
            }
            Act::DisableClient => drop(server.operate(&["disable-client", realm, &client]).await),
            Act::EnableClient => drop(server.operate(&["enable-client", realm, &client]).await),
            Act::ClientNotBefore => drop(server.operate(&["not-before", realm, "now", &client]).await),
            Act::RealmNotBefore => drop(server.operate(&["not-before", realm]).await),
            Act::RevokeAll => drop(server.operate(&["revoke-all", realm]).await),
            Act::Wait(_) => {}
        }
    }

    fn act_at_fake(&mut self, fake: &FakeNeonomics, act: Act) {
        match act {
            // One client in three roles.
            Act::Be(client) => {
                self.secret = match client {
                    Client::Special => SPECIAL.to_owned(),
                    Client::App | Client::NoRefresh => self.old_secret.clone(),
                };
                fake.set_client_secret(&self.secret);
                fake.set_refresh_tokens(!matches!(client, Client::NoRefresh));
            }
            Act::RotateSecret => {
                "another".clone_into(&mut self.secret);
                fake.set_client_secret(&self.secret);
            }
            Act::RestoreSecret => {
                self.secret.clone_from(&self.old_secret);
                fake.set_client_secret(&self.secret);
            }
            // It ends all or none; the scripts go on with new ones.
            Act::EndSession(_) => fake.restart(),
            Act::Lifetimes(access, idle, maximum) => {
                fake.set_access_lifetime(Duration::from_secs(access));
                fake.set_session_idle(Duration::from_secs(idle));
                fake.set_session_maximum(Duration::from_secs(maximum));
            }
            // One client, so its not-before is the realm's.
            Act::ClientNotBefore | Act::RealmNotBefore => fake.set_not_before(Duration::ZERO),
            Act::NotBeforeAhead(_, seconds) => fake.set_not_before(Duration::from_secs(seconds)),
            Act::DisableClient => fake.set_client_enabled(false),
            Act::EnableClient => fake.set_client_enabled(true),
            Act::RevokeAll => fake.revoke_all(),
            // It refuses nothing that is issued later.
            Act::LiftNotBefore | Act::Wait(_) => {}
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quartets = text.as_bytes().chunks(3).flat_map(|chunk| {
        let bits = chunk.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        (0..4).map(move |index| match bits >> (18 - 6 * index) & 63 {
            _ if index > chunk.len() => '=',
            sextet => char::from(ALPHABET[sextet as usize]),
        })
    });
    quartets.collect()
}
