//! Sockets in use, from `/proc/net/sockstat` and `/proc/net/sockstat6`.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::field_cache::FieldCache;
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

/// States that a protocol's line may tell, in the order in which they are written. `inuse` is always told.
const STATES: [&str; 7] = ["inuse", "orphan", "tw", "alloc", "mem", "memory", "mem_bytes"];
const IN_USE: usize = 0;
const MEM: usize = 4;
const MEM_BYTES: usize = 6;

struct SockStat {
    page_bytes: i64,
    version_4: Table,
    version_6: Table,
}

struct Table {
    file: HotFile,
    protocols: FieldCache<Option<[Family; STATES.len()]>>,
}

struct Family {
    name: String,
    help: String,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let table = |name| Table { file: HotFile::of_one_record(paths.proc(name)), protocols: FieldCache::new() };
    Ok(Box::new(SockStat {
        page_bytes: procfs::page_size().cast_signed(),
        version_4: table("net/sockstat"),
        version_6: table("net/sockstat6"),
    }))
}

impl Collector for SockStat {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        for table in [&mut self.version_4, &mut self.version_6] {
            match table.collect(self.page_bytes, sources, out) {
                // A version of IP that is turned off has no file.
                Err(error) if error.is_not_found() => {}
                other => other?,
            }
        }
        Ok(())
    }
}

impl Table {
    fn collect(
        &mut self,
        page_bytes: i64,
        sources: &mut Sources,
        out: &mut Gathered,
    ) -> Result<(), CollectError> {
        let content = self.file.read(&mut sources.scratch)?;
        self.protocols.begin();
        let mut used = None;
        for (number, line) in parse::lines(content) {
            let malformed = |fault| self.file.malformed(number, fault);
            let (protocol, rest) = split_protocol(line).ok_or_else(|| malformed(Fault::TooFewFields))?;
            if protocol == b"sockets" {
                used = Some(parse_used(rest).map_err(malformed)?);
                continue;
            }
            let mut states = parse_states(rest).map_err(malformed)?;
            states[MEM_BYTES] = states[MEM].map(|pages| pages.wrapping_mul(page_bytes));
            let Some(Some(families)) = self.protocols.entry_once(protocol, || describe(protocol)) else {
                continue;
            };
            for (family, value) in families.iter().zip(states) {
                if let Some(value) = value {
                    out.family(&family.name, Gauge, &family.help).value(value as f64);
                }
            }
        }
        if let Some(used) = used {
            out.family("node_sockstat_sockets_used", Gauge, "Number of IPv4 sockets in use.")
                .value(used as f64);
        }
        Ok(())
    }
}

/// The protocol without its colon, and what follows, which may not be nothing.
fn split_protocol(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (protocol, rest) = line.split_at(end);
    let protocol = protocol.strip_suffix(b":").unwrap_or(protocol);
    (!rest.trim_ascii().is_empty()).then_some((protocol, rest))
}

fn parse_used(rest: &[u8]) -> Result<i64, Fault> {
    let mut used = 0;
    pairs(rest, |key, value| {
        if key == b"used" {
            used = value;
        }
    })?;
    Ok(used)
}

fn parse_states(rest: &[u8]) -> Result<[Option<i64>; STATES.len()], Fault> {
    let mut states = [None; STATES.len()];
    states[IN_USE] = Some(0);
    pairs(rest, |key, value| {
        if let Some(at) = STATES[..MEM_BYTES].iter().position(|state| state.as_bytes() == key) {
            states[at] = Some(value);
        }
    })?;
    Ok(states)
}

fn pairs(rest: &[u8], mut each: impl FnMut(&[u8], i64)) -> Result<(), Fault> {
    let mut fields = parse::fields(rest);
    while let Some(key) = fields.next() {
        let value = fields.next().ok_or(Fault::TooFewFields)?;
        each(key, parse::signed(value).ok_or(Fault::NotANumber)?);
    }
    Ok(())
}

fn describe(protocol: &[u8]) -> Option<[Family; STATES.len()]> {
    let protocol = parse::name_part(protocol)?;
    Some(STATES.map(|state| Family {
        name: format!("node_sockstat_{protocol}_{state}"),
        help: format!("Number of {protocol} sockets in state {state}."),
    }))
}
