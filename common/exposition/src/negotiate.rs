/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format, `text/plain`.
    Text,
    /// OpenMetrics' text format, `application/openmetrics-text`.
    OpenMetrics,
}

/// The `Content-Type` names no format that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownContentType {
    /// There is none.
    #[error("target sends no Content-Type and fallback_scrape_protocol is not set")]
    Blank,
    /// It cannot be read.
    #[error("cannot parse Content-Type {content_type:?} and fallback_scrape_protocol is not set")]
    Malformed {
        /// As it was sent.
        content_type: String,
    },
    /// It names something else.
    #[error("unsupported Content-Type {content_type:?} and fallback_scrape_protocol is not set")]
    Unsupported {
        /// As it was sent.
        content_type: String,
    },
}

/// What to answer to an `Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The `Content-Type` to answer with.
    pub content_type: &'static str,
}

/// The format of a scraped body by its `Content-Type`; `fallback` is what the configuration says for targets
/// that name none.
pub fn format_of_content_type(
    _content_type: &str,
    _fallback: Option<Format>,
) -> Result<Format, UnknownContentType> {
    unimplemented!()
}

/// The flavour of the text format to answer with. Text 0.0.4 is what everything reads, so it is also the answer
/// to an `Accept` that names only other formats.
pub fn choose_for_accept(_accept: Option<&str>) -> Negotiated {
    unimplemented!()
}
