//! The original is asked for while the first attempt holds it (C6).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio_test::task::spawn;

use super::script::{
    Polled, Script, Step, call_back, called_back, data, outlook, played, poll, poll_all, polled, recorded, trailers,
};
use crate::replay::body::{Recording, ReplayBody};

fn body() -> Script {
    Script::of([data("one"), Step::Wait, data("two"), Step::Trailers(trailers())])
}

/// What the second attempt sees of it; the wait is over if the first one met it.
fn whole(waits: bool) -> Vec<Polled> {
    let wait = waits.then_some(Polled::Pending);
    let end = [polled("two"), Polled::Trailers(trailers()), Polled::End];
    [polled("one")].into_iter().chain(wait).chain(end).collect()
}

#[test]
fn c6_a_body_that_is_held_is_not_back() {
    for polls in 0..4 {
        let (mut attempt, recording) = recorded(body(), 100);
        for _ in 0..polls {
            poll(&mut attempt);
        }
        // It can be played again, once it is back; it is not.
        assert!(call_back(&recording));
        assert!(recording.play().is_none());
        // Nobody waits for it any more: it goes on as if it had not been asked for.
        assert_eq!(poll_all(&mut attempt), whole(true).split_off(polls));
    }
}

/// There is an answer that a failure might spoil, and no decision yet.
// lessons 23, 29
#[test]
fn c6_halted_the_attempt_takes_no_further_frame_and_goes_on_when_it_is_let_go() {
    for polls in 0..4 {
        let (mut attempt, recording) = recorded(body(), 100);
        for _ in 0..polls {
            poll(&mut attempt);
        }
        assert!(recording.halt());
        assert_eq!(poll(&mut attempt), Polled::Pending);
        assert_eq!(poll(&mut attempt), Polled::Pending);
        assert!(!attempt.is_woken());
        drop(recording);
        assert!(attempt.is_woken());
        assert_eq!(poll_all(&mut attempt), whole(true).split_off(polls));
    }
}

// lesson 23
#[test]
fn c6_halted_the_attempt_is_woken_when_it_is_called_back() {
    let (mut attempt, recording) = recorded(body(), 100);
    poll(&mut attempt);
    assert!(recording.halt());
    assert_eq!(poll(&mut attempt), Polled::Pending);
    assert!(call_back(&recording));
    assert!(attempt.is_woken());
    assert_eq!(poll(&mut attempt), called_back());
    assert_eq!(poll_all(&mut played(recording)), whole(true));
}

// lesson 23
#[test]
fn c6_who_waits_for_the_body_is_woken_when_it_is_back() {
    for dropped in [false, true] {
        let (mut attempt, recording) = recorded(body(), 100);
        let mut asker = spawn(());
        assert!(asker.enter(|cx, _| recording.poll_back(cx)).is_pending());
        assert!(!asker.is_woken());
        if dropped {
            drop(attempt);
        } else {
            assert_eq!(poll(&mut attempt), called_back());
        }
        assert!(asker.is_woken());
        assert!(asker.enter(|cx, _| recording.poll_back(cx)).is_ready());
        assert_eq!(poll_all(&mut played(recording)), whole(true));
    }
}

// lesson 24
#[test]
fn c6_who_waits_for_the_body_is_woken_when_it_is_lost() {
    // The poll that exceeds the limit, or fails, has begun when the body is called back.
    for (step, limit) in [(data("two"), 2), (Step::Fail, 100)] {
        let (slot, asker) = (Slot::default(), Rc::new(RefCell::new(spawn(()))));
        let (calls, asks) = (Rc::clone(&slot), Rc::clone(&asker));
        let call_back = move || {
            let pending = |cx: &mut Context<'_>| calls.borrow().as_ref().unwrap().poll_back(cx).is_pending();
            assert!(asks.borrow_mut().enter(|cx, _| pending(cx)));
        };
        let (mut attempt, recording) = recorded(Script::of([Step::Meanwhile(Box::new(call_back)), step]), limit);
        slot.replace(Some(recording));
        poll(&mut attempt);
        assert!(asker.borrow().is_woken());
        let recording = slot.take().unwrap();
        assert!(asker.borrow_mut().enter(|cx, _| recording.poll_back(cx)).is_ready());
        assert!(recording.play().is_none());
    }
}

// lesson 23
#[test]
fn c6_called_back_the_next_poll_fails_and_gives_the_body_back() {
    // Before the first poll; after a frame; after one that had to wait; after data that trailers follow.
    for polls in 0..4 {
        let (mut attempt, recording) = recorded(body(), 100);
        for _ in 0..polls {
            poll(&mut attempt);
        }
        assert!(call_back(&recording));
        // Called back twice is called back.
        assert!(call_back(&recording));
        assert_eq!(poll(&mut attempt), called_back());
        assert_eq!(outlook(&*attempt), (0, Some(0), true));
        assert_eq!(poll(&mut attempt), Polled::End);
        // Back, though the client holds what is left of the attempt.
        assert_eq!(poll_all(&mut played(recording)), whole(polls < 2));
        assert_eq!(poll(&mut attempt), Polled::End);
    }
}

// lesson 23
#[test]
fn c6_called_back_while_it_waits_for_a_frame_the_attempt_is_woken() {
    let (mut attempt, recording) = recorded(body(), 100);
    poll(&mut attempt);
    assert_eq!(poll(&mut attempt), Polled::Pending);
    assert!(!attempt.is_woken());
    assert!(call_back(&recording));
    assert!(attempt.is_woken());
    assert_eq!(poll(&mut attempt), called_back());
    assert_eq!(poll_all(&mut played(recording)), whole(false));
}

#[test]
fn c6_the_task_that_waited_last_is_woken() {
    let (attempt, recording) = ReplayBody::recorded(Script::of([Step::Wait, Step::Wait, Step::Wait]), 100);
    let recording = recording.unwrap();
    // The same task twice: its waker is kept once.
    let mut first = spawn(attempt);
    assert_eq!(first.waker_ref_count(), 1);
    poll(&mut first);
    poll(&mut first);
    assert_eq!(first.waker_ref_count(), 2);

    // Moved to another task, as hyper does with the body of a connection: the first is forgotten.
    let attempt = std::mem::replace(&mut *first, ReplayBody::untouched(Script::of([])));
    let mut second = spawn(attempt);
    poll(&mut second);
    assert_eq!((first.waker_ref_count(), second.waker_ref_count()), (1, 2));
    assert!(call_back(&recording));
    assert!(!first.is_woken());
    assert!(second.is_woken());
    assert_eq!(second.waker_ref_count(), 1);
}

#[test]
fn c6_called_back_after_it_was_given_back_nothing_more_happens() {
    // After the end, and dropped at each point before.
    for polls in 0..=5 {
        let (mut attempt, recording) = recorded(body(), 100);
        for _ in 0..polls {
            poll(&mut attempt);
        }
        if polls == 5 {
            assert!(call_back(&recording));
            assert!(!attempt.is_woken());
            assert_eq!(poll(&mut attempt), Polled::End);
        } else {
            drop(attempt);
            assert!(call_back(&recording));
        }
        assert_eq!(poll_all(&mut played(recording)), whole(polls < 2));
    }
}

#[test]
fn c6_called_back_a_body_that_is_dropped_instead_of_polled_is_back_as_well() {
    let (mut attempt, recording) = recorded(body(), 100);
    poll(&mut attempt);
    assert!(call_back(&recording));
    drop(attempt);
    assert_eq!(poll_all(&mut played(recording)), whole(true));
}

/// As a body that is received over HTTP/2 does: its end comes by itself.
#[test]
fn c6_called_back_where_nothing_is_left_the_attempt_is_not_failed() {
    let (mut attempt, recording) = recorded(Script::of([data("one"), Step::Wait]).telling_its_end(true), 100);
    poll(&mut attempt);
    assert_eq!(poll(&mut attempt), Polled::Pending);
    assert!(outlook(&*attempt).2);
    assert!(call_back(&recording));
    assert!(attempt.is_woken());
    // It has said that nothing follows.
    assert_eq!(poll(&mut attempt), Polled::End);
    assert_eq!(poll_all(&mut played(recording)), [polled("one"), Polled::End]);
}

#[test]
fn c6_called_back_and_then_not_wanted_the_body_goes_with_the_attempt() {
    let alive = Arc::new(());
    let (mut attempt, recording) = recorded(body().watched(&alive), 100);
    assert!(call_back(&recording));
    drop(recording);
    assert_eq!(Arc::strong_count(&alive), 2);
    assert_eq!(poll_all(&mut attempt), whole(true));
    assert_eq!(Arc::strong_count(&alive), 1);
}

// Called back on one thread while the attempt polls on another

type Slot = Rc<RefCell<Option<Recording<Script>>>>;

/// A body that is called back during the poll that does `step`.
fn called_back_during(step: Step, limit: usize) -> (tokio_test::task::Spawn<ReplayBody<Script>>, Slot) {
    let slot = Slot::default();
    let calls = Rc::clone(&slot);
    let call_back = move || assert!(call_back(calls.borrow().as_ref().unwrap()));
    let body = Script::of([data("one"), Step::Meanwhile(Box::new(call_back)), step, data("rest")]);
    let (attempt, recording) = recorded(body, limit);
    slot.replace(Some(recording));
    (attempt, slot)
}

// lesson 23
#[test]
fn c6_called_back_during_a_poll_that_has_to_wait_fails_that_poll() {
    let (mut attempt, recording) = called_back_during(Step::Wait, 100);
    poll(&mut attempt);
    // Nobody would wake it: the recording had no waker yet.
    assert_eq!(poll(&mut attempt), called_back());
    let second = poll_all(&mut played(recording.take().unwrap()));
    assert_eq!(second, [polled("one"), polled("rest"), Polled::End]);
}

// lesson 23
#[test]
fn c6_called_back_during_a_poll_that_brings_a_frame_fails_the_next_one_and_loses_nothing() {
    let (mut attempt, recording) = called_back_during(data("two"), 100);
    poll(&mut attempt);
    assert_eq!(poll(&mut attempt), polled("two"));
    assert_eq!(poll(&mut attempt), called_back());
    let second = poll_all(&mut played(recording.take().unwrap()));
    assert_eq!(second, [polled("one"), polled("two"), polled("rest"), Polled::End]);
}

// lesson 24
#[test]
fn c6_called_back_during_a_poll_that_exceeds_the_limit_or_fails_is_not_played_again() {
    let (mut attempt, recording) = called_back_during(data("two"), 5);
    poll(&mut attempt);
    assert_eq!(poll_all(&mut attempt), [polled("two"), polled("rest"), Polled::End]);
    assert!(recording.take().unwrap().play().is_none());

    let (mut attempt, recording) = called_back_during(Step::Fail, 100);
    poll(&mut attempt);
    assert_eq!(poll_all(&mut attempt), [Polled::Failed("broken".to_owned())]);
    assert!(recording.take().unwrap().play().is_none());
}

#[test]
fn c14_not_wanted_any_more_during_a_poll_the_attempt_goes_on() {
    let slot = Slot::default();
    for (step, seen) in [(data("two"), polled("two")), (Step::Wait, Polled::Pending)] {
        let drops = Rc::clone(&slot);
        let happens = Step::Meanwhile(Box::new(move || drop(drops.take())));
        let (mut attempt, recording) = recorded(Script::of([data("one"), happens, step, data("rest")]), 100);
        slot.replace(Some(recording));
        assert_eq!(poll_all(&mut attempt), [polled("one"), seen, polled("rest"), Polled::End]);
        assert!(slot.take().is_none());
    }
}

/// The attempt has found that it is called back; before it gives the original back nobody wants it any more.
// lesson 23
#[test]
fn c6_called_back_and_let_go_at_once_the_attempt_goes_on() {
    for played in [false, true] {
        let asked = Rc::default();
        let (mut attempt, recording) = recorded(Asked { body: body(), asked: Rc::clone(&asked) }, 100);
        assert!(call_back(&recording));
        let let_go = move || if played { assert!(recording.play().is_none()) } else { drop(recording) };
        asked.replace(Some(Box::new(let_go)));
        assert_eq!(poll_all(&mut attempt), whole(true));
        assert!(asked.take().is_none());
    }
}

type Happens = Box<dyn FnOnce()>;

/// Something else happens when it is asked whether it is over.
struct Asked {
    body: Script,
    asked: Rc<RefCell<Option<Happens>>>,
}

impl Body for Asked {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        if let Some(happens) = self.asked.take() {
            happens();
        }
        self.body.is_end_stream()
    }
}
