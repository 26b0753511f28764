//! Runs queries: on blocking threads, so many at a time, each within its deadline and while its client is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::Instant;
use vedette_model::{SelectError, SelectGuard};
use vedette_promql::{Interrupt, QueryError};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::metrics::ApiMetrics;
use crate::reply::{Reply, ReplyWriter};

/// What queries may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// The longest that one may take, waiting included; a request can ask for less.
    pub timeout: Duration,
    /// How many run at once; the others wait.
    pub concurrency_max: usize,
    /// How many wait; the next is told so at once.
    pub waiting_max: usize,
    /// The most memory that the samples and labels of all queries may take together.
    pub memory_bytes_max: u64,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(120),
            concurrency_max: 20,
            waiting_max: 1000,
            memory_bytes_max: 1 << 30,
        }
    }
}

/// Said after Prometheus' words, so that its reader knows what to change.
pub(crate) const TIMEOUT_HINT: &str = " (limits.query_timeout, or the request's timeout)";
/// The same for samples.
pub(crate) const SAMPLES_HINT: &str = " (limits.query_samples_max)";
/// The same for the memory of all queries.
pub(crate) const MEMORY_HINT: &str = " (limits.query_memory_max)";
/// A time and a value.
const SAMPLE_BYTES: u64 = 16;

/// What one query holds of the memory that all queries share; given back when dropped.
pub(crate) struct MemoryShare {
    bytes: AtomicU64,
    bytes_max: u64,
    all: IntGauge,
}

impl MemoryShare {
    fn new(bytes_max: u64, all: IntGauge) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max, all }
    }

    /// The query holds so many samples from now on. Whether all queries together stay within their memory.
    pub(crate) fn hold(&self, samples: u64) -> bool {
        self.hold_bytes(samples.saturating_mul(SAMPLE_BYTES))
    }

    /// The same for what is counted in bytes.
    pub(crate) fn hold_bytes(&self, bytes: u64) -> bool {
        let bytes = bytes.min(i64::MAX as u64 / 1024);
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.all.add(bytes as i64 - before as i64);
        bytes <= before || self.all.get() <= i64::try_from(self.bytes_max).unwrap_or(i64::MAX)
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.hold_bytes(0);
    }
}

/// What a running query may still take, and whether it should go on.
pub(crate) struct QueryGuard {
    cancelled: Arc<AtomicBool>,
    deadline: Instant,
    pub(crate) memory: MemoryShare,
    /// What was gathered before the listing that is under way.
    kept_bytes: AtomicU64,
}

impl QueryGuard {
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        if self.cancelled.load(Ordering::Relaxed) {
            Some(Interrupt::Cancelled)
        } else if Instant::now() >= self.deadline {
            Some(Interrupt::Timeout)
        } else {
            None
        }
    }

    /// What was gathered is kept while more is.
    pub(crate) fn keep(&self) {
        self.kept_bytes.store(self.memory.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// So many bytes are kept beside, and nothing else that was gathered since.
    pub(crate) fn keep_beside(&self, bytes: usize) -> Result<(), SelectError> {
        self.kept_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.hold(0)
    }
}

impl SelectGuard for QueryGuard {
    fn hold(&self, bytes: u64) -> Result<(), SelectError> {
        if self.interrupt().is_some() {
            // Whoever waits for the answer was told why.
            return Err(SelectError::Cancelled);
        }
        let bytes = self.kept_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        match self.memory.hold_bytes(bytes) {
            true => Ok(()),
            false => Err(SelectError::Limit(QueryError::NoBudget.to_string() + MEMORY_HINT)),
        }
    }
}

pub(crate) struct Runner {
    limits: QueryLimits,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    metrics: Arc<ApiMetrics>,
}

/// What a running query asks to learn whether it should go on.
pub(crate) struct Control {
    pub(crate) guard: Arc<QueryGuard>,
    /// How long it waited for its turn.
    pub(crate) queued: Duration,
    begun: Instant,
}

impl Control {
    pub(crate) fn interrupt(&self) -> Option<Interrupt> {
        self.guard.interrupt()
    }

    /// How long it has run.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// What an entry of a sorted map costs beside its text.
const ENTRY_BYTES: u64 = 96;

/// What a query gathers by itself, told to its guard from time to time.
pub(crate) struct Gathered<'a> {
    guard: &'a QueryGuard,
    bytes: u64,
    steps: u32,
}

impl<'a> Gathered<'a> {
    pub(crate) fn new(control: &'a Control) -> Self {
        Self { guard: &control.guard, bytes: 0, steps: 0 }
    }

    /// Something was looked at, and so many bytes of it are kept with their entry; 0 where nothing is.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), SelectError> {
        /// Each question costs a look at the clock.
        const STEPS_MAX: u32 = 256;
        if bytes > 0 {
            self.bytes += ENTRY_BYTES + bytes as u64;
        }
        self.steps += 1;
        if self.steps < STEPS_MAX {
            return Ok(());
        }
        self.steps = 0;
        self.guard.hold(self.bytes)
    }
}

/// Dropped with the request's future: when the answer is out, or when the client has gone.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Runner {
    pub(crate) fn new(limits: QueryLimits, metrics: Arc<ApiMetrics>) -> Self {
        let running = Arc::new(Semaphore::new(limits.concurrency_max));
        let waiting = Arc::new(Semaphore::new(limits.waiting_max));
        Self { limits, running, waiting, metrics }
    }

    /// Computes an answer and writes it. `kind` names the sort of query in the metrics.
    pub(crate) async fn run(
        &self,
        kind: &'static str,
        timeout: Option<Duration>,
        compute: impl FnOnce(&Control) -> Result<Answer, ApiError> + Send + 'static,
    ) -> Response {
        let reply = match self.reply(kind, timeout, compute).await {
            Ok(reply) => reply,
            Err(error) => Reply::Error(error),
        };
        if let Reply::Error(error) = &reply {
            self.metrics.query_failures.with_label_values(&[kind, error.error_type()]).inc();
        }
        reply.into_response()
    }

    async fn reply(
        &self,
        kind: &'static str,
        timeout: Option<Duration>,
        compute: impl FnOnce(&Control) -> Result<Answer, ApiError> + Send + 'static,
    ) -> Result<Reply, ApiError> {
        let received = Instant::now();
        let deadline =
            received + timeout.map_or(self.limits.timeout, |timeout| timeout.min(self.limits.timeout));
        let turn = self.turn(deadline).await?;

        let cancelled = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancelled));
        let begun = Instant::now();
        let memory = self.memory_share();
        let query_guard = QueryGuard { cancelled, deadline, memory, kept_bytes: AtomicU64::new(0) };
        let control = Control { guard: Arc::new(query_guard), queued: begun - received, begun };
        let (writer, receiver) = ReplyWriter::new(Handle::current());
        let metrics = Arc::clone(&self.metrics);
        tokio::task::spawn_blocking(move || work(kind, &control, &metrics, writer, turn, compute));

        let received = tokio::time::timeout_at(deadline, receiver).await;
        drop(guard);
        match received {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => {
                tracing::error!(kind, "a query's thread was lost");
                Err(ApiError::Internal("the query's thread was lost".to_owned()))
            }
            Err(_) => Err(ApiError::Timeout(format!("query timed out in query execution{TIMEOUT_HINT}"))),
        }
    }

    /// For whoever is not run here and takes memory like a query.
    pub(crate) fn memory_share(&self) -> MemoryShare {
        MemoryShare::new(self.limits.memory_bytes_max, self.metrics.queries_memory.clone())
    }

    async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, ApiError> {
        match Arc::clone(&self.running).try_acquire_owned() {
            Ok(turn) => return Ok(turn),
            Err(TryAcquireError::NoPermits) => {}
            Err(TryAcquireError::Closed) => unreachable!("nobody closes the semaphore"),
        }
        let Ok(_place) = self.waiting.try_acquire() else {
            let waiting_max = self.limits.waiting_max;
            return Err(ApiError::Unavailable(format!(
                "{waiting_max} queries are waiting already (limits.query_waiting_max)"
            )));
        };
        self.metrics.queries_waiting.inc();
        let turn = tokio::time::timeout_at(deadline, Arc::clone(&self.running).acquire_owned()).await;
        self.metrics.queries_waiting.dec();
        match turn {
            Ok(turn) => Ok(turn.expect("nobody closes the semaphore")),
            Err(_) => Err(ApiError::Timeout(format!("query timed out in query queue{TIMEOUT_HINT}"))),
        }
    }
}

fn work(
    kind: &'static str,
    control: &Control,
    metrics: &ApiMetrics,
    mut writer: ReplyWriter,
    turn: OwnedSemaphorePermit,
    compute: impl FnOnce(&Control) -> Result<Answer, ApiError>,
) {
    metrics.queries_running.inc();
    let sent = match compute(control) {
        Err(error) => writer.refuse(error),
        Ok(answer) => answer.write(&mut writer).and_then(|()| writer.finish()),
    };
    if sent.is_err() {
        metrics.replies_abandoned.inc();
    }
    metrics.query_duration.with_label_values(&[kind]).observe(control.elapsed().as_secs_f64());
    metrics.queries_running.dec();
    drop(turn);
}
