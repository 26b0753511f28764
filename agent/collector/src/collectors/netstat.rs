//! Chosen counters of the network protocols, from `/proc/net/netstat`, `/proc/net/snmp` and `/proc/net/snmp6`.

use vedette_model::MetricKind::Unknown;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::field_cache::FieldCache;
use crate::file::HotFile;
use crate::filter::Pattern;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

const FIELDS: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";

struct NetStat {
    wanted: Option<Pattern>,
    tables: [Table; 2],
    version_6: HotFile,
    fields_6: FieldCache<Option<Family>>,
}

/// A file of pairs of lines: names, then values.
struct Table {
    file: HotFile,
    /// By the whole line of names, protocol included: which columns are wanted.
    headers: FieldCache<Header>,
}

struct Header {
    /// Fields of the line, the protocol's included.
    fields_len: usize,
    /// Column, counted from 1 behind the protocol, and family. Ascending.
    wanted: Vec<(usize, Family)>,
}

struct Family {
    name: String,
    help: String,
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let table = |name| Table { file: HotFile::of_one_record(paths.proc(name)), headers: FieldCache::new() };
    Ok(Box::new(NetStat {
        wanted: Pattern::take(parameters, "fields", FIELDS)?,
        tables: [table("net/netstat"), table("net/snmp")],
        version_6: HotFile::of_one_record(paths.proc("net/snmp6")),
        fields_6: FieldCache::new(),
    }))
}

impl Collector for NetStat {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        for table in &mut self.tables {
            table.collect(self.wanted.as_ref(), sources, out)?;
        }
        match self.collect_version_6(sources, out) {
            // Where IPv6 is turned off.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

impl NetStat {
    /// Lines such as `Ip6InReceives 7`: the protocol ends with the first 6.
    fn collect_version_6(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.version_6.read(&mut sources.scratch)?;
        self.fields_6.begin();
        for (number, line) in parse::lines(content) {
            let mut parts = parse::fields(line);
            let (Some(field), Some(value)) = (parts.next(), parts.next()) else {
                continue;
            };
            let wanted = self.wanted.as_ref();
            let known = self.fields_6.entry_once(field, || {
                let (protocol, name) = field.split_at(field.iter().position(|byte| *byte == b'6')? + 1);
                describe(protocol, name, wanted)
            });
            if let Some(Some(family)) = known {
                let value = parse::number(value)
                    .ok_or_else(|| self.version_6.malformed(number, Fault::NotANumber))?;
                out.family(&family.name, Unknown, &family.help).value(value);
            }
        }
        Ok(())
    }
}

impl Table {
    fn collect(
        &mut self,
        wanted: Option<&Pattern>,
        sources: &mut Sources,
        out: &mut Gathered,
    ) -> Result<(), CollectError> {
        let content = self.file.read(&mut sources.scratch)?;
        self.headers.begin();
        let mut lines = parse::lines(content);
        while let Some((number, names)) = lines.next() {
            let malformed = |fault| self.file.malformed(number, fault);
            if !names.contains(&b':') {
                return Err(malformed(Fault::NoSeparator));
            }
            let (_, values) = lines.next().ok_or_else(|| malformed(Fault::TooFewFields))?;
            if let Some(header) = self.headers.entry_once(names, || Header::new(names, wanted)) {
                header.write(values, out).map_err(malformed)?;
            }
        }
        Ok(())
    }
}

impl Header {
    fn new(names: &[u8], pattern: Option<&Pattern>) -> Self {
        let mut fields = parse::fields(names);
        let protocol = fields.next().unwrap_or_default();
        let protocol = protocol.strip_suffix(b":").unwrap_or(protocol);
        let mut wanted = Vec::new();
        let mut fields_len = 1;
        for name in fields {
            if let Some(family) = describe(protocol, name, pattern) {
                wanted.push((fields_len, family));
            }
            fields_len += 1;
        }
        Self { fields_len, wanted }
    }

    fn write(&self, values: &[u8], out: &mut Gathered) -> Result<(), Fault> {
        let mut values = parse::fields(values);
        let mut column = 0;
        for (wanted, family) in &self.wanted {
            let value = values.nth(wanted - column).ok_or(Fault::TooFewFields)?;
            column = wanted + 1;
            out.family(&family.name, Unknown, &family.help)
                .value(parse::number(value).ok_or(Fault::NotANumber)?);
        }
        // As many values as names: otherwise the columns may have been shifted.
        match column + values.count() {
            len if len < self.fields_len => Err(Fault::TooFewFields),
            len if len > self.fields_len => Err(Fault::TooManyFields),
            _ => Ok(()),
        }
    }
}

/// None for a field that is not wanted. An empty pattern matches all, as in Go.
fn describe(protocol: &[u8], name: &[u8], wanted: Option<&Pattern>) -> Option<Family> {
    let (protocol, name) = (parse::name_part(protocol)?, parse::name_part(name)?);
    let key = format!("{protocol}_{name}");
    wanted
        .is_none_or(|pattern| pattern.is_match(&key))
        .then(|| Family { name: format!("node_netstat_{key}"), help: format!("Statistic {protocol}{name}.") })
}
