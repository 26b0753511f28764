//! PromQL: parser, printer and evaluator.
//!
//! Pure: knows series only through [`vedette_model::SeriesSource`], and no clock, no storage, no HTTP.
//!
//! ```text
//! text → lexer → parser → Expr (typed AST) → plan → operators, pulled series by series → QueryResult
//! ```

#![warn(missing_docs)]

mod ast;
mod engine;
mod error;
mod eval;
pub mod memory;
pub mod promqltest;
mod selectors;
mod syntax;
mod value;

pub use ast::{
    Aggregate, Aggregation, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationOp,
    DurationValue, Expr, ExprKind, FillValues, Grouping, Matchers, MatrixSelector, Modifiers, NumberValue,
    RangeMode, Sign, Span, StringValue, Subquery, ValueType, VectorMatching, VectorSelector,
};
pub use engine::{Engine, EngineOptions, Interrupt, ParseOptions, QueryOptions};
pub use error::{ParseError, QueryError};
pub use syntax::function::{Arity, Function};
pub use value::{QueryResult, QueryStatistics, SampleValue, Series, Value, VectorSample};

use vedette_model::{Labels, Matcher};

/// Parses an expression with Prometheus' default features.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_with(text, &ParseOptions::default())
}

/// Parses an expression with chosen features.
pub fn parse_with(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    syntax::Parser::new(text, *options).parse_expr()
}

/// Parses a selector alone, as the HTTP API's `match[]` wants it: the matchers, that of the name included.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    syntax::Parser::new(text, ParseOptions::default()).parse_selector()
}

/// Parses a metric with its labels: `name{label="value"}`.
pub fn parse_metric(text: &str) -> Result<Labels, ParseError> {
    syntax::Parser::new(text, ParseOptions::default()).parse_metric()
}

/// Reads a duration such as `1h30m`, in milliseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    syntax::duration::parse_duration(text)
}

/// A duration as Prometheus prints it: `1h30m`.
pub fn format_duration(millis: i64) -> String {
    syntax::duration::format_duration(millis)
}
