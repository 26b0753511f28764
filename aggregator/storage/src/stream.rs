//! Series of parts and heads, put together in the order of their labels.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use vedette_model::{Exemplar, Labels, Samples, SelectError, SeriesStream};
use vedette_wire::LogId;

use crate::absence::Absences;
use crate::head::{Block, Row};
use crate::head_index::HeadMatch;
use crate::part::{PartReader, ReadError};
use crate::samples::{Run, merge};
use crate::tombstone::{self, Tombstone};
use crate::view::OnError;

/// The name of the series whose absence reads as zero.
pub(crate) const UP: &str = "up";

/// A sorted run of series.
pub(crate) enum Source {
    Part { reader: Box<PartReader>, ordinals: Arc<[u32]> },
    Head { blocks: Arc<Vec<Arc<Block>>>, series: Arc<[HeadMatch]>, version: u64 },
}

/// One series of a block.
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    pub(crate) log: LogId,
    pub(crate) index: usize,
    pub(crate) rows: Arc<Vec<Arc<Row>>>,
}

impl Source {
    /// The labels of the series at `place`.
    fn labels(&mut self, place: usize) -> Result<Option<Labels>, ReadError> {
        Ok(match self {
            Self::Part { reader, ordinals } => match ordinals.get(place) {
                Some(ordinal) => Some(reader.labels(*ordinal)?),
                None => None,
            },
            Self::Head { series, .. } => series.get(place).map(|found| found.labels.clone()),
        })
    }
}

impl HeadSeries {
    /// Whether it has a sample.
    pub(crate) fn has_sample(&self) -> bool {
        self.rows.iter().any(|row| row.has(self.index))
    }

    /// Its samples; gives the number of conflicts as well.
    pub(crate) fn run(&self) -> (Run, u64) {
        let mut samples = Samples::default();
        self.rows.iter().for_each(|row| row.add_to(self.index, &mut samples));
        Run::from_unsorted(self.log, samples)
    }

    /// Its exemplars with the times of the rows that brought them.
    pub(crate) fn exemplars(&self) -> impl Iterator<Item = (i64, &Exemplar)> {
        self.rows.iter().flat_map(|row| {
            let own = row.exemplars().filter(|(index, _)| *index == self.index);
            own.map(|(_, exemplar)| (row.at_ms, exemplar))
        })
    }
}

/// What of the series is wanted.
pub(crate) struct Wanted {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Whether all samples of a series but its newest may be left out.
    pub(crate) newest_only: bool,
    /// `up` series for which more has to be read than is asked for, and from when on.
    pub(crate) reaching: BTreeSet<Labels>,
    pub(crate) reach: i64,
    pub(crate) tombstones: Arc<Vec<Tombstone>>,
    /// The places of those that overlap the range.
    pub(crate) overlapping: Vec<usize>,
}

/// See [`SeriesStream`].
pub(crate) struct MergedStream {
    sources: Vec<Source>,
    /// Which series each source comes to next.
    nexts: Vec<usize>,
    heap: BinaryHeap<Reverse<(Labels, usize)>>,
    absences: Arc<Absences>,
    wanted: Wanted,
    on_error: OnError,
    /// The sources of the series that is read, each with its place there.
    places: Vec<(usize, usize)>,
    runs: Vec<Run>,
    /// Runs whose memory is used again.
    spare: Vec<Run>,
}

impl MergedStream {
    pub(crate) fn new(
        sources: Vec<Source>,
        absences: Arc<Absences>,
        mut wanted: Wanted,
        on_error: OnError,
    ) -> Result<Self, SelectError> {
        // What is newest is known only once what was deleted is gone.
        wanted.newest_only &= wanted.overlapping.is_empty();
        let mut stream = Self {
            nexts: vec![0; sources.len()],
            heap: BinaryHeap::with_capacity(sources.len()),
            sources,
            absences,
            wanted,
            on_error,
            places: Vec::new(),
            runs: Vec::new(),
            spare: Vec::new(),
        };
        for source in 0..stream.sources.len() {
            stream.look(source)?;
        }
        Ok(stream)
    }

    /// Puts the series that a source comes to next among the others.
    fn look(&mut self, source: usize) -> Result<(), SelectError> {
        let labels = self.sources[source].labels(self.nexts[source]).map_err(self.on_error.as_ref())?;
        if let Some(labels) = labels {
            self.heap.push(Reverse((labels, source)));
        }
        Ok(())
    }

    /// Finds the next series: its labels, and its places in the sources.
    fn next_places(&mut self) -> Result<Option<Labels>, SelectError> {
        self.places.clear();
        let Some(Reverse((labels, mut source))) = self.heap.pop() else { return Ok(None) };
        loop {
            self.places.push((source, self.nexts[source]));
            self.nexts[source] += 1;
            self.look(source)?;
            match self.heap.peek() {
                Some(Reverse((found, other))) if *found == labels => source = *other,
                _ => return Ok(Some(labels)),
            }
            self.heap.pop();
        }
    }

    /// Collects the runs of the next series.
    fn next_runs(&mut self) -> Result<Option<(Labels, i64)>, SelectError> {
        let Some(labels) = self.next_places()? else { return Ok(None) };
        let wanted = &self.wanted;
        let from = match wanted.reaching.contains(&labels) {
            true => wanted.reach.min(wanted.start),
            false => wanted.start,
        };
        self.spare.append(&mut self.runs);
        let (mut start, newest_only) = (from, wanted.newest_only);
        // Heads are last, and mostly have what is newest.
        for &(source, place) in self.places.iter().rev() {
            let before = self.runs.len();
            match &mut self.sources[source] {
                Source::Part { reader, ordinals } => reader
                    .runs(ordinals[place], (start, wanted.end), &mut self.spare, &mut self.runs)
                    .map_err(self.on_error.as_ref())?,
                Source::Head { blocks, series, version } => {
                    let found = &series[place];
                    let memory = self.spare.pop().unwrap_or_default();
                    let (index, range) = (found.index as usize, (start, wanted.end));
                    let Some(block) = blocks.get(found.block as usize) else { continue };
                    let run = block.read(index, *version, range, newest_only, memory);
                    if run.is_empty() { self.spare.push(run) } else { self.runs.push(run) }
                }
            }
            if newest_only {
                // What is derived where a writer is gone comes before the sample after it, so that what is left out
                // changes nothing behind the newest.
                let newest = self.runs[before..].iter().filter_map(Run::last).max();
                start = newest.map_or(start, |newest| start.max(newest));
            }
        }
        let tombstones = wanted.overlapping.iter().map(|place| &wanted.tombstones[*place]);
        tombstone::mask(tombstones, &labels, &mut self.runs);
        Ok(Some((labels, from)))
    }
}

impl SeriesStream for MergedStream {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        loop {
            samples.clear();
            let Some((labels, from)) = self.next_runs()? else { return Ok(None) };
            if self.runs.is_empty() {
                continue;
            }
            match self.runs.as_mut_slice() {
                [only] if !self.absences.concern(only) => {
                    let memory = Run::of(None, std::mem::take(samples));
                    *samples = std::mem::replace(only, memory).into_samples();
                }
                runs => {
                    merge(runs, samples);
                    let is_up = labels.metric_name() == Some(UP);
                    self.absences.derive(is_up, runs, self.wanted.end, samples);
                }
            }
            if from < self.wanted.start {
                let mut run = Run::of(None, std::mem::take(samples));
                run.cut(self.wanted.start, i64::MAX);
                *samples = run.into_samples();
            }
            if !samples.is_empty() {
                return Ok(Some(labels));
            }
        }
    }
}
