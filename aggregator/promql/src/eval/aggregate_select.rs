//! Aggregations that give back the first or last of their input's series by value: `topk`, `bottomk`.

use crate::ast::{Aggregation, Grouping, Span};
use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead, is_present};
use crate::eval::context::{Context, Held};
use crate::eval::histogram_note::HistogramNote;
use crate::eval::operator::{Computed, Operator, TakesAll};
use crate::eval::signature::{KeyIndex, KeyLabels};

/// A candidate: its value and its series' number.
#[derive(Clone, Copy)]
struct Candidate {
    value: f64,
    series: usize,
}

/// A binary heap that sifts exactly as Go's `container/heap`, because where values tie the order of its
/// elements decides which of them stay.
struct Heap<'h> {
    items: &'h mut Vec<Candidate>,
    /// Largest on top, rather than smallest. NaN is on top of everything in both.
    reversed: bool,
}

impl Heap<'_> {
    fn less(&self, left: usize, right: usize) -> bool {
        let (left, right) = (self.items[left].value, self.items[right].value);
        left.is_nan() || if self.reversed { left > right } else { left < right }
    }

    fn push(&mut self, candidate: Candidate) {
        self.items.push(candidate);
        let mut child = self.items.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.less(child, parent) {
                break;
            }
            self.items.swap(parent, child);
            child = parent;
        }
    }

    fn replace_top(&mut self, candidate: Candidate) {
        self.items[0] = candidate;
        let mut parent = 0;
        loop {
            let mut child = 2 * parent + 1;
            if child >= self.items.len() {
                break;
            }
            if child + 1 < self.items.len() && self.less(child + 1, child) {
                child += 1;
            }
            if !self.less(child, parent) {
                break;
            }
            self.items.swap(parent, child);
            parent = child;
        }
    }

    /// Whether `candidate` should push out the top of a full heap.
    fn is_beaten_by(&self, value: f64) -> bool {
        let top = self.items[0].value;
        let beats = if self.reversed { top > value } else { top < value };
        beats || (top.is_nan() && !value.is_nan())
    }
}

/// `topk(3, x)` and the like. Instant queries get each group's elements in order of value.
pub(crate) struct SelectOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    op: Aggregation,
    keys: KeyIndex,
    /// How many, one a step.
    wanted: Vec<f64>,
    /// Where the aggregation stands.
    span: Span,
}

impl<'a> SelectOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        (op, span): (Aggregation, Span),
        grouping: &Grouping,
        wanted: Vec<f64>,
    ) -> Self {
        let keys = KeyIndex::new(KeyLabels::of_grouping(grouping));
        Self { context, inner, op, keys, wanted, span }
    }

    fn note_ignored(&self, column: &Column) {
        // A step that wants nothing does not look at anything.
        if column.histograms().any(|(step, _)| self.wanted[step] >= 1.0) {
            let aggregation = self.op.as_str();
            self.context.annotate(HistogramNote::IgnoredInAggregation { aggregation }, self.span);
        }
    }

    /// Offers a candidate; whether the heap has grown.
    fn offer(&self, found: &mut Vec<Candidate>, candidate: Candidate, wanted: f64) -> bool {
        // Prometheus cuts the number to an integer.
        let wanted = wanted as i64;
        if wanted < 1 {
            return false;
        }
        let full = found.len() as i64 >= wanted;
        let mut heap = Heap { items: found, reversed: self.op == Aggregation::Bottomk };
        if !full {
            heap.push(candidate);
        } else if heap.is_beaten_by(candidate.value) {
            heap.replace_top(candidate);
        }
        !full
    }

    /// Of a single step: group after group, best first, NaN last.
    fn in_order(&self, groups: Vec<Vec<Vec<Candidate>>>, heads: &[SeriesHead]) -> Vec<(SeriesHead, Column)> {
        let mut all = Vec::new();
        for mut found in groups.into_iter().flatten() {
            match self.op {
                Aggregation::Bottomk => found.sort_by(|a, b| nan_last(a.value, b.value, a, b)),
                _ => found.sort_by(|a, b| nan_last(b.value, a.value, a, b)),
            }
            all.extend(found.iter().map(|one| (heads[one.series].clone(), vec![one.value].into())));
        }
        all
    }
}

impl<'a> TakesAll<'a> for SelectOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let steps = self.wanted.len();
        let mut heads = Vec::new();
        let mut groups: Vec<Vec<Vec<Candidate>>> = Vec::new();
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            let number = self.keys.number(&head.labels);
            if number == groups.len() {
                groups.push(vec![Vec::new(); steps]);
            }
            self.note_ignored(&column);
            let series = heads.len();
            heads.push(head);
            for (step, value) in column.floats.iter().enumerate().filter(|(_, value)| is_present(**value)) {
                let candidate = Candidate { value: *value, series };
                if self.offer(&mut groups[number][step], candidate, self.wanted[step]) {
                    held.grow(1)?;
                }
            }
        }
        if steps == 1 {
            return Ok((Computed::new(self.in_order(groups, &heads)), held));
        }
        let mut columns = vec![Column::default(); heads.len()];
        for (step, candidate) in groups
            .iter()
            .flat_map(|group| group.iter().enumerate())
            .flat_map(|(step, found)| found.iter().map(move |candidate| (step, *candidate)))
        {
            let column = &mut columns[candidate.series];
            if column.steps() == 0 {
                held.grow(steps)?;
                *column = Column::absent(steps);
            }
            column.floats[step] = candidate.value;
        }
        Ok((Computed::new(heads.into_iter().zip(columns).collect()), held))
    }
}

fn nan_last(left: f64, right: f64, a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    a.value
        .is_nan()
        .cmp(&b.value.is_nan())
        .then(left.partial_cmp(&right).unwrap_or(std::cmp::Ordering::Equal))
}
