//! Numbers that are looked up when `/metrics` is read: storage, agents, the process.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, GaugeVec, Opts, Registry};
use vedette_api::AgentStatus;
use vedette_daemon::{build, clock};
use vedette_storage::Statistics;

use crate::process::Usage;
use crate::status::Status;

/// Agents with a lag of their own. With more, `vedette_aggregator_agents` still counts all.
const AGENTS_MAX: usize = 1000;

pub(crate) fn register(registry: &Registry, status: Arc<Status>) -> Result<(), prometheus::Error> {
    let started_at = clock::now().as_seconds();
    registry.register(Box::new(LookedUp { status, started_at }))
}

struct LookedUp {
    status: Arc<Status>,
    started_at: f64,
}

impl Collector for LookedUp {
    /// None: names are checked for being unique by the metrics that are registered one by one.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families(Vec::new());
        storage(&mut families, &self.status.storage.statistics());
        self.agents(&mut families);
        self.process(&mut families);
        families.0
    }
}

impl LookedUp {
    fn agents(&self, families: &mut Families) {
        let agents = self.status.agents();
        let now = clock::now();
        families.gauge("agents", "Agents that have ever brought data or are connected.", agents.len() as f64);
        let members = self.status.group.members().current().members.len();
        families.gauge("members", "Replicas of the group.", members as f64);
        let lost: u64 = agents.iter().map(|agent| agent.gap_batches).sum();
        families.gauge(
            "gap_batches",
            "Batches that agents no longer had, over all logs that are known.",
            lost as f64,
        );
        let count =
            |wanted: fn(&AgentStatus) -> bool| agents.iter().filter(|agent| wanted(agent)).count() as f64;
        families.gauge(
            "agents_connected",
            "Agents with a live session.",
            count(|agent| !agent.addresses.is_empty()),
        );
        families.gauge(
            "agents_with_identity_conflict",
            "Agents whose name several sessions use at once; vedette_aggregator_identity_conflict names them.",
            count(|agent| agent.identity_conflict),
        );
        // Each labelled gauge for the first agents only: a fleet is watched by the sums above and by `up`.
        let first = || agents.iter().take(AGENTS_MAX);
        let lags = first().filter_map(|agent| {
            let lag = now.millis_since(agent.complete_through?) as f64 / 1000.0;
            Some((agent.name.as_str(), lag))
        });
        let help = "Time since an agent's data is whole, for the first agents by name.";
        families.labelled_gauges("agent_lag_seconds", help, "agent", lags);
        let connected =
            first().map(|agent| (agent.name.as_str(), f64::from(u8::from(!agent.addresses.is_empty()))));
        let help = "Whether an agent has a live session, for the first agents by name.";
        families.labelled_gauges("agent_connected", help, "agent", connected);
        let gaps = first().map(|agent| (agent.name.as_str(), agent.gap_batches as f64));
        let help = "Batches that an agent no longer had, for the first agents by name.";
        families.labelled_gauges("agent_gap_batches", help, "agent", gaps);
        let series = first().map(|agent| (agent.name.as_str(), agent.series as f64));
        let help = "Series that an agent brings, those not stored included, for the first agents by name.";
        families.labelled_gauges("agent_series", help, "agent", series);
        let masked = first().map(|agent| (agent.name.as_str(), agent.series_masked as f64));
        let help = "Series of an agent that are not stored because of limits.series_per_agent_max, for the first agents by name.";
        families.labelled_gauges("agent_series_masked", help, "agent", masked);
    }

    fn process(&self, families: &mut Families) {
        families.labelled_gauges(
            "build_info",
            "The release that runs, always 1.",
            "version",
            [(build::VERSION, 1.0)].into_iter(),
        );
        families.plain_gauge("process_start_time_seconds", "When the process started.", self.started_at);
        let Some(usage) = Usage::read() else { return };
        families.counter("process_cpu_seconds_total", "CPU time, user and system.", usage.cpu_seconds);
        families.plain_gauge("process_resident_memory_bytes", "Resident memory.", usage.resident_bytes);
        families.plain_gauge("process_virtual_memory_bytes", "Virtual memory.", usage.virtual_bytes);
        families.plain_gauge("process_open_fds", "Open file descriptors.", usage.open_fds as f64);
        families.plain_gauge("process_max_fds", "How many file descriptors may be open.", usage.max_fds);
    }
}

fn storage(families: &mut Families, statistics: &Statistics) {
    let s = statistics;
    for (name, help, value) in [
        ("samples_appended_total", "Samples stored.", s.samples_appended as f64),
        (
            "samples_masked_total",
            "Samples not stored because of limits.series_per_agent_max.",
            s.samples_masked as f64,
        ),
        ("batches_appended_total", "Batches stored.", s.batches_appended as f64),
        ("batches_known_total", "Batches that came again.", s.batches_known as f64),
        ("conflicts_total", "Samples of one series and time with different values.", s.conflicts as f64),
        (
            "exemplars_refused_total",
            "Exemplars not kept because their own time is more than a day from their sample's.",
            s.exemplars_refused as f64,
        ),
        ("gaps_total", "Gaps recorded.", s.gaps as f64),
        ("failed_frames_total", "Frames that could not be kept for now.", s.failed as f64),
        ("syncs_total", "Synced writes of the log.", s.syncs as f64),
        ("sync_seconds_total", "Time they took.", s.sync_seconds),
        ("freezes_total", "Times the head was written to parts.", s.freezes as f64),
        ("freeze_seconds_total", "Time that took.", s.freeze_seconds),
        ("merges_total", "Merges of parts.", s.merges as f64),
        ("merge_seconds_total", "Time they took.", s.merge_seconds),
        ("partitions_deleted_total", "Partitions that retention dropped.", s.partitions_deleted as f64),
        ("corrupt_records_total", "Records on disk that failed their checks.", s.corrupt as f64),
        (
            "opened_cache_hits_total",
            "Things of parts and heads that a query found opened.",
            s.opened_cache_hits as f64,
        ),
        ("opened_cache_misses_total", "Those that it had to open.", s.opened_cache_misses as f64),
        ("disk_faults_total", "Writes that failed.", s.disk_faults as f64),
        ("reopens_total", "Times the storage reopened itself after a fault.", s.reopens as f64),
    ] {
        families.counter(&format!("vedette_aggregator_storage_{name}"), help, value);
    }
    for (name, help, value) in [
        ("queue_frames", "Frames that wait to be written.", s.queue_frames as f64),
        ("queue_bytes", "Their bytes.", s.queue_bytes as f64),
        ("head_series", "Series in the head.", s.head_series as f64),
        ("head_samples", "Samples in the head.", s.head_samples as f64),
        ("head_bytes", "Memory of the head.", s.head_bytes as f64),
        ("parts", "Parts on disk.", s.parts.iter().sum::<u64>() as f64),
        ("parts_bytes", "Their bytes.", s.parts_bytes as f64),
        ("parts_samples", "Their samples.", s.parts_samples as f64),
        ("opened_cache_bytes", "Memory of what queries have opened.", s.opened_cache_bytes as f64),
        ("log_bytes", "Bytes of the log.", s.log_bytes as f64),
        ("log_generations", "Generations of the log.", s.log_generations as f64),
        ("logs", "Logs known.", s.logs as f64),
        ("faulted", "Whether the storage can not write at the moment.", f64::from(u8::from(s.faulted))),
        ("replayed_frames", "Frames read again at the start.", s.replayed_frames as f64),
        ("open_seconds", "Time the start of the storage took.", s.open_seconds),
    ] {
        families.gauge(&format!("storage_{name}"), help, value);
    }
}

/// Families as they are now.
struct Families(Vec<MetricFamily>);

impl Families {
    fn counter(&mut self, name: &str, help: &str, value: f64) {
        if let Ok(counter) = Counter::with_opts(Opts::new(name, help)) {
            counter.inc_by(value.max(0.0));
            self.0.extend(counter.collect());
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.plain_gauge(&format!("vedette_aggregator_{name}"), help, value);
    }

    fn plain_gauge(&mut self, name: &str, help: &str, value: f64) {
        if let Ok(gauge) = Gauge::with_opts(Opts::new(name, help)) {
            gauge.set(value);
            self.0.extend(gauge.collect());
        }
    }

    fn labelled_gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) {
        let opts = Opts::new(format!("vedette_aggregator_{name}"), help);
        if let Ok(gauges) = GaugeVec::new(opts, &[label]) {
            for (value, number) in values {
                gauges.with_label_values(&[value]).set(number);
            }
            self.0.extend(gauges.collect());
        }
    }
}
