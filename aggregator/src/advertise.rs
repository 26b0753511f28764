//! Under which addresses others reach this replica.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::Config;

/// What is put into tokens and told to agents and peers of a replica that listens at `listen`, as `host:port`, best
/// first.
pub(crate) fn addresses(config: &Config, listen: SocketAddr) -> Vec<String> {
    if !config.quic_advertise.is_empty() {
        return config.quic_advertise.clone();
    }
    if !listen.ip().is_unspecified() {
        return vec![listen.to_string()];
    }
    let port = listen.port();
    let mut addresses: Vec<_> =
        outbound().map(|address| SocketAddr::new(address, port).to_string()).collect();
    // A host without a network can still watch itself.
    if addresses.is_empty() {
        addresses.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port).to_string());
    }
    // Last: many hosts find their own name on loopback, which is of no use elsewhere.
    if let Some(name) = host_name() {
        addresses.push(format!("{name}:{port}"));
    }
    addresses
}

/// Where people find the page: the address that listens, or, when it listens everywhere, the first that others are told.
pub(crate) fn url(listen: SocketAddr, advertised: &[String]) -> String {
    let told = advertised.first().and_then(|address| address.rsplit_once(':'));
    match told {
        Some((host, _)) if listen.ip().is_unspecified() => format!("http://{host}:{}", listen.port()),
        _ => format!("http://{listen}"),
    }
}

/// The addresses that packets to the world leave from. Connecting a UDP socket sends nothing: it only asks the
/// kernel for the route. The targets are of the ranges kept for documentation.
fn outbound() -> impl Iterator<Item = IpAddr> {
    let targets: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    targets.into_iter().filter_map(|(any, target)| {
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((target, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
    })
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty() && name != "localhost" && name != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_address_is_told_as_it_is() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 4000));
        assert_eq!(addresses(&Config::default(), listen), ["127.0.0.1:4000"]);
        let chosen = Config { quic_advertise: vec!["replica.example:1".to_owned()], ..Config::default() };
        assert_eq!(addresses(&chosen, listen), ["replica.example:1"]);
    }

    #[test]
    fn people_are_told_an_address_that_they_can_open() {
        let advertised = ["10.0.0.5:9095".to_owned()];
        assert_eq!(url(SocketAddr::from(([127, 0, 0, 1], 9090)), &advertised), "http://127.0.0.1:9090");
        assert_eq!(url(SocketAddr::from(([0, 0, 0, 0], 9090)), &advertised), "http://10.0.0.5:9090");
    }

    #[test]
    fn the_unspecified_address_is_told_to_nobody() {
        let config = Config::default();
        let addresses = addresses(&config, config.quic_listen);
        assert!(!addresses.is_empty());
        assert!(
            addresses.iter().all(|address| address.ends_with(":9095") && !address.starts_with("0.0.0.0"))
        );
    }
}
