//! Ships what was pushed here to the other replicas, as an agent ships what it collects: the same session, with
//! storage's own log in the place of the spool.
//!
//! A peer says up to where it has a log. What is behind that is read from the log, for as long as the log has it; of what
//! is in parts alone the peer learns as a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_storage::{Storage, StorageFault};
use vedette_transport::{Backoff, Connected, ControlWriter, HangUp, LogStreams, Protocol, open_control};
use vedette_wire::control::{LogOffer, Member, ReplicaMessage};
use vedette_wire::session::{AgentAction, AgentOptions, AgentSession, CloseCode, SendStart};
use vedette_wire::{BatchSeq, FrameHeader, GapReason, LogId, ReplicaId, encode_gap};

use crate::Shared;

/// Ended logs that are still offered.
const ENDED_LOGS_MAX: usize = 64;
/// How long to wait before the log is read again after it could not be.
const READ_RETRY: Duration = Duration::from_secs(5);

/// The logs that this replica has written, with their last batch on disk.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnLogs(BTreeMap<LogId, OwnLog>);

#[derive(Clone, Copy, Debug)]
struct OwnLog {
    last: BatchSeq,
    ended: bool,
}

impl OwnLogs {
    /// Those of earlier starts.
    pub(super) fn restore(shared: &Storage, own: &vedette_wire::AgentName) -> Self {
        let mut logs = Self::default();
        for writer in shared.writers().into_iter().filter(|writer| writer.name == *own) {
            for log in writer.logs {
                logs.0.insert(log.log, OwnLog { last: log.through, ended: true });
            }
        }
        logs
    }

    /// A log has batches up to here on disk.
    pub(super) fn reached(&mut self, log: LogId, last: BatchSeq) {
        self.0.entry(log).or_insert(OwnLog { last, ended: false }).last = last;
    }

    /// Nothing more comes of a log.
    pub(super) fn end(&mut self, log: LogId) {
        if let Some(known) = self.0.get_mut(&log) {
            known.ended = true;
        }
        while self.0.values().filter(|log| log.ended).count() > ENDED_LOGS_MAX {
            let oldest = self.0.iter().find(|(_, log)| log.ended).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
    }
}

/// What the connected peers have acknowledged.
#[derive(Clone, Debug, Default)]
pub(super) struct Acknowledged(BTreeMap<ReplicaId, BTreeMap<LogId, BatchSeq>>);

impl Acknowledged {
    /// Whether no peer is connected.
    pub(super) fn is_alone(&self) -> bool {
        self.0.is_empty()
    }

    /// How many batches of these logs a connected peer has not acknowledged.
    pub(super) fn behind(&self, replica: ReplicaId, logs: &OwnLogs) -> Option<u64> {
        let acknowledged = self.0.get(&replica)?;
        let behind = logs.0.iter().filter_map(|(log, own)| {
            // Of a log that has ended, the peer may have been told nothing: it is in parts alone.
            let through = acknowledged.get(log).or((!own.ended).then_some(&BatchSeq(0)))?;
            Some(own.last.0.saturating_sub(through.0))
        });
        Some(behind.sum())
    }

    /// Whether some peer has a log up to `seq`.
    pub(super) fn has(&self, log: LogId, seq: BatchSeq) -> bool {
        self.0.values().any(|logs| logs.get(&log).is_some_and(|through| *through >= seq))
    }
}

/// Keeps a courier for each peer until `stop`.
pub(crate) async fn ship(shared: Arc<Shared>, stop: CancellationToken) {
    let mut members = shared.group.members().subscribe();
    let mut couriers: BTreeMap<ReplicaId, (Member, CancellationToken)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        members.mark_unchanged();
        let peers: BTreeMap<ReplicaId, Member> =
            crate::peers::peers(&shared).into_iter().map(|peer| (peer.replica, peer)).collect();
        couriers.retain(|replica, (member, stop)| {
            let same = peers.get(replica) == Some(member);
            if !same {
                stop.cancel();
            }
            same
        });
        for (replica, peer) in peers {
            couriers.entry(replica).or_insert_with(|| {
                let stop = stop.child_token();
                tasks.spawn(courier(Arc::clone(&shared), peer.clone(), stop.clone()));
                (peer, stop)
            });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_ended) = tasks.join_next() => {}
            changed = members.changed() => if changed.is_err() { break },
        }
    }
    couriers.values().for_each(|(_, stop)| stop.cancel());
    while tasks.join_next().await.is_some() {}
}

/// Calls one peer again and again.
async fn courier(shared: Arc<Shared>, peer: Member, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    loop {
        let called = async {
            let identity = shared.group.identity();
            shared.caller.connect(&identity, Protocol::Data, &peer.addresses, Some(peer.replica)).await
        };
        let connected = tokio::select! {
            () = stop.cancelled() => return,
            connected = called => connected,
        };
        match connected {
            Ok(connected) => {
                backoff.on_connected(shared.clock.now().monotonic);
                converse(&shared, connected, &stop).await;
            }
            Err(error) => shared.refused("peer_unreachable", &peer.replica.to_string(), &error.to_string()),
        }
        let delay = backoff.next_delay(shared.clock.now().monotonic, rand::random());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

async fn converse(shared: &Arc<Shared>, connected: Connected, stop: &CancellationToken) {
    let replica = connected.replica;
    let connection = connected.connection.clone();
    shared.pushes.acknowledged.send_modify(|peers| drop(peers.0.insert(replica, BTreeMap::new())));
    let ended = tokio::select! {
        ended = Conversation::new(shared, connected).run() => ended,
        () = stop.cancelled() => Err(HangUp::Closed(CloseCode::ShuttingDown, "the replica leaves".to_owned())),
    };
    shared.pushes.acknowledged.send_modify(|peers| drop(peers.0.remove(&replica)));
    let reason = match ended {
        Ok(()) => "the peer ended the conversation".to_owned(),
        Err(stopped) => stopped.close(&connection),
    };
    tracing::info!(peer = %replica, reason, "pushes are not shipped to a peer any more");
}

/// One connection: does what the session says, and tells it what happens.
struct Conversation<'a> {
    shared: &'a Arc<Shared>,
    connected: Connected,
    session: AgentSession,
    streams: LogStreams,
    /// The peer has all of them.
    done: BTreeSet<LogId>,
    /// The log could not be read: not to be tried before.
    read_again_at: Option<Duration>,
}

impl<'a> Conversation<'a> {
    fn new(shared: &'a Arc<Shared>, connected: Connected) -> Self {
        let options = AgentOptions {
            software: shared.software.clone(),
            // Batches come as they are pushed: no lag of theirs asks for another log.
            batch_interval: Duration::ZERO,
            ..AgentOptions::default()
        };
        let streams = LogStreams::new(connected.connection.clone());
        let session = AgentSession::new(options);
        Self { shared, connected, session, streams, done: BTreeSet::new(), read_again_at: None }
    }

    async fn run(mut self) -> Result<(), HangUp> {
        let (mut control, mut messages) = open_control(&self.connected.connection).await?;
        let mut logs = self.shared.pushes.own_logs.subscribe();
        self.offer(&mut logs).await;
        self.session.on_connected(self.shared.clock.now());
        loop {
            while let Some(action) = self.session.poll_action(self.shared.clock.now()) {
                self.perform(action, &mut control).await?;
            }
            let wakeup = [self.session.next_wakeup(), self.read_again_at].into_iter().flatten().min();
            tokio::select! {
                message = messages.read::<ReplicaMessage>() => match message? {
                    Some(message) => {
                        self.note_resumed(&message);
                        self.session.on_message(self.shared.clock.now(), message);
                    }
                    None => return Ok(()),
                },
                Ok(()) = logs.changed() => self.offer(&mut logs).await,
                () = self.sleep(wakeup) => {
                    let now = self.shared.clock.now().monotonic;
                    if self.read_again_at.take_if(|at| *at <= now).is_some() {
                        self.offer(&mut logs).await;
                    }
                }
            }
        }
    }

    async fn sleep(&self, wakeup: Option<Duration>) {
        match wakeup {
            Some(at) => tokio::time::sleep_until(self.shared.clock.instant(at)).await,
            None => std::future::pending().await,
        }
    }

    /// Tells the session what there is.
    async fn offer(&mut self, logs: &mut watch::Receiver<OwnLogs>) {
        let logs = logs.borrow_and_update().clone();
        for (log, OwnLog { last, ended }) in logs.0 {
            if self.done.contains(&log) || last == BatchSeq(0) {
                continue;
            }
            let first = match self.read(move |storage| storage.first_frame(log)).await {
                Some(Some(first)) => first,
                // All of it is in parts.
                Some(None) => last.next(),
                None => continue,
            };
            // A peer learns of a log that is gone from the parts that it copies.
            if !ended || first <= last {
                self.session.on_spool(LogOffer { log, first, last, closed: ended });
            }
        }
    }

    /// What a peer has already is acknowledged by where it goes on.
    fn note_resumed(&self, message: &ReplicaMessage) {
        message.resumes().iter().for_each(|resume| self.acknowledge(resume.log, resume.through));
    }

    fn acknowledge(&self, log: LogId, through: BatchSeq) {
        self.shared.pushes.acknowledged.send_modify(|peers| {
            if let Some(logs) = peers.0.get_mut(&self.connected.replica) {
                logs.insert(log, through);
            }
        });
    }

    async fn perform(&mut self, action: AgentAction, control: &mut ControlWriter) -> Result<(), HangUp> {
        match action {
            AgentAction::Send(message) => control.write(&message).await?,
            AgentAction::OpenStream { log, live } => self.streams.open(log, live).await?,
            AgentAction::SendFrames { log, from, start, to, bytes_max } => {
                let frames = self.frames(log, from, start, to, bytes_max).await;
                // What is no frame would end the stream at the peer.
                let frames = frames
                    .into_iter()
                    .map_while(|frame| Some((FrameHeader::parse(&frame).ok()??.last_seq, frame)));
                let sent = self.streams.send(log, frames).await?;
                self.session.on_sent(log, sent);
            }
            AgentAction::SendGap { log, from, to } => {
                let gap = encode_gap(from, to, GapReason::SpoolLost);
                let sent = self.streams.send(log, [(to, gap)]).await?;
                self.session.on_sent(log, sent);
            }
            AgentAction::ResetStream { log } => self.streams.reset(log),
            AgentAction::Acked { log, through, .. } => self.acknowledge(log, through),
            // What is pushed has no limit of series.
            AgentAction::SeriesLimited(_) => {}
            AgentAction::LogDone { log, .. } => {
                self.done.insert(log);
                self.streams.finish(log);
            }
            AgentAction::Refused { reason, message, .. } => {
                let who = self.connected.replica.to_string();
                self.shared.refused("peer_refuses_pushes", &who, &format!("{}: {message}", reason.as_str()));
            }
            AgentAction::Close { code, reason } => return Err(HangUp::Closed(code, reason)),
            // Membership is exchanged elsewhere; a log ends when storage has refused it.
            AgentAction::Welcomed { .. }
            | AgentAction::MembersChanged(_)
            | AgentAction::StartNewLog { .. } => {}
        }
        Ok(())
    }

    /// The frames that the session asks for, as far as they are there.
    async fn frames(
        &mut self,
        log: LogId,
        from: BatchSeq,
        start: SendStart,
        to: BatchSeq,
        bytes_max: usize,
    ) -> Vec<Vec<u8>> {
        let read = move |storage: &Storage| {
            let mut first = from;
            if start == SendStart::KeyOf
                && let Some(frame) = storage.frames(log, from, from, 1)?.first()
                && let Ok(Some(header)) = FrameHeader::parse(frame)
            {
                first = header.key_seq;
            }
            storage.frames(log, first, to, bytes_max)
        };
        let frames = self.read(read).await.unwrap_or_default();
        if frames.is_empty() {
            self.read_again_at = Some(self.shared.clock.now().monotonic + READ_RETRY);
        }
        frames
    }

    /// Reads storage's log on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Storage) -> Result<T, StorageFault> + Send + 'static,
    ) -> Option<T> {
        let storage = self.shared.storage.clone();
        match tokio::task::spawn_blocking(move || read(&storage)).await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "the log of pushes can not be read");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a thread that reads the log was lost");
                None
            }
        }
    }
}
