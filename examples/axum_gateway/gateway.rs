//! The gateway: what is asked of it goes on to Neonomics with the token, and its body as a stream. It authenticates nobody:
//! put your own check in front of `forward`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use neonomics_auth::replay::BufferBody;
use neonomics_auth::{AuthOutcome, NeonomicsAuth, NeonomicsAuthLayer, ReplayBody, TokenProvider};
use tower::timeout::Timeout;
use tower::{ServiceBuilder, ServiceExt};

use crate::no_answer::NoAnswer;

type Upstream = NeonomicsAuth<Client<HttpConnector, ReplayBody<Body>>, BufferBody>;

/// All handlers share it: one session, one pool of connections.
#[derive(Clone)]
struct Gateway {
    api: Uri,
    client: Timeout<Upstream>,
    provider: TokenProvider,
}

pub(crate) fn routes(api: Uri, provider: TokenProvider) -> Router {
    let client = ServiceBuilder::new()
        .timeout(Duration::from_secs(30))
        .layer(NeonomicsAuthLayer::new(provider.clone()).buffer_body(1 << 20))
        .service(Client::builder(TokioExecutor::new()).build_http()); // the real API: an `HttpsConnector`
    // Paths of the API only: the authorization server is at the same origin. No TRACE, which would show the token.
    let methods = MethodFilter::GET.or(MethodFilter::POST).or(MethodFilter::PUT).or(MethodFilter::DELETE);
    let (api_paths, echo) = ("/ics/v3/{*path}", "/echo"); // the embedded Neonomics has the second one
    let routes = Router::new().route(api_paths, on(methods, forward)).route(echo, on(methods, forward));
    routes.route("/health", get(health)).with_state(Gateway { api, client, provider })
}

async fn health(State(gateway): State<Gateway>) -> String {
    format!("the token is {:?}", gateway.provider.status().state)
}

async fn forward(State(gateway): State<Gateway>, inbound: Request) -> Result<Response, NoAnswer> {
    let (mut head, body) = inbound.into_parts();
    // The caller says what he wants of the API, never where that is: not by a `Host`, and not by an absolute URI.
    let mut uri = gateway.api.into_parts();
    uri.path_and_query = head.uri.into_parts().path_and_query;
    head.headers.remove(HOST);
    // They are for the gateway, and the layer would leave a request that has an `authorization` without the token.
    head.headers.remove(AUTHORIZATION);
    head.headers.remove(COOKIE);
    end_to_end_only(&mut head.headers);

    // A new head: version and extensions belong to the caller's connection.
    let mut request = Request::builder().method(head.method).uri(Uri::from_parts(uri)?).body(body)?;
    *request.headers_mut() = head.headers;
    let mut response = gateway.client.oneshot(request).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        // It is about the gateway's token, not about the caller. A larger upload than is kept comes here once.
        let why = response.extensions().get().and_then(AuthOutcome::renewal_error);
        return Err(why.map_or_else(|| "the API refused the token".into(), |error| error.clone().into()));
    }
    response.headers_mut().remove(SET_COOKIE);
    end_to_end_only(response.headers_mut());
    Ok(response.into_response())
}

/// Removes what is for the next hop only (RFC 9110 §7.6.1).
fn end_to_end_only(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|value| value.split(',')).flat_map(|name| name.trim().parse()).collect();
    let unnamed = ["keep-alive", "proxy-authorization", "proxy-connection"].map(HeaderName::from_static);
    let known = [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE].into_iter().chain(unnamed);
    for name in named.into_iter().chain(known) {
        headers.remove(name);
    }
}
