//! The protobuf format: `io.prometheus.client.MetricFamily`, each with its length in front.
//!
//! It alone carries native histograms and since when counters count. Read as the text format is: family by family,
//! series by their raw bytes (`name{label="value"}`), so that whoever scrapes knows a series by the same bytes however it
//! was exposed.
//!
//! ```text
//! (length: varint, MetricFamily)*
//! MetricFamily  1 name  2 help  3 type  4 Metric*  5 unit
//! Metric        1 LabelPair*  2 Gauge  3 Counter  4 Summary  5 Untyped  6 timestamp in ms  7 Histogram
//! Counter       1 value  2 Exemplar  3 Timestamp of its start       Gauge, Untyped  1 value
//! Summary       1 count  2 sum  3 (1 quantile  2 value)*  4 Timestamp of its start
//! Histogram     1 count  2 sum  3 Bucket*  4 count as float  5 schema  6 zero threshold  7 zero count  8 as float
//!               9 negative spans  10 deltas  11 floats  12 positive spans  13 deltas  14 floats
//!               15 Timestamp of its start  16 Exemplar*
//! Bucket        1 cumulative count  2 upper bound  3 Exemplar  4 cumulative count as float
//! Exemplar      1 LabelPair*  2 value  3 Timestamp        LabelPair  1 name  2 value
//! Timestamp     1 seconds  2 nanoseconds
//! ```

mod histogram;
mod print;
mod read;

pub use print::DelimitedPrinter;
pub use read::{DelimitedEntry, DelimitedError, DelimitedReader, HistogramEntry, Histograms};
