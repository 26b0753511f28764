use std::borrow::Cow;

use vedette_model::{Labels, MetricKind};

use crate::error::SeriesError;

/// Which rules the raw bytes of a series follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Text format 0.0.4: blanks between tokens, the comma between labels may be left out.
    Text,
    /// OpenMetrics 1.0: no blanks.
    OpenMetrics,
}

/// The labels of a series in the text format, `name{label="value"}`, metric name included.
pub fn parse_series(raw: &[u8]) -> Result<Labels, SeriesError> {
    parse_series_as(raw, Dialect::Text, MetricKind::Unknown)
}

/// The labels of a series. Prometheus writes `le` of histograms and `quantile` of summaries in one form (`1` becomes
/// `1.0`), so the kind that the last `# TYPE` line named is needed.
pub fn parse_series_as(_raw: &[u8], _dialect: Dialect, _kind: MetricKind) -> Result<Labels, SeriesError> {
    unimplemented!()
}

pub(crate) fn parse_exemplar_labels(_raw: &[u8]) -> Result<Vec<(Cow<'_, str>, Cow<'_, str>)>, SeriesError> {
    unimplemented!()
}
