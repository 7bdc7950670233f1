//! Layers within layers: two providers in one stack (B3), and a provider behind its own layer (E6).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{BoxError, Error, NeonomicsAuth, PassReason, TokenProvider};
use tower::buffer::Buffer;
use tower::{Service, ServiceExt, service_fn};

use crate::api::{Api, ok};
use crate::wire::{Seen, Told, authorization, echo, forced, told, unusual};

#[tokio::test(start_paused = true)]
async fn b3_of_two_layers_the_outer_one_stamps_and_the_inner_one_passes_on() {
    let (outer, inner) = (FakeNeonomics::new(), FakeNeonomics::new());
    let (outer_provider, inner_provider) = (outer.provider(), inner.provider());
    let api = Api::refusing_once();
    let client = NeonomicsAuth::new(NeonomicsAuth::new(api.clone(), inner_provider.clone()), outer_provider.clone());

    // The refusal is healed by the layer whose token was refused, and by that one alone.
    let request = unusual(&outer);
    let before = Seen::of(&request);
    let response = client.oneshot(request).await.unwrap();
    assert_eq!(told(&response), Some(Told { replayed: true, waited: true, ..Told::default() }));
    assert_eq!(response.into_body(), "second");

    let attempts = api.take();
    assert_eq!(attempts.len(), 2);
    let token = outer_provider.cached().unwrap();
    assert_eq!(authorization(&attempts[1]), token.authorization());
    assert_eq!(Seen::of(&attempts[1]), before.stamped(token.authorization()));
    outer.expect().client_credentials(1).refresh(1);
    inner.expect().client_credentials(0).refresh(0);
    // To the inner one these were two requests with an authorization of the caller's.
    let status = inner_provider.status();
    assert_eq!((status.passed_without_token, status.waited, status.refusals), (2, 0, 0));
    assert_eq!((outer_provider.status().passed_without_token, forced(&outer_provider)), (0, (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn b3_what_the_outer_layer_may_not_stamp_the_inner_one_may() {
    let (outer, inner) = (FakeNeonomics::new(), FakeNeonomics::new());
    // The outer one is for another API.
    let realm = format!("{}/auth/realms/sandbox", outer.origin());
    let environment = neonomics_auth::Environment::realm(realm, "https://api.example.com").unwrap();
    let outer_provider =
        TokenProvider::builder(environment, outer.credentials()).transport(outer.clone()).build().unwrap();
    let inner_provider = inner.provider();
    let api = Api::answering(|_| Ok(ok("")));
    let client = NeonomicsAuth::new(NeonomicsAuth::new(api.clone(), inner_provider.clone()), outer_provider);

    let response = client.oneshot(echo(&inner, String::new())).await.unwrap();
    assert_eq!(authorization(&api.take_only()), inner_provider.cached().unwrap().authorization());
    // The last word is the outer layer's.
    assert_eq!(told(&response), Some(Told::passed(PassReason::OtherOrigin)));
    outer.expect().client_credentials(0);
    inner.expect().client_credentials(1);
}

// lesson 33
#[tokio::test(start_paused = true)]
async fn e6_a_provider_whose_transport_is_its_own_stack_fails_with_an_error_that_says_so() {
    assert_says_so(|client| client).await;
}

// lesson 33
#[tokio::test(start_paused = true)]
async fn e6_a_provider_whose_transport_is_its_own_stack_behind_a_buffer_fails_the_same() {
    assert_says_so(|client| Buffer::new(client, 1)).await;
}

/// Builds the provider on the stack that `wrap` makes of its own client.
async fn assert_says_so<S, F>(wrap: impl FnOnce(NeonomicsAuth<FakeNeonomics>) -> S)
where
    S: Service<
            Request<Full<Bytes>>,
            Response = Response<neonomics_auth::testing::FakeBody>,
            Error = BoxError,
            Future = F,
        > + Clone
        + Send
        + Sync
        + 'static,
    F: Future<Output = Result<S::Response, BoxError>> + Send + 'static,
{
    let fake = FakeNeonomics::new();
    let stack = Arc::new(OnceLock::<S>::new());
    let transport = {
        let stack = Arc::clone(&stack);
        service_fn(move |request| stack.get().unwrap().clone().oneshot(request))
    };
    let provider = TokenProvider::builder(fake.environment(), fake.credentials()).transport(transport).build().unwrap();
    let stack = stack.get_or_init(|| wrap(NeonomicsAuth::new(fake.clone(), provider.clone())));

    // A request waits for the token, whose exchange comes by the same stack: an error, not a wait until the deadline.
    let error = stack.clone().oneshot(echo(&fake, Full::default())).await.unwrap_err();
    let error = *error.downcast::<Error>().unwrap();
    let text = "the token request went through the authenticated stack itself: give the provider a transport without \
                NeonomicsAuthLayer";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(!error.is_timeout() && !error.is_transient() && !error.is_rejected());
    // The same for who asks the provider itself.
    assert!(provider.token().await.unwrap_err().to_string().starts_with(text));

    // Neither the exchange nor the request was sent anywhere; a repeat would not have helped, so there was none.
    assert!(fake.requests().is_empty());
    let status = provider.status();
    assert_eq!((status.exchanges.client_credentials, status.exchanges.refresh_token), (1, 0));
    assert_eq!(status.renewals.first.failed, 1);

    // Requests that carry no token still pass.
    let mut request = echo(&fake, Full::default());
    request.headers_mut().insert(http::header::AUTHORIZATION, "Basic dXNlcjpwYXNz".parse().unwrap());
    let response = stack.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(told(&response), Some(Told::passed(PassReason::CallerAuthorized)));
    assert_eq!(fake.requests().len(), 1);
}
