//! An axum gateway before an embedded Neonomics: an upload through it meets a 401, and an outage becomes a 503.
//!
//! `gateway.rs` is the gateway, `no_answer.rs` what it says when something fails; this file runs it, and asks it.

mod gateway;
mod no_answer;

use std::convert::Infallible;
use std::net::Ipv4Addr;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, RETRY_AFTER};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::BoxError;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use tokio::net::TcpListener;

const PIECES: usize = 256;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let fake = FakeNeonomics::listen().await?;
    let provider = fake.provider();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let gateway = format!("http://{}", listener.local_addr()?);
    let routes = gateway::routes(fake.origin().parse()?, provider.clone());
    tokio::spawn(axum::serve(listener, routes).into_future());
    let caller = Client::builder(TokioExecutor::new()).build_http();
    let http2_caller = Client::builder(TokioExecutor::new()).http2_only(true).build_http();

    // In pieces, with a `Host`, credentials and a header that are none of the API's business. The token is refused once.
    fake.refuse_requests(1);
    let pieces = stream::iter((0..PIECES).map(piece).map(Ok::<_, Infallible>));
    let upload = Request::put(format!("{gateway}/echo?a=b"))
        .header(HOST, "elsewhere.example")
        .header(AUTHORIZATION, "Bearer of-the-caller")
        .header(COOKIE, "of=the-caller")
        .header(CONNECTION, "x-this-hop")
        .header("x-this-hop", "only")
        .header("x-request-id", "7")
        .body(Body::from_stream(pieces))?;
    let response = caller.request(upload).await?;
    assert_eq!(response.status(), StatusCode::OK, "the upload was accepted");
    let echoed = response.into_body().collect().await?.to_bytes();
    let whole = (0..PIECES).map(piece).collect::<Vec<_>>().concat();
    assert_eq!(echoed, whole, "the echo is the upload");

    // Sent twice, refused once: what was accepted, was accepted once.
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);
    let accepted = fake.requests().pop().ok_or("nothing came")?;
    assert_eq!(accepted.uri, "/echo?a=b");
    assert_eq!(accepted.body, whole, "the second attempt had the whole upload");
    assert_eq!(format!("http://{}", accepted.headers[HOST].to_str()?), fake.origin(), "the host is the API's");
    assert_eq!(accepted.headers[AUTHORIZATION], provider.token().await?.authorization(), "the gateway's token");
    for left_behind in ["cookie", "connection", "x-this-hop"] {
        assert!(!accepted.headers.contains_key(left_behind), "{left_behind}");
    }
    assert_eq!(accepted.headers["x-request-id"], "7");
    println!("An upload of {} KiB through the gateway met a 401 and was accepted once, whole.", whole.len() / 1024);
    println!("It went to the API, though its caller named another host; the caller's credentials stayed behind.");

    let response = http2_caller.request(Request::get(format!("{gateway}/health")).body(Body::empty())?).await?;
    let health = response.into_body().collect().await?.to_bytes();
    println!("Its other handler shares the session: {}.", String::from_utf8_lossy(&health));

    // All tokens are revoked, and there is no new one to be had. How the caller is connected does not matter either.
    fake.revoke_all();
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    let response = http2_caller.request(Request::get(format!("{gateway}/echo")).body(Body::empty())?).await?;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "there is no token");
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    println!("Without a token to be had the gateway answers 503, Retry-After: 1.");
    Ok(())
}

/// One of the pieces of the upload, of 1 KiB.
fn piece(number: usize) -> Bytes {
    Bytes::from(format!("{number:>1024}"))
}
