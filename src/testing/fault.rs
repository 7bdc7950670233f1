//! What the fake does instead of answering as usual, and in which order.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::Response;

use super::FakeNeonomics;

/// What happens to a request instead of the usual answer.
///
/// A request that meets a fault is counted and recorded as any other. The *usual answer* is made
/// when the fault is met: tokens in it count their lifetime from then on, and a refresh token is
/// used up. What takes time needs a tokio runtime with time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// This answer, as it is. Nothing is done for the request: no session, no token.
    Answer(Response<Bytes>),
    /// The usual answer, this much later.
    Delay(Duration),
    /// Never an answer, and nothing is done.
    Hang,
    /// The head of the usual answer, then nothing.
    Silence,
    /// The usual answer, byte by byte, with this much time after each.
    Trickle(Duration),
    /// The head of the usual answer, then white space without end.
    Endless,
    /// The first half of the usual answer, ended properly: JSON that is cut off.
    Truncate,
    /// The connection breaks, and nothing is done.
    ///
    /// In process the error is [`ConnectionReset`](std::io::ErrorKind::ConnectionReset). On the
    /// port HTTP/1.1 loses its connection, HTTP/2 the stream.
    Reset,
    /// The work is done, but the answer never comes.
    Lose,
}

impl FakeNeonomics {
    /// The next `n` requests at the token and the logout endpoint meet this fault.
    ///
    /// Faults are met in the order of the calls and of the requests' arrival; [`usize::MAX`] is
    /// without end. [`heal`](Self::heal) forgets those that nobody has met.
    pub fn fail_exchanges(&self, n: usize, fault: Fault) {
        self.shared.lock().exchanges.script.push(n, Turn::Fault(fault));
    }

    /// The next `n` requests at the API meet this fault, as
    /// [`fail_exchanges`](Self::fail_exchanges) has it.
    ///
    /// Whatever their path: [`Fault::Answer`] is how a call that the fake does not know gets an answer.
    pub fn fail_requests(&self, n: usize, fault: Fault) {
        self.shared.lock().api.script.push(n, Turn::Fault(fault));
    }

    /// The next `n` requests at the API are answered with 401 `invalid_token`, whatever their
    /// token.
    ///
    /// They queue up with the faults of [`fail_requests`](Self::fail_requests).
    pub fn refuse_requests(&self, n: usize) {
        self.shared.lock().api.script.push(n, Turn::Refuse);
    }

    /// Forgets all faults and refusals that no request has met: from now on everything is as usual.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        state.exchanges.script = Script::default();
        state.api.script = Script::default();
    }
}

/// What comes next at one door, run by run.
#[derive(Default)]
pub(super) struct Script(VecDeque<(usize, Turn)>);

/// What happens to one request.
#[derive(Clone)]
pub(super) enum Turn {
    Usual,
    Refuse,
    Fault(Fault),
}

impl Script {
    pub(super) fn next(&mut self) -> Turn {
        let Some((left, turn)) = self.0.front_mut() else {
            return Turn::Usual;
        };
        let turn = turn.clone();
        *left -= 1;
        if *left == 0 {
            self.0.pop_front();
        }
        turn
    }

    fn push(&mut self, n: usize, turn: Turn) {
        if n > 0 {
            self.0.push_back((n, turn));
        }
    }
}

impl Turn {
    /// What the transcript says of it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Refuse => "refused by the script",
            Self::Fault(fault) => match fault {
                Fault::Answer(_) => "answered by the script",
                Fault::Delay(_) => "delayed",
                Fault::Hang => "hangs",
                Fault::Silence => "silent after the head",
                Fault::Trickle(_) => "trickles",
                Fault::Endless => "endless",
                Fault::Truncate => "truncated",
                Fault::Reset => "reset",
                Fault::Lose => "lost",
            },
        }
    }
}
