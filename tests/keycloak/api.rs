//! The API: an axum server that checks each bearer as resource servers do, by the realm's published keys.
//!
//! It asks Keycloak for the keys and, when it is told to follow, for the realm's not-before; never about a token.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use neonomics_auth::BoxError;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::server::Keycloak;

/// By default 200 requests may be under way on an HTTP/2 connection; a gate would wait for the next one forever.
const MOST_STREAMS: u32 = 10_000;

/// `GET` answers who the client is, `POST` what it was sent. Stops when dropped.
pub(crate) struct Api {
    origin: String,
    shared: Arc<Shared>,
    server: AbortHandle,
}

struct Shared {
    realm: String,
    certificates: String,
    keys: AsyncMutex<JwkSet>,
    key_fetches: AtomicU64,
    not_before: AtomicU64,
    accepted: watch::Sender<u64>,
    refused: AtomicU64,
    tokens: Mutex<HashSet<String>>,
    sessions: Mutex<HashSet<String>>,
    place: Mutex<Arc<Place>>,
}

#[derive(Clone, Deserialize)]
struct Claims {
    jti: String,
    iat: u64,
    azp: String,
    sid: Option<String>,
}

impl Api {
    pub(crate) async fn start(keycloak: &Keycloak, realm: &str) -> Self {
        let certificates = format!("{}/protocol/openid-connect/certs", keycloak.realm(realm));
        let keys = fetch_keys(&certificates).await.unwrap();
        let shared = Arc::new(Shared {
            realm: realm.to_owned(),
            certificates,
            keys: AsyncMutex::new(keys),
            key_fetches: AtomicU64::new(1),
            not_before: AtomicU64::new(0),
            accepted: watch::Sender::new(0),
            refused: AtomicU64::new(0),
            tokens: Mutex::default(),
            sessions: Mutex::default(),
            place: Mutex::new(Place::new(true)),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/{*path}", get(who).post(async |body: Bytes| body))
            .layer(from_fn_with_state(Arc::clone(&shared), admit));
        let server = tokio::spawn(accept(listener, router)).abort_handle();
        let api = Self { origin, shared, server };
        api.follow(keycloak).await;
        api
    }

    /// Takes over the realm's not-before, as the administration interface shows it.
    pub(crate) async fn follow(&self, keycloak: &Keycloak) {
        let settings: Value = serde_json::from_str(&keycloak.operate(&["settings", &self.shared.realm]).await).unwrap();
        let not_before = settings["notBefore"].as_u64().expect("the realm has a not-before");
        self.shared.not_before.store(not_before, Ordering::Relaxed);
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn accepted(&self) -> u64 {
        *self.shared.accepted.borrow()
    }

    /// Until so many more requests are accepted.
    pub(crate) async fn accepts(&self, more: u64) {
        let goal = self.accepted() + more;
        self.shared.accepted.subscribe().wait_for(|accepted| *accepted >= goal).await.unwrap();
    }

    /// Answers with 401, for whatever reason.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Different access tokens that were accepted.
    pub(crate) fn tokens(&self) -> usize {
        self.shared.tokens.lock().unwrap().len()
    }

    /// Different sessions that accepted tokens belonged to.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.sessions.lock().unwrap().len()
    }

    /// How often the realm's keys were fetched: at the start, and for each key that was not among them.
    pub(crate) fn key_fetches(&self) -> u64 {
        self.shared.key_fetches.load(Ordering::Relaxed)
    }

    /// From now on requests stand at this gate, before their bearer is looked at. A new gate takes the place of an earlier
    /// one, which keeps what it holds.
    pub(crate) fn hold(&self) -> Gate {
        let place = Place::new(false);
        *self.shared.place.lock().unwrap() = Arc::clone(&place);
        Gate { place }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Opens when dropped.
pub(crate) struct Gate {
    place: Arc<Place>,
}

impl Gate {
    /// Until so many requests stand here.
    pub(crate) async fn arrived(&self, number: usize) {
        self.place.standing.subscribe().wait_for(|standing| *standing >= number).await.unwrap();
    }

    pub(crate) fn open(&self) {
        self.place.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

/// Two channels, so that an arrival wakes the test only and not those who stand there already.
struct Place {
    standing: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Place {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { standing: watch::Sender::new(0), open: watch::Sender::new(open) })
    }

    async fn pass(&self) {
        self.standing.send_modify(|standing| *standing += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

impl Shared {
    /// RFC 6750 §3: without a token there is no `error`.
    async fn judge(&self, headers: &HeaderMap) -> Result<Claims, Option<&'static str>> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(None) };
        let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(None)?;
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return Err(None);
        }

        let header = decode_header(token).map_err(|_| Some("not a JWT"))?;
        let key = self.key(header.kid.as_deref()).await.ok_or(Some("signed by an unknown key"))?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = 0;
        validation.validate_aud = false;
        let claims = decode::<Claims>(token, &key, &validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => Some("expired"),
            _ => Some("not signed by this key"),
        })?;
        let claims = claims.claims;
        // As Keycloak does: a token of that very second is good.
        if claims.iat < self.not_before.load(Ordering::Relaxed) {
            return Err(Some("issued before the realm's not-before"));
        }
        Ok(claims)
    }

    async fn key(&self, id: Option<&str>) -> Option<DecodingKey> {
        let mut keys = self.keys.lock().await;
        if keys.find(id?).is_none() {
            // While the server is down the keys stay as they were.
            *keys = fetch_keys(&self.certificates).await.ok()?;
            self.key_fetches.fetch_add(1, Ordering::Relaxed);
        }
        DecodingKey::from_jwk(keys.find(id?)?).ok()
    }
}

async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let place = Arc::clone(&shared.place.lock().unwrap());
    place.pass().await;
    match shared.judge(request.headers()).await {
        Ok(claims) => {
            shared.tokens.lock().unwrap().insert(claims.jti.clone());
            shared.sessions.lock().unwrap().extend(claims.sid.clone());
            shared.accepted.send_modify(|accepted| *accepted += 1);
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Err(why) => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            let realm = &shared.realm;
            let challenge = match why {
                None => format!("Bearer realm=\"{realm}\""),
                Some(why) => {
                    format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"")
                }
            };
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
        }
    }
}

async fn who(Extension(claims): Extension<Claims>) -> Json<Value> {
    Json(json!({ "client": claims.azp }))
}

/// HTTP/1.1 and HTTP/2 by prior knowledge. Owns the connections: when this task is aborted, they are.
async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().max_concurrent_streams(MOST_STREAMS);
            // An error is a client that left.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Over a connection of its own: one that idles does not survive the server.
async fn fetch_keys(url: &str) -> Result<JwkSet, BoxError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.parse()?).await?;
    Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use neonomics_auth::{Environment, TokenProvider};
    use tokio::time::sleep;

    use super::*;
    use crate::load::{self, Http};
    use crate::server::credentials;

    #[tokio::test]
    async fn the_api_takes_live_tokens_of_its_realm_only() {
        let Some(keycloak) = Keycloak::shared().await else { return };
        let api = Api::start(&keycloak, "shortlived").await;
        let environment = keycloak.environment("shortlived", api.origin());
        let own = TokenProvider::new(environment.clone(), credentials()).unwrap();
        let token = own.token().await.unwrap();
        let live = TokenProvider::fixed(environment.clone(), token.secret()).unwrap();
        assert_eq!(asked(&api, &live).await, (200, None));

        let foreign = TokenProvider::new(keycloak.environment("sandbox", api.origin()), credentials()).unwrap();
        let foreign = TokenProvider::fixed(environment.clone(), foreign.token().await.unwrap().secret()).unwrap();
        assert_eq!(asked(&api, &foreign).await, refusal("signed by an unknown key"));
        assert_eq!(api.key_fetches(), 2);
        let garbled = TokenProvider::fixed(environment.clone(), format!("{}AAAA", token.secret())).unwrap();
        assert_eq!(asked(&api, &garbled).await, refusal("not signed by this key"));
        let garbage = TokenProvider::fixed(environment, "garbage").unwrap();
        assert_eq!(asked(&api, &garbage).await, refusal("not a JWT"));
        // The API is not one of the origins that this one's token may go to.
        let elsewhere = Environment::realm(keycloak.realm("shortlived"), "http://127.0.0.1:1").unwrap();
        let without = TokenProvider::fixed(elsewhere, "unused").unwrap();
        assert_eq!(asked(&api, &without).await, (401, Some("Bearer realm=\"shortlived\"".to_owned())));

        // The server's own expiry: 3 s, and whole seconds are all that a JWT knows.
        sleep(Duration::from_secs(4)).await;
        assert_eq!(asked(&api, &live).await, refusal("expired"));
        assert_eq!((api.accepted(), api.refused(), api.tokens(), api.sessions()), (1, 5, 1, 1));
    }

    /// The status, and the challenge of a 401.
    async fn asked(api: &Api, provider: &TokenProvider) -> (u16, Option<String>) {
        let answer = load::send(&load::client(Http::One, provider), api.origin(), "").await.unwrap();
        let challenge = answer.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), challenge)
    }

    fn refusal(why: &str) -> (u16, Option<String>) {
        let challenge = format!("Bearer realm=\"shortlived\", error=\"invalid_token\", error_description=\"{why}\"");
        (401, Some(challenge))
    }
}
