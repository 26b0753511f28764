//! Keys by which series go together: for groups of an aggregation and for partners of an operator.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use vedette_model::{Labels, METRIC_NAME};

use crate::ast::{Grouping, VectorMatching};

/// Which labels make the key.
#[derive(Clone, Debug)]
pub(crate) enum KeyLabels {
    /// These, sorted.
    Only(Vec<String>),
    /// All but these, sorted; the metric's name is always among them.
    AllBut(Vec<String>),
}

impl KeyLabels {
    pub(crate) fn of_grouping(grouping: &Grouping) -> Self {
        match grouping {
            Grouping::By(labels) => Self::only(labels),
            Grouping::Without(labels) => Self::all_but(labels),
        }
    }

    pub(crate) fn of_matching(matching: &VectorMatching) -> Self {
        if matching.on { Self::only(&matching.labels) } else { Self::all_but(&matching.labels) }
    }

    fn only(labels: &[String]) -> Self {
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        Self::Only(labels)
    }

    fn all_but(labels: &[String]) -> Self {
        let mut labels = labels.to_vec();
        labels.push(METRIC_NAME.to_owned());
        labels.sort_unstable();
        Self::AllBut(labels)
    }

    pub(crate) fn keeps(&self, name: &str) -> bool {
        let find = |labels: &[String]| labels.binary_search_by(|label| label.as_str().cmp(name)).is_ok();
        match self {
            Self::Only(labels) => find(labels),
            Self::AllBut(labels) => !find(labels),
        }
    }

    /// The labels that make the key.
    pub(crate) fn project(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.keeps(name))
    }
}

/// Gives equal keys equal numbers, counting from 0.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    labels: KeyLabels,
    numbers: HashMap<Vec<u8>, usize, FxBuildHasher>,
    buffer: Vec<u8>,
}

impl KeyIndex {
    pub(crate) fn new(labels: KeyLabels) -> Self {
        Self { labels, numbers: HashMap::default(), buffer: Vec::new() }
    }

    /// The key's number; a new key gets the next.
    pub(crate) fn number(&mut self, labels: &Labels) -> usize {
        self.fill(labels);
        if let Some(number) = self.numbers.get(&self.buffer) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.buffer.clone(), number);
        number
    }

    /// The key's number, if it has been seen.
    pub(crate) fn known(&mut self, labels: &Labels) -> Option<usize> {
        self.fill(labels);
        self.numbers.get(&self.buffer).copied()
    }

    pub(crate) fn project(&self, labels: &Labels) -> Labels {
        self.labels.project(labels)
    }

    fn fill(&mut self, labels: &Labels) {
        // A byte that UTF-8 never has.
        const END: u8 = 0xff;
        self.buffer.clear();
        if matches!(&self.labels, KeyLabels::Only(only) if only.is_empty()) {
            return;
        }
        for (name, value) in labels {
            if self.labels.keeps(name) {
                self.buffer.extend_from_slice(name.as_bytes());
                self.buffer.push(END);
                self.buffer.extend_from_slice(value.as_bytes());
                self.buffer.push(END);
            }
        }
    }
}
