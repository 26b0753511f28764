//! `scrape_configs` and the scrape half of `global`, with Prometheus' keys, defaults and checks.
//!
//! Read twice: the `Raw…` types mirror the file and know where each value stands; [`GlobalConfig`] and
//! [`ScrapeConfig`] are checked and complete.

pub mod duration;
pub mod size;

mod check;
mod http;
mod raw;

pub use check::{
    ConfigError, Escaping, GlobalConfig, HistogramLimits, Limits, ScrapeConfig, ScrapeProtocol, StaticGroup,
    check_scrape_configs,
};
pub use http::{Authentication, HttpConfig, Pem, Secret, SecretSource, TlsConfig, TlsVersion};
pub use raw::{RawGlobalConfig, RawScrapeConfig};
