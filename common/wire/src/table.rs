use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vedette_model::{Exemplar, Histogram, Labels, Metadata, MetricKind, STALE_NAN};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::row::{RowValues, SetBits};

/// Series that one target may have, unless [`TargetTable::with_series_max`] says otherwise.
pub const SERIES_PER_TARGET_MAX: usize = 1 << 18;
/// Rows that a series must have been absent for before [`TargetTable::compact`] forgets it, so that one
/// that comes and goes every few minutes keeps its index.
const ABSENT_ROWS_MIN: u64 = 300;
/// Numbers tables; it only tells them apart and reaches no output.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// No series: the end of a chain of expected series, a free slot of the hash index.
const NONE: u32 = u32::MAX;

/// A metric family: its name and what is known about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Family {
    /// The family's name: without `_bucket`, `_sum` and the like.
    pub name: String,
    /// Type, unit and help.
    pub metadata: Metadata,
}

/// What a source says about a series when it is first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesDescription {
    /// The whole label set, metric name and target labels included.
    pub labels: Labels,
    /// The name of the family that it belongs to.
    pub family: String,
}

/// What became of a value given to [`TargetTable::set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOutcome {
    /// Taken, for a series seen before.
    Known,
    /// Taken, for a series never seen before.
    New,
    /// Not taken: this row has a value for the series already.
    Duplicate,
    /// Not taken: the series is new and the table is full.
    SeriesLimit,
}

/// Counts of a finished row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSummary {
    /// Values set, without stale markers.
    pub samples: usize,
    /// Series that were not in the row before.
    pub added: usize,
    /// Series that were in the row before and are not in this one: stale markers written.
    pub gone: usize,
}

/// A writer's memory of one target: which series it has, and the row being filled.
///
/// Maps the source's own bytes of a series (its *key*, such as `node_load1` or `a{b="c"}`) to an index. As
/// a source writes its series in the same order each time, the key that followed the last one in the row
/// before is compared first; only where it differs is the key hashed. A series that was in the last row
/// and is not in this one gets a stale marker, once.
#[derive(Debug)]
pub struct TargetTable {
    series: Vec<TableSeries>,
    /// The keys of all series, one after the other.
    key_bytes: Vec<u8>,
    index: KeyIndex,
    families: Vec<Family>,
    /// Rises whenever the family's metadata changes, by family index.
    family_versions: Vec<u64>,
    family_by_name: HashMap<String, usize>,
    /// The family that [`TargetTable::note_family`] named last: the next one is looked for behind it.
    family_cursor: usize,
    /// Rises whenever any family's metadata changes.
    family_version: u64,
    /// Which meaning the indices have: no two tables of the process share one, nor a table before and after a
    /// compaction.
    generation: u64,
    series_max: usize,
    row: RowValues,
    /// The series of the row before that are not stale.
    alive: Vec<u64>,
    alive_count: usize,
    rows: u64,
    /// The series set last in this row, or `NONE` at its start.
    cursor: u32,
    first: u32,
    samples: usize,
    /// Hashes of the exemplars that series had last in a finished row, for those that had any.
    exemplars: HashMap<u32, u64>,
    /// The same of the row being filled.
    exemplars_pending: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct TableSeries {
    labels: Labels,
    family: u32,
    key_start: u32,
    key_len: u32,
    /// The series that followed in the last row.
    next: u32,
    /// The number of the row that marked it stale last.
    gone_at: u64,
}

impl Default for TargetTable {
    fn default() -> Self {
        Self::new()
    }
}

impl TargetTable {
    /// A table without series.
    pub fn new() -> Self {
        Self::with_series_max(SERIES_PER_TARGET_MAX)
    }

    /// A table that takes at most `series_max` series, present or not.
    pub fn with_series_max(series_max: usize) -> Self {
        Self {
            series: Vec::new(),
            key_bytes: Vec::new(),
            index: KeyIndex::default(),
            families: Vec::new(),
            family_versions: Vec::new(),
            family_by_name: HashMap::new(),
            family_cursor: 0,
            family_version: 0,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            series_max: series_max.min(SERIES_PER_TARGET_MAX),
            row: RowValues::new(),
            alive: Vec::new(),
            alive_count: 0,
            rows: 0,
            cursor: NONE,
            first: NONE,
            samples: 0,
            exemplars: HashMap::new(),
            exemplars_pending: Vec::new(),
        }
    }

    /// Starts a row with no series present.
    pub fn begin_row(&mut self) {
        self.row.clear();
        self.row.resize(self.series.len());
        self.cursor = NONE;
        self.samples = 0;
        self.exemplars_pending.clear();
        self.rows += 1;
    }

    /// Sets the value of the series that the source calls `key`.
    ///
    /// `describe` runs only for a key that the table does not know; its error is passed on and leaves the
    /// table as it was.
    pub fn set<E>(
        &mut self,
        key: &[u8],
        value: f64,
        describe: impl FnOnce() -> Result<SeriesDescription, E>,
    ) -> Result<SetOutcome, E> {
        self.set_with(key, describe, |row, index| row.set(index, value))
    }

    /// As [`TargetTable::set`], with a histogram as the value.
    pub fn set_histogram<E>(
        &mut self,
        key: &[u8],
        histogram: Arc<Histogram>,
        describe: impl FnOnce() -> Result<SeriesDescription, E>,
    ) -> Result<SetOutcome, E> {
        self.set_with(key, describe, |row, index| row.set_histogram(index, histogram))
    }

    /// Says since when the series set last counts.
    pub fn set_start_ms(&mut self, start_ms: i64) {
        if self.cursor != NONE {
            self.row.set_start_ms(self.cursor as usize, start_ms);
        }
    }

    /// Adds an exemplar to the series set last, unless that series had the same one last in a finished row: sources
    /// repeat an exemplar until they have another. `at_ms` is its own time, where it has one. Says whether it was taken.
    pub fn push_exemplar(&mut self, labels: Labels, value: f64, at_ms: Option<i64>, row_at_ms: i64) -> bool {
        if self.cursor == NONE {
            return false;
        }
        let mut hasher = Xxh3::with_seed(at_ms.unwrap_or(i64::MIN) as u64);
        hasher.update(&value.to_bits().to_le_bytes());
        hasher.update(labels.canonical().as_bytes());
        let hash = hasher.digest();
        if self.exemplars.get(&self.cursor) == Some(&hash) {
            return false;
        }
        self.exemplars_pending.push((self.cursor, hash));
        let exemplar = Exemplar { labels, value, at_ms: at_ms.unwrap_or(row_at_ms) };
        self.row.push_exemplar(self.cursor as usize, exemplar);
        true
    }

    fn set_with<E>(
        &mut self,
        key: &[u8],
        describe: impl FnOnce() -> Result<SeriesDescription, E>,
        put: impl FnOnce(&mut RowValues, usize),
    ) -> Result<SetOutcome, E> {
        let expected = self.expected();
        if expected != NONE && self.key(expected) == key {
            return Ok(self.set_known(expected, put));
        }
        let hash = xxh3_64(key);
        let found = self.index.find(hash, |index| self.key(index) == key);
        if let Some(index) = found {
            self.expect_next(index);
            return Ok(self.set_known(index, put));
        }
        if self.series.len() >= self.series_max || self.key_bytes.len() + key.len() > u32::MAX as usize {
            return Ok(SetOutcome::SeriesLimit);
        }
        let description = describe()?;
        let index = self.add(key, hash, description);
        self.expect_next(index);
        self.set_known(index, put);
        Ok(SetOutcome::New)
    }

    /// As [`TargetTable::set`] for a series whose index is known, as long as the table is of the same
    /// [`TargetTable::generation`].
    pub fn set_at(&mut self, index: u32, value: f64) -> SetOutcome {
        assert!((index as usize) < self.series.len(), "series {index} of {}", self.series.len());
        self.set_known(index, |row, index| row.set(index, value))
    }

    /// The index of the series that was set last in this row.
    pub fn last_set(&self) -> Option<u32> {
        (self.cursor != NONE).then_some(self.cursor)
    }

    /// Ends the row: series that were in the last one and are not in this one become stale.
    pub fn finish_row(&mut self) -> RowSummary {
        self.exemplars.extend(self.exemplars_pending.drain(..));
        let mut gone = 0;
        let mut kept = 0;
        let mut present = self.row.present_words().to_vec();
        for (index, _) in self.row.histograms() {
            present[*index as usize / u64::BITS as usize] |= 1 << (*index % u64::BITS);
        }
        for (word_index, &now) in present.iter().enumerate() {
            let before = self.alive.get(word_index).copied().unwrap_or(0);
            kept += (before & now).count_ones() as usize;
            for bit in SetBits(before & !now) {
                let index = word_index * u64::BITS as usize + bit;
                self.row.set(index, STALE_NAN);
                self.series[index].gone_at = self.rows;
                gone += 1;
            }
        }
        self.alive = present;
        self.alive_count = self.samples;
        RowSummary { samples: self.samples, added: self.samples - kept, gone }
    }

    /// A row in which every series that was there becomes stale: the target failed or is gone.
    pub fn end_target(&mut self) -> RowSummary {
        self.begin_row();
        self.finish_row()
    }

    /// The row finished last, stale markers included.
    pub fn row(&self) -> &RowValues {
        &self.row
    }

    /// Tells what is known of a family; a change is sent with the next batch.
    pub fn set_family(&mut self, family: Family) {
        let Metadata { kind, unit, help } = &family.metadata;
        self.note_family(&family.name, *kind, unit, help);
    }

    /// As [`TargetTable::set_family`], without an allocation when nothing changed.
    pub fn note_family(&mut self, name: &str, kind: MetricKind, unit: &str, help: &str) {
        let index = self.family_index(name);
        let metadata = &mut self.families[index].metadata;
        if metadata.kind != kind || metadata.unit != unit || metadata.help != help {
            *metadata = Metadata { kind, unit: unit.to_owned(), help: help.to_owned() };
            self.family_versions[index] += 1;
            self.family_version += 1;
        }
    }

    /// Whether series that have been absent for long outnumber the others.
    pub fn needs_compaction(&self) -> bool {
        let dead = self.series.len() - self.alive_count.min(self.series.len());
        if dead <= self.alive_count {
            return false;
        }
        let forgettable = (0..self.series.len()).filter(|&index| self.is_forgettable(index)).count();
        forgettable > self.series.len() - forgettable
    }

    /// Forgets the series that have been absent for long; the others get new indices, in the same order.
    ///
    /// Encoders that have seen this table start a new segment with the next batch, and rows copied from it
    /// before must not be encoded with it any more.
    pub fn compact(&mut self) {
        let old = mem::replace(self, Self::with_series_max(self.series_max));
        for (index, series) in old.series.iter().enumerate() {
            if old.is_forgettable(index) {
                continue;
            }
            let key = &old.key_bytes[series.key_start as usize..][..series.key_len as usize];
            let family = &old.families[series.family as usize];
            self.set_family(family.clone());
            let description =
                SeriesDescription { labels: series.labels.clone(), family: family.name.clone() };
            let new = self.add(key, xxh3_64(key), description);
            self.expect_next(new);
            self.cursor = new;
            self.series[new as usize].gone_at = series.gone_at;
            if old.is_alive(index) {
                self.mark_alive(new as usize);
            }
            if let Some(hash) = old.exemplars.get(&(index as u32)) {
                self.exemplars.insert(new, *hash);
            }
            old.row.copy_series(index, &mut self.row, new as usize);
        }
        self.row.resize(self.series.len());
        self.alive_count = old.alive_count;
        self.rows = old.rows;
    }

    /// How many series the table knows, present or not. Indices run from 0.
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// The labels of series `index`.
    pub fn labels(&self, index: usize) -> Option<&Labels> {
        self.series.get(index).map(|series| &series.labels)
    }

    /// The family of series `index`.
    pub fn family(&self, index: usize) -> Option<&Family> {
        self.series.get(index).map(|series| &self.families[series.family as usize])
    }

    /// The families named so far.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    pub(crate) fn family_of(&self, index: usize) -> u32 {
        self.series[index].family
    }

    pub(crate) fn family_version(&self) -> u64 {
        self.family_version
    }

    pub(crate) fn family_version_of(&self, family: usize) -> u64 {
        self.family_versions[family]
    }

    /// Another one when indices have got another meaning.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The series that followed the last one set in the row before.
    fn expected(&self) -> u32 {
        if self.cursor == NONE { self.first } else { self.series[self.cursor as usize].next }
    }

    fn expect_next(&mut self, index: u32) {
        if self.cursor == NONE {
            self.first = index;
        } else {
            self.series[self.cursor as usize].next = index;
        }
    }

    fn key(&self, index: u32) -> &[u8] {
        let series = &self.series[index as usize];
        &self.key_bytes[series.key_start as usize..][..series.key_len as usize]
    }

    fn set_known(&mut self, index: u32, put: impl FnOnce(&mut RowValues, usize)) -> SetOutcome {
        if self.row.is_present(index as usize) || self.row.histogram(index as usize).is_some() {
            return SetOutcome::Duplicate;
        }
        self.cursor = index;
        put(&mut self.row, index as usize);
        self.samples += 1;
        SetOutcome::Known
    }

    fn add(&mut self, key: &[u8], hash: u64, description: SeriesDescription) -> u32 {
        let index = self.series.len() as u32;
        let family = self.family_index(&description.family) as u32;
        self.series.push(TableSeries {
            labels: description.labels,
            family,
            key_start: self.key_bytes.len() as u32,
            key_len: key.len() as u32,
            next: NONE,
            gone_at: 0,
        });
        self.key_bytes.extend_from_slice(key);
        self.index.insert(hash, index);
        index
    }

    /// The index of the family called `name`, which is made when it is not there.
    fn family_index(&mut self, name: &str) -> usize {
        let is_named = |index: &usize| self.families.get(*index).is_some_and(|family| family.name == name);
        let expected = [self.family_cursor, self.family_cursor + 1].into_iter().find(is_named);
        let known = expected.or_else(|| self.family_by_name.get(name).copied());
        let index = known.unwrap_or_else(|| {
            self.families.push(Family { name: name.to_owned(), metadata: Metadata::default() });
            self.family_versions.push(0);
            self.family_by_name.insert(name.to_owned(), self.families.len() - 1);
            self.families.len() - 1
        });
        self.family_cursor = index;
        index
    }

    fn is_alive(&self, index: usize) -> bool {
        let bits = u64::BITS as usize;
        self.alive.get(index / bits).is_some_and(|word| word >> (index % bits) & 1 == 1)
    }

    fn mark_alive(&mut self, index: usize) {
        let bits = u64::BITS as usize;
        self.alive.resize(self.alive.len().max(index / bits + 1), 0);
        self.alive[index / bits] |= 1 << (index % bits);
    }

    fn is_forgettable(&self, index: usize) -> bool {
        !self.is_alive(index) && self.rows.saturating_sub(self.series[index].gone_at) >= ABSENT_ROWS_MIN
    }
}

/// Open addressing over series indices. The keys themselves stay in the table; it keeps their hashes, so
/// that growing does not read them.
#[derive(Debug, Default)]
struct KeyIndex {
    /// A power of two of slots, at most half of them taken.
    slots: Vec<(u64, u32)>,
    taken: usize,
}

impl KeyIndex {
    fn find(&self, hash: u64, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 != NONE {
            let (found, index) = self.slots[slot];
            if found == hash && is_key(index) {
                return Some(index);
            }
            slot = (slot + 1) & mask;
        }
        None
    }

    fn insert(&mut self, hash: u64, index: u32) {
        if (self.taken + 1) * 2 > self.slots.len() {
            let room = (self.slots.len() * 2).max(16);
            let old = mem::replace(&mut self.slots, vec![(0, NONE); room]);
            for (hash, index) in old.into_iter().filter(|(_, index)| *index != NONE) {
                self.place(hash, index);
            }
        }
        self.place(hash, index);
        self.taken += 1;
    }

    fn place(&mut self, hash: u64, index: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot].1 != NONE {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (hash, index);
    }
}
