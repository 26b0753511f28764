use std::sync::Arc;

use vedette_model::{Histogram, Labels, Samples, Timestamp};

/// What a query gave.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    /// The value.
    pub value: Value,
    /// Warnings, each once, sorted, as the HTTP API gives them: `PromQL warning: … (1:5)`.
    pub warnings: Vec<String>,
    /// Infos, likewise: `PromQL info: … (1:5)`.
    pub infos: Vec<String>,
    /// What it cost.
    pub statistics: QueryStatistics,
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number (instant queries).
    Scalar {
        /// When.
        at: Timestamp,
        /// What.
        value: f64,
    },
    /// A string (instant queries).
    String {
        /// When.
        at: Timestamp,
        /// What.
        value: String,
    },
    /// One sample a series (instant queries), in the order of evaluation.
    Vector(Vec<VectorSample>),
    /// Samples of many series: range queries, and range selectors in instant ones. Sorted by labels.
    Matrix(Vec<Series>),
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// Which series.
    pub labels: Labels,
    /// When: the query's time.
    pub at: Timestamp,
    /// What.
    pub value: SampleValue,
}

/// What a series has at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<Histogram>),
}

/// One series of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which series.
    pub labels: Labels,
    /// Its samples, oldest first.
    pub samples: Samples,
}

/// What a query cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryStatistics {
    /// Series read from the source.
    pub series: u64,
    /// Samples read from the source.
    pub samples: u64,
    /// Samples that selectors and windows gave, step by step: Prometheus' `totalQueryableSamples`.
    pub samples_queryable: u64,
    /// The same for each step: `totalQueryableSamplesPerStep`. `None` unless asked for.
    pub queryable_per_step: Option<Vec<u64>>,
    /// The most samples that were held at once.
    pub samples_peak: u64,
}
