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
mod value;

pub use ast::{
    Aggregate, Aggregation, AtModifier, Binary, BinaryOp, Call, Cardinality, DurationExpr, DurationOp,
    DurationValue, Expr, ExprKind, FillValues, Grouping, Matchers, MatrixSelector, Modifiers, NumberValue,
    RangeMode, Sign, Span, Subquery, ValueType, VectorMatching, VectorSelector,
};
pub use engine::{Engine, EngineOptions, Interrupt, ParseOptions, QueryOptions};
pub use error::{ParseError, QueryError};
pub use value::{QueryResult, QueryStatistics, Series, Value, VectorSample};

use vedette_model::{Labels, Matcher};

/// Parses an expression with Prometheus' default features.
pub fn parse(_text: &str) -> Result<Expr, ParseError> {
    unimplemented!()
}

/// Parses an expression with chosen features.
pub fn parse_with(_text: &str, _options: &ParseOptions) -> Result<Expr, ParseError> {
    unimplemented!()
}

/// Parses a selector alone, as the HTTP API's `match[]` wants it: the matchers, that of the name included.
pub fn parse_selector(_text: &str) -> Result<Vec<Matcher>, ParseError> {
    unimplemented!()
}

/// Parses a metric with its labels: `name{label="value"}`.
pub fn parse_metric(_text: &str) -> Result<Labels, ParseError> {
    unimplemented!()
}
