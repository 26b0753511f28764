//! What queries have opened of parts and found in heads, kept for those that come next and mostly ask for the same.
//!
//! Parts never change, and a head only grows, so nothing in here can be wrong. What is of parts and heads that are gone is
//! forgotten with them; what a query that still reads them leaves here makes room for what is asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use roaring::RoaringBitmap;
use rustc_hash::FxBuildHasher;
use vedette_model::Matcher;

use crate::group::{ColumnsGroup, LabelsGroup};
use crate::head_index::HeadSelection;

/// Each holds its share of the bytes, so that what is larger than that is not kept.
const SHARDS: usize = 8;
/// What an entry costs beside its key and its value.
const ENTRY_BYTES: u64 = 96;
/// What an entry takes, roughly: how many are expected.
const USUAL_BYTES: usize = 4096;

/// Bounded in bytes, and shared by all queries. What was asked for least and longest ago goes first.
pub(crate) struct OpenedCache {
    entries: Cache<Box<[u8]>, Opened, Weight, FxBuildHasher>,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
}

/// One thing that was opened. Its key is that of what it was made from, or what [`part_selection`] and
/// [`head_selection`] give.
#[derive(Clone)]
pub(crate) enum Opened {
    Columns(Arc<ColumnsGroup>),
    Labels(Arc<LabelsGroup>),
    Times(Arc<Vec<i64>>),
    Postings(Arc<RoaringBitmap>),
    /// The series of a part that some matchers accept.
    Ordinals(Arc<[u32]>),
    /// The series of a head that some matchers accept.
    Head(Arc<HeadSelection>),
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Opened> for Weight {
    fn weight(&self, key: &Box<[u8]>, opened: &Opened) -> u64 {
        let bytes = match opened {
            Opened::Columns(group) => group.size_bytes(),
            Opened::Labels(group) => group.size_bytes(),
            Opened::Times(times) => size_of_val(times.as_slice()),
            Opened::Postings(postings) => size_of::<RoaringBitmap>() + postings.serialized_size(),
            Opened::Ordinals(ordinals) => size_of_val(&ordinals[..]),
            Opened::Head(selection) => selection.size_bytes(),
        };
        ENTRY_BYTES + (key.len() + bytes) as u64
    }
}

impl OpenedCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let options = OptionsBuilder::new()
            .shards(SHARDS)
            .weight_capacity(bytes_max as u64)
            .estimated_items_capacity(bytes_max / USUAL_BYTES)
            .build()
            .expect("all that is needed is set");
        let lifecycle = DefaultLifecycle::default();
        Self {
            entries: Cache::with_options(options, Weight, FxBuildHasher, lifecycle),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Opened> {
        let found = self.entries.get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    pub(crate) fn insert(&self, key: &[u8], opened: Opened) {
        self.entries.insert(key.into(), opened);
    }

    /// What begins with one of these keys will not be asked for any more.
    pub(crate) fn forget(&self, prefixes: &[[u8; 12]]) {
        if !prefixes.is_empty() {
            self.entries.retain(|key, _| !prefixes.iter().any(|prefix| key.starts_with(prefix)));
        }
    }

    /// What all entries take.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

/// How the keys of selections begin; no key of a part does, as its partition is not 0.
const HEAD_SELECTION: u32 = 0;
/// Stands behind a part's prefix where a kind would; there is no such kind.
const PART_SELECTION: u8 = 0;

/// The key of what `matchers`, as [`matchers_key`] has them, accept of a part.
pub(crate) fn part_selection(part: [u8; 12], matchers: &[u8]) -> Vec<u8> {
    [&part, &[PART_SELECTION][..], matchers].concat()
}

/// How all keys of a head begin.
pub(crate) fn head_prefix(head: u64) -> [u8; 12] {
    let mut prefix = [0; 12];
    prefix[..4].copy_from_slice(&HEAD_SELECTION.to_be_bytes());
    prefix[4..].copy_from_slice(&head.to_be_bytes());
    prefix
}

/// The key of what `matchers`, as [`matchers_key`] has them, accept of a head.
pub(crate) fn head_selection(head: u64, matchers: &[u8]) -> Vec<u8> {
    [&head_prefix(head), matchers].concat()
}

/// Matchers as bytes: others have others.
pub(crate) fn matchers_key(matchers: &[Matcher]) -> Vec<u8> {
    let mut key = Vec::new();
    for matcher in matchers {
        key.push(matcher.op() as u8);
        for text in [matcher.name(), matcher.value()] {
            vedette_chunk::push_unsigned(&mut key, text.len() as u64);
            key.extend_from_slice(text.as_bytes());
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_bytes() {
        let cache = OpenedCache::new(64 << 10);
        for number in 0..1000u32 {
            cache.insert(&number.to_be_bytes(), Opened::Times(Arc::new(vec![0; 100])));
            assert!(cache.bytes() <= 64 << 10);
        }
        let kept = (0..1000u32).filter(|number| cache.get(&number.to_be_bytes()).is_some()).count();
        assert!((10..75).contains(&kept), "{kept}");
        assert_eq!(cache.hits.load(Relaxed) + cache.misses.load(Relaxed), 1000);
        cache.insert(b"a part's, one", Opened::Times(Arc::default()));
        cache.insert(b"b part's, one", Opened::Times(Arc::default()));
        cache.forget(&[*b"a part's, on"]);
        assert!(cache.get(b"a part's, one").is_none() && cache.get(b"b part's, one").is_some());
        // What would fill it alone is not kept.
        cache.insert(b"large", Opened::Times(Arc::new(vec![0; 8 << 10])));
        assert!(cache.get(b"large").is_none());
    }

    #[test]
    fn other_matchers_have_another_key() {
        let equal = |name, value| Matcher::equal(name, value);
        let keys = [
            matchers_key(&[]),
            matchers_key(&[equal("a", "bc")]),
            matchers_key(&[equal("ab", "c")]),
            matchers_key(&[equal("a", "b"), equal("c", "d")]),
            matchers_key(&[Matcher::new(vedette_model::MatchOp::Regex, "a", "bc").expect("an expression")]),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[place + 1..].contains(key));
        }
    }
}
