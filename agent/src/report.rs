//! How the running agent is: what its socket answers and `status` prints.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vedette_daemon::people::{Page, bytes, count, moment, seconds, span};
use vedette_model::Timestamp;

/// Everything at a glance. Fields that a running agent of another release does not tell are at their default.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) healthy: bool,
    /// Why it is not healthy, each with what to do.
    pub(crate) problems: Vec<String>,
    /// What is worth a look and keeps nothing from arriving.
    pub(crate) notes: Vec<String>,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) now_ms: i64,
    pub(crate) started_at_ms: i64,
    pub(crate) interval_seconds: f64,
    pub(crate) collectors: Vec<CollectorReport>,
    pub(crate) targets: Vec<TargetReport>,
    pub(crate) replicas: Vec<ReplicaReport>,
    pub(crate) spool: SpoolReport,
    pub(crate) certificate: CertificateReport,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CollectorReport {
    pub(crate) name: String,
    /// `ok`, `no_data` (the host does not have it), `failed`, or `unknown` before the first collection.
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TargetReport {
    pub(crate) job: String,
    pub(crate) url: String,
    /// As in Prometheus: `up`, `down`, `unknown`.
    pub(crate) health: String,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ReplicaReport {
    /// Its id, or the address where one should be.
    pub(crate) replica: String,
    pub(crate) address: Option<String>,
    pub(crate) connected: bool,
    pub(crate) lag_batches: u64,
    pub(crate) lag_seconds: f64,
    pub(crate) last_ack_seconds_ago: Option<f64>,
    pub(crate) clock_skew_ms: i64,
    /// Why there is no connection.
    pub(crate) error: Option<String>,
    /// It refuses this agent's certificate.
    pub(crate) revoked: bool,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SpoolReport {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) oldest_seconds: Option<f64>,
    pub(crate) age_max_seconds: f64,
    pub(crate) disk_ok: bool,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_bytes_max: u64,
    /// Since the start: gaps recorded, and the batches that they are of.
    pub(crate) gaps: u64,
    pub(crate) dropped_batches: u64,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CertificateReport {
    /// For whom; none before the enrolment.
    pub(crate) name: Option<String>,
    pub(crate) expires_at_ms: i64,
    pub(crate) renews_at_ms: i64,
    /// Since the start.
    pub(crate) renewals_failed: u64,
}

const ENROLL: &str = "on an aggregator: vedette-aggregator token create >token, and here: vedette-agent enroll \
                      --token-file token";

impl Report {
    /// Says what is wrong, and what to do.
    pub(crate) fn judge(&mut self) {
        let (mut problems, mut notes) = (std::mem::take(&mut self.problems), Vec::new());
        self.judge_shipping(&mut problems, &mut notes);
        if !self.spool.disk_ok {
            problems.push(format!(
                "the spool's disk takes nothing, batches are kept in memory: make room, or repair it ({})",
                self.spool.path
            ));
        }
        if self.spool.dropped_batches > 0 {
            let dropped = count(self.spool.dropped_batches, "batch");
            notes.push(format!(
                "{dropped} could not be kept and are a gap now: raise spool.size_max or spool.age_max in agent.yml"
            ));
        }
        for collector in self.collectors.iter().filter(|collector| collector.state == "failed") {
            let reason = collector.reason.as_deref().unwrap_or_default();
            notes.push(format!("collector {} fails: {reason}", collector.name));
        }
        for target in self.targets.iter().filter(|target| target.health == "down") {
            let error = target.last_error.as_deref().unwrap_or_default();
            notes.push(format!("target {} of job {} is down: {error}", target.url, target.job));
        }
        (self.healthy, self.problems, self.notes) = (problems.is_empty(), problems, notes);
    }

    fn judge_shipping(&self, problems: &mut Vec<String>, notes: &mut Vec<String>) {
        let certificate = &self.certificate;
        let Some(certified) = &certificate.name else {
            return problems.push(format!("not enrolled, nothing is shipped: {ENROLL}"));
        };
        if *certified != self.name {
            notes.push(format!("the certificate is for {certified}: enrol again to ship as {}", self.name));
        }
        if self.replicas.iter().any(|replica| replica.revoked) {
            return problems.push(format!("the certificate was revoked; to come back, {ENROLL}"));
        }
        if certificate.expires_at_ms <= self.now_ms {
            return problems.push(format!("the certificate has expired; {ENROLL}"));
        }
        if certificate.renewals_failed > 0 && certificate.renews_at_ms <= self.now_ms {
            notes.push("the certificate is due and could not be renewed yet; the log says why".to_owned());
        }
        if !self.replicas.iter().any(|replica| replica.connected) {
            let errors: Vec<_> =
                self.replicas.iter().filter_map(|replica| replica.error.as_deref()).collect();
            let why = if errors.is_empty() { "none answered yet" } else { errors[0] };
            problems.push(format!(
                "no aggregator is connected ({why}): see that one runs, and that UDP to its port (9095) is let through"
            ));
        } else {
            for replica in self.replicas.iter().filter(|replica| !replica.connected) {
                let error = replica.error.as_deref().unwrap_or("no connection yet");
                notes.push(format!("replica {} is away: {error}", replica.replica));
            }
        }
        let skewed = self.replicas.iter().find(|replica| replica.clock_skew_ms.unsigned_abs() > 2_000);
        if let Some(replica) = skewed {
            let skew = span(Duration::from_millis(replica.clock_skew_ms.unsigned_abs()));
            notes.push(format!(
                "this clock and that of replica {} differ by {skew}: check NTP",
                replica.replica
            ));
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut page = Page::default();
        let now = Timestamp::from_millis(self.now_ms);
        let running = span(millis(self.now_ms - self.started_at_ms));
        let interval = span(seconds(self.interval_seconds));
        page.line(
            "agent",
            format!("{}, version {}, runs for {running}, every {interval}", self.name, self.version),
        );
        page.health(self.healthy, &self.problems, &self.notes);
        self.write_collectors(&mut page);
        let up = self.targets.iter().filter(|target| target.health == "up").count();
        page.line("targets", format!("{up} of {} up", self.targets.len()));
        let describe = |target: &TargetReport| match &target.last_error {
            Some(error) => format!("{}: {error}", target.health),
            None => target.health.clone(),
        };
        let names: Vec<_> =
            self.targets.iter().map(|target| format!("{} {}", target.job, target.url)).collect();
        page.list(names.iter().map(String::as_str).zip(self.targets.iter().map(describe)));
        let connected = self.replicas.iter().filter(|replica| replica.connected).count();
        page.line("replicas", format!("{connected} of {} connected", self.replicas.len()));
        page.list(self.replicas.iter().map(|replica| (replica.replica.as_str(), replica.text())));
        self.spool.write(&mut page);
        let certificate = match &self.certificate {
            CertificateReport { name: None, .. } => "none: not enrolled".to_owned(),
            CertificateReport { name: Some(name), expires_at_ms, renews_at_ms, .. } => format!(
                "for {name}, expires {}, renews itself from {}",
                moment(Timestamp::from_millis(*expires_at_ms), now),
                moment(Timestamp::from_millis(*renews_at_ms), now)
            ),
        };
        page.line("certificate", certificate);
        page.text()
    }

    fn write_collectors(&self, page: &mut Page) {
        let of = |state: &str| self.collectors.iter().filter(|collector| collector.state == state).count();
        let (total, ok, empty) = (self.collectors.len(), of("ok"), of("no_data"));
        let failed = of("failed");
        page.line(
            "collectors",
            format!("{total}: {ok} ok, {empty} without data on this host, {failed} failed"),
        );
        page.list(self.collectors.iter().map(|collector| {
            let text = match &collector.reason {
                Some(reason) => format!("{}: {reason}", collector.state),
                None => collector.state.clone(),
            };
            (collector.name.as_str(), text)
        }));
    }
}

impl ReplicaReport {
    fn text(&self) -> String {
        let state = if self.revoked {
            "refuses the certificate: it was revoked".to_owned()
        } else if self.connected {
            format!("connected to {}", self.address.as_deref().unwrap_or("it"))
        } else {
            format!("away: {}", self.error.as_deref().unwrap_or("no connection yet"))
        };
        let lag = match self.lag_batches {
            0 => "lag none".to_owned(),
            batches => format!("lag {} (about {})", count(batches, "batch"), span(seconds(self.lag_seconds))),
        };
        let ack = match self.last_ack_seconds_ago {
            Some(ago) => format!("last ack {} ago", span(seconds(ago))),
            None => "no ack yet".to_owned(),
        };
        format!("{state}, {lag}, {ack}")
    }
}

impl SpoolReport {
    fn write(&self, page: &mut Page) {
        let oldest = self.oldest_seconds.map_or("nothing".to_owned(), |age| span(seconds(age)));
        let disk = if self.disk_ok { "ok" } else { "takes nothing" };
        page.line("spool", format!("{}, disk {disk}", self.path));
        page.list([
            ("bytes", format!("{} of at most {}", bytes(self.bytes), bytes(self.bytes_max))),
            ("oldest", format!("{oldest} of at most {}", span(seconds(self.age_max_seconds)))),
            ("memory", format!("{} of at most {}", bytes(self.memory_bytes), bytes(self.memory_bytes_max))),
            (
                "gaps",
                format!("{}, {} dropped, since the start", self.gaps, count(self.dropped_batches, "batch")),
            ),
        ]);
    }
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn healthy() -> Report {
        let connected = ReplicaReport {
            replica: "one".to_owned(),
            address: Some("10.0.0.1:9095".to_owned()),
            connected: true,
            last_ack_seconds_ago: Some(0.5),
            ..ReplicaReport::default()
        };
        Report {
            name: "web-1".to_owned(),
            now_ms: DAY_MS,
            replicas: vec![connected],
            spool: SpoolReport { disk_ok: true, ..SpoolReport::default() },
            certificate: CertificateReport {
                name: Some("web-1".to_owned()),
                expires_at_ms: 30 * DAY_MS,
                renews_at_ms: 20 * DAY_MS,
                renewals_failed: 0,
            },
            ..Report::default()
        }
    }

    /// Changes a healthy agent, and looks for a text among its problems, or else among its notes.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Report), problem: Option<&str>, note: Option<&str>) {
        let mut report = healthy();
        change(&mut report);
        report.judge();
        let has = |texts: &[String], wanted: Option<&str>| match wanted {
            Some(wanted) => texts.iter().any(|text| text.contains(wanted)),
            None => texts.is_empty(),
        };
        assert!(has(&report.problems, problem), "{:?}", report.problems);
        assert!(has(&report.notes, note), "{:?}", report.notes);
        assert_eq!(report.healthy, problem.is_none());
    }

    #[test]
    fn what_keeps_samples_from_arriving_is_a_problem_with_a_next_step() {
        check(|_| {}, None, None);
        check(|report| report.certificate.name = None, Some("vedette-agent enroll"), None);
        check(|report| report.replicas[0].revoked = true, Some("was revoked; to come back, on an"), None);
        check(|report| report.certificate.expires_at_ms = DAY_MS, Some("has expired"), None);
        check(|report| report.replicas[0].connected = false, Some("no aggregator is connected"), None);
        check(|report| report.replicas.clear(), Some("none answered yet"), None);
        check(|report| report.spool.disk_ok = false, Some("takes nothing"), None);
    }

    #[test]
    fn what_loses_nothing_now_is_a_note() {
        check(|report| report.replicas.push(ReplicaReport::default()), None, Some("is away"));
        check(|report| report.spool.dropped_batches = 3, None, Some("3 batches could not be kept"));
        check(|report| report.name = "web-2".to_owned(), None, Some("enrol again to ship as web-2"));
        let failed = || CollectorReport {
            name: "cpu".to_owned(),
            state: "failed".to_owned(),
            reason: Some("cannot read /proc/stat".to_owned()),
        };
        check(|report| report.collectors.push(failed()), None, Some("collector cpu fails: cannot read"));
        let down =
            || TargetReport { health: "down".to_owned(), job: "app".to_owned(), ..TargetReport::default() };
        check(|report| report.targets.push(down()), None, Some("of job app is down"));
    }

    #[test]
    fn another_release_may_tell_less_or_more() {
        let report: Report = serde_json::from_str(r#"{"name": "a", "later": 1}"#).expect("reads");
        assert_eq!(report.name, "a");
        assert!(!report.text().is_empty());
    }

    #[test]
    fn the_page_is_aligned() {
        let mut report = healthy();
        report.judge();
        let text = report.text();
        assert!(text.contains("health        healthy"), "{text}");
        assert!(text.contains("  one  connected to 10.0.0.1:9095, lag none, last ack 500 ms ago"), "{text}");
    }
}
