//! Who somebody is: a key, a certificate for it, and the authority that signed it.
//!
//! The role is an URI among the certificate's alternative names: `vedette://agent/<name>` or
//! `vedette://replica/<uuid>`. Names are percent-encoded, because such an URI is plain ASCII.

use crate::files::{self, FileError};
use crate::listener::peer_certificate;
use quinn::Connection;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use vedette_model::Timestamp;
use vedette_wire::{AgentName, ReplicaId};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

const AGENT_PREFIX: &str = "vedette://agent/";
const REPLICA_PREFIX: &str = "vedette://replica/";

/// Whom a certificate names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A writer of samples.
    Agent(AgentName),
    /// An aggregator of the group.
    Replica(ReplicaId),
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certified {
    /// Whom it names.
    pub role: Role,
    /// How often its agent had been revoked when it was issued; see [`crate::Roll`].
    pub revocations: u32,
}

/// A private key, its certificate, and the authority of the group.
pub struct Identity {
    authority: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    role: Role,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none yet.
    #[error("{folder} holds no identity: enroll first")]
    Missing {
        /// Where it was looked for.
        folder: String,
    },
    /// A file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate does not parse.
    #[error("malformed certificate: {reason}")]
    Certificate {
        /// What the parser says.
        reason: String,
    },
    /// The certificate names no agent and no replica, or several.
    #[error("the certificate carries no usable role mark, found {found:?}")]
    Role {
        /// The URIs that it does carry.
        found: Vec<String>,
    },
}

impl Identity {
    /// Puts the parts together; the role and the validity are read from the certificate.
    pub fn new(
        authority: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let parsed = parse(&certificate)?;
        let role = role_of(&parsed)?;
        let validity = parsed.validity();
        let seconds = |time: i64| Timestamp::from_millis(time.saturating_mul(1000));
        let (not_before, not_after) =
            (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
        Ok(Self { authority, certificate, key, role, not_before, not_after })
    }

    /// The file in `folder` that an identity is kept in, for whoever watches it.
    pub fn path_in(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Reads `identity.pem` in `folder`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let path = Self::path_in(folder);
        let Some(pem) = files::read(&path)? else {
            return Err(IdentityError::Missing { folder: folder.display().to_string() });
        };
        let (authority, certificate, key) =
            parse_pem(&pem).map_err(|reason| files::invalid(&path, reason))?;
        Self::new(authority, certificate, key)
    }

    /// Writes `identity.pem` into `folder`, readable by its owner only: key, certificate and authority in
    /// one file, so that they always fit each other.
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        files::create_folder(folder)?;
        files::replace(&Self::path_in(folder), self.to_pem().as_bytes())
    }

    fn to_pem(&self) -> String {
        pem_block("PRIVATE KEY", self.key.secret_pkcs8_der())
            + &pem_block("CERTIFICATE", &self.certificate)
            + &pem_block("CERTIFICATE", &self.authority)
    }

    /// Who it is.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The group's certificate authority.
    pub fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// End of the certificate's validity.
    pub fn expires_at(&self) -> Timestamp {
        self.not_after
    }

    /// When it is time for the next certificate: two thirds of the validity are over.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.millis_since(self.not_before);
        self.not_before.plus_millis(life / 3 * 2)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone(), self.authority.clone()]
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            authority: self.authority.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            role: self.role.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }
}

/// The key is not printed.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role)
            .field("expires_at", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Role {
    /// Whom a certificate names. Whether it is genuine was settled by the handshake.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        role_of(&parse(certificate)?)
    }

    /// The role mark.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Agent(name) => format!("{AGENT_PREFIX}{}", percent_encode(name.as_str())),
            Self::Replica(replica) => format!("{REPLICA_PREFIX}{replica}"),
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        if let Some(name) = uri.strip_prefix(AGENT_PREFIX) {
            return AgentName::new(&percent_decode(name)?).ok().map(Self::Agent);
        }
        let replica = uri.strip_prefix(REPLICA_PREFIX)?;
        replica.parse().ok().map(Self::Replica)
    }
}

impl Certified {
    /// What a certificate says. Whether it is genuine was settled by the handshake.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let parsed = parse(certificate)?;
        Ok(Self { role: role_of(&parsed)?, revocations: revocations_of(&parsed) })
    }

    /// What the other side of a connection has shown; none when it has shown no certificate of use.
    pub fn of_peer(connection: &Connection) -> Option<Self> {
        Self::of_certificate(&peer_certificate(connection)?).ok()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Replica(replica) => write!(f, "replica {replica}"),
        }
    }
}

/// The organizational unit of an agent that was revoked before. Of others there is none, and releases that know of no
/// revocations do not look at it.
pub(crate) fn revocations_unit(revocations: u32) -> Option<String> {
    (revocations > 0).then(|| format!("{REVOCATIONS_PREFIX}{revocations}"))
}

fn revocations_of(certificate: &X509Certificate<'_>) -> u32 {
    let units = certificate.subject().iter_organizational_unit().filter_map(|unit| unit.as_str().ok());
    units.filter_map(|unit| unit.strip_prefix(REVOCATIONS_PREFIX)?.parse().ok()).max().unwrap_or(0)
}

const REVOCATIONS_PREFIX: &str = "enrolled after revocation ";
const FILE: &str = "identity.pem";

pub(crate) fn pem_block(label: &str, der: &[u8]) -> String {
    let base64 = data_encoding::BASE64.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        block.extend(line.iter().map(|byte| char::from(*byte)));
        block.push('\n');
    }
    block + &format!("-----END {label}-----\n")
}

type Parts = (CertificateDer<'static>, CertificateDer<'static>, PrivatePkcs8KeyDer<'static>);

/// Authority, certificate and key of `identity.pem`.
fn parse_pem(pem: &[u8]) -> Result<Parts, String> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let mut certificates = CertificateDer::pem_slice_iter(pem).flatten();
    match (certificates.next(), certificates.next()) {
        (Some(certificate), Some(authority)) => Ok((authority, certificate, key)),
        _ => Err("expected a certificate and the authority's".to_owned()),
    }
}

/// When a certificate ends to be good.
pub(crate) fn expires_at(certificate: &CertificateDer<'_>) -> Result<Timestamp, IdentityError> {
    let seconds = parse(certificate)?.validity().not_after.timestamp();
    Ok(Timestamp::from_millis(seconds.saturating_mul(1000)))
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, IdentityError> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(IdentityError::Certificate { reason: error.to_string() }),
    }
}

/// The one role mark; a certificate with several is not one that an authority of ours signs.
fn role_of(certificate: &X509Certificate<'_>) -> Result<Role, IdentityError> {
    let names = match certificate.subject_alternative_name() {
        Ok(Some(names)) => &names.value.general_names,
        Ok(None) => return Err(IdentityError::Role { found: Vec::new() }),
        Err(error) => return Err(IdentityError::Certificate { reason: error.to_string() }),
    };
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris[..] {
        [uri] => Role::from_uri(uri).ok_or_else(|| IdentityError::Role { found: vec![uri.to_owned()] }),
        _ => Err(IdentityError::Role { found: uris.iter().map(|uri| (*uri).to_owned()).collect() }),
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// Strict: what [`percent_encode`] would not have written is refused, so that a name has one spelling.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    let decoded = String::from_utf8(bytes).ok()?;
    (percent_encode(&decoded) == text).then_some(decoded)
}

/// Reads `bytes` as a role mark, as a certificate and as `identity.pem`.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    let mark = std::str::from_utf8(bytes).ok().and_then(Role::from_uri);
    let certified = Role::of_certificate(&CertificateDer::from(bytes)).ok();
    for role in mark.into_iter().chain(certified) {
        assert_eq!(Role::from_uri(&role.uri()), Some(role));
    }
    if let Ok((authority, certificate, key)) = parse_pem(bytes)
        && let Ok(identity) = Identity::new(authority, certificate, key)
    {
        assert!(parse_pem(identity.to_pem().as_bytes()).is_ok());
        let _due = identity.renew_at();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, uri: &str) {
        let role = Role::Agent(AgentName::new(name).unwrap());
        assert_eq!(role.uri(), uri);
        assert_eq!(Role::from_uri(uri), Some(role));
    }

    #[test]
    fn role_marks_round_trip() {
        check("web-1.example.org", "vedette://agent/web-1.example.org");
        check("näh/e?", "vedette://agent/n%C3%A4h%2Fe%3F");
    }

    #[test]
    fn other_marks_are_no_roles() {
        for uri in [
            "",
            "https://agent/x",
            "vedette://agent/",
            "vedette://agent/%61",
            "vedette://agent/%",
            "vedette://agent/%0A",
            "vedette://replica/x",
        ] {
            assert_eq!(Role::from_uri(uri), None, "{uri}");
        }
    }
}
