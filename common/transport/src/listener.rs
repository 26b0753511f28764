//! Taking calls: the handshake, then who calls and for what.

use crate::endpoint::close;
use crate::identity::{Certified, IdentityError, Role};
use crate::roll::Roll;
use crate::tls::Protocol;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Endpoint, Incoming};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use vedette_wire::session::CloseCode;
use vedette_wire::{AgentName, ReplicaId};

/// Handshakes at work at the same time; further calls are refused.
const HANDSHAKES_MAX: usize = 512;
/// With more handshakes than this at work, a caller first has to show that its address is its own.
const UNPROVEN_MAX: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes calls on an endpoint and bounds what unknown callers cost.
pub struct Listener {
    endpoint: Endpoint,
    handshakes: Arc<Semaphore>,
    connections_max: usize,
    refused: AtomicU64,
    roll: watch::Receiver<Arc<Roll>>,
}

/// A call that was taken and has to be completed, in a task of its own.
pub struct Handshake {
    incoming: Incoming,
    /// Held until the handshake is over.
    permit: OwnedSemaphorePermit,
    roll: watch::Receiver<Arc<Roll>>,
}

/// A caller whose certificate, as far as its protocol needs one, is good.
#[derive(Debug)]
pub enum Accepted {
    /// An agent delivers batches.
    Data {
        /// The agent's name.
        agent: AgentName,
        /// The connection.
        connection: Connection,
    },
    /// A replica of the group asks something.
    Peer {
        /// The replica.
        replica: ReplicaId,
        /// The connection.
        connection: Connection,
    },
    /// A newcomer with a token, or a member that renews.
    Enroll {
        /// The member, by its certificate; none for a newcomer.
        member: Option<Role>,
        /// The connection.
        connection: Connection,
    },
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed, for instance because the certificate is of another group.
    #[error("{remote}: handshake: {source}")]
    Handshake {
        /// The caller.
        remote: SocketAddr,
        /// Why.
        source: ConnectionError,
    },
    /// The handshake took too long.
    #[error("{remote}: no handshake in time")]
    Timeout {
        /// The caller.
        remote: SocketAddr,
    },
    /// The caller showed no certificate where one is needed.
    #[error("{remote}: no certificate for {protocol:?}")]
    NoCertificate {
        /// The caller.
        remote: SocketAddr,
        /// What it wanted to speak.
        protocol: Protocol,
    },
    /// The caller's certificate is for something else.
    #[error("{remote}: {role} may not speak {protocol:?}")]
    WrongRole {
        /// The caller.
        remote: SocketAddr,
        /// Whom its certificate names.
        role: Role,
        /// What it wanted to speak.
        protocol: Protocol,
    },
    /// The caller is no member of the group any more.
    #[error("{remote}: {}", refusal(.role))]
    Revoked {
        /// The caller.
        remote: SocketAddr,
        /// Whom its certificate names.
        role: Role,
    },
    /// The group signed it, but it names nobody.
    #[error("{remote}: {source}")]
    Certificate {
        /// The caller.
        remote: SocketAddr,
        /// What is wrong.
        source: IdentityError,
    },
}

impl AcceptError {
    /// The reason, as a label value.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Handshake { .. } => "handshake",
            Self::Timeout { .. } => "timeout",
            Self::NoCertificate { .. } => "no_certificate",
            Self::WrongRole { .. } => "wrong_role",
            Self::Revoked { .. } => "revoked",
            Self::Certificate { .. } => "certificate",
        }
    }
}

impl Listener {
    /// A listener that lets at most `connections_max` connections live at the same time.
    pub fn new(endpoint: Endpoint, connections_max: usize) -> Self {
        Self {
            endpoint,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections_max,
            refused: AtomicU64::new(0),
            roll: watch::Sender::default().subscribe(),
        }
    }

    /// Refuses from now on who is no member any more.
    pub fn with_roll(self, roll: watch::Receiver<Arc<Roll>>) -> Self {
        Self { roll, ..self }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Calls refused so far because there were too many connections or handshakes.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counted, not logged: whoever floods the port shall not fill the log as well.
    fn refuse(&self, incoming: Incoming) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        incoming.refuse();
    }

    /// The next call; none when the endpoint is closed. Calls beyond the bounds are refused here.
    pub async fn accept(&self) -> Option<Handshake> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if self.endpoint.open_connections() >= self.connections_max {
                self.refuse(incoming);
                continue;
            }
            let at_work = HANDSHAKES_MAX - self.handshakes.available_permits();
            if at_work >= UNPROVEN_MAX && incoming.may_retry() && !incoming.remote_address_validated() {
                // It fails only where a retry is not possible, which was just asked.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
                continue;
            }
            match self.handshakes.clone().try_acquire_owned() {
                Ok(permit) => return Some(Handshake { incoming, permit, roll: self.roll.clone() }),
                Err(_all_taken) => self.refuse(incoming),
            }
        }
    }
}

impl Handshake {
    /// Completes the handshake and finds out who calls. A caller that may not is told why and hung up on.
    pub async fn complete(self) -> Result<Accepted, AcceptError> {
        let Self { incoming, permit, roll } = self;
        let remote = incoming.remote_address();
        let handshake = |source| AcceptError::Handshake { remote, source };
        let connecting = incoming.accept().map_err(handshake)?;
        let connection = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_elapsed| AcceptError::Timeout { remote })?
            .map_err(handshake)?;
        drop(permit);
        let roll = roll.borrow().clone();
        identify(&connection, remote, &roll).inspect_err(|error| {
            let (code, text) = match error {
                AcceptError::NoCertificate { .. } => (CloseCode::NoCertificate, error.to_string()),
                AcceptError::Revoked { role, .. } => (CloseCode::Revoked, refusal(role)),
                _ => (CloseCode::WrongRole, error.to_string()),
            };
            close(&connection, code, &text);
        })
    }
}

/// What is said to who is no member any more.
pub fn refusal(role: &Role) -> String {
    match role {
        Role::Agent(name) => {
            format!("the certificate of agent {name} was revoked: enrol it again with a new token")
        }
        Role::Replica(replica) => {
            format!("replica {replica} was removed from the group: join again with an empty data folder")
        }
    }
}

fn identify(connection: &Connection, remote: SocketAddr, roll: &Roll) -> Result<Accepted, AcceptError> {
    // A handshake without a common protocol fails, so there is one.
    let protocol = protocol_of(connection).unwrap_or(Protocol::Data);
    let role = match peer_certificate(connection) {
        Some(certificate) => {
            let certified = Certified::of_certificate(&certificate)
                .map_err(|source| AcceptError::Certificate { remote, source })?;
            if roll.refuses(&certified) {
                return Err(AcceptError::Revoked { remote, role: certified.role });
            }
            Some(certified.role)
        }
        None => None,
    };
    let connection = connection.clone();
    match (protocol, role) {
        (Protocol::Enroll, member) => Ok(Accepted::Enroll { member, connection }),
        (Protocol::Data, Some(Role::Agent(agent))) if agent.is_replica() => {
            Err(AcceptError::WrongRole { remote, role: Role::Agent(agent), protocol })
        }
        (Protocol::Data, Some(Role::Agent(agent))) => Ok(Accepted::Data { agent, connection }),
        // With the logs of what is pushed to it.
        (Protocol::Data, Some(Role::Replica(replica))) => {
            Ok(Accepted::Data { agent: AgentName::of_replica(replica), connection })
        }
        (Protocol::Peer, Some(Role::Replica(replica))) => Ok(Accepted::Peer { replica, connection }),
        (protocol, None) => Err(AcceptError::NoCertificate { remote, protocol }),
        (protocol, Some(role)) => Err(AcceptError::WrongRole { remote, role, protocol }),
    }
}

fn protocol_of(connection: &Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    Protocol::from_alpn(data.protocol.as_deref()?)
}

/// The certificate that the handshake has verified.
pub(crate) fn peer_certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{ANY_REPLICA, Authority};
    use crate::endpoint::{client_config, client_endpoint, server_endpoint};
    use crate::tls::newcomer_config;
    use uuid::Uuid;
    use vedette_model::Timestamp;

    #[expect(clippy::disallowed_methods, reason = "driver: certificates are checked against the real clock")]
    fn now() -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since_epoch.as_millis() as i64)
    }

    #[track_caller]
    fn check(told: ConnectionError) {
        match told {
            ConnectionError::ApplicationClosed(told) => {
                assert_eq!(
                    CloseCode::from_code(told.error_code.into_inner()),
                    Some(CloseCode::NoCertificate)
                );
                assert!(String::from_utf8_lossy(&told.reason).contains("no certificate"));
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn who_shows_no_certificate_is_hung_up_on_with_a_reason() {
        let authority = Authority::create(now()).unwrap();
        let identity = authority.issue(&Role::Replica(ReplicaId(Uuid::new_v4())), now()).unwrap();
        let endpoint = server_endpoint("127.0.0.1:0".parse().unwrap(), &identity).unwrap();
        let address = endpoint.local_addr().unwrap();
        let listener = Listener::new(endpoint, 10);
        let client = client_endpoint().unwrap();
        for protocol in [Protocol::Data, Protocol::Peer] {
            let mut tls = newcomer_config(authority.fingerprint()).unwrap();
            tls.alpn_protocols = vec![protocol.alpn().to_vec()];
            let calling = client.connect_with(client_config(tls).unwrap(), address, ANY_REPLICA).unwrap();
            let answering = async { listener.accept().await.unwrap().complete().await };
            let (connection, refused) = tokio::join!(calling, answering);
            assert!(matches!(refused.unwrap_err(), AcceptError::NoCertificate { .. }));
            check(connection.unwrap().closed().await);
        }
    }
}
