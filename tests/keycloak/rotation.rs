//! A realm where each refresh token works once, and where one that comes again kills the session.

use std::collections::HashSet;

use neonomics_auth::TokenProvider;

use crate::api::Api;
use crate::load::{Http, Load, allow_sockets, client, unless_it_hangs};
use crate::log::Log;
use crate::server::{CLIENT, Keycloak, credentials};

const REALM: &str = "rotating";
const IN_FLIGHT: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_fifty_renewals_under_load_send_no_refresh_token_twice_and_keep_the_one_session() {
    let Some(keycloak) = Keycloak::alone().await else { return };
    allow_sockets(2 * IN_FLIGHT);
    let before = keycloak.sessions(REALM, CLIENT).await;
    keycloak.operate(&["set", REALM, r#"{"accessTokenLifespan": 2}"#]).await;
    let log = Log::open(&keycloak, REALM).await;
    let api = Api::start(&keycloak, REALM).await;
    let provider = TokenProvider::new(keycloak.environment(REALM, api.origin()), credentials()).unwrap();

    // One session, first under one version of HTTP, then under the other.
    let (mut answered, mut replays) = (0, 0);
    for (http, refreshes) in [(Http::One, 25), (Http::Two, 50)] {
        let load = Load::start(&client(http, &provider), api.origin(), IN_FLIGHT);
        while provider.status().exchanges.refresh_token < refreshes {
            unless_it_hangs(api.accepts(1)).await;
        }
        let totals = load.stop().await;
        totals.assert_none_failed();
        answered += totals.answers[&200];
        replays += totals.replays;
    }
    // On a slow machine a request may be longer on its way than its token lives.
    assert_eq!((api.accepted(), api.refused()), (answered, replays));

    let session = provider.status().session_id.unwrap();
    let mut after = keycloak.sessions(REALM, CLIENT).await;
    after.retain(|session| !before.contains(session));
    assert_eq!(after, [session.as_str()]);
    assert_eq!(api.sessions(), 1);

    // Waits for a renewal that is under way: from here on the counts stand still.
    provider.end_session().await.unwrap();
    let status = provider.status();
    let renewals = [status.renewals.first, status.renewals.due, status.renewals.forced];
    assert!(renewals.iter().all(|tally| tally.failed == 0), "{renewals:?}");
    assert_eq!(status.exchanges.client_credentials, 1);

    // The server's own witness: one login, then only refreshes, each with the token that the one before it brought.
    let events = log.events().await;
    let [login, refreshes @ .., logout] = &events[..] else { panic!("{events:?}") };
    assert_eq!((login.kind(), logout.kind()), ("CLIENT_LOGIN", "LOGOUT"));
    assert!(events.iter().all(|event| event.session() == Some(&session)), "{events:?}");
    assert_eq!(refreshes.len() as u64, status.exchanges.refresh_token);
    let mut next = login.refresh_token();
    let mut sent = HashSet::new();
    for refresh in refreshes {
        assert_eq!(refresh.kind(), "REFRESH_TOKEN", "{refresh:?}");
        assert!(sent.insert(refresh.refresh_token()), "sent twice: {refresh:?}");
        assert_eq!(refresh.refresh_token(), next, "{refresh:?}");
        next = refresh.next_refresh_token();
    }

    log.close().await;
    keycloak.operate(&["set", REALM, r#"{"accessTokenLifespan": 3600}"#]).await;
}
