//! Whoever stops waiting changes nothing; a flight ends once, and it ends nobody but itself.

use std::cell::RefCell;
use std::convert::Infallible;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, TryLockError, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use tokio_test::task::{self, Spawn};
use tokio_test::{assert_pending, assert_ready_eq};

use super::{Baggage, Boarding, Flight, SingleFlight, Takeoff};

const CALLERS: usize = 5;
const THREADS: usize = 8;
const ROUNDS: usize = 400;
/// In one round: a flight that is abandoned, and the one after it.
const MOST_BOARDINGS: usize = 2;

type Outcome = &'static str;
type Waiting = Pin<Box<dyn Future<Output = Option<Outcome>> + Send>>;

/// Boards as callers do, and counts the take-offs. The state counts the flights that landed.
struct Desk {
    flights: Arc<SingleFlight<u32, Outcome>>,
    takeoffs: usize,
}

impl Desk {
    fn new() -> Self {
        Self { flights: Arc::new(SingleFlight::new()), takeoffs: 0 }
    }

    fn board(&mut self) -> (Arc<Flight<Outcome>>, Option<Takeoff<u32, Outcome>>) {
        match self.flights.board(|_| None::<Infallible>) {
            Boarding::Settled(never) => match never {},
            Boarding::Joined(flight) => (flight, None),
            Boarding::TookOff(takeoff) => {
                self.takeoffs += 1;
                (takeoff.flight(), Some(takeoff))
            }
        }
    }

    fn take_off(&mut self) -> Takeoff<u32, Outcome> {
        self.board().1.expect("nobody flies")
    }

    fn join(&mut self) -> Arc<Flight<Outcome>> {
        let (flight, takeoff) = self.board();
        assert!(takeoff.is_none(), "somebody flies");
        flight
    }
}

fn waiting(flight: Arc<Flight<Outcome>>) -> Waiting {
    Box::pin(async move { flight.landed().await })
}

fn waiter(flight: Arc<Flight<Outcome>>) -> Spawn<Waiting> {
    task::spawn(waiting(flight))
}

impl Baggage for u32 {}
impl Baggage for usize {}
impl Baggage for Hooked {}

fn land(mut takeoff: Takeoff<u32, Outcome>, outcome: Outcome) {
    *takeoff.state() += 1;
    takeoff.land(outcome);
}

/// A task that panics half-way drops its take-off while it unwinds.
fn panic_with(takeoff: Takeoff<u32, Outcome>) {
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _takeoff = takeoff;
        resume_unwind(Box::new("half-way"))
    }));
    assert!(unwound.is_err());
}

/// Runs once, when the task that it belongs to is woken.
struct OnWake(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl OnWake {
    fn waker(run: impl FnOnce() + Send + 'static) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(Box::new(run))))))
    }
}

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        let run = self.0.lock().expect("nobody panics here").take();
        if let Some(run) = run {
            run();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Leaves {
    BeforeItIsPolled,
    WhileItWaits,
    /// Between the wake-up and the poll that would fetch the outcome.
    WhenItIsWoken,
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Lands,
    IsDropped,
    Panics,
}

/// Five callers board, those in `leavers` are dropped: at every point, whichever way the flight ends.
fn callers_leave(leavers: &[usize]) {
    for leaves in [Leaves::BeforeItIsPolled, Leaves::WhileItWaits, Leaves::WhenItIsWoken] {
        for ends in [Ends::Lands, Ends::IsDropped, Ends::Panics] {
            // The first caller takes off, the others join.
            let mut desk = Desk::new();
            let mut takeoff = desk.take_off();
            let mut waiters = vec![Some(waiter(takeoff.flight()))];
            waiters.resize_with(CALLERS, || Some(waiter(desk.join())));
            let leave = |now, waiters: &mut Vec<Option<_>>| {
                if leaves == now {
                    for leaver in leavers {
                        waiters[*leaver] = None;
                    }
                }
            };

            leave(Leaves::BeforeItIsPolled, &mut waiters);
            for waiter in waiters.iter_mut().flatten() {
                assert_pending!(waiter.poll());
            }
            leave(Leaves::WhileItWaits, &mut waiters);
            // Nobody's leaving has ended the flight, or touched what it took along.
            assert!(desk.flights.is_flying(), "{leaves:?} {ends:?}");
            assert_eq!(*takeoff.state(), 0, "{leaves:?} {ends:?}");

            let (outcome, landed) = match ends {
                Ends::Lands => {
                    land(takeoff, "token");
                    (Some("token"), 1)
                }
                Ends::IsDropped => {
                    drop(takeoff);
                    (None, 0)
                }
                Ends::Panics => {
                    panic_with(takeoff);
                    (None, 0)
                }
            };
            assert!(waiters.iter().flatten().all(Spawn::is_woken), "{leaves:?} {ends:?}");
            leave(Leaves::WhenItIsWoken, &mut waiters);

            // All who stayed have the one outcome, of the one flight.
            for waiter in waiters.iter_mut().flatten() {
                assert_ready_eq!(waiter.poll(), outcome, "{leaves:?} {ends:?}");
            }
            assert_eq!(waiters.iter().flatten().count(), CALLERS - leavers.len());
            assert_eq!(desk.takeoffs, 1, "{leaves:?} {ends:?}");
            assert!(!desk.flights.is_flying(), "{leaves:?} {ends:?}");

            // The next one takes off with what the last one brought back, or with the default if it was lost.
            assert_eq!(*desk.take_off().state(), landed, "{leaves:?} {ends:?}");
            assert_eq!(desk.takeoffs, 2, "{leaves:?} {ends:?}");
        }
    }
}

// lessons 1, 35
#[test]
fn a10_the_first_caller_dropped_at_any_point_changes_nothing() {
    callers_leave(&[0]);
}

// lessons 1, 35
#[test]
fn a10_one_waiter_dropped_at_any_point_changes_nothing() {
    callers_leave(&[3]);
}

// lessons 1, 35
#[test]
fn a10_all_callers_dropped_at_any_point_change_nothing() {
    callers_leave(&[0, 1, 2, 3, 4]);
}

// lesson 1
#[test]
fn a10_a_flight_whose_last_handle_is_gone_completes_and_leaves_nothing_behind() {
    let mut desk = Desk::new();
    let takeoff = desk.take_off();
    let mut waiter = waiter(takeoff.flight());
    assert_pending!(waiter.poll());
    let flights = Arc::downgrade(&desk.flights);
    let flight = Arc::downgrade(&takeoff.flight);

    // The provider goes; the flight goes on, and the one who still waits gets its outcome.
    drop(desk);
    land(takeoff, "token");
    assert!(waiter.is_woken());
    assert_ready_eq!(waiter.poll(), Some("token"));

    // Neither the slot nor the outcome outlives those who hold them.
    assert_eq!(flights.strong_count(), 0);
    drop(waiter);
    assert_eq!(flight.strong_count(), 0);
}

#[test]
fn a10_a_waiter_dropped_while_the_outcome_is_published_changes_nothing() {
    for lands in [true, false] {
        // 40 waiters: more than are woken in one go, so that some leave while others still wait to be woken.
        let mut desk = Desk::new();
        let takeoff = desk.take_off();
        let mut first = waiting(takeoff.flight());
        let leavers: Arc<Mutex<Vec<_>>> = Arc::default();
        let mut stayers = Vec::new();
        for _ in 0..20 {
            leavers.lock().expect("nobody panics here").push(waiter(desk.join()));
            stayers.push(waiter(desk.join()));
        }

        // The first one, when it is woken, drops 20 others.
        let dropped = Arc::clone(&leavers);
        let waker = OnWake::waker(move || dropped.lock().expect("nobody panics here").clear());
        assert_pending!(first.as_mut().poll(&mut Context::from_waker(&waker)));
        for waiter in leavers.lock().expect("nobody panics here").iter_mut().chain(&mut stayers) {
            assert_pending!(waiter.poll());
        }

        let outcome = lands.then_some("token");
        if lands {
            land(takeoff, "token");
        } else {
            drop(takeoff);
        }
        assert_eq!(leavers.lock().expect("nobody panics here").len(), 0);
        for stayer in &mut stayers {
            assert!(stayer.is_woken());
            assert_ready_eq!(stayer.poll(), outcome);
        }
        assert_eq!(desk.takeoffs, 1);
    }
}

#[test]
fn a1_all_who_board_during_a_flight_share_its_outcome() {
    let mut desk = Desk::new();
    let takeoff = desk.take_off();
    let mut waiters = vec![waiter(takeoff.flight())];
    waiters.resize_with(1000, || waiter(desk.join()));
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }

    land(takeoff, "token");
    for waiter in &mut waiters {
        assert!(waiter.is_woken());
        assert_ready_eq!(waiter.poll(), Some("token"));
    }
    assert_eq!(desk.takeoffs, 1);
}

#[test]
fn a1_a_waiter_that_is_first_polled_after_the_landing_has_the_outcome_at_once() {
    let mut desk = Desk::new();
    let takeoff = desk.take_off();
    let mut late = waiter(takeoff.flight());
    land(takeoff, "token");

    // Also when another flight is under way by then: it waits for its own.
    let second = desk.take_off();
    assert_ready_eq!(late.poll(), Some("token"));
    drop(second);
}

// lesson 35
#[test]
fn a19_an_abandoned_flight_wakes_all_who_wait_and_loses_what_it_took_along() {
    let mut desk = Desk::new();
    // Three flights land: the state is 3.
    for _ in 0..3 {
        let takeoff = desk.take_off();
        land(takeoff, "token");
    }
    let mut abandoned = desk.take_off();
    assert_eq!(*abandoned.state(), 3);
    let mut waiters: Vec<_> = (0..CALLERS).map(|_| waiter(desk.join())).collect();
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }

    drop(abandoned);
    for waiter in &mut waiters {
        assert!(waiter.is_woken());
        assert_ready_eq!(waiter.poll(), None);
    }
    assert!(!desk.flights.is_flying());

    // One of them takes off again, with the default; the others join it.
    let mut again = desk.take_off();
    assert_eq!(*again.state(), 0);
    let mut joined = waiter(desk.join());
    assert_pending!(joined.poll());
    land(again, "another token");
    assert_ready_eq!(joined.poll(), Some("another token"));
    assert_eq!(desk.takeoffs, 5);
}

#[test]
fn a19_a_runtime_that_is_shut_down_abandons_the_flight_of_its_task() {
    let mut desk = Desk::new();
    let takeoff = desk.take_off();
    let mut waiter = waiter(takeoff.flight());
    assert_pending!(waiter.poll());

    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.spawn(async move {
        let _takeoff = takeoff;
        std::future::pending::<()>().await;
    });
    // The task has begun, and hangs.
    runtime.block_on(tokio::task::yield_now());
    assert!(!waiter.is_woken());

    drop(runtime);
    assert!(waiter.is_woken());
    assert_ready_eq!(waiter.poll(), None);
    drop(desk.take_off());
    assert_eq!(desk.takeoffs, 2);
}

// lesson 42
#[test]
fn a_guard_dropped_late_does_not_end_the_next_flight() {
    for ends in [Ends::Lands, Ends::IsDropped, Ends::Panics] {
        // Flights one after another: whoever is woken by the end of one takes off at once, from within its guard.
        let desk = Arc::new(Mutex::new(Desk::new()));
        let mut takeoff = desk.lock().expect("nobody panics here").take_off();
        for round in 1..=ROUNDS {
            let flight = takeoff.flight();
            let next = Arc::new(Mutex::new(None));
            let (from, to) = (Arc::clone(&desk), Arc::clone(&next));
            let waker = OnWake::waker(move || {
                let mut desk = from.lock().expect("nobody panics here");
                // Woken under the lock it would wait for itself: then it does not board, and the test fails below.
                if desk.flights.slot.try_lock().is_ok() {
                    *to.lock().expect("nobody panics here") = Some(desk.take_off());
                }
            });
            let mut first = waiting(Arc::clone(&flight));
            assert_pending!(first.as_mut().poll(&mut Context::from_waker(&waker)));
            match ends {
                Ends::Lands => land(takeoff, "token"),
                Ends::IsDropped => drop(takeoff),
                Ends::Panics => panic_with(takeoff),
            }
            // Everything of the first flight goes, and the second still flies: whoever boards joins it and waits.
            drop((first, flight));
            let second =
                next.lock().expect("nobody panics here").take().expect("the waiter was woken, and not under the lock");
            let mut desk = desk.lock().expect("nobody panics here");
            assert!(desk.flights.is_flying());
            let joined = desk.join();
            assert!(Arc::ptr_eq(&joined, &second.flight), "{ends:?}, round {round}");
            assert_pending!(waiter(joined).poll());
            assert_eq!(desk.takeoffs, round + 1);
            takeoff = second;
        }
        // The last of them ends as any other.
        let mut last = waiter(takeoff.flight());
        assert_pending!(last.poll());
        land(takeoff, "the last token");
        assert_ready_eq!(last.poll(), Some("the last token"));
    }
}

thread_local! {
    static WHEN_A_STATE_IS_DROPPED: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Its first drop after the hook is set runs the hook: in a landing, that is the state left behind in the slot, which
/// goes between the emptying of the slot and the publication.
#[derive(Default)]
struct Hooked;

impl Drop for Hooked {
    fn drop(&mut self) {
        if let Some(hook) = WHEN_A_STATE_IS_DROPPED.take() {
            hook();
        }
    }
}

// lesson 42
#[test]
fn whoever_boards_between_emptying_and_publication_starts_a_new_flight() {
    let flights: Arc<SingleFlight<Hooked, Outcome>> = Arc::new(SingleFlight::new());
    let Boarding::TookOff(first) = flights.board(|_| None::<()>) else { panic!("nobody flies") };
    let waiter = Rc::new(RefCell::new(waiter(first.flight())));
    assert_pending!(waiter.borrow_mut().poll());

    let second = Rc::new(RefCell::new(None));
    let (in_the_gap, boarded, waits) = (Arc::clone(&flights), Rc::clone(&second), Rc::clone(&waiter));
    WHEN_A_STATE_IS_DROPPED.set(Some(Box::new(move || {
        // The slot is empty and its lock free, and nobody has been told yet.
        assert!(in_the_gap.slot.try_lock().is_ok());
        assert!(!in_the_gap.is_flying());
        assert!(!waits.borrow().is_woken());
        let Boarding::TookOff(takeoff) = in_the_gap.board(|_| None::<()>) else { panic!("joined a finished flight") };
        *boarded.borrow_mut() = Some(takeoff);
    })));
    first.land("token");

    // The first flight has ended, the second has not.
    assert!(waiter.borrow().is_woken());
    assert_ready_eq!(waiter.borrow_mut().poll(), Some("token"));
    let second = second.take().expect("the hook ran");
    assert!(flights.is_flying());
    let Boarding::Joined(joined) = flights.board(|_| None::<()>) else { panic!("the second flight was ended") };
    assert!(Arc::ptr_eq(&joined, &second.flight));
    second.land("another token");
    assert_ready_eq!(self::waiter(joined).poll(), Some("another token"));
}

#[test]
fn nobody_is_woken_or_dropped_under_the_lock() {
    for lands in [true, false] {
        let flights: Arc<SingleFlight<Hooked, Outcome>> = Arc::new(SingleFlight::new());
        let Boarding::TookOff(takeoff) = flights.board(|_| None::<()>) else { panic!("nobody flies") };
        let free = Arc::new(Mutex::new(Vec::new()));

        let (slot, seen) = (Arc::clone(&flights), Arc::clone(&free));
        WHEN_A_STATE_IS_DROPPED.set(Some(Box::new(move || {
            seen.lock().expect("nobody panics here").push(("dropped", slot.slot.try_lock().is_ok()));
        })));
        let (slot, seen) = (Arc::clone(&flights), Arc::clone(&free));
        let waker = OnWake::waker(move || {
            seen.lock().expect("nobody panics here").push(("woken", slot.slot.try_lock().is_ok()));
        });
        let mut first = waiting(takeoff.flight());
        assert_pending!(first.as_mut().poll(&mut Context::from_waker(&waker)));

        // What a landing replaces goes before the wake-up, what an abandoned flight took along goes after it.
        if lands {
            takeoff.land("token");
            assert_eq!(*free.lock().expect("nobody panics here"), [("dropped", true), ("woken", true)]);
        } else {
            drop(takeoff);
            assert_eq!(*free.lock().expect("nobody panics here"), [("woken", true), ("dropped", true)]);
        }
    }
}

#[test]
fn settled_runs_under_the_lock_and_prevents_the_take_off() {
    let flights: Arc<SingleFlight<u32, Outcome>> = Arc::new(SingleFlight::new());
    let boarding = flights.board(|state| {
        let locked = matches!(flights.slot.try_lock(), Err(TryLockError::WouldBlock));
        *state = 7;
        Some(locked)
    });
    assert!(matches!(boarding, Boarding::Settled(true)));
    assert!(!flights.is_flying());

    // What it wrote has stayed, and what it writes now goes with the flight.
    let Boarding::TookOff(mut takeoff) = flights.board(|state| {
        *state += 1;
        None::<()>
    }) else {
        panic!("nothing was settled")
    };
    assert_eq!(*takeoff.state(), 8);

    // It is not asked while somebody flies: what it would read is under way.
    let joined = flights.board(|_| -> Option<()> { panic!("asked during a flight") });
    assert!(matches!(joined, Boarding::Joined(_)));
    takeoff.land("token");
    assert!(matches!(flights.board(|state| Some(*state)), Boarding::Settled(8)));
}

// lesson 35
#[test]
fn a_panic_in_settled_wedges_nobody() {
    let mut desk = Desk::new();
    let flights = Arc::clone(&desk.flights);
    // On another thread, as it would be: the lock is poisoned by it.
    let panicked = thread::spawn(move || {
        drop(flights.board(|_| -> Option<()> { resume_unwind(Box::new("in settled")) }));
    });
    assert!(panicked.join().is_err());
    assert!(desk.flights.slot.is_poisoned());
    assert!(!desk.flights.is_flying());

    // Taking off, joining, landing, abandoning: all as before.
    let takeoff = desk.take_off();
    let mut waiter = waiter(desk.join());
    assert_pending!(waiter.poll());
    land(takeoff, "token");
    assert_ready_eq!(waiter.poll(), Some("token"));
    let mut abandoned = desk.take_off();
    assert_eq!(mem::take(abandoned.state()), 1);
    drop(abandoned);
    assert!(!desk.flights.is_flying());
    assert_eq!(desk.takeoffs, 2);
}

#[test]
fn a3_claim_lets_one_of_many_through_until_its_flight_has_ended() {
    let mut desk = Desk::new();
    let claims = |desk: &Desk| (0..100).filter(|_| desk.flights.claim()).count();

    // The claimant flies: nobody else passes, before it boards and after.
    assert_eq!(claims(&desk), 1);
    assert_eq!(claims(&desk), 0);
    let takeoff = desk.take_off();
    assert_eq!(claims(&desk), 0);
    land(takeoff, "token");
    assert_eq!(claims(&desk), 1);

    // It finds that there is no need to fly: the next one may look again.
    assert!(matches!(desk.flights.board(|_| Some(())), Boarding::Settled(())));
    assert_eq!(claims(&desk), 1);

    // Its flight is abandoned.
    drop(desk.take_off());
    assert_eq!(claims(&desk), 1);

    // Without a claim, a flight bars it all the same.
    drop(desk.take_off());
    let takeoff = desk.take_off();
    assert_eq!(claims(&desk), 0);
    drop(takeoff);
    assert_eq!(desk.takeoffs, 4);
}

/// What the threads of one round did.
#[derive(Default)]
struct Round {
    /// A thread waited in vain: the rounds that follow are not played.
    stuck: AtomicBool,
    boarded: AtomicUsize,
    claimed: AtomicUsize,
    takeoffs: AtomicUsize,
    joined: AtomicUsize,
    abandoned: AtomicUsize,
    outcomes: Mutex<Vec<usize>>,
}

/// All threads do `caller` at the same time, round after round. Asserting is left to the end: a thread that panics
/// between two barriers would hang the others.
fn stress(caller: impl Fn(usize, &Round) + Sync) -> Vec<Round> {
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| Round::default()).collect();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (number, round) in rounds.iter().enumerate() {
                    barrier.wait();
                    if number > 0 && rounds[number - 1].stuck.load(Ordering::SeqCst) {
                        round.stuck.store(true, Ordering::SeqCst);
                    } else {
                        caller(number, round);
                    }
                }
            });
        }
    });
    assert_eq!(rounds.iter().position(|round| round.stuck.load(Ordering::SeqCst)), None, "stuck in this round");
    rounds
}

/// Counts one up, and says whether it was the first.
fn count(counter: &AtomicUsize) -> bool {
    counter.fetch_add(1, Ordering::SeqCst) == 0
}

/// Waits as a thread does, but not for ever: a wake-up that never comes is to fail the test, not to hang it.
fn wait(flight: &Flight<usize>) -> Result<Option<usize>, mpsc::RecvTimeoutError> {
    let mut landed = pin!(flight.landed());
    let (wake, woken) = mpsc::channel();
    loop {
        let wake = wake.clone();
        // Whoever has given up is not there any more.
        let waker = OnWake::waker(move || {
            let _ = wake.send(());
        });
        if let Poll::Ready(outcome) = landed.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Ok(outcome);
        }
        woken.recv_timeout(Duration::from_secs(10))?;
    }
}

/// The state is the number of the round whose flight landed last, the outcome the same; 0 is the default.
type Numbered = Arc<SingleFlight<usize, usize>>;

/// Boards until there is an outcome of this round. In the rounds for which `waits_for_all` holds, whoever takes off
/// lands when all have boarded; else at once. If `first_is_abandoned`, the first flight of a round is dropped.
fn board_until_landed(flights: &Numbered, number: usize, round: &Round, waits_for_all: bool, first_is_abandoned: bool) {
    let number = number + 1;
    for _ in 0..MOST_BOARDINGS {
        let boarding = flights.board(|state| (*state == number).then_some(number));
        count(&round.boarded);
        let outcome = match boarding {
            Boarding::Settled(outcome) => Some(outcome),
            Boarding::Joined(flight) => {
                count(&round.joined);
                let Ok(outcome) = wait(&flight) else { break };
                if outcome.is_none() {
                    count(&round.abandoned);
                }
                outcome
            }
            Boarding::TookOff(mut takeoff) => {
                let is_first = count(&round.takeoffs);
                while waits_for_all && round.boarded.load(Ordering::SeqCst) < THREADS {
                    thread::yield_now();
                }
                if is_first && first_is_abandoned {
                    None
                } else {
                    *takeoff.state() = number;
                    takeoff.land(number);
                    Some(number)
                }
            }
        };
        if let Some(outcome) = outcome {
            round.outcomes.lock().expect("nobody panics here").push(outcome);
            return;
        }
    }
    round.stuck.store(true, Ordering::SeqCst);
}

#[test]
fn a1_threads_that_board_at_the_same_time_share_one_flight() {
    let flights = Numbered::new(SingleFlight::new());
    let rounds = stress(|number, round| {
        // In every other round the landing races with the boarding.
        board_until_landed(&flights, number, round, number % 2 == 0, false);
    });
    for (number, round) in rounds.into_iter().enumerate() {
        assert_eq!(round.takeoffs.into_inner(), 1, "round {number}");
        assert_eq!(round.outcomes.into_inner().expect("nobody panics here"), [number + 1; THREADS]);
        if number % 2 == 0 {
            assert_eq!(round.joined.into_inner(), THREADS - 1, "round {number}");
        }
    }
}

// lesson 35
#[test]
fn a19_threads_whose_flight_is_abandoned_share_one_more() {
    let flights = Numbered::new(SingleFlight::new());
    let rounds = stress(|number, round| board_until_landed(&flights, number, round, true, true));
    for (number, round) in rounds.into_iter().enumerate() {
        // The first flight, which all had joined, and one more.
        assert_eq!(round.takeoffs.into_inner(), 2, "round {number}");
        assert_eq!(round.abandoned.into_inner(), THREADS - 1, "round {number}");
        assert_eq!(round.outcomes.into_inner().expect("nobody panics here"), [number + 1; THREADS]);
    }
}

#[test]
fn a3_claim_lets_one_of_many_threads_through() {
    let flights = Numbered::new(SingleFlight::new());
    let rounds = stress(|number, round| {
        let claimed = flights.claim();
        // The claimant boards when all have tried, else a late one would pass after its landing.
        count(&round.boarded);
        while round.boarded.load(Ordering::SeqCst) < THREADS {
            thread::yield_now();
        }
        if claimed {
            count(&round.claimed);
            if let Boarding::TookOff(takeoff) = flights.board(|_| None::<()>) {
                count(&round.takeoffs);
                takeoff.land(number);
            }
        }
    });
    for (number, round) in rounds.into_iter().enumerate() {
        assert_eq!(round.claimed.into_inner(), 1, "round {number}");
        assert_eq!(round.takeoffs.into_inner(), 1, "round {number}");
    }
}
