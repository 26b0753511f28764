//! What the host says of itself, under node_exporter's names.
//!
//! One module each reads one subject (`cpu`, `meminfo`, …) and writes families into a [`Gathered`]. The names, types,
//! help texts and labels are those of node_exporter 1.11.1, so that dashboards and alerts made for it work unchanged.
//! A [`Registry`] runs the collectors that the configuration turned on, one after the other, and reports success and
//! duration of each. One that fails fails alone.
//!
//! This crate knows no network peer, no spool and no wire format. It does read the host's clocks: that is its subject.
//!
//! The cost of a gather is what the agent costs, since it is done every second. Hence: descriptors stay open and are
//! read with `pread`; one scratch buffer serves all files; what does not change between two gathers (names, help
//! texts, labels, which fields are wanted) is found by comparing with what came at the same place last time.

mod collectors;
mod config;
mod error;
mod field_cache;
mod file;
mod filter;
mod gathered;
mod netlink;
mod parse;
mod paths;
mod proc_stat;
mod registry;
mod sources;

pub use config::{CollectorsConfig, ConfigError};
pub use error::{CollectError, Fault};
pub use gathered::{FamilyWriter, Gathered, GatheredFamily};
pub use paths::Paths;
pub use registry::{Collector, CollectorHealth, Registry};
pub use sources::Sources;
