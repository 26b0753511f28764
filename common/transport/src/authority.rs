//! The group's certificate authority. Every replica of a group holds it, so that each can enrol newcomers.

use crate::files::{self, FileError};
use crate::identity::{Certified, Identity, IdentityError, Role, pem_block, revocations_unit};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_wire::ReplicaId;

/// How long a member's certificate is valid.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the authority's own certificate is valid. There is no rollover yet.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Clocks that lag by less accept a fresh certificate.
const BACKDATE: Duration = Duration::from_secs(3600);
const FILE: &str = "authority.pem";

/// Name that every replica's certificate carries: a client that knows only an address asks for it.
pub(crate) const ANY_REPLICA: &str = "replica.vedette";

/// The name that only this replica's certificate carries.
pub(crate) fn replica_name(replica: ReplicaId) -> String {
    format!("replica.{replica}.vedette")
}

/// A certificate authority and its private key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// Why the authority cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// The request is not one that our own software makes.
    #[error("unusable signing request: {reason}")]
    SigningRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// Keys or certificates cannot be made or read.
    #[error("certificate authority: {reason}")]
    Certificate {
        /// What fails.
        reason: String,
    },
    /// A certificate just made does not say what it should.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Authority {
    /// A new authority for a new group.
    pub fn create(now: Timestamp) -> Result<Self, AuthorityError> {
        let key = new_key()?;
        let mut params = validity(now, AUTHORITY_LIFE);
        let group = Uuid::new_v4();
        params.distinguished_name = common_name(&format!("vedette group {group}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(random_serial());
        let certificate = params.self_signed(&key).map_err(certificate_error)?;
        let certificate = certificate.der().clone();
        Self::from_parts(certificate, key)
    }

    /// Puts together what another replica sent.
    pub fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Result<Self, AuthorityError> {
        let key = PrivatePkcs8KeyDer::from(key);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(certificate_error)?;
        Self::from_parts(CertificateDer::from(certificate), key)
    }

    fn from_parts(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(certificate_error)?;
        Ok(Self { certificate, issuer })
    }

    /// Reads `authority.pem` in `folder`; none when there is none.
    pub fn load(folder: &Path) -> Result<Option<Self>, AuthorityError> {
        let path = folder.join(FILE);
        let Some(pem) = files::read(&path)? else {
            return Ok(None);
        };
        let invalid = |error: rustls_pki_types::pem::Error| files::invalid(&path, error.to_string());
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(invalid)?;
        let certificate = CertificateDer::from_pem_slice(&pem).map_err(invalid)?;
        Self::from_der(certificate.to_vec(), key.secret_pkcs8_der().to_vec()).map(Some)
    }

    /// Writes `authority.pem` into `folder`, both readable by their owner only.
    pub fn save(&self, folder: &Path) -> Result<(), FileError> {
        files::create_folder(folder)?;
        let pem = pem_block("PRIVATE KEY", &self.key_der()) + &pem_block("CERTIFICATE", &self.certificate);
        files::replace(&folder.join(FILE), pem.as_bytes())
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of its certificate: what a token carries.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.certificate)
    }

    /// Its private key, PKCS #8.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.issuer.key().serialize_der()
    }

    /// Certifies the key of a signing request for `role`. Nothing else of the request is taken over.
    pub fn sign(
        &self,
        signing_request: &[u8],
        role: &Role,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        self.sign_again(signing_request, &Certified { role: role.clone(), revocations: 0 }, now)
    }

    /// The same for a member that may have been revoked before.
    pub fn sign_again(
        &self,
        signing_request: &[u8],
        certified: &Certified,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let der = CertificateSigningRequestDer::from(signing_request);
        let mut request = CertificateSigningRequestParams::from_der(&der)
            .map_err(|error| AuthorityError::SigningRequest { reason: error.to_string() })?;
        if *request.public_key.algorithm() != PKCS_ECDSA_P256_SHA256 {
            return Err(AuthorityError::SigningRequest { reason: "the key is not ECDSA P-256".to_owned() });
        }
        request.params = member_params(certified, now)?;
        let certificate = request.signed_by(&self.issuer).map_err(certificate_error)?;
        Ok(certificate.der().clone())
    }

    /// A new key and its certificate, for this replica itself.
    pub fn issue(&self, role: &Role, now: Timestamp) -> Result<Identity, AuthorityError> {
        let (key, request) = new_signing_request()?;
        let certificate = self.sign(&request, role, now)?;
        Ok(Identity::new(self.certificate.clone(), certificate, key)?)
    }
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    hash
}

/// A new private key and the request to certify it. Who asks is said beside it, not in it.
pub(crate) fn new_signing_request() -> Result<(PrivatePkcs8KeyDer<'static>, Vec<u8>), AuthorityError> {
    let key = new_key()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key).map_err(certificate_error)?;
    Ok((PrivatePkcs8KeyDer::from(key.serialize_der()), request.der().to_vec()))
}

fn new_key() -> Result<KeyPair, AuthorityError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(certificate_error)
}

fn member_params(certified: &Certified, now: Timestamp) -> Result<CertificateParams, AuthorityError> {
    let role = &certified.role;
    let mut params = validity(now, CERTIFICATE_LIFE);
    let ia5 = |text: &str| text.try_into().map_err(certificate_error);
    params.distinguished_name = common_name(&role.to_string());
    if let Some(unit) = revocations_unit(certified.revocations) {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
    params.subject_alt_names = vec![SanType::URI(ia5(&role.uri())?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(random_serial());
    if let Role::Replica(replica) = role {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names.push(SanType::DnsName(ia5(ANY_REPLICA)?));
        params.subject_alt_names.push(SanType::DnsName(ia5(&replica_name(*replica))?));
    }
    Ok(params)
}

fn validity(now: Timestamp, life: Duration) -> CertificateParams {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = epoch + since_epoch.saturating_sub(BACKDATE);
    params.not_after = epoch + since_epoch + life;
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // X.520 ends a common name at 64 characters; the role mark is what counts.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

fn random_serial() -> SerialNumber {
    let mut bytes = *Uuid::new_v4().as_bytes();
    // Positive, and never a leading zero that DER would have to drop.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}

fn certificate_error(error: rcgen::Error) -> AuthorityError {
    AuthorityError::Certificate { reason: error.to_string() }
}

/// Reads `bytes` as a signing request, and signs it.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let now = Timestamp::from_millis(1_700_000_000_000);
    let authority = AUTHORITY.get_or_init(|| Authority::create(now).expect("a key can be made"));
    let role = Role::Replica(ReplicaId(Uuid::from_u128(1)));
    if let Ok(certificate) = authority.sign(bytes, &role, now) {
        assert_eq!(Role::of_certificate(&certificate).ok(), Some(role));
    }
}
