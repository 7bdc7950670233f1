//! Bodies of other makes (C10).

use std::convert::Infallible;
use std::io;

use bytes::{Buf, Bytes};
use futures::stream::{self, StreamExt};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};

use super::script::{Polled, outlook, played, poll, poll_all, polled, recorded};

/// `unfold` is not `Unpin`, tells nothing of its end, and panics when it is polled beyond it.
// lesson 23
#[test]
fn c10_a_body_that_is_not_unpin_and_must_not_be_polled_beyond_its_end() {
    let frames = ["one", "two", "three"];
    for polls in 0..=4 {
        let body = StreamBody::new(stream::unfold(0, move |number| async move {
            let frame: &'static str = frames.get(number)?;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(frame.as_bytes()))), number + 1))
        }));
        let (mut attempt, recording) = recorded(body, 100);
        for _ in 0..polls {
            poll(&mut attempt);
        }
        drop(attempt);
        let mut second = played(recording);
        assert_eq!(poll_all(&mut second), [polled("one"), polled("two"), polled("three"), Polled::End]);
        assert_eq!(poll(&mut second), Polled::End);
    }
}

#[test]
fn c10_a_frame_in_pieces_arrives_whole() {
    let frame = || Bytes::from_static(b"in ").chain(Bytes::from_static(b"pieces"));
    let body = StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(frame()))]));
    let (mut attempt, recording) = recorded(body, 9);
    assert_eq!(poll_all(&mut attempt), [polled("in pieces"), Polled::End]);
    assert_eq!(poll_all(&mut played(recording)), [polled("in pieces"), Polled::End]);
}

#[test]
fn c10_bodies_whose_size_is_known_stay_so() {
    let (attempt, recording) = recorded(Full::new(Bytes::from_static(b"whole")), 5);
    assert_eq!(outlook(&*attempt), (5, Some(5), false));
    drop(attempt);
    let second = played(recording);
    assert_eq!(outlook(&*second), (5, Some(5), false));

    // `Full` knows its end: it is back while the attempt is still held.
    let (mut attempt, recording) = recorded(Full::new(Bytes::from_static(b"whole")), 5);
    assert_eq!(poll(&mut attempt), polled("whole"));
    let mut second = played(recording);
    assert_eq!(outlook(&*second), (5, Some(5), false));
    assert_eq!(poll(&mut second), polled("whole"));
    assert_eq!(outlook(&*second), (0, Some(0), true));

    let (attempt, recording) = recorded(Empty::<Bytes>::new(), 0);
    assert_eq!(outlook(&*attempt), (0, Some(0), true));
    assert_eq!(outlook(&*played(recording)), (0, Some(0), true));
}

#[test]
fn c10_a_boxed_body_and_its_error_are_passed_on() {
    let frames = [Ok(Frame::data(Bytes::from_static(b"one"))), Err(io::Error::other("disk"))];
    let body = BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames).boxed()));
    let (mut attempt, recording) = recorded(body, 100);
    assert_eq!(poll_all(&mut attempt), [polled("one"), Polled::Failed("disk".to_owned())]);
    assert!(recording.play().is_none());
}
