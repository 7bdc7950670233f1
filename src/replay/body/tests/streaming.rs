//! What the first attempt and the second one see (C10).

use std::ptr;

use bytes::Bytes;
use tokio_test::task::spawn;

use super::script::{
    Announced, Polled, Script, Step, data, outlook, played, poll, poll_all, polled, recorded, trailers,
};
use crate::replay::body::ReplayBody;
use crate::replay::record::Passed;

const ANNOUNCED: [Announced; 4] = [Announced::Nothing, Announced::Roughly, Announced::AtMost, Announced::Exactly];

/// With all that a body can have.
fn body() -> Script {
    let empty = || Step::Data(Bytes::new());
    let steps = [data("one"), empty(), Step::Wait, data("two"), Step::Wait, Step::Trailers(trailers())];
    Script::of(steps)
}

/// What a client sees of it.
fn seen() -> Vec<Polled> {
    let end = [Polled::Trailers(trailers()), Polled::End];
    let frames = [polled("one"), polled(""), Polled::Pending, polled("two"), Polled::Pending];
    frames.into_iter().chain(end).collect()
}

#[test]
fn c10_the_first_attempt_sees_the_original_poll_by_poll() {
    for announced in ANNOUNCED {
        for tells_its_end in [false, true] {
            let body = || body().announcing(announced).telling_its_end(tells_its_end);
            // Recorded to its end, over the limit at once and on the way, not recorded.
            let attempts = [usize::MAX, 6, 5, 0].map(|limit| ReplayBody::recorded(body(), limit));
            for (attempt, _recording) in attempts.into_iter().chain([(ReplayBody::untouched(body()), None)]) {
                let (mut attempt, mut original) = (spawn(attempt), spawn(body()));
                for expected in seen() {
                    // After the last frame nothing is left, though not every body that says so says how much.
                    let (seen, expected_outlook) = (outlook(&*attempt), outlook(&*original));
                    let over = expected_outlook.2 && seen == (0, Some(0), true);
                    assert!(over || seen == expected_outlook, "{seen:?} before {expected:?}");
                    assert_eq!(poll(&mut attempt), expected);
                    assert_eq!(poll(&mut original), expected);
                }
                // Over, and it stays so: a client may ask again, whatever the original would say to that.
                assert_eq!(outlook(&*attempt), (0, Some(0), true));
                assert_eq!(poll(&mut attempt), Polled::End);
            }
        }
    }
}

// lesson 23
#[test]
fn c10_the_second_attempt_sees_what_was_recorded_and_then_the_rest_wherever_the_first_one_stopped() {
    for announced in ANNOUNCED {
        for tells_its_end in [false, true] {
            for polls in 0..=seen().len() {
                let original = body().announcing(announced).telling_its_end(tells_its_end);
                let (mut attempt, recording) = recorded(original, 6);
                let first: Vec<_> = (0..polls).map(|_| poll(&mut attempt)).collect();
                assert_eq!(first, seen()[..polls]);
                drop(attempt);

                // Without the empty frame, and without the waits that are over.
                let mut attempt = played(recording);
                let recorded = seen().into_iter().take(polls).filter(|it| *it != Polled::Pending && *it != polled(""));
                let recorded = recorded.filter(|it| *it != Polled::End);
                let expected: Vec<_> = recorded.chain(seen().into_iter().skip(polls.min(6))).collect();
                let mut left = 6;
                for expected in expected {
                    let (lower, upper, ended) = outlook(&*attempt);
                    assert!(lower <= left && upper.is_none_or(|upper| upper >= left), "{lower}..{upper:?} of {left}");
                    // As exact as the original, of which so much is in the record.
                    match announced {
                        Announced::Exactly => assert_eq!((lower, upper), (left, Some(left))),
                        Announced::AtMost => assert_eq!(upper, Some(left)),
                        Announced::Roughly => assert!(upper.is_some()),
                        Announced::Nothing => {}
                    }
                    assert_eq!(ended, (tells_its_end || polls == 7) && expected == Polled::End, "before {expected:?}");
                    if let Polled::Data(data) = &expected {
                        left -= data.len() as u64;
                    }
                    assert_eq!(poll(&mut attempt), expected, "after {polls} polls of the first attempt");
                }
                assert_eq!(left, 0);
                assert_eq!(outlook(&*attempt), (0, Some(0), true));
                assert_eq!(poll(&mut attempt), Polled::End);
            }
        }
    }
}

#[test]
fn c10_frames_are_recorded_by_reference() {
    let frames = [Bytes::from(vec![1; 100]), Bytes::from(vec![2; 1000]).slice(10..20)];
    let (mut attempt, recording) = recorded(Script::of(frames.clone().map(Step::Data)), 110);
    let first = poll_all(&mut attempt);
    drop(attempt);
    let second = poll_all(&mut played(recording));

    for seen in [first, second] {
        let [Polled::Data(one), Polled::Data(two), Polled::End] = &seen[..] else { panic!("{seen:?}") };
        for (seen, sent) in [(one, &frames[0]), (two, &frames[1])] {
            assert_eq!(seen.len(), sent.len());
            assert!(ptr::eq(seen.as_ptr(), sent.as_ptr()), "copied");
        }
    }
    // What the layer's documentation says of its price.
    assert!(size_of::<Passed>() <= 40);
}

#[test]
fn c10_an_empty_body_is_back_though_nobody_polls_it() {
    // Known to be empty: clients send no body, and some keep it until the answer is there.
    let (attempt, recording) = recorded(Script::of([]).announcing(Announced::Exactly).telling_its_end(true), 0);
    assert_eq!(outlook(&*attempt), (0, Some(0), true));
    assert!(recording.halt());
    let mut second = played(recording);
    assert_eq!(outlook(&*second), (0, Some(0), true));
    assert_eq!(poll(&mut second), Polled::End);

    // Not known to be empty: it is back when that is known.
    let (mut attempt, recording) = recorded(Script::of([]), 0);
    assert_eq!(outlook(&*attempt), (0, None, false));
    assert_eq!(poll(&mut attempt), Polled::End);
    assert_eq!(poll_all(&mut played(recording)), [Polled::End]);
    drop(attempt);
}

#[test]
fn c10_a_body_whose_end_is_known_is_back_with_its_last_frame() {
    // A client that asks whether this is the end does not poll for it, and may keep the body.
    for (step, seen) in [(data("all"), polled("all")), (Step::Trailers(trailers()), Polled::Trailers(trailers()))] {
        let (mut attempt, recording) = recorded(Script::of([step]).telling_its_end(true), 3);
        assert!(!outlook(&*attempt).2);
        assert_eq!(poll(&mut attempt), seen);
        assert_eq!(outlook(&*attempt), (0, Some(0), true));
        assert_eq!(poll_all(&mut played(recording)), [seen, Polled::End]);
        assert_eq!(poll(&mut attempt), Polled::End);
    }
}

#[test]
fn e1_neither_end_shows_the_body() {
    let (mut attempt, recording) = recorded(Script::of([data("xyzzy"), data("xyzzy")]), 100);
    poll(&mut attempt);
    assert_eq!(format!("{:?}", *attempt), "ReplayBody(Recorded)");
    assert_eq!(format!("{recording:?}"), "Recording { .. }");
    poll_all(&mut attempt);
    assert_eq!(format!("{:?}", *attempt), "ReplayBody(Over)");
    assert_eq!(format!("{:?}", *played(recording)), "ReplayBody(Played)");
}
