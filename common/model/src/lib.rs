//! The vocabulary that every part of Vedette shares: labels, timestamps, samples, matchers.
//!
//! Pure data and pure functions. This crate knows no clock, no socket, no file and no storage.
//!
//! | Type | Shape |
//! |---|---|
//! | [`Timestamp`] | milliseconds since the Unix epoch, UTC |
//! | [`Labels`] | sorted, unique, non-empty `name → value` pairs; cheap to clone |
//! | [`SeriesId`] | 128-bit identity of a label set |
//! | [`Matcher`] | one test on one label |
//! | [`Histogram`] | a native histogram: the value of a sample that is no float |
//! | [`Exemplar`] | one observation behind a series, with labels of its own |
//! | [`SeriesSource`] | what a query engine reads from |

#![warn(missing_docs)]

mod exemplar;
mod histogram;
mod labels;
mod matcher;
mod metadata;
pub mod number;
mod re2;
mod select;
mod timestamp;
mod value;

pub use exemplar::Exemplar;
pub use histogram::{
    Bucket, CUSTOM_BUCKETS_SCHEMA, ClassicHistogram, ClassicHistogramError, CoarsenError, CountKind,
    CounterReset, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Histogram, HistogramError, HistogramSample,
    HistogramSum, IncompatibleSchemas, Reconciled, Span,
};
pub use labels::{
    BUCKET_LABEL, INSTANCE_LABEL, JOB_LABEL, Labels, LabelsBuilder, METRIC_NAME, QUANTILE_LABEL, SeriesId,
};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Metadata, MetricKind};
pub use re2::{RegexError, compile_anchored, compile_remembered, group_name};
pub use select::{
    MetadataEntry, Samples, SelectError, SelectGuard, SelectRequest, SeriesSource, SeriesStream,
};
pub use timestamp::Timestamp;
pub use value::{STALE_NAN, is_stale};
