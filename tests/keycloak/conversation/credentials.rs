//! Credentials in `Authorization: Basic`, with and without others in the form.

use super::step::Act::Be;
use super::step::{Authorization, CLIENT_CREDENTIALS, Client, Step, grant, token};

const ONLY_GRANT: &str = "grant_type=client_credentials";

pub(super) const STEPS: &[Step] = &[
    token("Basic", ONLY_GRANT).basic("<id>:<secret>"),
    token("wrong secret", ONLY_GRANT).basic("<id>:wrong"),
    token("empty secret", ONLY_GRANT).basic("<id>:"),
    token("unknown client", ONLY_GRANT).basic("nobody:<secret>"),
    token("no colon", ONLY_GRANT).basic("<id>"),
    token("nothing after the scheme", ONLY_GRANT).authorization(Authorization::As("Basic")),
    token("scheme in lower case", ONLY_GRANT).authorization(Authorization::As("basic <basic>")),
    token("bad percent-encoding", ONLY_GRANT).basic("<id>:%zz"),
    token("bad percent-encoding, form right", CLIENT_CREDENTIALS).basic("<id>:%zz"),
    token("not base64", ONLY_GRANT).authorization(Authorization::As("Basic !!!")),
    token("no grant_type", "a=b").basic("<id>:<secret>"),
    // Together with the form.
    token("Basic wrong, form right", CLIENT_CREDENTIALS).basic("<id>:wrong"),
    token("Basic right, form wrong", "grant_type=client_credentials&client_id=<id>&client_secret=wrong")
        .basic("<id>:<secret>"),
    token("Basic, and its id in the form", "grant_type=client_credentials&client_id=<id>").basic("<id>:<secret>"),
    token("id by Basic, secret by form", "grant_type=client_credentials&client_secret=<secret>").basic("<id>:wrong"),
    token("id by form, secret by Basic", "grant_type=client_credentials&client_id=<id>").basic("nobody:<secret>"),
    token("Bearer, nothing in the form", ONLY_GRANT).authorization(Authorization::As("Bearer nonsense")),
    token("Bearer, credentials in the form", CLIENT_CREDENTIALS).authorization(Authorization::As("Bearer nonsense")),
    // A secret that must be form-encoded.
    grant("special characters in the form").after(&[Be(Client::Special)]),
    token("special characters by Basic, form-encoded first", ONLY_GRANT)
        .authorization(Authorization::EncodedBasic("<id>:<secret>")),
    token("special characters by Basic, as they are", ONLY_GRANT).basic("<id>:<secret>"),
    grant("client_credentials in the end").after(&[Be(Client::App)]),
];
