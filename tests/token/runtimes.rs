//! The runtime or the task that renews dies; calls from outside of any. In real time, since each runtime has a clock of
//! its own; nothing here waits for it.

use std::future::Ready;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::Duration;

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
use tower::ServiceExt;

use crate::{
    HOUR, LIFETIME, MILLISECOND, SECOND, arrivals, exchanges, pass, refresh_tokens, settle, tasks, turn_stale,
};

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

/// A transport that panics while it is told to, and how often it did.
#[derive(Default)]
struct Fuse {
    burning: AtomicBool,
    panics: AtomicUsize,
}

fn with_a_fuse(fake: &FakeNeonomics) -> (TokenProvider, Arc<Fuse>) {
    let fuse = Arc::new(Fuse::default());
    let (inside, server) = (fuse.clone(), fake.clone());
    let transport = tower::service_fn(move |request: Request<Full<Bytes>>| {
        if inside.burning.load(Ordering::Relaxed) {
            inside.panics.fetch_add(1, Ordering::Relaxed);
            panic!("a transport that panics on purpose");
        }
        server.clone().oneshot(request)
    });
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(transport);
    (builder.build().unwrap(), fuse)
}

// lesson 35
#[tokio::test(start_paused = true)]
async fn a19_behind_a_stale_token_renewals_that_panic_follow_one_another_a_second_apart() {
    let fake = FakeNeonomics::new();
    let (provider, fuse) = with_a_fuse(&fake);
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    fuse.burning.store(true, Ordering::Relaxed);

    for panics in 1..=3 {
        for _ in 0..100 {
            // Whatever becomes of the renewal, the token is at hand; the renewal runs before the next call.
            assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
            settle().await;
        }
        assert_eq!(fuse.panics.load(Ordering::Relaxed), panics);
        let status = provider.status();
        assert_eq!((status.renewals.due.failed, status.renewals.due.succeeded), (panics as u64, 0));
        let last = status.last_error.unwrap();
        assert!(last.error.is_transient() && last.error.to_string().contains("panicked"), "{}", last.error);
        assert_eq!(last.age, 100 * MILLISECOND);
        // Up to the last millisecond of the distance nothing starts.
        let left = status.hold_left.unwrap();
        assert_eq!(last.age + left, SECOND);
        pass(left - 2 * MILLISECOND).await;
        provider.token().await.unwrap();
        settle().await;
        assert_eq!(fuse.panics.load(Ordering::Relaxed), panics);
        pass(MILLISECOND).await;
    }

    fuse.burning.store(false, Ordering::Relaxed);
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 2);
    assert_eq!(tasks(), 0);
    // The refresh token went with the first renewal that died.
    assert_eq!(exchanges(&fake), ["client_credentials", "client_credentials"]);
}

// lesson 35
#[tokio::test(start_paused = true)]
async fn a19_without_a_usable_token_a_renewal_that_panicked_does_not_hold_back_the_next_call() {
    let fake = FakeNeonomics::new();
    let (provider, fuse) = with_a_fuse(&fake);
    provider.token().await.unwrap();
    pass(LIFETIME).await;
    fuse.burning.store(true, Ordering::Relaxed);
    // Each call starts one and joins one more.
    for panics in [2, 4, 6] {
        let error = provider.token().await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains("panicked"), "{error}");
        assert_eq!(fuse.panics.load(Ordering::Relaxed), panics);
        assert_eq!(provider.status().renewals.first.failed, panics as u64);
        assert!(provider.status().hold_left.is_some());
    }
    fuse.burning.store(false, Ordering::Relaxed);
    assert_eq!(provider.token().await.unwrap().generation(), 2);
    // Nobody waited for the distance.
    assert_eq!(arrivals(&fake), [Duration::ZERO, LIFETIME]);
    fake.expect().client_credentials(2).refresh(0);
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

// lesson 34
#[test]
fn d1_an_end_whose_runtime_is_shut_down_behind_a_renewal_is_carried_by_another() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let (first, second) = (runtime(), runtime());
    let token = second.block_on(provider.token()).unwrap();
    let gate = fake.hold_exchanges();
    start_renewal(&second, &provider, Some(&token), &gate);

    // One call starts the end on the first runtime, the other joins it from the second.
    let mut dying = task::spawn(provider.end_session());
    first.block_on(async { assert_pending!(dying.poll()) });
    let mut surviving = task::spawn(provider.end_session());
    second.block_on(async { assert_pending!(surviving.poll()) });
    first.shutdown_background();
    assert!(surviving.is_woken());

    second.block_on(async { assert_pending!(surviving.poll()) });
    gate.open();
    second.block_on(surviving).unwrap();
    assert!(provider.cached().is_none());
    fake.expect().client_credentials(1).refresh(1).logout(1);
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

// lesson 5
#[tokio::test(start_paused = true)]
async fn c9_when_the_given_runtime_has_been_shut_down_ten_forced_renewals_in_a_row_succeed_and_no_more() {
    let fake = FakeNeonomics::new();
    let given = runtime();
    let provider = on(&given, &fake);
    given.shutdown_background();
    let mut token = provider.token().await.unwrap();
    let mut succeeded = 0;
    for _ in 0..20 {
        match provider.renew(&token).await {
            Ok(renewed) => {
                succeeded += 1;
                token = renewed;
            }
            Err(error) => assert_eq!(error.retry_after(), Some(60 * SECOND), "{error}"),
        }
    }
    assert_eq!(succeeded, 10);
    assert_eq!(provider.status().renewals.forced.succeeded, 10);
    fake.expect().client_credentials(1).refresh(10);
}

// lessons 5, 34
#[test]
fn c9_forced_renewals_whose_runtime_dies_are_taken_out_of_the_bucket_as_well() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let token = runtime().block_on(provider.token()).unwrap();
    let gate = fake.hold_exchanges();
    for _ in 0..10 {
        let runtime = runtime();
        start_renewal(&runtime, &provider, Some(&token), &gate);
        drop(runtime);
    }
    gate.open();
    runtime().block_on(async {
        for _ in 0..10 {
            let error = provider.renew(&token).now_or_never().expect("the bucket is empty").unwrap_err();
            assert!(error.retry_after().unwrap() > 30 * SECOND, "{error}");
        }
    });
    assert_eq!(provider.status().renewals.forced.failed, 10);
    // The first of them took the refresh token along.
    fake.expect().client_credentials(1 + 9).refresh(1);
}

// lessons 5, 35
#[tokio::test(start_paused = true)]
async fn c9_forced_renewals_that_panic_are_taken_out_of_the_bucket_as_well() {
    let fake = FakeNeonomics::new();
    let (provider, fuse) = with_a_fuse(&fake);
    let token = provider.token().await.unwrap();
    fuse.burning.store(true, Ordering::Relaxed);
    // Each call starts one and joins one more.
    for _ in 0..5 {
        let error = provider.renew(&token).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    }
    for _ in 0..5 {
        assert_eq!(provider.renew(&token).await.unwrap_err().retry_after(), Some(60 * SECOND));
    }
    assert_eq!(fuse.panics.load(Ordering::Relaxed), 10);
    assert_eq!(provider.status().renewals.forced.failed, 10);
    // What nobody refused is as good as before.
    assert_eq!(provider.token().now_or_never().unwrap().unwrap().generation(), 1);
}

#[test]
fn c9_outside_a_runtime_and_with_a_dead_one_given_no_forced_renewal_is_spent() {
    let fake = FakeNeonomics::new();
    let given = runtime();
    let provider = on(&given, &fake);
    drop(given);
    let token = runtime().block_on(provider.token()).unwrap();
    // More than there are.
    for _ in 0..11 {
        let error = block_on(provider.renew(&token)).unwrap_err();
        assert!(error.to_string().contains("tokio runtime"), "{error}");
    }
    assert_eq!(runtime().block_on(provider.renew(&token)).unwrap().generation(), 2);
}
