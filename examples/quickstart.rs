//! The main job, shown with counts: one token for a thousand requests, a revocation healed while a thousand requests
//! are in flight, a renewal that no request waits for, and the end of the session.
//!
//! Runs on an embedded Neonomics. With `NEONOMICS_CLIENT_ID` and `NEONOMICS_CLIENT_SECRET` set it fetches the banks of
//! the real sandbox instead.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{
    AuthOutcome, BoxError, Credentials, Environment, NeonomicsAuthLayer, ReqwestService, TokenProvider,
};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt};
use tower_http::trace::TraceLayer;

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;
type Api = BoxCloneService<Request<Full<Bytes>>, Answer, BoxError>;

const IN_FLIGHT: usize = 1_000;

#[tokio::main]
async fn main() -> ExitCode {
    let shown = match std::env::var_os("NEONOMICS_CLIENT_ID") {
        Some(_) => sandbox().await,
        None => embedded().await,
    };
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// The real thing: the lines that a user writes.
async fn sandbox() -> Result<(), BoxError> {
    let provider = TokenProvider::new(Environment::sandbox(), Credentials::from_env()?)?;
    let client = ServiceBuilder::new()
        .timeout(Duration::from_secs(30))
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .service(ReqwestService::new(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?));

    let banks = client.oneshot(banks("https://sandbox.neonomics.io")?).await?;
    println!("The sandbox answered {} to the request for its banks.", banks.status());
    println!("{}", String::from_utf8_lossy(&banks.into_body().collect().await?.to_bytes()));
    provider.end_session().await?;
    println!("The session is ended.");
    Ok(())
}

/// The embedded one: it can be told to misbehave, and it counts.
async fn embedded() -> Result<(), BoxError> {
    let fake = FakeNeonomics::listen().await?;
    let provider = fake.provider();
    // HTTP/2, so that a thousand requests need no thousand sockets.
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let client: Api = ServiceBuilder::new()
        .boxed_clone()
        .map_response(|answer: Response<_>| answer.map(BodyExt::boxed_unsync))
        .timeout(Duration::from_secs(30))
        .layer(NeonomicsAuthLayer::new(provider.clone()))
        .layer(TraceLayer::new_for_http())
        .service(http);
    println!("An embedded Neonomics listens at {}.\n", fake.origin());

    let answer = client.clone().oneshot(banks(fake.origin())?).await?;
    ensure("the banks are answered with 200", answer.status() == StatusCode::OK)?;
    let banks: Vec<serde_json::Value> = serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?;
    let names: Vec<_> = banks.iter().filter_map(|bank| bank["bankDisplayName"].as_str()).collect();
    println!("Its banks: {}.\n", names.join(", "));

    one_token_for_all(&fake, &client).await?;
    revocation_is_healed(&fake, &client).await?;
    renewal_goes_unnoticed(&fake, &client, &provider).await?;

    let before = fake.counts().client_credentials + fake.counts().refresh;
    provider.end_session().await?;
    ensure("no session is left at the server", fake.sessions() == 0)?;
    ensure("ending it took no exchange", fake.counts().client_credentials + fake.counts().refresh == before)?;
    println!("4. The session was ended: the server holds none any more.\n\nEvery count was as promised.");
    Ok(())
}

async fn one_token_for_all(fake: &FakeNeonomics, client: &Api) -> Result<(), BoxError> {
    let before = fake.counts();
    let answers = try_join_all((0..IN_FLIGHT).map(|_| send(client, fake))).await?;
    ensure("all are answered with 200", answers.iter().all(|answer| answer.status() == StatusCode::OK))?;
    ensure("no exchange was made", exchanges(fake) == before.client_credentials + before.refresh)?;
    println!("1. {IN_FLIGHT} concurrent requests went out with one token: {} token request in all.", exchanges(fake));
    Ok(())
}

async fn revocation_is_healed(fake: &FakeNeonomics, client: &Api) -> Result<(), BoxError> {
    let (requests, refused, made) = (fake.counts().requests, fake.counts().unauthorized, exchanges(fake));
    // All stand at the API when their token is revoked there, so that each gets a 401.
    let gate = fake.hold_requests();
    let revoke = async {
        gate.arrived(IN_FLIGHT).await;
        fake.revoke_all();
        gate.open();
    };
    let (answers, ()) = futures::join!(join_all((0..IN_FLIGHT).map(|_| send(client, fake))), revoke);

    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let replayed = answers.iter().filter(|answer| answer.extensions().get().is_some_and(AuthOutcome::replayed)).count();
    ensure("all are answered with 200", answers.iter().all(|answer| answer.status() == StatusCode::OK))?;
    ensure("each was refused once", fake.counts().unauthorized - refused == IN_FLIGHT)?;
    ensure("each was sent twice", replayed == IN_FLIGHT && fake.counts().requests - requests == 2 * IN_FLIGHT)?;
    // The session is gone too: its refresh token is tried, then a new session begins.
    ensure("one renewal: refresh token, then client credentials", exchanges(fake) - made == 2)?;
    println!(
        "2. The token was revoked while {IN_FLIGHT} requests were in flight: one renewal, {replayed} replays, no failure."
    );
    Ok(())
}

async fn renewal_goes_unnoticed(fake: &FakeNeonomics, client: &Api, provider: &TokenProvider) -> Result<(), BoxError> {
    // The tokens of the next session live 5 seconds and turn stale after 3.5 to 4.
    fake.set_access_lifetime(Duration::from_secs(5));
    fake.revoke_all();
    send(client, fake).await?;
    let (generation, waited) = (provider.token().await?.generation(), provider.status().waited);
    let mut sent = 0;
    while provider.token().await?.generation() == generation {
        let answers = try_join_all((0..50).map(|_| send(client, fake))).await?;
        ensure("all are answered with 200", answers.iter().all(|answer| answer.status() == StatusCode::OK))?;
        sent += answers.len();
    }
    let entered = provider.status().waited - waited;
    ensure("no request entered its waiting state", entered == 0)?;
    println!("3. The token was replaced while {sent} requests went through: {entered} of them waited for it.");
    Ok(())
}

async fn send(client: &Api, fake: &FakeNeonomics) -> Result<Answer, BoxError> {
    client.clone().oneshot(banks(fake.origin())?).await
}

fn banks(origin: &str) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::get(format!("{origin}/ics/v3/banks")).header("x-device-id", "quickstart").body(Full::default())
}

fn exchanges(fake: &FakeNeonomics) -> usize {
    fake.counts().client_credentials + fake.counts().refresh
}

fn ensure(what: &str, holds: bool) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(format!("not so: {what}").into()) }
}
