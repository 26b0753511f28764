//! Reads HTTP targets in Prometheus' exposition formats, as Prometheus does.
//!
//! | Part | Owns |
//! |---|---|
//! | [`config`] | `scrape_configs` and the scrape half of `global`: read, checked, defaulted |
//! | [`Target`] | one URL with its labels and its configuration |
//! | [`Schedule`] | when a target is due: a grid with a stable offset (no clock of its own) |
//! | [`TargetScrape`] | what a response means: samples, synthetic series, staleness (no socket, no clock) |
//! | [`ScrapePool`] | the driver: one task a target that fetches in time and hands over [`Fetched`] |
//!
//! The owner of the samples (the agent) calls [`TargetScrape::apply`] with each [`Fetched`] and encodes the
//! rows it fills. This crate knows nothing of batches, spools and aggregators.

#![warn(missing_docs)]

pub mod config;

mod client;
mod pool;
mod schedule;
mod scrape;
mod status;
mod target;

pub use client::{Body, ClientError, FetchError, ScrapeClient};
pub use pool::{Fetched, Reloaded, ScrapePool};
pub use schedule::{Schedule, Tick, grid_offset};
pub use scrape::{ScrapeError, ScrapeOutcome, TargetScrape};
pub use status::{Health, TargetStatus};
pub use target::{Target, TargetError, TargetKey};
