//! One conversation, held step by step with Keycloak and with `FakeNeonomics` on its port, by the same raw client: the
//! fake answers as the real server does, but for what table.rs says.

mod aspects;
mod credentials;
mod difference;
mod grants;
mod held;
mod logout;
mod operator;
mod peer;
mod planted;
mod refresh;
mod resource;
mod rotation;
mod short_lives;
mod step;
mod table;
mod wire;

use neonomics_auth::testing::FakeNeonomics;

use self::held::Conversation;
use self::peer::Peer;
use self::step::Step;
use self::table::TABLE;
use crate::server::Keycloak;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Grants,
    Basic,
    Refresh,
    Resource,
    Logout,
    Operator,
    Rotation,
    ShortLives,
    Gateway,
}

#[tokio::test]
async fn conversation_grants_and_refusals() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Grants, server, "sandbox", &[grants::GRANTS, grants::REFUSALS]).await.agree(49);
}

#[tokio::test]
async fn conversation_basic_credentials() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Basic, server, "sandbox", &[credentials::STEPS]).await.agree(22);
}

#[tokio::test]
async fn conversation_refresh() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Refresh, server, "sandbox", &[refresh::STEPS]).await.agree(26);
}

#[tokio::test]
async fn conversation_resource() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Resource, server, "sandbox", &[resource::STEPS]).await.agree(16);
}

#[tokio::test]
async fn conversation_logout() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Logout, server, "sandbox", &[logout::STEPS]).await.agree(35);
}

/// Alone: it changes the realm and its client, and undoes it.
#[tokio::test]
async fn conversation_operator() {
    let Some(server) = Keycloak::alone().await else { return };
    let mut conversation = hold(Theme::Operator, server, "sandbox", &[operator::STEPS]).await;
    conversation.act(operator::UNDO).await;
    conversation.agree(48);
}

#[tokio::test]
async fn conversation_rotation() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Rotation, server, "rotating", &[rotation::STEPS]).await.agree(28);
}

/// Lifetimes of seconds: access 3, idle 6, session 20.
#[tokio::test]
async fn conversation_short_lives() {
    let Some(server) = Keycloak::shared().await else { return };
    let mut conversation = hold(Theme::ShortLives, server, "shortlived", &[short_lives::FIRST]).await;
    let series = conversation.series(&short_lives::SERIES, 18).await;
    conversation.hold(short_lives::REST).await;
    conversation.agree(1 + 18 + 14);

    // Refreshing does not extend the session: both lifetimes have shrunk, the refresh token's first.
    let (first, last) = (series[0], series[17]);
    assert!(first.1 > 3 && last.1 < 3 && last.0 < 3, "{series:?}");
}

/// In front of Neonomics every error of the token endpoint has status 510; the rest of the answer is Keycloak's.
#[tokio::test]
async fn conversation_through_the_gateway() {
    let Some(server) = Keycloak::shared().await else { return };
    hold(Theme::Gateway, server, "sandbox", &[grants::REFUSALS]).await.agree(44);
}

async fn hold(theme: Theme, server: Keycloak, realm: &'static str, scripts: &[&[Step]]) -> Conversation {
    let fake = FakeNeonomics::listen().await.unwrap();
    let mut conversation = meet(theme, server, realm, &fake);
    for script in scripts {
        conversation.hold(script).await;
    }
    conversation
}

/// Both peers, the fake set as the realm is.
fn meet(theme: Theme, server: Keycloak, realm: &'static str, fake: &FakeNeonomics) -> Conversation {
    fake.set_gateway(theme == Theme::Gateway);
    fake.set_rotation(theme == Theme::Rotation);
    if theme == Theme::ShortLives {
        short_lives::set(fake);
    }
    let version = server.version().to_owned();
    Conversation::new(theme, &version, TABLE, Peer::keycloak(server, realm), Peer::fake(fake))
}
