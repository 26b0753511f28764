use crate::ast::Span;

/// An expression that is not PromQL, or whose types do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{span}: parse error: {message}")]
pub struct ParseError {
    /// The part of the text that is wrong.
    pub span: Span,
    /// What is wrong, in Prometheus' words.
    pub message: String,
}

/// Why an evaluation gave no result.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The expression can not be evaluated over this data: Prometheus' error type `execution`.
    #[error("{0}")]
    Execution(String),
    /// The expression can not be evaluated at all, whatever the data: `bad_data`.
    #[error("{0}")]
    Invalid(String),
    /// The query holds more samples at once than it may: also `execution`.
    #[error("query processing would load too many samples into memory in query execution")]
    TooManySamples,
    /// All queries together hold as much as they may: `unavailable`.
    #[error("the queries under way take all the memory that queries may")]
    NoBudget,
    /// The deadline has passed: `timeout`.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// The client has gone: `canceled`.
    #[error("query was canceled in expression evaluation")]
    Cancelled,
    /// The source failed to read: `internal`.
    #[error("{0}")]
    Storage(String),
}
