//! The replica's end of one agent's connection.

use super::{CloseCode, Now};
use crate::control::{
    Ack, AgentMessage, FEATURES, Hello, LOGS_MAX, LogOffer, Members, PROTOCOL_MAX, PROTOCOL_MIN, Refuse,
    RefuseReason, ReplicaMessage, Resume, SeriesLimit, Welcome, Window,
};
use crate::{BatchSeq, FrameHeader, FrameKind, LogId, ReplicaId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// An agent is told again that it has too many series after so long.
const SERIES_LIMIT_REPEAT: Duration = Duration::from_secs(600);

/// What the replica decides for all its sessions.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// Its own id.
    pub replica: ReplicaId,
    /// What an agent may have on its way unacknowledged.
    pub window: Window,
    /// How long the first unacknowledged durable batch waits for others to be acknowledged with it.
    pub ack_delay: Duration,
    /// How long a connection may live without a hello.
    pub hello_timeout: Duration,
}

impl ReplicaOptions {
    /// Defaults for a replica with this id.
    pub fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            window: Window { frames_max: 1024, bytes_max: 2 << 20 },
            ack_delay: Duration::from_millis(20),
            hello_timeout: Duration::from_secs(10),
        }
    }
}

/// Where storage stands in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// Newest durable batch, all before it included; 0 for none.
    pub through: BatchSeq,
    /// Storage needs the segment's key batch again before it can go on.
    pub needs_key: bool,
}

/// What the agent said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentInfo {
    /// Its release, for people.
    pub software: String,
    /// Its interval of collection.
    pub interval_ms: u32,
    /// Protocol that is spoken.
    pub version: u16,
    /// Abilities that both have.
    pub features: u64,
    /// Its clock minus ours at the hello.
    pub skew_ms: i64,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum ReplicaAction {
    /// Send on the control stream.
    Send(ReplicaMessage),
    /// The agent ended this log and all of it is durable here.
    LogClosed {
        /// Which log.
        log: LogId,
        /// Its last batch.
        last: BatchSeq,
    },
    /// Close the connection.
    Close {
        /// Why.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
}

/// What to do with a new data stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamVerdict {
    /// Read its frames.
    Read,
    /// Stop it: its log is not open.
    Stop,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameVerdict {
    /// Give it to storage, which knows a repetition by its number; then call
    /// [`ReplicaSession::on_durable`] or [`ReplicaSession::on_refused`].
    Append {
        /// The stream's log.
        log: LogId,
    },
    /// Drop it and stop the stream: its log is not open, or it broke the rules.
    Stop,
}

/// The replica's end of one agent's connection.
///
/// Owns no socket and reads no clock: the driver says what happened and asks what to do.
pub struct ReplicaSession {
    options: ReplicaOptions,
    members: Members,
    phase: Phase,
    connected_at: Duration,
    /// Open logs. Invariant: never more than [`LOGS_MAX`].
    logs: BTreeMap<LogId, OpenLog>,
    /// Which log a stream carries. Invariant: one stream per open log.
    streams: BTreeMap<u64, LogId>,
    unsettled: Unsettled,
    /// When the agent was told last that it has too many series.
    series_limit_told: Option<Duration>,
    actions: VecDeque<ReplicaAction>,
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    AwaitingHello,
    Running(AgentInfo),
    Closed,
}

/// Frames given to storage without an answer yet, over all logs.
#[derive(Default)]
struct Unsettled {
    frames: u64,
    bytes: u64,
}

struct OpenLog {
    stream: Option<u64>,
    /// Newest batch that came on the stream, or where the log was resumed.
    received: BatchSeq,
    /// Newest batch that storage has on disk.
    durable: BatchSeq,
    /// Newest batch that the agent was promised.
    acked: BatchSeq,
    /// When the next acknowledgement goes out.
    ack_at: Option<Duration>,
    /// The first frame of a stream may go back to its segment's key batch.
    may_rewind: bool,
    /// Last number and bytes of each frame that storage has not answered.
    unsettled: VecDeque<(BatchSeq, u64)>,
}

impl ReplicaSession {
    /// A session for a connection that was just accepted.
    pub fn new(options: ReplicaOptions, members: Members, now: Now) -> Self {
        Self {
            options,
            members,
            phase: Phase::AwaitingHello,
            connected_at: now.monotonic,
            logs: BTreeMap::new(),
            streams: BTreeMap::new(),
            unsettled: Unsettled::default(),
            series_limit_told: None,
            actions: VecDeque::new(),
        }
    }

    /// What the agent said of itself; none before its hello.
    pub fn agent(&self) -> Option<&AgentInfo> {
        match &self.phase {
            Phase::Running(info) => Some(info),
            Phase::AwaitingHello | Phase::Closed => None,
        }
    }

    /// A control message came. `resume` asks storage where it stands in a log.
    pub fn on_message(
        &mut self,
        now: Now,
        message: AgentMessage,
        resume: &mut dyn FnMut(LogId) -> ResumePoint,
    ) {
        match (&self.phase, message) {
            (Phase::AwaitingHello, AgentMessage::Hello(hello)) => self.on_hello(now, hello, resume),
            (Phase::Running(_), AgentMessage::OpenLog(offer)) => self.on_open(offer, resume),
            (Phase::Running(_), AgentMessage::CloseLog(close)) => self.on_close(close.log, close.last),
            // No rule of the protocol depends on them: the driver keeps them.
            (Phase::Running(_), AgentMessage::Targets(_)) => {}
            (Phase::Closed, _) => {}
            (Phase::AwaitingHello, _) => self.protocol_error("the first message is not a hello"),
            (Phase::Running(_), AgentMessage::Hello(_)) => self.protocol_error("a second hello"),
        }
    }

    /// The agent opened the data stream `stream` for `log`.
    pub fn on_stream(&mut self, stream: u64, log: LogId) -> StreamVerdict {
        let Some(open) = self.logs.get_mut(&log) else {
            // Not an error: the log may have been refused while the stream was on its way.
            return StreamVerdict::Stop;
        };
        if let Some(earlier) = open.stream.replace(stream) {
            self.streams.remove(&earlier);
        }
        self.streams.insert(stream, log);
        StreamVerdict::Read
    }

    /// A whole frame came on `stream`.
    pub fn on_frame(&mut self, stream: u64, header: &FrameHeader) -> FrameVerdict {
        let Some(&log) = self.streams.get(&stream) else {
            return FrameVerdict::Stop;
        };
        let Some(open) = self.logs.get_mut(&log) else {
            return FrameVerdict::Stop;
        };
        let expected = open.received.next();
        let rewinds = header.seq < expected && open.may_rewind;
        if (header.seq != expected && !rewinds) || header.last_seq < header.seq {
            let message = format!("batch {} came where {expected} was expected", header.seq);
            self.refuse_log(log, RefuseReason::Frame, message, Duration::ZERO);
            return FrameVerdict::Stop;
        }
        // A rewound stream walks up again from its key batch; only its first frame may jump.
        open.received = header.last_seq;
        // Behind a gap the dictionary is gone as well.
        open.may_rewind = header.kind == FrameKind::Gap;
        // What comes again only to rebuild the dictionary is no news, for the agent's window neither.
        if header.last_seq > open.durable {
            let bytes = header.frame_len as u64;
            open.unsettled.push_back((header.last_seq, bytes));
            self.unsettled.frames += 1;
            self.unsettled.bytes += bytes;
        }
        if self.unsettled.exceed(self.options.window) {
            self.protocol_error("more unacknowledged than the window allows");
            return FrameVerdict::Stop;
        }
        FrameVerdict::Append { log }
    }

    /// The stream ended or broke.
    pub fn on_stream_end(&mut self, stream: u64) {
        if let Some(log) = self.streams.remove(&stream)
            && let Some(open) = self.logs.get_mut(&log)
        {
            open.stream = None;
        }
    }

    /// Storage has everything of `log` through this batch on disk.
    pub fn on_durable(&mut self, now: Now, log: LogId, through: BatchSeq) {
        let Some(open) = self.logs.get_mut(&log) else {
            return;
        };
        open.durable = open.durable.max(through);
        while let Some(&(last, bytes)) = open.unsettled.front()
            && last <= open.durable
        {
            open.unsettled.pop_front();
            self.unsettled.settle(bytes);
        }
        if open.promise() > open.acked && open.ack_at.is_none() {
            open.ack_at = Some(now.monotonic + self.options.ack_delay);
        }
    }

    /// Storage did not take a frame of `log`. The agent is told to try again after a while.
    pub fn on_refused(&mut self, log: LogId, reason: RefuseReason, message: String, retry_after: Duration) {
        if self.logs.contains_key(&log) {
            self.refuse_log(log, reason, message, retry_after);
        }
    }

    /// Storage did not take all series of a batch. The agent is told now and then.
    pub fn on_series_limit(&mut self, now: Now, limit: SeriesLimit) {
        let told_lately =
            self.series_limit_told.is_some_and(|told| now.monotonic < told + SERIES_LIMIT_REPEAT);
        if self.agent().is_some() && !told_lately {
            self.series_limit_told = Some(now.monotonic);
            self.send(ReplicaMessage::SeriesLimit(limit));
        }
    }

    /// The group's replicas changed.
    pub fn on_members(&mut self, members: Members) {
        if members == self.members {
            return;
        }
        self.members = members;
        if self.agent().is_some() {
            self.send(ReplicaMessage::Members(self.members.clone()));
        }
    }

    /// Ends the whole session: the agent is told why, then the connection is closed.
    pub fn refuse(&mut self, reason: RefuseReason, message: String, retry_after: Duration) {
        if self.phase == Phase::Closed {
            return;
        }
        self.send(ReplicaMessage::Refuse(refusal(None, reason, message.clone(), retry_after)));
        let code = match reason {
            RefuseReason::Protocol | RefuseReason::Frame => CloseCode::Protocol,
            RefuseReason::ShuttingDown => CloseCode::ShuttingDown,
            _ => CloseCode::Refused,
        };
        self.close(code, message);
    }

    /// What to do next; none when there is nothing before [`ReplicaSession::next_wakeup`] or the next input.
    pub fn poll_action(&mut self, now: Now) -> Option<ReplicaAction> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        match self.phase {
            Phase::Closed => None,
            Phase::AwaitingHello => {
                if now.monotonic < self.connected_at + self.options.hello_timeout {
                    return None;
                }
                self.close(CloseCode::Timeout, "no hello in time".to_owned());
                self.actions.pop_front()
            }
            Phase::Running(_) => self.poll_ack(now),
        }
    }

    /// When [`ReplicaSession::poll_action`] is worth calling again without an input.
    pub fn next_wakeup(&self) -> Option<Duration> {
        match self.phase {
            Phase::Closed => None,
            Phase::AwaitingHello => Some(self.connected_at + self.options.hello_timeout),
            Phase::Running(_) => self.logs.values().filter_map(|open| open.ack_at).min(),
        }
    }

    fn poll_ack(&mut self, now: Now) -> Option<ReplicaAction> {
        let due = |open: &OpenLog| open.ack_at.is_some_and(|at| at <= now.monotonic);
        let (&log, open) = self.logs.iter_mut().find(|(_, open)| due(open))?;
        open.ack_at = None;
        open.acked = open.promise();
        Some(ReplicaAction::Send(ReplicaMessage::Ack(Ack { log, through: open.acked })))
    }

    fn on_hello(&mut self, now: Now, hello: Hello, resume: &mut dyn FnMut(LogId) -> ResumePoint) {
        let version = hello.version_max.min(PROTOCOL_MAX);
        if version < hello.version_min.max(PROTOCOL_MIN) {
            let message = format!(
                "the agent speaks protocol {} to {}, this replica {PROTOCOL_MIN} to {PROTOCOL_MAX}",
                hello.version_min, hello.version_max
            );
            return self.refuse(RefuseReason::Version, message, Duration::from_secs(60));
        }
        let features = hello.features & FEATURES;
        let resume = hello.logs.iter().map(|offer| self.open(offer, resume)).collect();
        self.phase = Phase::Running(AgentInfo {
            software: hello.software,
            interval_ms: hello.interval_ms,
            version,
            features,
            skew_ms: hello.now_ms.saturating_sub(now.wall.as_millis()),
        });
        self.send(ReplicaMessage::Welcome(Welcome {
            version,
            features,
            replica: self.options.replica,
            now_ms: now.wall.as_millis(),
            window: self.options.window,
            members: self.members.clone(),
            resume,
        }));
    }

    fn on_open(&mut self, offer: LogOffer, resume: &mut dyn FnMut(LogId) -> ResumePoint) {
        if !self.logs.contains_key(&offer.log) && self.logs.len() >= LOGS_MAX {
            let message = format!("{LOGS_MAX} logs are open");
            return self.send(ReplicaMessage::Refuse(refusal(
                Some(offer.log),
                RefuseReason::Overload,
                message,
                Duration::from_secs(10),
            )));
        }
        let resume = self.open(&offer, resume);
        self.send(ReplicaMessage::Resume(resume));
    }

    /// (Re)opens a log. What is still on its way on an earlier stream is dropped.
    fn open(&mut self, offer: &LogOffer, resume: &mut dyn FnMut(LogId) -> ResumePoint) -> Resume {
        self.forget(offer.log);
        let ResumePoint { through, needs_key } = resume(offer.log);
        let open = OpenLog {
            stream: None,
            received: through,
            durable: through,
            // The resume itself is the promise.
            acked: through,
            ack_at: None,
            may_rewind: needs_key,
            unsettled: VecDeque::new(),
        };
        self.logs.insert(offer.log, open);
        Resume { log: offer.log, through, needs_key }
    }

    fn on_close(&mut self, log: LogId, last: BatchSeq) {
        match self.logs.get(&log) {
            None => {}
            Some(open) if open.durable < last => {
                let message = format!("log closed at batch {last}, only {} is here", open.durable);
                self.refuse_log(log, RefuseReason::Protocol, message, Duration::from_secs(1));
            }
            Some(_) => {
                self.forget(log);
                self.actions.push_back(ReplicaAction::LogClosed { log, last });
            }
        }
    }

    fn refuse_log(&mut self, log: LogId, reason: RefuseReason, message: String, retry_after: Duration) {
        self.forget(log);
        self.send(ReplicaMessage::Refuse(refusal(Some(log), reason, message, retry_after)));
    }

    fn forget(&mut self, log: LogId) {
        let Some(open) = self.logs.remove(&log) else {
            return;
        };
        if let Some(stream) = open.stream {
            self.streams.remove(&stream);
        }
        for (_, bytes) in open.unsettled {
            self.unsettled.settle(bytes);
        }
    }

    fn protocol_error(&mut self, message: &str) {
        self.refuse(RefuseReason::Protocol, message.to_owned(), Duration::from_secs(10));
    }

    fn send(&mut self, message: ReplicaMessage) {
        self.actions.push_back(ReplicaAction::Send(message));
    }

    fn close(&mut self, code: CloseCode, reason: String) {
        self.phase = Phase::Closed;
        self.logs.clear();
        self.streams.clear();
        self.unsettled = Unsettled::default();
        self.actions.push_back(ReplicaAction::Close { code, reason });
    }
}

impl OpenLog {
    /// What may be acknowledged: storage may know more than this connection sent, when a peer helped.
    fn promise(&self) -> BatchSeq {
        self.durable.min(self.received)
    }
}

impl Unsettled {
    /// Twice the window: the agent may have sent one frame past it, and acknowledgements may be on their way.
    fn exceed(&self, window: Window) -> bool {
        let slack = crate::FRAME_BYTES_MAX as u64;
        self.frames > 2 * u64::from(window.frames_max) || self.bytes > 2 * u64::from(window.bytes_max) + slack
    }

    fn settle(&mut self, bytes: u64) {
        self.frames = self.frames.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

fn refusal(log: Option<LogId>, reason: RefuseReason, mut message: String, retry_after: Duration) -> Refuse {
    let mut end = message.len().min(crate::control::TEXT_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    let retry_after_ms = u32::try_from(retry_after.as_millis()).unwrap_or(u32::MAX);
    Refuse { log, reason, message, retry_after_ms }
}
