//! How a newcomer gets its certificate, and a member a fresh one.

use super::codec::{ControlError, ControlMessage, bounded, read, write};
use super::members::{Members, check_addresses};
use super::messages::TEXT_BYTES_MAX;
use crate::ReplicaId;
use bincode::{Decode, Encode};

/// Bytes of a signing request.
pub const SIGNING_REQUEST_BYTES_MAX: usize = 8 << 10;
/// Bytes of a certificate or a private key.
pub const CERTIFICATE_BYTES_MAX: usize = 16 << 10;

/// What a newcomer or a member asks.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrollRequest {
    /// A newcomer shows a token.
    Redeem(Redeem),
    /// A member, whom its present certificate names, asks for the next one.
    Renew(Renew),
}

/// What a newcomer becomes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NewcomerKind {
    /// An agent of this name.
    Agent {
        /// The agent's name.
        name: String,
    },
    /// A replica of the group.
    Replica {
        /// The id that the newcomer drew.
        replica: ReplicaId,
        /// Where it can be reached, as `host:port`.
        addresses: Vec<String>,
    },
}

/// A token's secret and the key to be certified.
#[derive(Clone, PartialEq, Encode, Decode)]
pub struct Redeem {
    /// The secret of the token.
    pub secret: [u8; 32],
    /// What the newcomer becomes.
    pub newcomer: NewcomerKind,
    /// PKCS #10, DER. Only its public key and its signature count.
    pub signing_request: Vec<u8>,
}

/// The next key to be certified.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Renew {
    /// PKCS #10, DER. Only its public key and its signature count.
    pub signing_request: Vec<u8>,
}

/// What the replica answers.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrollAnswer {
    /// A certificate.
    Issued(Issued),
    /// No certificate.
    Refused(RefusedEnroll),
}

/// A certificate and what belongs to it.
#[derive(Clone, PartialEq, Encode, Decode)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// The group's certificate authority, DER.
    pub authority: Vec<u8>,
    /// The authority's private key, PKCS #8 DER: only for a replica, which signs from then on as well.
    pub authority_key: Option<Vec<u8>>,
    /// The group's replicas.
    pub members: Members,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct RefusedEnroll {
    /// Why.
    pub reason: EnrollRefusal,
    /// Why, for people.
    pub message: String,
}

/// Why a newcomer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum EnrollRefusal {
    /// Nobody made this token here.
    UnknownToken,
    /// The token's time is over.
    ExpiredToken,
    /// The token was used before.
    UsedToken,
    /// An agent showed a replica's token, or the other way round.
    WrongKind,
    /// The request does not make sense; the message says why.
    Malformed,
    /// Too many attempts.
    RateLimited,
    /// A renewal without a valid certificate.
    NotAuthenticated,
    /// The replica could not store or sign.
    Internal,
}

impl EnrollRefusal {
    /// Name of the reason in logs and as a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownToken => "unknown_token",
            Self::ExpiredToken => "expired_token",
            Self::UsedToken => "used_token",
            Self::WrongKind => "wrong_kind",
            Self::Malformed => "malformed",
            Self::RateLimited => "rate_limited",
            Self::NotAuthenticated => "not_authenticated",
            Self::Internal => "internal",
        }
    }
}

/// The secret is not printed.
impl std::fmt::Debug for Redeem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redeem").field("newcomer", &self.newcomer).finish_non_exhaustive()
    }
}

/// The authority's key is not printed.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("members", &self.members).finish_non_exhaustive()
    }
}

impl ControlMessage for EnrollRequest {
    fn kind(&self) -> u8 {
        match self {
            Self::Redeem(_) => 33,
            Self::Renew(_) => 34,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Redeem(redeem) => write(redeem, self.kind(), out),
            Self::Renew(renew) => write(renew, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            33 => Self::Redeem(read(body, kind)?),
            34 => Self::Renew(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        let signing_request = match self {
            Self::Redeem(redeem) => {
                match &redeem.newcomer {
                    NewcomerKind::Agent { name } => bounded("bytes of text", name.len(), TEXT_BYTES_MAX)?,
                    NewcomerKind::Replica { addresses, .. } => check_addresses(addresses)?,
                }
                &redeem.signing_request
            }
            Self::Renew(renew) => &renew.signing_request,
        };
        bounded("bytes of a signing request", signing_request.len(), SIGNING_REQUEST_BYTES_MAX)
    }
}

impl ControlMessage for EnrollAnswer {
    fn kind(&self) -> u8 {
        match self {
            Self::Issued(_) => 41,
            Self::Refused(_) => 42,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), ControlError> {
        match self {
            Self::Issued(issued) => write(issued, self.kind(), out),
            Self::Refused(refused) => write(refused, self.kind(), out),
        }
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        Ok(Some(match kind {
            41 => Self::Issued(read(body, kind)?),
            42 => Self::Refused(read(body, kind)?),
            _ => return Ok(None),
        }))
    }

    fn check(&self) -> Result<(), ControlError> {
        match self {
            Self::Issued(issued) => {
                let key = issued.authority_key.as_ref().map_or(0, Vec::len);
                for length in [issued.certificate.len(), issued.authority.len(), key] {
                    bounded("bytes of a certificate", length, CERTIFICATE_BYTES_MAX)?;
                }
                issued.members.check()
            }
            Self::Refused(refused) => bounded("bytes of text", refused.message.len(), TEXT_BYTES_MAX),
        }
    }
}
