//! One module per collector. [`KNOWN`] lists them all.

mod conntrack;
mod cpu;
mod diskstats;
mod entropy;
mod filefd;
mod filesystem;
mod loadavg;
mod meminfo;
mod netdev;
mod netstat;
mod os;
mod pressure;
mod sockstat;
mod stat;
mod time;
mod uname;
mod vmstat;

use crate::config::{ConfigError, Parameters};
use crate::paths::Paths;
use crate::registry::Collector;

/// A collector that can be turned on.
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) on_by_default: bool,
    /// Takes its parameters. Opens no file.
    pub(crate) build: Build,
}

type Build = fn(&mut Parameters, &Paths) -> Result<Box<dyn Collector>, ConfigError>;

/// Sorted by name.
pub(crate) const KNOWN: &[Known] = &[
    on("conntrack", conntrack::build),
    on("cpu", cpu::build),
    on("diskstats", diskstats::build),
    on("entropy", entropy::build),
    on("filefd", filefd::build),
    on("filesystem", filesystem::build),
    on("loadavg", loadavg::build),
    on("meminfo", meminfo::build),
    on("netdev", netdev::build),
    on("netstat", netstat::build),
    on("os", os::build),
    on("pressure", pressure::build),
    on("sockstat", sockstat::build),
    on("stat", stat::build),
    on("time", time::build),
    on("uname", uname::build),
    on("vmstat", vmstat::build),
];

const fn on(name: &'static str, build: Build) -> Known {
    Known { name, on_by_default: true, build }
}
