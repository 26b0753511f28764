use std::time::Duration;

use vedette_model::Timestamp;
use xxhash_rust::xxh3::Xxh3;

/// The wall clock was set, rather than slowed or quickened, when it is off by more than this.
const STEP_MIN_MS: i64 = 500;

/// A stable offset within `interval`, so that agents and targets spread over it: a hash of both names.
pub fn grid_offset(agent: &str, target: &str, interval: Duration) -> Duration {
    let mut hash = Xxh3::new();
    hash.update(&(agent.len() as u64).to_le_bytes());
    hash.update(agent.as_bytes());
    hash.update(target.as_bytes());
    Duration::from_millis(hash.digest() % millis(interval) as u64)
}

/// When a target is due: at `k × interval + offset` of UTC, never twice for one point, skipping what was missed.
///
/// Reads no clock. The driver sleeps for as long as [`Schedule::wait`] says, on a monotonic clock, and then asks
/// for the [`Tick`]. As each wait is counted anew from the wall clock, the grid follows a clock that is slewed.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ms: i64,
    offset_ms: i64,
    due: Timestamp,
    /// The wall clock when `wait` was asked last.
    asked: Timestamp,
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
    pub fn new(interval: Duration, offset: Duration, now: Timestamp) -> Self {
        let interval_ms = millis(interval);
        let offset_ms = (offset.as_millis() as i64).rem_euclid(interval_ms);
        let mut schedule = Self { interval_ms, offset_ms, due: now, asked: now };
        schedule.due = schedule.next_after(now);
        schedule
    }

    /// How long to sleep from `now` on; never longer than an interval.
    pub fn wait(&mut self, now: Timestamp) -> Duration {
        self.asked = now;
        if self.due.millis_since(now) > self.interval_ms {
            // The clock was set back while the last scrape ran.
            self.due = self.next_after(now);
        }
        Duration::from_millis(self.due.millis_since(now).max(0) as u64)
    }

    /// The sleep is over: `now` is the wall clock, `slept` what really passed since `wait` was asked.
    pub fn tick(&mut self, now: Timestamp, slept: Duration) -> Tick {
        let step = now.millis_since(self.asked) - slept.as_millis() as i64;
        let tick = if step.abs() > STEP_MIN_MS {
            Tick { at: now, skipped: 0, clock_step_ms: Some(step) }
        } else {
            self.point(now)
        };
        self.due = self.next_after(now.max(tick.at));
        tick
    }

    /// The point that comes next.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// The latest point that has come at `now`.
    fn point(&self, now: Timestamp) -> Tick {
        let late = now.millis_since(self.due).max(0);
        let skipped = late / self.interval_ms;
        let point = self.due.plus_millis(skipped * self.interval_ms);
        let is_near = now.millis_since(point) <= self.tolerance_ms();
        Tick { at: if is_near { point } else { now }, skipped: skipped as u64, clock_step_ms: None }
    }

    /// How late a scrape may start and still carry the time of its point: equal steps compress best, but a lie
    /// about the time falsifies rates.
    fn tolerance_ms(&self) -> i64 {
        (self.interval_ms / 100).clamp(2, 20)
    }

    fn next_after(&self, now: Timestamp) -> Timestamp {
        let into = now.minus_millis(self.offset_ms).as_millis().rem_euclid(self.interval_ms);
        now.plus_millis(self.interval_ms - into)
    }
}

fn millis(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A second's grid at 300 ms; the first wait is asked at 10 000.
    fn check(wakes: i64, slept: u64, expected: Tick, due: i64) {
        let mut schedule = Schedule::new(ms(1000), ms(300), at(10_000));
        assert_eq!(schedule.wait(at(10_000)), ms(300));
        assert_eq!(schedule.tick(at(wakes), ms(slept)), expected);
        assert_eq!(schedule.due(), at(due));
    }

    fn tick(at_ms: i64, skipped: u64, step: Option<i64>) -> Tick {
        Tick { at: at(at_ms), skipped, clock_step_ms: step }
    }

    #[test]
    fn points_of_the_grid() {
        check(10_300, 300, tick(10_300, 0, None), 11_300);
        // A little late is still the point; later is the truth; waking early is the point too, once.
        check(10_310, 310, tick(10_300, 0, None), 11_300);
        check(10_311, 311, tick(10_311, 0, None), 11_300);
        check(10_298, 300, tick(10_300, 0, None), 11_300);
    }

    #[test]
    fn missed_points_are_skipped() {
        check(13_305, 3_305, tick(13_300, 3, None), 14_300);
        check(12_900, 2_900, tick(12_900, 2, None), 13_300);
    }

    #[test]
    fn a_step_of_the_clock_is_told() {
        check(3_610_300, 300, tick(3_610_300, 0, Some(3_600_000)), 3_611_300);
        check(4_000, 300, tick(4_000, 0, Some(-6_300)), 4_300);
        // A slewed clock is followed.
        check(10_290, 300, tick(10_300, 0, None), 11_300);
    }

    #[test]
    fn a_clock_set_back_while_scraping_does_not_stall() {
        let mut schedule = Schedule::new(ms(1000), ms(0), at(100_000));
        assert!(schedule.wait(at(5_500)) <= ms(1000));
        assert_eq!(schedule.due(), at(6_000));
    }

    #[test]
    fn offsets_are_stable_and_spread() {
        let interval = ms(15_000);
        let offset = |target: &str| grid_offset("host", target, interval);
        assert_eq!(offset("a"), offset("a"));
        let mut seen: Vec<_> = (0..100).map(|target| offset(&target.to_string())).collect();
        assert!(seen.iter().all(|offset| *offset < interval));
        seen.sort();
        seen.dedup();
        assert!(seen.len() > 95);
        assert_ne!(grid_offset("ab", "c", interval), grid_offset("a", "bc", interval));
    }
}
