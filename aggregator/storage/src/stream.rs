//! Series of parts and heads, put together in the order of their labels.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use vedette_model::{Labels, Samples, SelectError, SeriesStream};
use vedette_wire::LogId;

use crate::absence::Absences;
use crate::head::Row;
use crate::part::{PartReader, ReadError};
use crate::samples::{Run, merge};

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
    /// Its samples; gives the number of conflicts as well.
    pub(crate) fn run(&self) -> (Run, u64) {
        let (mut at_ms, mut values) = (Vec::new(), Vec::new());
        for row in self.rows.iter() {
            if let Some(value) = row.values.get(self.index) {
                at_ms.push(row.at_ms);
                values.push(value);
            }
        }
        Run::from_unsorted(self.log, at_ms, values)
    }
}

/// See [`SeriesStream`].
pub(crate) struct MergedStream<'a> {
    sources: Vec<Source>,
    /// What each source comes to next.
    nexts: Vec<Option<Next>>,
    heap: BinaryHeap<Reverse<(Labels, usize)>>,
    absences: &'a Absences,
    start: i64,
    end: i64,
    /// `up` series for which more has to be read than is asked for, and from when on.
    reaching: BTreeSet<Labels>,
    reach: i64,
    on_error: &'a (dyn Fn(ReadError) -> SelectError + Send + Sync),
    runs: Vec<Run>,
}

impl<'a> MergedStream<'a> {
    pub(crate) fn new(
        sources: Vec<Source>,
        absences: &'a Absences,
        (start, end): (i64, i64),
        (reach, reaching): (i64, BTreeSet<Labels>),
        on_error: &'a (dyn Fn(ReadError) -> SelectError + Send + Sync),
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
            on_error,
            runs: Vec::new(),
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
                    Some((reader.labels(ordinal).map_err(self.on_error)?, Next::Ordinal(ordinal)))
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
        self.runs.clear();
        while let Some(Reverse((found, place))) = self.heap.peek() {
            if *found != labels {
                break;
            }
            let place = *place;
            self.heap.pop();
            match (self.nexts[place].take(), &mut self.sources[place]) {
                (Some(Next::Ordinal(ordinal)), Source::Part { reader, .. }) => {
                    reader.runs(ordinal, from, self.end, &mut self.runs).map_err(self.on_error)?;
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
        Ok(Some((labels, from)))
    }
}

impl SeriesStream for MergedStream<'_> {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        loop {
            samples.clear();
            let Some((labels, from)) = self.next_runs()? else { return Ok(None) };
            if self.runs.is_empty() {
                continue;
            }
            let Samples { at_ms, values, .. } = samples;
            merge(&mut self.runs, at_ms, values);
            let is_up = labels.metric_name() == Some(UP);
            self.absences.derive(is_up, &self.runs, self.end, at_ms, values);
            if from < self.start {
                let early = at_ms.partition_point(|at| *at < self.start);
                at_ms.drain(..early);
                values.drain(..early);
            }
            if !samples.is_empty() {
                return Ok(Some(labels));
            }
        }
    }
}
