//! Token endpoints that answer nonsense, or do not come to an end.

use std::iter::repeat_n;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Response;
use http::header::{CONTENT_TYPE, LOCATION};
use neonomics_auth::testing::{FakeNeonomics, Fault};
use neonomics_auth::{Credentials, Environment, Error, NeonomicsAuthLayer, TokenProvider, TokenProviderBuilder};
use tower::{Layer, ServiceExt};

use crate::servers::RawServer;
use crate::{clients, echo, told_by, unless_it_hangs};

/// What must not be told of an answer.
const CANARY: &str = "canary-in-the-answer";

// lessons 14, 31
#[tokio::test]
async fn a14_an_answer_that_is_no_token_is_malformed_and_nothing_of_it_is_told() {
    let html = format!("<!DOCTYPE html><html><body>{CANARY}</body></html>");
    let token = |token: &str| format!("{{\"access_token\":\"{token}\",\"expires_in\":60,\"token_type\":\"bearer\"}}");
    for answer in [
        html,
        String::new(),
        token(CANARY).replace('}', ""),
        token(&format!("{CANARY} x")),
        token(&format!("{CANARY}\\n")),
        token(&format!("{CANARY}\\r\\nx-injected: 1")),
        token(&format!("{CANARY}\\u00fc")),
        token("").replace("bearer", CANARY),
        token("a-token").replace("60", &format!("\"{CANARY}\"")),
        token("a-token").replace("bearer", CANARY),
        format!("\"{CANARY}\""),
        format!("[{{\"access_token\":\"{CANARY}\"}}]"),
    ] {
        each_transport(|fake, builder| {
            let answer = Response::builder().header(CONTENT_TYPE, "text/html").body(answer.clone().into()).unwrap();
            async move { assert_malformed(&fake, builder.build().unwrap(), Fault::Answer(answer)).await }
        })
        .await;
    }
}

// lesson 14
#[tokio::test]
async fn a13_an_answer_beyond_256_kib_is_malformed() {
    // The longest answer that is read, and one byte more.
    for beyond in [0, 1] {
        each_transport(|fake, builder| async move {
            let answer = r#"{"access_token":"a-token","expires_in":60,"padding":""#;
            let padding = "x".repeat((256 << 10) - answer.len() - 2 + beyond);
            let fault = Fault::Answer(Response::new(format!("{answer}{padding}\"}}").into()));
            let provider = builder.build().unwrap();
            if beyond == 0 {
                fake.fail_exchanges(1, fault);
                assert_eq!(unless_it_hangs(provider.token()).await.unwrap().secret(), "a-token");
            } else {
                assert_malformed(&fake, provider, fault).await;
            }
        })
        .await;
    }
}

// lesson 14
#[tokio::test]
async fn a13_an_answer_without_end_is_malformed() {
    each_transport(|fake, builder| async move {
        assert_malformed(&fake, builder.build().unwrap(), Fault::Endless).await;
    })
    .await;
}

// lesson 14
#[tokio::test]
async fn a14_half_of_an_answer_is_malformed() {
    each_transport(|fake, builder| async move {
        assert_malformed(&fake, builder.build().unwrap(), Fault::Truncate).await;
    })
    .await;
}

// lesson 14
#[tokio::test]
async fn a14_an_answer_behind_a_byte_order_mark_is_a_token_whatever_its_type() {
    each_transport(|fake, builder| async move {
        let body = "\u{feff} {\"access_token\":\"a-token\",\"expires_in\":60}";
        let answer = Response::builder().header(CONTENT_TYPE, "text/html").body(body.into()).unwrap();
        fake.fail_exchanges(1, Fault::Answer(answer));
        let token = unless_it_hangs(builder.build().unwrap().token()).await.unwrap();
        assert_eq!(token.secret(), "a-token");
    })
    .await;
}

// lessons 2, 14
#[tokio::test]
async fn a13_an_answer_that_does_not_come_to_its_end_times_out_as_one_renewal() {
    // Nothing, a head and nothing, some hundred bytes at this pace, work done in silence: each outlasts the deadline.
    let faults = [Fault::Hang, Fault::Silence, Fault::Trickle(Duration::from_millis(100)), Fault::Lose];
    join_all(faults.map(|fault| {
        each_transport(move |fake, builder| {
            let fault = fault.clone();
            async move {
                fake.fail_exchanges(usize::MAX, fault);
                let provider = builder.renewal_timeout(Duration::from_secs(2)).build().unwrap();
                // All wait for the one deadline, whoever comes when.
                let callers = join_all((0..100).map(|_| provider.token()));
                for outcome in unless_it_hangs(callers).await {
                    let error = outcome.unwrap_err();
                    assert!(error.is_timeout() && error.is_transient(), "{error}");
                    assert_tells_nothing(&fake, &error);
                }
                fake.expect().client_credentials(1).refresh(0);
                assert_eq!(provider.status().renewals.first.failed, 1);
            }
        })
    }))
    .await;
}

/// The refresh token has at most half of the deadline, and is not sent again when that has passed.
// lesson 15
#[tokio::test]
async fn a5_an_exchange_by_refresh_token_that_hangs_leaves_time_for_the_other_grant() {
    each_transport(|fake, builder| async move {
        let provider = builder.renewal_timeout(Duration::from_secs(2)).build().unwrap();
        let first = unless_it_hangs(provider.token()).await.unwrap();
        // The server does its work, the refresh token is spent, and nobody hears of it.
        fake.fail_exchanges(1, Fault::Lose);
        let second = unless_it_hangs(provider.renew(&first)).await.unwrap();
        assert_eq!(second.generation(), 2);
        fake.expect().client_credentials(2).refresh(1);

        // The session that was spoilt is not used again: this one refreshes the new one.
        unless_it_hangs(provider.renew(&second)).await.unwrap();
        fake.expect().client_credentials(2).refresh(2);
        let is_refresh = |body: &[u8]| String::from_utf8_lossy(body).contains("grant_type=refresh_token");
        let refreshes: Vec<_> = fake.requests().into_iter().filter(|request| is_refresh(&request.body)).collect();
        assert_ne!(refreshes[0].body, refreshes[1].body);
    })
    .await;
}

#[tokio::test]
async fn a15_an_answer_that_breaks_off_is_transient_and_asked_for_three_times() {
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\n{{\"access_token\":\"{CANARY}");
    each_builder(|kind| {
        let answer = answer.clone();
        async move {
            let server = RawServer::listen(repeat_n(answer, 9)).await;
            let realm = format!("{}/auth/realms/sandbox", server.origin());
            let environment = Environment::realm(realm, server.origin()).unwrap();
            let builder = TokenProvider::builder(environment, Credentials::new("an-id", "a-secret-canary"));
            let error = unless_it_hangs(kind.apply(builder).build().unwrap().token()).await.unwrap_err();
            assert!(error.is_transient() && !error.is_timeout(), "{error}");
            let told = told_by(&error);
            for secret in [CANARY, "a-secret-canary", server.origin()] {
                assert!(!told.contains(secret), "{secret} is told:\n{told}");
            }
            // Each on a connection of its own: the policy asked three times, no client underneath did more.
            assert_eq!((server.received().len(), server.connections()), (3, 3));
        }
    })
    .await;
}

// lesson 19
#[tokio::test]
async fn e3_a_redirect_from_the_token_endpoint_is_an_error_and_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        each_transport(|fake, builder| async move {
            let other = FakeNeonomics::listen().await.unwrap();
            let path = "/auth/realms/sandbox/protocol/openid-connect/token";
            let redirect = Response::builder().status(status).header(LOCATION, format!("{}{path}", other.origin()));
            fake.fail_exchanges(1, Fault::Answer(redirect.body(Bytes::new()).unwrap()));

            let error = unless_it_hangs(builder.build().unwrap().token()).await.unwrap_err();
            assert!(error.is_rejected() && !error.is_transient(), "{error}");
            assert!(error.to_string().contains(&format!("status {status}")), "{error}");
            assert_tells_nothing(&fake, &error);
            fake.expect().client_credentials(1).refresh(0);
            assert_eq!((other.connections(), other.requests().len()), (0, 0), "the other server saw something");
        })
        .await;
    }
}

#[test]
fn e3_a_realm_without_tls_beyond_loopback_is_refused_at_construction() {
    let refused = [
        "http://sandbox.neonomics.io/auth/realms/sandbox",
        "http://localhost.example.com/auth/realms/sandbox",
        "http://127.0.0.1.example.com/auth/realms/sandbox",
        "http://0.0.0.0/auth/realms/sandbox",
        "http://128.0.0.1/auth/realms/sandbox",
        "http://[::2]/auth/realms/sandbox",
        "HTTP://example.com/auth/realms/sandbox",
    ];
    for realm in refused {
        let error = Environment::realm(realm, "https://api.example.com").unwrap_err();
        assert!(error.to_string().contains("must use https"), "{realm}: {error}");
        assert!(!error.is_transient() && !error.is_rejected());
    }
    for realm in ["http://127.0.0.1/realms/x", "http://127.9.9.9/realms/x", "http://[::1]/realms/x"] {
        Environment::realm(realm, "https://api.example.com").unwrap();
    }
}

/// One exchange, one typed error for the request that wanted the token, and that request is not sent without it.
async fn assert_malformed(fake: &FakeNeonomics, provider: TokenProvider, fault: Fault) {
    fake.fail_exchanges(1, fault);
    let client = NeonomicsAuthLayer::new(provider.clone()).layer(clients::http1());
    let error = unless_it_hangs(client.oneshot(echo(fake.origin(), ""))).await.unwrap_err();
    let error = error.downcast::<Error>().unwrap();
    assert!(error.is_malformed() && !error.is_transient() && !error.is_rejected(), "{error}");
    assert_tells_nothing(fake, &error);
    // It is not asked for again: the next answer would be the same.
    fake.expect().client_credentials(1).refresh(0).requests(0);
    assert!(provider.cached().is_none());
}

fn assert_tells_nothing(fake: &FakeNeonomics, error: &Error) {
    let told = told_by(error);
    for secret in [CANARY, &fake.client_secret(), fake.origin()] {
        assert!(!told.contains(secret), "{secret} is told:\n{told}");
    }
}

/// What the exchanges go through.
#[derive(Clone, Copy)]
enum Kind {
    Hyper,
    #[cfg(feature = "reqwest")]
    Default,
}

impl Kind {
    const ALL: &[Self] = &[
        Self::Hyper,
        #[cfg(feature = "reqwest")]
        Self::Default,
    ];

    fn apply(self, builder: TokenProviderBuilder) -> TokenProviderBuilder {
        match self {
            Self::Hyper => builder.transport(clients::http1()),
            #[cfg(feature = "reqwest")]
            Self::Default => builder,
        }
    }
}

/// All kinds at the same time.
async fn each_builder<F: Future<Output = ()>>(test: impl Fn(Kind) -> F) {
    join_all(Kind::ALL.iter().map(|kind| test(*kind))).await;
}

/// Each with a fake of its own.
async fn each_transport<F: Future<Output = ()>>(test: impl Fn(FakeNeonomics, TokenProviderBuilder) -> F) {
    each_builder(|kind| {
        let test = &test;
        async move {
            let fake = FakeNeonomics::listen().await.unwrap();
            let builder = kind.apply(TokenProvider::builder(fake.environment(), fake.credentials()));
            test(fake, builder).await;
        }
    })
    .await;
}
