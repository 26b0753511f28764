use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use crate::config::{Pem, ScrapeConfig, TlsConfig, TlsVersion};

/// The configuration's TLS files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tls_config: {source_name}: {reason}")]
pub struct ClientError {
    /// The file, or the key whose value it is.
    pub source_name: String,
    /// What is wrong with it.
    pub reason: String,
}

pub(crate) fn connector(config: &ScrapeConfig) -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let tls = &config.http.tls;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let builder = HttpsConnectorBuilder::new().with_tls_config(client_config(config)?).https_or_http();
    let builder = match &tls.server_name {
        Some(name) => {
            let server_name = ServerName::try_from(name.clone())
                .map_err(|error| failed("server_name", &error.to_string()))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(server_name))
        }
        None => builder,
    };
    Ok(builder.enable_http1().wrap_connector(http))
}

fn client_config(config: &ScrapeConfig) -> Result<ClientConfig, ClientError> {
    let tls = &config.http.tls;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(tls))
        .map_err(|error| failed("min_version", &error.to_string()))?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else if let Some(ca) = &tls.ca {
        builder.with_root_certificates(roots(ca)?)
    } else if uses_tls(config) {
        builder.with_native_roots().map_err(|error| failed("system certificates", &error.to_string()))?
    } else {
        // Reading the system's authorities costs memory that jobs over plain HTTP need not pay.
        builder.with_root_certificates(RootCertStore::empty())
    };
    match &tls.identity {
        None => Ok(builder.with_no_client_auth()),
        Some((cert, key)) => {
            let (chain, cert_name) = (certificates(cert, "cert")?, name_of(cert, "cert"));
            let key = private_key(key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| failed(&cert_name, &error.to_string()))
        }
    }
}

fn uses_tls(config: &ScrapeConfig) -> bool {
    let by_label = |group: &crate::config::StaticGroup| group.labels.get("__scheme__") == Some("https");
    config.scheme == "https" || config.static_configs.iter().any(by_label)
}

fn versions(tls: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let min = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let max = tls.max_version.unwrap_or(TlsVersion::Tls13);
    [(TlsVersion::Tls12, &rustls::version::TLS12), (TlsVersion::Tls13, &rustls::version::TLS13)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, version)| version)
        .collect()
}

fn roots(ca: &Pem) -> Result<RootCertStore, ClientError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(ca, "ca")? {
        store.add(certificate).map_err(|error| failed(&name_of(ca, "ca"), &error.to_string()))?;
    }
    Ok(store)
}

fn certificates(pem: &Pem, key: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let name = name_of(pem, key);
    let bytes = read(pem, &name)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(chain) if chain.is_empty() => Err(failed(&name, "no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(failed(&name, &error.to_string())),
    }
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, ClientError> {
    let name = name_of(pem, "key");
    let bytes = read(pem, &name)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| failed(&name, &error.to_string()))
}

fn read(pem: &Pem, name: &str) -> Result<Vec<u8>, ClientError> {
    match pem {
        Pem::Inline(text) => Ok(text.reveal().as_bytes().to_vec()),
        Pem::File(path) => std::fs::read(path).map_err(|error| failed(name, &error.to_string())),
    }
}

fn name_of(pem: &Pem, key: &str) -> String {
    match pem {
        Pem::Inline(_) => key.to_owned(),
        Pem::File(path) => path.display().to_string(),
    }
}

fn failed(source_name: &str, reason: &str) -> ClientError {
    ClientError { source_name: source_name.to_owned(), reason: reason.to_owned() }
}

/// `insecure_skip_verify`: the peer must hold the key of its certificate, but that may be anybody's.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
