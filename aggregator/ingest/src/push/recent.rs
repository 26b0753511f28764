use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// How long a request is known.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// Requests that are known at once; of more the oldest are forgotten, which costs no more than writing them again.
const REQUESTS_MAX: usize = 1 << 16;

/// Requests that are on disk here, so that one repeated to this replica, because the answer of another one got lost, is
/// not written again.
#[derive(Default)]
pub(crate) struct RecentRequests {
    /// Oldest first: when it came, and the hash of its body.
    order: VecDeque<(Duration, u128)>,
    known: HashSet<u128>,
}

impl RecentRequests {
    /// A request is on disk.
    pub(crate) fn add(&mut self, now: Duration, request: u128) {
        self.forget(now);
        if self.known.insert(request) {
            self.order.push_back((now, request));
        }
        if self.order.len() > REQUESTS_MAX {
            self.drop_oldest();
        }
    }

    /// Whether a request was added lately.
    pub(crate) fn has(&mut self, now: Duration, request: u128) -> bool {
        self.forget(now);
        self.known.contains(&request)
    }

    fn forget(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(came, _)| *came + KNOWN_FOR < now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, request)) = self.order.pop_front() {
            self.known.remove(&request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_for_ten_minutes() {
        let mut recent = RecentRequests::default();
        recent.add(Duration::from_secs(1), 7);
        recent.add(Duration::from_secs(300), 8);
        recent.add(Duration::from_secs(300), 7);
        assert!(recent.has(Duration::from_secs(601), 7) && recent.has(Duration::from_secs(601), 8));
        assert!(!recent.has(Duration::from_secs(602), 7) && recent.has(Duration::from_secs(602), 8));
    }

    #[test]
    fn their_number_is_bounded() {
        let mut recent = RecentRequests::default();
        (0..=REQUESTS_MAX as u128).for_each(|request| recent.add(Duration::ZERO, request));
        assert!(!recent.has(Duration::ZERO, 0) && recent.has(Duration::ZERO, 1));
        assert_eq!((recent.order.len(), recent.known.len()), (REQUESTS_MAX, REQUESTS_MAX));
    }
}
