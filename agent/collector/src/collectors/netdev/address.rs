//! The addresses of the interfaces, which are told only on demand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vedette_model::MetricKind::Gauge;

use crate::error::CollectError;
use crate::filter::Filter;
use crate::gathered::Gathered;
use crate::netlink::RouteSocket;

#[derive(Default)]
pub(super) struct AddressInfo {
    socket: RouteSocket,
}

struct Row {
    interface: u32,
    address: IpAddr,
    prefix_len: u8,
}

impl AddressInfo {
    pub(super) fn collect(&mut self, filter: &Filter, out: &mut Gathered) -> Result<(), CollectError> {
        let failed = |source| CollectError::System { call: "netlink dump of addresses", source };
        let mut names = Vec::new();
        self.socket
            .links(|link| names.push((link.index, String::from_utf8_lossy(link.name).into_owned())))
            .map_err(failed)?;
        let mut rows = Vec::new();
        self.socket
            .addresses(|found| {
                if let Some(address) = parse_address(found.address) {
                    rows.push(Row { interface: found.index, address, prefix_len: found.prefix_len });
                }
            })
            .map_err(failed)?;
        let mut family = out.family("node_network_address_info", Gauge, "node network address by device");
        for (index, name) in names.iter().filter(|(_, name)| !filter.ignores(name)) {
            for row in rows.iter().filter(|row| row.interface == *index) {
                let (address, netmask) = (row.address.to_string(), row.prefix_len.to_string());
                let labels = [
                    ("address", address.as_str()),
                    ("device", name),
                    ("netmask", &netmask),
                    ("scope", scope(row.address)),
                ];
                family.sample(&labels, 1.0);
            }
        }
        Ok(())
    }
}

fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))
}

/// In node_exporter's words, for whom loopback is local to the link.
fn scope(address: IpAddr) -> &'static str {
    let (link_local, interface_local, is_global) = match address {
        IpAddr::V4(address) => (
            address.is_link_local() || address.octets()[..3] == [224, 0, 0],
            false,
            !address.is_multicast() && !address.is_broadcast(),
        ),
        IpAddr::V6(address) => (
            address.is_unicast_link_local() || address.segments()[0] & 0xff0f == 0xff02,
            address.segments()[0] & 0xff0f == 0xff01,
            !address.is_multicast(),
        ),
    };
    if address.is_loopback() || link_local {
        "link-local"
    } else if interface_local {
        "interface-local"
    } else if is_global && !address.is_unspecified() {
        "global"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named_as_by_go() {
        for (address, named) in [
            ("127.0.0.1", "link-local"),
            ("::1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("224.0.0.5", "link-local"),
            ("ff02::1", "link-local"),
            ("ff01::1", "interface-local"),
            ("10.1.2.3", "global"),
            ("fd00::1", "global"),
            ("2001:db8::1", "global"),
            ("0.0.0.0", ""),
            ("239.1.1.1", ""),
            ("255.255.255.255", ""),
            ("ff05::1", ""),
        ] {
            assert_eq!(scope(address.parse().unwrap()), named, "{address}");
        }
    }
}
