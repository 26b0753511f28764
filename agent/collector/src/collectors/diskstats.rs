//! Counters of the block devices, from `/proc/diskstats`, and what udev knows of them.

mod udev;

use std::path::PathBuf;

use vedette_model::MetricKind::{self, Counter, Gauge};

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::field_cache::FieldCache;
use crate::file::{HotFile, KEPT_OPEN_MAX};
use crate::filter::Filter;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

use udev::{Properties, UdevFile};

const DEVICE_EXCLUDE: &str = "^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\\d+n\\d+p)\\d+$";

/// Numbers behind the device's name. Kernels before 4.18 have the first 11, those before 5.5 the first 15.
const COLUMNS: usize = 17;
const COLUMNS_MIN: usize = 11;

/// How a column becomes a value.
#[derive(Clone, Copy)]
enum Unit {
    Count,
    /// Of 512 bytes, whatever the device has.
    Sectors,
    Milliseconds,
}

struct Column {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    unit: Unit,
}

macro_rules! column {
    ($name:literal, $kind:ident, $unit:ident, $help:literal) => {
        Column { name: concat!("node_disk_", $name), help: $help, kind: $kind, unit: Unit::$unit }
    };
}

const METRICS: [Column; COLUMNS] = [
    column!("reads_completed_total", Counter, Count, "The total number of reads completed successfully."),
    column!("reads_merged_total", Counter, Count, "The total number of reads merged."),
    column!("read_bytes_total", Counter, Sectors, "The total number of bytes read successfully."),
    column!(
        "read_time_seconds_total",
        Counter,
        Milliseconds,
        "The total number of seconds spent by all reads."
    ),
    column!("writes_completed_total", Counter, Count, "The total number of writes completed successfully."),
    column!("writes_merged_total", Counter, Count, "The number of writes merged."),
    column!("written_bytes_total", Counter, Sectors, "The total number of bytes written successfully."),
    column!(
        "write_time_seconds_total",
        Counter,
        Milliseconds,
        "This is the total number of seconds spent by all writes."
    ),
    column!("io_now", Gauge, Count, "The number of I/Os currently in progress."),
    column!("io_time_seconds_total", Counter, Milliseconds, "Total seconds spent doing I/Os."),
    column!(
        "io_time_weighted_seconds_total",
        Counter,
        Milliseconds,
        "The weighted # of seconds spent doing I/Os."
    ),
    column!(
        "discards_completed_total",
        Counter,
        Count,
        "The total number of discards completed successfully."
    ),
    column!("discards_merged_total", Counter, Count, "The total number of discards merged."),
    column!("discarded_sectors_total", Counter, Count, "The total number of sectors discarded successfully."),
    column!(
        "discard_time_seconds_total",
        Counter,
        Milliseconds,
        "This is the total number of seconds spent by all discards."
    ),
    column!(
        "flush_requests_total",
        Counter,
        Count,
        "The total number of flush requests completed successfully"
    ),
    column!(
        "flush_requests_time_seconds_total",
        Counter,
        Milliseconds,
        "This is the total number of seconds spent by all flush requests."
    ),
];

struct DiskStats {
    file: HotFile,
    filter: Filter,
    devices: FieldCache<Device>,
}

struct Device {
    name: String,
    is_ignored: bool,
    major: u64,
    minor: u64,
    major_label: String,
    minor_label: String,
    udev: UdevFile,
    rotational: HotFile,
    is_rotational: bool,
    values: [u64; COLUMNS],
    columns: usize,
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let filter = Filter::take(parameters, ("device-exclude", DEVICE_EXCLUDE), "device-include")?;
    Ok(Box::new(DiskStats {
        file: HotFile::new(paths.proc("diskstats")),
        filter,
        devices: FieldCache::new(),
    }))
}

impl Collector for DiskStats {
    fn name(&self) -> &'static str {
        "diskstats"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        self.read(sources)?;
        let devices = self.wanted().count();
        for device in self.devices.current_mut().filter(|device| !device.is_ignored) {
            device.udev.refresh(&mut sources.scratch);
            let rotational = device.rotational.read_value(&mut sources.scratch);
            device.is_rotational = rotational.is_ok_and(|value| value == b"1");
            if devices > KEPT_OPEN_MAX {
                device.rotational.close();
            }
        }
        self.write_info(out);
        self.write_counters(out);
        self.write_udev(out);
        Ok(())
    }
}

impl DiskStats {
    fn read(&mut self, sources: &mut Sources) -> Result<(), CollectError> {
        let Sources { paths, scratch, .. } = sources;
        let content = self.file.read(scratch)?;
        self.devices.begin();
        for (number, line) in parse::lines(content) {
            let malformed = |fault| self.file.malformed(number, fault);
            let mut fields = parse::fields(line);
            let mut number =
                || fields.next().map(|field| parse::unsigned(field).ok_or(Fault::NotANumber)).transpose();
            let (Some(major), Some(minor)) = (number().map_err(malformed)?, number().map_err(malformed)?)
            else {
                continue;
            };
            let Some(name) = fields.next() else {
                continue;
            };
            let (values, columns) = parse_columns(fields).map_err(malformed)?;
            // Partitions of ancient kernels have fewer.
            if columns < COLUMNS_MIN {
                continue;
            }
            let device = self.devices.entry(name, || Device::new(name, &self.filter, paths));
            device.set_number(major, minor, paths);
            (device.values, device.columns) = (values, columns);
        }
        Ok(())
    }

    fn write_info(&self, out: &mut Gathered) {
        let mut family = out.family("node_disk_info", Gauge, "Info of /sys/block/<block_device>.");
        for device in self.wanted() {
            let properties = device.udev.properties();
            let labels = [
                ("device", device.name.as_str()),
                ("major", &device.major_label),
                ("minor", &device.minor_label),
                ("model", &properties.model),
                ("path", &properties.path),
                ("revision", &properties.revision),
                ("rotational", if device.is_rotational { "1" } else { "0" }),
                ("serial", properties.serial()),
                ("wwn", &properties.wwn),
            ];
            family.sample(&labels, 1.0);
        }
    }

    fn write_counters(&self, out: &mut Gathered) {
        for (at, column) in METRICS.iter().enumerate() {
            let mut family = out.family(column.name, column.kind, column.help);
            for device in self.wanted().filter(|device| at < device.columns) {
                let value = device.values[at] as f64;
                let value = match column.unit {
                    Unit::Count => value,
                    Unit::Sectors => value * 512.0,
                    // Not divided by 1000: the last bit would not be node_exporter's.
                    Unit::Milliseconds => value * (1.0 / 1000.0),
                };
                family.sample(&[("device", &device.name)], value);
            }
        }
    }

    fn write_udev(&self, out: &mut Gathered) {
        let mut family = out.family("node_disk_filesystem_info", Gauge, "Info about disk filesystem.");
        for (device, properties) in self.wanted_with_properties(|properties| &properties.filesystem_type) {
            let labels = [
                ("device", device.name.as_str()),
                ("type", &properties.filesystem_type),
                ("usage", &properties.filesystem_usage),
                ("uuid", &properties.filesystem_uuid),
                ("version", &properties.filesystem_version),
            ];
            family.sample(&labels, 1.0);
        }
        let mut family = out.family("node_disk_device_mapper_info", Gauge, "Info about disk device mapper.");
        for (device, properties) in self.wanted_with_properties(|properties| &properties.mapper_name) {
            let labels = [
                ("device", device.name.as_str()),
                ("lv_layer", &properties.mapper_layer),
                ("lv_name", &properties.mapper_volume),
                ("name", &properties.mapper_name),
                ("uuid", &properties.mapper_uuid),
                ("vg_name", &properties.mapper_group),
            ];
            family.sample(&labels, 1.0);
        }
        for (name, help, pick) in ATA {
            let mut family = out.family(name, Gauge, help);
            for (device, properties) in self.wanted_with_properties(|properties| &properties.ata) {
                if let Some(value) = parse::number(pick(properties).as_bytes()) {
                    family.sample(&[("device", &device.name)], value);
                }
            }
        }
    }

    fn wanted(&self) -> impl Iterator<Item = &Device> {
        self.devices.current().filter(|device| !device.is_ignored)
    }

    /// Devices for which udev knows this.
    fn wanted_with_properties(
        &self,
        known: impl Fn(&Properties) -> &String,
    ) -> impl Iterator<Item = (&Device, &Properties)> {
        self.wanted()
            .map(|device| (device, device.udev.properties()))
            .filter(move |(_, properties)| !known(properties).is_empty())
    }
}

type Pick = fn(&Properties) -> &String;

/// Name, help and property.
const ATA: [(&str, &str, Pick); 3] = [
    ("node_disk_ata_write_cache", "ATA disk has a write cache.", |properties| &properties.ata_write_cache),
    ("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled.", |properties| {
        &properties.ata_write_cache_enabled
    }),
    ("node_disk_ata_rotation_rate_rpm", "ATA disk rotation rate in RPMs (0 for SSDs).", |properties| {
        &properties.ata_rotation_rate
    }),
];

/// The numbers, and how many there are. Newer ones than those known are left out.
fn parse_columns(fields: parse::Fields<'_>) -> Result<([u64; COLUMNS], usize), Fault> {
    let mut values = [0; COLUMNS];
    let mut columns = 0;
    for (value, field) in values.iter_mut().zip(fields) {
        *value = parse::unsigned(field).ok_or(Fault::NotANumber)?;
        columns += 1;
    }
    Ok((values, columns))
}

impl Device {
    fn new(name: &[u8], filter: &Filter, paths: &Paths) -> Self {
        let name = String::from_utf8_lossy(name).into_owned();
        let is_ignored = filter.ignores(&name);
        let rotational = HotFile::new(paths.sys(format!("block/{name}/queue/rotational")));
        Self {
            name,
            is_ignored,
            major: u64::MAX,
            minor: u64::MAX,
            major_label: String::new(),
            minor_label: String::new(),
            udev: UdevFile::new(PathBuf::new()),
            rotational,
            is_rotational: false,
            values: [0; COLUMNS],
            columns: 0,
        }
    }

    /// A device may come back under its old name with another number.
    fn set_number(&mut self, major: u64, minor: u64, paths: &Paths) {
        if (self.major, self.minor) != (major, minor) {
            (self.major, self.minor) = (major, minor);
            self.major_label = major.to_string();
            self.minor_label = minor.to_string();
            self.udev = UdevFile::new(paths.udev.join(format!("b{major}:{minor}")));
        }
    }
}
