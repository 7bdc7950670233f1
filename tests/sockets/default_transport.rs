//! The transport for users who bring none.

use std::env;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{Method, Response, Version};
use http_body_util::Full;
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{ReqwestService, TokenProvider};
use tokio::net::TcpListener;
use tokio::process::Command;
use tower::ServiceExt;

use crate::{echo, told_by, unless_it_hangs};

// lesson 30
#[tokio::test]
async fn e3_the_credentials_are_in_the_form_and_nowhere_else() {
    let fake = FakeNeonomics::listen().await.unwrap();
    // Every printable ASCII and some more: `+ & % =` and spaces would break a form that is not encoded.
    let secret = (' '..='~').collect::<String>() + "ü€";
    fake.set_client_secret(&secret);
    let provider = default_provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    unless_it_hangs(provider.renew(&first)).await.unwrap();

    let requests = fake.requests();
    let [first, second] = requests.as_slice() else { panic!("{}", fake.transcript()) };
    for (request, grant) in [(first, "client_credentials"), (second, "refresh_token")] {
        assert_eq!((&request.method, request.version), (&Method::POST, Version::HTTP_11));
        assert_eq!(request.uri, "/auth/realms/sandbox/protocol/openid-connect/token");
        let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-length", "content-type", "host", "user-agent"]);
        assert_eq!(request.headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        assert_eq!(request.headers["accept"], "application/json");
        assert_eq!(request.headers["user-agent"], concat!("neonomics-auth/", env!("CARGO_PKG_VERSION")));
        let form: Vec<(String, String)> = form_urlencoded::parse(&request.body).into_owned().collect();
        let get = |name| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(get("grant_type"), Some(grant));
        assert_eq!(get("client_id"), Some(fake.client_id()));
        assert_eq!(get("client_secret"), Some(secret.as_str()));
    }
    fake.expect().client_credentials(1).refresh(1);
}

#[tokio::test]
async fn e3_a_cookie_is_not_sent_back() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let answer = Response::builder()
        .header(SET_COOKIE, "KC_RESTART=canary; Path=/")
        .body(Bytes::from_static(b"{\"access_token\":\"a-token\",\"expires_in\":60}"))
        .unwrap();
    fake.fail_exchanges(1, Fault::Answer(answer));
    let provider = default_provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    unless_it_hangs(provider.renew(&first)).await.unwrap();

    fake.expect().client_credentials(2).refresh(0);
    assert!(fake.requests().iter().all(|request| !request.headers.contains_key(COOKIE)));
}

#[tokio::test]
async fn e3_no_idle_connection_is_kept_between_two_exchanges() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = default_provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    unless_it_hangs(provider.renew(&first)).await.unwrap();
    fake.expect().client_credentials(1).refresh(1);
    assert_eq!(fake.connections(), 2);
}

#[tokio::test]
async fn e3_an_exchange_whose_connection_breaks_is_repeated_by_the_policy_alone() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = default_provider(&fake);
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    let error = unless_it_hangs(provider.token()).await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout(), "{error}");
    // Three exchanges make a renewal, and each is on the wire once.
    fake.expect().client_credentials(3).refresh(0);
    assert_eq!(fake.connections(), 3);
    assert_eq!(provider.status().exchanges.client_credentials, 3);
    let told = told_by(&error);
    for secret in [&fake.client_secret(), fake.origin()] {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }
}

// lesson 15
#[tokio::test]
async fn a6_a_refresh_token_whose_connection_breaks_is_on_the_wire_once() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = default_provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    fake.fail_exchanges(1, Fault::Reset);
    let second = unless_it_hangs(provider.renew(&first)).await.unwrap();
    assert_eq!(second.generation(), 2);
    fake.expect().client_credentials(2).refresh(1);
    assert_eq!(fake.connections(), 3);
}

/// No server at all: the port was open once.
#[tokio::test]
async fn a15_a_refused_connection_is_transient_and_its_error_does_not_tell_the_url() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let environment = neonomics_auth::Environment::realm(format!("{origin}/realms/sandbox"), &origin).unwrap();
    let credentials = neonomics_auth::Credentials::new("an-id", "a-secret-canary");
    let provider = TokenProvider::new(environment, credentials).unwrap();

    let error = unless_it_hangs(provider.token()).await.unwrap_err();
    assert!(error.is_transient() && !error.is_timeout(), "{error}");
    assert_eq!(provider.status().exchanges.client_credentials, 3);
    let told = told_by(&error);
    for secret in ["a-secret-canary", "/realms/sandbox", "an-id"] {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }
}

/// Variables of the environment are set in a process of its own: this very test, started again.
// lesson 40
#[tokio::test]
async fn e3_a_proxy_from_the_environment_sees_nothing_of_a_loopback_exchange() {
    const NAME: &str = "default_transport::e3_a_proxy_from_the_environment_sees_nothing_of_a_loopback_exchange";
    const MARKER: &str = "THE_PROXY_IS_SET";
    if env::var_os(MARKER).is_some() {
        return behind_a_proxy().await;
    }
    let proxy = FakeNeonomics::listen().await.unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", NAME, "--nocapture"]).env(MARKER, "1").kill_on_drop(true);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        child.env(name, proxy.origin()).env(name.to_lowercase(), proxy.origin());
    }
    // Each of these would keep the proxy from being used at all.
    for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
        child.env_remove(name);
    }
    let output = unless_it_hangs(child.output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // The one request is that of the client which was to use it.
    let seen = proxy.requests();
    let paths: Vec<_> = seen.iter().map(|request| (request.uri.path(), &request.body[..])).collect();
    assert_eq!(paths, [("/echo", b"by the proxy".as_slice())]);
    assert_eq!(proxy.connections(), 1);
}

async fn behind_a_proxy() {
    let fake = FakeNeonomics::listen().await.unwrap();
    let provider = default_provider(&fake);
    let first = unless_it_hangs(provider.token()).await.unwrap();
    unless_it_hangs(provider.renew(&first)).await.unwrap();
    unless_it_hangs(provider.end_session()).await.unwrap();
    fake.expect().client_credentials(1).refresh(1).logout(1);

    // A plain client takes the proxy even for loopback: it is set, and works.
    let plain = ReqwestService::new(reqwest::Client::builder().tls_certs_only([]).build().unwrap());
    let request: http::Request<Full<Bytes>> = echo(fake.origin(), "by the proxy");
    unless_it_hangs(plain.oneshot(request)).await.unwrap();
    fake.expect().requests(0);
}

fn default_provider(fake: &FakeNeonomics) -> TokenProvider {
    TokenProvider::new(fake.environment(), fake.credentials()).unwrap()
}
