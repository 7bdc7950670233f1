//! reqwest, from end to end: a streamed upload through the layer, and the answer as reqwest's own `Response`.
//!
//! Runs on an embedded Neonomics; with `Environment::sandbox()` and `Credentials::from_env()?` in place of those of the fake
//! it is the real one.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::Request;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use http_body_util::StreamBody;
use neonomics_auth::replay::BufferBody;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuth, NeonomicsAuthLayer, ReqwestService, TokenProvider};
use reqwest::redirect::Policy;
use tower::{Layer, ServiceExt};

/// For any body: this can stand in a field.
type Api = NeonomicsAuth<ReqwestService, BufferBody>;

const ROWS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let fake = FakeNeonomics::listen().await?;
    let provider = TokenProvider::new(fake.environment(), fake.credentials())?;
    let http = reqwest::Client::builder()
        // reqwest would follow a redirect below the layer, with the token that the layer has put on the request.
        .redirect(Policy::none())
        // The fake is on loopback.
        .no_proxy()
        .build()?;
    // What has been sent is kept until the answer is there, up to 1 MiB: then it can be sent again.
    let api: Api = NeonomicsAuthLayer::new(provider).buffer_body(1 << 20).layer(ReqwestService::new(http));

    // The whole upload is refused once.
    fake.refuse_requests(1);
    let request = Request::post(format!("{}/echo", fake.origin()))
        .header(CONTENT_TYPE, "application/json")
        // With reqwest's feature `stream` there is `reqwest::Body::wrap_stream`, too.
        .body(StreamBody::new(rows().map(Frame::data).map(Ok::<_, BoxError>)))?;
    let response: reqwest::Response = api.clone().oneshot(request).await?.into();
    let response = response.error_for_status()?;
    assert!(response.extensions().get().is_some_and(AuthOutcome::replayed), "the answer is that of the replay");

    // With reqwest's feature `json`: `response.json().await?`.
    let echoed: Vec<usize> = serde_json::from_slice(&response.bytes().await?)?;
    assert!(echoed.into_iter().eq(0..ROWS), "all rows came back once, in their order");
    fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(1);

    println!("An upload of {ROWS} rows, as a stream, met a 401: it was sent again, whole, with a new token.");
    println!("{}", fake.transcript());
    Ok(())
}

/// A JSON array, row by row.
fn rows() -> impl Stream<Item = Bytes> + Send {
    let rows = (0..ROWS).map(|row| if row == 0 { row.to_string() } else { format!(",{row}") });
    let pieces = ["[".to_owned()].into_iter().chain(rows).chain(["]".to_owned()]);
    stream::iter(pieces.map(Bytes::from))
}
