//! The agent's own metrics, and those of its process.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use vedette_collector::Gathered;
use vedette_daemon::build::VERSION;
use vedette_model::MetricKind;
use vedette_spool::SpoolStatistics;

use crate::shared::{LogReason, Numbers, ReplicaNumbers, Shared, lag_batches};

use MetricKind::{Counter, Gauge};

/// Has an entry for each open descriptor.
const DESCRIPTORS: &str = "/proc/self/fd";
/// No line of `/proc/self/stat` is longer.
const STAT_BYTES_MAX: usize = 1024;

/// Writes them all.
#[derive(Default)]
pub(crate) struct Own {
    /// `/proc/self/stat`, kept open.
    stat: Option<File>,
    /// The folder `/proc/self/fd`, kept open.
    descriptors: Option<File>,
}

impl Own {
    pub(crate) fn gather(&mut self, shared: &Shared, out: &mut Gathered) {
        gather(shared, out);
        self.about_process(shared, out);
    }

    /// As Prometheus' client libraries have them.
    fn about_process(&mut self, shared: &Shared, out: &mut Gathered) {
        if self.stat.is_none() {
            self.stat = File::open("/proc/self/stat").ok();
        }
        if self.descriptors.is_none() {
            self.descriptors = File::open(DESCRIPTORS).ok();
        }
        let mut buffer = [0; STAT_BYTES_MAX];
        let read = self.stat.as_ref().and_then(|stat| stat.read_at(&mut buffer, 0).ok());
        let stat = String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]);
        // The name, in parentheses, may hold anything.
        if let Some((_, fields)) = stat.rsplit_once(')') {
            let descriptors = open_descriptors(self.descriptors.as_ref());
            about_process(shared, fields, descriptors, out);
        }
    }
}

fn gather(shared: &Shared, out: &mut Gathered) {
    let numbers = shared.numbers().clone();
    let statistics = shared.spool().statistics(shared.now());
    about_collection(&numbers, out);
    about_spool(&statistics, out);
    about_replicas(shared, &numbers, out);
    about_identity(shared, &numbers, out);
    about_config(&numbers, out);
}

fn one(out: &mut Gathered, name: &str, kind: MetricKind, help: &str, value: f64) {
    out.family(name, kind, help).value(value);
}

fn about_collection(numbers: &Numbers, out: &mut Gathered) {
    let version = [("version", VERSION)];
    out.family("vedette_agent_build_info", Gauge, "A metric with a constant '1' value labeled by version.")
        .sample(&version, 1.0);
    let counters = [
        ("vedette_agent_batches_total", "Batches encoded.", numbers.batches),
        ("vedette_agent_key_batches_total", "Batches that start a segment.", numbers.key_batches),
        ("vedette_agent_batch_bytes_total", "Bytes of encoded batches.", numbers.batch_bytes),
        ("vedette_agent_samples_total", "Samples collected and scraped.", numbers.samples),
        ("vedette_agent_collections_total", "Collections of the host's metrics.", numbers.ticks),
        (
            "vedette_agent_collections_skipped_total",
            "Points of the grid that were missed.",
            numbers.ticks_skipped,
        ),
        ("vedette_agent_clock_steps_total", "Times that the wall clock was set.", numbers.clock_steps),
        (
            "vedette_agent_series_refused_total",
            "Samples of series for which there is no room.",
            numbers.series_refused,
        ),
        (
            "vedette_agent_exemplars_refused_total",
            "Exemplars with too long labels, or too many of one scrape.",
            numbers.exemplars_refused,
        ),
        (
            "vedette_agent_histograms_refused_total",
            "Classic histograms that could not be converted to native ones.",
            numbers.histograms_refused,
        ),
        ("vedette_agent_batches_refused_total", "Scrapes too large for a batch.", numbers.batches_refused),
        (
            "vedette_agent_http_connections_refused_total",
            "HTTP connections closed as there were too many.",
            numbers.http_connections_refused,
        ),
        ("vedette_agent_scrapes_total", "Scrapes of configured targets.", numbers.scrapes),
        (
            "vedette_agent_scrapes_failed_total",
            "Scrapes of configured targets that failed.",
            numbers.scrapes_failed,
        ),
    ];
    for (name, help, value) in counters {
        one(out, name, Counter, help, value as f64);
    }
    let seconds = [
        ("vedette_agent_collect_seconds_total", "Time spent in collectors.", numbers.collect_duration),
        ("vedette_agent_encode_seconds_total", "Time spent in encoding batches.", numbers.encode_duration),
    ];
    for (name, help, value) in seconds {
        one(out, name, Counter, help, value.as_secs_f64());
    }
    let mut family = out.family("vedette_agent_logs_started_total", Counter, "Logs started.");
    for reason in LogReason::ALL {
        family.sample(&[("reason", reason.as_str())], numbers.logs_started[reason as usize] as f64);
    }
    one(out, "vedette_agent_targets", Gauge, "Configured targets.", numbers.targets as f64);
}

fn about_spool(spool: &SpoolStatistics, out: &mut Gathered) {
    let age = spool.oldest_age.unwrap_or_default().as_secs_f64();
    let gauges = [
        ("vedette_agent_spool_bytes", "Bytes of batches on disk.", spool.bytes as f64),
        ("vedette_agent_spool_segments", "Files of batches on disk.", spool.segments as f64),
        ("vedette_agent_spool_logs", "Logs, the live one included.", spool.logs as f64),
        ("vedette_agent_spool_oldest_age_seconds", "Age of the oldest segment.", age),
        (
            "vedette_agent_spool_memory_batches",
            "Batches in memory as the disk takes none.",
            spool.memory_batches as f64,
        ),
        ("vedette_agent_spool_memory_bytes", "Bytes of those.", spool.memory_bytes as f64),
        (
            "vedette_agent_spool_disk_ok",
            "Whether the disk takes batches.",
            f64::from(u8::from(spool.is_disk_good)),
        ),
    ];
    for (name, help, value) in gauges {
        one(out, name, Gauge, help, value);
    }
    let mut family = out.family(
        "vedette_agent_batches_dropped_total",
        Counter,
        "Batches dropped unshipped, each in a gap.",
    );
    for (reason, batches) in spool.counters.dropped_by_reason() {
        family.sample(&[("reason", reason.as_str())], batches as f64);
    }
    let counters = [
        ("vedette_agent_spool_gaps_total", "Gaps recorded.", spool.counters.gaps),
        ("vedette_agent_spool_io_errors_total", "Failed operations on files.", spool.counters.io_errors),
        ("vedette_agent_spool_syncs_total", "Syncs of the spool.", spool.counters.syncs),
        (
            "vedette_agent_spool_torn_bytes_total",
            "Bytes cut from torn ends at start.",
            spool.counters.torn_bytes,
        ),
    ];
    for (name, help, value) in counters {
        one(out, name, Counter, help, value as f64);
    }
}

fn about_replicas(shared: &Shared, numbers: &Numbers, out: &mut Gathered) {
    let replicas: Vec<(String, ReplicaNumbers, u64)> = {
        let known = shared.replicas().clone();
        let spool = shared.spool();
        let lag =
            |numbers: &ReplicaNumbers| numbers.replica.map_or(0, |replica| lag_batches(&spool, replica));
        known
            .into_iter()
            .map(|(peer, numbers)| {
                let lag = lag(&numbers);
                (peer, numbers, lag)
            })
            .collect()
    };
    let batch_seconds = numbers.seconds_per_batch;
    type Read = fn(&ReplicaNumbers, u64, f64) -> f64;
    let families: [(&str, MetricKind, &str, Read); 9] = [
        ("vedette_agent_replica_connected", Gauge, "Whether there is a connection.", |n, _, _| {
            f64::from(u8::from(n.is_connected))
        }),
        ("vedette_agent_replica_connects_total", Counter, "Connections made.", |n, _, _| n.connects as f64),
        ("vedette_agent_replica_connects_failed_total", Counter, "Attempts that failed.", |n, _, _| {
            n.connects_failed as f64
        }),
        (
            "vedette_agent_replica_batches_sent_total",
            Counter,
            "Batches sent, repetitions included.",
            |n, _, _| n.batches_sent as f64,
        ),
        (
            "vedette_agent_replica_bytes_sent_total",
            Counter,
            "Bytes of batches sent, repetitions included.",
            |n, _, _| n.bytes_sent as f64,
        ),
        ("vedette_agent_replica_acks_total", Counter, "Acknowledgements received.", |n, _, _| n.acks as f64),
        ("vedette_agent_replica_lag_batches", Gauge, "Batches that are not acknowledged.", |_, lag, _| {
            lag as f64
        }),
        (
            "vedette_agent_replica_lag_seconds",
            Gauge,
            "Time that those batches are of, about.",
            |_, lag, seconds| lag as f64 * seconds,
        ),
        (
            "vedette_agent_replica_clock_skew_seconds",
            Gauge,
            "The replica's clock minus ours, at the last welcome.",
            |n, _, _| n.skew_ms as f64 / 1000.0,
        ),
    ];
    for (name, kind, help, read) in families {
        let mut family = out.family(name, kind, help);
        for (peer, numbers, lag) in &replicas {
            family.sample(&[("replica", peer)], read(numbers, *lag, batch_seconds));
        }
    }
    let mut family = out.family("vedette_agent_replica_refusals_total", Counter, "Refusals by a replica.");
    for (peer, numbers, _) in &replicas {
        for (reason, count) in &numbers.refusals {
            family.sample(&[("reason", reason), ("replica", peer)], *count as f64);
        }
    }
}

fn about_identity(shared: &Shared, numbers: &Numbers, out: &mut Gathered) {
    let identity = shared.identity.borrow().clone();
    let enrolled = f64::from(u8::from(identity.is_some()));
    one(out, "vedette_agent_enrolled", Gauge, "Whether the agent has an identity.", enrolled);
    if let Some(identity) = identity {
        let expires = identity.expires_at().as_seconds();
        one(
            out,
            "vedette_agent_certificate_expiry_timestamp_seconds",
            Gauge,
            "When the certificate expires.",
            expires,
        );
    }
    let failed = numbers.renewals_failed as f64;
    one(
        out,
        "vedette_agent_certificate_renewals_failed_total",
        Counter,
        "Failed renewals of the certificate.",
        failed,
    );
}

fn about_config(numbers: &Numbers, out: &mut Gathered) {
    let succeeded = f64::from(u8::from(numbers.reload_succeeded));
    one(
        out,
        "vedette_agent_config_last_reload_successful",
        Gauge,
        "Whether the last reload of the configuration succeeded.",
        succeeded,
    );
    let at = numbers.reloaded_at.as_seconds();
    let help = "When the configuration was last loaded with success.";
    one(out, "vedette_agent_config_last_reload_success_timestamp_seconds", Gauge, help, at);
}

/// `fields` of `/proc/self/stat` from the third on.
fn about_process(shared: &Shared, fields: &str, descriptors: u64, out: &mut Gathered) {
    let field = |number: usize| {
        let value = fields.split_ascii_whitespace().nth(number - 3);
        value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let page = rustix::param::page_size() as f64;
    let cpu = (field(14) + field(15)) / ticks;
    one(out, "process_cpu_seconds_total", Counter, "Total user and system CPU time spent in seconds.", cpu);
    one(out, "process_open_fds", Gauge, "Number of open file descriptors.", descriptors as f64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(f64::INFINITY, |limit| limit as f64);
    one(out, "process_max_fds", Gauge, "Maximum number of open file descriptors.", limit);
    one(out, "process_virtual_memory_bytes", Gauge, "Virtual memory size in bytes.", field(23));
    one(out, "process_resident_memory_bytes", Gauge, "Resident memory size in bytes.", field(24) * page);
    let started = shared.clock.started_at().as_seconds();
    let help = "Start time of the process since unix epoch in seconds.";
    one(out, "process_start_time_seconds", Gauge, help, started);
}

/// The kernel counts them itself since 6.2; before that the folder has no size.
fn open_descriptors(folder: Option<&File>) -> u64 {
    let counted = folder.and_then(|folder| folder.metadata().ok()).map_or(0, |folder| folder.len());
    if counted > 0 {
        return counted;
    }
    fs::read_dir(DESCRIPTORS).map_or(0, |entries| entries.count() as u64)
}
