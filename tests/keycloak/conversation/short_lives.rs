//! Expiry in real time: access tokens of 3 s, refresh tokens of 6 s, sessions of 20 s.

use std::time::Duration;

use neonomics_auth::testing::FakeNeonomics;

use super::step::Act::Wait;
use super::step::{Step, grant, logout, post, resource, token};

pub(super) const FIRST: &[Step] = &[grant("session A")];

/// Held once a second.
pub(super) const SERIES: Step = token("session A", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>");

pub(super) const REST: &[Step] = &[
    // 4 s on, even a session that began late in its second is over.
    token("refresh, session over", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>")
        .after(&[Wait(4_000)]),
    resource("resource, session over", "Bearer <access session A>"),
    logout("logout, session over", "<us>&refresh_token=<refresh session A>"),
    // The last second of an access token is Keycloak's alone: it says `now > exp`, the fake `now >= exp`.
    grant("session B"),
    grant("session C"),
    resource("resource, expired token", "Bearer <access session B>").after(&[Wait(4_000)]),
    post("post, expired token", "Bearer <access session B>"),
    token("refresh, access token expired", "grant_type=refresh_token&<us>&refresh_token=<refresh session B>"),
    token("older refresh token expired", "grant_type=refresh_token&<us>&refresh_token=<refresh session B>")
        .after(&[Wait(3_500)]),
    token("newer refresh token", "grant_type=refresh_token&<us>&refresh_token=<refresh refresh, access token expired>"),
    token("refresh, refresh token expired", "grant_type=refresh_token&<us>&refresh_token=<refresh session C>"),
    resource("resource, session expired", "Bearer <access session C>"),
    logout("logout, refresh token expired", "<us>&refresh_token=<refresh session C>"),
    logout("logout again", "<us>&refresh_token=<refresh session C>"),
];

pub(super) fn set(fake: &FakeNeonomics) {
    fake.set_access_lifetime(Duration::from_secs(3));
    fake.set_session_idle(Duration::from_secs(6));
    fake.set_session_maximum(Duration::from_secs(20));
}
