//! Evaluation by columns.
//!
//! An expression becomes a tree of [`operator::Operator`]s. Each gives its series one after the other, every
//! one as a column: its values at all steps. A selector decodes a series once and walks over all steps;
//! an aggregation adds the column to its group's and forgets it. Only what must see two sides or a whole group
//! at once is held, and what is held counts against the query's budget.

mod aggregate;
mod aggregate_select;
mod annotations;
mod arithmetic;
mod binary;
mod builder;
mod builder_call;
mod calendar;
mod classic;
mod column;
mod context;
mod duration;
mod exponential;
mod expression;
mod extended;
mod extended_histogram;
mod extrapolation;
mod function;
mod histogram;
mod histogram_note;
mod histogram_rate;
mod histogram_total;
mod hyperbolic;
mod info;
mod kahan;
mod label;
mod limit;
mod merge;
mod mixed;
mod native;
mod operator;
mod parameter;
mod power;
mod query;
mod selector;
mod set;
mod signature;
mod smoothed;
mod sort;
mod start;
mod vector_scalar;
mod window;
mod window_float;
mod window_histogram;

pub(crate) use classic::almost_equal;
pub(crate) use query::{Run, run};
