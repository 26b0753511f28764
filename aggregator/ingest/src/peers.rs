//! Other replicas of the group: membership, and batches that an agent no longer has.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_storage::PartName;
use vedette_transport::{
    Connected, Frame, PartChunks, PeerFrames, PeerStore, Protocol, Role, close, exchange_members,
    exchange_roll, fetch_frames, refusal, tell_deletion,
};
use vedette_wire::control::{Deletion, FetchFrames, FetchPart, ListLogs, ListParts, Member};
use vedette_wire::session::CloseCode;
use vedette_wire::{BatchSeq, FrameKind, LogId, ReplicaId};

use crate::catch_up::News;
use crate::{Shared, lock};

/// Time between two exchanges of membership with a peer.
const EXCHANGE_INTERVAL: Duration = Duration::from_secs(30);
/// How long peers are asked for a gap's frames before it is recorded; what they have in parts is copied later.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are fetched for one gap at most; what is behind is recorded as well.
const RECOVER_BYTES_MAX: usize = 64 << 20;

/// Exchanges membership with every peer, now, regularly, and when it changes here, until `stop`.
pub(crate) async fn keep_in_touch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut members = shared.group.members().subscribe();
    let mut roll = shared.group.roll().subscribe();
    loop {
        members.mark_unchanged();
        roll.mark_unchanged();
        let peers = peers(&shared);
        lock(&shared.neighbours).retain(&peers.iter().map(|peer| peer.replica).collect::<Vec<_>>());
        // At once: one that is away does not keep the others from hearing.
        let mut exchanges: JoinSet<()> =
            peers.into_iter().map(|peer| exchange(Arc::clone(&shared), peer)).collect();
        tokio::select! {
            () = stop.cancelled() => return,
            changed = roll.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = async { while exchanges.join_next().await.is_some() {} } => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EXCHANGE_INTERVAL) => {}
            changed = roll.changed() => if changed.is_err() { return },
            () = shared.deletions.news.notified() => {}
            changed = members.changed() => if changed.is_err() { return },
        }
    }
}

async fn exchange(shared: Arc<Shared>, peer: Member) {
    let outcome = match call(&shared, &peer).await {
        Err(message) => Err(message),
        Ok(Connected { connection, .. }) => {
            let exchanged = exchange_members(&connection, shared.group.members()).await;
            if exchanged.is_ok() {
                // A peer of an older release does not know of it, and goes on as before.
                if let Err(error) = exchange_roll(&connection, &shared.group).await {
                    let message = format!("who is no member any more was not exchanged: {error}");
                    shared.refused("peer_roll", &peer.replica.to_string(), &message);
                }
                tell_deletions(&shared, &peer, &connection).await;
            }
            // What the peer hung up with says more than that a stream broke.
            let reason = connection.close_reason().map(|closed| closed.to_string());
            close(&connection, CloseCode::Done, "");
            exchanged.map_err(|error| reason.unwrap_or_else(|| error.to_string()))
        }
    };
    let now = shared.clock.now().monotonic;
    lock(&shared.neighbours).exchanged(now, peer.replica, outcome.clone().map(drop));
    match outcome {
        Ok(_members) => {
            shared.metrics.peer_exchanges.with_label_values(&["done"]).inc();
            shared.tell_catch_up(News::Reachable(peer.replica));
        }
        Err(message) => {
            shared.metrics.peer_exchanges.with_label_values(&["failed"]).inc();
            let own = refusal(&Role::Replica(shared.group.replica()));
            let reason = if message.contains(&own) { "removed" } else { "peer_unreachable" };
            shared.refused(reason, &peer.replica.to_string(), &message);
        }
    }
}

/// Deletions, and which peer keeps which.
#[derive(Default)]
pub(crate) struct Deletions {
    /// There is one that peers do not know.
    pub(crate) news: Notify,
    kept: Mutex<BTreeSet<(ReplicaId, u128)>>,
}

/// Tells a peer of every deletion that it is not known to keep. What fails is tried with the next exchange.
async fn tell_deletions(shared: &Shared, peer: &Member, connection: &quinn::Connection) {
    let known: BTreeSet<u128> = shared.storage.deletions().into_iter().collect();
    lock(&shared.deletions.kept).retain(|(_, id)| known.contains(id));
    for id in known {
        let key = (peer.replica, id);
        if lock(&shared.deletions.kept).contains(&key) {
            continue;
        }
        let Some(record) = shared.storage.deletion(id) else { continue };
        match tell_deletion(connection, Deletion { id, record }).await {
            Ok(()) => drop(lock(&shared.deletions.kept).insert(key)),
            Err(error) => {
                let message = format!("a deletion was not taken: {error}");
                return shared.refused("peer_deletion", &peer.replica.to_string(), &message);
            }
        }
    }
}

async fn call(shared: &Shared, peer: &Member) -> Result<Connected, String> {
    let identity = shared.group.identity();
    shared
        .caller
        .connect(&identity, Protocol::Peer, &peer.addresses, Some(peer.replica))
        .await
        .map_err(|error| error.to_string())
}

/// The other replicas of the group.
pub(crate) fn peers(shared: &Shared) -> Vec<Member> {
    let own = shared.group.replica();
    shared.group.members().current().members.into_iter().filter(|member| member.replica != own).collect()
}

/// The first batches of a gap that some peer has, in order. Empty when none has them, or not in time.
pub(crate) async fn fetch(shared: &Shared, log: LogId, from: BatchSeq, to: BatchSeq) -> Vec<Frame> {
    let mut frames = Vec::new();
    let ask_all = async {
        for peer in peers(shared) {
            if let Err(error) = fetch_from(shared, &peer, log, from, to, &mut frames).await {
                tracing::info!(%log, peer = %peer.replica, error, "a peer could not help with a gap");
            }
            if frames.last().is_some_and(|last| last.header.last_seq >= to) {
                break;
            }
        }
    };
    if tokio::time::timeout(RECOVER_TIMEOUT, ask_all).await.is_err() {
        tracing::info!(%log, %from, %to, "peers did not help with a gap in time");
    }
    frames
}

async fn fetch_from(
    shared: &Shared,
    peer: &Member,
    log: LogId,
    from: BatchSeq,
    to: BatchSeq,
    frames: &mut Vec<Frame>,
) -> Result<(), String> {
    let connected = call(shared, peer).await?;
    loop {
        let next = frames.last().map_or(from, |last| last.header.last_seq.next());
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        if next > to || bytes > RECOVER_BYTES_MAX {
            break;
        }
        let wanted = FetchFrames { log, from: next, to };
        match fetch_frames(&connected.connection, wanted).await.map_err(|error| error.to_string())? {
            PeerFrames::Frames(more) if !more.is_empty() => {
                if frames.is_empty() {
                    frames.extend(fetch_segment_start(shared, &connected, log, &more[0]).await?);
                }
                frames.extend(more);
            }
            PeerFrames::Frames(_) | PeerFrames::NotHere => break,
        }
    }
    close(&connected.connection, CloseCode::Done, "");
    Ok(())
}

/// What has to come before `first` so that storage can read it: its segment from the key batch on, which storage has
/// but may no longer have at hand.
async fn fetch_segment_start(
    shared: &Shared,
    connected: &Connected,
    log: LogId,
    first: &Frame,
) -> Result<Vec<Frame>, String> {
    let header = &first.header;
    if header.kind != FrameKind::Delta || !shared.storage.resume(log).needs_key {
        return Ok(Vec::new());
    }
    let wanted = FetchFrames { log, from: header.key_seq, to: BatchSeq(header.seq.0 - 1) };
    match fetch_frames(&connected.connection, wanted).await.map_err(|error| error.to_string())? {
        PeerFrames::Frames(frames) if frames.last().is_some_and(|last| last.header.last_seq == wanted.to) => {
            Ok(frames)
        }
        PeerFrames::Frames(_) | PeerFrames::NotHere => {
            Err(format!("the peer has batch {} and not all of its segment before it", header.seq))
        }
    }
}

/// What this replica can give its peers: frames that are in storage's log, and what is in parts.
pub(crate) struct Stored(pub(crate) Arc<Shared>);

impl PeerStore for Stored {
    fn fetch(&self, wanted: &FetchFrames, bytes_max: usize) -> Result<Vec<Vec<u8>>, String> {
        let frames = self.0.storage.frames(wanted.log, wanted.from, wanted.to, bytes_max);
        frames.map_err(|fault| fault.to_string())
    }

    fn delete(&self, deletion: &Deletion) -> Result<(), String> {
        self.0.storage.take_deletion(deletion.id, &deletion.record).map_err(|error| error.to_string())
    }

    fn list_logs(&self, list: &ListLogs, bytes_max: usize) -> Result<Vec<u8>, String> {
        self.0.storage.list_logs(list.after, bytes_max).map_err(|fault| fault.to_string())
    }

    fn list_parts(&self, list: &ListParts, bytes_max: usize) -> Result<Vec<u8>, String> {
        let after = list.after.map(|part| PartName { day: part.day, number: part.number });
        self.0.storage.list_parts(after, &list.logs, bytes_max).map_err(|fault| fault.to_string())
    }

    fn part(&self, wanted: &FetchPart) -> Result<Option<PartChunks>, String> {
        let Ok(permit) = Arc::clone(&self.0.exports).try_acquire_owned() else {
            let message = "too many parts are being copied at once";
            self.0.refused("exports", "peers", message);
            return Err(message.to_owned());
        };
        let name = PartName { day: wanted.part.day, number: wanted.part.number };
        let Some(mut export) = self.0.storage.export(name, &wanted.logs) else { return Ok(None) };
        let sent = self.0.metrics.catch_up.bytes_sent.clone();
        Ok(Some(Box::new(std::iter::from_fn(move || {
            // Held for as long as the part is read.
            let _permit = &permit;
            let chunk = export.next_chunk().transpose()?;
            sent.inc_by(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
            Some(chunk)
        }))))
    }
}
