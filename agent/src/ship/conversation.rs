use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quinn::Connection;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use vedette_spool::{LogRange, StoredFrame};
use vedette_transport::{Connected, ControlWriter, HangUp, LogStreams, closed_with, open_control};
use vedette_wire::control::{
    AgentMessage, FEATURE_HISTOGRAMS, FEATURE_TARGETS, LogOffer, ReplicaMessage, TargetReport, Targets,
};
use vedette_wire::session::{AgentAction, AgentOptions, AgentSession, CloseCode, SendStart, Sent};
use vedette_wire::{BatchSeq, LogId, ReplicaId, encode_gap};

use crate::shared::{ReplicaNumbers, Shared};

/// A replica's clock that is off by more is worth a line.
const SKEW_WORTH_SAYING_MS: u64 = 2_000;
/// How long to wait before the spool is read again after it failed.
const READ_RETRY: Duration = Duration::from_secs(5);
/// What is said of targets is said again no sooner: an error may be another with every scrape.
const TARGETS_PAUSE: Duration = Duration::from_secs(5);

/// One connection: does what the session says, and tells it what happens.
pub(crate) struct Conversation<'a> {
    shared: &'a Shared,
    label: String,
    connection: Connection,
    replica: ReplicaId,
    session: AgentSession,
    streams: LogStreams,
    /// Logs that the session knows, and where they end.
    offered: BTreeMap<LogId, BatchSeq>,
    /// Closed logs of which the replica has everything: not to be offered again on this connection.
    done: BTreeSet<LogId>,
    /// Reasons for refusals that were said already.
    refusals_said: BTreeSet<&'static str>,
    retry_after: Duration,
    /// Reading the spool failed: not to be tried before.
    read_again_at: Option<Duration>,
    /// When the replica may be told of targets; never when it does not listen.
    targets_at: Option<Duration>,
}

/// Why a conversation is over.
pub(crate) struct Ended {
    pub(crate) reason: String,
    /// The replica wants to be left alone for so long.
    pub(crate) retry_after: Duration,
    /// The replica hung up because the agent's certificate was revoked.
    pub(crate) is_revoked: bool,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        label: String,
        connected: Connected,
        options: AgentOptions,
    ) -> Self {
        Self {
            shared,
            label,
            streams: LogStreams::new(connected.connection.clone()),
            connection: connected.connection,
            replica: connected.replica,
            session: AgentSession::new(options),
            offered: BTreeMap::new(),
            done: BTreeSet::new(),
            refusals_said: BTreeSet::new(),
            retry_after: Duration::ZERO,
            read_again_at: None,
            targets_at: None,
        }
    }

    /// Until the connection ends or `stop` says so.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> Ended {
        let stopped = tokio::select! {
            result = self.converse() => result.err(),
            () = stop.cancelled() => Some(HangUp::Closed(CloseCode::ShuttingDown, "the agent leaves".to_owned())),
        };
        let reason = match stopped {
            None => "the replica ended the conversation".to_owned(),
            Some(stopped) => stopped.close(&self.connection),
        };
        let is_revoked = closed_with(&self.connection) == Some(CloseCode::Revoked);
        Ended { reason, retry_after: self.retry_after, is_revoked }
    }

    async fn converse(&mut self) -> Result<(), HangUp> {
        let (mut control, mut messages) = open_control(&self.connection).await?;
        let mut changed = self.shared.spool_changed.subscribe();
        changed.mark_unchanged();
        let mut targets = self.shared.targets.subscribe();
        targets.mark_changed();
        self.offer_logs();
        self.session.on_connected(self.shared.now());
        loop {
            while let Some(action) = self.session.poll_action(self.shared.now()) {
                self.perform(action, &mut control).await?;
            }
            let wakeup = [self.session.next_wakeup(), self.read_again_at].into_iter().flatten().min();
            tokio::select! {
                message = messages.read::<ReplicaMessage>() => match message? {
                    Some(message) => {
                        self.note_restored(&message);
                        self.session.on_message(self.shared.now(), message);
                    }
                    None => return Ok(()),
                },
                Ok(()) = changed.changed() => self.offer_logs(),
                reports = next_reports(self.shared, self.targets_at, &mut targets) => {
                    for page in Targets::pages(&reports) {
                        control.write(&AgentMessage::Targets(page)).await?;
                    }
                    self.targets_at = Some(self.shared.clock.monotonic() + TARGETS_PAUSE);
                }
                () = self.sleep(wakeup) => {
                    if self.read_again_at.take_if(|at| *at <= self.shared.clock.monotonic()).is_some() {
                        self.offer_logs();
                    }
                }
            }
        }
    }

    async fn sleep(&self, wakeup: Option<Duration>) {
        match wakeup {
            Some(at) => sleep_until(self.shared.clock.instant(at)).await,
            None => std::future::pending().await,
        }
    }

    /// Tells the session what the spool holds.
    fn offer_logs(&mut self) {
        let logs = self.shared.spool().logs();
        for range in logs.iter().filter(|range| !self.done.contains(&range.log)) {
            self.offered.insert(range.log, range.last);
            self.session.on_spool(offer(range));
        }
        let present: BTreeSet<LogId> = logs.iter().map(|range| range.log).collect();
        let gone: Vec<(LogId, BatchSeq)> = self
            .offered
            .iter()
            .filter(|(log, _)| !present.contains(log))
            .map(|(log, last)| (*log, *last))
            .collect();
        for (log, last) in gone {
            // Freed: whoever must have it has it.
            self.offered.remove(&log);
            self.session.on_spool(LogOffer { log, first: last.next(), last, closed: true });
        }
    }

    /// A replica that has nothing of a log any more says so in its answer, and in no acknowledgement.
    fn note_restored(&self, message: &ReplicaMessage) {
        let mut spool = self.shared.spool();
        for resume in message.resumes() {
            spool.set_cursor(self.replica, resume.log, resume.through);
        }
    }

    async fn perform(&mut self, action: AgentAction, control: &mut ControlWriter) -> Result<(), HangUp> {
        match action {
            AgentAction::Send(message) => control.write(&message).await?,
            AgentAction::Welcomed { replica, skew_ms, features } => {
                self.welcomed(replica, skew_ms, features)?
            }
            AgentAction::OpenStream { log, live } => self.streams.open(log, live).await?,
            AgentAction::SendFrames { log, from, start, to, bytes_max } => {
                let sent = self.send_frames(log, from, start, to, bytes_max).await?;
                self.session.on_sent(log, sent);
            }
            AgentAction::SendGap { log, from, to } => {
                // What was freed or dropped whole; the spool has a reason for anything else.
                let frame = encode_gap(from, to, vedette_wire::GapReason::SpoolLost);
                let frames = vec![StoredFrame { first: from, last: to, bytes: frame }];
                let sent = self.send(log, frames).await?;
                self.session.on_sent(log, sent);
            }
            AgentAction::ResetStream { log } => self.streams.reset(log),
            AgentAction::Acked { replica, log, through } => {
                self.shared.spool().set_cursor(replica, log, through);
                self.shared.spool_touched.notify_one();
                let now = self.shared.clock.monotonic();
                self.note(|numbers| (numbers.acks, numbers.last_ack) = (numbers.acks + 1, Some(now)));
            }
            AgentAction::LogDone { log, .. } => {
                self.offered.remove(&log);
                self.done.insert(log);
                self.streams.finish(log);
            }
            AgentAction::MembersChanged(members) => {
                // One that knows no members (yet) does not take them from us.
                if !members.members.is_empty() {
                    self.shared.spool().set_members(members, self.shared.now());
                    self.shared.fleet_changed.notify_one();
                }
            }
            AgentAction::StartNewLog { log } => self.shared.request_new_log(log),
            AgentAction::Refused { log, reason, message, retry_after } => {
                let reason = reason.as_str();
                self.note(|numbers| *numbers.refusals.entry(reason).or_default() += 1);
                if log.is_none() {
                    self.retry_after = retry_after;
                }
                if self.refusals_said.insert(reason) {
                    let log = log.map(|log| log.to_string()).unwrap_or_default();
                    warn!(replica = %self.replica, reason, log, why = message, ?retry_after, "the replica refuses");
                }
            }
            AgentAction::SeriesLimited(limit) => warn!(
                replica = %self.replica, series = limit.series, not_stored = limit.masked, limit = limit.series_max,
                "the replica does not store all series: scrape fewer, or raise limits.series_per_agent_max in aggregator.yml"
            ),
            AgentAction::Close { code, reason } => return Err(HangUp::Closed(code, reason)),
        }
        Ok(())
    }

    fn welcomed(&mut self, replica: ReplicaId, skew_ms: i64, features: u64) -> Result<(), HangUp> {
        if replica != self.replica {
            let reason = format!("replica {} says that it is {replica}", self.replica);
            return Err(HangUp::Closed(CloseCode::Protocol, reason));
        }
        self.note(|numbers| numbers.skew_ms = skew_ms);
        if skew_ms.unsigned_abs() > SKEW_WORTH_SAYING_MS {
            warn!(%replica, skew_ms, "the replica's clock and this host's differ");
        }
        if features & FEATURE_TARGETS != 0 {
            self.targets_at = Some(self.shared.clock.monotonic());
        }
        if features & FEATURE_HISTOGRAMS == 0 {
            warn!(%replica, "the replica is of an older release and refuses native histograms: upgrade it before agents");
        }
        Ok(())
    }

    async fn send_frames(
        &mut self,
        log: LogId,
        from: BatchSeq,
        start: SendStart,
        to: BatchSeq,
        bytes_max: usize,
    ) -> Result<Sent, HangUp> {
        let nothing = Sent { through: from, frames: 0, bytes: 0 };
        let read = {
            let mut spool = self.shared.spool();
            let from = match start {
                SendStart::At => from,
                SendStart::KeyOf => spool.run_start(log, from).unwrap_or(from).min(from),
            };
            spool.read(log, from, to, bytes_max, self.shared.now())
        };
        match read {
            Ok(frames) => self.send(log, frames).await,
            Err(error) => {
                warn!(%error, "the spool can not be read");
                self.read_again_at = Some(self.shared.clock.monotonic() + READ_RETRY);
                Ok(nothing)
            }
        }
    }

    async fn send(&mut self, log: LogId, frames: Vec<StoredFrame>) -> Result<Sent, HangUp> {
        let frames = frames.into_iter().map(|frame| (frame.last, frame.bytes));
        let sent = self.streams.send(log, frames).await?;
        self.note(|numbers| {
            numbers.batches_sent += u64::from(sent.frames);
            numbers.bytes_sent += sent.bytes;
        });
        Ok(sent)
    }

    fn note(&self, change: impl FnOnce(&mut ReplicaNumbers)) {
        change(self.shared.replicas().entry(self.label.clone()).or_default());
    }
}

/// What there is to say of targets, once it may be said and is news.
async fn next_reports(
    shared: &Shared,
    at: Option<Duration>,
    targets: &mut tokio::sync::watch::Receiver<Vec<TargetReport>>,
) -> Vec<TargetReport> {
    let Some(at) = at else { return std::future::pending().await };
    sleep_until(shared.clock.instant(at)).await;
    if targets.changed().await.is_err() {
        return std::future::pending().await;
    }
    targets.borrow_and_update().clone()
}

fn offer(range: &LogRange) -> LogOffer {
    LogOffer { log: range.log, first: range.first, last: range.last, closed: range.is_closed }
}
