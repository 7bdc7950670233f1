//! The only file of the crate that asks for the time.
//!
//! Two clocks, because each misses what the other sees: the monotonic one stands still while a machine is suspended,
//! the wall clock jumps. A token has expired when either says so.

use std::time::SystemTime;

use tokio::time::Instant;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

/// Now, on both clocks.
pub(crate) fn now() -> Moment {
    Moment { monotonic: monotonic(), wall: wall() }
}

/// Now, on the clock that tests can pause.
#[allow(clippy::disallowed_methods, reason = "the only place that asks the monotonic clock")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}

/// Now, on the clock that knows of suspended machines.
#[allow(clippy::disallowed_methods, reason = "the only place that asks the wall clock")]
pub(crate) fn wall() -> SystemTime {
    let now = SystemTime::now();
    #[cfg(any(test, feature = "testing"))]
    let now = shifted::apply(now);
    now
}

/// A wall clock that tests can move, for the current thread only, so that tests do not disturb one another.
#[cfg(any(test, feature = "testing"))]
pub(crate) mod shifted {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime};

    thread_local! {
        static SECONDS: Cell<i64> = const { Cell::new(0) };
    }

    pub(crate) fn set(seconds: i64) {
        SECONDS.set(seconds);
    }

    pub(super) fn apply(now: SystemTime) -> SystemTime {
        let seconds = SECONDS.get();
        let shift = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - shift } else { now + shift }
    }
}
