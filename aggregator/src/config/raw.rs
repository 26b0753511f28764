//! The configuration file as it is written: every key optional, nothing checked but the shape.

use std::collections::BTreeMap;

use serde::Deserialize;
use vedette_daemon::config::Key;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) global: RawGlobal,
    pub(super) rule_files: Key<Vec<String>>,
    pub(super) alerting: Key<serde_json::Value>,
    pub(super) alertmanager_config_file: Key<String>,
    pub(super) storage: RawStorage,
    pub(super) quic: RawQuic,
    pub(super) web: RawWeb,
    pub(super) push: RawPush,
    pub(super) limits: RawLimits,
    /// Who the members are, the group keeps itself.
    pub(super) members: RawMembers,
    pub(super) enable_feature: Key<Vec<String>>,
    pub(super) log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGlobal {
    pub(super) evaluation_interval: Key<String>,
    pub(super) external_labels: Key<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStorage {
    pub(super) path: Key<String>,
    pub(super) retention: Key<String>,
    pub(super) head_samples_max: Key<u64>,
    pub(super) head_age_max: Key<String>,
    pub(super) exemplars_max: Key<usize>,
    pub(super) queue_frames_max: Key<usize>,
    pub(super) queue_bytes_max: Key<usize>,
    pub(super) logs_max: Key<usize>,
    pub(super) generations_max: Key<usize>,
    pub(super) merge_parts_min: Key<usize>,
    pub(super) block_cache_bytes: Key<usize>,
    pub(super) opened_cache_bytes: Key<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawQuic {
    pub(super) listen_address: Key<String>,
    pub(super) advertise: Key<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPush {
    pub(super) ack: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWeb {
    pub(super) listen_address: Key<String>,
    pub(super) enable_admin_api: Key<bool>,
    pub(super) enable_lifecycle: Key<bool>,
    pub(super) cors_origin: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) connections_max: Key<usize>,
    pub(super) connections_per_agent_max: Key<usize>,
    pub(super) series_per_agent_max: Key<usize>,
    pub(super) unacknowledged_frames_max: Key<u32>,
    pub(super) unacknowledged_bytes_max: Key<u32>,
    pub(super) read_samples_max: Key<usize>,
    pub(super) read_concurrency_max: Key<usize>,
    pub(super) push_requests_max: Key<usize>,
    pub(super) push_bytes_max: Key<usize>,
    pub(super) push_request_bytes_max: Key<usize>,
    pub(super) catch_up_bytes_per_second_max: Key<u64>,
    pub(super) http_connections_max: Key<usize>,
    pub(super) http_read_timeout: Key<String>,
    pub(super) query_timeout: Key<String>,
    pub(super) query_concurrency_max: Key<usize>,
    pub(super) query_waiting_max: Key<usize>,
    pub(super) query_samples_max: Key<u64>,
    pub(super) query_memory_max: Key<u64>,
    pub(super) query_lookback_delta: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMembers {
    pub(super) lease: Key<String>,
    pub(super) catch_up_interval: Key<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) level: Key<String>,
    pub(super) format: Key<String>,
}
