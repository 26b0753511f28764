//! Throttling, isolation and presence of CPUs, from sysfs.

use std::path::Path;

use vedette_model::MetricKind::{Counter, Gauge};

use crate::error::{CollectError, Fault};
use crate::file::{HotFile, KEPT_OPEN_MAX, numbered_entries};
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::sources::Sources;

/// Gathers between two looks at which files there are. In between, other CPUs in `/proc/stat` cause one.
const RESCAN_GATHERS: u32 = 300;

/// More CPUs than any kernel is built for.
const CPU_MAX: u64 = 1 << 16;

pub(super) struct Topology {
    isolated_file: HotFile,
    /// Fixed at boot, so read once.
    isolated: Option<Vec<String>>,
    cores: Vec<Throttled>,
    packages: Vec<Throttled>,
    /// Empty where the first CPU can not be turned off, as on most machines: nothing is told then.
    online: Vec<Online>,
    gathers_to_rescan: u32,
}

/// The throttle count of a package, or of a core of it.
struct Throttled {
    package: u64,
    core: u64,
    package_label: String,
    core_label: String,
    count: HotFile,
}

struct Online {
    label: String,
    file: HotFile,
}

impl Topology {
    pub(super) fn new(paths: &Paths) -> Self {
        Self {
            isolated_file: HotFile::new(paths.sys("devices/system/cpu/isolated")),
            isolated: None,
            cores: Vec::new(),
            packages: Vec::new(),
            online: Vec::new(),
            gathers_to_rescan: 0,
        }
    }

    /// The CPUs are not what they were.
    pub(super) fn rescan_next(&mut self) {
        self.gathers_to_rescan = 0;
    }

    pub(super) fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        self.read_isolated(&mut sources.scratch)?;
        if self.gathers_to_rescan == 0 {
            self.scan(&sources.paths, &mut sources.scratch);
            self.gathers_to_rescan = RESCAN_GATHERS;
        }
        self.gathers_to_rescan -= 1;
        self.write(&mut sources.scratch, out);
        if self.cores.len() + self.packages.len() + self.online.len() > KEPT_OPEN_MAX {
            let throttles =
                self.cores.iter_mut().chain(&mut self.packages).map(|throttled| &mut throttled.count);
            throttles.chain(self.online.iter_mut().map(|cpu| &mut cpu.file)).for_each(HotFile::close);
        }
        Ok(())
    }

    fn read_isolated(&mut self, scratch: &mut Vec<u8>) -> Result<(), CollectError> {
        if self.isolated.is_some() {
            return Ok(());
        }
        self.isolated = Some(match self.isolated_file.read(scratch) {
            Ok(content) => parse_ranges(content).map_err(|fault| self.isolated_file.malformed(1, fault))?,
            Err(error) if error.is_not_found() => Vec::new(),
            Err(error) => return Err(error),
        });
        Ok(())
    }

    /// Keeps a file per core and per package that can be read.
    fn scan(&mut self, paths: &Paths, scratch: &mut Vec<u8>) {
        self.cores.clear();
        self.packages.clear();
        self.online.clear();
        let mut is_told = None;
        for directory in numbered_entries(&paths.sys("devices/system/cpu"), "cpu") {
            self.scan_throttles(&directory, scratch);
            let file = directory.join("online");
            // Only the first is asked whether it can be turned off; without it nothing is told of any.
            if *is_told.get_or_insert_with(|| file.exists()) {
                let label = directory.file_name().and_then(|name| name.to_str()?.strip_prefix("cpu"));
                let label = label.unwrap_or_default().to_owned();
                self.online.push(Online { label, file: HotFile::new(file) });
            }
        }
    }

    fn scan_throttles(&mut self, directory: &Path, scratch: &mut Vec<u8>) {
        let mut number = |name: &str| HotFile::new(directory.join(name)).read_unsigned(scratch).ok();
        let (Some(package), Some(core)) =
            (number("topology/physical_package_id"), number("topology/core_id"))
        else {
            return;
        };
        let new = |name: &str| Throttled {
            package,
            core,
            package_label: package.to_string(),
            core_label: core.to_string(),
            count: HotFile::new(directory.join(name)),
        };
        // The same count shows under each thread of a core: the first that has it tells it.
        let same_core = |other: &Throttled| (other.package, other.core) == (package, core);
        let count = "thermal_throttle/core_throttle_count";
        if !self.cores.iter().any(same_core) && number(count).is_some() {
            self.cores.push(new(count));
        }
        let count = "thermal_throttle/package_throttle_count";
        if !self.packages.iter().any(|other| other.package == package) && number(count).is_some() {
            self.packages.push(new(count));
        }
    }

    fn write(&mut self, scratch: &mut Vec<u8>, out: &mut Gathered) {
        let mut family = out.family(
            "node_cpu_isolated",
            Gauge,
            "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.",
        );
        for cpu in self.isolated.iter().flatten() {
            family.sample(&[("cpu", cpu)], 1.0);
        }
        let help = "Number of times this CPU package has been throttled.";
        let mut family = out.family("node_cpu_package_throttles_total", Counter, help);
        for package in &mut self.packages {
            if let Ok(count) = package.count.read_unsigned(scratch) {
                family.sample(&[("package", &package.package_label)], count as f64);
            }
        }
        let help = "Number of times this CPU core has been throttled.";
        let mut family = out.family("node_cpu_core_throttles_total", Counter, help);
        for core in &mut self.cores {
            if let Ok(count) = core.count.read_unsigned(scratch) {
                family.sample(&[("core", &core.core_label), ("package", &core.package_label)], count as f64);
            }
        }
        let mut family = out.family("node_cpu_online", Gauge, "CPUs that are online and being scheduled.");
        for cpu in &mut self.online {
            let is_online = cpu.file.read_value(scratch).is_ok_and(|value| value == b"1");
            family.sample(&[("cpu", &cpu.label)], f64::from(u8::from(is_online)));
        }
    }
}

/// `1,3-5` is `["1", "3", "4", "5"]`.
fn parse_ranges(content: &[u8]) -> Result<Vec<String>, Fault> {
    let mut cpus: Vec<u64> = Vec::new();
    for range in content.trim_ascii_end().split(|byte| *byte == b',').filter(|range| !range.is_empty()) {
        let mut ends = range.splitn(2, |byte| *byte == b'-');
        let mut end = |or| ends.next().map_or(or, parse::unsigned).ok_or(Fault::NotANumber);
        let first = end(None)?;
        let last = end(Some(first))?;
        if last > CPU_MAX {
            return Err(Fault::TooLong);
        }
        if first > last || cpus.last().is_some_and(|before| *before >= first) {
            return Err(Fault::NotAscending);
        }
        cpus.extend(first..=last);
    }
    Ok(cpus.into_iter().map(|cpu| cpu.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cpus = |text: &str| parse_ranges(text.as_bytes());
        assert_eq!(cpus("1,3-5\n").unwrap(), ["1", "3", "4", "5"]);
        assert!(cpus("\n").unwrap().is_empty() && cpus("").unwrap().is_empty());
        for (text, fault) in [
            ("a", Fault::NotANumber),
            ("1-", Fault::NotANumber),
            ("0-99999999", Fault::TooLong),
            ("1,1", Fault::NotAscending),
        ] {
            assert_eq!(cpus(text), Err(fault), "{text}");
        }
    }
}
