//! What all handles share, and the steps of a request under its lock.
//!
//! 1. One lock guards everything that changes, and it is never held across an await.
//! 2. A request is recorded, counted, given its turn in the script and sent to the gate in one
//!    step, so that the order of arrival is one order for all of them.
//! 3. It is judged in a later step, after the gate: at the time and with the tokens of that moment.

use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request};
use tokio::time::Instant;

use super::endpoint::{self, Answer, Endpoint};
use super::fault::{Script, Turn};
use super::gate::Barrier;
use super::realm::Realm;
use super::record::{Journal, RecordedRequest};
use crate::token::clock;

pub(super) struct Shared {
    pub(super) origin: String,
    pub(super) client_id: String,
    pub(super) connections: AtomicUsize,
    started: Instant,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) realm: Realm,
    pub(super) exchanges: Door,
    pub(super) api: Door,
    pub(super) journal: Journal,
}

/// What a request meets before it is judged.
pub(super) struct Door {
    pub(super) script: Script,
    pub(super) barrier: Barrier,
}

/// A request that has arrived.
pub(super) struct Arrival {
    pub(super) number: usize,
    pub(super) turn: Turn,
    pub(super) barrier: Barrier,
}

impl Shared {
    pub(super) fn new(origin: String) -> Self {
        let door = || Door { script: Script::default(), barrier: Barrier::open() };
        let realm = Realm::new();
        Self {
            origin,
            client_id: realm.client.id.clone(),
            connections: AtomicUsize::new(0),
            started: clock::monotonic(),
            state: Mutex::new(State { realm, exchanges: door(), api: door(), journal: Journal::default() }),
        }
    }

    /// A panic under the lock is a failed test already: what it left behind may still be looked at.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the server in whole seconds, as Keycloak has it.
    pub(super) fn now(&self) -> u64 {
        EPOCH + self.elapsed().as_secs()
    }

    pub(super) fn arrive(&self, head: request::Parts, body: Bytes, trailers: Option<HeaderMap>) -> Arrival {
        let mut request = RecordedRequest {
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
            body,
            trailers,
            at: self.elapsed(),
            status: None,
            endpoint: Endpoint::Unknown,
            token: String::new(),
            remark: String::new(),
        };
        request.endpoint = Endpoint::of(&request);
        let mut state = self.lock();
        request.token = endpoint::token_label(&state.realm, &request);
        let (turn, barrier) = match request.endpoint {
            Endpoint::Unknown if request.uri.path().starts_with("/auth/") => (Turn::Usual, Barrier::open()),
            Endpoint::Unknown => match state.api.enter() {
                (Turn::Usual, _) => (Turn::Usual, Barrier::open()),
                scripted => {
                    // What the script answers is known.
                    request.endpoint = Endpoint::Api;
                    scripted
                }
            },
            Endpoint::Api => state.api.enter(),
            _ => state.exchanges.enter(),
        };
        turn.name().clone_into(&mut request.remark);
        Arrival { number: state.journal.arrived(request), turn, barrier }
    }

    /// The usual answer. Here sessions begin and end, and tokens are given out and used up.
    pub(super) fn judge(&self, number: usize) -> Response<Bytes> {
        let now = self.now();
        let mut state = self.lock();
        let State { realm, journal, .. } = &mut *state;
        let Answer { response, remark } = endpoint::answer(realm, journal.request(number), now);
        journal.remark(number, &remark);
        response
    }

    pub(super) fn answered(&self, number: usize, status: StatusCode) {
        self.lock().journal.answered(number, status);
    }

    fn elapsed(&self) -> Duration {
        clock::monotonic().saturating_duration_since(self.started)
    }
}

impl Door {
    fn enter(&mut self) -> (Turn, Barrier) {
        (self.script.next(), self.barrier.clone())
    }
}

/// The server's clock starts on 1 January 2026, in seconds since 1970, as `not-before-policy` is.
const EPOCH: u64 = 1_767_225_600;
