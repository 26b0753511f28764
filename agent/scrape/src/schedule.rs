use std::time::Duration;

use vedette_model::Timestamp;

/// A stable offset within `interval`, so that agents and targets spread over it: a hash of both names.
pub fn grid_offset(_agent: &str, _target: &str, _interval: Duration) -> Duration {
    unimplemented!()
}

/// When a target is due: at `k × interval + offset` of UTC, never twice for one point, skipping what was missed.
///
/// Reads no clock. The driver sleeps for as long as [`Schedule::wait`] says, on a monotonic clock, and then asks
/// for the [`Tick`].
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    offset: Duration,
    due: Timestamp,
}

/// One point of the grid that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The time that the samples carry: the point itself, or the true time when it was missed by too much.
    pub at: Timestamp,
    /// Points that passed since the last tick without one.
    pub skipped: u64,
    /// How far the wall clock was set since the last tick, when it was: positive is forward.
    pub clock_step_ms: Option<i64>,
}

impl Schedule {
    /// The first point is the next one after `now`.
    pub fn new(_interval: Duration, _offset: Duration, _now: Timestamp) -> Self {
        unimplemented!()
    }

    /// How long to sleep from `now` on.
    pub fn wait(&self, _now: Timestamp) -> Duration {
        let _ = (self.interval, self.offset, self.due);
        unimplemented!()
    }

    /// The sleep is over: `now` is the wall clock, `slept` what really passed since `wait` was asked.
    pub fn tick(&mut self, _now: Timestamp, _slept: Duration) -> Tick {
        unimplemented!()
    }

    /// The point that comes next.
    pub fn due(&self) -> Timestamp {
        self.due
    }
}
