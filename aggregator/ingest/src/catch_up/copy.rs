//! One look at one peer: its logs compared, and what is lacking copied part by part.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vedette_storage::{ImportError, Imported, Lack, LogListing, Lot, PartListing, PartName, Storage};
use vedette_transport::{PartStream, PeerError, Protocol, close, fetch_part, list_logs, list_parts};
use vedette_wire::control::{FetchPart, ListLogs, ListParts, PartId, WANTED_LOGS_MAX};
use vedette_wire::session::CloseCode;
use vedette_wire::{LogId, ReplicaId};

use super::schedule::{Choice, Lacking, Looked, Schedule};
use crate::Shared;

/// Chunks that were received and not written yet.
const CHUNKS_MAX: usize = 2;

/// Why nothing could be copied, or not all.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error("{0}")]
    Unreachable(String),
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("{0}")]
    Answer(String),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl CopyError {
    /// The failure counter's label value.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Peer(PeerError::Refused { .. }) => "refused",
            Self::Peer(PeerError::Timeout) => "timeout",
            Self::Peer(PeerError::Stream(_)) | Self::Import(ImportError::Stream(_)) => "broken",
            Self::Peer(_) | Self::Answer(_) => "answer",
            Self::Import(ImportError::Damaged(_)) => "damaged",
            Self::Import(_) => "storage",
            Self::Task(_) => "task",
        }
    }
}

/// What was copied in one look.
#[derive(Default)]
struct Amounts {
    parts: u64,
    bytes: u64,
    samples: u64,
    batches: u64,
}

impl Amounts {
    fn add(&mut self, imported: Imported) {
        self.samples += imported.samples;
        self.batches += imported.batches;
    }
}

/// Compares with a peer and copies what is lacking.
pub(super) async fn look(shared: &Arc<Shared>, schedule: &mut Schedule, replica: ReplicaId) -> Looked {
    let Some(peer) = shared.group.members().current().get(replica).cloned() else { return Looked::Nothing };
    let identity = shared.group.identity();
    let called = shared.caller.connect(&identity, Protocol::Peer, &peer.addresses, Some(replica)).await;
    let outcome = match called {
        Err(error) => Err(CopyError::Unreachable(error.to_string())),
        Ok(connected) => {
            let outcome = look_through(shared, schedule, replica, &connected.connection).await;
            close(&connected.connection, CloseCode::Done, "");
            outcome
        }
    };
    outcome.unwrap_or_else(|error| {
        shared.metrics.catch_up.failures.with_label_values(&[error.reason()]).inc();
        shared.refused("catch_up", &replica.to_string(), &error.to_string());
        Looked::Failed
    })
}

async fn look_through(
    shared: &Arc<Shared>,
    schedule: &mut Schedule,
    replica: ReplicaId,
    connection: &Connection,
) -> Result<Looked, CopyError> {
    let lacks = compare(shared, schedule, replica, connection).await?;
    if lacks.is_empty() {
        return Ok(Looked::Nothing);
    }
    let metrics = &shared.metrics.catch_up;
    let (logs, lacking) = (lacks.len(), lacks.iter().map(Lack::batches).sum::<u64>());
    tracing::info!(peer = %replica, logs, batches = lacking, "catch-up begins");
    metrics.running.set(1);
    let started = Instant::now();
    let mut copy = Copy {
        shared,
        connection,
        pacer: Pacer { next_at: started, bytes_per_second_max: shared.limits.catch_up_bytes_per_second_max },
        amounts: Amounts::default(),
    };
    // Dropped when the replica is told to stop: the gauge goes with the process.
    let copied = copy.all(Lot::new(lacks)).await;
    metrics.running.set(0);
    let Amounts { parts, bytes, samples, batches } = copy.amounts;
    let seconds = started.elapsed().as_secs_f64();
    let outcome = match &copied {
        Ok(true) => "done".to_owned(),
        Ok(false) => "a part was merged meanwhile, the rest follows".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::info!(peer = %replica, outcome, parts, bytes, samples, batches, seconds, "catch-up ends");
    copied?;
    Ok(if batches > 0 { Looked::Copied } else { Looked::Later })
}

/// What is to be copied now of what the peer lists.
async fn compare(
    shared: &Arc<Shared>,
    schedule: &mut Schedule,
    replica: ReplicaId,
    connection: &Connection,
) -> Result<Vec<Lack>, CopyError> {
    let mut chosen = Vec::new();
    let mut after = None;
    loop {
        let page = list_logs(connection, ListLogs { after }).await?;
        let page = LogListing::decode(&page).map_err(CopyError::Answer)?;
        let last = page.logs.last().map(|log| log.log());
        let now = shared.clock.now();
        let storage = shared.storage.clone();
        let lacks = tokio::task::spawn_blocking(move || storage.compare(page.logs, now.wall)).await?;
        for lack in lacks.map_err(ImportError::from)? {
            let lacking = Lacking {
                log: lack.log(),
                through: lack.through(),
                has_tail: lack.has_tail(),
                batches: lack.batches(),
            };
            let wanted = match schedule.choose(now.monotonic, replica, lacking) {
                Choice::All => Some(lack),
                Choice::WithoutTail => lack.without_tail(),
            };
            // What does not fit is found again afterwards.
            chosen.extend(wanted.filter(|_| chosen.len() < WANTED_LOGS_MAX));
        }
        if !page.more || last <= after {
            return Ok(chosen);
        }
        after = last;
    }
}

struct Copy<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Connection,
    pacer: Pacer,
    amounts: Amounts,
}

impl Copy<'_> {
    /// Copies the lot; whether all of it was still there.
    async fn all(&mut self, mut lot: Lot) -> Result<bool, CopyError> {
        self.list_parts(&mut lot).await?;
        let (storage, now) = (self.shared.storage.clone(), self.shared.clock.now().wall);
        let begun = tokio::task::spawn_blocking(move || {
            let begun = storage.begin(&mut lot, now);
            (lot, begun)
        });
        let (begun_lot, begun) = begun.await?;
        lot = begun_lot;
        self.count(begun?);
        while let Some((part, logs)) = lot.next_part() {
            let wanted = FetchPart { part: PartId { day: part.day, number: part.number }, logs };
            let Some(stream) = fetch_part(self.connection, wanted).await? else { return Ok(false) };
            let (left, imported) = self.one(lot, stream).await?;
            lot = left;
            self.amounts.parts += 1;
            self.shared.metrics.catch_up.parts.inc();
            self.count(imported);
        }
        Ok(true)
    }

    fn count(&mut self, imported: Imported) {
        self.amounts.add(imported);
        let metrics = &self.shared.metrics.catch_up;
        metrics.samples.inc_by(imported.samples);
        metrics.batches.inc_by(imported.batches);
    }

    async fn list_parts(&self, lot: &mut Lot) -> Result<(), CopyError> {
        let logs: Vec<LogId> = lot.logs();
        let mut after: Option<PartName> = None;
        loop {
            let list = ListParts {
                after: after.map(|name| PartId { day: name.day, number: name.number }),
                logs: logs.clone(),
            };
            let page = list_parts(self.connection, list).await?;
            let page = PartListing::decode(&page).map_err(CopyError::Answer)?;
            let last = page.parts.last().map(|part| part.name());
            self.shared.storage.add_parts(lot, page.parts, self.shared.clock.now().wall);
            if !page.more || last <= after {
                return Ok(());
            }
            after = last;
        }
    }

    /// Copies the lot's next part. Chunks are written by a thread of its own, which holds the stream back.
    async fn one(&mut self, lot: Lot, mut stream: PartStream) -> Result<(Lot, Imported), CopyError> {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        let (storage, now) = (self.shared.storage.clone(), self.shared.clock.now().wall);
        let importing = tokio::task::spawn_blocking(move || import(&storage, lot, receiver, now));
        let mut broken = None;
        loop {
            let chunk = match stream.next_chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    // Without its end the part is not taken.
                    sender.send(Err(error.to_string())).await.ok();
                    broken = Some(error);
                    break;
                }
            };
            self.amounts.bytes += chunk.len() as u64;
            self.shared.metrics.catch_up.bytes.inc_by(chunk.len() as u64);
            self.pacer.wait(chunk.len()).await;
            if sender.send(Ok(chunk)).await.is_err() {
                // It says itself what it does not like.
                break;
            }
        }
        drop(sender);
        let (lot, imported) = importing.await?;
        if let Some(error) = broken {
            return Err(error.into());
        }
        Ok((lot, imported?))
    }
}

fn import(
    storage: &Storage,
    mut lot: Lot,
    mut receiver: mpsc::Receiver<Result<Vec<u8>, String>>,
    now: vedette_model::Timestamp,
) -> (Lot, Result<Imported, ImportError>) {
    let mut chunks = std::iter::from_fn(|| receiver.blocking_recv());
    let imported = storage.import(&mut lot, &mut chunks, now);
    (lot, imported)
}

/// Keeps copying from taking the whole line and disk.
struct Pacer {
    next_at: Instant,
    bytes_per_second_max: u64,
}

impl Pacer {
    async fn wait(&mut self, bytes: usize) {
        let seconds = bytes as f64 / self.bytes_per_second_max.max(1) as f64;
        self.next_at = self.next_at.max(Instant::now()) + Duration::from_secs_f64(seconds);
        tokio::time::sleep_until(self.next_at).await;
    }
}
