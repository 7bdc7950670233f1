//! Logout: what ends a session, and what does not.

use super::step::{Step, grant, logout, resource, token};

pub(super) const STEPS: &[Step] = &[
    grant("session B"),
    // Refused.
    logout("wrong secret", "client_id=<id>&client_secret=wrong&refresh_token=<refresh session B>"),
    logout("unknown client", "client_id=nobody&client_secret=<secret>&refresh_token=<refresh session B>"),
    logout("no credentials", "refresh_token=<refresh session B>"),
    logout("client_id without secret", "client_id=<id>&refresh_token=<refresh session B>"),
    logout("garbage", "<us>&refresh_token=garbage"),
    logout("garbage and wrong secret", "client_id=<id>&client_secret=wrong&refresh_token=garbage"),
    logout("empty token", "<us>&refresh_token="),
    logout("an access token instead", "<us>&refresh_token=<access session B>"),
    logout("signature cut", "<us>&refresh_token=<cut refresh session B>"),
    logout("bad percent-encoding", "<us>&refresh_token=%zz"),
    logout("Basic with bad percent-encoding", "refresh_token=<refresh session B>").basic("<id>:%zz"),
    logout("unknown realm", "<us>&refresh_token=<refresh session B>").realm("nowhere"),
    logout("PUT", "").method("PUT"),
    // A page, and nothing ended.
    logout("no token", "<us>"),
    logout("no token and wrong secret", "client_id=<id>&client_secret=wrong"),
    logout("no token and no credentials", ""),
    logout("no content type", "<us>&refresh_token=<refresh session B>").without_content_type(),
    logout("JSON body", "").content_type("application/json").raw(r#"{"refresh_token": "<refresh session B>"}"#),
    logout("GET", "").method("GET"),
    logout("GET, all in the query", "").method("GET").query("?<us>&refresh_token=<refresh session B>"),
    resource("resource, after all these", "Bearer <access session B>"),
    // Ended.
    logout("logout", "<us>&refresh_token=<refresh session B>"),
    logout("logout again", "<us>&refresh_token=<refresh session B>"),
    token("refresh after logout", "grant_type=refresh_token&<us>&refresh_token=<refresh session B>"),
    resource("resource after logout", "Bearer <access session B>"),
    grant("session C"),
    logout("credentials by Basic", "refresh_token=<refresh session C>").basic("<id>:<secret>"),
    grant("session D"),
    grant("session E"),
    token("session D refreshed", "grant_type=refresh_token&<us>&refresh_token=<refresh session D>"),
    logout("with the older refresh token, and a parameter twice", "<us>&refresh_token=<refresh session D>&a=1&a=2"),
    token("refresh with the newer one", "grant_type=refresh_token&<us>&refresh_token=<refresh session D refreshed>"),
    resource("resource, the newer access token", "Bearer <access session D refreshed>"),
    resource("resource, another session", "Bearer <access session E>"),
];
