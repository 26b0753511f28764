//! Memory, from `/proc/meminfo`: the fields that node_exporter knows.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

struct Field {
    /// As in the file, with the colon.
    key: &'static str,
    name: &'static str,
    help: &'static str,
    /// A count of pages stays one, whatever unit the line has.
    is_count: bool,
}

/// A field whose metric is called otherwise than its line, or counts.
macro_rules! field {
    ($key:literal, $name:literal, $is_count:literal) => {
        Field {
            key: concat!($key, ":"),
            name: concat!("node_memory_", $name),
            help: concat!("Memory information field ", $name, "."),
            is_count: $is_count,
        }
    };
}

macro_rules! bytes {
    ($key:literal) => {
        bytes!($key, $key)
    };
    ($key:literal, $name:literal) => {
        Field {
            key: concat!($key, ":"),
            name: concat!("node_memory_", $name, "_bytes"),
            help: concat!("Memory information field ", $name, "_bytes."),
            is_count: false,
        }
    };
}

/// In the order of a recent kernel.
const FIELDS: &[Field] = &[
    bytes!("MemTotal"),
    bytes!("MemFree"),
    bytes!("MemAvailable"),
    bytes!("Buffers"),
    bytes!("Cached"),
    bytes!("SwapCached"),
    bytes!("Active"),
    bytes!("Inactive"),
    bytes!("Active(anon)", "Active_anon"),
    bytes!("Inactive(anon)", "Inactive_anon"),
    bytes!("Active(file)", "Active_file"),
    bytes!("Inactive(file)", "Inactive_file"),
    bytes!("Unevictable"),
    bytes!("Mlocked"),
    bytes!("SwapTotal"),
    bytes!("SwapFree"),
    bytes!("Zswap"),
    bytes!("Zswapped"),
    bytes!("Dirty"),
    bytes!("Writeback"),
    bytes!("AnonPages"),
    bytes!("Mapped"),
    bytes!("Shmem"),
    bytes!("Slab"),
    bytes!("SReclaimable"),
    bytes!("SUnreclaim"),
    bytes!("KernelStack"),
    bytes!("PageTables"),
    bytes!("NFS_Unstable"),
    bytes!("Bounce"),
    bytes!("WritebackTmp"),
    bytes!("CommitLimit"),
    bytes!("Committed_AS"),
    bytes!("VmallocTotal"),
    bytes!("VmallocUsed"),
    bytes!("VmallocChunk"),
    bytes!("Percpu"),
    bytes!("HardwareCorrupted"),
    bytes!("AnonHugePages"),
    bytes!("ShmemHugePages"),
    bytes!("ShmemPmdMapped"),
    bytes!("CmaTotal"),
    bytes!("CmaFree"),
    field!("HugePages_Total", "HugePages_Total", true),
    field!("HugePages_Free", "HugePages_Free", true),
    field!("HugePages_Rsvd", "HugePages_Rsvd", true),
    field!("HugePages_Surp", "HugePages_Surp", true),
    bytes!("Hugepagesize"),
    bytes!("DirectMap4k"),
    bytes!("DirectMap2M"),
    bytes!("DirectMap1G"),
];

struct MemInfo {
    file: HotFile,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(MemInfo { file: HotFile::of_one_record(paths.proc("meminfo")) }))
}

impl Collector for MemInfo {
    fn name(&self) -> &'static str {
        "meminfo"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.file.read(&mut sources.scratch)?;
        let mut known = FIELDS;
        let mut seen = [false; FIELDS.len()];
        for (number, line) in parse::lines(content) {
            let malformed = |fault| self.file.malformed(number, fault);
            let (key, value, bytes) = parse_line(line).map_err(malformed)?;
            let Some(at) = find(known, key) else {
                continue;
            };
            known = &FIELDS[at + 1..];
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let field = &FIELDS[at];
            let value = if field.is_count { value } else { bytes };
            out.family(field.name, Gauge, field.help).value(value as f64);
        }
        if seen.contains(&true) { Ok(()) } else { Err(self.file.malformed(0, Fault::FieldMissing)) }
    }
}

/// The key with its colon, the number, and the number in bytes.
fn parse_line(line: &[u8]) -> Result<(&[u8], u64, u64), Fault> {
    let mut fields = parse::fields(line);
    let (Some(key), Some(value)) = (fields.next(), fields.next()) else {
        return Err(Fault::TooFewFields);
    };
    let value = parse::unsigned(value).ok_or(Fault::NotANumber)?;
    let bytes = match fields.next() {
        None => value,
        Some(b"kB") => value.wrapping_mul(1024),
        Some(_) => return Err(Fault::UnknownUnit),
    };
    if fields.next().is_some() {
        return Err(Fault::TooManyFields);
    }
    Ok((key, value, bytes))
}

/// Where `key` is in [`FIELDS`]: ordinarily among the first of `ahead`, which is a tail of it.
fn find(ahead: &[Field], key: &[u8]) -> Option<usize> {
    let same = |field: &Field| field.key.as_bytes() == key;
    match ahead.iter().position(same) {
        Some(distance) => Some(FIELDS.len() - ahead.len() + distance),
        None => FIELDS.iter().position(same),
    }
}
