//! The driver of one agent's connection: between its streams, its [`ReplicaSession`] and the storage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vedette_storage::{Append, AppendOutcome, AppendRefusal, Resume, SeriesCount};
use vedette_transport::{Certified, ControlReader, ControlWriter, Frame, StreamError, close, refusal};
use vedette_wire::control::{AgentMessage, Members, RefuseReason, ReplicaMessage, SeriesLimit, Window};
use vedette_wire::session::{
    CloseCode, FrameVerdict, ReplicaAction, ReplicaOptions, ReplicaSession, ResumePoint, StreamVerdict,
};
use vedette_wire::{AgentName, BatchSeq, LogId, requests_of};

use crate::sessions::{ConflictChange, SessionId};
use crate::stream::{self, StreamEvent};
use crate::{Shared, lock};

/// Frames read and not yet looked at, over all streams of a connection.
const EVENTS_MAX: usize = 4;
/// Frames that storage works on for one session.
const SUBMITTED_MAX: usize = 256;
/// Wait before storage is asked again when its queue was full.
const BUSY_RETRY: Duration = Duration::from_millis(10);
/// How long an agent may take to open its control stream.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refusal may take to arrive before the connection is closed.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);
/// A clock that is further off is named in the log.
const SKEW_MS_MAX: i64 = 60_000;
/// When an agent tries again what storage could not take.
const RETRY_STORAGE: Duration = Duration::from_secs(2);
/// When an agent tries again what will hardly be taken.
const RETRY_REFUSED: Duration = Duration::from_secs(60);

/// Serves an agent until it goes, breaks the rules, or `stop`.
pub(crate) async fn run(
    shared: Arc<Shared>,
    agent: AgentName,
    connection: Connection,
    stop: CancellationToken,
) {
    let address = connection.remote_address();
    let now = shared.clock.now().monotonic;
    let begun = lock(&shared.sessions).begin(now, &agent, address, shared.limits.connections_per_agent_max);
    let id = match begun {
        Ok(id) => id,
        Err(refusal) => {
            let message = refusal.to_string();
            shared.refused(refusal.reason(), agent.as_str(), &message);
            return close(&connection, CloseCode::Overload, &message);
        }
    };
    shared.metrics.sessions.set(lock(&shared.sessions).len() as i64);
    tracing::info!(%agent, %address, "session began");

    let ended = tokio::select! {
        ended = serve(&shared, &agent, id, &connection, stop.clone()) => ended,
        certified = revoked(&shared, &connection) => {
            let message = refusal(&certified.role);
            shared.refused("revoked", &certified.role.to_string(), &message);
            close(&connection, CloseCode::Revoked, &message);
            message
        }
        // An agent that does not read may keep the session from saying so.
        () = stopped(&stop) => {
            close(&connection, CloseCode::ShuttingDown, "the replica is going away");
            "the replica is going away".to_owned()
        }
    };

    lock(&shared.targets).end(&agent, id);
    let change = lock(&shared.sessions).end(&agent, id);
    shared.metrics.sessions.set(lock(&shared.sessions).len() as i64);
    report_conflict(&shared, &agent, change);
    tracing::info!(%agent, %address, reason = ended, "session ended");
}

/// When the certificate that the other side has shown is not good any more.
async fn revoked(shared: &Shared, connection: &Connection) -> Certified {
    let mut roll = shared.group.roll().subscribe();
    let Some(certified) = Certified::of_peer(connection) else { return std::future::pending().await };
    if roll.wait_for(|roll| roll.refuses(&certified)).await.is_err() {
        return std::future::pending().await;
    }
    certified
}

/// When sessions that have not ended by themselves after `stop` are cut off.
async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(2 * FAREWELL_TIMEOUT).await;
}

async fn serve(
    shared: &Arc<Shared>,
    agent: &AgentName,
    id: SessionId,
    connection: &Connection,
    stop: CancellationToken,
) -> String {
    let (send, receive) = match tokio::time::timeout(CONTROL_TIMEOUT, connection.accept_bi()).await {
        Ok(Ok(streams)) => streams,
        Ok(Err(error)) => return error.to_string(),
        Err(_elapsed) => {
            shared.refused("silent", agent.as_str(), "no control stream in time");
            close(connection, CloseCode::Timeout, "no control stream in time");
            return "no control stream in time".to_owned();
        }
    };
    let members = shared.group.members().subscribe();
    let mut options = ReplicaOptions::new(shared.group.replica());
    options.window = Window {
        frames_max: shared.limits.unacknowledged_frames_max,
        bytes_max: shared.limits.unacknowledged_bytes_max,
    };
    let session = ReplicaSession::new(options, members.borrow().clone(), shared.clock.now());
    let (outcomes, settled) = mpsc::channel(SUBMITTED_MAX);
    let driver = Driver {
        shared,
        agent,
        id,
        connection,
        session,
        control: ControlWriter::new(send),
        streams: BTreeMap::new(),
        outcomes,
        submitted: 0,
        held: None,
    };
    driver.run(ControlReader::new(receive), members, settled, stop).await
}

/// What became of a frame.
struct Settled {
    log: LogId,
    /// The stream that brought it; none when a peer did.
    stream: Option<u64>,
    /// Requests that were pushed to another replica and end with the frame.
    requests: Vec<u128>,
    outcome: AppendOutcome,
}

/// A frame on its way to storage.
struct Submission {
    log: LogId,
    stream: Option<u64>,
    bytes: Vec<u8>,
}

struct Driver<'a> {
    shared: &'a Arc<Shared>,
    agent: &'a AgentName,
    id: SessionId,
    connection: &'a Connection,
    session: ReplicaSession,
    control: ControlWriter,
    /// Which stream carries a log now. What came on an earlier one no longer counts against the log.
    streams: BTreeMap<LogId, u64>,
    outcomes: mpsc::Sender<Settled>,
    /// Frames that storage has and has not answered. Invariant: never more than [`SUBMITTED_MAX`].
    submitted: usize,
    /// What storage had no room for yet; nothing more is read meanwhile.
    held: Option<Held>,
}

struct Held {
    retry_at: Instant,
    submissions: std::collections::VecDeque<Submission>,
}

/// Why the session is over.
struct Over(String);

impl Driver<'_> {
    async fn run(
        mut self,
        mut control: ControlReader,
        mut members: watch::Receiver<Members>,
        mut settled: mpsc::Receiver<Settled>,
        stop: CancellationToken,
    ) -> String {
        let (events_sender, mut events) = mpsc::channel(EVENTS_MAX);
        // Dropped with the session, which ends the streams' tasks.
        let mut readers = JoinSet::new();
        loop {
            let wakeup = self.session.next_wakeup().map(|at| self.shared.clock.instant(at));
            let held_until = self.held.as_ref().map(|held| held.retry_at);
            let takes_frames = self.held.is_none() && self.submitted < SUBMITTED_MAX;
            tokio::select! {
                () = stop.cancelled() => {
                    self.session.refuse(RefuseReason::ShuttingDown, "the replica is going away".to_owned(), BUSY_RETRY);
                }
                message = control.read::<AgentMessage>() => match message {
                    Ok(Some(message)) => self.on_message(message),
                    Ok(None) => {
                        close(self.connection, CloseCode::Done, "");
                        return "the agent hung up".to_owned();
                    }
                    Err(error) => return self.broken(&error),
                },
                incoming = self.connection.accept_uni() => match incoming {
                    Ok(incoming) => {
                        let (shared, agent) = (Arc::clone(self.shared), self.agent.clone());
                        readers.spawn(stream::read(shared, agent, incoming, events_sender.clone()));
                    }
                    Err(error) => return error.to_string(),
                },
                Some(_ended) = readers.join_next() => {}
                Some(event) = events.recv(), if takes_frames => self.on_event(event),
                Some(settled) = settled.recv() => self.on_settled(settled),
                () = sleep_until(held_until), if held_until.is_some() => self.submit_held(),
                () = sleep_until(wakeup), if wakeup.is_some() => {}
                Ok(()) = members.changed() => {
                    let current = members.borrow_and_update().clone();
                    self.session.on_members(current);
                }
            }
            if let Err(Over(reason)) = self.act().await {
                return reason;
            }
        }
    }

    fn on_message(&mut self, message: AgentMessage) {
        let now = self.shared.clock.now();
        let is_hello = matches!(message, AgentMessage::Hello(_));
        if let AgentMessage::Targets(targets) = &message
            && self.session.agent().is_some()
            && !lock(&self.shared.targets).say(self.agent, self.id, targets.clone())
        {
            self.shared.refused("targets", self.agent.as_str(), "an agent has more targets than are listed");
        }
        let storage = &self.shared.storage;
        self.session.on_message(now, message, &mut |log| {
            let Resume { through, needs_key } = storage.resume(log);
            ResumePoint { through, needs_key }
        });
        if is_hello && let Some(info) = self.session.agent() {
            let (software, interval_ms, skew_ms) = (&info.software, info.interval_ms, info.skew_ms);
            tracing::info!(agent = %self.agent, software, interval_ms, skew_ms, "hello");
            if skew_ms.abs() > SKEW_MS_MAX {
                tracing::warn!(agent = %self.agent, skew_ms, "the agent's clock is far off");
            }
        }
    }

    fn on_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Opened { stream, log, verdict } => {
                let decided = self.session.on_stream(stream, log);
                if decided == StreamVerdict::Read {
                    self.streams.insert(log, stream);
                }
                // The stream's task may have ended with its connection.
                verdict.send(decided).ok();
            }
            StreamEvent::Recovered { log, frames } => {
                let submission = |frame: Frame| Submission { log, stream: None, bytes: frame.bytes };
                self.submit_all(frames.into_iter().map(submission).collect());
            }
            StreamEvent::Frame { stream, frame } => {
                self.note_life();
                if let FrameVerdict::Append { log } = self.session.on_frame(stream, &frame.header) {
                    let submission = Submission { log, stream: Some(stream), bytes: frame.bytes };
                    self.submit_all([submission].into());
                }
            }
            StreamEvent::Stalled { stream } => {
                let message = "a data stream stopped in the middle of a frame";
                self.shared.refused("stalled", self.agent.as_str(), message);
                if let Some(log) = self.log_of(stream) {
                    self.session.on_refused(log, RefuseReason::Frame, message.to_owned(), Duration::ZERO);
                }
                self.on_stream_end(stream);
            }
            StreamEvent::Ended { stream, error } => {
                if let Some(error) = error {
                    tracing::debug!(agent = %self.agent, stream, %error, "a data stream broke");
                    self.refuse_broken_stream(stream, &error);
                }
                self.on_stream_end(stream);
            }
        }
    }

    fn on_stream_end(&mut self, stream: u64) {
        self.session.on_stream_end(stream);
        self.streams.retain(|_, current| *current != stream);
    }

    fn log_of(&self, stream: u64) -> Option<LogId> {
        self.streams.iter().find(|(_, current)| **current == stream).map(|(log, _)| *log)
    }

    /// Bytes that are no frame: the log is refused. A stream that just broke off is resumed by the agent.
    fn refuse_broken_stream(&mut self, stream: u64, error: &StreamError) {
        if let (StreamError::Frame(_), Some(log)) = (error, self.log_of(stream)) {
            let message = error.to_string();
            self.shared.refused("frame", self.agent.as_str(), &message);
            self.session.on_refused(log, RefuseReason::Frame, message, RETRY_REFUSED);
        }
    }

    fn note_life(&mut self) {
        let now = self.shared.clock.now().monotonic;
        let change = lock(&self.shared.sessions).spoke(now, self.agent, self.id);
        report_conflict(self.shared, self.agent, change);
    }

    fn submit_all(&mut self, mut submissions: std::collections::VecDeque<Submission>) {
        while let Some(submission) = submissions.pop_front() {
            if self.submitted >= SUBMITTED_MAX || !self.submit(&submission) {
                submissions.push_front(submission);
                self.shared.metrics.storage_waits.inc();
                self.held = Some(Held { retry_at: Instant::now() + BUSY_RETRY, submissions });
                return;
            }
        }
    }

    fn submit_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.submit_all(held.submissions);
        }
    }

    /// Whether storage took the frame.
    fn submit(&mut self, submission: &Submission) -> bool {
        // 0 stands for what is no agent: a replica ships what was pushed to it.
        let told = self.session.agent().map_or(1, |info| info.interval_ms.max(1));
        let interval_ms = if self.agent.is_replica() { 0 } else { told };
        let (log, stream) = (submission.log, submission.stream);
        let append = Append { writer: self.agent.clone(), log, interval_ms, frame: submission.bytes.clone() };
        let requests = if self.agent.is_replica() { requests_of(&submission.bytes) } else { Vec::new() };
        let outcomes = self.outcomes.clone();
        let shared = Arc::clone(self.shared);
        let received = Instant::now();
        let done = move |outcome| {
            shared.metrics.durable_duration.observe(received.elapsed().as_secs_f64());
            // There is room for all that was submitted; it fails only when the session is gone.
            outcomes.try_send(Settled { log, stream, requests, outcome }).ok();
        };
        let taken = self.shared.storage.submit(append, Box::new(done)).is_ok();
        self.submitted += usize::from(taken);
        taken
    }

    fn on_settled(&mut self, settled: Settled) {
        self.submitted -= 1;
        let Settled { log, stream, requests, outcome } = settled;
        let (reason, message, retry_after) = match outcome {
            AppendOutcome::Durable { through, masked } => {
                if let Some(count) = masked {
                    self.on_masked(log, count);
                }
                return self.on_through(log, through, requests);
            }
            AppendOutcome::Known { through } => return self.on_through(log, through, requests),
            AppendOutcome::Refused(refusal) => {
                let (reason, retry_after) = answer_to(&refusal);
                self.shared.refused(refusal.reason(), self.agent.as_str(), &refusal.to_string());
                (reason, refusal.to_string(), retry_after)
            }
            AppendOutcome::Failed(fault) => {
                self.shared.refused("storage", "storage", &fault.to_string());
                (RefuseReason::Storage, fault.to_string(), RETRY_STORAGE)
            }
        };
        // Frames behind one that failed fail as well, maybe after the log was opened anew.
        if stream.is_some() && self.streams.get(&log).copied() == stream {
            self.streams.remove(&log);
            self.session.on_refused(log, reason, message, retry_after);
        }
    }

    fn on_through(&mut self, log: LogId, through: BatchSeq, requests: Vec<u128>) {
        let now = self.shared.clock.now();
        let mut recent = lock(&self.shared.pushes.recent);
        requests.into_iter().for_each(|request| recent.add(now.monotonic, request));
        drop(recent);
        self.session.on_durable(now, log, through);
    }

    /// The rest of the batch is stored; which series are not stays so until their segment ends.
    fn on_masked(&mut self, log: LogId, count: SeriesCount) {
        let SeriesCount { series, masked, series_max } = count;
        let message = format!(
            "{masked} of the agent's {series} series are not stored: limits.series_per_agent_max is {series_max}"
        );
        self.shared.refused("series_limit", self.agent.as_str(), &message);
        let limit = SeriesLimit { log, series, masked, series_max };
        self.session.on_series_limit(self.shared.clock.now(), limit);
    }

    /// Does what the session wants done.
    async fn act(&mut self) -> Result<(), Over> {
        while let Some(action) = self.session.poll_action(self.shared.clock.now()) {
            match action {
                ReplicaAction::Send(message) => {
                    self.count_message(&message);
                    if let Err(error) = self.control.write(&message).await {
                        return Err(Over(self.broken(&error)));
                    }
                }
                ReplicaAction::LogClosed { log, last } => {
                    tracing::debug!(agent = %self.agent, %log, %last, "log is whole");
                    self.streams.remove(&log);
                }
                ReplicaAction::Close { code, reason } => {
                    self.control.finish();
                    // The agent closes when it has read why; one that does not is not waited for.
                    tokio::time::timeout(FAREWELL_TIMEOUT, self.connection.closed()).await.ok();
                    close(self.connection, code, &reason);
                    return Err(Over(reason));
                }
            }
        }
        Ok(())
    }

    fn count_message(&self, message: &ReplicaMessage) {
        match message {
            ReplicaMessage::Ack(_) => self.shared.metrics.acks.inc(),
            // What storage refused was counted when it did.
            ReplicaMessage::Refuse(refuse)
                if matches!(
                    refuse.reason,
                    RefuseReason::Protocol | RefuseReason::Version | RefuseReason::Overload
                ) =>
            {
                self.shared.refused(refuse.reason.as_str(), self.agent.as_str(), &refuse.message);
            }
            _ => {}
        }
    }

    fn broken(&self, error: &StreamError) -> String {
        let message = error.to_string();
        match error {
            StreamError::Control(_) | StreamError::Frame(_) | StreamError::StreamVersion { .. } => {
                self.shared.refused("protocol", self.agent.as_str(), &message);
                close(self.connection, CloseCode::Protocol, &message);
            }
            StreamError::WriteTimeout => {
                self.shared.refused("unread", self.agent.as_str(), &message);
                close(self.connection, CloseCode::Timeout, &message);
            }
            _ => close(self.connection, CloseCode::Timeout, &message),
        }
        message
    }
}

/// Never, when there is no time.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What an agent is told when storage does not take a frame, and when it may try again.
fn answer_to(refusal: &AppendRefusal) -> (RefuseReason, Duration) {
    match refusal {
        // Opening the log anew finds the right place.
        AppendRefusal::OutOfOrder { .. } | AppendRefusal::NeedsKey { .. } => {
            (RefuseReason::Frame, Duration::ZERO)
        }
        AppendRefusal::Malformed { .. } | AppendRefusal::TimeOutOfRange { .. } => {
            (RefuseReason::Frame, RETRY_REFUSED)
        }
        AppendRefusal::ForeignLog { .. } => (RefuseReason::IdentityConflict, RETRY_REFUSED),
        AppendRefusal::LogLimit { .. } => (RefuseReason::Limit, RETRY_REFUSED),
    }
}

fn report_conflict(shared: &Shared, agent: &AgentName, change: Option<ConflictChange>) {
    let metric = &shared.metrics.identity_conflict;
    match change {
        None => {}
        Some(ConflictChange::Began { addresses }) => {
            metric.with_label_values(&[agent.as_str()]).set(1);
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            tracing::warn!(
                %agent, addresses = addresses.join(", "),
                "identity_conflict: two live sessions have one agent's name; the data of both is taken"
            );
        }
        Some(ConflictChange::Ended) => {
            // An agent whose conflict is over leaves no series behind.
            metric.remove_label_values(&[agent.as_str()]).ok();
            tracing::info!(%agent, "identity_conflict is over");
        }
    }
}
