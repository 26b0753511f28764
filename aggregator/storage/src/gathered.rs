//! What a listing has gathered, told from time to time to whoever bounds it.

use std::collections::{BTreeMap, BTreeSet};

use vedette_model::{Exemplar, Labels, Metadata, SelectError, SelectGuard};

/// Steps between two questions: each costs a look at the clock.
const STEPS_MAX: u32 = 256;
/// What an entry of a sorted set costs beside its text: the tree's room, the text's header, the allocator.
const ENTRY_BYTES: u64 = 64;

/// One listing's bytes.
pub(crate) struct Gathered<'a> {
    guard: Option<&'a dyn SelectGuard>,
    bytes: u64,
    steps: u32,
}

impl<'a> Gathered<'a> {
    pub(crate) fn new(guard: Option<&'a dyn SelectGuard>) -> Self {
        Self { guard, bytes: 0, steps: 0 }
    }

    /// Something was looked at.
    pub(crate) fn step(&mut self) -> Result<(), SelectError> {
        self.steps += 1;
        if self.steps < STEPS_MAX { Ok(()) } else { self.tell(0) }
    }

    /// Says how much there is, and what is held `beside` it.
    pub(crate) fn tell(&mut self, beside: u64) -> Result<(), SelectError> {
        self.steps = 0;
        self.guard.map_or(Ok(()), |guard| guard.hold(self.bytes + beside))
    }

    pub(crate) fn add_labels(
        &mut self,
        all: &mut BTreeSet<Labels>,
        labels: Labels,
    ) -> Result<(), SelectError> {
        let bytes = ENTRY_BYTES + labels.canonical().len() as u64;
        if all.insert(labels) {
            self.bytes += bytes;
        }
        self.step()
    }

    pub(crate) fn add_text(&mut self, all: &mut BTreeSet<String>, text: &str) -> Result<(), SelectError> {
        if !all.contains(text) {
            all.insert(text.to_owned());
            self.bytes += ENTRY_BYTES + text.len() as u64;
        }
        self.step()
    }

    pub(crate) fn add_metadata(
        &mut self,
        all: &mut BTreeMap<String, BTreeSet<Metadata>>,
        metric: &str,
        metadata: impl IntoIterator<Item = Metadata>,
    ) -> Result<(), SelectError> {
        let known = match all.get_mut(metric) {
            Some(known) => known,
            None => all.entry(metric.to_owned()).or_default(),
        };
        for one in metadata {
            // In the end the name stands with each.
            let text = metric.len() + one.help.len() + one.unit.len();
            if known.insert(one) {
                self.bytes += ENTRY_BYTES + (size_of::<Metadata>() + text) as u64;
            }
        }
        self.step()
    }

    pub(crate) fn add_exemplars(
        &mut self,
        labels: &Labels,
        exemplars: &[Exemplar],
    ) -> Result<(), SelectError> {
        let text = exemplars.iter().map(|exemplar| exemplar.labels.canonical().len()).sum::<usize>();
        let bytes = labels.canonical().len() + text + size_of_val(exemplars);
        self.bytes += ENTRY_BYTES + bytes as u64;
        self.step()
    }

    /// Of series that are looked through one by one and not kept.
    pub(crate) fn tell_passing<T>(&mut self, items: &[T]) -> Result<(), SelectError> {
        self.tell(size_of_val(items) as u64)
    }
}
