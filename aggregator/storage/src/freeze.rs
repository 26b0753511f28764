//! From the frozen head to parts: rows become columns, one part a day.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use rocksdb::Options;
use vedette_model::{Exemplar, Labels, Samples, Timestamp};
use vedette_wire::LogId;

use crate::head::{TargetSeries, labels_of, series_len};
use crate::keys::{PartId, Partition};
use crate::part_writer::{PartWriter, WriteError};
use crate::record::PartRecord;
use crate::samples::{Run, merge};
use crate::shared::{Core, Frozen};
use crate::stream::HeadSeries;
use crate::tombstone;

/// New parts, not yet ingested.
pub(crate) struct NewParts {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) records: Vec<PartRecord>,
    pub(crate) conflicts: u64,
}

/// Writes the head's parts.
pub(crate) fn write_parts(core: &Core, frozen: &Frozen, created: Timestamp) -> Result<NewParts, WriteError> {
    let options = Options::default();
    let tombstones = Arc::clone(&core.lock().tombstones);
    let mut writers: BTreeMap<Partition, PartWriter<'_>> = BTreeMap::new();
    let mut conflicts = 0;
    let mut series = sorted_series(frozen).into_iter().peekable();
    while let Some(first) = series.next() {
        let labels = first.labels.clone();
        let mut by_log: BTreeMap<LogId, Vec<Run>> = BTreeMap::new();
        let mut exemplars: BTreeMap<Partition, Vec<Exemplar>> = BTreeMap::new();
        let mut same = Some(first);
        while let Some(one) = same {
            for (row_at_ms, exemplar) in one.exemplars() {
                exemplars.entry(Partition::of(row_at_ms)).or_default().push(exemplar.clone());
            }
            let (run, own_conflicts) = one.run();
            conflicts += own_conflicts;
            if !run.is_empty() {
                by_log.entry(one.log).or_default().push(run);
            }
            same = series.next_if(|next| next.labels == labels);
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
        if runs.len() > 1 {
            conflicts += merge(&mut runs, &mut Samples::default());
        }
        exemplars.values_mut().for_each(|found| tombstone::mask_exemplars(tombstones.iter(), &labels, found));
        exemplars.retain(|_, found| !found.is_empty());
        let mut days = by_day(runs);
        for day in exemplars.keys() {
            days.entry(*day).or_default();
        }
        for (partition, runs) in days {
            let writer = match writers.entry(partition) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let id = PartId { partition, number: core.next_part() };
                    entry.insert(PartWriter::create(&options, &core.config, id)?)
                }
            };
            writer.add(&labels, &runs, exemplars.remove(&partition).unwrap_or_default())?;
        }
    }
    finish(frozen, writers, created, conflicts)
}

fn finish(
    frozen: &Frozen,
    writers: BTreeMap<Partition, PartWriter<'_>>,
    created: Timestamp,
    conflicts: u64,
) -> Result<NewParts, WriteError> {
    let families = frozen.head.families();
    let batches: HashMap<LogId, (u64, u64)> =
        frozen.logs.iter().map(|(log, _, batches)| (*log, *batches)).collect();
    let mut parts = NewParts { files: Vec::new(), records: Vec::new(), conflicts };
    for writer in writers.into_values() {
        let of_log = |log| batches.get(&log).copied().unwrap_or_default();
        let (file, record) = writer.finish(0, created, &families, of_log)?;
        parts.files.push(file);
        parts.records.push(record);
    }
    Ok(parts)
}

/// Every series of every block, in the order of labels, then logs.
fn sorted_series(frozen: &Frozen) -> Vec<HeadSeries> {
    let mut all = Vec::new();
    for block in frozen.head.blocks().iter() {
        let series: TargetSeries = block.series();
        let rows = std::sync::Arc::new(block.rows(u64::MAX, i64::MIN, i64::MAX));
        all.extend((0..series_len(&series)).filter_map(|index| {
            let labels: Labels = labels_of(&series, index)?.clone();
            Some(HeadSeries { labels, log: block.log, index, rows: std::sync::Arc::clone(&rows) })
        }));
    }
    all.sort_by(|a, b| a.labels.cmp(&b.labels).then(a.log.cmp(&b.log)));
    all
}

/// The runs of each day.
fn by_day(runs: Vec<Run>) -> BTreeMap<Partition, Vec<Run>> {
    let mut days: BTreeMap<Partition, Vec<Run>> = BTreeMap::new();
    for mut run in runs {
        while let Some(first) = run.first() {
            let day = Partition::of(first);
            let later = run.split_off(day.end().as_millis());
            days.entry(day).or_default().push(run);
            run = later;
        }
    }
    days
}
