//! The comparison itself: what differs is found, and nothing else. Where both peers are fakes, no server is needed.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::response::Builder;
use neonomics_auth::testing::{FakeNeonomics, Fault};

use super::aspects::Aspect;
use super::difference::Versions::All;
use super::difference::{Difference, difference};
use super::held::Conversation;
use super::peer::Peer;
use super::step::Act::Wait;
use super::step::{Step, grant, resource, token};
use super::{Theme, credentials, grants, logout, meet, operator, refresh, rotation, short_lives};
use crate::server::Keycloak;

const PLAIN: &str =
    r#"{"access_token":"a","expires_in":60,"refresh_expires_in":120,"refresh_token":"r","token_type":"bearer"}"#;

#[tokio::test]
async fn a_planted_difference_is_found() {
    let Some(server) = Keycloak::shared().await else { return };
    let fake = FakeNeonomics::listen().await.unwrap();
    let mut conversation = meet(Theme::Rotation, server, "rotating", &fake);
    fake.set_access_lifetime(Duration::from_secs(3_590));
    conversation.hold(&[grant("shorter")]).await;
    fake.set_access_lifetime(Duration::from_secs(3_600));
    conversation.hold(&[grant("as it should be")]).await;
    fake.set_rotation(false);
    let reuse = token("reuse", "grant_type=refresh_token&<us>&refresh_token=<refresh as it should be>");
    conversation.hold(&[Step { name: "use", ..reuse }, reuse.after(&[Wait(1_100)])]).await;
    fake.fail_exchanges(1, Fault::Answer(Response::builder().status(503).body(Bytes::new()).unwrap()));
    conversation.hold(&[grant("outage")]).await;

    let (held, found) = conversation.end();
    assert_eq!(held, 5);
    // The entries of the table that the rest of the script needs are missed too.
    let found: Vec<_> = found.into_iter().filter(|found| !found.aspects.is_empty()).collect();
    let texts: Vec<_> = found.iter().map(|found| found.text.as_str()).collect();
    assert_eq!(found.len(), 3, "{}", texts.join("\n"));
    assert_eq!(found[0].aspects, [Aspect::ExpiresIn]);
    for part in ["`shorter`", "\"3590\"", "\"access_token\":\"ey", "\"access_token\":\"fake-access-"] {
        assert!(texts[0].contains(part), "{part} in {}", texts[0]);
    }
    assert!(texts[1].contains("Status: Keycloak \"400\", the fake \"200\""), "{}", texts[1]);
    assert!(texts[2].contains("Status: Keycloak \"200\", the fake \"503\""), "{}", texts[2]);
}

/// A head, what becomes of the body, and what must be found of it.
type Plant = (fn() -> Builder, fn(&str) -> String, &'static [Aspect]);

const PLANTS: &[Plant] = &[
    (head, same, &[]),
    (|| head().header("x-more", "may be"), same, &[]),
    (head, |text| text.replace(":60", ":59"), &[]),
    (head, |text| text.replace("\"a\"", "\"b\""), &[]),
    (|| head().status(201), same, &[Aspect::Status]),
    (|| typed("text/json"), same, &[Aspect::ContentType]),
    (|| Response::builder().header(CONTENT_TYPE, "application/json"), same, &[Aspect::CacheControl]),
    (|| head().header(CACHE_CONTROL, "private"), same, &[Aspect::CacheControl]),
    (|| head().header(WWW_AUTHENTICATE, "Bearer realm=\"x\""), same, &[Aspect::Challenge]),
    (|| head().header(RETRY_AFTER, "1"), same, &[Aspect::RetryAfter]),
    (|| head().header(CONNECTION, "close"), same, &[Aspect::Connection]),
    (head, |text| text.replace("\"refresh_token\":\"r\",", ""), &[Aspect::Body]),
    (head, |text| text.replace("\"a\"", "7"), &[Aspect::Body]),
    (head, |text| text.replace(":60", ":60.0"), &[Aspect::Body, Aspect::ExpiresIn]),
    (head, |text| text.replace(":60", ":58"), &[Aspect::ExpiresIn]),
    (head, |text| text.replace(":120", ":122"), &[Aspect::RefreshExpiresIn]),
    (head, |text| text.replace("bearer", "Bearer"), &[Aspect::TokenType]),
    (head, |text| text.replace('{', "{\"error\":\"e\","), &[Aspect::Body, Aspect::Error]),
    (head, |_| "[]".to_owned(), &[Aspect::Body, Aspect::TokenType, Aspect::ExpiresIn, Aspect::RefreshExpiresIn]),
];

#[tokio::test]
async fn every_aspect_is_compared() {
    let [left, right] = two_fakes().await;
    for (index, (planted, change, aspects)) in PLANTS.iter().enumerate() {
        left.fail_exchanges(1, Fault::Answer(head().body(PLAIN.into()).unwrap()));
        right.fail_exchanges(1, Fault::Answer(planted().body(change(PLAIN).into()).unwrap()));
        let mut conversation = between(&left, &right, &[]);
        conversation.hold(&[grant("planted")]).await;
        let found: Vec<_> = conversation.end().1.into_iter().flat_map(|found| found.aspects).collect();
        assert_eq!(found, *aspects, "plant {index}");
    }
}

#[tokio::test]
async fn another_challenge_is_found() {
    let [left, right] = two_fakes().await;
    let refused =
        |challenge: &str| Response::builder().status(401).header(WWW_AUTHENTICATE, challenge).body(Bytes::new());
    let mut conversation = between(&left, &right, &[]);
    for challenge in
        ["Bearer realm=\"b\", error=\"invalid_token\"", "Bearer realm=\"b\"", "DPoP error=\"invalid_token\""]
    {
        left.fail_requests(1, Fault::Answer(refused("Bearer realm=\"a\", error=\"invalid_token\"").unwrap()));
        right.fail_requests(1, Fault::Answer(refused(challenge).unwrap()));
        conversation.hold(&[resource("resource", "Bearer x")]).await;
    }
    let found: Vec<_> = conversation.end().1.into_iter().map(|found| found.aspects).collect();
    assert_eq!(found, [[Aspect::Challenge], [Aspect::Challenge]], "the first one differs in its realm only");
}

#[tokio::test]
async fn another_session_is_found() {
    let [left, right] = two_fakes().await;
    let mut conversation = between(&left, &right, &[]);
    // Two fakes are alike otherwise.
    conversation.hold(refresh::STEPS).await;
    // The one continues its session, the other begins one whenever it is asked to continue.
    for fake in [&left, &right] {
        fake.set_access_lifetime(Duration::from_secs(60));
        fake.set_session_idle(Duration::from_secs(120));
    }
    let members = "{\"session_state\":\"another\",\"not-before-policy\":0,\"scope\":\"any\",";
    right.fail_exchanges(1, Fault::Answer(head().body(PLAIN.replace('{', members).into()).unwrap()));
    let second = token("second", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>");
    conversation.hold(&[second]).await;
    let found: Vec<_> = conversation.end().1.into_iter().flat_map(|found| found.aspects).collect();
    assert_eq!(found, [Aspect::Session]);
}

#[tokio::test]
async fn another_outcome_of_a_race_is_found() {
    let [left, right] = two_fakes().await;
    left.set_rotation(true);
    let mut conversation = between(&left, &right, &[]);
    conversation.hold(&[grant("first")]).await;
    let race = token("race", "grant_type=refresh_token&<us>&refresh_token=<refresh first>").eight_at_once();
    conversation.hold(&[race]).await;
    let (held, found) = conversation.end();
    assert_eq!(held, 2);
    assert_eq!(found[0].aspects, [Aspect::Winners, Aspect::Losers]);
}

/// An entry excuses what it says, once it is needed, and is itself a find if it never is.
#[tokio::test]
async fn the_table_excuses_what_it_names_and_must_be_needed() {
    const TABLE: &[Difference] = &[
        difference(&[Theme::Refresh], All, &["gr*"], Aspect::ExpiresIn, &["3600"], "60", "needed"),
        difference(&[Theme::Refresh], All, &["gr*"], Aspect::ExpiresIn, &["3600"], "70", "stale"),
        difference(&[Theme::Refresh], All, &["other"], Aspect::ExpiresIn, &["3600"], "60", "stale too"),
        difference(&[Theme::Refresh], All, &["gr*"], Aspect::Winners, &["8"], "1", "a race").sometimes(),
        difference(&[Theme::Logout], All, &["gr*"], Aspect::ExpiresIn, &["3600"], "80", "of another theme"),
    ];
    let [left, right] = two_fakes().await;
    let mut conversation = between(&left, &right, TABLE);
    for lifetime in [60, 80] {
        right.set_access_lifetime(Duration::from_secs(lifetime));
        conversation.hold(&[grant("grant")]).await;
    }
    let found = conversation.end().1;
    let texts: Vec<_> = found.iter().map(|found| found.text.as_str()).collect();
    assert_eq!(found.len(), 3, "{texts:?}");
    assert_eq!(found[0].aspects, [Aspect::ExpiresIn], "80 s are excused in another theme only");
    assert!(texts[1].ends_with("stale") && texts[2].ends_with("stale too"), "{texts:?}");
}

#[test]
fn the_scripts_have_more_than_two_hundred_steps() {
    let scripts = [
        grants::GRANTS,
        grants::REFUSALS,
        credentials::STEPS,
        refresh::STEPS,
        super::resource::STEPS,
        logout::STEPS,
        operator::STEPS,
        rotation::STEPS,
        short_lives::FIRST,
        short_lives::REST,
    ];
    assert!(scripts.iter().map(|script| script.len()).sum::<usize>() > 200);
}

fn head() -> Builder {
    typed("application/json")
}

fn typed(content_type: &str) -> Builder {
    Response::builder().header(CONTENT_TYPE, content_type).header(CACHE_CONTROL, "no-store")
}

fn same(text: &str) -> String {
    text.to_owned()
}

async fn two_fakes() -> [FakeNeonomics; 2] {
    [FakeNeonomics::listen().await.unwrap(), FakeNeonomics::listen().await.unwrap()]
}

fn between(left: &FakeNeonomics, right: &FakeNeonomics, table: &'static [Difference]) -> Conversation {
    Conversation::new(Theme::Refresh, "26.7.3", table, Peer::fake(left), Peer::fake(right))
}
