//! Gates: requests stand still until the test has set the scene.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::FakeNeonomics;

/// Holds requests that a [`FakeNeonomics`] has received, before it judges them.
///
/// Whatever happens to tokens and sessions while a request is held counts for it: a revocation
/// turns all that stand at the gate into 401. A request whose caller gives up stands there no
/// longer.
///
/// The gate opens when it is dropped, and then lets later requests pass too.
#[must_use = "the gate opens when it is dropped"]
pub struct Gate {
    barrier: Barrier,
}

impl Gate {
    pub(super) fn before(barrier: Barrier) -> Self {
        Self { barrier }
    }

    /// Waits until at least `n` requests stand at the gate.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn arrived(&self, n: usize) {
        wait_for(&self.barrier.0.standing, |standing| *standing >= n).await;
    }

    /// Releases all requests that stand at the gate and lets later ones pass. Dropping it does the
    /// same.
    pub fn open(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.barrier.0.open.send_replace(true);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("standing", &*self.barrier.0.standing.borrow()).finish()
    }
}

impl FakeNeonomics {
    /// From now on requests at the token and the logout endpoint are held at this gate.
    ///
    /// A new gate takes the place of an earlier one, which keeps what it holds.
    pub fn hold_exchanges(&self) -> Gate {
        let barrier = Barrier::closed();
        self.shared.lock().exchanges.barrier = barrier.clone();
        Gate::before(barrier)
    }

    /// From now on requests at the API are held at this gate, as
    /// [`hold_exchanges`](Self::hold_exchanges) has it.
    pub fn hold_requests(&self) -> Gate {
        let barrier = Barrier::closed();
        self.shared.lock().api.barrier = barrier.clone();
        Gate::before(barrier)
    }
}

/// What the gate and the requests share.
#[derive(Clone)]
pub(super) struct Barrier(Arc<Place>);

/// Two channels, so that an arrival wakes the test only and not those who stand there already.
struct Place {
    standing: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Barrier {
    pub(super) fn closed() -> Self {
        Self::new(false)
    }

    pub(super) fn open() -> Self {
        Self::new(true)
    }

    pub(super) async fn pass(&self) {
        let _standing = Standing::at(self);
        wait_for(&self.0.open, |open| *open).await;
    }

    fn new(open: bool) -> Self {
        Self(Arc::new(Place { standing: watch::Sender::new(0), open: watch::Sender::new(open) }))
    }
}

async fn wait_for<T>(sender: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) {
    sender.subscribe().wait_for(condition).await.map(drop).expect("the sender is borrowed here");
}

/// A request at the gate; it leaves by passing or by being dropped.
struct Standing<'a>(&'a watch::Sender<usize>);

impl<'a> Standing<'a> {
    fn at(barrier: &'a Barrier) -> Self {
        barrier.0.standing.send_modify(|standing| *standing += 1);
        Self(&barrier.0.standing)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|standing| *standing -= 1);
    }
}
