/// What is known of the fields or devices of a file, by name, in the order in which the file has them.
///
/// The kernel writes the same names in the same order every time, so the entry wanted next is nearly always the one
/// after the last: one comparison, no hash. Entries that did not come for a whole round are forgotten when they are
/// more than half, so the cache is bounded by twice what a file has.
pub(crate) struct FieldCache<T> {
    entries: Vec<Entry<T>>,
    next: usize,
    round: u32,
    /// How many different names came this round.
    seen: usize,
}

struct Entry<T> {
    name: Box<[u8]>,
    round: u32,
    value: T,
}

/// Entries that are kept without being counted.
const ENTRIES_FREE: usize = 64;

impl<T> FieldCache<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), next: 0, round: 0, seen: 0 }
    }

    /// Begins the next round, from the file's beginning.
    pub(crate) fn begin(&mut self) {
        if self.entries.len() > 2 * self.seen + ENTRIES_FREE {
            let round = self.round;
            self.entries.retain(|entry| entry.round == round);
        }
        self.next = 0;
        self.seen = 0;
        self.round = self.round.wrapping_add(1);
    }

    /// What is known of `name`; `make` runs for a new one.
    pub(crate) fn entry(&mut self, name: &[u8], make: impl FnOnce() -> T) -> &mut T {
        let index = self.index(name, make);
        self.at_mut(index)
    }

    /// The same, but none where `name` has already come this round: no sample may be told twice.
    pub(crate) fn entry_once(&mut self, name: &[u8], make: impl FnOnce() -> T) -> Option<&mut T> {
        let seen = self.seen;
        let index = self.index(name, make);
        if self.seen == seen { None } else { Some(self.at_mut(index)) }
    }

    /// Where it is kept, until the next round begins.
    pub(crate) fn index(&mut self, name: &[u8], make: impl FnOnce() -> T) -> usize {
        let index = match self.find(name) {
            Some(index) => index,
            None => {
                // Of another round than this one.
                let round = self.round.wrapping_sub(1);
                self.entries.push(Entry { name: name.into(), round, value: make() });
                self.entries.len() - 1
            }
        };
        self.next = index + 1;
        let entry = &mut self.entries[index];
        if entry.round != self.round {
            entry.round = self.round;
            self.seen += 1;
        }
        index
    }

    /// What [`FieldCache::index`] found.
    pub(crate) fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.entries[index].value
    }

    /// All, whether they came this round or not.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    /// Forwards from where the last one was, then from the start.
    fn find(&self, name: &[u8]) -> Option<usize> {
        let (before, after) = self.entries.split_at(self.next.min(self.entries.len()));
        let same = |entry: &Entry<T>| *entry.name == *name;
        match after.iter().position(same) {
            Some(distance) => Some(before.len() + distance),
            None => before.iter().position(same),
        }
    }

    /// Those that came this round, in the order in which they are kept.
    pub(crate) fn current(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter(|entry| entry.round == self.round).map(|entry| &entry.value)
    }

    /// The same, to change them.
    pub(crate) fn current_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let round = self.round;
        self.entries.iter_mut().filter(move |entry| entry.round == round).map(|entry| &mut entry.value)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter() {
        let mut cache = FieldCache::new();
        for round in [["a", "b", "c"], ["c", "a", "b"], ["b", "x", "a"]] {
            cache.begin();
            for name in round {
                assert_eq!(cache.entry(name.as_bytes(), || name.to_owned()), name);
            }
        }
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.current().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "x"]);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut cache = FieldCache::new();
        for index in 0..10_000u32 {
            cache.begin();
            for name in ["eth0".to_owned(), format!("veth{index}")] {
                cache.entry(name.as_bytes(), || ());
            }
            assert!(cache.len() <= ENTRIES_FREE + 6, "{}", cache.len());
        }
    }
}
