//! URIs that were put together from parts, as a gateway does (B2).

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use neonomics_auth::{AuthOutcome, Environment, NeonomicsAuth, PassReason, TokenProvider};
use tower::ServiceExt;

use crate::api::{Api, ok};

const ORIGIN: &str = "https://api.example.com";

/// `Uri` says that it goes to the API; what it is as text, which reqwest goes by, says otherwise.
// lesson 18
#[tokio::test]
async fn b2_a_path_that_lengthens_the_host_never_gets_the_token() {
    let (sent, response) = sent_to(PathAndQuery::from_static("*")).await;
    assert_eq!(sent.uri().authority().map(AsRef::as_ref), Some("api.example.com"));
    assert_eq!(sent.uri().to_string(), "https://api.example.com*");
    assert!(!sent.headers().contains_key(AUTHORIZATION));
    let outcome = response.extensions().get::<AuthOutcome>().unwrap();
    assert_eq!(outcome.passed_without_token(), Some(PassReason::OtherOrigin));
    // The same with a host of somebody else: `http` does not make such a path.
    for path in ["@evil.example/", ":443@evil.example/", ".evil.example/", "munity/"] {
        assert!(path.parse::<PathAndQuery>().is_err(), "{path}");
    }
    // Whatever else is joined stays behind the host.
    for path in ["/", "/@evil.example/", "//evil.example/", "?a=b"] {
        let (sent, response) = sent_to(path.parse().unwrap()).await;
        assert_eq!(sent.headers()[AUTHORIZATION], "Bearer token", "{path}");
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// What the inner service got for this path, joined to the allowed origin, and what came back.
async fn sent_to(path: PathAndQuery) -> (Request<String>, http::Response<String>) {
    let environment = Environment::realm("https://api.example.com/auth/realms/sandbox", ORIGIN).unwrap();
    let provider = TokenProvider::fixed(environment, "token").unwrap();
    let api = Api::answering(|_| Ok(ok("")));

    let mut parts = ORIGIN.parse::<Uri>().unwrap().into_parts();
    parts.path_and_query = Some(path);
    let request = Request::builder().uri(Uri::from_parts(parts).unwrap()).body(String::new()).unwrap();
    let response = NeonomicsAuth::new(api.clone(), provider).oneshot(request).await.unwrap();
    (api.take_only(), response)
}
