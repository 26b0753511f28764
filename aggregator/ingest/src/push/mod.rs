//! What others push to this replica: remote write into a log of the replica's own.
//!
//! ```text
//! body ─ snappy, protobuf ─ PushLog: batches ─ Storage::submit ─ (synced) ─ answer
//! ```
//!
//! A request is read on a blocking thread of its own; one at a time becomes batches, so that these reach storage in
//! order. Whatever goes wrong with a batch ends the log, and the next request starts another: what a client is told is
//! only ever about batches that are on disk.

mod fields;
mod log;
mod metrics;
mod request;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};
use vedette_storage::{Append, AppendOutcome, Storage};
use vedette_wire::{AgentName, BatchSeq, LogId, ReplicaId};

use crate::{Shared, lock};
use log::{APPEND_SERIES_MAX, Accepted, Appended, PushLog, Rejection};
use request::{Request, RequestError, decompressed_len};

pub(crate) use metrics::PushMetrics;

/// What pushes may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Requests at once; the next is told to come again.
    pub requests_max: usize,
    /// Their bytes, uncompressed.
    pub bytes_max: usize,
    /// Bytes of one request, uncompressed.
    pub request_bytes_max: usize,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self { requests_max: 256, bytes_max: 256 << 20, request_bytes_max: 32 << 20 }
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
    waits: Vec<(watch::Receiver<Progress>, BatchSeq)>,
    rejection: Option<Rejection>,
}

/// A semaphore counts at most 2^29 permits or so: a permit is worth so many bytes.
const BYTES_UNIT: usize = 1024;
/// How long a batch waits for room in storage's queue, and between two attempts.
const BUSY_ATTEMPTS_MAX: u32 = 500;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a request waits for storage.
const DURABLE_TIMEOUT: Duration = Duration::from_secs(30);
/// When a client is asked to come again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Pushes {
    pub(crate) fn new(replica: ReplicaId, mut limits: PushLimits, metrics: PushMetrics) -> Self {
        // One request always has room when it is alone, its compressed form included.
        limits.request_bytes_max = limits.request_bytes_max.min(limits.bytes_max / 2);
        Self {
            writer: writer_name(replica),
            requests: Semaphore::new(limits.requests_max.min(Semaphore::MAX_PERMITS)),
            bytes: Semaphore::new((limits.bytes_max / BYTES_UNIT + 1).min(Semaphore::MAX_PERMITS)),
            limits,
            lane: Mutex::default(),
            metrics,
        }
    }
}

/// As whom a replica writes what is pushed to it.
pub(crate) fn writer_name(replica: ReplicaId) -> AgentName {
    AgentName::new(&format!("replica {replica}")).expect("shorter than a name may be, and printable")
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
        let Ok(_request) = pushes.requests.try_acquire() else {
            return overloaded("too many requests at once (limits.push_requests_max)");
        };
        let units = u32::try_from((bytes + body.len()).div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX);
        let Ok(_bytes) = pushes.bytes.try_acquire_many(units) else {
            return overloaded("too many bytes at once (limits.push_bytes_max)");
        };
        let shared = Arc::clone(&self.shared);
        let ticket = match tokio::task::spawn_blocking(move || shared.append(&body)).await {
            Ok(Ok(ticket)) => ticket,
            Ok(Err(answer)) => return answer,
            Err(error) => {
                tracing::error!(%error, "a push's thread failed");
                return overloaded("the request's thread was lost");
            }
        };
        for (mut progress, seq) in ticket.waits {
            let settled = |progress: &Progress| progress.through >= seq.0 || progress.failed.is_some();
            let settling = tokio::time::timeout(DURABLE_TIMEOUT, progress.wait_for(settled));
            match settling.await.map(|settled| settled.map(|progress| progress.clone())) {
                Ok(Ok(progress)) if progress.through >= seq.0 => {}
                Ok(Ok(progress)) => return overloaded(&progress.failed.unwrap_or_default()),
                Ok(Err(_)) => return overloaded("the log was given up"),
                Err(_elapsed) => return overloaded("storage did not write it in time"),
            }
        }
        match ticket.rejection {
            None => PushAnswer::Written,
            Some(rejection) => PushAnswer::Rejected(rejection.to_string()),
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
    fn append(&self, body: &[u8]) -> Result<Ticket, PushAnswer> {
        let request = Request::decode(body).map_err(|error| malformed(&error))?;
        let pushes = &self.pushes;
        let mut ticket = Ticket { waits: Vec::new(), rejection: None };
        let mut lane = lock(&pushes.lane);
        let mut first = true;
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
                Ok(appended) => {
                    pushes.metrics.count(&appended, open.log.series_len());
                    open.note(&mut ticket, &appended);
                    open.submit(&self.storage, &pushes.writer, appended)
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = stored {
                // Its numbers can not go on: the next request starts another log.
                *lane = None;
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
            **lane = None;
        }
        lane.get_or_insert_with(|| Lane {
            log: PushLog::new(LogId::of_push(rand::random())),
            progress: Arc::new(watch::channel(Progress::default()).0),
        })
    }
}

impl Lane {
    /// Notes what the request has to wait for and what its client is told.
    fn note(&self, ticket: &mut Ticket, appended: &Appended) {
        // Also when there was nothing new: what it repeats may not be on disk yet.
        ticket.waits.retain(|(progress, _)| !progress.same_channel(&self.progress.subscribe()));
        ticket.waits.push((self.progress.subscribe(), self.log.last()));
        if let (None, Some((rejection, _))) = (&ticket.rejection, appended.rejected.first()) {
            ticket.rejection = Some(rejection.clone());
        }
    }

    /// Hands the batches over, in order.
    fn submit(&self, storage: &Storage, writer: &AgentName, appended: Appended) -> Result<(), String> {
        for (_, frame) in appended.batches {
            let mut attempts = 0;
            loop {
                let append = Append {
                    writer: writer.clone(),
                    log: self.log.id(),
                    interval_ms: 0,
                    frame: frame.clone(),
                };
                let progress = Arc::clone(&self.progress);
                let done = Box::new(move |outcome| settle(&progress, outcome));
                match storage.submit(append, done) {
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

/// Tells who waits what became of a batch.
fn settle(progress: &watch::Sender<Progress>, outcome: AppendOutcome) {
    progress.send_modify(|progress| match outcome {
        AppendOutcome::Durable { through } | AppendOutcome::Known { through } => progress.through = through.0,
        AppendOutcome::Refused(refusal) => progress.failed = Some(refusal.to_string()),
        AppendOutcome::Failed(fault) => progress.failed = Some(fault.to_string()),
    });
}
