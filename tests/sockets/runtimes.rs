//! Runtimes that come and go, with the default transport.

use std::sync::OnceLock;

use futures::future::join_all;
use futures::poll;
use http::StatusCode;
use neonomics_auth::testing::FakeNeonomics;
use neonomics_auth::{Credentials, TokenProvider};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::unless_it_hangs;

/// What a program does whose tests share one `static` provider, each with a runtime of its own.
// lesson 34
#[test]
fn a19_a_static_provider_works_across_ten_runtimes_in_a_row() {
    static PROVIDER: OnceLock<TokenProvider> = OnceLock::new();
    let (_server, fake) = served();
    let provider = PROVIDER.get_or_init(|| TokenProvider::new(fake.environment(), fake.credentials()).unwrap());

    for generation in 1..=10 {
        // Each makes an exchange: the first for want of a token, the others because the API refused it.
        current_thread().block_on(unless_it_hangs(async {
            let token = match provider.cached() {
                None => provider.token().await,
                Some(refused) => provider.renew(&refused).await,
            };
            assert_eq!(token.unwrap().generation(), generation);
        }));
    }
    fake.expect().client_credentials(1).refresh(9).other_grants(0);
    assert_eq!(provider.status().renewals.forced.failed, 0);
}

// lesson 34
#[test]
fn a19_those_who_wait_elsewhere_share_one_more_renewal_when_its_runtime_is_shut_down_midway() {
    let (server, fake) = served();
    let provider = TokenProvider::new(fake.environment(), fake.credentials()).unwrap();
    let (doomed, surviving) = (worker(), current_thread());

    // The exchange is carried by the runtime of the first caller, and has reached the server.
    let gate = fake.hold_exchanges();
    let first = doomed.spawn({
        let provider = provider.clone();
        async move { provider.token().await }
    });
    server.block_on(unless_it_hangs(gate.arrived(1)));

    // A hundred callers on another runtime wait for the same exchange.
    let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(provider.token())).collect();
    surviving.block_on(async {
        for caller in &mut waiting {
            assert!(poll!(caller).is_pending());
        }
    });
    fake.expect().client_credentials(1);

    drop(doomed);
    gate.open();

    // The first caller went with its runtime, the others get one new token.
    assert!(surviving.block_on(first).unwrap_err().is_cancelled());
    for token in surviving.block_on(unless_it_hangs(join_all(waiting))) {
        assert_eq!(token.unwrap().generation(), 1);
    }
    fake.expect().client_credentials(2).refresh(0);
    let status = provider.status();
    // The one that went with its runtime counts as failed.
    assert_eq!((status.renewals.first.succeeded, status.renewals.first.failed), (1, 1));
}

/// Nobody waits when the runtime goes: the next caller, on another one, is not held up by what it left behind.
#[test]
fn a19_the_next_caller_starts_a_renewal_when_the_runtime_of_the_last_one_is_gone() {
    let (server, fake) = served();
    let provider = TokenProvider::new(fake.environment(), fake.credentials()).unwrap();
    let first = current_thread().block_on(unless_it_hangs(provider.token())).unwrap();

    // The refresh token is under way when its carrier dies: it may have been spent.
    let gate = fake.hold_exchanges();
    let doomed = worker();
    doomed.spawn({
        let (provider, first) = (provider.clone(), first.clone());
        async move { provider.renew(&first).await }
    });
    server.block_on(unless_it_hangs(gate.arrived(1)));
    drop(doomed);
    gate.open();
    fake.expect().client_credentials(1).refresh(1);

    let second = current_thread().block_on(unless_it_hangs(provider.renew(&first))).unwrap();
    assert_eq!(second.generation(), 2);
    // So it is not sent again.
    fake.expect().client_credentials(2).refresh(1);
}

#[tokio::test]
async fn a10_a_renewal_completes_when_caller_and_last_handle_are_gone_and_leaves_no_task() {
    let fake = FakeNeonomics::listen().await.unwrap();
    // Whatever holds the credentials holds the sender: the handles, and the task of a renewal.
    let (held, mut let_go) = oneshot::channel::<()>();
    let secret = fake.client_secret();
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        assert!(!held.is_closed());
        let secret = secret.clone();
        async move { Ok::<_, std::io::Error>(secret) }
    });
    let provider = TokenProvider::new(fake.environment(), credentials).unwrap();

    let gate = fake.hold_exchanges();
    {
        let mut caller = Box::pin(provider.token());
        assert!(poll!(caller.as_mut()).is_pending());
    }
    unless_it_hangs(gate.arrived(1)).await;
    drop(provider);

    // The task goes on by itself,
    assert_eq!(let_go.try_recv(), Err(TryRecvError::Empty));
    gate.open();
    // to its end.
    unless_it_hangs(let_go).await.unwrap_err();
    fake.expect().client_credentials(1).refresh(0);
    assert_eq!(fake.requests()[0].status, Some(StatusCode::OK));
    assert_eq!(fake.sessions(), 1);
}

/// A fake on a runtime of its own, which outlives those of the test.
fn served() -> (Runtime, FakeNeonomics) {
    let server = worker();
    let fake = server.block_on(FakeNeonomics::listen()).unwrap();
    (server, fake)
}

/// Runs by itself.
fn worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs while it is blocked on.
fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
