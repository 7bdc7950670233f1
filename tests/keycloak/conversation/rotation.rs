//! Every refresh token works once. Reuse shows in a later second than the last refresh only, hence the waiting.

use super::step::Act::Wait;
use super::step::{Step, grant, logout, resource, token};

pub(super) const STEPS: &[Step] = &[
    grant("first"),
    token("second", "grant_type=refresh_token&<us>&refresh_token=<refresh first>").after(&[Wait(1_100)]),
    token("third", "grant_type=refresh_token&<us>&refresh_token=<refresh second>").after(&[Wait(1_100)]),
    resource("resource, newest access token", "Bearer <access third>"),
    token("an older token", "grant_type=refresh_token&<us>&refresh_token=<refresh first>").after(&[Wait(1_100)]),
    resource("resource, newest access token after that", "Bearer <access third>"),
    token("newest refresh token after that", "grant_type=refresh_token&<us>&refresh_token=<refresh third>"),
    logout("logout after that", "<us>&refresh_token=<refresh third>"),
    grant("session Z"),
    token("session Z refreshed", "grant_type=refresh_token&<us>&refresh_token=<refresh session Z>"),
    token("the token just used", "grant_type=refresh_token&<us>&refresh_token=<refresh session Z>")
        .after(&[Wait(1_100)]),
    resource("resource, after the reuse", "Bearer <access session Z refreshed>"),
    token(
        "newest refresh token after the reuse",
        "grant_type=refresh_token&<us>&refresh_token=<refresh session Z refreshed>",
    ),
    grant("session B"),
    token("session B refreshed", "grant_type=refresh_token&<us>&refresh_token=<refresh session B>"),
    logout("logout with the used refresh token", "<us>&refresh_token=<refresh session B>"),
    resource("resource, after that logout", "Bearer <access session B refreshed>"),
    token(
        "newest refresh token after that logout",
        "grant_type=refresh_token&<us>&refresh_token=<refresh session B refreshed>",
    ),
    grant("session C"),
    token(
        "wrong secret",
        "grant_type=refresh_token&client_id=<id>&client_secret=wrong&refresh_token=<refresh session C>",
    ),
    token("garbage", "grant_type=refresh_token&<us>&refresh_token=garbage"),
    token("session C refreshed after all", "grant_type=refresh_token&<us>&refresh_token=<refresh session C>"),
    // Whoever wins has lost: the other seven are reuse.
    grant("session E"),
    token("eight at once", "grant_type=refresh_token&<us>&refresh_token=<refresh session E>").eight_at_once(),
    resource("resource, a winner's access token", "Bearer <access eight at once>"),
    token("a winner's refresh token", "grant_type=refresh_token&<us>&refresh_token=<refresh eight at once>"),
    token("the refresh token of the race", "grant_type=refresh_token&<us>&refresh_token=<refresh session E>"),
    resource("resource, the first access token", "Bearer <access session E>"),
];
