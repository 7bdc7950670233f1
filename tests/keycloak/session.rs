//! The session's own limits: its maximum, its idle limit, and its end by the client.

use std::time::Duration;

use futures::future::join_all;
use neonomics_auth::{TokenProvider, TokenState};
use tokio::time::sleep;

use crate::api::Api;
use crate::load::{Http, Load, allow_sockets, client, unless_it_hangs};
use crate::log::{Log, kinds};
use crate::server::{CLIENT, Keycloak, credentials};
use crate::wire::{Exchange, Wire, refresh, resource};

const SANDBOX: &str = "sandbox";
const SHORTLIVED: &str = "shortlived";
/// Nothing is sent there.
const NO_API: &str = "http://127.0.0.1:1";
const IN_FLIGHT: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_when_a_session_nears_its_maximum_a_new_one_starts_and_no_request_fails() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * IN_FLIGHT);
    let log = Log::open(&keycloak, SHORTLIVED).await;
    let api = Api::start(&keycloak, SHORTLIVED).await;
    let wire = Wire::new();
    let provider = wire.provider(keycloak.environment(SHORTLIVED, api.origin()), credentials());

    // Two whole lives, of 20 s at most, and the first renewal of a third.
    let load = Load::start(&client(Http::One, &provider), api.origin(), IN_FLIGHT);
    let third_goes_on = |exchanges: &[Exchange]| {
        let sessions = lives(exchanges);
        sessions.len() == 3 && sessions[2].len() == 2
    };
    unless_it_hangs(wire.until(third_goes_on)).await;
    let totals = load.stop().await;
    totals.assert_none_failed();
    assert_eq!((api.accepted(), api.refused()), (totals.answers[&200], totals.replays));
    assert_eq!(api.sessions(), 3);

    provider.end_session().await.unwrap();
    assert_the_counts_agree(&log, &provider, &wire).await;
    let exchanges = wire.exchanges();
    let lives = lives(&exchanges);
    for (ended, next) in lives.iter().zip(&lives[1..]) {
        // 20 s less the last token's 3 s: none was left early.
        let lasted = next[0].sent - ended[0].sent;
        assert!(lasted >= Duration::from_secs(17), "{lasted:?}: {ended:?}");
        // What follows a token of less than half the first one's life is a new session.
        let short = |token: &&Exchange| token.expires_in() * 2 < ended[0].expires_in();
        assert!(!ended[..ended.len() - 1].iter().any(short), "it went on with shorter tokens: {ended:?}");
    }
    // A refresh that came too late costs one exchange, and it is the session's last.
    let refused: Vec<_> = exchanges.iter().filter(|exchange| exchange.status != 200).collect();
    assert!(refused.len() <= 2, "{refused:?}");

    // Lesson 10: none was renewed before 70 % of its life, which bounds the exchanges per minute.
    let tokens: Vec<_> = exchanges.iter().filter(|exchange| exchange.status == 200).collect();
    let (last, renewed) = tokens.split_last().unwrap();
    let lived = Duration::from_secs(renewed.iter().map(|token| token.expires_in()).sum());
    let took = last.sent - wire.opened();
    assert!(took >= lived.mul_f64(0.7), "{} tokens of {lived:?} in {took:?}", tokens.len());

    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_each_session_is_renewed_once_when_the_second_token_lives_less_than_half_as_long() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    let settings = r#"{"accessTokenLifespan": 12, "ssoSessionIdleTimeout": 13, "ssoSessionMaxLifespan": 13}"#;
    keycloak.operate(&["set", SHORTLIVED, settings]).await;
    let log = Log::open(&keycloak, SHORTLIVED).await;
    let api = Api::start(&keycloak, SHORTLIVED).await;
    let wire = Wire::new();
    let provider = wire.provider(keycloak.environment(SHORTLIVED, api.origin()), credentials());

    // Renewed after 8.4 to 9.6 s, a session that ends after 13 s has 5 s left at most, and 3 s at least.
    let load = Load::start(&client(Http::Two, &provider), api.origin(), IN_FLIGHT);
    unless_it_hangs(wire.until(|exchanges| exchanges.len() == 5)).await;
    let totals = load.stop().await;
    totals.assert_none_failed();
    assert_eq!((api.accepted(), api.refused()), (totals.answers[&200], totals.replays));

    provider.end_session().await.unwrap();
    assert_the_counts_agree(&log, &provider, &wire).await;
    let exchanges = wire.exchanges();
    let grants: Vec<_> = exchanges[..5].iter().map(|exchange| (exchange.grant(), exchange.status)).collect();
    let (login, refresh) = (("client_credentials", 200), ("refresh_token", 200));
    assert_eq!(grants, [login, refresh, login, refresh, login]);
    let lives = lives(&exchanges);
    assert_eq!((lives[0].len(), lives[1].len()), (2, 2));
    for life in &lives[..2] {
        assert!(life[1].expires_in() * 2 < life[0].expires_in(), "{life:?}");
        // It was not refused: the refresh token would have worked once more.
        assert!(life[1].refresh_expires_in() > 0, "{life:?}");
    }

    log.close().await;
    let settings = r#"{"accessTokenLifespan": 3, "ssoSessionIdleTimeout": 6, "ssoSessionMaxLifespan": 20}"#;
    keycloak.operate(&["set", SHORTLIVED, settings]).await;
}

#[tokio::test]
async fn d1_end_session_is_the_end_for_the_server_too() {
    let Some(keycloak) = Keycloak::shared().await else { return };
    let wire = Wire::new();
    let provider = wire.provider(keycloak.environment(SANDBOX, NO_API), credentials());
    let token = provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    assert!(keycloak.sessions(SANDBOX, CLIENT).await.contains(&session));
    assert_eq!(resource(&keycloak, SANDBOX, &token).await, 200);

    // Calls at the same time are one end.
    for ended in join_all((0..8).map(|_| provider.end_session())).await {
        ended.unwrap();
    }
    assert_eq!(wire.logouts(), [204]);
    assert_eq!(provider.status().state, TokenState::Ended);
    assert!(!keycloak.sessions(SANDBOX, CLIENT).await.contains(&session));
    assert_eq!(resource(&keycloak, SANDBOX, &token).await, 401);
    let [first] = wire.exchanges().try_into().unwrap();
    let refused = (400, Some("invalid_grant".to_owned()));
    assert_eq!(refresh(&keycloak, SANDBOX, first.refresh_token()).await, refused);

    // A second end has nothing to tell, and a late refusal revives nothing.
    provider.end_session().await.unwrap();
    assert_eq!(wire.logouts(), [204]);
    provider.renew(&token).await.unwrap_err();
    assert_eq!(wire.exchanges().len(), 1);

    // Who asks for a token gets another session.
    let token = provider.token().await.unwrap();
    assert_ne!(provider.status().session_id.unwrap(), session);
    assert_eq!(resource(&keycloak, SANDBOX, &token).await, 200);
    provider.end_session().await.unwrap();
    assert_eq!(wire.logouts(), [204, 204]);
}

#[tokio::test]
async fn d1_a_session_that_the_operator_has_ended_ends_without_complaint() {
    let Some(keycloak) = Keycloak::shared().await else { return };
    let wire = Wire::new();
    let provider = wire.provider(keycloak.environment(SANDBOX, NO_API), credentials());
    let token = provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    keycloak.operate(&["end-session", SANDBOX, &session]).await;
    assert_eq!(resource(&keycloak, SANDBOX, &token).await, 401);

    provider.end_session().await.unwrap();
    assert_eq!(wire.logouts(), [204]);
    assert_eq!(provider.status().state, TokenState::Ended);
}

#[tokio::test]
async fn d1_an_end_that_the_server_refuses_is_an_error_and_forgotten_all_the_same() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    let wire = Wire::new();
    let provider = wire.provider(keycloak.environment(SANDBOX, NO_API), credentials());
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    keycloak.operate(&["disable-client", SANDBOX, CLIENT]).await;
    provider.end_session().await.unwrap_err();
    assert_eq!(wire.logouts(), [401]);
    assert_eq!(provider.status().state, TokenState::Ended);

    // It lives on at the server, and this provider has no way back into it.
    keycloak.operate(&["enable-client", SANDBOX, CLIENT]).await;
    assert!(keycloak.sessions(SANDBOX, CLIENT).await.contains(&session));
    provider.end_session().await.unwrap();
    assert_eq!(wire.logouts(), [401]);
    provider.token().await.unwrap();
    assert_ne!(provider.status().session_id.unwrap(), session);
    provider.end_session().await.unwrap();
    keycloak.operate(&["end-session", SANDBOX, &session]).await;
}

#[tokio::test]
async fn d3_keep_alive_keeps_an_idle_session_beyond_its_idle_limit() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    keycloak.operate(&["set", SHORTLIVED, r#"{"ssoSessionMaxLifespan": 600}"#]).await;
    let log = Log::open(&keycloak, SHORTLIVED).await;
    let environment = || keycloak.environment(SHORTLIVED, NO_API);
    let (wire, control_wire) = (Wire::new(), Wire::new());
    let provider = wire.provider(environment(), credentials());
    let control = control_wire.provider(environment(), credentials());
    control.token().await.unwrap();
    provider.token().await.unwrap();
    let session = provider.status().session_id.unwrap();
    let keep_alive = provider.keep_alive();

    // Three idle limits of 6 s by the server's clock, and nobody asks for a token.
    sleep(Duration::from_secs(19)).await;
    drop(keep_alive);
    assert_eq!(provider.status().session_id.as_deref(), Some(session.as_str()));
    assert!(keycloak.sessions(SHORTLIVED, CLIENT).await.contains(&session));

    // Without it there was no traffic, and the session cannot be continued.
    let [first] = control_wire.exchanges().try_into().unwrap();
    let refused = (400, Some("invalid_grant".to_owned()));
    assert_eq!(refresh(&keycloak, SHORTLIVED, first.refresh_token()).await, refused);
    control.token().await.unwrap();
    assert_ne!(control.status().session_id.as_deref(), Some(first.session()));
    assert_eq!(control.status().exchanges.client_credentials, 2);
    control.end_session().await.unwrap();

    // Each renewal was the keep-alive's, and each continued the session.
    provider.end_session().await.unwrap();
    let status = provider.status();
    let exchanges = wire.exchanges();
    assert!(exchanges.iter().all(|exchange| exchange.status == 200), "{exchanges:?}");
    assert_eq!(lives(&exchanges).len(), 1);
    assert_eq!(status.exchanges.client_credentials, 1);
    assert_eq!(status.renewals.keep_alive.succeeded, status.exchanges.refresh_token);
    assert!(status.exchanges.refresh_token >= 3, "an idle limit is outlived by one renewal at the most");
    let events = log.events().await;
    let refreshes = events.iter().filter(|event| event.kind() == "REFRESH_TOKEN" && event.session() == Some(&session));
    assert_eq!(refreshes.count() as u64, status.exchanges.refresh_token);

    log.close().await;
    keycloak.operate(&["set", SHORTLIVED, r#"{"ssoSessionMaxLifespan": 20}"#]).await;
}

/// The tokens of each session, in the order in which the sessions began.
fn lives(exchanges: &[Exchange]) -> Vec<Vec<&Exchange>> {
    let mut lives: Vec<Vec<&Exchange>> = Vec::new();
    for exchange in exchanges.iter().filter(|exchange| exchange.status == 200) {
        match lives.last_mut().filter(|life| life[0].session() == exchange.session()) {
            Some(life) => life.push(exchange),
            None => lives.push(vec![exchange]),
        }
    }
    lives
}

/// The provider, the wire and the server tell of the same exchanges; no renewal failed.
async fn assert_the_counts_agree(log: &Log<'_>, provider: &TokenProvider, wire: &Wire) {
    let status = provider.status();
    let renewals = [status.renewals.first, status.renewals.due, status.renewals.forced];
    assert!(renewals.iter().all(|tally| tally.failed == 0), "{renewals:?}");
    let exchanges = wire.exchanges();
    let on_the_wire = |grant| exchanges.iter().filter(|exchange| exchange.grant() == grant).count() as u64;
    let events = log.events().await;
    let kinds = kinds(&events);
    let in_the_log = |prefix| kinds.iter().filter(|kind| kind.starts_with(prefix)).count() as u64;
    for (counted, grant, event) in [
        (status.exchanges.client_credentials, "client_credentials", "CLIENT_LOGIN"),
        (status.exchanges.refresh_token, "refresh_token", "REFRESH_TOKEN"),
    ] {
        assert_eq!((on_the_wire(grant), in_the_log(event)), (counted, counted), "{grant}: {kinds:?}");
    }
}
