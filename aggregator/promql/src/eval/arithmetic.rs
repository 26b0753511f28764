//! What a binary operator makes of two samples.

use std::sync::Arc;

use vedette_model::{CounterReset, Histogram, IncompatibleSchemas, Reconciled};

use crate::ast::{BinaryOp, Span};
use crate::eval::annotations::Annotation;
use crate::eval::context::Context;
use crate::eval::histogram_note::{HistogramNote, HistogramOperation};
use crate::eval::power::pow;
use crate::value::SampleValue;

/// What an operator makes of two numbers: the value, and whether a filtering comparison keeps it.
#[inline]
pub(crate) fn apply(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (pow(left, right), true),
        BinaryOp::Atan2 => (atan2(left, right), true),
        BinaryOp::Equal => (left, left == right),
        BinaryOp::NotEqual => (left, left != right),
        BinaryOp::Less => (left, left < right),
        BinaryOp::LessEqual => (left, left <= right),
        BinaryOp::Greater => (left, left > right),
        BinaryOp::GreaterEqual => (left, left >= right),
        // Trims are for native histograms; set operators never come here.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            (0.0, false)
        }
    }
}

/// As Go has it, where what is too small to be told from zero is above it.
fn atan2(y: f64, x: f64) -> f64 {
    let vanishes = y != 0.0 && y / x == 0.0;
    if vanishes && x < 0.0 && x.is_finite() { std::f64::consts::PI } else { y.atan2(x) }
}

/// Between two scalars a comparison gives 0 or 1.
pub(crate) fn apply_scalar(op: BinaryOp, left: f64, right: f64) -> f64 {
    let (value, keeps) = apply(op, left, right);
    if op.is_comparison() { truth(keeps) } else { value }
}

/// A comparison's outcome with `bool`.
pub(crate) fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// Whether an operator's results are another metric than its operands.
pub(crate) const fn changes_metric(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

/// An operator's own part: which, whether `bool`, where.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) span: Span,
}

impl Operation {
    /// Whether its results are another metric than its operands.
    pub(crate) const fn drops_name(&self) -> bool {
        self.returns_bool || changes_metric(self.op)
    }

    /// Whether floats alone can give nothing but values.
    pub(crate) const fn is_plain(&self) -> bool {
        !matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }
}

/// What an operator makes of two samples of any type.
pub(crate) struct Combined {
    /// The value, and whether a filtering comparison keeps it. `None` where the types do not fit.
    pub(crate) result: Option<(SampleValue, bool)>,
    pub(crate) note: Option<Annotation>,
}

/// What `op` makes of two samples.
pub(crate) fn combine(op: BinaryOp, left: &SampleValue, right: &SampleValue) -> Combined {
    let result = match (left, right) {
        (SampleValue::Float(left), SampleValue::Float(right))
            if !matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) =>
        {
            let (value, keeps) = apply(op, *left, *right);
            Some((SampleValue::Float(value), keeps))
        }
        (SampleValue::Float(_), SampleValue::Float(_)) => None,
        (SampleValue::Float(left), SampleValue::Histogram(right)) => {
            (op == BinaryOp::Mul).then(|| (scaled(right, |histogram| histogram.mul(*left)), true))
        }
        (SampleValue::Histogram(left), SampleValue::Float(right)) => with_float(op, left, *right),
        (SampleValue::Histogram(left), SampleValue::Histogram(right)) => match op {
            BinaryOp::Add | BinaryOp::Sub => return sum(op, left, right),
            BinaryOp::Equal => Some((SampleValue::Histogram(Arc::clone(left)), left.holds_the_same(right))),
            BinaryOp::NotEqual => {
                Some((SampleValue::Histogram(Arc::clone(left)), !left.holds_the_same(right)))
            }
            _ => None,
        },
    };
    let note = match result {
        Some(_) => None,
        None => Some(Annotation::IncompatibleTypes {
            operator: op.as_str(),
            left: type_word(left),
            right: type_word(right),
        }),
    };
    Combined { result, note }
}

const fn type_word(sample: &SampleValue) -> &'static str {
    match sample {
        SampleValue::Float(_) => "float",
        SampleValue::Histogram(_) => "histogram",
    }
}

fn scaled(histogram: &Histogram, scale: impl FnOnce(&mut Histogram)) -> SampleValue {
    let mut scaled = histogram.clone();
    scale(&mut scaled);
    scaled.compact(0);
    SampleValue::Histogram(Arc::new(scaled))
}

fn with_float(op: BinaryOp, left: &Histogram, right: f64) -> Option<(SampleValue, bool)> {
    let sample = match op {
        BinaryOp::Mul => scaled(left, |histogram| histogram.mul(right)),
        BinaryOp::Div => scaled(left, |histogram| histogram.div(right)),
        BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            let mut trimmed = left.clone();
            let trim = if op == BinaryOp::TrimUpper { Histogram::trim_above } else { Histogram::trim_below };
            trim(&mut trimmed, right);
            SampleValue::Histogram(Arc::new(trimmed))
        }
        _ => return None,
    };
    Some((sample, true))
}

/// A sum or a difference, which is no counter any more.
fn sum(op: BinaryOp, left: &Histogram, right: &Histogram) -> Combined {
    let mut sum = left.clone();
    let (combined, operation) = if op == BinaryOp::Sub {
        let combined = sum.sub(right);
        sum.counter_reset = CounterReset::Gauge;
        (combined, HistogramOperation::Subtraction)
    } else {
        (sum.add(right), HistogramOperation::Addition)
    };
    let note = match combined {
        Err(IncompatibleSchemas) => HistogramNote::IncompatibleBucketLayout { operator: op.as_str() },
        // As in Prometheus there is no result, only the warning.
        Ok(Reconciled { counter_resets_collide: true, .. }) => {
            HistogramNote::CounterResetCollision(operation)
        }
        Ok(Reconciled { custom_bounds, .. }) => {
            sum.compact(0);
            let result = Some((SampleValue::Histogram(Arc::new(sum)), true));
            let note = custom_bounds.then_some(HistogramNote::MismatchedCustomBuckets(operation));
            return Combined { result, note: note.map(Into::into) };
        }
    };
    Combined { result: None, note: Some(note.into()) }
}

/// The last note of each step: of several at one step Prometheus tells the last alone.
#[derive(Default)]
pub(crate) struct StepNotes {
    last: Vec<Option<Annotation>>,
}

impl StepNotes {
    pub(crate) fn note(&mut self, step: usize, note: Annotation) {
        if self.last.len() <= step {
            self.last.resize(step + 1, None);
        }
        self.last[step] = Some(note);
    }

    /// Tells what was noted, once.
    pub(crate) fn tell(&mut self, context: &Context<'_>, span: Span) {
        for note in std::mem::take(&mut self.last).into_iter().flatten() {
            context.annotate(note, span);
        }
    }
}
