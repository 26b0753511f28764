//! What every long-running program of ours needs at its edge: log lines, words with systemd, a configuration file
//! read with errors that say where, the wall clock, which build this is and which machine, the socket by which it is
//! asked how it is, the format of its data folder, and how root becomes the owner of one.
//!
//! It knows no configuration key and no metric: those belong to the programs.

#![warn(missing_docs)]

pub mod build;
pub mod clock;
pub mod config;
pub mod data_format;
pub mod host;
pub mod logging;
pub mod notify;
pub mod people;
pub mod privileges;
pub mod socket;
