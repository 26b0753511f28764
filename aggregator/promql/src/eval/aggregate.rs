//! Aggregations that give one series a group: columns are added up as they come.

use std::sync::Arc;

use vedette_model::{Labels, LabelsBuilder};

use crate::ast::{Aggregation, Grouping, Span};
use crate::error::QueryError;
use crate::eval::column::{ABSENT, Column, SeriesHead, is_present};
use crate::eval::context::{Context, Held};
use crate::eval::function::quantile;
use crate::eval::histogram_note::HistogramNote;
use crate::eval::histogram_total::{Aggregated, GroupHistograms};
use crate::eval::kahan::{self, Mean};
use crate::eval::operator::{Computed, Operator, TakesAll};
use crate::eval::signature::{KeyIndex, KeyLabels};
use crate::value::SampleValue;

/// The running state of one group, a value a step.
enum Accumulator {
    Sum { sum: Vec<f64>, compensation: Vec<f64> },
    Avg(Vec<Option<Mean>>),
    Min(Vec<f64>),
    Max(Vec<f64>),
    Count(Vec<f64>),
    Group(Vec<f64>),
    Variance { count: Vec<f64>, mean: Vec<f64>, squares: Vec<f64>, root: bool },
    Quantile(Vec<Vec<f64>>),
}

impl Accumulator {
    fn new(op: Aggregation, count: usize) -> Self {
        let absent = || vec![ABSENT; count];
        let zeros = || vec![0.0; count];
        match op {
            Aggregation::Avg => Self::Avg(vec![None; count]),
            Aggregation::Min => Self::Min(absent()),
            Aggregation::Max => Self::Max(absent()),
            Aggregation::Count => Self::Count(absent()),
            Aggregation::Group => Self::Group(absent()),
            Aggregation::Stddev | Aggregation::Stdvar => Self::Variance {
                count: zeros(),
                mean: zeros(),
                squares: zeros(),
                root: op == Aggregation::Stddev,
            },
            Aggregation::Quantile => Self::Quantile(vec![Vec::new(); count]),
            _ => Self::Sum { sum: absent(), compensation: zeros() },
        }
    }

    /// How many samples' worth of memory it takes for one step.
    const fn width(op: Aggregation) -> usize {
        match op {
            Aggregation::Min | Aggregation::Max | Aggregation::Count | Aggregation::Group => 1,
            Aggregation::Sum => 2,
            _ => 4,
        }
    }

    fn add(&mut self, column: &[f64]) {
        match self {
            Self::Sum { sum, compensation } => {
                for ((value, sum), compensation) in column.iter().zip(sum).zip(compensation) {
                    if !is_present(*value) {
                        continue;
                    }
                    if is_present(*sum) {
                        kahan::add(*value, sum, compensation);
                    } else {
                        *sum = *value;
                    }
                }
            }
            Self::Avg(means) => each(column, means, |value, mean| match mean {
                Some(mean) => mean.add(value),
                None => *mean = Some(Mean::new(value)),
            }),
            Self::Min(best) => each(column, best, |value, best| {
                if !is_present(*best) || *best > value || best.is_nan() {
                    *best = value;
                }
            }),
            Self::Max(best) => each(column, best, |value, best| {
                if !is_present(*best) || *best < value || best.is_nan() {
                    *best = value;
                }
            }),
            Self::Count(counts) => each(column, counts, |_, count| {
                *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
            }),
            Self::Group(seen) => each(column, seen, |_, seen| *seen = 1.0),
            Self::Variance { count, mean, squares, .. } => {
                for (step, value) in column.iter().enumerate().filter(|(_, value)| is_present(**value)) {
                    add_square(*value, &mut count[step], &mut mean[step], &mut squares[step]);
                }
            }
            Self::Quantile(values) => each(column, values, |value, values| values.push(value)),
        }
    }

    /// Whether there is a float at `step`. Only sums and means say.
    fn has(&self, step: usize) -> bool {
        match self {
            Self::Sum { sum, .. } => is_present(sum[step]),
            Self::Avg(means) => means[step].is_some(),
            _ => false,
        }
    }

    /// The group's column. `parameter`: the wanted quantile, one a step.
    fn finish(self, parameter: &[f64]) -> Vec<f64> {
        match self {
            Self::Sum { mut sum, compensation } => {
                for (sum, compensation) in sum.iter_mut().zip(compensation) {
                    if is_present(*sum) {
                        *sum += compensation;
                    }
                }
                sum
            }
            Self::Avg(means) => {
                means.into_iter().map(|mean| mean.map_or(ABSENT, |mean| mean.finish())).collect()
            }
            Self::Min(column) | Self::Max(column) | Self::Count(column) | Self::Group(column) => column,
            Self::Variance { count, squares, root, .. } => squares
                .into_iter()
                .zip(count)
                .map(|(squares, count)| match (count == 0.0, root) {
                    (true, _) => ABSENT,
                    (false, true) => (squares / count).sqrt(),
                    (false, false) => squares / count,
                })
                .collect(),
            Self::Quantile(values) => values
                .into_iter()
                .enumerate()
                .map(|(step, mut values)| match values.is_empty() {
                    true => ABSENT,
                    false => quantile(parameter[step], &mut values),
                })
                .collect(),
        }
    }
}

/// Calls `add` at each step that has a value.
fn each<T>(column: &[f64], state: &mut [T], mut add: impl FnMut(f64, &mut T)) {
    for (value, state) in column.iter().zip(state) {
        if is_present(*value) {
            add(*value, state);
        }
    }
}

/// Welford's method, with Prometheus' rule that the first value must be finite.
fn add_square(value: f64, count: &mut f64, mean: &mut f64, squares: &mut f64) {
    if *count == 0.0 {
        (*count, *mean) = (1.0, value);
        *squares = if value.is_finite() { 0.0 } else { f64::NAN };
        return;
    }
    *count += 1.0;
    let delta = value - *mean;
    *mean += delta / *count;
    *squares += delta * (value - *mean);
}

/// One group.
struct Group {
    head: SeriesHead,
    floats: Accumulator,
    histograms: GroupHistograms,
}

/// `sum by(job) (x)` and the like.
pub(crate) struct AggregateOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    op: Aggregation,
    /// Where the operand stands.
    span: Span,
    keys: KeyIndex,
    /// `quantile`'s parameter, one a step.
    parameter: Vec<f64>,
}

impl<'a> AggregateOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        (op, span): (Aggregation, Span),
        grouping: &Grouping,
        parameter: Vec<f64>,
    ) -> Self {
        let keys = KeyIndex::new(KeyLabels::of_grouping(grouping));
        Self { context, inner, op, span, keys, parameter }
    }

    fn aggregated(&self) -> Aggregated<'a> {
        Aggregated { context: self.context, is_mean: self.op == Aggregation::Avg, span: self.span }
    }

    /// What the aggregation does with histograms. Gives by how many samples the group grew.
    fn add_histograms(&self, group: &mut Group, head: &SeriesHead, column: &mut Column) -> usize {
        match self.op {
            Aggregation::Sum | Aggregation::Avg => {
                let Group { floats, histograms, .. } = group;
                return histograms.add(self.aggregated(), head, column, |step| floats.has(step));
            }
            // They count whatever is there.
            Aggregation::Count | Aggregation::Group => {
                let found: Vec<_> = column.histograms().map(|(step, _)| step).collect();
                found.into_iter().for_each(|step| column.floats[step] = 1.0);
            }
            _ if column.histograms().next().is_some() => {
                let aggregation = self.op.as_str();
                let note = HistogramNote::IgnoredInAggregation { aggregation };
                self.context.annotate(note, self.span);
            }
            _ => {}
        }
        0
    }

    fn finish(&self, group: Group) -> (SeriesHead, Column) {
        let mut column = Column::from(group.floats.finish(&self.parameter));
        group.histograms.finish(self.aggregated(), &mut column);
        (group.head, column)
    }
}

impl<'a> TakesAll<'a> for AggregateOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let mut groups: Vec<Group> = Vec::new();
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            let number = self.keys.number(&head.labels);
            if number == groups.len() {
                held.grow(column.steps() * Accumulator::width(self.op))?;
                let labels = self.keys.project(&head.labels);
                groups.push(Group {
                    head: SeriesHead { labels, drop_name: false },
                    floats: Accumulator::new(self.op, column.steps()),
                    histograms: GroupHistograms::default(),
                });
            }
            if self.op == Aggregation::Quantile {
                held.grow(column.steps())?;
            }
            let group = &mut groups[number];
            group.head.drop_name |= head.drop_name;
            held.grow(self.add_histograms(group, &head, &mut column))?;
            group.floats.add(&column.floats);
        }
        let columns = groups.into_iter().map(|group| self.finish(group)).collect();
        Ok((Computed::new(columns), held))
    }
}

/// `count_values("label", x)`: one series a value.
pub(crate) struct CountValuesOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    label: &'a str,
    keys: KeyIndex,
}

impl<'a> CountValuesOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        label: &'a str,
        grouping: &Grouping,
    ) -> Self {
        let grouping = match grouping {
            Grouping::By(labels) => Grouping::By(labels.iter().cloned().chain([label.to_owned()]).collect()),
            Grouping::Without(labels) => Grouping::Without(labels.clone()),
        };
        let keys = KeyIndex::new(KeyLabels::of_grouping(&grouping));
        Self { context, inner, label, keys }
    }

    /// The labels with `value` among them.
    fn with_value(&self, builder: &mut LabelsBuilder, value: &str) -> Labels {
        builder.set(self.label, value);
        builder.finish()
    }
}

fn text(sample: &SampleValue) -> String {
    match sample {
        SampleValue::Float(value) => vedette_model::number::format_plain(*value),
        SampleValue::Histogram(histogram) => histogram.to_string(),
    }
}

fn same(left: &SampleValue, right: &SampleValue) -> bool {
    match (left, right) {
        (SampleValue::Float(left), SampleValue::Float(right)) => left.to_bits() == right.to_bits(),
        (SampleValue::Histogram(left), SampleValue::Histogram(right)) => Arc::ptr_eq(left, right),
        _ => false,
    }
}

impl<'a> TakesAll<'a> for CountValuesOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let mut groups: Vec<(SeriesHead, Column)> = Vec::new();
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            let mut builder = head.labels.to_builder();
            // Neighbouring steps often have the same value, so the last one's group is remembered.
            let mut last: Option<(SampleValue, usize)> = None;
            for (step, sample) in column.samples() {
                let number = match &last {
                    Some((known, number)) if same(known, &sample) => *number,
                    _ => {
                        let labels = self.with_value(&mut builder, &text(&sample));
                        let number = self.keys.number(&labels);
                        if number == groups.len() {
                            held.grow(column.steps())?;
                            let labels = self.keys.project(&labels);
                            let head = SeriesHead { labels, drop_name: false };
                            groups.push((head, Column::absent(column.steps())));
                        }
                        number
                    }
                };
                last = Some((sample, number));
                let count = &mut groups[number].1.floats[step];
                *count = if is_present(*count) { *count + 1.0 } else { 1.0 };
            }
        }
        Ok((Computed::new(groups), held))
    }
}
