//! Hosts that are network namespaces on one bridge.

use std::process::Command;

use crate::skip;
use anyhow::{Result, ensure};

/// A bridge, and a namespace for each host. Gone when dropped.
pub struct Network {
    /// Every host's name begins with it.
    pub name: String,
    subnet: u8,
    hosts: usize,
}

impl Network {
    /// None where namespaces are not permitted.
    pub fn lay(hosts: usize) -> Result<Option<Self>> {
        let subnet = rand::random_range(1..=250u8);
        let name = format!("vt{:04x}", rand::random::<u16>());
        let network = Self { name, subnet, hosts };
        if !network.ip(&format!("link add {} type bridge", network.name))? {
            skip("network namespaces are not permitted here");
            return Ok(None);
        }
        let bridge = &network.name;
        let mut commands =
            vec![format!("addr add {}/24 dev {bridge}", network.address()), format!("link set {bridge} up")];
        for number in 0..hosts {
            let (host, link) = (network.host(number), format!("{bridge}l{number}"));
            commands.extend([
                format!("netns add {host}"),
                format!("link add {link} type veth peer name eth0 netns {host}"),
                format!("link set {link} master {bridge} up"),
                format!("-n {host} addr add {}/24 dev eth0", network.address_of(number)),
                format!("-n {host} link set eth0 up"),
                format!("-n {host} link set lo up"),
            ]);
        }
        for command in commands {
            ensure!(network.ip(&command)?, "ip {command}");
        }
        Ok(Some(network))
    }

    fn ip(&self, arguments: &str) -> Result<bool> {
        Ok(Command::new("ip").args(arguments.split(' ')).status()?.success())
    }

    /// Of this side of the bridge.
    pub fn address(&self) -> String {
        format!("10.77.{}.1", self.subnet)
    }

    /// Of a host.
    pub fn address_of(&self, number: usize) -> String {
        format!("10.77.{}.{}", self.subnet, number + 10)
    }

    /// A host's name, which is its namespace's.
    pub fn host(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 0..self.hosts {
            let host = self.host(number);
            // The processes of this network, and nobody else's: they are in its namespaces.
            let pids = Command::new("ip").args(["netns", "pids", &host]).output();
            for pid in
                String::from_utf8_lossy(&pids.map(|pids| pids.stdout).unwrap_or_default()).split_whitespace()
            {
                Command::new("kill").args(["-9", pid]).status().ok();
            }
            self.ip(&format!("netns del {host}")).ok();
        }
        self.ip(&format!("link del {}", self.name)).ok();
    }
}
