//! Reading a configuration: one YAML file, whose errors name file, line and key, and flags above it.
//!
//! A program mirrors its file in structs of [`Key`]s, parses them with [`ConfigFile::parse`], and gives each value its
//! meaning with [`ConfigFile::read`].

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;
use tracing::Level;

use crate::logging::LogFormat;

/// Characters of the file that an error shows.
const SOURCE_SHOWN_MAX: usize = 80;

/// A value that may be left out, and where it stands.
pub type Key<T> = Option<Spanned<T>>;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can not be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not YAML of the right shape.
    #[error("{}: {message}", place(file, *line))]
    Parse {
        /// Which file.
        file: PathBuf,
        /// Where in it; 0 where that is not known.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A key's value is wrong.
    #[error("{}: {key}: {reason}", place(file, *line))]
    Key {
        /// Which file; empty for defaults.
        file: PathBuf,
        /// Where in it; 0 where that is not known.
        line: u64,
        /// Which key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag's value is wrong.
    #[error("{flag}: {reason}")]
    Flag {
        /// Which flag.
        flag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn place(file: &Path, line: u64) -> String {
    match (file.as_os_str().is_empty(), line) {
        (true, _) => "configuration".to_owned(),
        (false, 0) => file.display().to_string(),
        (false, line) => format!("{}:{line}", file.display()),
    }
}

/// A configuration file, or the defaults where there is none.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// The configuration of an installed service, for commands that people type beside it: its file, where there is one.
pub fn of_service(file: &str) -> Option<PathBuf> {
    let file = Path::new(file);
    // One that can not be looked at is there; reading it says why.
    file.try_exists().unwrap_or(true).then(|| file.to_owned())
}

impl ConfigFile {
    /// Reads the file; without one, a file without keys.
    pub fn open(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::from_text("", "")) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { file: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// A file whose text is known.
    pub fn from_text(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Where it is; empty where there is none.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its shape. A file of comments is a file without keys.
    pub fn parse<R: DeserializeOwned + Default>(&self) -> Result<R, ConfigError> {
        if self.text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#')) {
            return Ok(R::default());
        }
        serde_saphyr::from_str(&self.text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let message = self.shape_message(&error.without_snippet().to_string(), line);
            ConfigError::Parse { file: self.path.clone(), line, message }
        })
    }

    /// One line without the place, which stands before it; with the source where no key is named.
    fn shape_message(&self, text: &str, line: u64) -> String {
        let text = text.lines().next().unwrap_or_default();
        let text = text.rfind(" at line ").map_or(text, |at| &text[..at]);
        // What an empty list of keys leaves.
        let text = text.trim_end().trim_end_matches(", expected one of");
        let source = line.checked_sub(1).and_then(|line| self.text.lines().nth(usize::try_from(line).ok()?));
        match source.map(str::trim) {
            Some(source) if !text.contains('`') && !source.is_empty() => {
                let shown: String = source.chars().take(SOURCE_SHOWN_MAX).collect();
                format!("{text}: {shown}")
            }
            Some(_) | None => text.to_owned(),
        }
    }

    /// Gives a key's value, where there is one, to `apply`.
    pub fn read<T>(
        &self,
        key: &str,
        value: &Key<T>,
        apply: impl FnOnce(&T) -> Result<(), String>,
    ) -> Result<(), ConfigError> {
        let Some(value) = value else { return Ok(()) };
        apply(&value.value).map_err(|reason| self.error(key, value, reason))
    }

    /// Says what is wrong with a key's value.
    pub fn error<T>(&self, key: &str, value: &Spanned<T>, reason: String) -> ConfigError {
        // Errors of the parts name their own keys.
        let reason = match reason.strip_prefix(key).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => rest.to_owned(),
            None => reason,
        };
        self.error_at(key, value.referenced.line(), reason)
    }

    /// Says what is wrong at a line; 0 where that is not known.
    pub fn error_at(&self, key: &str, line: u64, reason: String) -> ConfigError {
        ConfigError::Key { file: self.path.clone(), line, key: key.to_owned(), reason }
    }
}

/// Gives a flag's value, where there is one, to `apply`.
pub fn flag<T>(
    flag: &'static str,
    value: Option<&T>,
    apply: impl FnOnce(&T) -> Result<(), String>,
) -> Result<(), ConfigError> {
    match value {
        None => Ok(()),
        Some(value) => apply(value).map_err(|reason| ConfigError::Flag { flag, reason }),
    }
}

/// `reason` where something is not `fine`.
pub fn refuse_unless(fine: bool, reason: &str) -> Result<(), String> {
    if fine { Ok(()) } else { Err(reason.to_owned()) }
}

/// An address to listen at, `host:port`; `:port` means every address of the host, as in Prometheus.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    check_host_and_port(&whole)?;
    let mut found = whole.to_socket_addrs().map_err(|error| format!("{text:?}: {error}"))?;
    found.next().ok_or_else(|| format!("{text:?} has no address"))
}

/// An address to connect to later, `host:port`, which need not resolve yet.
pub fn check_host_and_port(text: &str) -> Result<(), String> {
    let parts = text.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    parts.map(drop).ok_or_else(|| format!("{text:?} is not host:port"))
}

/// The level of the log, in lower case.
pub fn log_level(text: &str) -> Result<Level, String> {
    match text {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => Err(format!("{text:?} is none of error, warn, info, debug, trace")),
    }
}

/// The form of log lines.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "logfmt" => Ok(LogFormat::Logfmt),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither logfmt nor json")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Raw {
        address: Key<String>,
        count: Key<u32>,
        empty: RawEmpty,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct RawEmpty {}

    fn check(text: &str) -> Result<(), String> {
        let file = ConfigFile::from_text("a.yml", text);
        let raw: Raw = file.parse().map_err(|error| error.to_string())?;
        assert!(raw.count.is_none());
        file.read("address", &raw.address, |text| listen_address(text).map(drop))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("# nothing\n\n  # at all\n"), Ok(()));
        assert_eq!(check("\naddress: :9090\n"), Ok(()));
        for (text, expected) in [
            ("\naddress: nowhere\n", "a.yml:2: address: \"nowhere\" is not host:port"),
            ("address: '127.0.0.1:x'\n", "a.yml:1: address: \"127.0.0.1:x\" is not host:port"),
            ("adress: x\n", "a.yml:1: unknown field `adress`, expected one of address, count, empty"),
            ("\ncount: -1\n", "a.yml:2: invalid u32: count: -1"),
            ("empty: {lease: 5s}\n", "a.yml:1: unknown field `lease`"),
            ("address: [\n", "a.yml:"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.starts_with(expected), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(!error.contains(" at line ") && !error.ends_with("one of"), "{error}");
        }
    }

    #[test]
    fn a_part_that_names_its_key_does_not_name_it_twice() {
        let file = ConfigFile::from_text("a.yml", "address: x\n");
        let raw: Raw = file.parse().expect("valid");
        let value = raw.address.expect("given");
        let error = file.error("address", &value, "address.host: empty".to_owned());
        assert_eq!(error.to_string(), "a.yml:1: address: host: empty");
        assert_eq!(file.error_at("b", 0, "x".to_owned()).to_string(), "a.yml: b: x");
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = ConfigFile::open(Some(&folder.path().join("no.yml"))).expect_err("not there").to_string();
        assert!(error.contains("no.yml: No such file"), "{error}");
    }

    #[test]
    fn levels_are_words_in_lower_case() {
        assert_eq!(log_level("warn"), Ok(Level::WARN));
        assert!(log_level("3").is_err());
        assert!(log_level("WARN").is_err());
    }
}
