//! What goes between provider and server: a transport that keeps each question with its answer, and a few questions that
//! the crate does not ask.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::{AccessToken, BoxError, Credentials, Environment, TokenProvider};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::server::{CLIENT, Keycloak, SECRET};

/// Clones keep it together.
#[derive(Clone)]
pub(crate) struct Wire {
    opened: Instant,
    kept: Arc<watch::Sender<Vec<Exchange>>>,
}

/// A form and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) sent: Instant,
    pub(crate) status: u16,
    path: String,
    form: BTreeMap<String, String>,
    answer: Value,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self { opened: now(), kept: Arc::new(watch::Sender::new(Vec::new())) }
    }

    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn provider(&self, environment: Environment, credentials: Credentials) -> TokenProvider {
        let wire = self.clone();
        let transport = tower::service_fn(move |request| wire.clone().carry(request));
        TokenProvider::builder(environment, credentials).transport(transport).build().unwrap()
    }

    /// What the token endpoint was asked so far.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.kept.borrow().iter().filter(|exchange| exchange.path.ends_with("/token")).cloned().collect()
    }

    /// The statuses of the logouts so far.
    pub(crate) fn logouts(&self) -> Vec<u16> {
        let kept = self.kept.borrow();
        kept.iter().filter(|exchange| exchange.path.ends_with("/logout")).map(|exchange| exchange.status).collect()
    }

    /// Until what was kept is so; asked after each answer.
    pub(crate) async fn until(&self, so: impl Fn(&[Exchange]) -> bool) {
        self.kept.subscribe().wait_for(|kept| so(kept)).await.unwrap();
    }

    async fn carry(self, request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, BoxError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = head.uri.path().to_owned();
        let form = form_urlencoded::parse(&body).into_owned().collect();
        let sent = now();
        // No connection outlives its exchange, as with the default transport.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        let (head, body) = client.request(Request::from_parts(head, Full::new(body))).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let answer = serde_json::from_slice(&body).unwrap_or_default();
        let exchange = Exchange { sent, status: head.status.as_u16(), path, form, answer };
        self.kept.send_modify(|kept| kept.push(exchange));
        Ok(Response::from_parts(head, Full::new(body)))
    }
}

impl Exchange {
    pub(crate) fn grant(&self) -> &str {
        &self.form["grant_type"]
    }

    pub(crate) fn session(&self) -> &str {
        self.answer["session_state"].as_str().expect("the answer names its session")
    }

    pub(crate) fn refresh_token(&self) -> &str {
        self.answer["refresh_token"].as_str().expect("the answer has a refresh token")
    }

    /// In seconds.
    pub(crate) fn expires_in(&self) -> u64 {
        self.answer["expires_in"].as_u64().expect("the answer has a lifetime")
    }

    /// In seconds.
    pub(crate) fn refresh_expires_in(&self) -> u64 {
        self.answer["refresh_expires_in"].as_u64().expect("the refresh token has a lifetime")
    }
}

#[allow(clippy::disallowed_methods, reason = "real time is compared with the server's lifetimes")]
fn now() -> Instant {
    Instant::now()
}

/// Loopback never goes through a proxy.
fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The status with which the server's own resource answers to this token.
pub(crate) async fn resource(keycloak: &Keycloak, realm: &str, token: &AccessToken) -> u16 {
    let url = format!("{}/protocol/openid-connect/userinfo", keycloak.realm(realm));
    let request = client().get(url).header("authorization", token.authorization());
    request.send().await.unwrap().status().as_u16()
}

/// What the token endpoint says to this refresh token: the status and, if it is refused, the error.
pub(crate) async fn refresh(keycloak: &Keycloak, realm: &str, refresh_token: &str) -> (u16, Option<String>) {
    let url = format!("{}/protocol/openid-connect/token", keycloak.realm(realm));
    let form = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", refresh_token)])
        .extend_pairs([("client_id", CLIENT), ("client_secret", SECRET)])
        .finish();
    let request = client().post(url).header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(form).send().await.unwrap();
    let status = answer.status().as_u16();
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    (status, answer["error"].as_str().map(str::to_owned))
}
