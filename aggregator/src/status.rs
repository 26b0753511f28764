//! How the agents are, from what storage and the live sessions know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use vedette_api::{AgentStatus, TargetReport};
use vedette_ingest::Ingest;
use vedette_model::{Labels, Timestamp};
use vedette_storage::{Storage, WriterStatus};
use vedette_transport::Group;
use vedette_wire::{AgentName, WriterKind, control};

/// Looks the state up when it is asked for.
pub(crate) struct Status {
    pub(crate) storage: Storage,
    pub(crate) ingest: Ingest,
    pub(crate) group: Arc<Group>,
    pub(crate) external_labels: Labels,
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

    /// For people.
    pub(crate) fn text(&self, now: Timestamp) -> String {
        let mut text = format!("replica {}\n", self.group.replica());
        for member in &self.group.members().current().members {
            let own = if member.replica == self.group.replica() { " (this one)" } else { "" };
            line(&mut text, format_args!("member  {}{own}  {}", member.replica, member.addresses.join(", ")));
        }
        for (name, value) in &self.external_labels {
            line(&mut text, format_args!("label   {name}={value:?}"));
        }
        let agents = self.agents();
        line(&mut text, format_args!("agents  {}", agents.len()));
        for agent in agents {
            let lag = agent.complete_through.map_or_else(
                || "nothing yet".to_owned(),
                |through| format!("complete through {:.1} s ago", now.millis_since(through) as f64 / 1000.0),
            );
            let from = match agent.addresses.as_slice() {
                [] => "not connected".to_owned(),
                addresses => format!("connected from {}", addresses.join(", ")),
            };
            let conflict = if agent.identity_conflict { ", identity_conflict" } else { "" };
            let masked = match agent.series_masked {
                0 => String::new(),
                masked => format!(", {masked} of {} series not stored", agent.series),
            };
            line(&mut text, format_args!("  {}: {lag}, {from}{conflict}{masked}", agent.name));
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    text.write_fmt(arguments).unwrap_or_default();
    text.push('\n');
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
