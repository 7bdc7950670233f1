//! Which requests get the token, and that they get nothing but the token (B1 to B4, C13).

use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{AuthOutcome, Environment, Error, NeonomicsAuth, NeonomicsAuthLayer, PassReason, TokenProvider};
use tokio::time::advance;
use tower::{Layer, ServiceExt};

use crate::api::{Api, ok, refused};
use crate::wire::{Marker, Seen, Told, authorization, echo, forced, headers, told, unusual};

#[tokio::test(start_paused = true)]
async fn b1_exactly_one_sensitive_authorization_is_added_and_nothing_else_changes() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let api = Api::answering(|_| Ok(ok("")));
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    // The first request waits for the token, the second finds it: both ways stamp.
    for waited in [true, false] {
        let request = unusual(&fake);
        let before = Seen::of(&request);
        let response = client.clone().oneshot(request).await.unwrap();

        let token = provider.cached().unwrap();
        assert_eq!(Seen::of(&api.take_only()), before.stamped(token.authorization()));
        assert_eq!(told(&response), waited.then_some(Told { waited, ..Told::default() }));
    }
    fake.expect().client_credentials(1).refresh(0);
}

#[tokio::test(start_paused = true)]
async fn b1_the_answer_comes_back_as_it_is() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    let answer = || {
        Response::builder()
            .status(StatusCode::ACCEPTED)
            .version(http::Version::HTTP_2)
            .header("x-a", "1")
            .header("x-b", "2")
            .header("x-a", "3")
            .extension(Marker(9))
            .body("an answer".to_owned())
            .unwrap()
    };
    let api = Api::answering(move |_| Ok(answer()));

    // Also when a predicate has looked at it.
    let plain = NeonomicsAuthLayer::new(provider.clone());
    let asking = plain.clone().rejected_when(|_| false);
    for layer in [plain, asking] {
        let response = layer.layer(api.clone()).oneshot(echo(&fake, String::new())).await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(headers(response.headers()), headers(answer().headers()));
        // Nothing unusual happened, so nothing is said.
        assert_eq!(response.extensions().len(), 1);
        assert_eq!(response.extensions().get(), Some(&Marker(9)));
        assert_eq!(response.into_body(), "an answer");
    }
}

#[tokio::test(start_paused = true)]
async fn b1_every_spelling_of_an_allowed_origin_is_stamped() {
    let absolute = [
        "https://api.example.com/a?b",
        "https://api.example.com",
        "https://API.Example.COM/",
        "HTTPS://api.example.com/",
        // The default port, spelled out.
        "https://api.example.com:443/",
        "https://bank.example.com:8443/",
        "https://BANK.example.com:8443/",
        "http://127.0.0.1:3000/",
        "http://[::1]:3000/",
        "http://localhost/",
        "http://LOCALHOST:80/",
    ];
    for uri in absolute {
        assert_stamped(Method::GET, uri, &[]).await;
    }
    // The URI says where the request goes: a proxy may want another `Host`.
    assert_stamped(Method::GET, "https://api.example.com/", &[b"evil.example"]).await;
}

#[tokio::test(start_paused = true)]
async fn b1_a_uri_without_authority_is_stamped_unless_its_host_names_another() {
    let hosts: [&[&[u8]]; 8] = [
        &[],
        &[b"api.example.com"],
        &[b"API.example.com:443"],
        &[b"bank.example.com:8443"],
        &[b"127.0.0.1:3000"],
        &[b"[::1]:3000"],
        &[b"localhost"],
        &[b"api.example.com", b"bank.example.com:8443"],
    ];
    for host in hosts {
        assert_stamped(Method::GET, "/ics/v3/banks?a=b", host).await;
    }
    // Every method but one: `OPTIONS *` has no authority either.
    assert_stamped(Method::OPTIONS, "*", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn b2_another_origin_never_gets_the_token() {
    let others = [
        // Another scheme.
        "http://api.example.com/",
        "http://api.example.com:443/",
        "https://127.0.0.1:3000/",
        "https://localhost/",
        "ftp://api.example.com/",
        "httpss://api.example.com/",
        // Another host.
        "https://example.com/",
        "https://evil.example/",
        "https://xapi.example.com/",
        "https://x.api.example.com/",
        "https://api.example.com.evil.example/",
        "https://api.example.community/",
        "https://api.example.co/",
        "https://api-example.com/",
        "https://api.example.com./",
        "https://bank.example.com/",
        "https://1.2.3.4/",
        "https://[::1]/",
        // Another port.
        "https://api.example.com:444/",
        "https://api.example.com:80/",
        "https://api.example.com:0/",
        "https://api.example.com:8443/",
        "https://bank.example.com:443/",
        "https://bank.example.com:84433/",
        "http://127.0.0.1:3001/",
        "http://127.0.0.1/",
        "http://[::1]:3001/",
        "http://[::1]/",
        "http://localhost:3000/",
        // No port at all, though it looks like one.
        "https://api.example.com:/",
        "https://api.example.com:99999/",
        "https://bank.example.com:/",
        // User-info never matches, on either side of the `@`.
        "https://user@api.example.com/",
        "https://user:password@api.example.com/",
        "https://@api.example.com/",
        "https://api.example.com@evil.example/",
        "https://api.example.com:443@evil.example/",
        "https://user@bank.example.com:8443/",
        // Loopback, but not the loopback that is allowed.
        "http://127.0.0.2:3000/",
        "http://localhost.:80/",
        "http://[::ffff:127.0.0.1]:3000/",
        // An authority without scheme does not say over what it goes.
        "api.example.com:443",
    ];
    for uri in others {
        assert_passed(Method::GET, uri, &[], PassReason::OtherOrigin).await;
        // A `Host` of ours does not make it ours.
        assert_passed(Method::POST, uri, &[b"api.example.com"], PassReason::OtherOrigin).await;
    }
}

#[tokio::test(start_paused = true)]
async fn b2_connect_speaks_to_a_proxy_and_never_gets_the_token() {
    for uri in ["api.example.com:443", "https://api.example.com/"] {
        assert_passed(Method::CONNECT, uri, &[], PassReason::Connect).await;
    }
}

// lesson 41
#[tokio::test(start_paused = true)]
async fn b2_a_uri_without_authority_but_with_a_foreign_host_never_gets_the_token() {
    let hosts: [&[&[u8]]; 14] = [
        &[b"evil.example"],
        &[b"api.example.com.evil.example"],
        &[b"api.example.com."],
        &[b"api.example.com:444"],
        &[b"api.example.com:80"],
        &[b"api.example.com:"],
        &[b"api.example.com:99999"],
        &[b"user@api.example.com"],
        &[b"api.example.com, evil.example"],
        &[b"\xfcpi.example.com"],
        &[b""],
        // Of several, the server may choose any.
        &[b"api.example.com", b"evil.example"],
        &[b"evil.example", b"api.example.com"],
        &[b"api.example.com", b""],
    ];
    for host in hosts {
        assert_passed(Method::GET, "/ics/v3/banks", host, PassReason::OtherOrigin).await;
    }
}

// lesson 18
#[tokio::test(start_paused = true)]
async fn b2_a_path_that_is_a_host_where_it_is_joined_to_a_base_never_gets_the_token() {
    let paths = [
        "//evil.example/x",
        r"/\evil.example/x",
        "//evil.example",
        "///evil.example/x",
        "//api.example.com/x",
        "//",
        "//?a=b",
    ];
    for path in paths {
        // `Uri` takes them for paths, so that there is no authority to compare.
        let uri: Uri = path.parse().unwrap();
        assert_eq!((uri.authority(), uri.path().len()), (None, path.split('?').next().unwrap().len()), "{path}");
        assert_passed(Method::GET, path, &[], PassReason::OtherOrigin).await;
        assert_passed(Method::POST, path, &[b"api.example.com"], PassReason::OtherOrigin).await;
    }
    // Behind another segment they are what they look like.
    for path in ["/x//evil.example/x", r"/x/\evil.example/x", "/", "/?//evil.example"] {
        assert_stamped(Method::GET, path, &[]).await;
    }
    // And where the authority is there, the path says nothing of it.
    assert_stamped(Method::GET, "https://api.example.com//evil.example/x", &[]).await;
}

// lesson 27
#[tokio::test(start_paused = true)]
async fn b3_the_callers_own_authorization_is_untouched_and_a_401_is_the_callers() {
    let values: [&[&str]; 4] = [&["Basic dXNlcjpwYXNz"], &["Bearer foreign"], &[""], &["Bearer one", "Bearer two"]];
    for own in values {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let api = Api::answering(|_| Ok(refused("the caller's")));
        let client = NeonomicsAuth::new(api.clone(), provider.clone());

        // Before there is a token, and with one at hand.
        for exchanges in [0, 1] {
            let mut request = unusual(&fake);
            for value in own {
                request.headers_mut().append(AUTHORIZATION, value.parse().unwrap());
            }
            let before = Seen::of(&request);
            let response = client.clone().oneshot(request).await.unwrap();

            assert_eq!(Seen::of(&api.take_only()), before, "{own:?}");
            assert_eq!(told(&response), Some(Told::passed(PassReason::CallerAuthorized)));
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(response.into_body(), "the caller's");
            fake.expect().client_credentials(exchanges).refresh(0);
            provider.token().await.unwrap();
        }
        let status = provider.status();
        assert_eq!((status.passed_without_token, status.refusals, status.replays), (2, 0, 0));
        assert_eq!(forced(&provider), (0, 0));
    }
}

// lesson 28
#[tokio::test(start_paused = true)]
async fn b4_without_a_token_the_error_comes_back_and_nothing_is_sent() {
    let fake = FakeNeonomics::new();
    fake.set_client_enabled(false);
    let client = NeonomicsAuth::new(Api::never_called(), fake.provider());

    // The client is rejected: one exchange, no repeats.
    let error = client.clone().oneshot(echo(&fake, String::new())).await.unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    assert!(error.is_rejected());
    assert_eq!(error.oauth_code(), Some("invalid_client"));
    fake.expect().client_credentials(1);

    // While the failure holds back the next renewal: the same error, without an exchange.
    let held = client.oneshot(echo(&fake, String::new())).await.unwrap_err().downcast::<Error>().unwrap();
    assert_eq!(held.oauth_code(), Some("invalid_client"));
    assert_eq!(held.retry_after(), error.retry_after(), "no time has passed");
    fake.expect().client_credentials(1).requests(0);
}

// lesson 28
#[tokio::test(start_paused = true)]
async fn b4_while_the_token_endpoint_is_down_nothing_is_sent_in_any_mode() {
    let fake = FakeNeonomics::new();
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    let provider = fake.provider();

    let layer = NeonomicsAuthLayer::new(provider.clone());
    let retrying = layer.layer(Api::never_called());
    let once = layer.clone().without_retry().layer(Api::never_called());
    let [first, second] = [
        retrying.oneshot(echo(&fake, String::new())).await.unwrap_err(),
        once.oneshot(echo(&fake, String::new())).await.unwrap_err(),
    ]
    .map(|error| error.downcast::<Error>().unwrap());
    assert!(first.is_transient() && second.is_transient());
    // Three exchanges of the first, none of the second.
    fake.expect().client_credentials(3);
    assert_eq!(provider.status().waited, 2);
}

// lesson 28
#[tokio::test(start_paused = true)]
async fn b4_an_expired_token_is_not_sent_in_place_of_one_that_cannot_be_had() {
    let fake = FakeNeonomics::new();
    fake.set_access_lifetime(Duration::from_secs(60));
    let provider = fake.provider();
    provider.token().await.unwrap();
    let api = Api::answering(|_| Ok(ok("")));
    let client = NeonomicsAuth::new(api.clone(), provider);

    // Up to its last second the token is sent, though the endpoint is down and the renewals behind the requests fail.
    fake.fail_exchanges(usize::MAX, Fault::Reset);
    for _ in 0..60 {
        client.clone().oneshot(echo(&fake, String::new())).await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    assert_eq!(api.calls(), 60);

    let error = client.clone().oneshot(echo(&fake, String::new())).await.unwrap_err();
    assert!(error.downcast::<Error>().unwrap().is_transient());
    assert_eq!(api.calls(), 60);

    // The endpoint is back: so are the requests, once the hold is over.
    fake.heal();
    advance(Duration::from_secs(30)).await;
    client.oneshot(echo(&fake, String::new())).await.unwrap();
    assert_eq!(api.calls(), 61);
}

#[tokio::test(start_paused = true)]
async fn c13_a_request_that_forbids_it_is_stamped_but_never_sent_twice() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let api = Api::answering(|number| Ok(refused(["cold", "warm"][number])));
    let client = NeonomicsAuth::new(api.clone(), provider.clone());

    // Cold it waits for the token, warm it does not: both are sent once.
    for (number, body) in ["cold", "warm"].into_iter().enumerate() {
        let mut request = echo(&fake, String::new());
        request.extensions_mut().insert(neonomics_auth::NoReplay);
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(api.calls(), number + 1);
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.into_body(), body);
        // One renewal started behind each: wait for it, so that the next request meets the new token.
        let refused = provider.cached().unwrap();
        assert_eq!(provider.renew(&refused).await.unwrap().generation(), number as u64 + 2);
    }
    let tokens: Vec<_> = api.take().iter().map(|request| authorization(request).clone()).collect();
    assert_ne!(tokens[0], tokens[1]);
    assert_eq!(forced(&provider), (2, 0));
    assert_eq!((provider.status().refusals, provider.status().replays), (2, 0));
}

/// One provider with origins of all kinds; its realm is `fake`.
fn provider(fake: &FakeNeonomics) -> TokenProvider {
    let realm = format!("{}/auth/realms/sandbox", fake.origin());
    let environment = Environment::realm(realm, "https://api.example.com")
        .and_then(|environment| environment.allow_origin("https://bank.example.com:8443"))
        .and_then(|environment| environment.allow_origin("http://127.0.0.1:3000"))
        .and_then(|environment| environment.allow_origin("http://[::1]:3000"))
        .and_then(|environment| environment.allow_origin("http://localhost"))
        .unwrap();
    TokenProvider::builder(environment, fake.credentials()).transport(fake.clone()).build().unwrap()
}

fn request(method: &Method, uri: &str, hosts: &[&[u8]]) -> Request<String> {
    let uri: Uri = uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}"));
    let mut request = Request::builder().method(method).uri(uri).header("x-before", "1").body(String::new()).unwrap();
    for host in hosts {
        request.headers_mut().append(HOST, HeaderValue::from_bytes(host).unwrap());
    }
    request
}

async fn assert_stamped(method: Method, uri: &str, hosts: &[&[u8]]) {
    let fake = FakeNeonomics::new();
    let provider = provider(&fake);
    let token = provider.token().await.unwrap();
    let api = Api::answering(|_| Ok(ok("")));

    let request = request(&method, uri, hosts);
    let before = Seen::of(&request);
    let response = NeonomicsAuth::new(api.clone(), provider.clone()).oneshot(request).await.unwrap();

    let sent = api.take_only();
    assert!(sent.headers().contains_key(AUTHORIZATION), "{method} {uri} {hosts:?} has no token");
    assert_eq!(Seen::of(&sent), before.stamped(token.authorization()));
    assert!(response.extensions().get::<AuthOutcome>().is_none());
    assert_eq!(provider.status().passed_without_token, 0);
}

/// Passed on as it is, not retried after a 401, no renewal; counted, and said.
async fn assert_passed(method: Method, uri: &str, hosts: &[&[u8]], reason: PassReason) {
    let fake = FakeNeonomics::new();
    let provider = provider(&fake);
    provider.token().await.unwrap();
    let api = Api::answering(|_| Ok(refused("theirs")));

    let request = request(&method, uri, hosts);
    let before = Seen::of(&request);
    // A predicate that takes everything for a refusal is not asked either.
    let layer = NeonomicsAuthLayer::new(provider.clone()).rejected_when(|_| true);
    let response = layer.layer(api.clone()).oneshot(request).await.unwrap();

    let sent = api.take_only();
    assert!(!sent.headers().contains_key(AUTHORIZATION), "{method} {uri} {hosts:?} carries the token");
    assert_eq!(Seen::of(&sent), before);
    assert_eq!(told(&response), Some(Told::passed(reason)), "{method} {uri} {hosts:?}");
    assert_eq!(response.into_body(), "theirs");
    let status = provider.status();
    assert_eq!((status.passed_without_token, status.refusals, status.replays), (1, 0, 0));
    assert_eq!(forced(&provider), (0, 0));
    fake.expect().client_credentials(1).refresh(0);
}
