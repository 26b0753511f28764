//! The host's clock, its time zone and its clock sources.

use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::{HotFile, numbered_entries};
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

/// Gathers between two looks at which clock sources there are. They come with the machine.
const RESCAN_GATHERS: u32 = 300;

#[derive(Default)]
struct Time {
    zone: Option<Zone>,
    clock_sources: Vec<ClockSource>,
    gathers_to_rescan: u32,
}

struct Zone {
    /// Of the file: modification time and inode.
    version: (i64, i64, u64),
    zone: TimeZone,
}

struct ClockSource {
    /// Its place among the others, as text.
    device: String,
    available: HotFile,
    current: HotFile,
}

pub(crate) fn build(_: &mut Parameters, _: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::<Time>::default())
}

impl Collector for Time {
    fn name(&self) -> &'static str {
        "time"
    }

    #[expect(clippy::disallowed_methods, reason = "driver: the host's clock is what is collected")]
    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        out.family("node_time_seconds", Gauge, "System time in seconds since epoch (1970).")
            .value(since_epoch.as_nanos() as f64 / 1e9);
        self.write_zone(&sources.paths, since_epoch.as_secs(), out)?;
        self.rescan(&sources.paths);
        self.write_clock_sources(&mut sources.scratch, out)
    }
}

impl Time {
    fn write_zone(&mut self, paths: &Paths, seconds: u64, out: &mut Gathered) -> Result<(), CollectError> {
        let mut family =
            out.family("node_time_zone_offset_seconds", Gauge, "System time zone offset in seconds.");
        let now = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        match (self.zone(paths)?, now) {
            (Some(zone), Some(now)) => {
                let info = zone.to_offset_info(now);
                family.sample(&[("time_zone", info.abbreviation())], f64::from(info.offset().seconds()));
            }
            // No zone file means UTC.
            _ => family.sample(&[("time_zone", "UTC")], 0.0),
        }
        Ok(())
    }

    /// The host's zone, read anew when its file is another one.
    fn zone(&mut self, paths: &Paths) -> Result<Option<&TimeZone>, CollectError> {
        let path = &paths.localtime;
        let Ok(metadata) = std::fs::metadata(path) else {
            return Ok(None);
        };
        let version = (metadata.mtime(), metadata.mtime_nsec(), metadata.ino());
        if self.zone.as_ref().is_none_or(|zone| zone.version != version) {
            let content =
                std::fs::read(path).map_err(|source| CollectError::Read { path: path.clone(), source })?;
            let zone = TimeZone::tzif("localtime", &content).map_err(|_| Fault::Syntax.at(path, 0))?;
            self.zone = Some(Zone { version, zone });
        }
        Ok(self.zone.as_ref().map(|zone| &zone.zone))
    }

    fn rescan(&mut self, paths: &Paths) {
        if self.gathers_to_rescan > 0 {
            self.gathers_to_rescan -= 1;
            return;
        }
        self.gathers_to_rescan = RESCAN_GATHERS;
        let directories = numbered_entries(&paths.sys("devices/system/clocksource"), "clocksource");
        let clock_source = |(index, directory): (usize, &std::path::PathBuf)| ClockSource {
            device: index.to_string(),
            available: HotFile::new(directory.join("available_clocksource")),
            current: HotFile::new(directory.join("current_clocksource")),
        };
        self.clock_sources = directories.iter().enumerate().map(clock_source).collect();
    }

    fn write_clock_sources(&mut self, scratch: &mut Vec<u8>, out: &mut Gathered) -> Result<(), CollectError> {
        let mut family = out.family(
            "node_time_clocksource_available_info",
            Gauge,
            "Available clocksources read from '/sys/devices/system/clocksource'.",
        );
        for source in &mut self.clock_sources {
            let content = source.available.read_value(scratch)?;
            for (at, name) in parse::fields(content).enumerate() {
                if parse::fields(content).take(at).any(|other| other == name) {
                    continue;
                }
                let name = String::from_utf8_lossy(name);
                family.sample(&[("clocksource", &name), ("device", &source.device)], 1.0);
            }
        }
        let mut family = out.family(
            "node_time_clocksource_current_info",
            Gauge,
            "Current clocksource read from '/sys/devices/system/clocksource'.",
        );
        for source in &mut self.clock_sources {
            let name = String::from_utf8_lossy(source.current.read_value(scratch)?);
            family.sample(&[("clocksource", &name), ("device", &source.device)], 1.0);
        }
        Ok(())
    }
}
