//! `and`, `or`, `unless`: of the deciding side only presence is kept, a bit a step and key.

use crate::ast::{BinaryOp, VectorMatching};
use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead, StepSet};
use crate::eval::context::{Context, Held};
use crate::eval::operator::Operator;
use crate::eval::signature::{KeyIndex, KeyLabels};

/// A set operator. `or` gives its left side first, and learns from it what to leave out of the right.
pub(crate) struct SetOperator<'a> {
    left: Box<dyn Operator + 'a>,
    right: Box<dyn Operator + 'a>,
    op: BinaryOp,
    keys: KeyIndex,
    present: Vec<StepSet>,
    steps: usize,
    /// The deciding side is read.
    decided: bool,
    /// For `present`.
    held: Held<'a>,
}

impl<'a> SetOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        left: Box<dyn Operator + 'a>,
        right: Box<dyn Operator + 'a>,
        (op, matching): (BinaryOp, &VectorMatching),
        steps: usize,
    ) -> Result<Self, QueryError> {
        let keys = KeyIndex::new(KeyLabels::of_matching(matching));
        let held = context.hold(0)?;
        Ok(Self { left, right, op, keys, present: Vec::new(), steps, decided: false, held })
    }

    fn remember(&mut self, head: &SeriesHead, column: &Column) -> Result<(), QueryError> {
        let number = self.keys.number(&head.labels);
        if number == self.present.len() {
            // 64 bits are as large as a sample's value.
            self.held.grow(self.steps.div_ceil(64))?;
            self.present.push(StepSet::new(self.steps));
        }
        self.present[number].insert_present(column);
        Ok(())
    }

    /// Leaves in `column` only the steps at which the key's presence is `wanted`; whether any are left.
    fn keep(&mut self, head: &SeriesHead, column: &mut Column, wanted: bool) -> bool {
        let present = self.keys.known(&head.labels).map(|number| &self.present[number]);
        let mut any = false;
        for step in 0..column.steps() {
            if column.is_present(step) {
                if present.is_some_and(|present| present.contains(step)) == wanted {
                    any = true;
                } else {
                    column.set(step, None);
                }
            }
        }
        any
    }

    fn next_of_or(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        if !self.decided {
            if let Some(head) = self.left.next_into(column)? {
                self.remember(&head, column)?;
                return Ok(Some(head));
            }
            self.decided = true;
        }
        while let Some(head) = self.right.next_into(column)? {
            if self.keep(&head, column, false) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

impl Operator for SetOperator<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        if self.op == BinaryOp::Or {
            return self.next_of_or(column);
        }
        if !self.decided {
            while let Some(head) = self.right.next_into(column)? {
                self.remember(&head, column)?;
            }
            self.decided = true;
        }
        while let Some(head) = self.left.next_into(column)? {
            if self.keep(&head, column, self.op == BinaryOp::And) {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}
