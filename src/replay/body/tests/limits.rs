//! How much is recorded, for how long, and what is never played again (C6, C14).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use tokio_test::task::spawn;

use super::script::{Announced, Polled, Script, Step, data, played, poll, poll_all, polled, recorded, trailers};
use crate::replay::body::ReplayBody;

/// A frame whose memory is counted: one reference here, and one more while anybody holds the frame.
fn counted(memory: &Arc<[u8]>) -> Step {
    Step::Data(Bytes::from_owner(Arc::clone(memory)))
}

fn memory(size: usize) -> Arc<[u8]> {
    vec![7; size].into()
}

#[test]
fn c6_the_limit_is_exact() {
    let bodies: [(&[&str], usize); 6] =
        [(&[], 0), (&[""], 0), (&["a"], 1), (&["abc", "defg"], 7), (&["", "abc", "", ""], 3), (&["a"; 10], 10)];
    for (frames, size) in bodies {
        for limit in size.saturating_sub(1)..=size + 1 {
            // Trailers are not counted.
            let steps = frames.iter().map(|frame| data(frame)).chain([Step::Trailers(trailers())]);
            let (mut attempt, recording) = recorded(Script::of(steps), limit);
            let all = poll_all(&mut attempt);
            assert_eq!(all.len(), frames.len() + 2);
            assert_eq!(recording.halt(), limit >= size, "{frames:?} with {limit}");
            match recording.play() {
                None => assert!(limit < size),
                Some(second) => {
                    let sent: Vec<_> = all.into_iter().filter(|it| *it != polled("")).collect();
                    assert_eq!(poll_all(&mut spawn(second)), sent);
                }
            }
        }
    }
}

// lesson 24
#[test]
fn c6_a_body_that_announces_more_than_the_limit_is_not_recorded() {
    let body = |announced| Script::of([data("12345678")]).announcing(announced);
    for (announced, limit, recorded) in [
        (Announced::Exactly, 7, false),
        (Announced::Exactly, 8, true),
        // Four at the least, fifteen at the most: only the least is sure.
        (Announced::Roughly, 3, false),
        (Announced::Roughly, 4, true),
        (Announced::AtMost, 7, true),
        (Announced::Nothing, 0, true),
    ] {
        let (attempt, recording) = ReplayBody::recorded(body(announced), limit);
        assert_eq!(recording.is_some(), recorded, "{announced:?} with {limit}");
        assert_eq!(attempt.size_hint().upper(), body(announced).size_hint().upper());
        assert_eq!(poll_all(&mut spawn(attempt)), [polled("12345678"), Polled::End]);
    }
}

// lesson 24
#[test]
fn c6_over_the_limit_the_record_is_gone_at_once_and_the_attempt_goes_on() {
    let (within, over, later) = (memory(5), memory(6), memory(1));
    let steps = [counted(&within), counted(&over), counted(&later), Step::Trailers(trailers())];
    let (mut attempt, recording) = recorded(Script::of(steps), 10);
    // Passed and forgotten by the client; recorded.
    drop(poll(&mut attempt));
    assert_eq!(Arc::strong_count(&within), 2);

    // One byte too many: the record goes with this very frame, which goes to the client only.
    let frame = poll(&mut attempt);
    assert_eq!(frame, Polled::Data(Bytes::copy_from_slice(&over)));
    assert_eq!((Arc::strong_count(&within), Arc::strong_count(&over)), (1, 2));
    drop(frame);
    assert_eq!(Arc::strong_count(&over), 1);

    // It is not called back: it can go on to its end.
    assert!(!recording.halt());
    assert_eq!(poll(&mut attempt), Polled::Data(Bytes::from_static(&[7])));
    assert_eq!(Arc::strong_count(&later), 1, "recorded no more");
    assert_eq!(poll_all(&mut attempt), [Polled::Trailers(trailers()), Polled::End]);
    assert!(recording.play().is_none());
}

// lesson 24
#[test]
fn c6_a_body_that_failed_is_not_played_again() {
    let frame = memory(3);
    let alive = Arc::new(());
    let (mut attempt, recording) = recorded(Script::of([counted(&frame), Step::Fail]).watched(&alive), 10);
    drop(poll(&mut attempt));
    assert_eq!(Arc::strong_count(&frame), 2);

    assert_eq!(poll(&mut attempt), Polled::Failed("broken".to_owned()));
    // Nothing of it is kept, not even the body.
    assert_eq!((Arc::strong_count(&frame), Arc::strong_count(&alive)), (1, 1));
    assert_eq!(poll(&mut attempt), Polled::End);
    assert!(!recording.halt());
    assert!(recording.play().is_none());
}

#[test]
fn c6_a_body_that_fails_on_the_second_attempt_fails_there() {
    let (mut attempt, recording) = recorded(Script::of([data("one"), Step::Fail]), 10);
    poll(&mut attempt);
    drop(attempt);
    let mut second = played(recording);
    assert_eq!(poll_all(&mut second), [polled("one"), Polled::Failed("broken".to_owned())]);
    // And is not polled any more.
    assert_eq!(poll(&mut second), Polled::End);
}

// lesson 24
#[test]
fn c6_a_body_that_panicked_is_not_played_again() {
    let frame = memory(3);
    let (mut attempt, recording) = recorded(Script::of([counted(&frame), Step::Panic, data("rest")]), 10);
    drop(poll(&mut attempt));
    catch_unwind(AssertUnwindSafe(|| poll(&mut attempt))).unwrap_err();

    // Who knows what is left of it: the record is gone. Nothing is poisoned, and what is dropped is dropped.
    assert_eq!(Arc::strong_count(&frame), 1);
    assert!(!recording.halt());
    assert_eq!(poll(&mut attempt), polled("rest"));
    drop(attempt);
    assert!(recording.play().is_none());
}

// lesson 24
#[test]
fn c14_what_is_not_wanted_any_more_is_freed_at_once_and_the_attempt_goes_on() {
    let frame = memory(3);
    let alive = Arc::new(());
    let steps = || [counted(&frame), Step::Wait, data("rest")];
    let body = || Script::of(steps()).watched(&alive);

    // The attempt is under way.
    let (mut attempt, recording) = recorded(body(), 100);
    drop(poll(&mut attempt));
    assert_eq!(Arc::strong_count(&frame), 2);
    drop(recording);
    assert_eq!((Arc::strong_count(&frame), Arc::strong_count(&alive)), (1, 2));
    assert_eq!(poll_all(&mut attempt), [Polled::Pending, polled("rest"), Polled::End]);
    drop(attempt);
    assert_eq!(Arc::strong_count(&alive), 1);

    // It ends first: the body goes with it.
    let (attempt, recording) = recorded(body(), 100);
    drop(recording);
    drop(attempt);
    assert_eq!(Arc::strong_count(&alive), 1);

    // The body has been given back before: with it, what is left of it is dropped.
    let (mut attempt, recording) = recorded(body(), 100);
    drop(poll(&mut attempt));
    drop(attempt);
    assert_eq!((Arc::strong_count(&frame), Arc::strong_count(&alive)), (2, 2));
    drop(recording);
    assert_eq!((Arc::strong_count(&frame), Arc::strong_count(&alive)), (1, 1));
}

#[test]
fn c14_a_second_attempt_frees_each_frame_as_it_goes_and_all_when_it_is_dropped() {
    let (one, two) = (memory(1), memory(2));
    let alive = Arc::new(());
    let (mut attempt, recording) = recorded(Script::of([counted(&one), counted(&two)]).watched(&alive), 100);
    poll_all(&mut attempt);
    drop(attempt);
    let mut second = played(recording);
    drop(poll(&mut second));
    assert_eq!((Arc::strong_count(&one), Arc::strong_count(&two)), (1, 2));
    drop(second);
    assert_eq!((Arc::strong_count(&two), Arc::strong_count(&alive)), (1, 1));
}
