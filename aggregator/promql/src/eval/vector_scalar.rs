//! Arithmetic and comparison between a vector and a scalar.

use crate::error::QueryError;
use crate::eval::arithmetic::{Combined, Operation, StepNotes, apply, combine, truth};
use crate::eval::column::{ABSENT, Column, SeriesHead, is_present, without_metric};
use crate::eval::context::Context;
use crate::eval::operator::Operator;
use crate::value::SampleValue;

/// `x + 1`, `1 + x`
pub(crate) struct VectorScalar<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    /// One a step.
    scalar: Vec<f64>,
    scalar_is_left: bool,
    operation: Operation,
    notes: StepNotes,
}

impl<'a> VectorScalar<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        (scalar, scalar_is_left): (Vec<f64>, bool),
        operation: Operation,
    ) -> Self {
        Self { context, inner, scalar, scalar_is_left, operation, notes: StepNotes::default() }
    }

    fn float(&self, value: f64, scalar: f64) -> f64 {
        let Operation { op, returns_bool, .. } = self.operation;
        let (left, right) = if self.scalar_is_left { (scalar, value) } else { (value, scalar) };
        let (result, keeps) = apply(op, left, right);
        if returns_bool {
            truth(keeps)
        } else if !keeps {
            ABSENT
        } else if op.is_comparison() {
            // The vector's value is kept, whichever side it is on.
            value
        } else {
            result
        }
    }

    /// A step of any type.
    fn sample(&mut self, step: usize, sample: SampleValue) -> Option<SampleValue> {
        let Operation { op, returns_bool, .. } = self.operation;
        let scalar = SampleValue::Float(self.scalar[step]);
        let (left, right) = if self.scalar_is_left { (&scalar, &sample) } else { (&sample, &scalar) };
        let Combined { result, note } = combine(op, left, right);
        if let Some(note) = note {
            self.notes.note(step, note);
        }
        match result? {
            (_, keeps) if returns_bool => Some(SampleValue::Float(truth(keeps))),
            (_, false) => None,
            (_, true) if op.is_comparison() => Some(sample),
            (value, true) => Some(value),
        }
    }

    fn apply(&mut self, column: &mut Column) {
        if self.operation.is_plain() && !column.has_histograms() {
            for (value, scalar) in column.floats.iter_mut().zip(&self.scalar) {
                if is_present(*value) {
                    *value = self.float(*value, *scalar);
                }
            }
            return;
        }
        let samples: Vec<_> = column.samples().collect();
        for (step, sample) in samples {
            column.set(step, self.sample(step, sample));
        }
    }
}

impl Operator for VectorScalar<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.inner.next_into(column)? else {
                self.notes.tell(self.context, self.operation.span);
                return Ok(None);
            };
            self.apply(column);
            if !column.any() {
                continue;
            }
            if self.operation.drops_name() {
                head.drop_name = true;
                if !self.context.delays_names() {
                    head.labels = without_metric(&head.labels);
                }
            }
            return Ok(Some(head));
        }
    }
}
