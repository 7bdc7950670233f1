//! Many refusals: one renewal for all of them, and a limited number of renewals altogether (C3, C9).

use std::future::{Ready, ready};
use std::time::Duration;

use futures::future::join_all;
use http::{Request, Response, StatusCode};
use neonomics_auth::testing::{FakeBody, FakeNeonomics};
use neonomics_auth::{AuthOutcome, BoxError, NeonomicsAuth, TokenProvider};
use tokio::task::JoinSet;
use tokio::time::advance;
use tower::{ServiceExt, service_fn};

use crate::wire::{Told, echo, forced, in_time, told};

type Client = NeonomicsAuth<FakeNeonomics>;
type Answers = JoinSet<Result<Response<FakeBody>, BoxError>>;

// lessons 3, 4
#[tokio::test(start_paused = true)]
async fn c3_a_thousand_concurrent_401s_cost_one_renewal_and_all_are_replayed() {
    let (fake, provider, client) = warm().await;

    // All are under way with the first token when it is revoked.
    let gate = fake.hold_requests();
    let answers = send(&fake, &client, 1_000);
    in_time(gate.arrived(1_000)).await;
    fake.revoke_all();
    gate.open();

    assert_all_replayed(answers, 1_000).await;
    assert_one_renewal(&fake, &provider);
}

// lessons 3, 4
#[tokio::test(start_paused = true)]
async fn c3_a_thousand_late_and_staggered_401s_cost_one_renewal_and_all_are_replayed() {
    let (fake, provider, client) = warm().await;

    // A hundred gates with ten requests each, all of them with the first token.
    let mut held = Vec::new();
    for _ in 0..100 {
        let gate = fake.hold_requests();
        let answers = send(&fake, &client, 10);
        in_time(gate.arrived(10)).await;
        held.push((gate, answers));
    }
    // Second attempts are not held.
    fake.hold_requests().open();
    fake.revoke_all();

    // Gate by gate: all but the first ten learn long after the renewal that the first token was refused.
    for (gate, answers) in held {
        gate.open();
        assert_all_replayed(answers, 10).await;
        advance(Duration::from_secs(1)).await;
    }
    assert_one_renewal(&fake, &provider);
}

// lessons 3, 4
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c3_a_thousand_401s_on_several_threads_cost_one_renewal_and_all_are_replayed() {
    let (fake, provider, client) = warm().await;

    // Half of them are refused at once and half afterwards, on whichever thread.
    let early_gate = fake.hold_requests();
    let early = send(&fake, &client, 500);
    early_gate.arrived(500).await;
    let late_gate = fake.hold_requests();
    let late = send(&fake, &client, 500);
    late_gate.arrived(500).await;
    fake.hold_requests().open();
    fake.revoke_all();

    early_gate.open();
    assert_all_replayed(early, 500).await;
    late_gate.open();
    assert_all_replayed(late, 500).await;
    assert_one_renewal(&fake, &provider);
}

async fn warm() -> (FakeNeonomics, TokenProvider, Client) {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let client = NeonomicsAuth::new(fake.clone(), provider.clone());
    (fake, provider, client)
}

fn send(fake: &FakeNeonomics, client: &Client, n: usize) -> Answers {
    let mut answers = Answers::new();
    for _ in 0..n {
        answers.spawn(client.clone().oneshot(echo(fake, "the body".to_owned())));
    }
    answers
}

async fn assert_all_replayed(mut answers: Answers, n: usize) {
    assert_eq!(answers.len(), n);
    while let Some(answer) = answers.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(told(&answer), Some(Told::replayed()));
    }
}

/// A thousand first attempts, a thousand replays. The revocation took the refresh token too, so that the one renewal
/// made two exchanges.
#[track_caller]
fn assert_one_renewal(fake: &FakeNeonomics, provider: &TokenProvider) {
    fake.expect().client_credentials(2).refresh(1).requests(2_000).unauthorized(1_000);
    let status = provider.status();
    assert_eq!((status.refusals, status.replays, forced(provider)), (1_000, 1_000, (1, 0)));
    assert_eq!(status.waited, 0);
}

// An API that refuses on and on

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_an_api_that_always_refuses_costs_ten_renewals_in_the_first_minute_and_69_in_the_first_hour() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let client = NeonomicsAuth::new(service_fn(refuse), provider.clone());

    for second in 0_u64..3_600 {
        // Five at a time share one renewal, if there is one to be had: the burst of ten, then one each minute.
        let renewed = second < 10 || (second >= 60 && second % 60 == 0);
        let load = (0..5).map(|_| client.clone().oneshot(echo(&fake, String::new())));
        for response in join_all(load).await {
            let response = response.unwrap();
            // The second 401 after a renewal, else the original one with the cause and the time of the next.
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            let outcome = response.extensions().get::<AuthOutcome>().unwrap();
            assert_eq!(outcome.replayed(), renewed, "second {second}");
            let next = outcome.renewal_error().map(|error| error.retry_after().unwrap());
            assert_eq!(next, (!renewed).then(|| Duration::from_secs(60 - second % 60)));
        }
        if second == 59 {
            assert_eq!(forced(&provider), (10, 0), "the first minute");
        }
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(forced(&provider), (69, 0), "the first hour");
    // No other renewal was hidden among them.
    fake.expect().client_credentials(1).refresh(69).requests(0);
    assert_eq!(provider.status().replays, 69 * 5);

    // The 70th is there when the hour is over.
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(told(&response), Some(Told::replayed()));
    assert_eq!(forced(&provider), (70, 0));
}

fn refuse(_: Request<String>) -> Ready<Result<Response<()>, BoxError>> {
    ready(Ok(Response::builder().status(StatusCode::UNAUTHORIZED).body(()).unwrap()))
}

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_ten_honest_revocations_within_five_seconds_are_seen_by_no_caller() {
    let (fake, provider, client) = warm().await;

    for round in 0..10 {
        let gate = fake.hold_requests();
        let answers = send(&fake, &client, 50);
        in_time(gate.arrived(50)).await;
        fake.revoke_all();
        gate.open();
        assert_all_replayed(answers, 50).await;
        assert_eq!(forced(&provider), (round + 1, 0));
        advance(Duration::from_millis(500)).await;
    }
    fake.expect().client_credentials(11).refresh(10).requests(1_000).unauthorized(500);

    // The eleventh within the minute is one too many: the caller learns when it can be healed.
    fake.revoke_all();
    let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let error = response.extensions().get::<AuthOutcome>().unwrap().renewal_error().unwrap();
    assert_eq!(
        error.to_string(),
        "the API refuses one fresh token after another: check that no proxy strips `authorization`, and that \
         the token's realm is that of the API; next attempt in 55 s"
    );
    let wait = error.retry_after().unwrap();
    fake.expect().client_credentials(11).refresh(10).requests(1_001);

    // Then it is.
    advance(wait).await;
    let response = client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!((response.status(), told(&response)), (StatusCode::OK, Some(Told::replayed())));
    assert_eq!(forced(&provider), (11, 0));
}

// Each right after a renewal

// lesson 42
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn c1_four_hundred_refusals_back_to_back_are_all_healed_on_several_threads() {
    // Forty providers with ten each: so many renewals may follow one another at once.
    let mut providers = JoinSet::new();
    for _ in 0..40 {
        providers.spawn(async {
            let fake = FakeNeonomics::new();
            let provider = fake.provider();
            let client = NeonomicsAuth::new(fake.clone(), provider.clone());
            for _ in 0..10 {
                // The first comes right after the first token, each other right after the renewal before it, when the
                // task of that renewal may not have ended.
                fake.refuse_requests(1);
                let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert!(told(&response).unwrap().replayed);
            }
            assert_eq!(forced(&provider), (10, 0));
            fake.expect().client_credentials(1).refresh(10).requests(20).unauthorized(10);
        });
    }
    assert_eq!(providers.join_all().await.len(), 40);
}

// lesson 42
#[tokio::test(start_paused = true)]
async fn c1_four_hundred_refusals_each_right_after_the_renewal_of_an_expired_token_are_all_healed() {
    let fake = FakeNeonomics::new();
    let lifetime = Duration::from_secs(60);
    fake.set_access_lifetime(lifetime);
    let provider = fake.provider();
    let client = NeonomicsAuth::new(fake.clone(), provider.clone());

    for _ in 0..400 {
        // The token has expired: the request waits for a renewal, and the token that it brought is refused at once.
        fake.refuse_requests(1);
        let response = client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(told(&response), Some(Told { replayed: true, waited: true, ..Told::default() }));
        advance(lifetime).await;
    }
    let renewals = provider.status().renewals;
    assert_eq!((renewals.first.succeeded, renewals.forced.succeeded), (400, 400));
    assert_eq!((renewals.first.failed, renewals.forced.failed), (0, 0));
    // All of them in one session: no renewal lost what the one before it had left.
    fake.expect().client_credentials(1).refresh(799).requests(800).unauthorized(400);
}
