//! The agent's end of its connection to one replica.

use super::{CloseCode, Now};
use crate::control::{
    Ack, AgentMessage, CloseLog, FEATURES, Hello, LOGS_MAX, LogOffer, Members, PROTOCOL_MAX, PROTOCOL_MIN,
    Refuse, RefuseReason, ReplicaMessage, Resume, SeriesLimit, Welcome, Window,
};
use crate::{BatchSeq, LogId, ReplicaId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Shortest wait before a refused log is tried again, whatever the replica says.
const RETRY_MIN: Duration = Duration::from_millis(200);
/// Longest wait before a refused log is tried again, whatever the replica says.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What the agent decides for all its sessions.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Release of the agent, for people.
    pub software: String,
    /// Interval of collection, told to the replica.
    pub interval_ms: u32,
    /// Time between two batches of the live log.
    pub batch_interval: Duration,
    /// A live log that lags by more is ended, so that what happens now overtakes it.
    pub lag_max: Duration,
    /// What may be on its way unacknowledged, if the replica allows as much.
    pub window: Window,
    /// Rate at which closed logs drain.
    pub drain_bytes_per_second: u64,
    /// Most that the driver reads from the spool for one action.
    pub read_bytes_max: usize,
    /// How long a connection may live without a welcome.
    pub welcome_timeout: Duration,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            software: String::new(),
            interval_ms: 1000,
            batch_interval: Duration::from_secs(1),
            lag_max: Duration::from_secs(60),
            window: Window { frames_max: 1024, bytes_max: 2 << 20 },
            drain_bytes_per_second: 4 << 20,
            read_bytes_max: 128 << 10,
            welcome_timeout: Duration::from_secs(10),
        }
    }
}

/// Where the driver starts to read in the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendStart {
    /// Exactly at the batch.
    At,
    /// At the key batch of the segment that holds the batch.
    KeyOf,
}

/// What the driver did of a [`AgentAction::SendFrames`] or [`AgentAction::SendGap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `last_seq` of the last frame written.
    pub through: BatchSeq,
    /// Frames written; 0 when the spool had none, then the rest does not count.
    pub frames: u32,
    /// Their bytes.
    pub bytes: u64,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentAction {
    /// Send on the control stream.
    Send(AgentMessage),
    /// The replica said welcome.
    Welcomed {
        /// Its id.
        replica: ReplicaId,
        /// Its clock minus ours.
        skew_ms: i64,
        /// Abilities that both have.
        features: u64,
    },
    /// Open a data stream for this log and write its header.
    OpenStream {
        /// Which log.
        log: LogId,
        /// It carries what happens now: give it priority.
        live: bool,
    },
    /// Read frames from the spool and write them to the log's stream, as far as `to` or `bytes_max`, at
    /// least one; then call [`AgentSession::on_sent`].
    SendFrames {
        /// Which log.
        log: LogId,
        /// First batch that is needed.
        from: BatchSeq,
        /// Where to start reading.
        start: SendStart,
        /// Last batch, included.
        to: BatchSeq,
        /// Where to stop.
        bytes_max: usize,
    },
    /// The spool no longer has these batches: write a gap frame to the log's stream; then call
    /// [`AgentSession::on_sent`].
    SendGap {
        /// Which log.
        log: LogId,
        /// First batch that is missing.
        from: BatchSeq,
        /// Last batch that is missing.
        to: BatchSeq,
    },
    /// Abandon the log's stream.
    ResetStream {
        /// Which log.
        log: LogId,
    },
    /// The replica has these batches on disk: move its cursor.
    Acked {
        /// Which replica.
        replica: ReplicaId,
        /// Which log.
        log: LogId,
        /// Newest batch, all before it included.
        through: BatchSeq,
    },
    /// A closed log is whole at the replica: finish its stream.
    LogDone {
        /// Which replica.
        replica: ReplicaId,
        /// Which log.
        log: LogId,
    },
    /// The group's replicas, as this one knows them.
    MembersChanged(Members),
    /// End this log and start a new one, if it is still the live one.
    StartNewLog {
        /// The log that lags, or that the replica knows further than we do.
        log: LogId,
    },
    /// The replica refused a log or, without one, the connection.
    Refused {
        /// Which log.
        log: Option<LogId>,
        /// Why.
        reason: RefuseReason,
        /// Why, for people.
        message: String,
        /// When it is worth trying again; for a log the session does that itself.
        retry_after: Duration,
    },
    /// The replica does not store all of the agent's series.
    SeriesLimited(SeriesLimit),
    /// Close the connection.
    Close {
        /// Why.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
}

impl AgentAction {
    /// News for the driver, as opposed to work on a connection.
    fn outlives_connection(&self) -> bool {
        match self {
            Self::Acked { .. }
            | Self::LogDone { .. }
            | Self::MembersChanged(_)
            | Self::StartNewLog { .. }
            | Self::Refused { .. }
            | Self::SeriesLimited(_)
            | Self::Welcomed { .. } => true,
            Self::Send(_)
            | Self::OpenStream { .. }
            | Self::SendFrames { .. }
            | Self::SendGap { .. }
            | Self::ResetStream { .. }
            | Self::Close { .. } => false,
        }
    }
}

/// The agent's end of its connection to one replica. It outlives connections.
///
/// Owns no socket and reads no clock: the driver says what happened and asks what to do. Batches stay in
/// the spool until [`AgentAction::Acked`]; what was sent before a disconnect is sent again from where the
/// replica says.
pub struct AgentSession {
    options: AgentOptions,
    phase: Phase,
    /// Logs with batches that this replica may not have.
    logs: BTreeMap<LogId, Log>,
    /// In the order of their start, the order in which closed ones drain.
    order: Vec<LogId>,
    in_flight: InFlight,
    drain: DrainBudget,
    actions: VecDeque<AgentAction>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Disconnected,
    AwaitingWelcome { since: Duration },
    Running { replica: ReplicaId, window: Window },
    Closed,
}

/// Frames sent and not acknowledged, over all logs.
#[derive(Default)]
struct InFlight {
    frames: u64,
    bytes: u64,
}

struct Log {
    offer: LogOffer,
    state: LogState,
    /// A new log was asked for in its place; once is enough.
    superseded: bool,
}

enum LogState {
    /// Not known to the replica on this connection; offered at or after this time.
    Waiting {
        until: Duration,
    },
    /// Offered, the answer is on its way.
    Offered,
    Running(Running),
}

struct Running {
    stream_open: bool,
    /// What the driver is at for this log.
    work: Work,
    /// The spool had nothing to read; wait for news from it.
    starved: bool,
    next: BatchSeq,
    start: SendStart,
    acked: BatchSeq,
    /// Last number, frames and bytes of each write.
    unacked: VecDeque<Sent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    Frames,
    Gap,
}

impl AgentSession {
    /// A session that is not connected and knows no log.
    pub fn new(options: AgentOptions) -> Self {
        Self {
            drain: DrainBudget::new(options.drain_bytes_per_second, options.read_bytes_max as u64),
            options,
            phase: Phase::Disconnected,
            logs: BTreeMap::new(),
            order: Vec::new(),
            in_flight: InFlight::default(),
            actions: VecDeque::new(),
        }
    }

    /// What the spool holds of a log for this replica. Called for each log before connecting and at each
    /// change: a batch appended, batches dropped (`first` moves), the log closed. A log that was dropped
    /// whole stays offered as `first = last + 1`, `closed`, so that the replica learns of the gap.
    pub fn on_spool(&mut self, offer: LogOffer) {
        if let Some(log) = self.logs.get_mut(&offer.log) {
            log.offer = offer;
            if let LogState::Running(running) = &mut log.state {
                running.starved = false;
            }
            self.finish_if_done(offer.log);
            return;
        }
        let state = LogState::Waiting { until: Duration::ZERO };
        self.logs.insert(offer.log, Log { offer, state, superseded: false });
        self.order.push(offer.log);
    }

    /// The control stream to the replica is open.
    pub fn on_connected(&mut self, now: Now) {
        self.forget_connection();
        self.phase = Phase::AwaitingWelcome { since: now.monotonic };
        self.drain.restart(now.monotonic);
        let mut logs = Vec::new();
        for id in self.offer_order().take(LOGS_MAX) {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            log.state = LogState::Offered;
            logs.push(log.offer);
        }
        self.actions.push_back(AgentAction::Send(AgentMessage::Hello(Hello {
            version_min: PROTOCOL_MIN,
            version_max: PROTOCOL_MAX,
            features: FEATURES,
            software: self.options.software.clone(),
            now_ms: now.wall.as_millis(),
            interval_ms: self.options.interval_ms,
            logs,
        })));
    }

    /// The connection is gone. What was to be done on it is void; what was learnt on it is still to be polled.
    pub fn on_disconnected(&mut self) {
        self.forget_connection();
        self.phase = Phase::Disconnected;
    }

    /// A control message came.
    pub fn on_message(&mut self, now: Now, message: ReplicaMessage) {
        match (self.phase, message) {
            (Phase::AwaitingWelcome { .. }, ReplicaMessage::Welcome(welcome)) => {
                self.on_welcome(now, welcome)
            }
            (Phase::AwaitingWelcome { .. } | Phase::Running { .. }, ReplicaMessage::Refuse(refuse)) => {
                self.on_refuse(now, refuse);
            }
            (Phase::Running { .. }, ReplicaMessage::Resume(resume)) => self.on_resume(resume),
            (Phase::Running { .. }, ReplicaMessage::Ack(ack)) => self.on_ack(ack),
            (Phase::Running { .. }, ReplicaMessage::Members(members)) => {
                self.actions.push_back(AgentAction::MembersChanged(members));
            }
            (Phase::Running { .. }, ReplicaMessage::SeriesLimit(limit)) => {
                self.actions.push_back(AgentAction::SeriesLimited(limit));
            }
            (Phase::Disconnected | Phase::Closed, _) => {}
            (Phase::Running { .. }, ReplicaMessage::Welcome(_)) => {
                self.close(CloseCode::Protocol, "a second welcome".to_owned());
            }
            (Phase::AwaitingWelcome { .. }, _) => {
                self.close(CloseCode::Protocol, "the first message is not a welcome".to_owned());
            }
        }
    }

    /// The driver has done a [`AgentAction::SendFrames`] or [`AgentAction::SendGap`] of `log`.
    pub fn on_sent(&mut self, log: LogId, sent: Sent) {
        let Some(Log { state: LogState::Running(running), offer, .. }) = self.logs.get_mut(&log) else {
            return;
        };
        let work = std::mem::replace(&mut running.work, Work::Idle);
        if work == Work::Idle {
            // Of a connection or stream that is gone.
            return;
        }
        if sent.frames == 0 {
            running.starved = true;
            return self.finish_if_done(log);
        }
        running.next = sent.through.next();
        // Behind a gap the replica has no dictionary to go on with.
        running.start = if work == Work::Gap { SendStart::KeyOf } else { SendStart::At };
        if offer.closed {
            self.drain.spend(sent.bytes);
        }
        // What the replica has already is sent only for its dictionary and never acknowledged again.
        if sent.through > running.acked {
            self.in_flight.frames += u64::from(sent.frames);
            self.in_flight.bytes += sent.bytes;
            running.unacked.push_back(sent);
        }
        self.finish_if_done(log);
    }

    /// What to do next; none when there is nothing before [`AgentSession::next_wakeup`] or the next input.
    pub fn poll_action(&mut self, now: Now) -> Option<AgentAction> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        match self.phase {
            Phase::Disconnected | Phase::Closed => None,
            Phase::AwaitingWelcome { since } if now.monotonic < since + self.options.welcome_timeout => None,
            Phase::AwaitingWelcome { .. } => {
                self.close(CloseCode::Timeout, "no welcome in time".to_owned());
                self.actions.pop_front()
            }
            Phase::Running { window, .. } => {
                self.drain.refill(now.monotonic);
                self.poll_offer(now).or_else(|| self.poll_send(window))
            }
        }
    }

    /// When [`AgentSession::poll_action`] is worth calling again without an input.
    pub fn next_wakeup(&self) -> Option<Duration> {
        match self.phase {
            Phase::Disconnected | Phase::Closed => None,
            Phase::AwaitingWelcome { since } => Some(since + self.options.welcome_timeout),
            Phase::Running { .. } => {
                let retries = self.logs.values().filter_map(|log| match log.state {
                    LogState::Waiting { until } => Some(until),
                    LogState::Offered | LogState::Running(_) => None,
                });
                let retry = if self.open_len() < LOGS_MAX { retries.min() } else { None };
                let drain = self.next_drain().and_then(|_| self.drain.ready_at());
                retry.into_iter().chain(drain).min()
            }
        }
    }

    fn on_welcome(&mut self, now: Now, welcome: Welcome) {
        if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&welcome.version) {
            let reason = format!("the replica speaks protocol {}, which was not offered", welcome.version);
            return self.close(CloseCode::Protocol, reason);
        }
        let window = Window {
            frames_max: welcome.window.frames_max.min(self.options.window.frames_max),
            bytes_max: welcome.window.bytes_max.min(self.options.window.bytes_max),
        };
        self.phase = Phase::Running { replica: welcome.replica, window };
        let skew_ms = welcome.now_ms.saturating_sub(now.wall.as_millis());
        self.actions.push_back(AgentAction::Welcomed {
            replica: welcome.replica,
            skew_ms,
            features: welcome.features & FEATURES,
        });
        self.actions.push_back(AgentAction::MembersChanged(welcome.members));
        for resume in welcome.resume {
            self.on_resume(resume);
        }
    }

    fn on_resume(&mut self, resume: Resume) {
        let Phase::Running { replica, .. } = self.phase else {
            return;
        };
        let Some(log) = self.logs.get_mut(&resume.log) else {
            return;
        };
        if !matches!(log.state, LogState::Offered) {
            return;
        }
        // A replica that is ahead of the spool has seen a future that was lost here: nothing more may be
        // appended under numbers that it would take for repetitions.
        let ahead = resume.through > log.offer.last;
        let through = resume.through.min(log.offer.last);
        log.state = LogState::Running(Running {
            stream_open: false,
            work: Work::Idle,
            starved: false,
            next: through.next(),
            start: if resume.needs_key { SendStart::KeyOf } else { SendStart::At },
            acked: through,
            unacked: VecDeque::new(),
        });
        if through > BatchSeq(0) {
            self.actions.push_back(AgentAction::Acked { replica, log: resume.log, through });
        }
        let lag = log.lag(through, self.options.batch_interval);
        if !log.offer.closed && !log.superseded && (ahead || lag > self.options.lag_max) {
            log.superseded = true;
            self.actions.push_back(AgentAction::StartNewLog { log: resume.log });
        }
        self.finish_if_done(resume.log);
    }

    fn on_ack(&mut self, ack: Ack) {
        let Phase::Running { replica, .. } = self.phase else {
            return;
        };
        let Some(Log { state: LogState::Running(running), .. }) = self.logs.get_mut(&ack.log) else {
            // Of a log that is done or was refused meanwhile.
            return;
        };
        if ack.through >= running.next && ack.through > running.acked {
            let reason = format!("batch {} acknowledged before it was sent", ack.through);
            return self.close(CloseCode::Protocol, reason);
        }
        if ack.through <= running.acked {
            return;
        }
        running.acked = ack.through;
        while let Some(sent) = running.unacked.front()
            && sent.through <= ack.through
        {
            self.in_flight.settle(sent);
            running.unacked.pop_front();
        }
        self.actions.push_back(AgentAction::Acked { replica, log: ack.log, through: ack.through });
        self.finish_if_done(ack.log);
    }

    fn on_refuse(&mut self, now: Now, refuse: Refuse) {
        let Refuse { log, reason, message, retry_after_ms } = refuse;
        let retry_after = Duration::from_millis(retry_after_ms.into()).clamp(RETRY_MIN, RETRY_MAX);
        self.actions.push_back(AgentAction::Refused { log, reason, message: message.clone(), retry_after });
        match log {
            None => self.close(CloseCode::Refused, message),
            Some(log) => {
                let waiting = LogState::Waiting { until: now.monotonic + retry_after };
                if self.stop_log(log, waiting) {
                    self.actions.push_back(AgentAction::ResetStream { log });
                }
            }
        }
    }

    /// Offers the next log that is new or whose wait is over.
    fn poll_offer(&mut self, now: Now) -> Option<AgentAction> {
        if self.open_len() >= LOGS_MAX {
            return None;
        }
        let due = |log: &Log| matches!(log.state, LogState::Waiting { until } if until <= now.monotonic);
        let id = self.offer_order().find(|id| self.logs.get(id).is_some_and(due))?;
        let log = self.logs.get_mut(&id)?;
        log.state = LogState::Offered;
        Some(AgentAction::Send(AgentMessage::OpenLog(log.offer)))
    }

    /// The live log if it has anything, else the oldest closed one as far as its budget goes.
    fn poll_send(&mut self, window: Window) -> Option<AgentAction> {
        let live = self.order.iter().copied().filter(|id| self.is_live(*id)).find(|id| self.has_work(*id));
        if let Some(log) = live {
            return self.send_from(log, window.frames_max.into(), window.bytes_max.into());
        }
        let log = self.next_drain()?;
        if !self.drain.has_budget() {
            return None;
        }
        // Half the window, so that the live log finds room at any time.
        let frames_max = u64::from(window.frames_max / 2).max(1);
        self.send_from(log, frames_max, u64::from(window.bytes_max / 2).max(1))
    }

    fn send_from(&mut self, id: LogId, frames_max: u64, bytes_max: u64) -> Option<AgentAction> {
        let frames_left = frames_max.saturating_sub(self.in_flight.frames);
        let bytes_left = bytes_max.saturating_sub(self.in_flight.bytes);
        if frames_left == 0 || bytes_left == 0 {
            return None;
        }
        let Some(Log { state: LogState::Running(running), offer, .. }) = self.logs.get_mut(&id) else {
            return None;
        };
        if !running.stream_open {
            running.stream_open = true;
            return Some(AgentAction::OpenStream { log: id, live: !offer.closed });
        }
        if running.next < offer.first {
            running.work = Work::Gap;
            return Some(AgentAction::SendGap {
                log: id,
                from: running.next,
                to: BatchSeq(offer.first.0 - 1),
            });
        }
        running.work = Work::Frames;
        let to = BatchSeq(offer.last.0.min(running.next.0.saturating_add(frames_left - 1)));
        let bytes_max = self.options.read_bytes_max.min(usize::try_from(bytes_left).unwrap_or(usize::MAX));
        Some(AgentAction::SendFrames { log: id, from: running.next, start: running.start, to, bytes_max })
    }

    /// The log whose turn it is to drain.
    fn next_drain(&self) -> Option<LogId> {
        let running = |id: &LogId| {
            let Some(log) = self.logs.get(id) else { return false };
            matches!(&log.state, LogState::Running(running) if !running.starved && running.next <= log.offer.last)
        };
        let turn = self.order.iter().copied().filter(|id| !self.is_live(*id)).find(running)?;
        self.has_work(turn).then_some(turn)
    }

    fn is_live(&self, id: LogId) -> bool {
        self.logs.get(&id).is_some_and(|log| !log.offer.closed)
    }

    fn has_work(&self, id: LogId) -> bool {
        let Some(Log { state: LogState::Running(running), offer, .. }) = self.logs.get(&id) else {
            return false;
        };
        running.work == Work::Idle && !running.starved && running.next <= offer.last
    }

    /// The live log before all others, then the oldest.
    fn offer_order(&self) -> impl Iterator<Item = LogId> + use<> {
        let live = self.order.iter().copied().filter(|id| self.is_live(*id));
        let closed = self.order.iter().copied().filter(|id| !self.is_live(*id));
        live.chain(closed).collect::<Vec<_>>().into_iter()
    }

    /// Logs that the replica keeps open on this connection.
    fn open_len(&self) -> usize {
        self.logs.values().filter(|log| !matches!(log.state, LogState::Waiting { .. })).count()
    }

    fn finish_if_done(&mut self, id: LogId) {
        let (Phase::Running { replica, .. }, Some(log)) = (self.phase, self.logs.get(&id)) else {
            return;
        };
        let LogState::Running(running) = &log.state else {
            return;
        };
        if !log.offer.closed || running.acked < log.offer.last || running.work != Work::Idle {
            return;
        }
        let close = CloseLog { log: id, last: log.offer.last };
        self.stop_log(id, LogState::Offered);
        self.logs.remove(&id);
        self.order.retain(|other| *other != id);
        self.actions.push_back(AgentAction::Send(AgentMessage::CloseLog(close)));
        self.actions.push_back(AgentAction::LogDone { replica, log: id });
    }

    /// Takes a log off its stream; whether it had one.
    fn stop_log(&mut self, id: LogId, state: LogState) -> bool {
        let Some(log) = self.logs.get_mut(&id) else {
            return false;
        };
        let LogState::Running(running) = std::mem::replace(&mut log.state, state) else {
            return false;
        };
        for sent in &running.unacked {
            self.in_flight.settle(sent);
        }
        running.stream_open
    }

    fn forget_connection(&mut self) {
        self.actions.retain(AgentAction::outlives_connection);
        self.in_flight = InFlight::default();
        for log in self.logs.values_mut() {
            log.state = LogState::Waiting { until: Duration::ZERO };
        }
    }

    fn close(&mut self, code: CloseCode, reason: String) {
        self.phase = Phase::Closed;
        self.actions.push_back(AgentAction::Close { code, reason });
    }
}

impl Log {
    fn lag(&self, through: BatchSeq, batch_interval: Duration) -> Duration {
        let behind = self.offer.last.0.saturating_sub(through.0);
        batch_interval.saturating_mul(u32::try_from(behind).unwrap_or(u32::MAX))
    }
}

impl InFlight {
    fn settle(&mut self, sent: &Sent) {
        self.frames = self.frames.saturating_sub(u64::from(sent.frames));
        self.bytes = self.bytes.saturating_sub(sent.bytes);
    }
}

/// Bytes that closed logs may send, refilled at a steady rate up to a second's worth.
struct DrainBudget {
    bytes_per_second: u64,
    /// May fall below zero by one read.
    bytes: i64,
    refilled_at: Duration,
}

impl DrainBudget {
    fn new(bytes_per_second: u64, read_bytes_max: u64) -> Self {
        let bytes = i64::try_from(read_bytes_max).unwrap_or(i64::MAX);
        Self { bytes_per_second: bytes_per_second.max(1), bytes, refilled_at: Duration::ZERO }
    }

    fn restart(&mut self, now: Duration) {
        self.refilled_at = now;
    }

    fn has_budget(&self) -> bool {
        self.bytes > 0
    }

    fn spend(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub_unsigned(bytes);
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.refilled_at);
        let earned = self.bytes_per_second as u128 * elapsed.as_millis() / 1000;
        if earned == 0 {
            return;
        }
        let full = i64::try_from(self.bytes_per_second).unwrap_or(i64::MAX);
        let earned = i64::try_from(earned).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_add(earned).min(full);
        self.refilled_at = now;
    }

    /// When there is budget again; none when there is some now.
    fn ready_at(&self) -> Option<Duration> {
        if self.has_budget() {
            return None;
        }
        let missing = self.bytes.unsigned_abs().saturating_add(1);
        let wait_ms = u128::from(missing) * 1000 / u128::from(self.bytes_per_second) + 1;
        Some(self.refilled_at + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(u64::MAX)))
    }
}
