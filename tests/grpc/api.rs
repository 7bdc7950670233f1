//! The API: a tonic server that takes the tokens which the fake takes, and refuses the others in the manner it is told.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Environment, TokenProvider, TokenProviderBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tower::ServiceExt;

use crate::attempt::Attempt;
use crate::echo::Echo;
use crate::unless_it_hangs;

/// Serves health checks and the echo. Stops when dropped.
pub(crate) struct Api {
    pub(crate) fake: FakeNeonomics,
    pub(crate) health: HealthReporter,
    origin: String,
    shared: Arc<Shared>,
    connections: Arc<AtomicUsize>,
    server: AbortHandle,
}

struct Shared {
    fake: FakeNeonomics,
    manner: Mutex<Manner>,
    attempts: watch::Sender<Vec<Arc<Attempt>>>,
}

/// How a token is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Status 16 in the headers, before anything is read.
    AtOnce,
    /// The same, but what the client sends is read on: its stream is not reset.
    AndReads,
    /// Status 16 in the headers, said by the service itself when it has read so many messages.
    After(usize),
    /// Status 16 in the trailers, after a message.
    InTrailers,
    /// Status 7 in the headers: not for want of a token.
    Forbidden,
    /// As a gateway that knows nothing of gRPC.
    Http401,
}

/// What a refusal says.
pub(crate) const REFUSAL: &str = "this token is over";

impl Api {
    pub(crate) async fn start() -> Self {
        let fake = FakeNeonomics::new();
        let shared = Arc::new(Shared {
            fake: fake.clone(),
            manner: Mutex::new(Manner::AtOnce),
            attempts: watch::Sender::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = Arc::clone(&connections);
        let incoming = TcpListenerStream::new(listener).inspect(move |_| {
            accepted.fetch_add(1, Ordering::Relaxed);
        });
        let (health, checks) = tonic_health::server::health_reporter();
        let routes = Routes::new(checks).add_service(Echo).into_axum_router();
        let routes = routes.layer(from_fn_with_state(Arc::clone(&shared), admit));
        let serving = Server::builder().add_routes(Routes::from(routes)).serve_with_incoming(incoming);
        let server = tokio::spawn(serving).abort_handle();
        Self { fake, health, origin, shared, connections, server }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// A provider whose tokens are for this API. The fake is its authorization server, in process.
    pub(crate) fn provider(&self) -> TokenProvider {
        self.builder().build().unwrap()
    }

    pub(crate) fn builder(&self) -> TokenProviderBuilder {
        let realm = format!("{}/auth/realms/sandbox", self.fake.origin());
        let environment = Environment::realm(realm, self.origin()).unwrap();
        TokenProvider::builder(environment, self.fake.credentials()).transport(self.fake.clone())
    }

    /// Tokens that the fake refuses are refused like this.
    pub(crate) fn refuse(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Of each attempt so far its token, by the order in which tokens first appeared, and the messages that the echo has
    /// read.
    pub(crate) fn attempts(&self) -> Vec<(usize, Vec<String>)> {
        let mut tokens = Vec::new();
        let attempts = self.shared.attempts.borrow();
        attempts
            .iter()
            .map(|attempt| {
                let token = attempt.headers.get(AUTHORIZATION);
                let known = tokens.iter().position(|known| *known == token);
                let number = known.unwrap_or_else(|| {
                    tokens.push(token);
                    tokens.len() - 1
                });
                (number + 1, attempt.messages())
            })
            .collect()
    }

    /// The headers of each attempt so far.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.shared.attempts.borrow().iter().map(|attempt| attempt.headers.clone()).collect()
    }

    /// Until the attempt with this number, from 0, has come and the echo has read so many of its messages.
    pub(crate) async fn has_read(&self, number: usize, messages: usize) {
        let mut attempts = self.shared.attempts.subscribe();
        let reading = async {
            let attempt = Arc::clone(&attempts.wait_for(|attempts| attempts.len() > number).await.unwrap()[number]);
            attempt.has_read(messages).await;
        };
        unless_it_hangs(reading).await;
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Before each service: judges the bearer, as the fake does.
async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let refused = !shared.accepts(request.headers()).await;
    let manner = *shared.manner.lock().unwrap();
    let refused_after = match manner {
        Manner::After(messages) if refused => Some(messages),
        _ => None,
    };
    let attempt = Arc::new(Attempt::new(request.headers().clone(), refused_after));
    shared.attempts.send_modify(|attempts| attempts.push(Arc::clone(&attempt)));
    if !refused || refused_after.is_some() {
        request.extensions_mut().insert(attempt);
        return next.run(request).await;
    }
    match manner {
        Manner::AndReads => {
            tokio::spawn(request.into_body().collect());
            Status::unauthenticated(REFUSAL).into_http()
        }
        Manner::InTrailers => in_trailers(),
        Manner::Forbidden => Status::permission_denied(REFUSAL).into_http(),
        Manner::Http401 => {
            let challenge = "Bearer realm=\"sandbox\", error=\"invalid_token\"";
            let answer = Response::builder().status(StatusCode::UNAUTHORIZED).header(WWW_AUTHENTICATE, challenge);
            answer.body(Body::empty()).unwrap()
        }
        Manner::AtOnce | Manner::After(_) => Status::unauthenticated(REFUSAL).into_http(),
    }
}

impl Shared {
    async fn accepts(&self, headers: &HeaderMap) -> bool {
        let mut question = http::Request::get("/echo").body(Empty::<Bytes>::new()).unwrap();
        for value in headers.get_all(AUTHORIZATION) {
            question.headers_mut().append(AUTHORIZATION, value.clone());
        }
        self.fake.clone().oneshot(question).await.unwrap().status() == StatusCode::OK
    }
}

/// An answer with one message, which has nothing in it, and then the refusal.
fn in_trailers() -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("16"));
    trailers.insert("grpc-message", HeaderValue::from_static("in%20trailers"));
    let message = Full::new(Bytes::from_static(&[0; 5]));
    let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
    Response::builder().header(CONTENT_TYPE, "application/grpc").body(Body::new(body)).unwrap()
}
