//! How long to wait before the next attempt.

use std::time::Duration;

const CEILING_MIN: Duration = Duration::from_millis(200);
const CEILING_MAX: Duration = Duration::from_secs(5);
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// Exponential waiting with full jitter: a uniformly random part of a ceiling that doubles from 200 ms to 5 s.
///
/// So live data flows within seconds after an aggregator comes back, and tens of thousands of agents make a few
/// thousand attempts a second at most. Full jitter spreads them evenly. A connection that lasted
/// a minute starts over; one that breaks at once does not.
#[derive(Clone, Debug)]
pub struct Backoff {
    ceiling: Duration,
    connected_at: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: CEILING_MIN, connected_at: None }
    }
}

impl Backoff {
    /// An attempt succeeded, at this monotonic time.
    pub fn on_connected(&mut self, now: Duration) {
        self.connected_at = Some(now);
    }

    /// An attempt failed or a connection ended, at this monotonic time: how long to wait. `random` is uniform
    /// in 0..1.
    pub fn next_delay(&mut self, now: Duration, random: f64) -> Duration {
        if let Some(connected_at) = self.connected_at.take()
            && now.saturating_sub(connected_at) >= STABLE_AFTER
        {
            self.ceiling = CEILING_MIN;
        }
        let delay = self.ceiling.mul_f64(random.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(CEILING_MAX);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_starts_over_after_a_stable_minute() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> =
            (0..10).map(|_| backoff.next_delay(Duration::ZERO, 1.0).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000]);
        assert_eq!(backoff.next_delay(Duration::ZERO, 0.5), Duration::from_millis(2500));

        backoff.on_connected(Duration::from_secs(100));
        assert_eq!(backoff.next_delay(Duration::from_secs(159), 1.0), Duration::from_secs(5));
        backoff.on_connected(Duration::from_secs(200));
        assert_eq!(backoff.next_delay(Duration::from_secs(260), 1.0), Duration::from_millis(200));
    }
}
