//! What others push to this replica: remote write into a log of the replica's own.
//!
//! ```text
//! body ─ snappy, protobuf ─ PushLog: batches ─ Storage::submit ─ (synced) ─┬─ (a peer has it) ─ answer
//!                                                                        └─ ship ─ AgentSession ─ QUIC ─▶ peers
//! ```
//!
//! A request is read on a blocking thread of its own; one at a time becomes batches, so that these reach storage in
//! order. Whatever goes wrong with a batch ends the log, and the next request starts another: what a client is told is
//! only ever about batches that are on disk.

mod histogram;
mod log;
mod metrics;
mod recent;
mod request;
mod ship;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use vedette_model::Timestamp;
use vedette_storage::{Append, AppendOutcome, Storage};
use vedette_wire::{AgentName, BatchSeq, DecodeLimits, LogId, ReplicaId, SegmentDecoder};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Shared, lock};
use log::{APPEND_SERIES_MAX, Accepted, Appended, PushLog, Rejection};
use request::{Request, RequestError, decompressed_len};

use ship::{Acknowledged, OwnLogs};

pub(crate) use metrics::PushMetrics;
pub(crate) use recent::RecentRequests;
pub(crate) use ship::ship;

/// Who has to have a push before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushAck {
    /// This replica's disk, and that of one peer, if any is connected.
    Peer,
    /// This replica's disk.
    Local,
}

/// What pushes may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Who has to have it before it is answered.
    pub ack: PushAck,
    /// Requests at once; the next is told to come again.
    pub requests_max: usize,
    /// Their bytes, uncompressed.
    pub bytes_max: usize,
    /// Bytes of one request, uncompressed.
    pub request_bytes_max: usize,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self { ack: PushAck::Peer, requests_max: 256, bytes_max: 256 << 20, request_bytes_max: 32 << 20 }
    }
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushAnswer {
    /// All of it is on disk.
    Written,
    /// Some of it will never be taken; all else is on disk. Not worth repeating.
    Rejected(String),
    /// It is longer than requests may be. Not worth repeating.
    TooLong(String),
    /// Come again.
    Overloaded {
        /// Why.
        message: String,
        /// When.
        retry_after: Duration,
    },
}

/// Takes remote write. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct RemoteWrite {
    shared: Arc<Shared>,
}

/// The state of pushes.
pub(crate) struct Pushes {
    writer: AgentName,
    limits: PushLimits,
    /// Requests that may begin, and their bytes in units of [`BYTES_UNIT`].
    requests: Semaphore,
    bytes: Semaphore,
    lane: Mutex<Option<Lane>>,
    /// What is on disk here, whoever it was pushed to.
    pub(crate) recent: Mutex<RecentRequests>,
    /// What there is to ship.
    own_logs: Arc<watch::Sender<OwnLogs>>,
    /// What peers have of it.
    acknowledged: watch::Sender<Acknowledged>,
    metrics: PushMetrics,
}

/// The log that is written, and how far storage is with it.
struct Lane {
    log: PushLog,
    progress: Arc<watch::Sender<Progress>>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// The last batch that is on disk.
    through: BatchSeqOrNone,
    /// Why no further ones will be.
    failed: Option<String>,
}

/// 0 before the first.
type BatchSeqOrNone = u64;

/// What a request has to wait for.
struct Ticket {
    /// Of each log that it went to, the last batch.
    waits: Vec<(LogId, watch::Receiver<Progress>, BatchSeq)>,
    rejection: Option<Rejection>,
}

/// A semaphore counts at most 2^29 permits or so: a permit is worth so many bytes.
const BYTES_UNIT: usize = 1024;
/// How long a batch waits for room in storage's queue, and between two attempts.
const BUSY_ATTEMPTS_MAX: u32 = 500;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a request waits for storage.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request waits for a peer.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// When a client is asked to come again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// See [`crate::check_any_bytes`].
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    let Ok(request) = Request::read(bytes) else { return };
    let now = Timestamp::from_millis(i64::MAX / 4);
    let mut log = PushLog::new(LogId::of_push(1));
    let mut decoder = SegmentDecoder::new(DecodeLimits::default());
    log.note_metadata(&request);
    for _ in 0..2 {
        let accepted = Accepted { now, oldest: Timestamp::MIN };
        let Ok(appended) = log.append(&request, &request.series, accepted) else { return };
        for (_, frame) in appended.batches {
            decoder.decode(&frame).expect("whatever was pushed, its batch can be read");
        }
    }
}

impl Pushes {
    pub(crate) fn new(
        storage: &Storage,
        replica: ReplicaId,
        mut limits: PushLimits,
        metrics: PushMetrics,
    ) -> Self {
        let writer = AgentName::of_replica(replica);
        // One request always has room when it is alone, its compressed form included.
        limits.request_bytes_max = limits.request_bytes_max.min(limits.bytes_max / 2);
        Self {
            requests: Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new((limits.bytes_max / BYTES_UNIT + 1).min(Semaphore::MAX_PERMITS)),
            limits,
            lane: Mutex::default(),
            recent: Mutex::default(),
            own_logs: Arc::new(watch::Sender::new(OwnLogs::restore(storage, &writer))),
            acknowledged: watch::Sender::new(Acknowledged::default()),
            writer,
            metrics,
        }
    }

    /// Batches that were pushed here and that a connected peer has not acknowledged.
    pub(crate) fn unshipped(&self, replica: ReplicaId) -> Option<u64> {
        self.acknowledged.borrow().behind(replica, &self.own_logs.borrow())
    }
}

impl RemoteWrite {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Bytes of one request, uncompressed; compressed it is no longer either.
    pub fn request_bytes_max(&self) -> usize {
        self.shared.pushes.limits.request_bytes_max
    }

    /// Takes a body as it came: remote write 1.0 in snappy's block format.
    pub async fn write(&self, body: Bytes) -> PushAnswer {
        let answer = self.take(body).await;
        let outcome = match &answer {
            PushAnswer::Written => "written",
            PushAnswer::Rejected(_) => "rejected",
            PushAnswer::TooLong(_) => "too_long",
            PushAnswer::Overloaded { .. } => "overloaded",
        };
        self.shared.pushes.metrics.requests.with_label_values(&[outcome]).inc();
        answer
    }

    async fn take(&self, body: Bytes) -> PushAnswer {
        let pushes = &self.shared.pushes;
        let bytes = match decompressed_len(&body, pushes.limits.request_bytes_max) {
            Ok(bytes) => bytes,
            Err(error) => return malformed(&error),
        };
        let hash = xxh3_128(&body);
        let now = self.shared.clock.now().monotonic;
        if lock(&pushes.recent).has(now, hash) {
            pushes.metrics.repeated.inc();
            return PushAnswer::Written;
        }
        let Ok(_request) = pushes.requests.try_acquire() else {
            return overloaded("too many requests at once (limits.push_requests_max)");
        };
        let units = u32::try_from((bytes + body.len()).div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX);
        let Ok(_bytes) = pushes.bytes.try_acquire_many(units) else {
            return overloaded("too many bytes at once (limits.push_bytes_max)");
        };
        let shared = Arc::clone(&self.shared);
        let ticket = match tokio::task::spawn_blocking(move || shared.append(&body, hash)).await {
            Ok(Ok(ticket)) => ticket,
            Ok(Err(answer)) => return answer,
            Err(error) => {
                tracing::error!(%error, "a push's thread failed");
                return overloaded("the request's thread was lost");
            }
        };
        let batches: Vec<_> = ticket.waits.iter().map(|(log, _, seq)| (*log, *seq)).collect();
        for (_, mut progress, seq) in ticket.waits {
            let settled = |progress: &Progress| progress.through >= seq.0 || progress.failed.is_some();
            let settling = tokio::time::timeout(DURABLE_TIMEOUT, progress.wait_for(settled));
            match settling.await.map(|settled| settled.map(|progress| progress.clone())) {
                Ok(Ok(progress)) if progress.through >= seq.0 => {}
                Ok(Ok(progress)) => return overloaded(&progress.failed.unwrap_or_default()),
                Ok(Err(_)) => return overloaded("the log was given up"),
                Err(_elapsed) => return overloaded("storage did not write it in time"),
            }
        }
        self.await_peer(&batches).await;
        match ticket.rejection {
            None => {
                lock(&pushes.recent).add(now, hash);
                PushAnswer::Written
            }
            Some(rejection) => PushAnswer::Rejected(rejection.to_string()),
        }
    }
}

impl RemoteWrite {
    /// Waits until a peer has the batches too; not for long, and not when none is connected: that is counted.
    async fn await_peer(&self, batches: &[(LogId, BatchSeq)]) {
        let pushes = &self.shared.pushes;
        if pushes.limits.ack == PushAck::Local || crate::peers::peers(&self.shared).is_empty() {
            return;
        }
        let has_all = |peers: &Acknowledged| batches.iter().all(|(log, seq)| peers.has(*log, *seq));
        let mut peers = pushes.acknowledged.subscribe();
        let settled = peers.wait_for(|peers| peers.is_alone() || has_all(peers));
        let acknowledged = match tokio::time::timeout(PEER_TIMEOUT, settled).await {
            Ok(Ok(peers)) => has_all(&peers),
            Ok(Err(_)) | Err(_) => false,
        };
        if !acknowledged {
            pushes.metrics.acks_degraded.inc();
        }
    }
}

fn overloaded(message: &str) -> PushAnswer {
    PushAnswer::Overloaded { message: message.to_owned(), retry_after: RETRY_AFTER }
}

fn malformed(error: &RequestError) -> PushAnswer {
    match error {
        RequestError::TooLong { .. } => PushAnswer::TooLong(error.to_string()),
        RequestError::Snappy(_) | RequestError::Protobuf(_) => PushAnswer::Rejected(error.to_string()),
    }
}

impl Shared {
    /// Reads a request and hands its batches to storage.
    fn append(self: &Arc<Self>, body: &[u8], hash: u128) -> Result<Ticket, PushAnswer> {
        let request = Request::decode(body).map_err(|error| malformed(&error))?;
        let pushes = &self.pushes;
        let mut ticket = Ticket { waits: Vec::new(), rejection: None };
        let mut lane = lock(&pushes.lane);
        let (mut first, mut left) = (true, request.series.len());
        // A request without series may still bring metadata.
        let chunks =
            request.series.chunks(APPEND_SERIES_MAX).chain(request.series.is_empty().then_some(&[][..]));
        for series in chunks {
            let open = self.open_lane(&mut lane);
            if std::mem::take(&mut first) {
                open.log.note_metadata(&request);
            }
            let now = self.clock.now().wall;
            let accepted = Accepted { now, oldest: now.minus_millis(self.storage.retention_ms()) };
            let appended = open.log.append(&request, series, accepted);
            let stored = match appended {
                Ok(mut appended) => {
                    pushes.metrics.count(&appended, open.log.series_len());
                    open.note(&mut ticket, &appended);
                    left -= series.len();
                    if left == 0 && ticket.rejection.is_none() {
                        appended.name_request(hash);
                    }
                    open.submit(self, appended)
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = stored {
                // Its numbers can not go on: the next request starts another log.
                pushes.end(&mut lane);
                pushes.metrics.logs_given_up.inc();
                tracing::warn!(reason, "a push could not be stored");
                return Err(overloaded(&reason));
            }
        }
        Ok(ticket)
    }

    /// The log that takes the next batches.
    fn open_lane<'a>(&self, lane: &'a mut MutexGuard<'_, Option<Lane>>) -> &'a mut Lane {
        let usable = |lane: &mut Lane| !lane.log.is_full() && lane.progress.borrow().failed.is_none();
        if !lane.as_mut().is_some_and(usable) {
            self.pushes.metrics.logs.inc();
            self.pushes.end(lane);
        }
        lane.get_or_insert_with(|| Lane {
            log: PushLog::new(LogId::of_push(rand::random())),
            progress: Arc::new(watch::channel(Progress::default()).0),
        })
    }
}

impl Pushes {
    /// Nothing more comes of the log that is written.
    fn end(&self, lane: &mut Option<Lane>) {
        if let Some(ended) = lane.take() {
            self.own_logs.send_modify(|logs| logs.end(ended.log.id()));
        }
    }
}

impl Lane {
    /// Notes what the request has to wait for and what its client is told.
    fn note(&self, ticket: &mut Ticket, appended: &Appended) {
        // Also when there was nothing new: what it repeats may not be on disk yet.
        ticket.waits.retain(|(log, ..)| *log != self.log.id());
        ticket.waits.push((self.log.id(), self.progress.subscribe(), self.log.last()));
        if let (None, Some((rejection, _))) = (&ticket.rejection, appended.rejected.first()) {
            ticket.rejection = Some(rejection.clone());
        }
    }

    /// Hands the batches over, in order.
    fn submit(&self, shared: &Arc<Shared>, appended: Appended) -> Result<(), String> {
        let log = self.log.id();
        for (_, frame) in appended.batches {
            let mut attempts = 0;
            loop {
                let writer = shared.pushes.writer.clone();
                let append = Append { writer, log, interval_ms: 0, frame: frame.clone() };
                // No more than that: whoever drops the last of what is shared must not be storage itself.
                let (progress, own_logs) = (Arc::clone(&self.progress), Arc::clone(&shared.pushes.own_logs));
                let done = Box::new(move |outcome| {
                    if let Some(through) = settle(&progress, outcome) {
                        own_logs.send_modify(|logs| logs.reached(log, through));
                    }
                });
                match shared.storage.submit(append, done) {
                    Ok(()) => break,
                    Err(busy) if attempts == BUSY_ATTEMPTS_MAX => return Err(busy.to_string()),
                    Err(_busy) => {
                        attempts += 1;
                        std::thread::sleep(BUSY_PAUSE);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells who waits what became of a batch; gives the last one on disk if it is there.
fn settle(progress: &watch::Sender<Progress>, outcome: AppendOutcome) -> Option<BatchSeq> {
    let settled = match outcome {
        AppendOutcome::Durable { through, .. } | AppendOutcome::Known { through } => Ok(through),
        AppendOutcome::Refused(refusal) => Err(refusal.to_string()),
        AppendOutcome::Failed(fault) => Err(fault.to_string()),
    };
    progress.send_modify(|progress| match &settled {
        Ok(through) => progress.through = through.0,
        Err(reason) => progress.failed = Some(reason.clone()),
    });
    settled.ok()
}
