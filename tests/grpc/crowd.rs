//! A thousand calls at once.

use tokio::task::JoinSet;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::Serving;

use crate::api::Api;
use crate::{attempt, clients, refused_replayed_forced, unless_it_hangs};

const CROWD: usize = 1_000;

// lessons 3, 4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_a_thousand_calls_on_one_channel_that_are_refused_together_lead_to_one_renewal() {
    let api = Api::start().await;
    let provider = api.provider();
    unless_it_hangs(provider.token()).await.unwrap();
    let client = clients::health(&api, &provider);

    // All have reached the server before their token dies.
    let gate = api.fake.hold_requests();
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let mut client = client.clone();
        crowd.spawn(async move { client.check(HealthCheckRequest::default()).await });
    }
    unless_it_hangs(gate.arrived(CROWD)).await;
    api.fake.revoke_all();
    gate.open();
    for answer in unless_it_hangs(crowd.join_all()).await {
        assert_eq!(answer.unwrap().into_inner().status(), Serving);
    }

    // The session died with the token, so the one renewal took both grants.
    api.fake.expect().client_credentials(2).refresh(1).requests(2 * CROWD).unauthorized(CROWD);
    assert_eq!(refused_replayed_forced(&provider), (CROWD as u64, CROWD as u64, (1, 0)));
    assert_eq!(api.connections(), 1);
    let attempts = api.attempts();
    assert_eq!(attempts.iter().filter(|tried| **tried == attempt(1, &[])).count(), CROWD);
    assert_eq!(attempts.iter().filter(|tried| **tried == attempt(2, &[])).count(), CROWD);
}
