//! Client-credentials grants, and what the token endpoint says to requests that are wrong.

use super::step::Act::Be;
use super::step::{CLIENT_CREDENTIALS, Client, Step, grant, token};

pub(super) const GRANTS: &[Step] = &[
    grant("client_credentials"),
    grant("client_credentials again"),
    token("client_credentials, scope of its own", "grant_type=client_credentials&<us>&scope=banqbridge_client"),
    grant("client_credentials, refresh tokens off").after(&[Be(Client::NoRefresh)]),
    grant("client_credentials, refresh tokens on again").after(&[Be(Client::App)]),
];

pub(super) const REFUSALS: &[Step] = &[
    // Who asks.
    token("wrong secret", "grant_type=client_credentials&client_id=<id>&client_secret=wrong"),
    token("unknown client", "grant_type=client_credentials&client_id=nobody&client_secret=<secret>"),
    token("missing secret", "grant_type=client_credentials&client_id=<id>"),
    token("empty secret", "grant_type=client_credentials&client_id=<id>&client_secret="),
    token("secret without a value", "grant_type=client_credentials&client_id=<id>&client_secret"),
    token("missing client_id", "grant_type=client_credentials&client_secret=<secret>"),
    token("empty client_id", "grant_type=client_credentials&client_id=&client_secret=<secret>"),
    token("client_id after a space", "grant_type=client_credentials&client_id=+<id>&client_secret=<secret>"),
    token("credentials in the query", "grant_type=client_credentials").query("?<us>"),
    token("secret of 100,000 characters", "grant_type=client_credentials&client_id=<id>&client_secret=<long>"),
    // What is asked.
    token("missing grant_type", "<us>"),
    token("missing grant_type and wrong secret", "client_id=<id>&client_secret=wrong"),
    token("empty grant_type", "grant_type=&<us>"),
    token("unknown grant_type", "grant_type=nonsense&<us>"),
    token("unknown grant_type and wrong secret", "grant_type=nonsense&client_id=<id>&client_secret=wrong"),
    token("grant_type in upper case", "grant_type=CLIENT_CREDENTIALS&<us>"),
    token("name of grant_type in upper case", "GRANT_TYPE=client_credentials&<us>"),
    token("unknown scope", "grant_type=client_credentials&<us>&scope=nonsense"),
    token(
        "unknown scope and wrong secret",
        "grant_type=client_credentials&client_id=<id>&client_secret=x&scope=nonsense",
    ),
    token("empty scope", "grant_type=client_credentials&<us>&scope="),
    // The form.
    token("same parameter twice", "grant_type=client_credentials&<us>&client_id=<id>"),
    token("same unknown parameter twice", "grant_type=client_credentials&<us>&a=1&a=2"),
    token(
        "same parameter twice and wrong secret",
        "grant_type=client_credentials&client_id=<id>&client_secret=x&a=1&a=2",
    ),
    token("unknown parameter", "grant_type=client_credentials&<us>&audience=nonsense"),
    token("parameter without a value", "grant_type=client_credentials&<us>&flag"),
    token("equals sign in a value", "grant_type=client_credentials&<us>&a=b=c"),
    token("semicolons", "grant_type=client_credentials;client_id=<id>;client_secret=<secret>"),
    token("empty body", ""),
    token("JSON body", "")
        .content_type("application/json")
        .raw(r#"{"grant_type": "client_credentials", "client_id": "<id>", "client_secret": "<secret>"}"#),
    grant("no content type").without_content_type(),
    grant("content type with charset").content_type("application/x-www-form-urlencoded;charset=UTF-8"),
    // Escapes.
    token("bad percent-encoding", "grant_type=client_credentials&client_id=<id>&client_secret=%zz"),
    token("bad percent-encoding in a name", "grant_type=client_credentials&<us>&%zz=1"),
    token("percent sign at the end", "grant_type=client_credentials&<us>&a=%"),
    token("percent sign and one digit", "grant_type=client_credentials&<us>&a=%4"),
    token("escapes that are not UTF-8", "grant_type=client_credentials&client_id=<id>&client_secret=%C3%28"),
    token("escaped NUL at the end of the secret", "grant_type=client_credentials&<us>%00"),
    token("escapes where none is needed", "grant%5Ftype=client%5fcredentials&<us>"),
    // The request.
    token("GET", "").method("GET"),
    token("PUT", "").method("PUT"),
    grant("unknown realm").realm("nowhere"),
    grant("header of 20,000 characters").header("x-padding", "<longish>"),
    token("Accept: text/html", "grant_type=client_credentials&client_id=<id>&client_secret=wrong")
        .header("accept", "text/html"),
    token("client_credentials in the end", CLIENT_CREDENTIALS),
];
