//! The realm's event log: what the server says it was asked for, and by which session.

use serde_json::{Value, json};

use crate::server::{CLIENT, Keycloak};

/// Kept while this is open; whoever opens it is alone at the server.
pub(crate) struct Log<'a> {
    keycloak: &'a Keycloak,
    realm: &'a str,
}

#[derive(Debug)]
pub(crate) struct Event(Value);

impl<'a> Log<'a> {
    pub(crate) async fn open(keycloak: &'a Keycloak, realm: &'a str) -> Self {
        let log = Self { keycloak, realm };
        // Refreshes are not kept unless they are named.
        log.keep(&["CLIENT_LOGIN", "CLIENT_LOGIN_ERROR", "REFRESH_TOKEN", "REFRESH_TOKEN_ERROR", "LOGOUT"]).await;
        keycloak.operate(&["clear-events", realm]).await;
        log
    }

    /// What [`CLIENT`] did, in the order in which it was done.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let events = self.keycloak.events(self.realm).await.into_iter().rev();
        events.filter(|event| event["clientId"] == CLIENT).map(Event).collect()
    }

    pub(crate) async fn close(self) {
        self.keep(&[]).await;
        self.keycloak.operate(&["clear-events", self.realm]).await;
    }

    async fn keep(&self, kinds: &[&str]) {
        let settings = json!({ "eventsEnabled": !kinds.is_empty(), "enabledEventTypes": kinds });
        self.keycloak.operate(&["set", self.realm, &settings.to_string()]).await;
    }
}

impl Event {
    pub(crate) fn kind(&self) -> &str {
        self.0["type"].as_str().expect("an event has a type")
    }

    pub(crate) fn session(&self) -> Option<&str> {
        self.0["sessionId"].as_str()
    }

    /// The name of the refresh token that was sent; at a login, of the one that was given out.
    pub(crate) fn refresh_token(&self) -> &str {
        self.0["details"]["refresh_token_id"].as_str().expect("the event names its refresh token")
    }

    /// The name of the refresh token that was given out for it.
    pub(crate) fn next_refresh_token(&self) -> &str {
        self.0["details"]["updated_refresh_token_id"].as_str().expect("the event names the next refresh token")
    }
}

/// The kinds of the events, in their order.
pub(crate) fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::kind).collect()
}
