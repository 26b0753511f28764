use crate::config::ScrapeConfig;
use crate::target::Target;

/// What a target answered, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its `Content-Type`, or empty.
    pub content_type: String,
    /// The exposition.
    pub bytes: Vec<u8>,
}

/// Why nothing could be fetched. The texts are those of Prometheus where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// `scrape_timeout` passed.
    #[error("context deadline exceeded")]
    Timeout,
    /// The server did not answer 200.
    #[error("server returned HTTP status {status}")]
    Status {
        /// Code and reason.
        status: String,
    },
    /// More than `body_size_limit`, after decompression.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// Connection, TLS or protocol.
    #[error("Get {url:?}: {reason}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong, causes included.
        reason: String,
    },
    /// The body says gzip and is not.
    #[error("gzip: {reason}")]
    Gzip {
        /// What is wrong.
        reason: String,
    },
    /// A file named in the configuration cannot be read.
    #[error("unable to read file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The target is over its job's `target_limit`.
    #[error("{reason}")]
    Refused {
        /// Limit and number.
        reason: String,
    },
}

/// The configuration's TLS files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ClientError {
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Fetches the targets of one scrape configuration over connections that are kept.
#[derive(Clone, Debug)]
pub struct ScrapeClient {}

impl ScrapeClient {
    /// `version` goes into the User-Agent.
    pub fn new(_config: &ScrapeConfig, _version: &str) -> Result<Self, ClientError> {
        unimplemented!()
    }

    /// One GET, within the configuration's timeout.
    pub async fn fetch(&self, _target: &Target) -> Result<Body, FetchError> {
        unimplemented!()
    }
}
