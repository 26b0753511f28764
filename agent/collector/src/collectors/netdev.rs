//! Counters of the network interfaces, from netlink or from `/proc/net/dev`.

mod address;
mod layout;

use vedette_model::MetricKind::Counter;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::field_cache::FieldCache;
use crate::file::HotFile;
use crate::filter::Filter;
use crate::gathered::Gathered;
use crate::netlink::{LINK_COUNTERS, RouteSocket};
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

use address::AddressInfo;
use layout::Metric;

struct NetDev {
    filter: Filter,
    origin: Origin,
    layout: &'static [Metric],
    with_alias: bool,
    devices: FieldCache<Device>,
    addresses: Option<AddressInfo>,
}

enum Origin {
    Netlink(RouteSocket),
    Procfs(HotFile),
}

struct Device {
    name: String,
    is_ignored: bool,
    alias: String,
    /// In procfs mode.
    alias_file: Option<HotFile>,
    /// None for an interface that has none.
    counters: Option<[u64; LINK_COUNTERS]>,
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let filter = Filter::take(parameters, ("device-exclude", ""), "device-include")?;
    let is_detailed = parameters.take_switch("enable-detailed-metrics", false)?;
    let (origin, layout) = if parameters.take_switch("netlink", true)? {
        let layout = if is_detailed { layout::NETLINK_DETAILED } else { layout::NETLINK };
        (Origin::Netlink(RouteSocket::default()), layout)
    } else {
        let layout = if is_detailed { layout::PROCFS_DETAILED } else { layout::PROCFS };
        (Origin::Procfs(HotFile::new(paths.proc("net/dev"))), layout)
    };
    let with_alias = parameters.take_switch("label-ifalias", false)?;
    let addresses = parameters.take_switch("address-info", false)?.then(AddressInfo::default);
    Ok(Box::new(NetDev { filter, origin, layout, with_alias, devices: FieldCache::new(), addresses }))
}

impl Collector for NetDev {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        self.devices.begin();
        match &mut self.origin {
            Origin::Netlink(socket) => read_links(socket, &mut self.devices, &self.filter)?,
            Origin::Procfs(file) => {
                read_procfs(file, &mut self.devices, &self.filter, sources)?;
                if self.with_alias {
                    read_aliases(&mut self.devices, sources);
                }
            }
        }
        self.write(out);
        match &mut self.addresses {
            Some(addresses) => addresses.collect(&self.filter, out),
            None => Ok(()),
        }
    }
}

impl NetDev {
    fn write(&self, out: &mut Gathered) {
        for metric in self.layout {
            let mut family = out.family(metric.name, Counter, metric.help);
            for device in self.devices.current().filter(|device| !device.is_ignored) {
                let Some(counters) = &device.counters else {
                    continue;
                };
                let sum = metric.sum_of.iter().fold(0u64, |sum, at| sum.wrapping_add(counters[*at]));
                let labels = [("device", device.name.as_str()), ("ifalias", device.alias.as_str())];
                family.sample(if self.with_alias { &labels } else { &labels[..1] }, sum as f64);
            }
        }
    }
}

fn read_links(
    socket: &mut RouteSocket,
    devices: &mut FieldCache<Device>,
    filter: &Filter,
) -> Result<(), CollectError> {
    socket
        .links(|link| {
            let device = devices.entry(link.name, || Device::new(link.name, filter));
            device.counters = link.counters;
            if device.alias.as_bytes() != link.alias {
                device.alias = String::from_utf8_lossy(link.alias).into_owned();
            }
        })
        .map_err(|source| CollectError::System { call: "netlink dump of links", source })
}

/// Two lines of headers, then `name: ` and sixteen counters.
fn read_procfs(
    file: &mut HotFile,
    devices: &mut FieldCache<Device>,
    filter: &Filter,
    sources: &mut Sources,
) -> Result<(), CollectError> {
    let content = file.read(&mut sources.scratch)?;
    for (number, line) in parse::lines(content).skip(2) {
        let malformed = |fault| file.malformed(number, fault);
        // A name may have colons of its own, as alias interfaces do.
        let colon =
            line.iter().rposition(|byte| *byte == b':').ok_or_else(|| malformed(Fault::NoSeparator))?;
        let name = line[..colon].trim_ascii();
        if name.is_empty() {
            return Err(malformed(Fault::EmptyName));
        }
        let mut counters = [0; LINK_COUNTERS];
        let mut fields = parse::fields(&line[colon + 1..]);
        for counter in &mut counters[..layout::PROCFS_COLUMNS] {
            let field = fields.next().ok_or_else(|| malformed(Fault::TooFewFields))?;
            *counter = parse::unsigned(field).ok_or_else(|| malformed(Fault::NotANumber))?;
        }
        devices.entry(name, || Device::new(name, filter)).counters = Some(counters);
    }
    Ok(())
}

/// An interface that sysfs does not know has the empty alias.
fn read_aliases(devices: &mut FieldCache<Device>, sources: &mut Sources) {
    let Sources { paths, scratch, .. } = sources;
    for device in devices.current_mut() {
        let path = || paths.sys(format!("class/net/{}/ifalias", device.name));
        let file = device.alias_file.get_or_insert_with(|| HotFile::new(path()));
        let alias = file.read_value(scratch).unwrap_or_default();
        if device.alias.as_bytes() != alias {
            device.alias = String::from_utf8_lossy(alias).into_owned();
        }
    }
}

impl Device {
    fn new(name: &[u8], filter: &Filter) -> Self {
        let name = String::from_utf8_lossy(name).into_owned();
        let is_ignored = filter.ignores(&name);
        Self { name, is_ignored, alias: String::new(), alias_file: None, counters: None }
    }
}
