//! How the running aggregator is: what its socket answers and `status` prints.

use serde::{Deserialize, Serialize};
use vedette_daemon::people::{Page, bytes, count, moment, seconds, span};
use vedette_model::Timestamp;

/// Agents that are listed one by one; with more, only those that are absent or in conflict.
const AGENTS_LISTED_MAX: usize = 50;

/// Everything at a glance. Fields that a running aggregator of another release does not tell are at their default.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) healthy: bool,
    /// Why it is not healthy, each with what to do.
    pub(crate) problems: Vec<String>,
    /// What is worth a look.
    pub(crate) notes: Vec<String>,
    /// What to do next.
    pub(crate) next_steps: Vec<String>,
    pub(crate) replica: String,
    pub(crate) version: String,
    pub(crate) now_ms: i64,
    pub(crate) url: String,
    pub(crate) quic_addresses: Vec<String>,
    pub(crate) external_labels: Vec<(String, String)>,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) agents: Vec<AgentReport>,
    pub(crate) storage: StorageReport,
    pub(crate) certificate_expires_at_ms: i64,
    pub(crate) authority_expires_at_ms: i64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MemberReport {
    pub(crate) replica: String,
    pub(crate) addresses: Vec<String>,
    /// The replica that answers.
    pub(crate) own: bool,
    pub(crate) reached_seconds_ago: Option<f64>,
    /// Why it was not reached when it was last tried.
    pub(crate) error: Option<String>,
    /// Batches that it had and the replica that answers had not, when it was last looked at.
    pub(crate) lacking_batches: Option<u64>,
    /// Batches that were pushed to the replica that answers and that it has not acknowledged.
    pub(crate) unshipped_batches: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AgentReport {
    pub(crate) name: String,
    pub(crate) connected_from: Vec<String>,
    /// Up to when all that it has collected is here.
    pub(crate) complete_seconds_ago: Option<f64>,
    pub(crate) identity_conflict: bool,
    pub(crate) series: u64,
    pub(crate) series_not_stored: u64,
    pub(crate) gap_batches: u64,
    /// How often it was revoked.
    pub(crate) revocations: u32,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StorageReport {
    pub(crate) path: String,
    pub(crate) parts_bytes: u64,
    pub(crate) parts: u64,
    pub(crate) log_bytes: u64,
    pub(crate) head_bytes: u64,
    pub(crate) head_series: u64,
    pub(crate) samples: u64,
    pub(crate) disk_free_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) retention_seconds: f64,
    pub(crate) writable: bool,
}

/// What to do as long as no agent is enrolled.
pub(crate) fn first_steps(url: &str) -> [String; 3] {
    [
        "here: vedette-aggregator token create >token".to_owned(),
        "on a host that is to be watched, with that file: vedette-agent enroll --token-file token".to_owned(),
        format!("then look at {url}, or add it to Grafana as a Prometheus data source"),
    ]
}

impl Report {
    /// Says what is wrong, and what to do.
    pub(crate) fn judge(&mut self) {
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        if !self.storage.writable {
            problems.push(format!(
                "the disk takes nothing, agents keep their data meanwhile: make room, or repair it ({})",
                self.storage.path
            ));
        }
        if self.certificate_expires_at_ms <= self.now_ms {
            problems.push("the own certificate has expired: the log says why it was not renewed".to_owned());
        }
        for member in self.members.iter().filter(|member| !member.own) {
            if let Some(error) = &member.error {
                notes.push(format!("replica {} is away: {error}", member.replica));
            }
        }
        let absent = self.agents.iter().filter(|agent| agent.connected_from.is_empty()).count();
        if absent > 0 {
            notes.push(format!("{} absent", count(absent as u64, "agent")));
        }
        for agent in self.agents.iter().filter(|agent| agent.identity_conflict) {
            notes.push(format!(
                "several machines are enrolled as {}: enrol each under its own name",
                agent.name
            ));
        }
        if self.agents.is_empty() {
            self.next_steps = first_steps(&self.url).to_vec();
        }
        (self.healthy, self.problems, self.notes) = (problems.is_empty(), problems, notes);
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut page = Page::default();
        let now = Timestamp::from_millis(self.now_ms);
        page.line("replica", format!("{}, version {}", self.replica, self.version));
        page.health(self.healthy, &self.problems, &self.notes);
        page.line("HTTP", &self.url);
        page.line("QUIC (UDP)", self.quic_addresses.join(", "));
        for (name, value) in &self.external_labels {
            page.line("label", format!("{name}={value:?}"));
        }
        page.line("group", count(self.members.len() as u64, "replica"));
        page.list(self.members.iter().map(|member| (member.replica.as_str(), member.text())));
        self.write_agents(&mut page);
        self.storage.write(&mut page);
        page.line("retention", span(seconds(self.storage.retention_seconds)));
        let until = |millis| moment(Timestamp::from_millis(millis), now);
        page.line("certificate", format!("expires {}, renews itself", until(self.certificate_expires_at_ms)));
        page.line("authority", format!("expires {}", until(self.authority_expires_at_ms)));
        let steps = self.next_steps.iter().enumerate();
        page.list(std::iter::once(("next", String::new())).filter(|_| !self.next_steps.is_empty()));
        let steps: Vec<_> = steps.map(|(index, step)| (format!("{}.", index + 1), step.clone())).collect();
        page.list(steps.iter().map(|(number, step)| (number.as_str(), step.clone())));
        page.text()
    }

    fn write_agents(&self, page: &mut Page) {
        let connected = self.agents.iter().filter(|agent| !agent.connected_from.is_empty()).count();
        let absent = self.agents.len() - connected;
        page.line("agents", format!("{}: {connected} connected, {absent} absent", self.agents.len()));
        let all = self.agents.len() <= AGENTS_LISTED_MAX;
        let listed = self
            .agents
            .iter()
            .filter(|agent| all || agent.connected_from.is_empty() || agent.identity_conflict)
            .take(AGENTS_LISTED_MAX);
        page.list(listed.map(|agent| (agent.name.as_str(), agent.text())));
    }

    /// `agent list`: a line for each agent.
    pub(crate) fn agents_text(&self) -> String {
        let mut page = Page::default();
        page.list(self.agents.iter().map(|agent| (agent.name.as_str(), agent.text())));
        page.text()
    }
}

impl MemberReport {
    fn text(&self) -> String {
        let addresses = self.addresses.join(", ");
        if self.own {
            return format!("this one, at {addresses}");
        }
        let ago = self.reached_seconds_ago.map(|ago| format!("{} ago", span(seconds(ago))));
        let reached = match (&self.error, ago) {
            (None, Some(ago)) => format!("reached {ago}"),
            (None, None) => "not reached yet".to_owned(),
            (Some(error), Some(ago)) => format!("away, last reached {ago}: {error}"),
            (Some(error), None) => format!("away: {error}"),
        };
        let lacking = match self.lacking_batches {
            None => String::new(),
            Some(0) => ", nothing of it is lacking here".to_owned(),
            Some(batches) => format!(", lag here {}", count(batches, "batch")),
        };
        let unshipped = match self.unshipped_batches {
            None => String::new(),
            Some(0) => ", has all pushes".to_owned(),
            Some(batches) => format!(", lag there {} of pushes", count(batches, "batch")),
        };
        format!("{reached}{lacking}{unshipped}, at {addresses}")
    }
}

impl AgentReport {
    fn text(&self) -> String {
        let complete = match self.complete_seconds_ago {
            Some(ago) => format!("complete through {} ago", span(seconds(ago.max(0.0)))),
            None => "nothing yet".to_owned(),
        };
        let from = match self.connected_from.as_slice() {
            [] => "absent".to_owned(),
            addresses => format!("connected from {}", addresses.join(", ")),
        };
        let conflict = if self.identity_conflict { ", identity_conflict" } else { "" };
        let masked = match self.series_not_stored {
            0 => String::new(),
            masked => format!(", {masked} of {} series not stored", self.series),
        };
        let revoked = match self.revocations {
            0 => String::new(),
            times => {
                format!(", revoked {}", if times == 1 { "once".to_owned() } else { format!("{times} times") })
            }
        };
        format!("{from}, {complete}{conflict}{masked}{revoked}")
    }
}

impl StorageReport {
    fn write(&self, page: &mut Page) {
        let state = if self.writable { "ok" } else { "takes nothing" };
        page.line("storage", format!("{}, disk {state}", self.path));
        page.list([
            (
                "parts",
                format!(
                    "{} in {}, {} samples",
                    bytes(self.parts_bytes),
                    count(self.parts, "part"),
                    self.samples
                ),
            ),
            ("log", bytes(self.log_bytes)),
            ("head", format!("{} of memory, {} series", bytes(self.head_bytes), self.head_series)),
            ("free", format!("{} of {}", bytes(self.disk_free_bytes), bytes(self.disk_bytes))),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Report {
        Report {
            url: "http://127.0.0.1:9090".to_owned(),
            certificate_expires_at_ms: 1,
            storage: StorageReport { writable: true, ..StorageReport::default() },
            ..Report::default()
        }
    }

    #[test]
    fn an_aggregator_without_agents_says_what_to_do() {
        let mut report = healthy();
        report.judge();
        assert!(report.healthy);
        let text = report.text();
        for step in [
            "vedette-aggregator token create >token",
            "vedette-agent enroll --token-file token",
            "http://127.0.0.1:9090",
        ] {
            assert!(text.contains(step), "{text}");
        }
        report.agents.push(AgentReport {
            name: "web-1".to_owned(),
            revocations: 2,
            ..AgentReport::default()
        });
        report.next_steps.clear();
        report.judge();
        assert!(report.next_steps.is_empty());
        assert_eq!(report.agents_text(), "  web-1  absent, nothing yet, revoked 2 times");
        assert!(report.text().contains("note  1 agent absent"), "{}", report.text());
    }

    #[test]
    fn a_disk_that_takes_nothing_and_a_certificate_that_is_over_are_problems() {
        for change in [(|report: &mut Report| report.storage.writable = false) as fn(&mut Report), |report| {
            report.certificate_expires_at_ms = 0
        }] {
            let mut report = healthy();
            change(&mut report);
            report.judge();
            assert!(!report.healthy && report.problems.len() == 1, "{:?}", report.problems);
        }
        let mut report = healthy();
        report.members.push(MemberReport { error: Some("no route".to_owned()), ..MemberReport::default() });
        report.judge();
        assert!(report.healthy);
        assert!(report.text().contains("is away: no route"), "{}", report.text());
    }
}
