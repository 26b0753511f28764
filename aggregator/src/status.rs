//! How the agents are, from what storage and the live sessions know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use vedette_api::{AgentStatus, TargetReport};
use vedette_daemon::build;
use vedette_ingest::Ingest;
use vedette_model::{Labels, Timestamp};
use vedette_storage::{Storage, WriterStatus};
use vedette_transport::Group;
use vedette_wire::control::Member;
use vedette_wire::{AgentName, WriterKind, control};

use crate::report::{AgentReport, MemberReport, Report, StorageReport};

/// Looks the state up when it is asked for.
pub(crate) struct Status {
    pub(crate) storage: Storage,
    pub(crate) ingest: Ingest,
    pub(crate) group: Arc<Group>,
    pub(crate) external_labels: Labels,
    pub(crate) place: Place,
}

impl Status {
    /// The agents, by name.
    pub(crate) fn agents(&self) -> Vec<AgentStatus> {
        let mut agents: BTreeMap<String, AgentStatus> = BTreeMap::new();
        let is_agent =
            |writer: &WriterStatus| writer.logs.iter().any(|log| log.log.kind() == WriterKind::Agent);
        for writer in self.storage.writers().into_iter().filter(is_agent) {
            let agent =
                agents.entry(writer.name.to_string()).or_insert_with(|| unknown(writer.name.as_str()));
            agent.complete_through = writer.complete_through;
            agent.gap_batches = gap_batches(&writer);
            (agent.series, agent.series_masked) = (writer.series.series, writer.series.masked);
        }
        for session in self.ingest.sessions().into_iter().filter(|session| !session.agent.is_replica()) {
            let name = session.agent.as_str();
            let agent = agents.entry(name.to_owned()).or_insert_with(|| unknown(name));
            agent.addresses.push(session.address.to_string());
            agent.identity_conflict |= session.identity_conflict;
        }
        agents.into_values().collect()
    }

    /// What agents scrape.
    pub(crate) fn targets(&self) -> Vec<TargetReport> {
        let of = |(agent, report): (AgentName, control::TargetReport)| TargetReport {
            agent: agent.as_str().to_owned(),
            pool: report.pool,
            url: report.url,
            labels: Labels::from_pairs(report.labels),
            discovered: Labels::from_pairs(report.discovered),
            interval_ms: report.interval_ms,
            timeout_ms: report.timeout_ms,
            error: report.error,
        };
        self.ingest.targets().into_iter().map(of).collect()
    }

    /// The names of all agents that are known: enrolled, connected, with data, or revoked.
    pub(crate) fn agent_names(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = self.group.enrolled().into_iter().collect();
        names.extend(self.agents().into_iter().map(|agent| agent.name));
        names.extend(self.group.roll().current().revoked().map(str::to_owned));
        names
    }

    /// How this replica is.
    pub(crate) fn report(&self, now: Timestamp) -> Report {
        let identity = self.group.identity();
        let authority_expires_at = self.group.authority_expires_at().unwrap_or_default();
        let label = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut report = Report {
            replica: self.group.replica().to_string(),
            version: build::VERSION.to_owned(),
            now_ms: now.as_millis(),
            url: self.place.url.clone(),
            quic_addresses: self.place.advertised.clone(),
            external_labels: (&self.external_labels).into_iter().map(label).collect(),
            members: self.member_reports(),
            agents: self.agent_reports(now),
            storage: self.storage_report(),
            certificate_expires_at_ms: identity.expires_at().as_millis(),
            authority_expires_at_ms: authority_expires_at.as_millis(),
            ..Report::default()
        };
        report.judge();
        report
    }

    fn member_reports(&self) -> Vec<MemberReport> {
        let of = |member: Member| {
            let peer = self.ingest.peer(member.replica);
            MemberReport {
                replica: member.replica.to_string(),
                addresses: member.addresses,
                own: member.replica == self.group.replica(),
                reached_seconds_ago: peer.reached_ago.map(|ago| ago.as_secs_f64()),
                error: peer.error,
                lacking_batches: peer.lacking_batches,
                unshipped_batches: peer.unshipped_batches,
            }
        };
        self.group.members().current().members.into_iter().map(of).collect()
    }

    fn agent_reports(&self, now: Timestamp) -> Vec<AgentReport> {
        let roll = self.group.roll().current();
        let mut known: BTreeMap<String, AgentStatus> =
            self.agents().into_iter().map(|agent| (agent.name.clone(), agent)).collect();
        for name in self.agent_names() {
            known.entry(name.clone()).or_insert_with(|| unknown(&name));
        }
        let of = |agent: AgentStatus| AgentReport {
            connected_from: agent.addresses,
            complete_seconds_ago: agent
                .complete_through
                .map(|through| now.millis_since(through) as f64 / 1000.0),
            identity_conflict: agent.identity_conflict,
            series: agent.series,
            series_not_stored: agent.series_masked,
            gap_batches: agent.gap_batches,
            revocations: AgentName::new(&agent.name).map_or(0, |name| roll.revocations(&name)),
            name: agent.name,
        };
        known.into_values().map(of).collect()
    }

    fn storage_report(&self) -> StorageReport {
        let statistics = self.storage.statistics();
        let disk = rustix::fs::statvfs(&self.place.path);
        let (free, total) = disk.map_or((0, 0), |disk| {
            (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize))
        });
        StorageReport {
            path: self.place.path.display().to_string(),
            parts_bytes: statistics.parts_bytes,
            parts: statistics.parts.iter().sum(),
            log_bytes: statistics.log_bytes,
            head_bytes: statistics.head_bytes,
            head_series: statistics.head_series,
            samples: statistics.parts_samples + statistics.head_samples,
            disk_free_bytes: free,
            disk_bytes: total,
            retention_seconds: self.place.retention_ms as f64 / 1000.0,
            writable: !statistics.faulted,
        }
    }
}

/// Where this replica is and what it keeps, as far as it does not change.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) url: String,
    pub(crate) advertised: Vec<String>,
    pub(crate) retention_ms: i64,
}

fn unknown(name: &str) -> AgentStatus {
    AgentStatus {
        name: name.to_owned(),
        addresses: Vec::new(),
        complete_through: None,
        gap_batches: 0,
        series: 0,
        series_masked: 0,
        identity_conflict: false,
    }
}

/// Batches of a writer that are lost for good.
pub(crate) fn gap_batches(writer: &WriterStatus) -> u64 {
    let gaps = writer.logs.iter().flat_map(|log| &log.gaps);
    gaps.map(|gap| (gap.to.0 + 1).saturating_sub(gap.from.0)).sum()
}
