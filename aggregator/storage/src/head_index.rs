//! Which series of a head some matchers accept, remembered while the head grows.
//!
//! A head keeps its groups of series in the order in which they came, so that a selection that was made before has to look
//! only at those that came since.

use std::sync::Arc;

use vedette_model::{Labels, Matcher};

use crate::cache::{Opened, OpenedCache, head_selection};
use crate::head::{Head, SeriesGroup, labels_in};

/// A group of a block.
#[derive(Clone)]
pub(crate) struct Addition {
    /// The block's place in the head.
    pub(crate) block: u32,
    pub(crate) group: Arc<SeriesGroup>,
}

/// The series that some matchers accept.
pub(crate) struct HeadSelection {
    /// How many of the head's additions were looked at.
    additions: usize,
    /// In the order of their labels, then in that of their coming.
    pub(crate) series: Arc<[HeadMatch]>,
}

/// One series of a block.
#[derive(Clone)]
pub(crate) struct HeadMatch {
    pub(crate) labels: Labels,
    /// The block's place in the head.
    pub(crate) block: u32,
    /// The series' in its target.
    pub(crate) index: u32,
}

impl HeadSelection {
    /// The labels' text is the head's.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.series[..])
    }

    fn grown(known: Option<&Self>, additions: &[Addition], matchers: &[Matcher]) -> Self {
        let looked_at = known.map_or(0, |known| known.additions);
        let (mut found, mut indices) = (Vec::new(), Vec::new());
        for addition in &additions[looked_at..] {
            indices.clear();
            addition.group.select(matchers, &mut indices);
            found.extend(indices.iter().filter_map(|&index| {
                let labels = labels_in(&addition.group, index)?.clone();
                Some(HeadMatch { labels, block: addition.block, index: index as u32 })
            }));
        }
        let additions = additions.len();
        if let Some(known) = known {
            if found.is_empty() {
                return Self { additions, series: Arc::clone(&known.series) };
            }
            found.splice(..0, known.series.iter().cloned());
        }
        // Stable, and quick where runs are sorted already.
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Self { additions, series: found.into() }
    }
}

impl Head {
    /// The series that all `matchers` accept, remembered; `key` is that of the matchers.
    pub(crate) fn selected(&self, matchers: &[Matcher], key: &[u8], cache: &OpenedCache) -> Arc<[HeadMatch]> {
        let additions = self.additions();
        let key = head_selection(self.number(), key);
        let known = match cache.get(&key) {
            Some(Opened::Head(known)) => Some(known),
            _ => None,
        };
        if let Some(known) = &known
            && known.additions >= additions.len()
        {
            return Arc::clone(&known.series);
        }
        let selection = Arc::new(HeadSelection::grown(known.as_deref(), &additions, matchers));
        cache.insert(&key, Opened::Head(Arc::clone(&selection)));
        Arc::clone(&selection.series)
    }
}

#[cfg(test)]
mod tests {
    use vedette_wire::LogId;

    use super::*;

    fn group(start: usize, names: &[&str]) -> Arc<SeriesGroup> {
        let labels = names.iter().map(|name| Labels::from_pairs([("__name__", *name), ("job", "node")]));
        Arc::new(SeriesGroup::new(start, labels.collect()))
    }

    #[test]
    fn a_selection_grows_with_its_head() {
        let (head, cache) = (Head::default(), OpenedCache::new(1 << 20));
        let matchers = [Matcher::equal("job", "node"), Matcher::equal("__name__", "b")];
        let check = |expected: &[(u32, u32)]| {
            for _ in 0..2 {
                let found = head.selected(&matchers, b"key", &cache);
                let places: Vec<_> = found.iter().map(|found| (found.block, found.index)).collect();
                assert_eq!(places, expected);
                assert!(found.iter().all(|found| found.labels.metric_name() == Some("b")));
            }
        };
        check(&[]);
        let first = group(0, &["c", "b"]);
        let block = head.add_block(LogId(1), Arc::new(vec![Arc::clone(&first)]));
        check(&[(0, 1)]);
        head.add_block(LogId(2), Arc::new(vec![group(0, &["b"])]));
        check(&[(0, 1), (1, 0)]);
        assert!(block.extend(&head, &Arc::new(vec![Arc::clone(&first), group(2, &["a"])])));
        check(&[(0, 1), (1, 0)]);
        // Not an extension: nothing of it is taken over.
        assert!(!block.extend(&head, &Arc::new(vec![group(0, &["b"])])));
        check(&[(0, 1), (1, 0)]);
        // Another head has selections of its own.
        assert!(Head::default().selected(&matchers, b"key", &cache).is_empty());
    }
}
