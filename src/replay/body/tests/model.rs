//! Bodies, limits and stops at random, against a model of what both attempts must see (C6, C10).

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_test::task::{Spawn, spawn};

use super::script::{Announced, Polled, Script, Step, call_back, called_back, outlook, poll, trailers};
use crate::replay::body::ReplayBody;

/// One body, one limit, and how the first attempt ends.
#[derive(Clone, Debug)]
struct Case {
    pieces: Vec<Piece>,
    end: End,
    announced: Announced,
    tells_its_end: bool,
    limit: usize,
    /// Of the first attempt.
    polls: usize,
    stop: Stop,
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Wait,
    Data(usize),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Data,
    Trailers,
    /// At this place: the pieces behind it never come.
    Failure(usize),
}

/// What becomes of the first attempt after its polls.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    Dropped,
    CalledBackAndDropped,
    CalledBackAndPolled,
    CalledBackAndHeld,
    Held,
}

// lessons 23, 24
#[test]
fn c10_whatever_the_body_and_wherever_the_first_attempt_stops_the_second_carries_all_of_it_once_or_there_is_none() {
    let config = Config { cases: 4096, failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&cases(), |case| {
        case.check();
        Ok(())
    });
    checked.unwrap();
}

fn cases() -> impl Strategy<Value = Case> {
    let piece = prop_oneof![1 => Just(Piece::Wait), 3 => (0..64_usize).prop_map(Piece::Data)];
    vec(piece, 0..10).prop_flat_map(|pieces| {
        let size = pieces.iter().map(Piece::size).sum::<usize>();
        let end = prop_oneof![
            3 => Just(End::Data),
            2 => Just(End::Trailers),
            1 => (0..=pieces.len()).prop_map(End::Failure),
        ];
        let announced = prop_oneof![
            Just(Announced::Nothing),
            Just(Announced::Roughly),
            Just(Announced::AtMost),
            Just(Announced::Exactly)
        ];
        // Near the edge, anywhere, and out of reach.
        let limit = prop_oneof![size.saturating_sub(1)..=size + 1, 0..=size, Just(usize::MAX)];
        let polls = prop_oneof![0..=pieces.len() + 2, Just(pieces.len() + 3)];
        let stop = prop_oneof![
            Just(Stop::Dropped),
            Just(Stop::CalledBackAndDropped),
            Just(Stop::CalledBackAndPolled),
            Just(Stop::CalledBackAndHeld),
            Just(Stop::Held),
        ];
        let body = (Just(pieces), end, announced, any::<bool>());
        (body, limit, polls, stop).prop_map(|((pieces, end, announced, tells_its_end), limit, polls, stop)| Case {
            pieces,
            end,
            announced,
            tells_its_end,
            limit,
            polls,
            stop,
        })
    })
}

impl Piece {
    fn size(&self) -> usize {
        match self {
            Self::Wait => 0,
            Self::Data(size) => *size,
        }
    }
}

impl Case {
    fn check(&self) {
        let original = self.original();
        let (attempt, recording) = ReplayBody::recorded(self.body(), self.limit);
        let announced = self.least_announced();
        assert_eq!(recording.is_some(), announced <= self.limit);
        let mut attempt = spawn(attempt);
        let Some(recording) = recording else {
            self.assert_sees(&mut attempt, &original);
            return;
        };

        // The first attempt sees the beginning of the original.
        let seen = &original[..self.polls.min(original.len())];
        self.assert_sees_first_of(&mut attempt, seen, &original);
        let is_back_by_itself = seen.len() == original.len() || self.is_known_to_be_over_after(seen);
        let spoilt = size(seen) > self.limit || matches!(seen.last(), Some(Polled::Failed(_)));

        // It stops.
        let called = !matches!(self.stop, Stop::Dropped | Stop::Held);
        if called {
            assert_eq!(call_back(&recording), !spoilt);
        }
        let mut let_go = matches!(self.stop, Stop::Dropped | Stop::CalledBackAndDropped);
        let mut attempt = (!let_go).then_some(attempt);
        if self.stop == Stop::CalledBackAndPolled {
            let attempt = attempt.as_mut().unwrap();
            if is_back_by_itself || self.is_over_after(seen) {
                let_go = true;
                assert_eq!(poll(attempt), Polled::End);
            } else if spoilt {
                // Over the limit: it goes on undisturbed.
                self.assert_sees(attempt, &original[seen.len()..]);
            } else {
                assert_eq!(poll(attempt), called_back());
                let_go = true;
            }
        }

        // The second one carries the whole of it, exactly once, or there is none.
        match recording.play() {
            None => assert!(spoilt || !let_go && !is_back_by_itself, "not played"),
            Some(second) => {
                assert!(!spoilt && (let_go || is_back_by_itself), "played");
                let recorded = seen.iter().filter(|polled| is_kept(polled));
                let expected: Vec<_> =
                    recorded.chain(&original[seen.len().min(original.len() - 1)..]).cloned().collect();
                self.assert_sees(&mut spawn(second), &expected);
                assert_eq!(bytes(&expected), bytes(&original));
            }
        }
        // One that is held and is not wanted any more goes on to its end, called back or not.
        if let (Stop::Held | Stop::CalledBackAndHeld, Some(attempt)) = (self.stop, &mut attempt) {
            if !is_back_by_itself {
                self.assert_sees(attempt, &original[seen.len()..]);
            }
        }
    }

    /// What follows is this and nothing else.
    fn assert_sees<B>(&self, attempt: &mut Spawn<ReplayBody<B>>, expected: &[Polled])
    where
        B: http_body::Body<Error = &'static str>,
    {
        self.assert_sees_first_of(attempt, expected, expected);
        assert_eq!(outlook(&**attempt), (0, Some(0), true));
        assert_eq!(poll(attempt), Polled::End);
    }

    /// At each step nothing is announced but what `all` has, and no less than the original announces.
    fn assert_sees_first_of<B>(&self, attempt: &mut Spawn<ReplayBody<B>>, first: &[Polled], all: &[Polled])
    where
        B: http_body::Body<Error = &'static str>,
    {
        for (place, expected) in first.iter().enumerate() {
            let left = size(&all[place..]) as u64;
            let (lower, upper, ended) = outlook(&**attempt);
            assert!(lower <= left && upper.is_none_or(|upper| left <= upper), "{lower}..{upper:?} of {left}");
            match self.announced {
                Announced::Exactly => assert_eq!((lower, upper), (left, Some(left))),
                Announced::AtMost => assert_eq!(upper, Some(left)),
                Announced::Roughly | Announced::Nothing => {}
            }
            // Known to be over when the original knows it, or has been polled to its end, and never before. A second attempt
            // of what has proved empty does not know it at first, as the first one did not.
            let over = *expected == Polled::End;
            let proved_empty = place == 0 && self.original().len() > 1;
            assert!(
                if over { ended || !self.tells_its_end || proved_empty } else { !ended },
                "{ended} at {expected:?}"
            );
            assert_eq!(poll(attempt), *expected);
        }
    }

    fn body(&self) -> Script {
        let steps = self.original().into_iter().filter_map(|polled| match polled {
            Polled::Pending => Some(Step::Wait),
            Polled::Data(data) => Some(Step::Data(data)),
            Polled::Trailers(trailers) => Some(Step::Trailers(trailers)),
            Polled::Failed(_) => Some(Step::Fail),
            Polled::End => None,
        });
        Script::of(steps).announcing(self.announced).telling_its_end(self.tells_its_end)
    }

    /// All polls of it. No two bytes near each other are the same.
    fn original(&self) -> Vec<Polled> {
        let mut bytes = (0..=250_u8).cycle();
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Wait => Polled::Pending,
            Piece::Data(size) => Polled::Data(bytes.by_ref().take(*size).collect()),
        });
        let mut all: Vec<_> = pieces.collect();
        match self.end {
            End::Data => all.push(Polled::End),
            End::Trailers => all.extend([Polled::Trailers(trailers()), Polled::End]),
            End::Failure(place) => {
                all.truncate(place);
                all.push(Polled::Failed("broken".to_owned()));
            }
        }
        all
    }

    fn least_announced(&self) -> usize {
        let size = size(&self.original());
        match self.announced {
            Announced::Nothing | Announced::AtMost => 0,
            Announced::Roughly => size / 2,
            Announced::Exactly => size,
        }
    }

    /// Whether the body says, after these polls, that it is over.
    fn is_over_after(&self, seen: &[Polled]) -> bool {
        self.tells_its_end && self.original()[seen.len()..] == [Polled::End]
    }

    /// Whether the attempt learns it: at first, and with each frame.
    fn is_known_to_be_over_after(&self, seen: &[Polled]) -> bool {
        self.is_over_after(seen) && seen.last() != Some(&Polled::Pending)
    }
}

fn is_kept(polled: &Polled) -> bool {
    match polled {
        Polled::Data(data) => !data.is_empty(),
        Polled::Trailers(_) => true,
        Polled::Pending | Polled::Failed(_) | Polled::End => false,
    }
}

fn size(polled: &[Polled]) -> usize {
    bytes(polled).len()
}

fn bytes(polled: &[Polled]) -> Bytes {
    polled.iter().flat_map(|polled| if let Polled::Data(data) = polled { data.clone() } else { Bytes::new() }).collect()
}
