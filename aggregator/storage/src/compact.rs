//! Which parts to merge, and merging them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use rocksdb::Options;
use vedette_model::{Exemplar, Labels, Metadata, Samples, Timestamp};
use vedette_wire::LogId;

use crate::keys::{PartId, Partition};
use crate::part::{Part, PartReader, ReadError};
use crate::part_writer::{PartWriter, WriteError};
use crate::record::PartRecord;
use crate::samples::{Run, merge};
use crate::shared::Core;
use crate::tombstone;
use crate::{LEVELS, StorageConfig};

/// Parts of one day that are to become one.
pub(crate) struct Plan {
    pub(crate) parts: Vec<Arc<Part>>,
    level: u8,
}

impl Plan {
    /// To write a part again as it is, without what was deleted.
    pub(crate) fn again(part: Arc<Part>) -> Self {
        Self { level: part.record.level, parts: vec![part] }
    }
}

/// What a merge gave.
pub(crate) struct Merged {
    /// The new part; none where all of it was deleted.
    pub(crate) part: Option<(PathBuf, PartRecord)>,
    /// Conflicts between the parts.
    pub(crate) conflicts: u64,
}

/// Why a merge failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What to merge next: as soon as a level of a day has enough parts, these; when a day is over and quiet, all of it.
/// `unmergeable` days are left alone.
pub(crate) fn plan(
    config: &StorageConfig,
    parts: &[Arc<Part>],
    now: Timestamp,
    unmergeable: &BTreeSet<Partition>,
) -> Option<Plan> {
    let mut days: BTreeMap<Partition, Vec<&Arc<Part>>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !unmergeable.contains(&part.record.id.partition)) {
        days.entry(part.record.id.partition).or_default().push(part);
    }
    for (day, parts) in days {
        for level in 0..LEVELS as u8 - 1 {
            let same: Vec<&Arc<Part>> =
                parts.iter().copied().filter(|part| part.record.level == level).collect();
            if same.len() >= config.merge_parts_min.max(2) {
                return Some(Plan { parts: same.into_iter().cloned().collect(), level: level + 1 });
            }
        }
        let newest = parts.iter().map(|part| part.record.created).max().unwrap_or(now);
        let quiet = now.millis_since(newest.max(day.end())) >= config.merge_quiet_ms;
        if quiet && parts.len() > 1 {
            return Some(Plan { parts: parts.into_iter().cloned().collect(), level: LEVELS as u8 - 1 });
        }
    }
    None
}

/// Writes the merged part. Columns stay apart by log, because which log wins a conflict must be known whatever is
/// merged later. What was deleted is left out.
pub(crate) fn write_merged(core: &Core, plan: &Plan, created: Timestamp) -> Result<Merged, MergeError> {
    let options = Options::default();
    let tombstones = Arc::clone(&core.lock().tombstones);
    let partition = plan.parts.first().map_or(Partition(1), |part| part.record.id.partition);
    let mut writer =
        PartWriter::create(&options, &core.config, PartId { partition, number: core.next_part() })?;
    let mut cursors = Vec::new();
    for part in &plan.parts {
        cursors.push(Cursor::new(Arc::clone(part))?);
    }
    let (mut conflicts, mut series) = (0, 0u64);
    while let Some(labels) = cursors.iter().filter_map(|cursor| cursor.labels.as_ref()).min().cloned() {
        let mut by_log: BTreeMap<LogId, Vec<Run>> = BTreeMap::new();
        let mut exemplars = Vec::new();
        let mut inputs = 0;
        for cursor in cursors.iter_mut().filter(|cursor| cursor.labels.as_ref() == Some(&labels)) {
            inputs += 1;
            for run in cursor.take(&mut exemplars)? {
                if let Some(log) = run.log {
                    by_log.entry(log).or_default().push(run);
                }
            }
        }
        let mut runs: Vec<Run> = by_log
            .into_iter()
            .map(|(log, mut runs)| {
                let mut samples = Samples::default();
                conflicts += merge(&mut runs, &mut samples);
                Run::of(Some(log), samples)
            })
            .collect();
        tombstone::mask(tombstones.iter(), &labels, &mut runs);
        tombstone::mask_exemplars(tombstones.iter(), &labels, &mut exemplars);
        if runs.is_empty() && exemplars.is_empty() {
            continue;
        }
        if inputs > 1 && runs.len() > 1 {
            conflicts += merge(&mut runs, &mut Samples::default());
        }
        series += 1;
        writer.add(&labels, &runs, exemplars)?;
    }
    if series == 0 {
        return Ok(Merged { part: None, conflicts });
    }
    let mut families: BTreeMap<String, BTreeSet<Metadata>> = BTreeMap::new();
    for part in &plan.parts {
        part.metadata(None, |name, known| {
            families.entry(name.to_owned()).or_default().extend(known);
            Ok(())
        })?;
    }
    let batches = batches_of(plan);
    let of_log = |log| batches.get(&log).copied().unwrap_or_default();
    let (file, record) = writer.finish(plan.level, created, &families, of_log)?;
    Ok(Merged { part: Some((file, record)), conflicts })
}

fn batches_of(plan: &Plan) -> HashMap<LogId, (u64, u64)> {
    let mut all: HashMap<LogId, (u64, u64)> = HashMap::new();
    for batches in plan.parts.iter().flat_map(|part| &part.record.logs) {
        let range = all.entry(batches.log).or_insert((batches.first, batches.last));
        *range = (range.0.min(batches.first), range.1.max(batches.last));
    }
    all
}

/// Walks through a part.
struct Cursor {
    reader: PartReader,
    ordinal: u32,
    /// Of the series that comes next.
    labels: Option<Labels>,
}

impl Cursor {
    fn new(part: Arc<Part>) -> Result<Self, ReadError> {
        let mut cursor = Self { reader: PartReader::once(part), ordinal: 0, labels: None };
        cursor.look()?;
        Ok(cursor)
    }

    fn look(&mut self) -> Result<(), ReadError> {
        let more = self.ordinal < self.reader.part.record.series;
        self.labels = if more { Some(self.reader.labels(self.ordinal)?) } else { None };
        Ok(())
    }

    /// The series' runs, and its exemplars into `exemplars`; goes on to the next.
    fn take(&mut self, exemplars: &mut Vec<Exemplar>) -> Result<Vec<Run>, ReadError> {
        let mut runs = Vec::new();
        exemplars.extend(self.reader.exemplars(self.ordinal)?);
        self.reader.runs(self.ordinal, (i64::MIN, i64::MAX), &mut Vec::new(), &mut runs)?;
        self.ordinal += 1;
        self.look()?;
        Ok(runs)
    }
}
