//! No runtime, one that nobody drives, one that is gone, one without timers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::poll;
use neonomics_auth::TokenProvider;
use neonomics_auth::testing::FakeNeonomics;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::timeout;

use crate::page;
use crate::unless_it_hangs;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a19_a_provider_is_built_outside_a_runtime_and_waited_for_in_one() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    assert!(provider.cached().is_none());
    for error in [block_on(provider.token()).unwrap_err(), block_on(provider.end_session()).unwrap_err()] {
        assert!(page::entry(&error).text.contains(".runtime(handle)"));
    }
    fake.expect().client_credentials(0).logout(0);

    single().block_on(provider.token()).unwrap();
    // Once it is there it takes no runtime.
    assert_eq!(block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(1);

    // As the page says.
    let driven = driven();
    assert_eq!(block_on(with_runtime(&fake, driven.handle()).token()).unwrap().generation(), 1);
    fake.expect().client_credentials(2);
}

#[test]
fn d3_keep_alive_outside_a_runtime_panics() {
    let provider = FakeNeonomics::new().provider();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(provider.keep_alive()))).unwrap_err();
    let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    page::entry_for(message.unwrap());

    let runtime = single();
    let _entered = runtime.enter();
    drop(provider.keep_alive());
}

#[test]
fn a19_a_renewal_stands_still_while_nobody_drives_the_runtime_that_it_began_on() {
    let entry = page::symptom("a request waits, and the authorization server was not asked");
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let left = single();
    left.block_on(async { assert!(poll!(pin!(provider.token())).is_pending()) });

    // Who waits elsewhere waits with it, for an hour, and its deadline of ten seconds does not come.
    let elsewhere = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    elsewhere.block_on(async { timeout(HOUR, provider.token()).await.unwrap_err() });
    fake.expect().client_credentials(0);

    // It goes on when somebody is in `block_on` again.
    assert_eq!(left.block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(1);

    // As the page says: carried by a runtime that is always driven, whoever began it and left.
    assert!(entry.text.contains("`.runtime(handle)`"));
    let driven = driven();
    let provider = with_runtime(&fake, driven.handle());
    left.block_on(async { drop(poll!(pin!(provider.token()))) });
    assert_eq!(single().block_on(unless_it_hangs(provider.token())).unwrap().generation(), 1);
    fake.expect().client_credentials(2);
}

#[tokio::test]
async fn a19_a_renewal_stands_still_while_its_only_thread_is_blocked() {
    let entry = page::symptom("a request waits, and the authorization server was not asked");
    assert!(entry.text.contains("`futures::executor::block_on` inside an async function"));
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    // The renewal is a task of this very thread, which waits for it: for ever, if it did not give up here.
    block_on(async {
        let mut token = pin!(provider.token());
        for _ in 0..100 {
            assert!(poll!(token.as_mut()).is_pending());
        }
    });
    fake.expect().client_credentials(0);
    // The thread is free.
    assert_eq!(unless_it_hangs(provider.token()).await.unwrap().generation(), 1);
    fake.expect().client_credentials(1);
}

#[test]
fn a19_with_a_runtime_of_its_own_a_renewal_goes_on_while_the_caller_blocks_another() {
    let fake = FakeNeonomics::new();
    let driven = driven();
    let provider = with_runtime(&fake, driven.handle());
    // On a thread of its own, so that a hang is a failure.
    let (told, outcome) = mpsc::channel();
    thread::spawn(move || single().block_on(async { told.send(block_on(provider.token())) }));
    let token = outcome.recv_timeout(Duration::from_secs(60)).expect("hangs");
    assert_eq!(token.unwrap().generation(), 1);
    fake.expect().client_credentials(1);
}

#[test]
fn a19_a_runtime_without_timers_carries_no_renewal_and_no_end() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let timeless = Builder::new_current_thread().build().unwrap();
    let error = timeless.block_on(provider.token()).unwrap_err();
    assert!(page::entry(&error).text.contains("`enable_all()`"));
    fake.expect().client_credentials(0);

    single().block_on(provider.token()).unwrap();
    page::entry(&timeless.block_on(provider.end_session()).unwrap_err());
    fake.expect().client_credentials(1).logout(0);
}

/// Each `#[tokio::test]` has a runtime of its own, and takes it along when it ends.
// lesson 34
#[test]
fn a19_a_static_provider_outlives_the_runtimes_of_the_tests_that_share_it() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    let gate = fake.hold_exchanges();
    for exchanges in 1..=2 {
        // A test that ends while its renewal is at the server.
        single().block_on(async {
            assert!(poll!(pin!(provider.token())).is_pending());
            timeout(Duration::from_secs(60), gate.arrived(1)).await.expect("hangs");
        });
        fake.expect().client_credentials(exchanges);
    }
    // Nobody waited; this is what is left of it.
    let status = provider.status();
    assert_eq!(status.renewals.first.failed, 2);
    page::entry(&status.last_error.unwrap().error);
    gate.open();
    assert_eq!(single().block_on(provider.token()).unwrap().generation(), 1);
    fake.expect().client_credentials(3);
}

fn with_runtime(fake: &FakeNeonomics, runtime: &Handle) -> TokenProvider {
    let builder = TokenProvider::builder(fake.environment(), fake.credentials()).transport(fake.clone());
    builder.runtime(runtime.clone()).build().unwrap()
}

/// Runs while it is blocked on.
fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs by itself.
fn driven() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
