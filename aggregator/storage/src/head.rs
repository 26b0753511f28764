//! The head: samples that are in no part yet.
//!
//! One block per target of a log: its series, and its rows as they arrive. A row has its time once and its values
//! by series index, so that taking in a sample costs no hash. Queries read blocks while they grow: a row carries the
//! number of the batch that brought it, and a query skips what is newer than its view.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use rustc_hash::FxBuildHasher;
use vedette_model::{Exemplar, HistogramSample, Labels, METRIC_NAME, MatchOp, Matcher, Metadata, Samples};
use vedette_wire::{Batch, Dictionary, DictionarySeries, LogId, RowValues};

use crate::admission::Admission;
use crate::head_index::Addition;
use crate::samples::Run;

/// Everything since the last freeze.
pub(crate) struct Head {
    /// No two heads of a process have the same.
    number: u64,
    blocks: RwLock<Arc<Vec<Arc<Block>>>>,
    /// All groups of all blocks, in the order in which they came.
    additions: RwLock<Arc<Vec<Addition>>>,
    /// The times of all rows are between these.
    first_ms: AtomicI64,
    last_ms: AtomicI64,
    families: Mutex<Families>,
    pub(crate) samples: AtomicU64,
    /// As [`weight_of`] counts: what the head's limit is about.
    pub(crate) weight: AtomicU64,
    pub(crate) series: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

#[derive(Default)]
struct Families {
    by_name: BTreeMap<String, BTreeSet<Metadata>>,
    /// Hosts of one kind bring the same families: each list is looked at once.
    lists: HashSet<u128>,
}

/// The rows of one target of one log.
pub(crate) struct Block {
    pub(crate) log: LogId,
    /// Its place in the head.
    place: u32,
    content: RwLock<Content>,
}

struct Content {
    series: TargetSeries,
    rows: Vec<RowEntry>,
    /// The times of all rows are between these.
    first_ms: i64,
    last_ms: i64,
}

/// A row and what decides whether a query sees it, so that it need not be looked at.
struct RowEntry {
    /// The batch that brought it, counted over all logs.
    version: u64,
    at_ms: i64,
    row: Arc<Row>,
}

/// One scrape of one target.
pub(crate) struct Row {
    pub(crate) at_ms: i64,
    pub(crate) values: RowValues,
}

/// A target's series, in groups as the dictionary grew.
pub(crate) type TargetSeries = Arc<Vec<Arc<SeriesGroup>>>;

/// Neighbouring series of a target.
pub(crate) struct SeriesGroup {
    /// Index of the first.
    pub(crate) start: usize,
    pub(crate) series: Vec<Labels>,
    index: OnceLock<GroupIndex>,
}

/// Made when a query first looks at the group.
struct GroupIndex {
    /// Pairs that all series have.
    constants: Vec<(String, String)>,
    /// Positions sorted by metric name, then by all labels: what is found in many groups is then quickly sorted.
    by_metric: Vec<u32>,
    /// Sorted by hash: where each metric's positions are.
    metrics: Vec<MetricPlace>,
}

/// One metric of a group. Queries look for their metric in every group, which mostly does not have it.
struct MetricPlace {
    hash: u32,
    from: u32,
    to: u32,
}

impl Default for Head {
    fn default() -> Self {
        static HEADS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: HEADS.fetch_add(1, Ordering::Relaxed),
            blocks: RwLock::default(),
            additions: RwLock::default(),
            first_ms: AtomicI64::new(i64::MAX),
            last_ms: AtomicI64::new(i64::MIN),
            families: Mutex::default(),
            samples: AtomicU64::new(0),
            weight: AtomicU64::new(0),
            series: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

impl Head {
    /// No two heads of a process have the same.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether there may be a row in the range, both ends included.
    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.first_ms.load(Ordering::Relaxed) <= end && self.last_ms.load(Ordering::Relaxed) >= start
    }

    /// The groups there are now, in the order in which they came. Their blocks are in [`Head::blocks`] before them.
    pub(crate) fn additions(&self) -> Arc<Vec<Addition>> {
        Arc::clone(&self.additions.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn add_groups(&self, block: u32, groups: &[Arc<SeriesGroup>]) {
        let mut additions = self.additions.write().unwrap_or_else(PoisonError::into_inner);
        let added = groups.iter().map(|group| Addition { block, group: Arc::clone(group) });
        Arc::make_mut(&mut additions).extend(added);
    }

    /// The blocks there are now. Later ones hold nothing that a view taken before may see.
    pub(crate) fn blocks(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&self.blocks.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new block.
    pub(crate) fn add_block(&self, log: LogId, series: TargetSeries) -> Arc<Block> {
        self.series.fetch_add(series_len(&series) as u64, Ordering::Relaxed);
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let place = blocks.len() as u32;
        let content =
            Content { series: Arc::clone(&series), rows: Vec::new(), first_ms: i64::MAX, last_ms: i64::MIN };
        let block = Arc::new(Block { log, place, content: RwLock::new(content) });
        Arc::make_mut(&mut blocks).push(Arc::clone(&block));
        drop(blocks);
        self.add_groups(place, &series);
        block
    }

    /// Adds a row to a block of this head.
    pub(crate) fn push_row(&self, block: &Block, version: u64, at_ms: i64, values: RowValues) {
        let weight = weight_of(&values);
        let rare = weight - values.count_present() as u64;
        self.samples.fetch_add(values.count_samples() as u64, Ordering::Relaxed);
        self.weight.fetch_add(weight, Ordering::Relaxed);
        self.first_ms.fetch_min(at_ms, Ordering::Relaxed);
        self.last_ms.fetch_max(at_ms, Ordering::Relaxed);
        let floats = (values.len() * 8 + values.len() / 8 + 96) as u64;
        self.bytes.fetch_add(floats + rare * SAMPLE_BYTES, Ordering::Relaxed);
        let entry = RowEntry { version, at_ms, row: Arc::new(Row { at_ms, values }) };
        let mut content = block.content.write().unwrap_or_else(PoisonError::into_inner);
        (content.first_ms, content.last_ms) = (content.first_ms.min(at_ms), content.last_ms.max(at_ms));
        content.rows.push(entry);
    }

    /// Takes over what a log says of its families.
    pub(crate) fn add_families(&self, list: &FamilyList) {
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        if families.lists.insert(list.hash) {
            for (name, metadata) in &list.families {
                families.by_name.entry(name.clone()).or_default().insert(metadata.clone());
            }
        }
    }

    /// What is known of families, by name.
    pub(crate) fn families(&self) -> BTreeMap<String, BTreeSet<Metadata>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner).by_name.clone()
    }
}

/// A log's families with a hash of them all.
#[derive(Default)]
pub(crate) struct FamilyList {
    hash: u128,
    families: Vec<(String, Metadata)>,
}

impl FamilyList {
    pub(crate) fn of(dictionary: &Dictionary) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        let mut families = Vec::with_capacity(dictionary.families.len());
        // Without a name they say nothing: pushed series do not come with their families.
        for family in dictionary.families.iter().filter(|family| !family.name.is_empty()) {
            let metadata = &family.metadata;
            for text in [&family.name, metadata.kind.as_str(), &metadata.unit, &metadata.help] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
            families.push((family.name.clone(), metadata.clone()));
        }
        Self { hash: hasher.digest128(), families }
    }
}

/// Bytes that one float takes, roughly.
const SAMPLE_BYTES: u64 = 16;

/// How many floats a row is worth: a histogram and an exemplar as many as would take their memory.
pub(crate) fn weight_of(values: &RowValues) -> u64 {
    let histograms = values.histograms().iter().map(|(_, histogram)| histogram.size_bytes() as u64);
    let exemplars =
        values.exemplars().iter().map(|(_, exemplar)| 64 + exemplar.labels.canonical().len() as u64);
    values.count_present() as u64 + (histograms.sum::<u64>() + exemplars.sum::<u64>()).div_ceil(SAMPLE_BYTES)
}

/// How far an exemplar's own time may be from its row's. One that is further away is not kept.
pub(crate) const EXEMPLAR_DISTANCE_MAX_MS: u64 = 86_400_000;

fn is_near(exemplar: &Exemplar, row_at_ms: i64) -> bool {
    exemplar.at_ms.abs_diff(row_at_ms) <= EXEMPLAR_DISTANCE_MAX_MS
}

/// How many exemplars of a row are not kept.
pub(crate) fn far_exemplars(values: &RowValues, at_ms: i64) -> usize {
    values.exemplars().iter().filter(|(_, exemplar)| !is_near(exemplar, at_ms)).count()
}

impl Row {
    /// Whether series `index` has a sample.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.values.is_present(index) || self.values.histogram(index).is_some()
    }

    /// Adds the sample of series `index`, if it has one.
    pub(crate) fn add_to(&self, index: usize, samples: &mut Samples) {
        let start_ms = || self.values.start_ms(index);
        if let Some(value) = self.values.get(index) {
            samples.at_ms.push(self.at_ms);
            samples.values.push(value);
            let start_ms = start_ms();
            if start_ms != 0 || !samples.starts_ms.is_empty() {
                samples.starts_ms.resize(samples.at_ms.len() - 1, 0);
                samples.starts_ms.push(start_ms);
            }
        } else if let Some(histogram) = self.values.histogram(index) {
            let (at_ms, histogram) = (self.at_ms, Arc::clone(histogram));
            samples.histograms.push(HistogramSample { at_ms, start_ms: start_ms(), histogram });
        }
    }

    /// The exemplars that are kept, with the index of their series.
    pub(crate) fn exemplars(&self) -> impl Iterator<Item = (usize, &Exemplar)> {
        let all = self.values.exemplars().iter().map(|(index, exemplar)| (*index as usize, exemplar));
        all.filter(|(_, exemplar)| is_near(exemplar, self.at_ms))
    }
}

impl Block {
    /// Whether `series` only adds to what the block has; if so, the block takes it over.
    pub(crate) fn extend(&self, head: &Head, series: &TargetSeries) -> bool {
        let mut content = self.content.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&content.series, series) {
            return true;
        }
        let grown = content.series.len() <= series.len()
            && content.series.iter().zip(series.iter()).all(|(old, new)| Arc::ptr_eq(old, new));
        if grown {
            let added = series_len(series) - series_len(&content.series);
            head.series.fetch_add(added as u64, Ordering::Relaxed);
            head.add_groups(self.place, &series[content.series.len()..]);
            content.series = Arc::clone(series);
        }
        grown
    }

    /// The block's series.
    pub(crate) fn series(&self) -> TargetSeries {
        Arc::clone(&self.content.read().unwrap_or_else(PoisonError::into_inner).series)
    }

    /// Rows that a view of `version` sees in the range, both ends included.
    pub(crate) fn rows(&self, version: u64, start: i64, end: i64) -> Vec<Arc<Row>> {
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let seen = |entry: &&RowEntry| entry.version <= version && (start..=end).contains(&entry.at_ms);
        content.rows.iter().filter(seen).map(|entry| Arc::clone(&entry.row)).collect()
    }

    /// Samples of series `index` that a view of `version` sees in the range, both ends included, into a run. Where only
    /// the newest is wanted, earlier ones may be left out.
    pub(crate) fn read(
        &self,
        index: usize,
        version: u64,
        (start, end): (i64, i64),
        newest_only: bool,
        run: Run,
    ) -> Run {
        let mut samples = run.into_samples();
        samples.clear();
        let content = self.content.read().unwrap_or_else(PoisonError::into_inner);
        if content.first_ms <= end && content.last_ms >= start {
            let seen = |entry: &&RowEntry| entry.version <= version && (start..=end).contains(&entry.at_ms);
            let rows = content.rows.iter().filter(seen);
            if newest_only {
                let mut newest = i64::MIN;
                for entry in rows.rev() {
                    if entry.at_ms >= newest && entry.row.has(index) {
                        newest = entry.at_ms;
                        entry.row.add_to(index, &mut samples);
                    }
                }
            } else {
                rows.for_each(|entry| entry.row.add_to(index, &mut samples));
            }
        }
        drop(content);
        Run::from_unsorted(self.log, samples).0
    }
}

impl SeriesGroup {
    pub(crate) fn new(start: usize, series: Vec<Labels>) -> Self {
        Self { start, series, index: OnceLock::new() }
    }

    /// Indices (of the target) of the series that all of `matchers` accept.
    pub(crate) fn select(&self, matchers: &[Matcher], out: &mut Vec<usize>) {
        let index = self.index.get_or_init(|| GroupIndex::of(&self.series));
        if matchers.iter().any(|matcher| index.refuses(matcher)) {
            return;
        }
        let rest: Vec<&Matcher> = matchers.iter().filter(|matcher| !index.settles(matcher)).collect();
        let metric =
            rest.iter().find(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal);
        let by_metric = match metric {
            Some(metric) => index.with_metric(&self.series, metric.value()),
            None => &index.by_metric,
        };
        let passes = |labels: &Labels| {
            rest.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        out.extend(
            by_metric
                .iter()
                .map(|&position| position as usize)
                .filter(|&position| passes(&self.series[position]))
                .map(|position| self.start + position),
        );
    }
}

impl GroupIndex {
    fn of(series: &[Labels]) -> Self {
        let mut constants: Vec<(String, String)> = match series.first() {
            Some(first) => first.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            None => Vec::new(),
        };
        for labels in series {
            constants.retain(|(name, value)| labels.get(name) == Some(value));
        }
        let mut by_metric: Vec<u32> = (0..series.len() as u32).collect();
        by_metric.sort_by(|&left, &right| {
            let (left, right) = (&series[left as usize], &series[right as usize]);
            metric_of(left).cmp(metric_of(right)).then_with(|| left.cmp(right))
        });
        let mut metrics: Vec<MetricPlace> = Vec::new();
        for positions in by_metric
            .chunk_by(|&left, &right| metric_of(&series[left as usize]) == metric_of(&series[right as usize]))
        {
            let from = metrics.last().map_or(0, |last| last.to);
            let hash = hash_of(metric_of(&series[positions[0] as usize]));
            metrics.push(MetricPlace { hash, from, to: from + positions.len() as u32 });
        }
        metrics.sort_by_key(|place| place.hash);
        Self { constants, by_metric, metrics }
    }

    fn refuses(&self, matcher: &Matcher) -> bool {
        self.constant(matcher).is_some_and(|value| !matcher.matches(value))
    }

    fn settles(&self, matcher: &Matcher) -> bool {
        self.constant(matcher).is_some()
    }

    fn constant(&self, matcher: &Matcher) -> Option<&str> {
        self.constants.iter().find(|(name, _)| name == matcher.name()).map(|(_, value)| value.as_str())
    }

    fn with_metric(&self, series: &[Labels], metric: &str) -> &[u32] {
        let hash = hash_of(metric);
        let first = self.metrics.partition_point(|place| place.hash < hash);
        let same = self.metrics[first..].iter().take_while(|place| place.hash == hash);
        let mut found = same.map(|place| &self.by_metric[place.from as usize..place.to as usize]);
        found.find(|positions| metric_of(&series[positions[0] as usize]) == metric).unwrap_or_default()
    }
}

fn hash_of(metric: &str) -> u32 {
    let hash = FxBuildHasher.hash_one(metric);
    (hash ^ hash >> 32) as u32
}

fn metric_of(labels: &Labels) -> &str {
    labels.metric_name().unwrap_or("")
}

pub(crate) fn series_len(series: &TargetSeries) -> usize {
    series.last().map_or(0, |group| group.start + group.series.len())
}

/// The labels of series `index` of a target.
pub(crate) fn labels_of(series: &TargetSeries, index: usize) -> Option<&Labels> {
    let group = series.partition_point(|group| group.start <= index).checked_sub(1)?;
    labels_in(&series[group], index)
}

/// The labels of series `index` of a target, which is in this group.
pub(crate) fn labels_in(group: &SeriesGroup, index: usize) -> Option<&Labels> {
    group.series.get(index.checked_sub(group.start)?)
}

/// The dictionary of a log's current segment, shared between its batches.
#[derive(Default)]
pub(crate) struct LogDictionary {
    pub(crate) targets: Vec<TargetSeries>,
    pub(crate) families: Arc<FamilyList>,
    families_len: usize,
    /// Which of its series are stored: `targets` has only those.
    pub(crate) admission: Admission,
}

/// So many groups of one target are put together again.
const GROUPS_MAX: usize = 32;

impl LogDictionary {
    /// Takes over what a key batch says, whose segment may have so many series.
    pub(crate) fn begin(&mut self, batch: &Batch<'_>, series_max: usize) {
        let mut admission = Admission::new(series_max);
        admission.grow(batch.dictionary.targets.iter().map(|target| target.series.len()));
        let same = admission == self.admission;
        self.admission = admission;
        if batch.dictionary_changed || !same {
            self.replace(batch.dictionary);
        }
    }

    /// Takes over what a further batch of the segment says.
    pub(crate) fn go_on(&mut self, batch: &Batch<'_>) {
        if batch.dictionary_changed {
            self.admission.grow(batch.dictionary.targets.iter().map(|target| target.series.len()));
            self.grow(batch.dictionary);
        }
    }

    /// Takes over a dictionary that may differ in anything. What stays the same stays the same memory, so that blocks
    /// go on.
    fn replace(&mut self, dictionary: &Dictionary) {
        self.resize(dictionary);
        for (target, (old, new)) in self.targets.iter_mut().zip(&dictionary.targets).enumerate() {
            let new = &new.series[..self.admission.admitted(target)];
            let labels = old.iter().flat_map(|group| &group.series);
            // One with more than the new one has would be in the way when that grows.
            let same = series_len(old) <= new.len() && labels.zip(new).all(|(old, new)| *old == new.labels);
            add_series(old, new, same);
        }
        self.take_families(dictionary);
    }

    /// Takes over what a segment's dictionary has grown by: a look at each target, not at each series.
    fn grow(&mut self, dictionary: &Dictionary) {
        self.resize(dictionary);
        for (target, (old, new)) in self.targets.iter_mut().zip(&dictionary.targets).enumerate() {
            let new = &new.series[..self.admission.admitted(target)];
            if series_len(old) < new.len() {
                add_series(old, new, true);
            }
        }
        if self.families_len != dictionary.families.len() {
            self.take_families(dictionary);
        }
    }

    fn resize(&mut self, dictionary: &Dictionary) {
        self.targets.truncate(dictionary.targets.len());
        self.targets.resize_with(dictionary.targets.len(), TargetSeries::default);
    }

    fn take_families(&mut self, dictionary: &Dictionary) {
        self.families = Arc::new(FamilyList::of(dictionary));
        self.families_len = dictionary.families.len();
    }
}

/// Makes `old` what `new` says; `same`: what `old` has is right, and no more than `new` has.
fn add_series(old: &mut TargetSeries, new: &[DictionarySeries], same: bool) {
    let mut groups = if same && old.len() < GROUPS_MAX { old.to_vec() } else { Vec::new() };
    let start = if groups.is_empty() { 0 } else { series_len(old) };
    if start < new.len() {
        let added = new[start..].iter().map(|series| series.labels.clone()).collect();
        groups.push(Arc::new(SeriesGroup::new(start, added)));
    }
    if groups.len() != old.len() || groups.is_empty() || !Arc::ptr_eq(&groups[0], &old[0]) {
        *old = Arc::new(groups);
    }
}
