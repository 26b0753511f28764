use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::config::raw::{
    Field, RawAuthorization, RawBasicAuth, RawHeader, RawScrapeConfig, RawTlsConfig, line,
};

/// A password or token: never printed.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// How requests say who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authentication {
    /// `basic_auth`.
    Basic {
        /// The name.
        username: SecretSource,
        /// The password.
        password: SecretSource,
    },
    /// `authorization`: a scheme and credentials.
    Header {
        /// `Bearer` unless it is said otherwise.
        scheme: String,
        /// What follows it.
        credentials: SecretSource,
    },
}

/// Given in the configuration or read from a file before every scrape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretSource {
    /// Given.
    Inline(Secret),
    /// Read, blanks around it cut.
    File(PathBuf),
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.0 and 1.1 are not spoken; as a minimum they mean 1.2.
    Old,
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

/// PEM given in the configuration or in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pem {
    /// Given.
    Inline(Secret),
    /// In a file, read when the client is made.
    File(PathBuf),
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {
    /// Whom to trust; the system's authorities when there is none.
    pub ca: Option<Pem>,
    /// The certificate and key to show.
    pub identity: Option<(Pem, Pem)>,
    /// The name that the server's certificate must have, when it is not that of the address.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
    /// At least; 1.2 when nothing is said.
    pub min_version: Option<TlsVersion>,
    /// At most.
    pub max_version: Option<TlsVersion>,
}

/// Everything about requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpConfig {
    /// Who asks.
    pub authentication: Option<Authentication>,
    /// Whom to trust and what to show.
    pub tls: TlsConfig,
    /// Whether 3xx is followed.
    pub follow_redirects: bool,
    /// `http_headers`, by name.
    pub headers: Vec<(String, Vec<SecretSource>)>,
}

/// Headers that the scraper sets itself or that belong to the connection.
const RESERVED_HEADERS: [&str; 16] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "user-agent",
    "www-authenticate",
    "x-prometheus-remote-read-version",
    "x-prometheus-remote-write-version",
    "x-prometheus-scrape-timeout-seconds",
];

/// A problem at a value.
fn at<T>(key: &str, field: &Field<T>, problem: impl Into<String>) -> ConfigError {
    ConfigError { line: field.as_ref().map_or(0, line), key: key.to_owned(), problem: problem.into() }
}

pub(crate) fn check(raw: &RawScrapeConfig, directory: &Path) -> Result<HttpConfig, ConfigError> {
    Ok(HttpConfig {
        authentication: authentication(raw, directory)?,
        tls: raw.tls_config.as_ref().map_or(Ok(TlsConfig::default()), |tls| {
            tls_config(&tls.value, directory).map_err(|problem| at("tls_config", &raw.tls_config, problem))
        })?,
        follow_redirects: raw.follow_redirects.as_ref().is_none_or(|follow| follow.value),
        headers: headers(&raw.http_headers, directory)?,
    })
}

fn authentication(raw: &RawScrapeConfig, directory: &Path) -> Result<Option<Authentication>, ConfigError> {
    let token = source(
        raw.bearer_token.as_ref().map(|token| token.value.clone()),
        raw.bearer_token_file.as_ref().map(|file| file.value.clone()),
        directory,
    )
    .map_err(|()| at("bearer_token", &raw.bearer_token, both("bearer_token", "bearer_token_file")))?;
    let given = [raw.basic_auth.is_some(), raw.authorization.is_some(), token.is_some()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        let problem = "at most one of basic_auth, authorization and bearer_token must be configured";
        return Err(if raw.authorization.is_some() {
            at("authorization", &raw.authorization, problem)
        } else {
            at("basic_auth", &raw.basic_auth, problem)
        });
    }
    if let Some(basic) = &raw.basic_auth {
        let checked = basic_auth(&basic.value, directory);
        return checked.map(Some).map_err(|problem| at("basic_auth", &raw.basic_auth, problem));
    }
    if let Some(header) = &raw.authorization {
        let checked = authorization(&header.value, directory);
        return checked.map_err(|problem| at("authorization", &raw.authorization, problem));
    }
    Ok(token.map(|credentials| Authentication::Header { scheme: "Bearer".to_owned(), credentials }))
}

fn basic_auth(raw: &RawBasicAuth, directory: &Path) -> Result<Authentication, String> {
    let username = source(raw.username.clone(), raw.username_file.clone(), directory)
        .map_err(|()| both("username", "username_file"))?;
    let password = source(raw.password.clone(), raw.password_file.clone(), directory)
        .map_err(|()| both("password", "password_file"))?;
    let nothing = || SecretSource::Inline(Secret::default());
    Ok(Authentication::Basic {
        username: username.unwrap_or_else(nothing),
        password: password.unwrap_or_else(nothing),
    })
}

fn authorization(raw: &RawAuthorization, directory: &Path) -> Result<Option<Authentication>, String> {
    let scheme = raw.scheme.as_deref().map(str::trim).filter(|scheme| !scheme.is_empty()).unwrap_or("Bearer");
    if scheme.eq_ignore_ascii_case("basic") {
        return Err("authorization type cannot be set to \"basic\", use \"basic_auth\" instead".to_owned());
    }
    let credentials = source(raw.credentials.clone(), raw.credentials_file.clone(), directory)
        .map_err(|()| both("credentials", "credentials_file"))?;
    Ok(credentials.map(|credentials| Authentication::Header { scheme: scheme.to_owned(), credentials }))
}

fn tls_config(raw: &RawTlsConfig, directory: &Path) -> Result<TlsConfig, String> {
    let cert = pem(&raw.cert, &raw.cert_file, directory).map_err(|()| both("cert", "cert_file"))?;
    let key = pem(&raw.key, &raw.key_file, directory).map_err(|()| both("key", "key_file"))?;
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err("exactly both of a certificate and a key must be configured".to_owned()),
    };
    let min_version = raw.min_version.as_ref().map(|text| tls_version(&text.value)).transpose()?;
    let max_version = raw.max_version.as_ref().map(|text| tls_version(&text.value)).transpose()?;
    if max_version == Some(TlsVersion::Old) {
        return Err("max_version below TLS12 is not supported: older versions are not spoken".to_owned());
    }
    if let (Some(min), Some(max)) = (min_version, max_version)
        && min > max
    {
        return Err("max_version must be at least min_version".to_owned());
    }
    Ok(TlsConfig {
        ca: pem(&raw.ca, &raw.ca_file, directory).map_err(|()| both("ca", "ca_file"))?,
        identity,
        server_name: raw.server_name.clone().filter(|name| !name.is_empty()),
        insecure_skip_verify: raw.insecure_skip_verify.unwrap_or(false),
        min_version,
        max_version,
    })
}

fn tls_version(text: &str) -> Result<TlsVersion, String> {
    match text {
        "TLS10" | "TLS11" => Ok(TlsVersion::Old),
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        other => Err(format!("unknown TLS version: {other}")),
    }
}

fn headers(
    raw: &Field<std::collections::BTreeMap<String, RawHeader>>,
    directory: &Path,
) -> Result<Vec<(String, Vec<SecretSource>)>, ConfigError> {
    let mut headers = Vec::new();
    for (name, header) in raw.iter().flat_map(|field| &field.value) {
        if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(at("http_headers", raw, format!("setting header {name:?} is not allowed")));
        }
        let inline = header.values.iter().chain(&header.secrets).flatten();
        let files = header.files.iter().flatten();
        let sources = inline
            .map(|text| SecretSource::Inline(Secret::new(text.clone())))
            .chain(files.map(|file| SecretSource::File(directory.join(file))));
        headers.push((name.clone(), sources.collect()));
    }
    Ok(headers)
}

fn both(inline: &str, file: &str) -> String {
    format!("at most one of {inline} and {file} must be configured")
}

/// An empty text counts as not given, as in Prometheus. `Err` when both are given.
fn source(
    inline: Option<String>,
    file: Option<String>,
    directory: &Path,
) -> Result<Option<SecretSource>, ()> {
    match (inline.filter(|text| !text.is_empty()), file.filter(|file| !file.is_empty())) {
        (Some(_), Some(_)) => Err(()),
        (Some(text), None) => Ok(Some(SecretSource::Inline(Secret::new(text)))),
        (None, Some(file)) => Ok(Some(SecretSource::File(directory.join(file)))),
        (None, None) => Ok(None),
    }
}

fn pem(inline: &Option<String>, file: &Option<String>, directory: &Path) -> Result<Option<Pem>, ()> {
    Ok(source(inline.clone(), file.clone(), directory)?.map(|source| match source {
        SecretSource::Inline(text) => Pem::Inline(text),
        SecretSource::File(path) => Pem::File(path),
    }))
}
