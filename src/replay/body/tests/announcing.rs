//! What the second attempt announces (C12).

use super::script::{Announced, Script, Step, data, outlook, played, poll, recorded, trailers};

/// A client makes its `content-length` of it, and over HTTP/1.1 decides by it whether there can be trailers.
// lesson 26
#[test]
fn c12_the_second_attempt_announces_what_the_first_one_did_wherever_that_stopped() {
    for announced in [Announced::Nothing, Announced::Roughly, Announced::AtMost, Announced::Exactly] {
        for polls in 0..=4 {
            let full = vec![data("one"), data("two"), Step::Trailers(trailers())];
            let bodies = [full, vec![Step::Trailers(trailers())], vec![data("")], vec![]];
            for (number, steps) in bodies.into_iter().enumerate() {
                let (mut first, recording) = recorded(Script::of(steps).announcing(announced), 6);
                let expected = outlook(&*first);
                (0..polls).for_each(|_| drop(poll(&mut first)));
                drop(first);
                assert_eq!(outlook(&*played(recording)), expected, "{number}, {announced:?}, {polls} polls");
            }
        }
    }
}
