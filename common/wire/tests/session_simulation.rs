//! An agent and two replicas under a virtual clock, with connections that break, replicas that lose what was
//! not synced, agents that restart, spools that drop and disks that refuse. A seed replays a run.
//!
//! Checked after every step: a replica's durable log is the agent's batches in order, each once, and its gaps
//! are batches that the spool really dropped; nothing is freed before every replica acknowledged it; an
//! acknowledgement never outruns the replica's disk; what is on its way stays within the window. In the end
//! faults stop, and everything must arrive.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_wire::control::{
    AgentMessage, ControlMessage, Decoded, LogOffer, Members, RefuseReason, ReplicaMessage, Window, decode,
    encode,
};
use vedette_wire::session::{
    AgentAction, AgentOptions, AgentSession, FrameVerdict, Now, ReplicaAction, ReplicaOptions,
    ReplicaSession, ResumePoint, SendStart, Sent, StreamVerdict,
};
use vedette_wire::{BatchSeq, FrameHeader, FrameKind, LogId, ReplicaId};

const SEGMENT: u64 = 5;
const FRAME_BYTES: usize = 100;
const REPLICAS: usize = 2;
const WINDOW: Window = Window { frames_max: 12, bytes_max: 2000 };

#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    log: LogId,
    header: FrameHeader,
    /// What the batch says; 0 for a gap.
    payload: u64,
}

/// What the agent's disk holds of one log, and what was ever in it.
struct SpoolLog {
    first: u64,
    payloads: Vec<u64>,
    closed: bool,
    /// Dropped although not everybody had it.
    dropped: BTreeSet<u64>,
    cursors: [u64; REPLICAS],
}

#[derive(Default)]
struct Replica {
    durable: BTreeMap<LogId, Vec<Frame>>,
    /// Given to storage, not synced.
    pending: VecDeque<Frame>,
    /// Last batch decoded in each log's segment; lost in a restart.
    decoders: BTreeMap<LogId, u64>,
    session: Option<ReplicaSession>,
}

/// One connection's bytes on their way.
#[derive(Default)]
struct Link {
    connected: bool,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    streams: BTreeMap<u64, Stream>,
    writers: BTreeMap<LogId, u64>,
    /// Last number of each frame written.
    written: BTreeMap<LogId, Vec<u64>>,
    streams_opened: u64,
    closing: bool,
}

struct Stream {
    log: LogId,
    accepted: bool,
    frames: VecDeque<Frame>,
}

struct World {
    random: u64,
    now: Now,
    spool: BTreeMap<LogId, SpoolLog>,
    order: Vec<LogId>,
    sessions: Vec<AgentSession>,
    links: Vec<Link>,
    replicas: Vec<Replica>,
    payloads: u64,
    logs: u128,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed,
            now: Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(1_000_000) },
            spool: BTreeMap::new(),
            order: Vec::new(),
            sessions: Vec::new(),
            links: (0..REPLICAS).map(|_| Link::default()).collect(),
            replicas: (0..REPLICAS).map(|_| Replica::default()).collect(),
            payloads: 0,
            logs: 0,
        };
        world.start_agent();
        world
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next_random() % bound as u64) as usize
    }

    // The agent's driver.

    fn start_agent(&mut self) {
        let options = AgentOptions {
            lag_max: Duration::from_secs(20),
            window: WINDOW,
            drain_bytes_per_second: 300,
            read_bytes_max: 3 * FRAME_BYTES,
            ..AgentOptions::default()
        };
        self.sessions = (0..REPLICAS).map(|_| AgentSession::new(options.clone())).collect();
        for log in self.spool.values_mut() {
            log.closed = true;
        }
        self.offer_all();
        self.start_log();
    }

    fn start_log(&mut self) {
        if let Some(log) = self.live()
            && let Some(spool) = self.spool.get_mut(&log)
        {
            spool.closed = true;
            self.offer(log);
        }
        self.logs += 1;
        // Spread, so that the order of ids is not the order of time.
        let log = LogId(self.logs.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        let spool = SpoolLog {
            first: 1,
            payloads: vec![],
            closed: false,
            dropped: BTreeSet::new(),
            cursors: [0; REPLICAS],
        };
        self.spool.insert(log, spool);
        self.order.push(log);
        self.offer(log);
    }

    fn live(&self) -> Option<LogId> {
        self.order.last().copied().filter(|log| !self.spool[log].closed)
    }

    fn offer_all(&mut self) {
        for log in self.order.clone() {
            self.offer(log);
        }
    }

    fn offer(&mut self, log: LogId) {
        let spool = &self.spool[&log];
        let (first, last) = (BatchSeq(spool.first), BatchSeq(spool.payloads.len() as u64));
        for (session, cursor) in self.sessions.iter_mut().zip(spool.cursors) {
            // A closed log that this replica has whole is no longer its business.
            if !spool.closed || cursor < last.0 {
                session.on_spool(LogOffer { log, first, last, closed: spool.closed });
            }
        }
    }

    fn append(&mut self) {
        let Some(log) = self.live() else { return };
        self.payloads += 1;
        if let Some(spool) = self.spool.get_mut(&log) {
            spool.payloads.push(self.payloads);
        }
        self.offer(log);
    }

    /// Frees whole segments that every replica has, as the real spool does.
    fn trim(&mut self) {
        for log in self.order.clone() {
            let Some(spool) = self.spool.get_mut(&log) else { continue };
            let freed = spool.cursors.iter().copied().min().unwrap_or(0);
            spool.first = spool.first.max(key_of(freed + 1));
        }
    }

    fn drop_by_limit(&mut self) {
        let index = self.below(self.order.len());
        let log = self.order[index];
        let Some(spool) = self.spool.get_mut(&log) else { return };
        let first = key_of(spool.payloads.len() as u64 + 1).max(spool.first);
        spool.dropped.extend(spool.first..first);
        spool.first = first;
        self.offer(log);
    }

    fn restart_agent(&mut self) {
        for replica in 0..REPLICAS {
            self.disconnect(replica);
        }
        // What the disk had not synced is lost, whoever has it.
        let lost = self.below(3);
        if let Some(log) = self.live()
            && let Some(spool) = self.spool.get_mut(&log)
        {
            let kept = spool.payloads.len().saturating_sub(lost).max(spool.first as usize - 1);
            spool.payloads.truncate(kept);
        }
        self.start_agent();
    }

    fn poll_agent(&mut self, at: usize) {
        while let Some(action) = self.sessions[at].poll_action(self.now) {
            self.do_agent(at, action);
        }
    }

    fn do_agent(&mut self, at: usize, action: AgentAction) {
        let link = &mut self.links[at];
        match action {
            AgentAction::Send(message) => link.up.push_back(encode(&message).unwrap()),
            AgentAction::OpenStream { log, .. } => {
                link.streams_opened += 1;
                link.writers.insert(log, link.streams_opened);
                link.streams
                    .insert(link.streams_opened, Stream { log, accepted: false, frames: VecDeque::new() });
            }
            AgentAction::ResetStream { log } => {
                // What was written may still arrive.
                link.writers.remove(&log);
                link.written.remove(&log);
            }
            AgentAction::SendGap { log, from, to } => {
                let header = header(FrameKind::Gap, from.0, to.0);
                self.write(at, vec![Frame { log, header, payload: 0 }]);
            }
            AgentAction::SendFrames { log, from, start, to, bytes_max } => {
                let spool = &self.spool[&log];
                let first = match start {
                    SendStart::At => from.0,
                    SendStart::KeyOf => key_of(from.0),
                };
                assert!(
                    first >= spool.first,
                    "{log}: asked for {first}, the spool starts at {}",
                    spool.first
                );
                let mut frames = Vec::new();
                for seq in first..=to.0 {
                    if !frames.is_empty() && (frames.len() + 1) * FRAME_BYTES > bytes_max {
                        break;
                    }
                    let kind = if key_of(seq) == seq { FrameKind::Key } else { FrameKind::Delta };
                    let payload = spool.payloads[seq as usize - 1];
                    frames.push(Frame { log, header: header(kind, seq, seq), payload });
                }
                self.write(at, frames);
            }
            AgentAction::Acked { log, through, .. } => {
                let stored = self.replicas[at].durable_through(log);
                assert!(through.0 <= stored, "{log}: {through} acknowledged, {stored} on disk");
                if let Some(spool) = self.spool.get_mut(&log) {
                    spool.cursors[at] = spool.cursors[at].max(through.0);
                }
            }
            AgentAction::StartNewLog { log } => {
                if self.live() == Some(log) {
                    self.start_log();
                }
            }
            AgentAction::Close { .. } => self.links[at].closing = true,
            AgentAction::LogDone { log, .. } => {
                link.writers.remove(&log);
                link.written.remove(&log);
            }
            AgentAction::Welcomed { .. }
            | AgentAction::MembersChanged(_)
            | AgentAction::SeriesLimited(_)
            | AgentAction::Refused { .. } => {}
        }
    }

    fn write(&mut self, at: usize, frames: Vec<Frame>) {
        let (log, through) = (frames[0].log, frames[frames.len() - 1].header.last_seq);
        let sent = Sent { through, frames: frames.len() as u32, bytes: (frames.len() * FRAME_BYTES) as u64 };
        let link = &mut self.links[at];
        let writer = link.writers[&log];
        link.written.entry(log).or_default().extend(frames.iter().map(|frame| frame.header.last_seq.0));
        if let Some(stream) = link.streams.get_mut(&writer) {
            stream.frames.extend(frames);
        }
        self.sessions[at].on_sent(log, sent);
    }

    // The network.

    fn connect(&mut self, at: usize) {
        if self.links[at].connected {
            return;
        }
        self.links[at] = Link { connected: true, ..Link::default() };
        let options = ReplicaOptions {
            window: WINDOW,
            ..ReplicaOptions::new(ReplicaId(Uuid::from_u128(at as u128 + 1)))
        };
        self.replicas[at].session = Some(ReplicaSession::new(options, Members::default(), self.now));
        self.sessions[at].on_connected(self.now);
    }

    fn disconnect(&mut self, at: usize) {
        if self.links[at].connected {
            self.links[at] = Link::default();
            self.replicas[at].session = None;
            self.sessions[at].on_disconnected();
            self.poll_agent(at);
        }
    }

    fn deliver_up(&mut self, at: usize) {
        let Some(bytes) = self.links[at].up.pop_front() else { return };
        let replica = &mut self.replicas[at];
        let points: BTreeMap<LogId, ResumePoint> =
            self.order.iter().map(|log| (*log, replica.resume_point(*log))).collect();
        if let Some(session) = &mut replica.session {
            session.on_message(self.now, whole::<AgentMessage>(&bytes), &mut |log| points[&log]);
        }
    }

    fn deliver_down(&mut self, at: usize) {
        if let Some(bytes) = self.links[at].down.pop_front() {
            self.sessions[at].on_message(self.now, whole::<ReplicaMessage>(&bytes));
        }
    }

    fn deliver_frame(&mut self, at: usize) {
        let streams: Vec<u64> = self.links[at].streams.keys().copied().collect();
        if streams.is_empty() {
            return;
        }
        let id = streams[self.below(streams.len())];
        let (Some(session), Some(stream)) =
            (&mut self.replicas[at].session, self.links[at].streams.get_mut(&id))
        else {
            return;
        };
        if !stream.accepted {
            stream.accepted = true;
            if session.on_stream(id, stream.log) == StreamVerdict::Stop {
                self.links[at].streams.remove(&id);
            }
            return;
        }
        let Some(frame) = stream.frames.pop_front() else { return };
        match session.on_frame(id, &frame.header) {
            FrameVerdict::Append { log } => {
                assert_eq!(log, frame.log);
                self.replicas[at].pending.push_back(frame);
            }
            FrameVerdict::Stop => {
                self.links[at].streams.remove(&id);
            }
        }
    }

    // The replica's driver and storage.

    fn poll_replica(&mut self, at: usize) {
        while let Some(action) =
            self.replicas[at].session.as_mut().and_then(|session| session.poll_action(self.now))
        {
            match action {
                ReplicaAction::Send(message) => self.links[at].down.push_back(encode(&message).unwrap()),
                ReplicaAction::LogClosed { log, last } => {
                    // A log that lost its tail at the agent may be longer here.
                    assert!(self.replicas[at].durable_through(log) >= last.0);
                }
                ReplicaAction::Close { .. } => self.links[at].closing = true,
            }
        }
    }

    fn sync(&mut self, at: usize, frames: usize) {
        for _ in 0..frames {
            let replica = &mut self.replicas[at];
            let Some(frame) = replica.pending.pop_front() else { return };
            let outcome = replica.apply(frame);
            let through = BatchSeq(replica.durable_through(frame.log));
            let Some(session) = &mut replica.session else { continue };
            match outcome {
                Ok(()) => session.on_durable(self.now, frame.log, through),
                Err(message) => session.on_refused(frame.log, RefuseReason::Frame, message, Duration::ZERO),
            }
        }
    }

    fn refuse(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        // Storage takes a log's frames in order: after one is refused, those behind it are as well.
        if let (Some(frame), Some(session)) = (replica.pending.front().copied(), &mut replica.session) {
            replica.pending.retain(|other| other.log != frame.log);
            session.on_refused(
                frame.log,
                RefuseReason::Storage,
                "disk full".to_owned(),
                Duration::from_millis(700),
            );
        }
    }

    fn restart_replica(&mut self, at: usize) {
        self.disconnect(at);
        self.replicas[at].pending.clear();
        self.replicas[at].decoders.clear();
    }

    fn advance(&mut self, duration: Duration) {
        self.now.monotonic += duration;
        self.now.wall = self.now.wall.plus_millis(duration.as_millis() as i64);
    }

    // One step of a run.

    fn step(&mut self, faults: bool) {
        let at = self.below(REPLICAS);
        let choice = self.below(if faults { 1000 } else { 940 });
        match choice {
            0..100 => self.advance(Duration::from_millis(50)),
            100..150 if faults => {
                self.advance(Duration::from_secs(1));
                self.append();
            }
            100..150 => self.advance(Duration::from_secs(1)),
            150..300 => self.poll_agent(at),
            300..450 => self.poll_replica(at),
            450..550 => self.deliver_up(at),
            550..650 => self.deliver_down(at),
            650..800 => self.deliver_frame(at),
            800..880 => {
                let frames = 1 + self.below(4);
                self.sync(at, frames);
            }
            880..920 => self.connect(at),
            920..940 => self.trim(),
            940..960 => self.disconnect(at),
            960..970 => self.restart_replica(at),
            970..985 => self.refuse(at),
            985..990 => self.restart_agent(),
            990..994 => self.drop_by_limit(),
            994..997 => self.start_log(),
            _ => self.advance(Duration::from_secs(30)),
        }
        for at in 0..REPLICAS {
            if self.links[at].closing {
                self.disconnect(at);
            }
        }
        self.check();
    }

    fn check(&self) {
        for (at, replica) in self.replicas.iter().enumerate() {
            for (log, frames) in &replica.durable {
                let spool = &self.spool[log];
                let mut expected = 1;
                for frame in frames {
                    assert_eq!(frame.header.seq.0, expected, "replica {at}, {log}: hole or repetition");
                    expected = frame.header.last_seq.0 + 1;
                    match frame.header.kind {
                        FrameKind::Gap => {
                            let gap = frame.header.seq.0..=frame.header.last_seq.0;
                            assert!(
                                gap.clone().all(|seq| spool.dropped.contains(&seq)),
                                "{log}: gap {gap:?} has data"
                            );
                        }
                        // A log that lost its tail at the agent may be longer here.
                        _ => match spool.payloads.get(frame.header.seq.0 as usize - 1) {
                            Some(payload) => assert_eq!(*payload, frame.payload, "replica {at}, {log}"),
                            None => assert!(spool.closed),
                        },
                    }
                }
            }
            let unacked = self.links[at].written.iter().map(|(log, written)| {
                let cursor = self.spool[log].cursors[at];
                written.iter().filter(|last| **last > cursor).count()
            });
            let unacked: usize = unacked.sum();
            assert!(unacked <= WINDOW.frames_max as usize, "{unacked} frames on their way");
        }
        for (log, spool) in &self.spool {
            for seq in (1..spool.first).filter(|seq| !spool.dropped.contains(seq)) {
                for replica in &self.replicas {
                    assert!(
                        replica.durable_through(*log) >= seq,
                        "{log}: {seq} freed before it was acknowledged"
                    );
                }
            }
        }
    }

    fn settled(&self) -> bool {
        self.spool.iter().all(|(log, spool)| {
            let last = spool.payloads.len() as u64;
            (0..REPLICAS)
                .all(|at| spool.cursors[at] >= last && self.replicas[at].durable_through(*log) >= last)
        })
    }
}

impl World {
    /// What is missing where, for the message of a failed run.
    fn unsettled(&self) -> String {
        let mut text = format!("live {:?}", self.live());
        for (log, spool) in &self.spool {
            let last = spool.payloads.len() as u64;
            for at in 0..REPLICAS {
                let durable = self.replicas[at].durable_through(*log);
                if spool.cursors[at] < last || durable < last {
                    let (first, cursor, connected) =
                        (spool.first, spool.cursors[at], self.links[at].connected);
                    text += &format!(
                        "\n{log} at {at}: {first}..={last}, cursor {cursor}, durable {durable}, connected {connected}"
                    );
                }
            }
        }
        text
    }
}

impl Replica {
    fn durable_through(&self, log: LogId) -> u64 {
        self.durable.get(&log).and_then(|frames| frames.last()).map_or(0, |frame| frame.header.last_seq.0)
    }

    fn resume_point(&self, log: LogId) -> ResumePoint {
        let through = self.durable_through(log);
        let at_segment_end = key_of(through + 1) == through + 1;
        let needs_key = !at_segment_end && self.decoders.get(&log) != Some(&through);
        ResumePoint { through: BatchSeq(through), needs_key }
    }

    fn apply(&mut self, frame: Frame) -> Result<(), String> {
        let (log, seq) = (frame.log, frame.header.seq.0);
        match frame.header.kind {
            FrameKind::Key => {}
            FrameKind::Delta if self.decoders.get(&log) == Some(&(seq - 1)) => {}
            FrameKind::Delta => return Err(format!("batch {seq} needs its key batch")),
            FrameKind::Gap => {
                self.decoders.remove(&log);
            }
        }
        let through = self.durable_through(log);
        if frame.header.last_seq.0 > through {
            if seq != through + 1 {
                return Err(format!("batch {seq} after {through}"));
            }
            self.durable.entry(log).or_default().push(frame);
        }
        if frame.header.kind != FrameKind::Gap {
            self.decoders.insert(log, frame.header.last_seq.0);
        }
        Ok(())
    }
}

fn key_of(seq: u64) -> u64 {
    (seq.max(1) - 1) / SEGMENT * SEGMENT + 1
}

fn header(kind: FrameKind, seq: u64, last: u64) -> FrameHeader {
    let key_seq = if kind == FrameKind::Gap { seq } else { key_of(seq) };
    FrameHeader {
        version: 1,
        kind,
        seq: BatchSeq(seq),
        key_seq: BatchSeq(key_seq),
        last_seq: BatchSeq(last),
        frame_len: FRAME_BYTES,
    }
}

fn whole<M: ControlMessage>(bytes: &[u8]) -> M {
    match decode(bytes).unwrap() {
        Decoded::Message(message, taken) if taken == bytes.len() => message,
        Decoded::Message(..) | Decoded::Skipped(_) | Decoded::Incomplete => panic!("not one whole message"),
    }
}

fn check(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..4000 {
        world.step(true);
    }
    for _ in 0..200_000 {
        if world.settled() {
            return;
        }
        world.step(false);
    }
    panic!("seed {seed}: not everything arrived after the faults stopped: {}", world.unsettled());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_arrives_in_order_and_once(seed: u64) {
        check(seed);
    }
}
