use vedette_model::Labels;

use crate::table::Family;

/// What the indices of a segment's batches stand for. Grows within a segment, and starts empty with each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// By target index.
    pub targets: Vec<DictionaryTarget>,
    /// By family index; shared by the targets.
    pub families: Vec<Family>,
}

/// One target's series, by series index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictionaryTarget {
    /// In the order in which the writer first saw them.
    pub series: Vec<DictionarySeries>,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DictionarySeries {
    /// The whole label set.
    pub labels: Labels,
    /// Index into [`Dictionary::families`].
    pub family: u32,
}
