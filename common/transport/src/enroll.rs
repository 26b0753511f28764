//! Becoming a member of a group, and staying one: the conversation on `vedette-enroll/1`.
//!
//! One bidirectional stream: the caller sends one request, the replica one answer. The caller's private key
//! is made where it is used and never leaves.

use crate::authority::{Authority, AuthorityError, fingerprint, new_signing_request};
use crate::connect::{Caller, ConnectError, Connected};
use crate::endpoint::{EndpointError, close, member_config, newcomer_config};
use crate::group::Group;
use crate::identity::{Certified, Identity, IdentityError, Role};
use crate::stream::{ControlReader, ControlWriter, StreamError};
use crate::tls::Protocol;
use crate::token::Token;
use quinn::{Connection, Endpoint};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::Duration;
use vedette_model::Timestamp;
use vedette_wire::control::{
    EnrollAnswer, EnrollRefusal, EnrollRequest, Issued, Members, NewcomerKind, Redeem, Renew,
};
use vedette_wire::session::CloseCode;
use vedette_wire::{AgentName, ReplicaId};

/// How long the whole conversation may take.
const ENROLL_TIMEOUT: Duration = Duration::from_secs(15);

/// What a member has got.
#[derive(Debug)]
pub struct Enrolled {
    /// Its key and certificate.
    pub identity: Identity,
    /// The group's replicas.
    pub members: Members,
}

/// What a new replica has got. See [`Group::adopt`].
pub struct Joined {
    /// The group's authority.
    pub authority: Authority,
    /// Its key and certificate.
    pub identity: Identity,
    /// The group's replicas, the new one included.
    pub members: Members,
}

/// Why nobody became a member.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// No replica was reached, or none of the group that the token names.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The conversation broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The replica did not answer.
    #[error("no answer within {} s", ENROLL_TIMEOUT.as_secs())]
    Timeout,
    /// Too many newcomers at once, said by the replica to itself.
    #[error("too many newcomers at once")]
    Overload,
    /// The replica refused.
    #[error("refused ({}): {message}", .reason.as_str())]
    Refused {
        /// Why.
        reason: EnrollRefusal,
        /// Why, for people.
        message: String,
    },
    /// What came is not what was asked for.
    #[error("the answer is unusable: {reason}")]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The key or the request could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The certificate that came does not parse.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Makes a key and has it certified for the agent `name`.
pub async fn enroll_agent(
    endpoint: &Endpoint,
    token: &Token,
    name: &AgentName,
) -> Result<Enrolled, EnrollError> {
    let newcomer = NewcomerKind::Agent { name: name.to_string() };
    let (enrolled, _no_authority_key) = redeem(endpoint, token, newcomer, Role::Agent(name.clone())).await?;
    Ok(enrolled)
}

/// Makes a key, has it certified for a new replica, and gets the group's authority.
pub async fn enroll_replica(
    endpoint: &Endpoint,
    token: &Token,
    replica: ReplicaId,
    addresses: Vec<String>,
) -> Result<Joined, EnrollError> {
    let newcomer = NewcomerKind::Replica { replica, addresses };
    let (enrolled, authority_key) = redeem(endpoint, token, newcomer, Role::Replica(replica)).await?;
    let Enrolled { identity, members } = enrolled;
    let Some(key) = authority_key else {
        return Err(EnrollError::Answer { reason: "the authority's key is missing".to_owned() });
    };
    let authority = Authority::from_der(identity.authority().to_vec(), key)?;
    Ok(Joined { authority, identity, members })
}

/// Makes a new key and has it certified for the member that `identity` names. For agents; a replica holds
/// the authority itself.
pub async fn renew(
    endpoint: &Endpoint,
    identity: &Identity,
    addresses: &[String],
) -> Result<Enrolled, EnrollError> {
    let config = member_config(identity, Protocol::Enroll).map_err(ConnectError::from)?;
    let (key, signing_request) = new_signing_request()?;
    let request = EnrollRequest::Renew(Renew { signing_request });
    let issued = ask(endpoint, config, addresses, &request).await?;
    let authority = fingerprint(identity.authority());
    accept(issued, key, authority, identity.role()).map(|(enrolled, _)| enrolled)
}

/// Answers a caller on `vedette-enroll/1`. Who became a member, for the log and the counters.
pub async fn serve_enroll(
    group: Arc<Group>,
    connection: Connection,
    member: Option<Role>,
    now: Timestamp,
) -> Result<EnrollAnswer, EnrollError> {
    let remote = connection.remote_address();
    let busy = group.clone();
    let Some(_admitted) = busy.admit_newcomer() else {
        close(&connection, CloseCode::Overload, "too many newcomers at once: try again");
        return Err(EnrollError::Overload);
    };
    let conversation = async {
        let (send, receive) = connection.accept_bi().await.map_err(StreamError::from)?;
        let request: Option<EnrollRequest> = ControlReader::new(receive).read().await?;
        let Some(request) = request else {
            return Err(EnrollError::Answer { reason: "the caller asked nothing".to_owned() });
        };
        let who = describe(&request, member.as_ref());
        let certified = member.and_then(|_role| Certified::of_peer(&connection));
        let answering = tokio::task::spawn_blocking(move || group.enroll(&request, certified.as_ref(), now));
        let answer = answering.await.map_err(|error| EnrollError::Answer { reason: error.to_string() })?;
        match &answer {
            EnrollAnswer::Issued(_) => tracing::info!(%remote, who, "certificate issued"),
            // The caller logs it as news: whoever guesses comes again and again.
            EnrollAnswer::Refused(refused) => {
                tracing::debug!(%remote, who, reason = refused.reason.as_str(), "enrolment refused");
            }
        }
        let mut writer = ControlWriter::new(send);
        writer.write(&answer).await?;
        writer.finished().await?;
        Ok(answer)
    };
    let answer =
        tokio::time::timeout(ENROLL_TIMEOUT, conversation).await.unwrap_or(Err(EnrollError::Timeout));
    close(&connection, CloseCode::Done, "");
    answer
}

fn describe(request: &EnrollRequest, member: Option<&Role>) -> String {
    match (request, member) {
        (EnrollRequest::Redeem(redeem), _) => match &redeem.newcomer {
            NewcomerKind::Agent { name } => format!("agent {name:?}"),
            NewcomerKind::Replica { replica, .. } => format!("replica {replica}"),
        },
        (EnrollRequest::Renew(_), Some(role)) => role.to_string(),
        (EnrollRequest::Renew(_), None) => "unknown member".to_owned(),
    }
}

async fn redeem(
    endpoint: &Endpoint,
    token: &Token,
    newcomer: NewcomerKind,
    role: Role,
) -> Result<(Enrolled, Option<Vec<u8>>), EnrollError> {
    let config = newcomer_config(token.authority).map_err(ConnectError::from)?;
    let (key, signing_request) = new_signing_request()?;
    let request = EnrollRequest::Redeem(Redeem { secret: token.secret, newcomer, signing_request });
    let issued = ask(endpoint, config, &token.addresses, &request).await?;
    accept(issued, key, token.authority, &role)
}

async fn ask(
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    addresses: &[String],
    request: &EnrollRequest,
) -> Result<Issued, EnrollError> {
    let Connected { connection, .. } = Caller::new(endpoint.clone()).call(config, addresses, None).await?;
    let conversation = async {
        let (send, receive) = connection.open_bi().await.map_err(StreamError::from)?;
        let mut writer = ControlWriter::new(send);
        writer.write(request).await?;
        writer.finish();
        ControlReader::new(receive).read().await
    };
    let answer = tokio::time::timeout(ENROLL_TIMEOUT, conversation).await;
    close(&connection, CloseCode::Done, "");
    match answer.map_err(|_elapsed| EnrollError::Timeout)?? {
        Some(EnrollAnswer::Issued(issued)) => Ok(issued),
        Some(EnrollAnswer::Refused(refused)) => {
            Err(EnrollError::Refused { reason: refused.reason, message: refused.message })
        }
        None => Err(EnrollError::Answer { reason: "the replica said nothing".to_owned() }),
    }
}

/// Checks that what came is what was asked for before it replaces anything.
fn accept(
    issued: Issued,
    key: PrivatePkcs8KeyDer<'static>,
    authority: [u8; 32],
    role: &Role,
) -> Result<(Enrolled, Option<Vec<u8>>), EnrollError> {
    if fingerprint(&issued.authority) != authority {
        return Err(EnrollError::Answer { reason: "it names another certificate authority".to_owned() });
    }
    let certificate = CertificateDer::from(issued.certificate);
    let identity = Identity::new(CertificateDer::from(issued.authority), certificate, key)?;
    if identity.role() != role {
        return Err(EnrollError::Answer { reason: format!("it is for {}", identity.role()) });
    }
    // Also checks that key and certificate belong together.
    member_config(&identity, Protocol::Data)
        .map_err(|error: EndpointError| EnrollError::Answer { reason: error.to_string() })?;
    Ok((Enrolled { identity, members: issued.members }, issued.authority_key))
}
