//! Evaluation by columns.
//!
//! An expression becomes a tree of [`operator::Operator`]s. Each gives its series one after the other, every
//! one as a column: its values at all steps. A selector decodes a series once and walks over all steps;
//! an aggregation adds the column to its group's and forgets it. Only what must see two sides or a whole group
//! at once is held, and what is held counts against the query's budget.

mod aggregate;
mod aggregate_select;
mod annotations;
mod binary;
mod builder;
mod calendar;
mod column;
mod context;
mod duration;
mod extended;
mod function;
mod histogram;
mod kahan;
mod label;
mod merge;
mod operator;
mod query;
mod selector;
mod set;
mod signature;
mod sort;
mod window;

pub(crate) use histogram::almost_equal;
pub(crate) use query::{Run, run};
