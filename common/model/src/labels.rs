use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// The label that carries a classic histogram bucket's upper bound.
pub const BUCKET_LABEL: &str = "le";
/// The label that carries a summary's quantile.
pub const QUANTILE_LABEL: &str = "quantile";
/// The label that names the target's job.
pub const JOB_LABEL: &str = "job";
/// The label that names the target.
pub const INSTANCE_LABEL: &str = "instance";

/// A label set: pairs sorted by name (by bytes), each name once, no empty value, any UTF-8.
///
/// One shared buffer, so a clone is a reference count and equality is a comparison of bytes:
///
/// ```text
/// (length name length value)*      length: 6 bits a byte, low bits first, bit 6 set = more follows
/// ```
///
/// Lengths are ASCII, so the whole buffer is one valid `str` and can be sliced without checking again.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<str>);

impl Labels {
    /// The empty label set.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// From pairs in any order. Of a name given twice the last wins; empty values are left out, since
    /// for Prometheus an empty label is no label.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.finish()
    }

    /// From pairs that are already sorted by name, unique and without empty values; otherwise `None`.
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Option<Self> {
        let sorted = pairs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !sorted || pairs.iter().any(|(_, value)| value.is_empty()) {
            return None;
        }
        Some(Self::encode(pairs.iter().copied()))
    }

    fn encode<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let size = pairs.clone().map(|(name, value)| name.len() + value.len() + 6).sum();
        let mut buffer = String::with_capacity(size);
        for (name, value) in pairs {
            push_prefixed(&mut buffer, name);
            push_prefixed(&mut buffer, value);
        }
        Self(Arc::from(buffer))
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> LabelsIter<'_> {
        LabelsIter { rest: &self.0 }
    }

    /// The value of label `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .take_while(|(found, _)| *found <= name)
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// The metric's name, if there is one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A builder that starts with these labels.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    /// Only the labels whose name `keep` accepts.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<_> = self.iter().filter(|(name, _)| keep(name)).collect();
        Self::encode(kept.iter().copied())
    }

    /// Without the metric's name.
    pub fn without_metric_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// The buffer described at [`Labels`]: equal sets have equal bytes. What is hashed and may be persisted.
    pub fn canonical(&self) -> &str {
        &self.0
    }

    /// Reads back what [`Labels::canonical`] gave; `None` when it is not a canonical label set.
    pub fn from_canonical(canonical: &str) -> Option<Self> {
        let mut rest = canonical;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let name;
            let value;
            (name, rest) = split_prefixed(rest)?;
            (value, rest) = split_prefixed(rest)?;
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
        }
        Some(Self(Arc::from(canonical)))
    }
}

fn push_prefixed(buffer: &mut String, text: &str) {
    let mut length = text.len();
    while length >= 0x40 {
        buffer.push(char::from(0x40 | (length & 0x3f) as u8));
        length >>= 6;
    }
    buffer.push(char::from(length as u8));
    buffer.push_str(text);
}

fn split_prefixed(buffer: &str) -> Option<(&str, &str)> {
    let bytes = buffer.as_bytes();
    let mut length = 0usize;
    let mut used = 0;
    loop {
        let byte = *bytes.get(used)?;
        if byte >= 0x80 || used >= 10 {
            return None;
        }
        // A length may be written with needless bytes; only the shortest form is canonical.
        if byte == 0 && used > 0 {
            return None;
        }
        length |= usize::from(byte & 0x3f).checked_shl(6 * used as u32)?;
        used += 1;
        if byte & 0x40 == 0 {
            break;
        }
    }
    let end = used.checked_add(length)?;
    Some((buffer.get(used..end)?, buffer.get(end..)?))
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Prometheus' order (`labels.Compare`): pair by pair, name before value; a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.iter().cmp(other.iter()) }
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As in a PromQL selector with the name as a label: `{__name__="up", job="node"}`.
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        self.iter()
    }
}

/// The pairs of a [`Labels`], sorted by name.
#[derive(Clone, Debug)]
pub struct LabelsIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelsIter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = split_prefixed(self.rest)?;
        let (value, rest) = split_prefixed(rest)?;
        self.rest = rest;
        Some((name, value))
    }
}

/// Puts a label set together.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, unique, no empty values.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(found, _)| found.as_str().cmp(name)) {
            Ok(index) if value.is_empty() => drop(self.pairs.remove(index)),
            Ok(index) => value.clone_into(&mut self.pairs[index].1),
            Err(_) if value.is_empty() => {}
            Err(index) => self.pairs.insert(index, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes a label.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// The value of a label set so far.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self.pairs.binary_search_by(|(found, _)| found.as_str().cmp(name)).ok()?;
        Some(&self.pairs[index].1)
    }

    /// The label set.
    pub fn finish(&self) -> Labels {
        Labels::encode(self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Identity of a series: xxh3-128 of its label set's canonical bytes, seeded with the tenant (0 for now).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u128);

impl SeriesId {
    /// The identity of `labels`.
    pub fn of(labels: &Labels) -> Self {
        const TENANT: u64 = 0;
        Self(xxh3_128_with_seed(labels.canonical().as_bytes(), TENANT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn order_is_pairwise_not_bytewise() {
        let short = Labels::from_pairs([("a", "z")]);
        let long = Labels::from_pairs([("ab", "a")]);
        assert!(short < long);
        assert!(short < Labels::from_pairs([("a", "z"), ("b", "1")]));
        assert!(Labels::empty() < short);
    }

    #[test]
    fn canonical_refuses_what_it_would_not_write() {
        for bad in ["\u{1}", "\u{1}a\u{0}", "\u{1}b\u{1}1\u{1}a\u{1}1", "\u{41}\u{0}a\u{1}1"] {
            assert_eq!(Labels::from_canonical(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(pairs in proptest::collection::btree_map(".{0,80}", ".{1,5000}", 0..6)) {
            let labels = Labels::from_pairs(&pairs);
            prop_assert_eq!(labels.len(), pairs.len());
            for (name, value) in &pairs {
                prop_assert_eq!(labels.get(name), Some(value.as_str()));
            }
            prop_assert_eq!(Labels::from_canonical(labels.canonical()), Some(labels.clone()));
            prop_assert_eq!(labels.to_builder().finish(), labels);
        }

        #[test]
        fn reading_any_text_is_safe(text in ".{0,40}") {
            let _labels = Labels::from_canonical(&text);
        }
    }
}
