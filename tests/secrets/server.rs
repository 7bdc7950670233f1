//! An authorization server whose tokens are canaries, and whose answers are scripted.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use neonomics_auth::{Credentials, Environment, TokenProvider, TokenProviderBuilder};
use serde_json::{Value, json};

use crate::canary::{ACCESS, REFRESH, SECRET};

pub(crate) const ID: &str = "the-client-id";
pub(crate) const API: &str = "https://api.example.com";

#[derive(Clone, Default)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Turn>,
    forms: Vec<String>,
    tokens: usize,
}

#[derive(Clone)]
pub(crate) enum Turn {
    Answer(u16, String),
    /// A token, this much later.
    Late(Duration),
    Reset,
    Hang,
    Panic,
}

impl Server {
    /// What the next exchanges meet; after that each gets a token.
    pub(crate) fn next(&self, turns: impl IntoIterator<Item = Turn>) -> &Self {
        self.state.lock().unwrap().script.extend(turns);
        self
    }

    pub(crate) fn builder(&self) -> TokenProviderBuilder {
        self.builder_with(Credentials::new(ID, SECRET))
    }

    pub(crate) fn builder_with(&self, credentials: Credentials) -> TokenProviderBuilder {
        let server = self.clone();
        TokenProvider::builder(environment(), credentials)
            .transport(tower::service_fn(move |request: Request<Full<Bytes>>| server.clone().answer(request)))
    }

    pub(crate) fn provider(&self) -> TokenProvider {
        self.builder().build().unwrap()
    }

    /// The forms that came, decoded: the control that the canaries were there to be shown.
    pub(crate) fn forms(&self) -> Vec<String> {
        self.state.lock().unwrap().forms.clone()
    }

    async fn answer(self, request: Request<Full<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
        let form = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let (turn, number) = {
            let mut state = self.state.lock().unwrap();
            let pairs = form_urlencoded::parse(&form).map(|(name, value)| format!("{name}={value}"));
            state.forms.push(pairs.collect::<Vec<_>>().join("\n"));
            state.tokens += 1;
            (state.script.pop_front(), state.tokens)
        };
        match turn {
            None => Ok(answer(200, token(number).to_string())),
            Some(Turn::Answer(status, body)) => Ok(answer(status, body)),
            Some(Turn::Late(delay)) => {
                tokio::time::sleep(delay).await;
                Ok(answer(200, token(number).to_string()))
            }
            Some(Turn::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Turn::Hang) => pending().await,
            Some(Turn::Panic) => panic!("on purpose"),
        }
    }
}

pub(crate) fn environment() -> Environment {
    Environment::realm("https://id.example.com/auth/realms/the-realm", API).unwrap()
}

/// The answer to an exchange.
pub(crate) fn token(number: usize) -> Value {
    json!({
        "access_token": format!("{ACCESS}{number}"),
        "expires_in": 3600,
        "refresh_token": format!("{REFRESH}{number}"),
        "refresh_expires_in": 7200,
        "token_type": "bearer",
        "session_state": "a-session",
    })
}

/// An OAuth error (RFC 6749 §5.2).
pub(crate) fn refusal(status: u16, error: &str, description: &str) -> Turn {
    Turn::Answer(status, json!({ "error": error, "error_description": description }).to_string())
}

fn answer(status: u16, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}
