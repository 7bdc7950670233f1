//! How to test code of your own that calls Neonomics: against scripted answers, and against an embedded Neonomics in
//! which an hour takes no time. Make each of the two functions a `#[tokio::test(start_paused = true)]`.

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{BoxError, Environment, HttpService, NeonomicsAuthLayer, TokenProvider};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

/// The code to be tested: it takes any service, with the layer or without.
async fn bank_names<S>(client: &S, api: &str) -> Result<Vec<String>, BoxError>
where
    S: HttpService<Full<Bytes>, ResponseBody: Body<Error: Into<BoxError>>>,
{
    let request = Request::get(format!("{api}/ics/v3/banks")).header("x-device-id", "a-device").body(Full::default())?;
    let response = client.clone().oneshot(request).await.map_err(Into::into)?;
    if response.status() != StatusCode::OK {
        return Err(format!("no banks: status {}", response.status()).into());
    }
    let body = response.into_body().collect().await.map_err(Into::into)?.to_bytes();
    let banks: Vec<serde_json::Value> = serde_json::from_slice(&body)?;
    Ok(banks.iter().filter_map(|bank| bank["bankDisplayName"].as_str()).map(str::to_owned).collect())
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    scripted_answers().await?;
    an_hour_and_a_revocation().await
}

/// What your code makes of an answer: each is written by the test.
async fn scripted_answers() -> Result<(), BoxError> {
    const API: &str = "https://sandbox.neonomics.io";
    let provider = TokenProvider::fixed(Environment::sandbox(), "a-token")?;
    let (mock, mut api) = tower_test::mock::pair::<Request<Full<Bytes>>, Response<Full<Bytes>>>();
    let client = NeonomicsAuthLayer::new(provider).layer(mock);

    let script = async {
        let (request, answer) = api.next_request().await.expect("a request for the banks");
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer a-token");
        answer.send_response(Response::new(Full::from(r#"[{"bankDisplayName":"First Bank"}]"#)));

        let (_, answer) = api.next_request().await.expect("another one");
        let refused = Response::builder().status(StatusCode::UNAUTHORIZED).body(Full::default());
        answer.send_response(refused.expect("a status is an answer"));
    };
    let calls = async { (bank_names(&client, API).await, bank_names(&client, API).await) };
    let ((), (first, second)) = futures::join!(script, calls);
    assert_eq!(first?, ["First Bank"]);
    assert_eq!(second.expect_err("a fixed token is not renewed").to_string(), "no banks: status 401 Unauthorized");
    println!("Scripted: one answer was understood, one 401 became an error.");
    Ok(())
}

/// What happens to tokens meanwhile. In process, since paused time runs ahead while a task waits for a socket.
async fn an_hour_and_a_revocation() -> Result<(), BoxError> {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(Duration::from_secs(300));
    let provider = fake.provider();
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(fake.clone());

    // Time jumps ahead when there is nothing left to do. `advance` would jump before a renewal that has just begun.
    for _minute in 0..60 {
        assert_eq!(bank_names(&client, fake.origin()).await?.len(), 3);
        sleep(Duration::from_secs(60)).await;
    }
    // Each token is replaced at its fourth minute. Only the first request had to wait.
    fake.expect().client_credentials(1).refresh(14).requests(60).unauthorized(0);
    assert_eq!(provider.status().waited, 1);
    println!("An hour of requests, tokens of five minutes: {} renewals.", provider.status().renewals.due.succeeded);

    // An hour without requests: the token has expired, the next request waits for another.
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bank_names(&client, fake.origin()).await?.len(), 3);
    assert_eq!(provider.status().waited, 2);

    // All sessions are ended: the refresh token is refused as well, and a new session begins.
    fake.revoke_all();
    assert_eq!(bank_names(&client, fake.origin()).await?.len(), 3);
    fake.expect().client_credentials(2).refresh(16).requests(63).unauthorized(1);
    println!("An idle hour and a revocation, and the code under test saw nothing of either.");
    Ok(())
}
