//! Refusals that come back to the caller, and statuses that are none.

use neonomics_auth::{NeonomicsAuthLayer, TokenProvider};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::Layer;

use crate::api::{Api, Manner, REFUSAL};
use crate::clients;
use crate::echo::{EchoClient, Kind};
use crate::{attempt, refused_replayed_forced, unless_it_hangs};

#[tokio::test]
async fn c8_status_16_in_the_trailers_is_the_callers() {
    assert_passed_on(Manner::InTrailers, (Code::Unauthenticated, "in trailers")).await;
}

#[tokio::test]
async fn c8_another_status_in_the_headers_is_the_callers() {
    assert_passed_on(Manner::Forbidden, (Code::PermissionDenied, REFUSAL)).await;
}

/// It comes back as it is; there is no renewal and no second attempt.
async fn assert_passed_on(manner: Manner, expected: (Code, &str)) {
    for kind in Kind::ALL {
        let api = Api::start().await;
        let provider = api.provider();
        let mut client = clients::echo(&api, &provider);
        api.refuse(manner);
        api.fake.refuse_requests(1);
        let status = unless_it_hangs(client.ask(kind)).await.unwrap_err();
        assert_eq!((status.code(), status.message()), expected, "{kind:?}");

        // The next call shows that there is no new token behind it.
        assert_eq!(unless_it_hangs(client.ask(kind)).await.unwrap(), kind.answer());
        assert_eq!(api.attempts(), [attempt(1, &[]), attempt(1, kind.question())]);
        api.fake.expect().client_credentials(1).refresh(0).requests(2).unauthorized(1);
        assert_eq!(refused_replayed_forced(&provider), (0, 0, (0, 0)));
    }
}

#[tokio::test]
async fn c4_a_second_status_16_is_the_callers() {
    for kind in Kind::ALL {
        let api = Api::start().await;
        let provider = api.provider();
        api.fake.refuse_requests(2);
        let status = unless_it_hangs(clients::echo(&api, &provider).ask(kind)).await.unwrap_err();
        assert_refused(&status);
        assert_eq!(api.attempts(), [attempt(1, &[]), attempt(2, &[])], "{kind:?}");
        api.fake.expect().client_credentials(1).refresh(1).requests(2).unauthorized(2);
        assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
    }
}

#[tokio::test]
async fn c5_the_original_refusal_comes_back_when_there_is_no_new_token() {
    let api = Api::start().await;
    let provider = api.provider();
    unless_it_hangs(provider.token()).await.unwrap();
    api.fake.set_client_secret("another");
    api.fake.refuse_requests(1);
    let status = unless_it_hangs(clients::echo(&api, &provider).ask(Kind::Unary)).await.unwrap_err();
    assert_refused(&status);
    // A status has no room for the reason.
    assert!(provider.status().last_error.unwrap().error.is_rejected());
    assert_eq!(api.attempts(), [attempt(1, &[])]);
    assert_eq!(refused_replayed_forced(&provider), (1, 0, (0, 1)));
}

// lesson 24
#[tokio::test]
async fn c6_a_call_over_the_limit_is_sent_once_and_one_renewal_starts_behind_it() {
    for kind in Kind::ALL {
        // What gRPC makes of the messages: 5 bytes before each, 2 before each text.
        let size: usize = kind.question().iter().map(|text| 7 + text.len()).sum();
        for (limit, healed) in [(size, true), (size - 1, false)] {
            let api = Api::start().await;
            let provider = api.provider();
            // Refused when all of it has passed.
            api.refuse(Manner::After(kind.question().len()));
            let mut client = EchoClient::new(clients::limited(&api, &provider, limit));
            if healed {
                api.fake.refuse_requests(1);
                assert_eq!(unless_it_hangs(client.ask(kind)).await.unwrap(), kind.answer());
                assert_eq!(refused_replayed_forced(&provider), (1, 1, (1, 0)));
                continue;
            }
            let refusing = async || client.ask(kind).await.map(drop);
            assert_refused_once(&api, &provider, refusing).await;
            assert_eq!(api.attempts(), [attempt(1, kind.question())], "{kind:?}");
        }
    }
}

#[tokio::test]
async fn c6_without_retry_the_refusal_comes_back_and_one_renewal_starts_behind_it() {
    let api = Api::start().await;
    let provider = api.provider();
    let layer = NeonomicsAuthLayer::new(provider.clone()).without_retry();
    let mut client = HealthClient::new(layer.layer(clients::channel(&api)));
    let refusing = async || client.check(HealthCheckRequest::default()).await.map(drop);
    assert_refused_once(&api, &provider, refusing).await;

    unless_it_hangs(client.check(HealthCheckRequest::default())).await.unwrap();
    assert_eq!(api.attempts(), [attempt(1, &[]), attempt(2, &[])]);
}

/// The call is refused; nobody asks for the renewal that stands at the gate then.
async fn assert_refused_once(api: &Api, provider: &TokenProvider, call: impl AsyncFnOnce() -> Result<(), Status>) {
    let first = unless_it_hangs(provider.token()).await.unwrap();
    let gate = api.fake.hold_exchanges();
    api.fake.refuse_requests(1);
    assert_refused(&unless_it_hangs(call()).await.unwrap_err());
    unless_it_hangs(gate.arrived(1)).await;
    gate.open();
    assert_eq!(unless_it_hangs(provider.renew(&first)).await.unwrap().generation(), 2);
    api.fake.expect().client_credentials(1).refresh(1).requests(1).unauthorized(1);
    assert_eq!(refused_replayed_forced(provider), (1, 0, (1, 0)));
}

fn assert_refused(status: &Status) {
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, REFUSAL));
}
