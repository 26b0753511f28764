//! What `/api/v1/status/*` tells of the process and of how it was started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use vedette_api::{RuntimeFacts, RuntimeProvider, ServerFacts};
use vedette_daemon::clock;
use vedette_model::Timestamp;
use vedette_promql::format_duration;
use vedette_storage::Storage;

use crate::cli::Flags;
use crate::config::Config;
use crate::process;

/// Keys whose values nobody is told.
const SECRETS: [&str; 7] = ["password", "secret", "token", "credentials", "bearer", "key:", "access_key"];

/// How reloading went.
pub(crate) struct Reloads {
    succeeded: AtomicBool,
    at_ms: AtomicI64,
    /// The file that was taken up last, without secrets.
    config: Mutex<Arc<str>>,
}

impl Reloads {
    /// The first reading of the configuration was one.
    pub(crate) fn new(now: Timestamp, config: &Config) -> Self {
        Self {
            succeeded: AtomicBool::new(true),
            at_ms: AtomicI64::new(now.as_millis()),
            config: Mutex::new(without_secrets(&config.text).into()),
        }
    }

    pub(crate) fn succeeded(&self, now: Timestamp, config: &Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = without_secrets(&config.text).into();
        self.at_ms.store(now.as_millis(), Ordering::Relaxed);
        self.succeeded.store(true, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.succeeded.store(false, Ordering::Relaxed);
    }
}

/// What does not change while it runs.
pub(crate) fn server(flags: &Flags, config: &Config) -> ServerFacts {
    let folder = std::env::current_dir().map(|folder| folder.display().to_string());
    ServerFacts {
        flags: flags_in_force(flags, config),
        started_at: clock::now(),
        working_folder: folder.unwrap_or_default(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        retention: format_duration(config.storage.retention_ms),
    }
}

fn flags_in_force(flags: &Flags, config: &Config) -> BTreeMap<String, String> {
    let file = flags.config_file.as_ref().map(|path| path.display().to_string());
    let timeout_ms = i64::try_from(config.query.timeout.as_millis()).unwrap_or(i64::MAX);
    [
        ("config.file", file.unwrap_or_default()),
        ("enable-feature", flags.enable_feature.join(",")),
        ("log.format", format!("{:?}", config.log_format).to_lowercase()),
        ("log.level", config.log_level.to_string().to_lowercase()),
        ("query.lookback-delta", format_duration(config.engine.lookback_ms)),
        ("query.max-concurrency", config.query.concurrency_max.to_string()),
        ("query.max-samples", config.engine.samples_max.to_string()),
        ("query.timeout", format_duration(timeout_ms)),
        ("quic.listen-address", config.quic_listen.to_string()),
        ("storage.path", config.path.display().to_string()),
        ("storage.retention", format_duration(config.storage.retention_ms)),
        ("web.cors.origin", config.origins.value().to_owned()),
        ("web.enable-admin-api", config.admin_api.to_string()),
        ("web.enable-lifecycle", config.lifecycle.to_string()),
        ("web.listen-address", config.web_listen.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The file's text; the value of a key that sounds secret is replaced as Prometheus does.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.lines() {
        let lower = line.to_lowercase();
        let is_secret = SECRETS.iter().any(|word| lower.split('#').next().unwrap_or_default().contains(word));
        match line.split_once(": ") {
            Some((key, value)) if is_secret && !value.trim().is_empty() => {
                shown.push_str(&format!("{key}: <secret>"))
            }
            _ => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

/// What is looked up when it is asked for.
pub(crate) fn runtime(storage: Storage, query_memory_max: u64, reloads: Arc<Reloads>) -> RuntimeProvider {
    Arc::new(move || RuntimeFacts {
        threads: process::threads(),
        parallelism: available_parallelism().map_or(1, |count| count.get() as u64),
        query_memory_max,
        corruptions: storage.statistics().corrupt,
        reload_succeeded: reloads.succeeded.load(Ordering::Relaxed),
        reloaded_at: Timestamp::from_millis(reloads.at_ms.load(Ordering::Relaxed)),
        config: Arc::clone(&reloads.config.lock().unwrap_or_else(PoisonError::into_inner)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_a_secret() {
        let text =
            "web:\n  listen_address: a:1 # a token\n  password: hunter2\n  tls_key: x\n  password_file: /x\n";
        let shown = "web:\n  listen_address: a:1 # a token\n  password: <secret>\n  tls_key: <secret>\n  password_file: <secret>\n";
        assert_eq!(without_secrets(text), shown);
    }
}
