//! Series of parts and heads, put together in the order of their labels.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use vedette_model::{Exemplar, HistogramSample, Labels, Samples, SelectError, SeriesStream};
use vedette_wire::LogId;

use crate::absence::Absences;
use crate::head::Row;
use crate::part::PartReader;
use crate::samples::{Run, merge};
use crate::tombstone::{self, Tombstone};
use crate::view::OnError;

/// The name of the series whose absence reads as zero.
pub(crate) const UP: &str = "up";

/// A sorted run of series.
pub(crate) enum Source {
    Part { reader: Box<PartReader>, ordinals: std::vec::IntoIter<u32> },
    Head { series: std::vec::IntoIter<HeadSeries> },
}

/// One series of a block.
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    pub(crate) log: LogId,
    pub(crate) index: usize,
    pub(crate) rows: Arc<Vec<Arc<Row>>>,
}

/// What a source comes to next.
enum Next {
    Ordinal(u32),
    Head(HeadSeries),
}

impl HeadSeries {
    /// Whether it has a sample.
    pub(crate) fn has_sample(&self) -> bool {
        let has =
            |row: &Arc<Row>| row.values.is_present(self.index) || row.values.histogram(self.index).is_some();
        self.rows.iter().any(has)
    }

    /// Its samples; gives the number of conflicts as well.
    pub(crate) fn run(&self) -> (Run, u64) {
        let mut samples = Samples::default();
        for row in self.rows.iter() {
            let start_ms = || row.values.start_ms(self.index);
            if let Some(value) = row.values.get(self.index) {
                samples.at_ms.push(row.at_ms);
                samples.values.push(value);
                let start_ms = start_ms();
                if start_ms != 0 || !samples.starts_ms.is_empty() {
                    samples.starts_ms.resize(samples.at_ms.len() - 1, 0);
                    samples.starts_ms.push(start_ms);
                }
            } else if let Some(histogram) = row.values.histogram(self.index) {
                let (at_ms, histogram) = (row.at_ms, Arc::clone(histogram));
                samples.histograms.push(HistogramSample { at_ms, start_ms: start_ms(), histogram });
            }
        }
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

/// See [`SeriesStream`].
pub(crate) struct MergedStream {
    sources: Vec<Source>,
    /// What each source comes to next.
    nexts: Vec<Option<Next>>,
    heap: BinaryHeap<Reverse<(Labels, usize)>>,
    absences: Arc<Absences>,
    start: i64,
    end: i64,
    /// `up` series for which more has to be read than is asked for, and from when on.
    reaching: BTreeSet<Labels>,
    reach: i64,
    tombstones: Arc<Vec<Tombstone>>,
    /// The places of those that overlap the range.
    overlapping: Vec<usize>,
    on_error: OnError,
    runs: Vec<Run>,
    /// Runs whose memory is used again.
    spare: Vec<Run>,
}

impl MergedStream {
    pub(crate) fn new(
        sources: Vec<Source>,
        absences: Arc<Absences>,
        (start, end): (i64, i64),
        (reach, reaching): (i64, BTreeSet<Labels>),
        (tombstones, overlapping): (Arc<Vec<Tombstone>>, Vec<usize>),
        on_error: OnError,
    ) -> Result<Self, SelectError> {
        let mut stream = Self {
            nexts: sources.iter().map(|_| None).collect(),
            heap: BinaryHeap::with_capacity(sources.len()),
            sources,
            absences,
            start,
            end,
            reaching,
            reach,
            tombstones,
            overlapping,
            on_error,
            runs: Vec::new(),
            spare: Vec::new(),
        };
        for place in 0..stream.sources.len() {
            stream.advance(place)?;
        }
        Ok(stream)
    }

    fn advance(&mut self, place: usize) -> Result<(), SelectError> {
        let next = match &mut self.sources[place] {
            Source::Part { reader, ordinals } => match ordinals.next() {
                Some(ordinal) => {
                    Some((reader.labels(ordinal).map_err(self.on_error.as_ref())?, Next::Ordinal(ordinal)))
                }
                None => None,
            },
            Source::Head { series } => {
                series.next().map(|series| (series.labels.clone(), Next::Head(series)))
            }
        };
        self.nexts[place] = next.map(|(labels, next)| {
            self.heap.push(Reverse((labels, place)));
            next
        });
        Ok(())
    }

    /// Collects the runs of the next series.
    fn next_runs(&mut self) -> Result<Option<(Labels, i64)>, SelectError> {
        let Some(Reverse((labels, _))) = self.heap.peek() else { return Ok(None) };
        let labels = labels.clone();
        let from = if self.reaching.contains(&labels) { self.reach.min(self.start) } else { self.start };
        self.spare.append(&mut self.runs);
        while let Some(Reverse((found, place))) = self.heap.peek() {
            if *found != labels {
                break;
            }
            let place = *place;
            self.heap.pop();
            match (self.nexts[place].take(), &mut self.sources[place]) {
                (Some(Next::Ordinal(ordinal)), Source::Part { reader, .. }) => {
                    let spare = &mut self.spare;
                    reader
                        .runs(ordinal, (from, self.end), spare, &mut self.runs)
                        .map_err(self.on_error.as_ref())?;
                }
                (Some(Next::Head(series)), _) => {
                    let (mut run, _) = series.run();
                    run.cut(from, self.end);
                    if !run.is_empty() {
                        self.runs.push(run);
                    }
                }
                _ => {}
            }
            self.advance(place)?;
        }
        let tombstones = self.overlapping.iter().map(|place| &self.tombstones[*place]);
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
                    self.absences.derive(is_up, runs, self.end, samples);
                }
            }
            if from < self.start {
                let mut run = Run::of(None, std::mem::take(samples));
                run.cut(self.start, i64::MAX);
                *samples = run.into_samples();
            }
            if !samples.is_empty() {
                return Ok(Some(labels));
            }
        }
    }
}
