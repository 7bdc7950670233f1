//! Single flight: while some work is under way, all who want it wait for that one and share its outcome.
//!
//! Generic: knows no token, no HTTP and no clock. The only file of the room that locks.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

/// At most one flight at a time, and the state `S` that flights hand on to one another.
///
/// 1. The slot holds `S` while nobody flies. A flight takes it along and puts it back when it lands; nobody else sees
///    it meanwhile, so that the work needs no lock.
/// 2. A flight ends exactly once: by [`Takeoff::land`], or abandoned when its `Takeoff` is dropped (the task panicked,
///    its runtime was shut down). What an abandoned flight had taken along is lost: [`Baggage::left_behind`] stays.
/// 3. The slot is emptied before the outcome is published, so that whoever learns of an outcome and is not content
///    starts a new flight instead of joining the finished one.
/// 4. A `Takeoff` ends its own flight only. One that is dropped late finds another flight in the slot and leaves it.
/// 5. Under the lock there are swaps and the caller's `settled`: a look, and what must change in the same step as the
///    take-off. Nobody is woken, polled or dropped there.
pub(crate) struct SingleFlight<S, T> {
    slot: Mutex<Slot<S, T>>,
    /// Mirrors `slot.flight.is_some()` for those who must not lock; the lock decides.
    flying: AtomicBool,
}

struct Slot<S, T> {
    state: S,
    flight: Option<Arc<Flight<T>>>,
}

/// What a flight takes along.
pub(crate) trait Baggage: Default {
    /// What is there if the flight never comes back.
    fn left_behind(&self) -> Self {
        Self::default()
    }
}

/// What those who wait hold on to.
pub(crate) struct Flight<T> {
    landed: Notify,
    /// `None` inside: abandoned.
    outcome: OnceLock<Option<T>>,
}

/// The right and the duty to do the work: goes with the task that does it.
pub(crate) struct Takeoff<S: Baggage, T> {
    flights: Arc<SingleFlight<S, T>>,
    flight: Arc<Flight<T>>,
    state: S,
    landed: bool,
}

impl Baggage for () {}

/// What [`SingleFlight::board`] found.
pub(crate) enum Boarding<S: Baggage, T, R> {
    /// Nobody flew, and there was no need to.
    Settled(R),
    /// Somebody flies already.
    Joined(Arc<Flight<T>>),
    /// This caller starts the work.
    TookOff(Takeoff<S, T>),
}

impl<S: Baggage, T> SingleFlight<S, T> {
    pub(crate) fn new() -> Self {
        Self { slot: Mutex::new(Slot { state: S::default(), flight: None }), flying: AtomicBool::new(false) }
    }

    /// Whether somebody flies. A hint: by the time it is read, the flight may have landed.
    pub(crate) fn is_flying(&self) -> bool {
        self.flying.load(Ordering::Relaxed)
    }

    /// Lets the first of many callers pass that find nobody flying. That one must [`board`](Self::board) at once.
    pub(crate) fn claim(&self) -> bool {
        self.flying.compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Joins the flight under way, or starts one unless `settled` finds that it is not needed any more.
    ///
    /// `settled` runs under the lock, since a flight may have landed between the caller's own look and this call.
    pub(crate) fn board<R>(self: &Arc<Self>, settled: impl FnOnce(&mut S) -> Option<R>) -> Boarding<S, T, R> {
        let mut slot = self.lock();
        if let Some(flight) = &slot.flight {
            return Boarding::Joined(Arc::clone(flight));
        }
        // Nobody flies, whatever `claim` said; not even if `settled` panics.
        self.flying.store(false, Ordering::Relaxed);
        if let Some(answer) = settled(&mut slot.state) {
            return Boarding::Settled(answer);
        }
        let flight = Arc::new(Flight { landed: Notify::new(), outcome: OnceLock::new() });
        slot.flight = Some(Arc::clone(&flight));
        self.flying.store(true, Ordering::Relaxed);
        let left = slot.state.left_behind();
        let state = mem::replace(&mut slot.state, left);
        Boarding::TookOff(Takeoff { flights: Arc::clone(self), flight, state, landed: false })
    }

    /// Takes `flight` out of the slot, if it is still there.
    fn clear(&self, flight: &Arc<Flight<T>>, state: Option<S>) {
        let mut slot = self.lock();
        if slot.flight.as_ref().is_some_and(|current| Arc::ptr_eq(current, flight)) {
            let finished = slot.flight.take();
            let replaced = state.map(|state| mem::replace(&mut slot.state, state));
            self.flying.store(false, Ordering::Relaxed);
            drop(slot);
            drop((finished, replaced));
        }
    }

    /// A poisoned lock is taken: nothing under it can be left half-done.
    fn lock(&self) -> MutexGuard<'_, Slot<S, T>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Baggage, T> Takeoff<S, T> {
    /// What to wait on for the outcome.
    pub(crate) fn flight(&self) -> Arc<Flight<T>> {
        Arc::clone(&self.flight)
    }

    /// What the flight took along.
    pub(crate) fn state(&mut self) -> &mut S {
        &mut self.state
    }

    /// Ends the flight: the state goes back, those who wait get the outcome.
    pub(crate) fn land(mut self, outcome: T) {
        // Disarmed first: from here on a new flight may be in the slot, and this guard must not touch it.
        self.landed = true;
        let state = mem::take(&mut self.state);
        self.flights.clear(&self.flight, Some(state));
        self.flight.publish(Some(outcome));
    }
}

impl<S: Baggage, T> Drop for Takeoff<S, T> {
    fn drop(&mut self) {
        if !self.landed {
            self.flights.clear(&self.flight, None);
            self.flight.publish(None);
        }
    }
}

impl<T> Flight<T> {
    fn publish(&self, outcome: Option<T>) {
        // A flight ends once (rule 2), so the cell is empty.
        if self.outcome.set(outcome).is_ok() {
            self.landed.notify_waiters();
        }
    }
}

impl<T: Clone> Flight<T> {
    /// Waits for the outcome; `None` when the flight was abandoned.
    ///
    /// Cancel safe: whoever stops waiting changes nothing for the flight and the others.
    pub(crate) async fn landed(&self) -> Option<T> {
        // Created before the look at the cell: it receives every wake-up from here on.
        let landed = self.landed.notified();
        if let Some(outcome) = self.outcome.get() {
            return outcome.clone();
        }
        landed.await;
        self.outcome.get().cloned().flatten()
    }
}

#[cfg(test)]
mod tests;
