//! Making calls: several addresses, one connection.

use crate::authority::ANY_REPLICA;
use crate::endpoint::{EndpointError, client_endpoint, close, member_config};
use crate::identity::{Identity, Role};
use crate::listener::peer_certificate;
use crate::tls::Protocol;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use vedette_wire::ReplicaId;
use vedette_wire::session::CloseCode;

/// Addresses that one call tries, names resolved.
const ATTEMPTS_MAX: usize = 8;
/// Head start of one address over the next.
const ATTEMPT_STAGGER: Duration = Duration::from_millis(250);
/// How long all attempts together may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a replica of the group.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub connection: Connection,
    /// Who answered, by its certificate.
    pub replica: ReplicaId,
    /// Where.
    pub address: SocketAddr,
}

/// Why no replica was reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Our own identity cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// None of the addresses answered as it should.
    #[error("no connection: {}", .attempts.join("; "))]
    Unreachable {
        /// What came of each attempt.
        attempts: Vec<String>,
    },
}

/// One call from this socket, as [`Caller::connect`] makes it. Who calls again and again has a [`Caller`].
pub async fn connect(
    endpoint: &Endpoint,
    identity: &Identity,
    protocol: Protocol,
    addresses: &[String],
    expected: Option<ReplicaId>,
) -> Result<Connected, ConnectError> {
    Caller::new(endpoint.clone()).connect(identity, protocol, addresses, expected).await
}

/// Where calls are made from: one socket for all, and a new one for an address that has not answered. Cheap to clone.
///
/// What is on the way (NAT, a load balancer) may lead packets of the same two ports to where nobody is any more, for as
/// long as they come; from another port they find the way.
#[derive(Clone, Debug)]
pub struct Caller {
    usual: Endpoint,
    sockets: Arc<Mutex<Sockets>>,
}

#[derive(Debug, Default)]
struct Sockets {
    unanswered: BTreeSet<SocketAddr>,
    others: Vec<Endpoint>,
}

/// Addresses that are remembered as not answering; with more, they begin anew.
const UNANSWERED_MAX: usize = 256;

impl Caller {
    /// With this socket as the usual one.
    pub fn new(usual: Endpoint) -> Self {
        Self { usual, sockets: Arc::default() }
    }

    /// Calls a replica of the group of `identity` at any of `addresses` (`host:port`), in that order but not
    /// waiting for the slow ones. With `expected`, only that replica will do.
    pub async fn connect(
        &self,
        identity: &Identity,
        protocol: Protocol,
        addresses: &[String],
        expected: Option<ReplicaId>,
    ) -> Result<Connected, ConnectError> {
        self.call(member_config(identity, protocol)?, addresses, expected).await
    }

    /// Waits until nothing is left of all connections.
    pub async fn wait_idle(&self) {
        let others = std::mem::take(&mut self.sockets().others);
        for endpoint in others.iter().chain([&self.usual]) {
            endpoint.wait_idle().await;
        }
    }

    fn socket_for(&self, address: SocketAddr) -> Endpoint {
        let mut sockets = self.sockets();
        sockets.others.retain(|endpoint| endpoint.open_connections() > 0);
        if !sockets.unanswered.contains(&address) {
            return self.usual.clone();
        }
        // Out of descriptors, say: the usual one may do.
        let Ok(other) = client_endpoint() else { return self.usual.clone() };
        sockets.others.push(other.clone());
        other
    }

    fn note_answer(&self, address: SocketAddr, answered: bool) {
        let mut sockets = self.sockets();
        if answered {
            sockets.unanswered.remove(&address);
            return;
        }
        if sockets.unanswered.len() >= UNANSWERED_MAX {
            sockets.unanswered.clear();
        }
        sockets.unanswered.insert(address);
    }

    fn sockets(&self) -> MutexGuard<'_, Sockets> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn call(
        &self,
        config: ClientConfig,
        addresses: &[String],
        expected: Option<ReplicaId>,
    ) -> Result<Connected, ConnectError> {
        let mut failures = Vec::new();
        let race = self.race(config, addresses, expected, &mut failures);
        match tokio::time::timeout(CONNECT_TIMEOUT, race).await {
            Ok(Some(connected)) => return Ok(connected),
            Ok(None) => {}
            Err(_elapsed) => failures.push(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
        }
        if failures.is_empty() {
            failures.push("no address given".to_owned());
        }
        Err(ConnectError::Unreachable { attempts: failures })
    }

    /// Attempts start one after the other and go on beside each other; the first that succeeds ends the rest.
    async fn race(
        &self,
        config: ClientConfig,
        addresses: &[String],
        expected: Option<ReplicaId>,
        failures: &mut Vec<String>,
    ) -> Option<Connected> {
        let mut attempts = JoinSet::new();
        for address in resolve(addresses, failures).await {
            attempts.spawn(self.clone().attempt(config.clone(), address, expected));
            let head_start = tokio::time::sleep(ATTEMPT_STAGGER);
            tokio::pin!(head_start);
            while !attempts.is_empty() {
                tokio::select! {
                    () = &mut head_start => break,
                    Some(ended) = attempts.join_next() => match ended {
                        Ok(Ok(connected)) => return Some(connected),
                        Ok(Err(failure)) => failures.push(failure),
                        Err(panicked) => failures.push(panicked.to_string()),
                    },
                }
            }
        }
        while let Some(ended) = attempts.join_next().await {
            match ended {
                Ok(Ok(connected)) => return Some(connected),
                Ok(Err(failure)) => failures.push(failure),
                Err(panicked) => failures.push(panicked.to_string()),
            }
        }
        None
    }

    async fn attempt(
        self,
        config: ClientConfig,
        address: SocketAddr,
        expected: Option<ReplicaId>,
    ) -> Result<Connected, String> {
        let connecting = self
            .socket_for(address)
            .connect_with(config, address, ANY_REPLICA)
            .map_err(|error| format!("{address}: {error}"))?;
        let connected = connecting.await;
        self.note_answer(address, !matches!(connected, Err(ConnectionError::TimedOut)));
        let connection = connected.map_err(|error| format!("{address}: {error}"))?;
        let role = peer_certificate(&connection).map(|certificate| Role::of_certificate(&certificate));
        let refusal = match role {
            Some(Ok(Role::Replica(replica))) if expected.is_none_or(|expected| expected == replica) => {
                return Ok(Connected { connection, replica, address });
            }
            Some(Ok(role)) => match expected {
                Some(expected) => format!("{role} answered, replica {expected} was expected"),
                None => format!("{role} answered, a replica was expected"),
            },
            Some(Err(error)) => error.to_string(),
            None => "no certificate".to_owned(),
        };
        close(&connection, CloseCode::WrongRole, &refusal);
        Err(format!("{address}: {refusal}"))
    }
}

async fn resolve(addresses: &[String], failures: &mut Vec<String>) -> Vec<SocketAddr> {
    let mut resolved: Vec<SocketAddr> = Vec::new();
    for address in addresses.iter().take(ATTEMPTS_MAX) {
        match tokio::net::lookup_host(address.as_str()).await {
            Ok(found) => resolved.extend(found),
            Err(error) => failures.push(format!("{address}: {error}")),
        }
    }
    let mut unique = Vec::with_capacity(resolved.len());
    for address in resolved {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique.truncate(ATTEMPTS_MAX);
    unique
}
