//! Takes what agents send and others push, and lets the replicas of the group help each other.
//!
//! This crate is a driver: the rules of the conversation are `vedette_wire::session`'s, sockets and certificates
//! `vedette_transport`'s, and what becomes of a batch is the storage's. It owns the tasks between them and the
//! bounds on what one agent may cost.
//!
//! ```text
//! call ─ handshake ─┬─ data    ─ ReplicaSession ─ Storage::submit ─ (synced) ─ ack
//!                   ├─ peer    ─ membership, batches and parts that another replica lacks
//!                   └─ enrol   ─ Group signs
//! push ─ remote write ─ PushLog      ─ Storage::submit ─ (synced) ─ 204
//! ```
//!
//! Backpressure: a session that waits for storage does not take frames from its streams, the streams' tasks then
//! do not read, and QUIC's flow control holds the agent, which keeps its data on its own disk.

#![warn(missing_docs)]

mod accept;
mod catch_up;
mod metrics;
mod neighbours;
mod peers;
mod push;
mod refusals;
mod session;
mod sessions;
mod stream;
mod targets;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quinn::Endpoint;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_model::Timestamp;
use vedette_storage::Storage;
use vedette_transport::{Caller, Group};
use vedette_wire::control::TargetReport;
use vedette_wire::session::Now;
use vedette_wire::{AgentName, BatchSeq, LogId, ReplicaId};

pub use neighbours::PeerStatus;
pub use push::{PushAck, PushAnswer, PushLimits, RemoteWrite};

use catch_up::{NEWS_MAX, News};
use metrics::IngestMetrics;
use neighbours::Neighbours;
use peers::Deletions;
use push::{PushMetrics, Pushes};
use refusals::Refusals;
use sessions::Sessions;
use targets::AgentTargets;

/// Reads `bytes` as the plain form of a request of remote write, and makes batches of what is in it. For fuzzing and for
/// replaying its corpus.
#[doc(hidden)]
pub fn check_any_bytes(bytes: &[u8]) {
    push::check_any_bytes(bytes);
}

/// What agents and replicas may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestLimits {
    /// Connections at once, of all kinds.
    pub connections_max: usize,
    /// Connections of one agent's name at once: its own, the one before it, and those of clones.
    pub connections_per_agent_max: usize,
    /// Frames that an agent may have on their way without an acknowledgement.
    pub unacknowledged_frames_max: u32,
    /// Their bytes.
    pub unacknowledged_bytes_max: u32,
    /// How long a stream may stop in the middle of a frame.
    pub stall_timeout: Duration,
    /// What pushes may take.
    pub push: PushLimits,
    /// Time between two looks at a peer that has something that is lacking here; ten times that when it has nothing.
    pub catch_up_interval: Duration,
    /// How fast parts are copied from peers.
    pub catch_up_bytes_per_second_max: u64,
}

impl Default for IngestLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_agent_max: 4,
            unacknowledged_frames_max: 1024,
            unacknowledged_bytes_max: 2 << 20,
            stall_timeout: Duration::from_secs(10),
            push: PushLimits::default(),
            catch_up_interval: Duration::from_secs(60),
            catch_up_bytes_per_second_max: 32 << 20,
        }
    }
}

/// A live session, for the status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Whose.
    pub agent: AgentName,
    /// From where.
    pub address: SocketAddr,
    /// Whether another live session has the same agent's name.
    pub identity_conflict: bool,
}

/// The side of an aggregator that agents and peers talk to. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
}

struct Shared {
    storage: Storage,
    group: Arc<Group>,
    endpoint: Endpoint,
    caller: Caller,
    limits: IngestLimits,
    /// What peers are told that this is.
    software: String,
    metrics: IngestMetrics,
    sessions: Mutex<Sessions>,
    /// What agents with a session have said of their targets.
    targets: Mutex<AgentTargets>,
    deletions: Deletions,
    neighbours: Mutex<Neighbours>,
    refusals: Mutex<Refusals>,
    /// Newcomers that may be served at once: they have shown no certificate.
    enrolments: Semaphore,
    pushes: Pushes,
    /// Parts that peers may copy at once.
    exports: Arc<Semaphore>,
    news: mpsc::Sender<News>,
    /// Taken by the first [`Ingest::serve`].
    heard: Mutex<Option<mpsc::Receiver<News>>>,
    clock: Clock,
}

/// See [`Shared::enrolments`].
const ENROLMENTS_MAX: usize = 64;
/// See [`Shared::exports`]. Each reads the disk on a thread of its own.
const EXPORTS_MAX: usize = 2;

impl Ingest {
    /// Nothing is taken before [`Ingest::serve`]. Peers are told `software`, the program's name and version. Fails when
    /// the registry already has metrics of the same names.
    pub fn new(
        storage: Storage,
        group: Arc<Group>,
        endpoint: Endpoint,
        limits: IngestLimits,
        software: String,
        registry: &prometheus::Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = IngestMetrics::register(registry)?;
        let pushes =
            Pushes::new(&storage, group.replica(), limits.push.clone(), PushMetrics::register(registry)?);
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let shared = Shared {
            storage,
            group,
            caller: Caller::new(endpoint.clone()),
            endpoint,
            limits,
            software,
            metrics,
            sessions: Mutex::new(Sessions::default()),
            targets: Mutex::new(AgentTargets::default()),
            deletions: Deletions::default(),
            neighbours: Mutex::default(),
            refusals: Mutex::new(Refusals::default()),
            enrolments: Semaphore::new(ENROLMENTS_MAX),
            pushes,
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            news,
            heard: Mutex::new(Some(heard)),
            clock: Clock::start(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes calls, exchanges membership and copies what is lacking from peers until `stop`, then ends all sessions.
    pub async fn serve(&self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        tasks.spawn(peers::keep_in_touch(Arc::clone(&self.shared), stop.clone()));
        tasks.spawn(push::ship(Arc::clone(&self.shared), stop.clone()));
        let heard = lock(&self.shared.heard).take();
        if let Some(heard) = heard {
            tasks.spawn(catch_up::run(Arc::clone(&self.shared), heard, stop.clone()));
        }
        accept::serve(Arc::clone(&self.shared), stop).await;
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task that talks to peers failed");
            }
        }
    }

    /// Takes what others push.
    pub fn remote_write(&self) -> RemoteWrite {
        RemoteWrite::new(Arc::clone(&self.shared))
    }

    /// Storage has a deletion that peers do not know: they are told at once.
    pub fn tell_deletions(&self) {
        self.shared.deletions.news.notify_one();
    }

    /// What agents with a session scrape, by agent.
    pub fn targets(&self) -> Vec<(AgentName, TargetReport)> {
        lock(&self.shared.targets).all()
    }

    /// How it goes with another replica of the group.
    pub fn peer(&self, replica: ReplicaId) -> PeerStatus {
        let status = lock(&self.shared.neighbours).status(self.shared.clock.now().monotonic, replica);
        PeerStatus { unshipped_batches: self.shared.pushes.unshipped(replica), ..status }
    }

    /// The live sessions, by agent.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        lock(&self.shared.sessions).status()
    }
}

impl Shared {
    /// Counts a refusal, and logs its cause when it is news.
    fn refused(&self, reason: &'static str, who: &str, message: &str) {
        self.metrics.refusals.with_label_values(&[reason]).inc();
        if lock(&self.refusals).is_news(self.clock.now().monotonic, reason, who) {
            tracing::warn!(reason, who, why = message, "refused");
        }
    }

    /// What peers have of a gap, in order, maybe with what is needed to read it in front. Bounded in time.
    async fn recover(&self, log: LogId, from: BatchSeq, to: BatchSeq) -> Vec<vedette_transport::Frame> {
        let frames = peers::fetch(self, log, from, to).await;
        let batches = frames.last().map_or(0, |last| (last.header.last_seq.0 + 1).saturating_sub(from.0));
        self.metrics.gap_batches_recovered.inc_by(batches);
        if frames.last().is_none_or(|last| last.header.last_seq < to) {
            // What is left is recorded as a gap; a peer may have it in parts.
            self.tell_catch_up(News::Gap);
        }
        frames
    }
}

/// The clocks of all sessions.
struct Clock {
    started: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "driver: sessions get their time from here")]
    fn start() -> Self {
        Self { started: Instant::now() }
    }

    #[expect(clippy::disallowed_methods, reason = "driver: sessions get their time from here")]
    fn now(&self) -> Now {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
        Now { monotonic: self.started.elapsed(), wall }
    }

    /// When a monotonic time of this clock is reached.
    fn instant(&self, monotonic: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + monotonic)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
