//! Functions that ask histograms, classic or native, for quantiles and fractions.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use vedette_model::number::format_exposition;
use vedette_model::{BUCKET_LABEL, Labels};

use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::classic::{Bucket, bucket_fraction, bucket_quantile};
use crate::eval::column::{ABSENT, Column, Grid, SeriesHead, is_present, without_metric};
use crate::eval::context::{Context, Held};
use crate::eval::histogram_note::HistogramNote;
use crate::eval::native;
use crate::eval::operator::{Computed, Operator, TakesAll};
use crate::eval::signature::{KeyIndex, KeyLabels};
use crate::syntax::parse_float;

/// What is asked of a histogram; arguments have one value a step.
pub(crate) enum HistogramQuestion {
    Quantile(Vec<f64>),
    Fraction {
        lower: Vec<f64>,
        upper: Vec<f64>,
    },
    /// `histogram_quantiles(x, "label", φ, …)`
    Quantiles {
        label: String,
        wanted: Vec<Vec<f64>>,
    },
}

/// All buckets of one classic histogram, by bound.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, Vec<f64>)>,
}

/// A series of native histograms.
struct Native {
    labels: Labels,
    column: Column,
}

/// `histogram_quantile` and its kin.
pub(crate) struct HistogramOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    question: HistogramQuestion,
    grid: Grid,
    /// Where the vector stands.
    span: Span,
    classics: Vec<Classic>,
    natives: Vec<Native>,
}

impl<'a> HistogramOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        question: HistogramQuestion,
        (grid, span): (Grid, Span),
    ) -> Self {
        Self { context, inner, question, grid, span, classics: Vec::new(), natives: Vec::new() }
    }

    fn load(&mut self, held: &mut Held<'a>) -> Result<(), QueryError> {
        let mut keys = KeyIndex::new(KeyLabels::AllBut(vec![BUCKET_LABEL.to_owned()]));
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            held.grow(column.weight())?;
            if column.has_histograms() {
                self.natives.push(Native { labels: head.labels.clone(), column: column.clone() });
            }
            if !column.floats.iter().any(|value| is_present(*value)) {
                continue;
            }
            let bound = head.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(upper) = parse_float(bound) else {
                let metric = self.metric_to_tell(&head.labels);
                let annotation = Annotation::BadBucketLabel { metric, value: bound.to_owned() };
                self.context.annotate(annotation, self.span);
                continue;
            };
            let number = keys.number(&head.labels);
            if number == self.classics.len() {
                self.classics.push(Classic { labels: keys.project(&head.labels), buckets: Vec::new() });
            }
            self.classics[number].buckets.push((upper, std::mem::take(&mut column.floats)));
        }
        self.drop_conflicts();
        Ok(())
    }

    /// Where a classic and a native histogram have the same labels at the same step, neither counts.
    fn drop_conflicts(&mut self) {
        let by_labels: HashMap<_, _, FxBuildHasher> = self
            .classics
            .iter()
            .enumerate()
            .map(|(number, classic)| (classic.labels.clone(), number))
            .collect();
        for native in &mut self.natives {
            let Some(number) = by_labels.get(&native.labels) else { continue };
            let classic = &mut self.classics[*number];
            let present = |step: usize| classic.buckets.iter().any(|(_, column)| is_present(column[step]));
            let both: Vec<_> =
                native.column.histograms().map(|(step, _)| step).filter(|step| present(*step)).collect();
            for step in &both {
                native.column.set(*step, None);
                classic.buckets.iter_mut().for_each(|(_, column)| column[*step] = ABSENT);
            }
            if !both.is_empty() {
                let metric = metric_to_tell(self.context, &native.labels);
                self.context.annotate(HistogramNote::MixedClassicNative { metric }, self.span);
            }
        }
    }

    fn metric_to_tell(&self, labels: &Labels) -> String {
        metric_to_tell(self.context, labels)
    }

    fn classic_quantiles(&self, classic: &Classic, wanted: &[f64]) -> Column {
        self.each_step(classic, |step, buckets| {
            let (value, forced) = bucket_quantile(wanted[step], buckets, self.grid.time_ms(step));
            if let Some(forced) = forced {
                let metric = self.metric_to_tell(&classic.labels);
                self.context.annotate_monotonicity(metric, self.span, forced);
            }
            value
        })
    }

    fn each_step(&self, classic: &Classic, mut value: impl FnMut(usize, &mut Vec<Bucket>) -> f64) -> Column {
        let mut buckets = Vec::new();
        let floats: Vec<_> = (0..self.grid.count)
            .map(|step| {
                buckets.clear();
                buckets.extend(
                    classic
                        .buckets
                        .iter()
                        .filter(|(_, column)| is_present(column[step]))
                        .map(|(upper, column)| Bucket { upper: *upper, count: column[step] }),
                );
                if buckets.is_empty() { ABSENT } else { value(step, &mut buckets) }
            })
            .collect();
        floats.into()
    }

    fn native_column(
        &self,
        native: &Native,
        ask: impl Fn(usize, &vedette_model::Histogram) -> native::Answer,
    ) -> Column {
        let mut floats = vec![ABSENT; self.grid.count];
        for (step, histogram) in native.column.histograms() {
            let (value, note) = ask(step, histogram);
            floats[step] = value;
            if let Some(note) = note {
                let metric = self.metric_to_tell(&native.labels);
                self.context.annotate(HistogramNote::NanObservations { what: note, metric }, self.span);
            }
        }
        floats.into()
    }

    fn native_quantiles(&self, native: &Native, wanted: &[f64]) -> Column {
        self.native_column(native, |step, histogram| native::quantile(wanted[step], histogram))
    }

    fn head(&self, labels: &Labels, extra: Option<(&str, &str)>) -> SeriesHead {
        let mut labels = labels.clone();
        if !self.context.delays_names() {
            labels = without_metric(&labels);
        }
        if let Some((name, value)) = extra {
            let mut builder = labels.to_builder();
            builder.set(name, value);
            labels = builder.finish();
        }
        SeriesHead { labels, drop_name: true }
    }

    /// The quantiles of all histograms, with a label that says which where there may be several.
    fn all_quantiles(&self, wanted: &[f64], extra: Option<(&str, &str)>) -> Vec<(SeriesHead, Column)> {
        let natives = self
            .natives
            .iter()
            .map(|native| (self.head(&native.labels, extra), self.native_quantiles(native, wanted)));
        let classics = self
            .classics
            .iter()
            .map(|classic| (self.head(&classic.labels, extra), self.classic_quantiles(classic, wanted)));
        natives.chain(classics).collect()
    }

    fn fractions(&self, lower: &[f64], upper: &[f64]) -> Vec<(SeriesHead, Column)> {
        let natives = self.natives.iter().map(|native| {
            let ask = |step: usize, histogram: &_| native::fraction(lower[step], upper[step], histogram);
            (self.head(&native.labels, None), self.native_column(native, ask))
        });
        let classics = self.classics.iter().map(|classic| {
            let column =
                self.each_step(classic, |step, buckets| bucket_fraction(lower[step], upper[step], buckets));
            (self.head(&classic.labels, None), column)
        });
        natives.chain(classics).collect()
    }
}

/// Messages name the metric only where names are still there at this point of the evaluation.
fn metric_to_tell(context: &Context<'_>, labels: &Labels) -> String {
    let name = if context.delays_names() { labels.metric_name() } else { None };
    name.unwrap_or("").to_owned()
}

impl<'a> TakesAll<'a> for HistogramOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        self.load(&mut held)?;
        let series = match &self.question {
            HistogramQuestion::Quantile(wanted) => self.all_quantiles(wanted, None),
            HistogramQuestion::Quantiles { label, wanted } => {
                let each = wanted.iter().flat_map(|wanted| {
                    let text = wanted.first().map_or_else(String::new, |wanted| open_metrics(*wanted));
                    self.all_quantiles(wanted, Some((label, &text)))
                });
                each.collect()
            }
            HistogramQuestion::Fraction { lower, upper } => self.fractions(lower, upper),
        };
        Ok((Computed::new(series), held))
    }
}

/// As OpenMetrics writes a number: never without a point or an exponent.
fn open_metrics(value: f64) -> String {
    let text = format_exposition(value);
    let whole = value.is_finite() && !text.contains(['.', 'e']);
    if whole { text + ".0" } else { text }
}
