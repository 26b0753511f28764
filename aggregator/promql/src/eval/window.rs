//! Functions over range vectors: a window slides over each series' samples.

use vedette_model::Samples;

use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::column::{ABSENT, Column, SeriesHead, histogram_weight, is_present, without_metric};
use crate::eval::context::Context;
use crate::eval::extrapolation::{Sampled, extrapolation, seconds};
use crate::eval::function::quantile;
use crate::eval::mixed::Part;
use crate::eval::operator::Operator;
use crate::eval::parameter::note_quantile;
use crate::eval::selector::{Clock, SampleStream};
use crate::eval::start;
use crate::eval::window_float::{
    Window, check_smoothing, extreme, instant_rate, linear_regression, mean, median_deviation, smooth, sum,
    variance,
};

/// How many steps may pass between two looks at the deadline.
const STEPS_PER_CHECK: usize = 256;

/// The functions, with their scalar arguments: one value a step.
#[derive(Clone, Debug)]
pub(crate) enum WindowFunction {
    /// `rate`, `increase`, `delta`
    Extrapolated {
        counter: bool,
        per_second: bool,
    },
    /// `irate`, `idelta`
    Instant {
        counter: bool,
    },
    Avg,
    Min,
    Max,
    Sum,
    Count,
    First,
    Last,
    Present,
    Stddev,
    Stdvar,
    Quantile(Vec<f64>),
    Mad,
    Changes,
    Resets,
    Deriv,
    PredictLinear(Vec<f64>),
    DoubleExponentialSmoothing {
        smoothing: Vec<f64>,
        trend: Vec<f64>,
    },
    TimeOfFirst,
    TimeOfLast,
    TimeOfMin,
    TimeOfMax,
}

/// A function over a range vector.
pub(crate) struct WindowOperator<'a> {
    pub(super) context: &'a Context<'a>,
    stream: Box<dyn SampleStream + 'a>,
    pub(super) clock: Clock,
    pub(super) range_ms: i64,
    pub(super) function: WindowFunction,
    /// Where the range vector stands.
    pub(super) span: Span,
    pub(super) samples: Samples,
    scratch: Vec<f64>,
}

impl<'a> WindowOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        stream: Box<dyn SampleStream + 'a>,
        (clock, range_ms): (Clock, i64),
        function: WindowFunction,
        span: Span,
    ) -> Self {
        let (samples, scratch) = (Samples::default(), Vec::new());
        Self { context, stream, clock, range_ms, function, span, samples, scratch }
    }

    /// What all histograms of a window count for, at every step.
    fn each_window_of_histograms(&self, each: impl FnMut(usize, usize)) {
        let histograms = self.samples.histograms.iter();
        self.each_window(histograms.map(|sample| (sample.at_ms, histogram_weight(&sample.histogram))), each);
    }

    /// The sum of the weights of a window's samples, at every step.
    fn each_window(
        &self,
        weights: impl Iterator<Item = (i64, usize)> + Clone,
        mut each: impl FnMut(usize, usize),
    ) {
        let (mut after, mut before) = (weights.clone().peekable(), weights.peekable());
        let mut inside = 0;
        for step in 0..self.clock.grid.count {
            let end_ms = self.clock.time_ms(step);
            while let Some((_, weight)) = after.next_if(|(at_ms, _)| *at_ms <= end_ms) {
                inside += weight;
            }
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while let Some((_, weight)) = before.next_if(|(at_ms, _)| *at_ms <= start_ms) {
                inside -= weight;
            }
            each(step, inside);
        }
    }

    /// Calls `value` for the window of every step that has samples. Counts them.
    fn slide(
        &self,
        column: &mut Vec<f64>,
        mut value: impl FnMut(Window<'_>) -> f64,
    ) -> Result<bool, QueryError> {
        let at_ms = &self.samples.at_ms;
        let (mut from, mut to) = (0, 0);
        let (mut any, mut in_windows) = (false, 0);
        column.clear();
        for step in 0..self.clock.grid.count {
            if step % STEPS_PER_CHECK == STEPS_PER_CHECK - 1 {
                self.context.check()?;
            }
            let end_ms = self.clock.time_ms(step);
            let start_ms = end_ms.saturating_sub(self.range_ms);
            while to < at_ms.len() && at_ms[to] <= end_ms {
                to += 1;
            }
            while from < to && at_ms[from] <= start_ms {
                from += 1;
            }
            in_windows += to - from;
            let result = if from == to {
                ABSENT
            } else {
                value(Window { samples: &self.samples, from, to, start_ms, end_ms, step })
            };
            any |= is_present(result);
            column.push(result);
        }
        self.context.count_queryable(self.clock.grid, in_windows, |count| {
            self.each_window(at_ms.iter().map(|at_ms| (*at_ms, 1)), count);
        });
        Ok(any)
    }

    fn fill(&self, scratch: &mut Vec<f64>, column: &mut Vec<f64>) -> Result<bool, QueryError> {
        match &self.function {
            WindowFunction::Extrapolated { counter, per_second } => {
                self.fill_extrapolated(*counter, *per_second, column)
            }
            WindowFunction::Instant { counter } => {
                let is_reset = counter.then_some(|index: usize| self.is_reset(index));
                self.slide(column, |window| instant_rate(window, is_reset))
            }
            WindowFunction::Avg => self.slide(column, |window| mean(window.values())),
            WindowFunction::Min => self.slide(column, |window| extreme(window, |value, best| value < best).0),
            WindowFunction::Max => self.slide(column, |window| extreme(window, |value, best| value > best).0),
            WindowFunction::TimeOfMin => {
                self.slide(column, |window| extreme(window, |value, best| value <= best).1)
            }
            WindowFunction::TimeOfMax => {
                self.slide(column, |window| extreme(window, |value, best| value >= best).1)
            }
            WindowFunction::Sum => self.slide(column, |window| sum(window.values())),
            WindowFunction::Count => self.slide(column, |window| window.len() as f64),
            WindowFunction::First => self.slide(column, |window| window.samples.values[window.from]),
            WindowFunction::Last => self.slide(column, |window| window.samples.values[window.to - 1]),
            WindowFunction::TimeOfFirst => {
                self.slide(column, |window| window.samples.at_ms[window.from] as f64 / 1000.0)
            }
            // As in Prometheus none is before 1970.
            WindowFunction::TimeOfLast => {
                self.slide(column, |window| window.samples.at_ms[window.to - 1].max(0) as f64 / 1000.0)
            }
            WindowFunction::Present => self.slide(column, |_| 1.0),
            WindowFunction::Stddev => self.slide(column, |window| variance(window.values()).sqrt()),
            WindowFunction::Stdvar => self.slide(column, |window| variance(window.values())),
            WindowFunction::Quantile(wanted) => self.slide(column, |window| {
                self.note_quantile(wanted[window.step]);
                scratch.clear();
                scratch.extend_from_slice(window.values());
                quantile(wanted[window.step], scratch)
            }),
            WindowFunction::Mad => self.slide(column, |window| median_deviation(window.values(), scratch)),
            WindowFunction::Changes => {
                let values = &self.samples.values;
                self.fill_counted(column, |index| {
                    let (last, value) = (values[index - 1], values[index]);
                    value != last && !(value.is_nan() && last.is_nan())
                })
            }
            WindowFunction::Resets => self.fill_counted(column, |index| self.is_reset(index)),
            WindowFunction::Deriv => self.slide(column, |window| {
                if window.len() < 2 {
                    return ABSENT;
                }
                linear_regression(window, window.at_ms()[0]).0
            }),
            WindowFunction::PredictLinear(seconds) => self.slide(column, |window| {
                if window.len() < 2 {
                    return ABSENT;
                }
                let now_ms = self.clock.grid.time_ms(window.step);
                let (slope, intercept) = linear_regression(window, now_ms);
                slope * seconds[window.step] + intercept
            }),
            WindowFunction::DoubleExponentialSmoothing { smoothing, trend } => {
                self.slide(column, |window| smooth(window, smoothing[window.step], trend[window.step]))
            }
        }
    }

    fn fill_extrapolated(
        &self,
        counter: bool,
        per_second: bool,
        column: &mut Vec<f64>,
    ) -> Result<bool, QueryError> {
        let values = &self.samples.values;
        // Resets are rare: their positions are found once, not once a window.
        let mut resets = Vec::new();
        let starts_ms = self.starts().filter(|_| counter);
        match starts_ms {
            Some(_) => resets.extend((1..values.len()).filter(|index| self.is_reset(*index))),
            None if counter => {
                resets.extend((1..values.len()).filter(|index| values[*index] < values[*index - 1]));
            }
            None => {}
        }
        let mut first_reset = 0;
        let range_seconds = seconds(self.range_ms);
        self.slide(column, |window| {
            let first = values[window.from];
            let (first_ms, last_ms) = (self.samples.at_ms[window.from], self.samples.at_ms[window.to - 1]);
            let started_ms = starts_ms
                .and_then(|starts_ms| start::inside(starts_ms[window.from], window.start_ms, first_ms));
            if window.len() < 2 && started_ms.is_none() {
                return ABSENT;
            }
            while resets.get(first_reset).is_some_and(|reset| *reset <= window.from) {
                first_reset += 1;
            }
            let mut change = values[window.to - 1] - first;
            for reset in resets[first_reset..].iter().take_while(|reset| **reset < window.to) {
                change += values[*reset - 1];
            }
            if started_ms.is_some() {
                change += first;
            }
            let (start_ms, end_ms, count) = (window.start_ms, window.end_ms, window.len());
            let sampled = Sampled { start_ms, end_ms, first_ms, last_ms, count, started_ms };
            let first_share = (counter && change > 0.0 && first >= 0.0).then(|| first / change);
            let factor = extrapolation(sampled, first_share);
            change * if per_second { factor / range_seconds } else { factor }
        })
    }

    /// Since when each float counts, where that is known and wanted.
    pub(super) fn starts(&self) -> Option<&[i64]> {
        let wanted = self.context.engine.use_start_timestamps && !self.samples.starts_ms.is_empty();
        wanted.then_some(self.samples.starts_ms.as_slice())
    }

    /// Whether a counter was reset between the float before `index` and that one.
    fn is_reset(&self, index: usize) -> bool {
        let Samples { at_ms, values, .. } = &self.samples;
        values[index] < values[index - 1]
            || self.starts().is_some_and(|starts_ms| {
                let at = |index: usize| (starts_ms[index], at_ms[index]);
                start::is_start_reset(at(index - 1), at(index))
            })
    }

    /// Counts the places inside a window where `counts` holds between a float and the one before.
    fn fill_counted(
        &self,
        column: &mut Vec<f64>,
        counts: impl Fn(usize) -> bool,
    ) -> Result<bool, QueryError> {
        let mut total = 0u64;
        let totals: Vec<u64> = (0..self.samples.values.len())
            .map(|index| {
                total += u64::from(index > 0 && counts(index));
                total
            })
            .collect();
        self.slide(column, |window| (totals[window.to - 1] - totals[window.from]) as f64)
    }

    /// Refuses wrong factors of a step whose window has any sample.
    fn check_factors(&self) -> Result<(), QueryError> {
        let WindowFunction::DoubleExponentialSmoothing { smoothing, trend } = &self.function else {
            return Ok(());
        };
        for (step, (smoothing, trend)) in smoothing.iter().zip(trend).enumerate() {
            let checked = check_smoothing(*smoothing, *trend);
            if checked.is_err() {
                let end_ms = self.clock.time_ms(step);
                let part = Part::between(&self.samples, end_ms.saturating_sub(self.range_ms), end_ms);
                if part.len() > 0 {
                    return checked;
                }
            }
        }
        Ok(())
    }

    fn note_quantile(&self, wanted: f64) {
        note_quantile(self.context, wanted, self.span);
    }

    /// Says of each window in which starts contradict the samples before.
    fn note_overlaps(&self, head: &SeriesHead) {
        let counts = matches!(self.function, WindowFunction::Extrapolated { counter: true, .. });
        let (true, Some(starts_ms)) = (counts, self.starts()) else { return };
        let at_ms = &self.samples.at_ms;
        let overlaps: Vec<_> = (1..at_ms.len())
            .filter(|index| start::overlaps((starts_ms[index - 1], at_ms[index - 1]), starts_ms[*index]))
            .collect();
        if overlaps.is_empty() {
            return;
        }
        for step in 0..self.clock.grid.count {
            let end_ms = self.clock.time_ms(step);
            let part = Part::between(&self.samples, end_ms.saturating_sub(self.range_ms), end_ms);
            let (from, to) = (part.floats.start, part.floats.end);
            if part.histograms.is_empty() && overlaps.iter().any(|index| *index > from && *index < to) {
                let metric = head.labels.metric_name().unwrap_or("").to_owned();
                self.context.annotate(Annotation::StartTimeOverlap { metric }, self.span);
            }
        }
    }

    /// The name says that this may not be a counter.
    fn note_counter(&self, head: &SeriesHead, column: &Column) {
        let counts = matches!(self.function, WindowFunction::Extrapolated { counter: true, .. })
            && (!column.has_histograms() || column.floats.iter().any(|value| is_present(*value)));
        if let (true, Some(name)) = (counts, head.labels.metric_name()) {
            note_counter(self.context, name, head.labels.get("__type__").unwrap_or(""), self.span);
        }
    }
}

pub(crate) fn note_counter(context: &Context<'_>, name: &str, kind: &str, span: Span) {
    let metric = || name.to_owned();
    if context.engine.type_and_unit_labels {
        if kind != "counter" && kind != "histogram" {
            let kind = kind.to_owned();
            context.annotate(Annotation::PossibleNonCounterType { metric: metric(), kind }, span);
        }
    } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
        context.annotate(Annotation::PossibleNonCounter { metric: metric() }, span);
    }
}

impl Operator for WindowOperator<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.stream.next_into(&mut self.samples)? else { return Ok(None) };
            self.check_factors()?;
            let mut scratch = std::mem::take(&mut self.scratch);
            column.clear();
            let mut any = self.fill(&mut scratch, &mut column.floats)?;
            self.scratch = scratch;
            self.note_overlaps(&head);
            if !self.samples.histograms.is_empty() {
                let mut in_windows = 0;
                self.each_window_of_histograms(|_, weight| in_windows += weight);
                self.context.count_queryable(self.clock.grid, in_windows, |count| {
                    self.each_window_of_histograms(count);
                });
                self.add_histograms(&head, column)?;
                any = column.any();
            }
            if !any {
                continue;
            }
            self.note_counter(&head, column);
            if !matches!(self.function, WindowFunction::First | WindowFunction::Last) {
                head.drop_name = true;
            }
            if head.drop_name && !self.context.delays_names() {
                head.labels = without_metric(&head.labels);
            }
            return Ok(Some(head));
        }
    }
}
