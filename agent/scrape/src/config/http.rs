use std::fmt;
use std::path::PathBuf;

/// A password or token: never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
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

/// The least version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.2, the default; older ones are not spoken.
    #[default]
    Tls12,
    /// 1.3.
    Tls13,
}

/// `tls_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsConfig {}

/// Everything about requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpConfig {
    /// Who asks.
    pub authentication: Option<Authentication>,
    /// Whom to trust.
    pub tls: TlsConfig,
    /// Whether 3xx is followed.
    pub follow_redirects: bool,
}
