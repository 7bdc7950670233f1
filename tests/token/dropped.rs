//! Whoever stops waiting, and when: the renewal goes on, once, and leaves nothing behind.

use std::time::Duration;

use neonomics_auth::testing::{FakeNeonomics, Fault, Gate};
use neonomics_auth::{Credentials, TokenProvider};
use tokio::sync::watch;
use tokio_test::{assert_pending, assert_ready_ok, task};

use crate::{MILLISECOND, SECOND, exchanges, pass, settle, tasks, turn_stale, unavailable};

/// Where the renewal stands when its callers go: one for each place where its task can wait.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The task was spawned and has not run.
    NotYetRun,
    /// The closure has not given the client secret.
    Secret,
    /// The request has arrived, there is no answer.
    Head,
    /// The head of the answer is there, and part of the body.
    Body,
    /// The first exchange has failed, the pause before the second has begun.
    Pause,
    /// The answer was received, and the callers have not looked.
    Landed,
}

const STAGES: [Stage; 6] = [Stage::NotYetRun, Stage::Secret, Stage::Head, Stage::Body, Stage::Pause, Stage::Landed];

/// A renewal that can be stopped at each stage and be let go on.
struct Scene {
    fake: FakeNeonomics,
    /// The closure gives the secret when this says so.
    vault: watch::Sender<bool>,
    gate: Option<Gate>,
    stage: Stage,
}

impl Scene {
    fn set(stage: Stage) -> (Self, TokenProvider) {
        let fake = FakeNeonomics::new();
        let vault = watch::Sender::new(!matches!(stage, Stage::Secret));
        let (door, secret) = (vault.subscribe(), fake.client_secret());
        let credentials = Credentials::from_fn(fake.client_id(), move || {
            let (mut door, secret) = (door.clone(), secret.clone());
            async move { door.wait_for(|open| *open).await.map(|_| secret) }
        });
        let builder = TokenProvider::builder(fake.environment(), credentials).transport(fake.clone());
        // The answer has some 300 bytes: time enough for all of them, one every ten milliseconds.
        let provider = builder.build().unwrap();
        match stage {
            Stage::Body => fake.fail_exchanges(1, Fault::Trickle(10 * MILLISECOND)),
            Stage::Pause => fake.fail_exchanges(1, unavailable()),
            Stage::NotYetRun | Stage::Secret | Stage::Head | Stage::Landed => {}
        }
        let gate = matches!(stage, Stage::Head).then(|| fake.hold_exchanges());
        (Self { fake, vault, gate, stage }, provider)
    }

    /// Lets the renewal come to the stage, and no further.
    async fn reach(&self) {
        match self.stage {
            Stage::NotYetRun => {}
            Stage::Head => self.gate.as_ref().unwrap().arrived(1).await,
            Stage::Body => pass(SECOND).await,
            Stage::Secret | Stage::Pause | Stage::Landed => settle().await,
        }
        let arrived = match self.stage {
            Stage::NotYetRun | Stage::Secret => 0,
            Stage::Head | Stage::Body | Stage::Pause | Stage::Landed => 1,
        };
        assert_eq!(exchanges(&self.fake).len(), arrived, "{:?}", self.stage);
        let running = usize::from(!matches!(self.stage, Stage::Landed));
        assert_eq!(tasks(), running, "{:?}", self.stage);
    }

    /// Lets the renewal run to its end, and looks at what was asked of the server.
    async fn finish(mut self) {
        self.vault.send_replace(true);
        drop(self.gate.take());
        pass(9 * SECOND).await;
        // The failed one and its repeat, else one.
        let made = if matches!(self.stage, Stage::Pause) { 2 } else { 1 };
        self.fake.expect().client_credentials(made).refresh(0);
        assert_eq!(self.fake.requests().last().unwrap().status.unwrap(), 200, "{:?}", self.stage);
        assert_eq!(tasks(), 0, "{:?}: a task is left", self.stage);
    }
}

// lesson 1
#[tokio::test(start_paused = true)]
async fn a10_the_first_caller_dropped_at_any_point_costs_the_others_nothing() {
    // Long enough that the pause before the repeat can be met.
    fastrand::seed(7);
    for stage in STAGES {
        let (scene, provider) = Scene::set(stage);
        let mut first = task::spawn(provider.token());
        let mut second = task::spawn(provider.token());
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        scene.reach().await;

        drop(first);
        scene.finish().await;
        assert!(second.is_woken(), "{stage:?}");
        assert_eq!(assert_ready_ok!(second.poll()).generation(), 1);
        assert_eq!(provider.cached().unwrap().generation(), 1);
    }
}

// lesson 1
#[tokio::test(start_paused = true)]
async fn a10_with_all_callers_dropped_at_any_point_the_result_is_kept() {
    fastrand::seed(7);
    for stage in STAGES {
        let (scene, provider) = Scene::set(stage);
        let mut callers: Vec<_> = (0..10).map(|_| task::spawn(provider.token())).collect();
        for caller in &mut callers {
            assert_pending!(caller.poll());
        }
        scene.reach().await;

        drop(callers);
        scene.finish().await;
        assert_eq!(provider.cached().unwrap().generation(), 1, "{stage:?}");
    }
}

// lesson 1
#[tokio::test(start_paused = true)]
async fn a10_with_the_last_handle_dropped_at_any_point_the_exchange_completes_and_no_task_is_left() {
    fastrand::seed(7);
    for stage in STAGES {
        let (scene, provider) = Scene::set(stage);
        let mut caller = Box::pin(async move { provider.token().await });
        assert_pending!(task::spawn(&mut caller).poll());
        scene.reach().await;

        drop(caller);
        scene.finish().await;
    }
}

// lesson 1
#[tokio::test(start_paused = true)]
async fn a10_a_rotated_refresh_token_is_not_lost_with_the_caller_that_caused_it() {
    let fake = FakeNeonomics::new();
    fake.set_rotation(true);
    let provider = fake.provider();
    let token = provider.token().await.unwrap();

    // Dropped when the server has used up the old refresh token and the answer is on its way.
    fake.fail_exchanges(1, Fault::Delay(3 * SECOND));
    let mut caller = task::spawn(provider.renew(&token));
    assert_pending!(caller.poll());
    pass(SECOND).await;
    drop(caller);
    pass(3 * SECOND).await;
    assert_eq!(provider.cached().unwrap().generation(), 2);

    // The next refresh sends the new one, so that the session lives on.
    turn_stale(&provider).await;
    provider.token().await.unwrap();
    settle().await;
    assert_eq!(provider.cached().unwrap().generation(), 3);
    fake.expect().client_credentials(1).refresh(2);
    assert_eq!(fake.sessions(), 1);
}

// lesson 1
#[tokio::test(start_paused = true)]
async fn a10_a_renewal_behind_a_stale_token_outlives_the_last_handle_and_no_longer_than_its_deadline() {
    let fake = FakeNeonomics::new();
    let provider = fake.provider();
    provider.token().await.unwrap();
    turn_stale(&provider).await;
    fake.fail_exchanges(usize::MAX, Fault::Hang);
    provider.token().await.unwrap();
    drop(provider);
    settle().await;
    fake.expect().refresh(1);
    assert_eq!(tasks(), 1);
    // Half a deadline each for the two grants, and then nobody is left who could try again.
    pass(10 * SECOND).await;
    assert_eq!(tasks(), 0);
    pass(Duration::from_secs(86_400)).await;
    fake.expect().client_credentials(2).refresh(1);
}
