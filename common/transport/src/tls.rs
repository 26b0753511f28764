//! TLS configuration: who has to show which certificate, and which protocol is spoken.

use crate::authority::fingerprint;
use crate::endpoint::EndpointError;
use crate::identity::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::sync::Arc;

/// What is spoken on a connection, told apart by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Agents deliver batches.
    Data,
    /// Replicas help each other.
    Peer,
    /// Newcomers become members, members renew.
    Enroll,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Data, Self::Peer, Self::Enroll];

    /// Its name on the wire.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Data => b"vedette/1",
            Self::Peer => b"vedette-peer/1",
            Self::Enroll => b"vedette-enroll/1",
        }
    }

    pub(crate) fn from_alpn(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.alpn() == alpn)
    }
}

/// A certificate of the group is checked when there is one. Whether there has to be one depends on the
/// protocol, which is known only after the handshake: see [`crate::Handshake::complete`].
pub(crate) fn server_config(identity: &Identity) -> Result<ServerConfig, EndpointError> {
    let roots = roots(identity.authority())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| EndpointError::Tls { reason: error.to_string() })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.private_key())
        .map_err(tls)?;
    config.alpn_protocols = Protocol::ALL.map(|protocol| protocol.alpn().to_vec()).to_vec();
    // Every connection proves its certificate anew, so that one that has expired is noticed.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// A member calls a replica of its group.
pub(crate) fn client_config(identity: &Identity, protocol: Protocol) -> Result<ClientConfig, EndpointError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_root_certificates(roots(identity.authority())?)
        .with_client_auth_cert(identity.chain(), identity.private_key())
        .map_err(tls)?;
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A newcomer, which knows of its group only the hash of the authority's certificate.
pub(crate) fn newcomer_config(authority: [u8; 32]) -> Result<ClientConfig, EndpointError> {
    let verifier = PinnedAuthority { authority, provider: provider() };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![Protocol::Enroll.alpn().to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Trusts the authority with one hash, which the server has to send behind its own certificate.
#[derive(Debug)]
struct PinnedAuthority {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// Why a newcomer trusts no certificate that the server sent.
#[derive(thiserror::Error)]
#[error("the server's certificate authority is not the one that the token names")]
struct ForeignAuthority;

/// rustls shows such a reason by its `Debug` form.
impl fmt::Debug for ForeignAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(authority) = intermediates.iter().find(|sent| fingerprint(sent) == self.authority) else {
            let other = OtherError(Arc::new(ForeignAuthority));
            return Err(CertificateError::Other(other).into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Named, never taken from the process: which library does the cryptography is decided here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, EndpointError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(tls)?;
    Ok(Arc::new(roots))
}

fn tls(error: rustls::Error) -> EndpointError {
    EndpointError::Tls { reason: error.to_string() }
}
