//! Sockets, and what a connection may cost.

use crate::identity::Identity;
use crate::socket::QuietRuntime;
use crate::tls::{self, Protocol};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, TransportConfig, VarInt};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use vedette_wire::session::CloseCode;

/// Silence after which a packet is sent to see whether the other side lives.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Silence after which the other side counts as gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

/// Data streams that a peer may have open: the live log, one that drains, and old ones on their way out.
const UNI_STREAMS_MAX: u32 = 8;
/// The control stream, and a few requests between replicas.
const BI_STREAMS_MAX: u32 = 8;
/// Bytes of one stream that wait to be read.
const STREAM_WINDOW: u32 = 512 << 10;
/// Bytes of all streams of a connection that wait to be read.
const RECEIVE_WINDOW: u32 = 1 << 20;
/// Bytes that wait to be sent or acknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// Handshakes that wait for the accept loop; further ones are refused.
const INCOMING_MAX: usize = 1024;
/// Bytes that one such handshake, and all of them, may make us keep.
const INCOMING_BYTES_MAX: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 8 << 20;

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The socket fails.
    #[error("UDP {address}: {source}")]
    Bind {
        /// Address of the socket.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("tls: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
}

/// A socket that takes calls on all three protocols, and that makes calls to peers.
pub fn server_endpoint(listen: SocketAddr, identity: &Identity) -> Result<Endpoint, EndpointError> {
    let config = server_config(identity)?;
    endpoint(listen, Some(config))
}

/// New calls are answered with this identity from here on; present connections stay.
pub fn replace_identity(endpoint: &Endpoint, identity: &Identity) -> Result<(), EndpointError> {
    endpoint.set_server_config(Some(server_config(identity)?));
    Ok(())
}

/// A socket that only makes calls, over IPv6 and IPv4 where the host has both.
pub fn client_endpoint() -> Result<Endpoint, EndpointError> {
    let any4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    client_socket_of_both()
        .or_else(|_no_ipv6| UdpSocket::bind(any4))
        .and_then(|socket| Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(QuietRuntime)))
        .map_err(|source| EndpointError::Bind { address: any4, source })
}

/// An IPv6 socket that serves IPv4 as well, whatever the host's default is.
fn client_socket_of_both() -> io::Result<UdpSocket> {
    let socket = net::socket_with(
        AddressFamily::INET6,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(net::ipproto::UDP),
    )?;
    net::sockopt::set_ipv6_v6only(&socket, false)?;
    net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))?;
    Ok(socket.into())
}

/// Closes a connection so that the other side's log says why.
pub fn close(connection: &Connection, code: CloseCode, reason: &str) {
    connection.close(VarInt::from_u32(code.code()), reason.as_bytes());
}

pub(crate) fn member_config(
    identity: &Identity,
    protocol: Protocol,
) -> Result<quinn::ClientConfig, EndpointError> {
    client_config(tls::client_config(identity, protocol)?)
}

pub(crate) fn newcomer_config(authority: [u8; 32]) -> Result<quinn::ClientConfig, EndpointError> {
    client_config(tls::newcomer_config(authority)?)
}

fn endpoint(listen: SocketAddr, config: Option<quinn::ServerConfig>) -> Result<Endpoint, EndpointError> {
    let bind = |source| EndpointError::Bind { address: listen, source };
    let socket = UdpSocket::bind(listen).map_err(bind)?;
    Endpoint::new(EndpointConfig::default(), config, socket, Arc::new(QuietRuntime)).map_err(bind)
}

fn server_config(identity: &Identity) -> Result<quinn::ServerConfig, EndpointError> {
    let crypto = QuicServerConfig::try_from(tls::server_config(identity)?)
        .map_err(|error| EndpointError::Tls { reason: error.to_string() })?;
    let mut transport = transport();
    transport.ack_frequency_config(Some(acknowledged_at_once()));
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport))
        .migration(true)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

pub(crate) fn client_config(tls: rustls::ClientConfig) -> Result<quinn::ClientConfig, EndpointError> {
    let crypto =
        QuicClientConfig::try_from(tls).map_err(|error| EndpointError::Tls { reason: error.to_string() })?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// Both ends keep alive, so that each notices within [`IDLE_TIMEOUT`] that the other is gone.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32);
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(idle)))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(BI_STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    transport
}

/// What agents are told: to acknowledge each packet when it comes. One comes a scrape, with our word that the scrape is
/// safe, and nothing follows it; to wait, as QUIC does by itself, would cost the agent a timer and another awakening.
fn acknowledged_at_once() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(0));
    config
}
