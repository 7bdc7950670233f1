//! URIs that were put together from parts, as a gateway does (B2).

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use neonomics_auth::{AuthOutcome, Environment, NeonomicsAuth, PassReason, TokenProvider};
use tower::ServiceExt;

use crate::api::{Api, ok};

const ORIGIN: &str = "https://api.example.com";

/// `Uri` says that they go to the API; what they are as text, which reqwest goes by, says otherwise. From http 1.4.1 on
/// only `*` can be joined.
// lesson 18
#[tokio::test]
async fn b2_a_path_that_would_lengthen_the_host_never_gets_the_token() {
    for path in ["*", "@evil.example/", ":443@evil.example/", ".evil.example/", "munity/"] {
        let Ok(path) = path.parse::<PathAndQuery>() else {
            assert_ne!(path, "*");
            continue;
        };
        let (sent, response) = sent_to(path.clone()).await;
        assert_eq!(sent.uri().authority().map(AsRef::as_ref), Some("api.example.com"));
        assert!(!sent.uri().to_string().starts_with("https://api.example.com/"));
        assert!(!sent.headers().contains_key(AUTHORIZATION), "{path}");
        let outcome = response.extensions().get::<AuthOutcome>().unwrap();
        assert_eq!(outcome.passed_without_token(), Some(PassReason::OtherOrigin), "{path}");
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
