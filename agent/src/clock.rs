//! The agent's clocks: the only place that asks for them.

use std::time::{Duration, Instant};

use vedette_daemon::clock::now as wall;
use vedette_model::Timestamp;
use vedette_wire::session::Now;

/// A monotonic clock that starts with the process, and the clock on the wall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    started_at: Timestamp,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "driver: the agent's clock")]
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), started_at: wall() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { monotonic: self.start.elapsed(), wall: wall() }
    }

    /// Since the process started.
    pub(crate) fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// When the process started.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The instant of a monotonic time, for timers.
    pub(crate) fn instant(&self, monotonic: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.start + monotonic)
    }
}
