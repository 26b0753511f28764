//! The socket in the spool's folder, by which `status` asks the running agent how it is.

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener as BlockingListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use vedette_daemon::socket::{self, AskError};
use vedette_daemon::{build, clock, logging, people};
use vedette_transport::Role;

use crate::collect::{Gathering, Request};
use crate::report::{CertificateReport, ReplicaReport, Report, SpoolReport};
use crate::shared::Shared;

/// The only question.
const STATUS: &str = "status";
/// The longest question.
const QUESTION_BYTES_MAX: u64 = 256;
/// How long a caller may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the task that collects may take to answer: a collector may hang on a disk.
const GATHER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a caller could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// Replicas and addresses that are told of.
const REPLICAS_MAX: usize = 256;

/// Opens the socket. An agent without one collects and ships all the same.
pub(crate) fn listen(spool: &Path) -> Option<BlockingListener> {
    match socket::listen(spool) {
        Ok(listener) => Some(listener),
        Err(error) => {
            warn!(path = %socket::path(spool).display(), %error, "no control socket: vedette-agent status will not work");
            None
        }
    }
}

/// Answers until `stop`, one caller after the other.
pub(crate) async fn serve(listener: Option<BlockingListener>, shared: Arc<Shared>, stop: CancellationToken) {
    let Some(listener) = listener.and_then(|listener| UnixListener::from_std(listener).ok()) else { return };
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let answered = tokio::time::timeout(TIMEOUT, answer(stream, &shared)).await;
                if !matches!(answered, Ok(Ok(()))) {
                    debug!("a caller on the control socket hung up");
                }
            }
            Err(error) => {
                warn!(%error, "the control socket takes nobody");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let (receive, mut send) = stream.into_split();
    let mut line = String::new();
    BufReader::new(receive.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match line.trim_end() {
        STATUS => serde_json::to_string(&report(shared).await)?,
        other => json!({ "error": format!("{other:?} is not a question; ask {STATUS}") }).to_string(),
    };
    send.write_all(format!("{answer}\n").as_bytes()).await
}

async fn report(shared: &Arc<Shared>) -> Report {
    let (sender, answer) = oneshot::channel();
    let asked = shared.requests.try_send(Request::Status(sender)).is_ok();
    let gathering = match tokio::time::timeout(GATHER_TIMEOUT, answer).await {
        Ok(Ok(gathering)) if asked => Some(gathering),
        _ => None,
    };
    let mut problems = Vec::new();
    if gathering.is_none() {
        problems.push("collecting does not answer: a collector hangs, or the host is overloaded".to_owned());
    }
    let Gathering { name, interval, collectors, targets } = gathering.unwrap_or_default();
    let mut report = Report {
        problems,
        name,
        version: build::VERSION.to_owned(),
        now_ms: clock::now().as_millis(),
        started_at_ms: shared.clock.started_at().as_millis(),
        interval_seconds: interval.as_secs_f64(),
        collectors,
        targets,
        replicas: replicas(shared),
        spool: spool(shared),
        certificate: certificate(shared),
        ..Report::default()
    };
    report.judge();
    report
}

fn replicas(shared: &Shared) -> Vec<ReplicaReport> {
    let known: BTreeMap<_, _> = shared.replicas().clone();
    let (now, seconds_per_batch) = (shared.clock.monotonic(), shared.numbers().seconds_per_batch);
    let spool = shared.spool();
    let of = |(label, numbers): (String, crate::shared::ReplicaNumbers)| {
        let lag = numbers.replica.map_or(0, |replica| crate::shared::lag_batches(&spool, replica));
        ReplicaReport {
            replica: label,
            address: numbers.address.map(|address| address.to_string()),
            connected: numbers.is_connected,
            lag_batches: lag,
            lag_seconds: lag as f64 * seconds_per_batch,
            last_ack_seconds_ago: numbers.last_ack.map(|at| now.saturating_sub(at).as_secs_f64()),
            clock_skew_ms: numbers.skew_ms,
            error: numbers.error,
            revoked: numbers.is_revoked,
        }
    };
    known.into_iter().take(REPLICAS_MAX).map(of).collect()
}

fn spool(shared: &Shared) -> SpoolReport {
    let spool = shared.spool();
    let (statistics, config) = (spool.statistics(shared.now()), spool.config());
    SpoolReport {
        path: config.path.display().to_string(),
        bytes: statistics.bytes,
        bytes_max: config.bytes_max,
        oldest_seconds: statistics.oldest_age.map(|age| age.as_secs_f64()),
        age_max_seconds: config.age_max.as_secs_f64(),
        disk_ok: statistics.is_disk_good,
        memory_bytes: statistics.memory_bytes,
        memory_bytes_max: config.memory_bytes_max as u64,
        gaps: statistics.counters.gaps,
        dropped_batches: statistics.counters.dropped_by_reason().map(|(_, batches)| batches).sum(),
    }
}

fn certificate(shared: &Shared) -> CertificateReport {
    let renewals_failed = shared.numbers().renewals_failed;
    match shared.identity.borrow().as_ref() {
        None => CertificateReport { renewals_failed, ..CertificateReport::default() },
        Some(identity) => CertificateReport {
            name: match identity.role() {
                Role::Agent(name) => Some(name.to_string()),
                Role::Replica(_) => None,
            },
            expires_at_ms: identity.expires_at().as_millis(),
            renews_at_ms: identity.renew_at().as_millis(),
            renewals_failed,
        },
    }
}

/// `status`: prints how the agent that runs on this spool is. Whether it is healthy.
pub(crate) fn print_status(spool: &Path, as_json: bool) -> anyhow::Result<bool> {
    let answer = socket::ask(spool, STATUS, TIMEOUT);
    match answer.as_deref().map(serde_json::from_str::<Report>) {
        Ok(Ok(report)) => {
            print(&report, as_json)?;
            Ok(report.healthy)
        }
        Ok(Err(error)) => complain(&format!("the agent's answer makes no sense: {error}"), as_json),
        Err(error @ AskError::NotRunning { .. }) => {
            let start = "start it: systemctl start vedette-agent, or vedette-agent run; with another --spool.path or \
                         --config.file, give it here as well";
            complain(&format!("{error}; {start}"), as_json)
        }
        Err(error) => complain(&error.to_string(), as_json),
    }
}

fn complain(problem: &str, as_json: bool) -> anyhow::Result<bool> {
    if as_json {
        print(&Report { problems: vec![problem.to_owned()], ..Report::default() }, true)?;
    } else {
        logging::complain(problem);
    }
    Ok(false)
}

fn print(report: &Report, as_json: bool) -> anyhow::Result<()> {
    let text = if as_json { serde_json::to_string_pretty(report)? } else { report.text() };
    Ok(people::say(text + "\n")?)
}
