//! The refresh grant without rotation.

use super::step::{Step, grant, resource, token};

pub(super) const STEPS: &[Step] = &[
    grant("session A"),
    token("refresh", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>"),
    resource("resource, the first access token after the refresh", "Bearer <access session A>"),
    token("the same refresh token again", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>"),
    token("then the new refresh token", "grant_type=refresh_token&<us>&refresh_token=<refresh refresh>"),
    resource("resource, the newest access token", "Bearer <access then the new refresh token>"),
    token("scope of its own", "grant_type=refresh_token&<us>&refresh_token=<refresh refresh>&scope=banqbridge_client"),
    token("credentials by Basic", "grant_type=refresh_token&refresh_token=<refresh refresh>").basic("<id>:<secret>"),
    // Refused.
    token("wider scope", "grant_type=refresh_token&<us>&refresh_token=<refresh refresh>&scope=profile"),
    token("garbage and wider scope", "grant_type=refresh_token&<us>&refresh_token=garbage&scope=profile"),
    token("no token", "grant_type=refresh_token&<us>"),
    token("no token and wrong secret", "grant_type=refresh_token&client_id=<id>&client_secret=wrong"),
    token("empty token", "grant_type=refresh_token&<us>&refresh_token="),
    token("garbage", "grant_type=refresh_token&<us>&refresh_token=garbage"),
    token("an access token instead", "grant_type=refresh_token&<us>&refresh_token=<access session A>"),
    token("signature cut", "grant_type=refresh_token&<us>&refresh_token=<cut refresh refresh>"),
    token(
        "wrong secret",
        "grant_type=refresh_token&client_id=<id>&client_secret=wrong&refresh_token=<refresh refresh>",
    ),
    token(
        "unknown client",
        "grant_type=refresh_token&client_id=nobody&client_secret=<secret>&refresh_token=<refresh refresh>",
    ),
    token("no credentials", "grant_type=refresh_token&refresh_token=<refresh refresh>"),
    token(
        "refresh token twice",
        "grant_type=refresh_token&<us>&refresh_token=<refresh refresh>&refresh_token=<refresh refresh>",
    ),
    // What was refused has consumed nothing, and another grant takes no notice of a refresh token.
    token("refresh after the refusals", "grant_type=refresh_token&<us>&refresh_token=<refresh refresh>"),
    token("client_credentials with a refresh token", "grant_type=client_credentials&<us>&refresh_token=garbage"),
    token("eight at once", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>").eight_at_once(),
    resource("resource, a winner's access token", "Bearer <access eight at once>"),
    token("a winner's refresh token", "grant_type=refresh_token&<us>&refresh_token=<refresh eight at once>"),
    token("the refresh token of the race", "grant_type=refresh_token&<us>&refresh_token=<refresh session A>"),
];
