//! Where the authorization server and the API are.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::{Credentials, Environment, Error, NeonomicsAuth, TokenProvider};
use tower::ServiceExt;

use crate::recorder::Recorder;

const API: &str = "https://api.example.com";

const LOOPBACK: &str = "must use https: http is accepted on loopback only";
const PORT: &str = "has a port that is not one";
const USER_INFO: &str = "must not contain user-info";

/// Beginnings of no URL, and why.
const NO_URLS: [(&str, &str); 25] = [
    (" https://id.example.com", "is not a URL"),
    ("https://id.exam ple.com", "is not a URL"),
    ("https://id.example.com\n", "is not a URL"),
    ("https://id.example.com/\0", "is not a URL"),
    ("https://", "is not a URL"),
    ("https://:443", "has no host"),
    ("https://id.example.com:99999", PORT),
    ("https://id.example.com:0", PORT),
    ("https://id.example.com:", PORT),
    ("https://id.example.com:-1", PORT),
    ("https://id.example.com:4a3", PORT),
    ("https://name@id.example.com", USER_INFO),
    ("https://name:canary@id.example.com", USER_INFO),
    ("https://@id.example.com", USER_INFO),
    ("https://id.example.com@evil.example", USER_INFO),
    ("https://id.example.com#", "must not have a fragment"),
    ("https://id.example.com/#canary", "must not have a fragment"),
    ("ftp://id.example.com", "must begin with https://"),
    ("http://id.example.com", LOOPBACK),
    ("HTTP://id.example.com", LOOPBACK),
    ("http://127.0.0.1.example.com", LOOPBACK),
    ("http://localhost.example.com", LOOPBACK),
    ("http://0.0.0.0", LOOPBACK),
    ("http://128.0.0.1", LOOPBACK),
    ("http://[::ffff:7f00:1]", LOOPBACK),
];

#[test]
fn e3_what_is_no_url_of_a_realm_is_refused_with_the_reason() {
    let whole = [("", "is not a URL"), ("/realms/x", "has no host"), ("id.example.com/realms/x", "is not a URL")];
    let begun = NO_URLS.map(|(beginning, why)| (format!("{beginning}/realms/x"), why));
    for (url, why) in begun.into_iter().chain(whole.map(|(url, why)| (url.to_owned(), why))) {
        let error = Environment::realm(&url, API).unwrap_err();
        assert_eq!(error.to_string(), format!("the realm URL {why}"), "{url:?}");
        assert_is_a_mistake(&error);
    }
}

#[test]
fn b2_what_is_no_url_of_an_api_is_refused_with_the_reason() {
    let whole = [
        ("", "is not a URL"),
        ("/", "has no host"),
        ("id.example.com", "must begin with https://"),
        ("id.example.com:443", "must begin with https://"),
    ];
    for (url, why) in NO_URLS.into_iter().chain(whole) {
        let expected = format!("the API origin {why}");
        for error in [
            Environment::realm("https://id.example.com/realms/x", url).unwrap_err(),
            Environment::sandbox().allow_origin(url).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), expected, "{url:?}");
            assert_is_a_mistake(&error);
        }
    }
}

#[test]
fn e3_a_realm_is_one_path_segment_after_realms() {
    for path in [
        "",
        "/",
        "/auth",
        "/realms",
        "/realms/",
        "/realms//",
        "/realms/x//",
        "/realms/x/protocol/openid-connect/token",
        "/realms/.",
        "/realms/..",
        "/realms/../",
        "/Realms/x",
    ] {
        let error = Environment::realm(format!("https://id.example.com{path}"), API).unwrap_err();
        assert_eq!(error.to_string(), "the realm URL must end in /realms/NAME", "{path:?}");
    }
    for path in ["/realms/x?", "/realms/x?y=z", "/realms/x/?y=z"] {
        let error = Environment::realm(format!("https://id.example.com{path}"), API).unwrap_err();
        assert_eq!(error.to_string(), "the realm URL must not have a query", "{path:?}");
    }
}

#[test]
fn e3_the_name_of_a_production_realm_is_one_path_segment() {
    for name in ["a/b", "a?b", "a#b", "a@b", "a:b", "/", "../sandbox", "https://evil.example/realms/x"] {
        let error = Environment::production(name).unwrap_err();
        assert_eq!(error.to_string(), "the realm's name must be one path segment", "{name:?}");
    }
    for name in ["", ".", ".."] {
        let error = Environment::production(name).unwrap_err();
        assert_eq!(error.to_string(), "the realm URL must end in /realms/NAME", "{name:?}");
    }
    for name in ["a b", "a\nb", "a\r\nb", "a\0"] {
        let error = Environment::production(name).unwrap_err();
        assert_eq!(error.to_string(), "the realm URL is not a URL", "{name:?}");
    }
}

/// A client that normalises URLs, as the default transport does, sees another path than the one that was checked.
#[test]
fn e3_a_realm_is_not_named_by_a_dot_segment_or_a_slash_in_disguise() {
    for name in ["%2e%2e", "%2E%2E", ".%2e", "%2e.", "%2e", "..\\sandbox", "a\\b"] {
        assert!(Environment::production(name).is_err(), "{name:?}");
    }
}

/// RFC 3986 §3.2.3: digits. Clients do not agree on what this means.
#[test]
fn e3_a_port_has_no_sign() {
    assert!(Environment::realm("https://id.example.com:+443/realms/x", API).is_err());
    assert!(Environment::sandbox().allow_origin("https://api.example.com:+443").is_err());
}

#[test]
fn e3_a_url_without_end_is_refused() {
    let error = Environment::production("x".repeat(70_000)).unwrap_err();
    assert_eq!(error.to_string(), "the realm URL is not a URL");
    // Long enough to be a URL, too long for what comes behind it.
    let error = Environment::production("x".repeat(65_480)).unwrap_err();
    assert_eq!(error.to_string(), "the realm URL is too long");
}

#[tokio::test]
async fn e3_the_token_is_asked_for_at_the_realm_and_nowhere_else() {
    for (environment, expected) in [
        (Environment::sandbox(), "https://sandbox.neonomics.io/auth/realms/sandbox"),
        (Environment::production("of-mine").unwrap(), "https://api.neonomics.io/auth/realms/of-mine"),
        (realm("https://id.example.com/realms/x"), "https://id.example.com/realms/x"),
        (realm("https://id.example.com/realms/x/"), "https://id.example.com/realms/x"),
        (realm("HTTPS://id.example.com/realms/x"), "https://id.example.com/realms/x"),
        (realm("https://id.example.com:8443/a/b/realms/x"), "https://id.example.com:8443/a/b/realms/x"),
        (realm("https://id.example.com/realms/x/realms/y"), "https://id.example.com/realms/x/realms/y"),
        (realm("https://[2001:db8::1]:8443/realms/x"), "https://[2001:db8::1]:8443/realms/x"),
        (realm("https://192.0.2.1/realms/x"), "https://192.0.2.1/realms/x"),
        (realm("http://127.0.0.1:8180/realms/x"), "http://127.0.0.1:8180/realms/x"),
        (realm("http://127.255.255.254/realms/x"), "http://127.255.255.254/realms/x"),
        (realm("http://[::1]:8180/realms/x"), "http://[::1]:8180/realms/x"),
        (realm("http://localhost/realms/x"), "http://localhost/realms/x"),
        (realm("http://LocalHost:1/realms/x"), "http://LocalHost:1/realms/x"),
    ] {
        let recorder = Recorder::default();
        let provider = recorder.provider(environment, Credentials::new("id", "secret"));
        provider.token().await.unwrap();
        let [request] = recorder.take().try_into().unwrap();
        assert_eq!(request.uri().to_string(), format!("{expected}/protocol/openid-connect/token"));
    }
}

#[test]
fn b2_an_origin_is_scheme_host_and_port_without_a_path() {
    for url in ["https://api.example.com/ics", "https://api.example.com/ics/v3/", "https://api.example.com//"] {
        let error = Environment::sandbox().allow_origin(url).unwrap_err();
        let expected = "the API origin must be scheme, host and port only: the token is valid for all of it";
        assert_eq!(error.to_string(), expected, "{url}");
    }
    for url in ["https://api.example.com?", "https://api.example.com/?a=b"] {
        let error = Environment::realm("https://id.example.com/realms/x", url).unwrap_err();
        let expected = "the API origin must be scheme, host and port only: the token is valid for all of it";
        assert_eq!(error.to_string(), expected, "{url}");
    }
}

#[tokio::test]
async fn b2_the_token_goes_to_the_origins_that_were_named_and_to_no_other() {
    let environment = realm("https://id.example.com/realms/x")
        .allow_origin("https://[2001:db8::1]:8443/")
        .and_then(|environment| environment.allow_origin("http://[::1]:3000"))
        .and_then(|environment| environment.allow_origin("http://localhost"))
        .unwrap();
    for (uri, expected) in [
        ("https://api.example.com/", true),
        ("https://API.Example.com:443/", true),
        ("https://[2001:db8::1]:8443/", true),
        ("http://[::1]:3000/", true),
        ("http://localhost/", true),
        ("http://localhost:80/", true),
        // The realm is not the API.
        ("https://id.example.com/", false),
        ("https://[2001:db8::1]/", false),
        ("https://[2001:db8::2]:8443/", false),
        ("http://[2001:db8::1]:8443/", false),
        ("https://[::1]:3000/", false),
        ("http://127.0.0.1:3000/", false),
        ("http://localhost:8080/", false),
        ("https://localhost/", false),
    ] {
        assert_eq!(is_stamped(&environment, uri).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn b2_there_is_no_way_to_allow_all() {
    for url in ["*", "https://*:*", "https://"] {
        assert!(Environment::sandbox().allow_origin(url).is_err(), "{url}");
    }
    // A star is a character that a host may have, and stands for nothing else.
    for url in ["https://*", "https://*.example.com"] {
        let environment = Environment::sandbox().allow_origin(url).unwrap();
        for uri in ["https://api.example.com/", "https://example.com/", "https://evil.example/"] {
            assert!(!is_stamped(&environment, uri).await, "{url} and {uri}");
        }
    }
}

/// Said before anything is asked: neither the server's fault nor one that passes; and what was given is not repeated.
fn assert_is_a_mistake(error: &Error) {
    assert!(!error.is_rejected() && !error.is_transient() && !error.is_timeout() && !error.is_malformed());
    assert_eq!((error.retry_after(), error.oauth_code()), (None, None));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

fn realm(url: &str) -> Environment {
    Environment::realm(url, API).unwrap()
}

async fn is_stamped(environment: &Environment, uri: &str) -> bool {
    let provider = TokenProvider::fixed(environment.clone(), "a-token").unwrap();
    let inner = tower::service_fn(|request: Request<Full<Bytes>>| async move {
        Ok::<_, Infallible>(Response::new(request.headers().contains_key(AUTHORIZATION)))
    });
    let request = Request::get(uri).body(Full::default()).unwrap();
    NeonomicsAuth::new(inner, provider).oneshot(request).await.unwrap().into_body()
}
