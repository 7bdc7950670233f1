//! The runtime or the task that renews dies; calls from outside of any. In real time, since each runtime has a clock of
//! its own; nothing here waits for it.

use std::future::Ready;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;

use bytes::Bytes;
use futures::FutureExt;
use futures::executor::block_on;
use futures::future::join_all;
use http::{Request, Response};
use http_body_util::Full;
use neonomics_auth::testing::{FakeNeonomics, Gate};
use neonomics_auth::{AccessToken, Credentials, TokenProvider, TokenState};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio_test::{assert_pending, assert_ready_err, task};

use crate::{HOUR, SECOND, exchanges, pass, refresh_tokens, settle, tasks, turn_stale};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts a renewal on `runtime`, whose exchange stands at the gate when this returns.
fn start_renewal(runtime: &Runtime, provider: &TokenProvider, refused: Option<&AccessToken>, gate: &Gate) {
    runtime.block_on(async {
        match refused {
            Some(refused) => assert!(provider.renew(refused).now_or_never().is_none()),
            None => assert!(provider.token().now_or_never().is_none()),
        }
        gate.arrived(1).await;
    });
}

// lesson 34
#[test]
fn a19_waiters_on_another_runtime_join_one_more_renewal_there() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (first, second) = (runtime(), runtime());
    let gate = fake.hold_exchanges();
    start_renewal(&first, &provider, None, &gate);

    second.block_on(async {
        let mut waiters: Vec<_> = (0..100).map(|_| task::spawn(Box::pin(provider.token()))).collect();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        fake.expect().client_credentials(1);
        // With the runtime its tasks go: the renewal is abandoned at the gate.
        first.shutdown_background();
        assert!(waiters.iter().all(task::Spawn::is_woken));
        // Those who rejoin stand at the same gate, with one exchange.
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        gate.arrived(1).await;
        fake.expect().client_credentials(2);
        gate.open();
        for token in join_all(waiters.into_iter().map(task::Spawn::into_inner)).await {
            assert_eq!(token.unwrap().generation(), 1);
        }
    });
    fake.expect().client_credentials(2).refresh(0);
}

// lesson 34
#[test]
fn a19_waiters_on_another_thread_join_one_more_renewal_whenever_the_first_dies() {
    for _ in 0..50 {
        let fake = FakeNeonomics::new();
        let provider = fake.provider();
        let first = runtime();
        let gate = fake.hold_exchanges();
        start_renewal(&first, &provider, None, &gate);
        let start = Barrier::new(2);
        thread::scope(|threads| {
            // Some wait already when the first one dies, some come later, and the race decides who.
            let waiters = threads.spawn(|| {
                start.wait();
                runtime().block_on(join_all((0..100).map(|_| provider.token())))
            });
            start.wait();
            drop(first);
            gate.open();
            for token in waiters.join().unwrap() {
                assert_eq!(token.unwrap().generation(), 1);
            }
        });
        fake.expect().client_credentials(2).refresh(0);
    }
}

// lesson 34
#[test]
fn a19_the_refresh_token_that_the_dead_runtime_had_taken_is_never_sent_again() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let provider = fake.provider();
    let (first, second) = (runtime(), runtime());
    let token = first.block_on(provider.token()).unwrap();
    let gate = fake.hold_exchanges();
    start_renewal(&first, &provider, Some(&token), &gate);

    second.block_on(async {
        let mut waiter = task::spawn(Box::pin(provider.renew(&token)));
        assert_pending!(waiter.poll());
        first.shutdown_background();
        gate.open();
        assert!(waiter.is_woken());
        assert_eq!(waiter.into_inner().await.unwrap().generation(), 2);
    });
    assert_eq!(exchanges(&fake), ["client_credentials", "refresh_token", "client_credentials"]);
    assert_eq!(refresh_tokens(&fake).len(), 1);
}

// lesson 34
#[test]
fn a19_a_renewal_that_dies_twice_is_an_error_and_the_next_call_starts_another() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (first, second, third) = (runtime(), runtime(), runtime());
    let gate = fake.hold_exchanges();
    start_renewal(&first, &provider, None, &gate);
    let mut waiters: Vec<_> = (0..10).map(|_| task::spawn(provider.token())).collect();
    {
        let _entered = second.enter();
        for waiter in &mut waiters {
            assert_pending!(waiter.poll());
        }
        first.shutdown_background();
        for waiter in &mut waiters {
            assert!(waiter.is_woken());
            assert_pending!(waiter.poll());
        }
    }
    second.block_on(gate.arrived(1));
    fake.expect().client_credentials(2);
    second.shutdown_background();
    for waiter in &mut waiters {
        assert!(waiter.is_woken());
        let error = assert_ready_err!(waiter.poll());
        assert!(error.is_transient() && error.to_string().contains("was dropped before it ended"), "{error}");
    }
    gate.open();
    assert_eq!(third.block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(3).refresh(0);
}

// lesson 34
#[test]
fn a19_a_renewal_that_died_unseen_leaves_the_next_call_its_own() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (first, second) = (runtime(), runtime());
    let gate = fake.hold_exchanges();
    start_renewal(&first, &provider, None, &gate);
    drop(first);
    gate.open();
    // Nobody waited: there is no trace of the first one but its exchange.
    assert_eq!(provider.status().state, TokenState::None);
    assert_eq!(second.block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(2).refresh(0);
}

// lesson 34
#[test]
fn a19_a_static_provider_works_across_ten_runtimes_in_a_row() {
    static FAKE: LazyLock<FakeNeonomics> = LazyLock::new(FakeNeonomics::new);
    static PROVIDER: LazyLock<TokenProvider> = LazyLock::new(|| FAKE.provider());
    for round in 1_u64..=10 {
        let runtime = runtime();
        let token = runtime.block_on(PROVIDER.token()).unwrap();
        assert_eq!(token.generation(), round.div_ceil(2));
        if round % 2 == 0 {
            // A renewal.
            let renewed = runtime.block_on(PROVIDER.renew(&token)).unwrap();
            assert_eq!(renewed.generation(), round / 2 + 1);
        } else {
            // A renewal that goes down with the runtime.
            let gate = FAKE.hold_exchanges();
            start_renewal(&runtime, &PROVIDER, Some(&token), &gate);
            drop(runtime);
            gate.open();
            assert_eq!(PROVIDER.cached().unwrap().generation(), token.generation());
        }
    }
    // Each renewal that died took the refresh token along, so that the next one was the other grant.
    FAKE.expect().client_credentials(1 + 5).refresh(5);
}

/// A closure that panics as long as it is told to.
fn panicking(fake: &FakeNeonomics, times: usize) -> (TokenProvider, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, secret) = (asked.clone(), fake.client_secret());
    let credentials = Credentials::from_fn(fake.client_id(), move || {
        let (number, secret) = (counter.fetch_add(1, Ordering::Relaxed), secret.clone());
        async move {
            assert!(number >= times, "a closure that panics on purpose");
            Ok::<_, io::Error>(secret)
        }
    });
    let builder = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone());
    (builder.build().unwrap(), asked)
}

// lesson 35
#[tokio::test(start_paused = true)]
async fn a19_a_closure_that_panics_once_costs_the_waiters_nothing() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = panicking(&fake, 1);
    for token in join_all((0..100).map(|_| provider.token())).await {
        assert_eq!(token.unwrap().generation(), 1);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    fake.expect().client_credentials(1);
}

// lesson 35
#[tokio::test(start_paused = true)]
async fn a19_a_closure_that_panics_on_is_an_error_after_two_and_the_next_call_starts_anew() {
    let fake = FakeNeonomics::new();
    let (provider, asked) = panicking(&fake, 4);
    for calls in [2, 4] {
        for outcome in join_all((0..100).map(|_| provider.token())).await {
            let error = outcome.unwrap_err();
            assert!(error.is_transient() && error.to_string().contains("panicked"), "{error}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), calls);
        assert_eq!(tasks(), 0);
    }
    // No lock is poisoned, no flight is left behind.
    assert_eq!(provider.token().await.unwrap().generation(), 1);
    assert_eq!(asked.load(Ordering::Relaxed), 5);
    fake.expect().client_credentials(1);
}

// lesson 35
#[tokio::test(start_paused = true)]
async fn a19_a_transport_that_panics_is_an_error() {
    let fake = FakeNeonomics::new();
    let transport = tower::service_fn(|_: Request<Full<Bytes>>| -> Ready<io::Result<Response<Full<Bytes>>>> {
        panic!("a transport that panics on purpose")
    });
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(transport);
    let provider = builder.build().unwrap();
    let error = provider.token().await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert_eq!(provider.status().exchanges.client_credentials, 2);
}

#[test]
fn a19_outside_a_runtime_a_call_that_must_wait_is_a_typed_error() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let foreign = TokenProvider::fixed(fake.environment(), "foreign").unwrap().cached().unwrap();
    let errors = [
        block_on(provider.token()).unwrap_err(),
        block_on(provider.renew(&foreign)).unwrap_err(),
        block_on(provider.end_session()).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("tokio runtime"), "{error}");
        assert!(!error.is_transient() && !error.is_rejected() && error.retry_after().is_none());
    }
    fake.expect().client_credentials(0).logout(0);

    // With a token there is nothing to wait for.
    let token = runtime().block_on(provider.token()).unwrap();
    assert_eq!(block_on(provider.token()).unwrap().generation(), 1);
    assert_eq!(block_on(provider.renew(&foreign)).unwrap().generation(), 1);
    assert!(block_on(provider.renew(&token)).unwrap_err().to_string().contains("tokio runtime"));
    // Nothing is spoilt by it.
    assert_eq!(runtime().block_on(provider.renew(&token)).unwrap().generation(), 2);
    fake.expect().client_credentials(1).refresh(1);
}

#[test]
fn a19_outside_a_runtime_one_can_wait_for_a_renewal_that_runs_elsewhere() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let runtime = runtime();
    let gate = fake.hold_exchanges();
    start_renewal(&runtime, &provider, None, &gate);
    let mut waiter = task::spawn(Box::pin(provider.token()));
    assert_pending!(waiter.poll());
    gate.open();
    runtime.block_on(async {
        while tasks() > 0 {
            yield_now().await;
        }
    });
    assert!(waiter.is_woken());
    assert_eq!(block_on(waiter.into_inner()).unwrap().generation(), 1);
    fake.expect().client_credentials(1);
}

#[test]
fn a19_a_runtime_without_timers_is_an_error_and_no_panic_of_the_caller() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let bare = Builder::new_current_thread().build().unwrap();
    let error = bare.block_on(provider.token()).unwrap_err();
    assert!(error.to_string().contains("has no timers"), "{error}");
    assert_eq!(runtime().block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(1);
}

/// A provider whose renewals run on the given runtime.
fn on(runtime: &Runtime, fake: &FakeNeonomics) -> TokenProvider {
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    builder.runtime(runtime.handle().clone()).build().unwrap()
}

#[test]
fn a19_renewals_run_on_the_runtime_that_the_provider_was_given() {
    let fake = FakeNeonomics::new();
    let (given, callers) = (runtime(), runtime());
    let provider = on(&given, &fake);
    let _gate = fake.hold_exchanges();
    callers.block_on(async {
        assert!(provider.token().now_or_never().is_none());
        assert_eq!(tasks(), 0);
    });
    // What asked whether it still lives is gone as soon as it is driven; the renewal stays.
    given.block_on(yield_now());
    assert_eq!(given.metrics().num_alive_tasks(), 1);
}

#[test]
fn a19_with_a_runtime_of_its_own_a_provider_serves_callers_outside_of_any() {
    let fake = FakeNeonomics::new();
    let given = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = on(&given, &fake);
    let token = block_on(provider.token()).unwrap();
    assert_eq!(block_on(provider.renew(&token)).unwrap().generation(), 2);
    block_on(provider.end_session()).unwrap();
    fake.expect().client_credentials(1).refresh(1).logout(1);
}

// lesson 34
#[test]
fn a19_when_the_given_runtime_has_been_shut_down_renewals_run_on_the_callers() {
    let fake = FakeNeonomics::new();
    let (given, callers) = (runtime(), runtime());
    let provider = on(&given, &fake);
    drop(given);
    callers.block_on(async {
        let token = provider.token().await.unwrap();
        assert_eq!(provider.renew(&token).await.unwrap().generation(), 2);
    });
    assert_eq!(fake.counts().client_credentials + fake.counts().refresh, 2);
}

// lesson 34
#[tokio::test(start_paused = true)]
async fn a19_when_the_given_runtime_has_been_shut_down_stale_tokens_are_renewed_on_the_callers() {
    let fake = FakeNeonomics::new();
    let given = runtime();
    let provider = on(&given, &fake);
    given.shutdown_background();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 2);
}

// lesson 34
#[tokio::test(start_paused = true)]
async fn a19_when_the_given_runtime_has_been_shut_down_a_session_can_be_ended_on_the_callers() {
    let fake = FakeNeonomics::new();
    let given = runtime();
    let provider = on(&given, &fake);
    given.shutdown_background();
    provider.token().await.unwrap();
    provider.end_session().await.unwrap();
    assert!(provider.cached().is_none());
    fake.expect().client_credentials(1).logout(1);
    // Whatever the server was told, nobody sends the token of an ended session.
    pass(HOUR - 2 * SECOND).await;
    assert!(provider.cached().is_none());
}
