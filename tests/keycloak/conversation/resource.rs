//! A protected resource: what becomes of the access token.

use super::step::{Step, grant, post, resource};

pub(super) const STEPS: &[Step] = &[
    grant("session"),
    resource("resource", "Bearer <access session>"),
    post("post", "Bearer <access session>"),
    resource("resource, scheme in lower case", "bearer <access session>"),
    resource("resource, scheme in upper case", "BEARER <access session>"),
    resource("resource, no token", ""),
    post("post, no token", ""),
    resource("resource, another scheme", "Basic <basic>"),
    resource("resource, nothing after the scheme", "Bearer"),
    resource("resource, two spaces", "Bearer  <access session>"),
    resource("resource, more than a token", "Bearer <access session> more"),
    resource("resource, garbage", "Bearer garbage"),
    post("post, garbage", "Bearer garbage"),
    resource("resource, signature cut", "Bearer <cut access session>"),
    resource("resource, a refresh token instead", "Bearer <refresh session>"),
    resource("resource, all is well in the end", "Bearer <access session>"),
];
