use std::collections::BTreeMap;
use std::time::Duration;

/// Causes that are remembered; with more, all are news again.
const CAUSES_MAX: usize = 1024;
/// A cause that goes on is logged again after this.
const REPEAT_AFTER: Duration = Duration::from_secs(600);

/// Which refusals were logged already: whoever is refused comes again every few seconds.
#[derive(Default)]
pub(crate) struct Refusals {
    logged_at: BTreeMap<(&'static str, String), Duration>,
}

impl Refusals {
    /// Whether this cause was not logged lately; then it counts as logged.
    pub(crate) fn is_news(&mut self, now: Duration, reason: &'static str, who: &str) -> bool {
        let known = self.logged_at.get(&(reason, who.to_owned()));
        if known.is_some_and(|at| now < *at + REPEAT_AFTER) {
            return false;
        }
        if self.logged_at.len() >= CAUSES_MAX {
            self.logged_at.clear();
        }
        self.logged_at.insert((reason, who.to_owned()), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_news_once_for_a_while() {
        let mut refusals = Refusals::default();
        let at = Duration::from_secs;
        assert!(refusals.is_news(at(0), "frame", "a"));
        assert!(!refusals.is_news(at(1), "frame", "a"));
        assert!(refusals.is_news(at(1), "frame", "b"));
        assert!(refusals.is_news(at(1), "storage", "a"));
        assert!(refusals.is_news(at(600), "frame", "a"));
    }

    #[test]
    fn memory_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..5 * CAUSES_MAX {
            assert!(refusals.is_news(Duration::ZERO, "frame", &number.to_string()));
            assert!(refusals.logged_at.len() <= CAUSES_MAX);
        }
    }
}
