//! What the tasks of the agent have in common: the spool, who it is, and the numbers for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use vedette_model::Timestamp;
use vedette_spool::{LogRange, Spool};
use vedette_transport::Identity;
use vedette_wire::control::TargetReport;
use vedette_wire::session::Now;
use vedette_wire::{LogId, ReplicaId};

use crate::clock::Clock;
use crate::collect::Request;

/// Shared by all tasks. Locks are held for a few calls, never across an await.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    spool: Mutex<Spool>,
    /// Rises with every batch and every change of logs.
    pub(crate) spool_changed: watch::Sender<u64>,
    /// A batch was appended or acknowledged: something may be freed, and is to be synced or no more so.
    pub(crate) spool_touched: Notify,
    /// What is scraped, and why it failed where it did.
    pub(crate) targets: watch::Sender<Vec<TargetReport>>,
    /// Who the agent is; none before it is enrolled.
    pub(crate) identity: watch::Sender<Option<Arc<Identity>>>,
    /// Membership, addresses or connections have changed.
    pub(crate) fleet_changed: Notify,
    /// To whoever collects.
    pub(crate) requests: mpsc::Sender<Request>,
    numbers: Mutex<Numbers>,
    replicas: Mutex<BTreeMap<String, ReplicaNumbers>>,
    /// Replicas with a session, and the label of the peer whose task has it: one each.
    claimed: Mutex<BTreeMap<ReplicaId, String>>,
}

/// What has happened since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) batches: u64,
    pub(crate) key_batches: u64,
    pub(crate) batch_bytes: u64,
    pub(crate) samples: u64,
    pub(crate) ticks: u64,
    pub(crate) ticks_skipped: u64,
    pub(crate) collect_duration: Duration,
    pub(crate) encode_duration: Duration,
    pub(crate) clock_steps: u64,
    /// By reason.
    pub(crate) logs_started: [u64; LogReason::ALL.len()],
    pub(crate) http_connections_refused: u64,
    pub(crate) series_refused: u64,
    pub(crate) exemplars_refused: u64,
    pub(crate) histograms_refused: u64,
    pub(crate) batches_refused: u64,
    pub(crate) scrapes: u64,
    pub(crate) scrapes_failed: u64,
    pub(crate) targets: u64,
    pub(crate) reload_succeeded: bool,
    pub(crate) reloaded_at: Timestamp,
    pub(crate) renewals_failed: u64,
    /// The interval of collection: about what a batch is of.
    pub(crate) seconds_per_batch: f64,
}

/// Why a log was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogReason {
    /// The process did.
    Start,
    /// A replica lags, or is ahead of what the spool still knows.
    Lag,
    /// The wall clock was set.
    Clock,
}

impl LogReason {
    pub(crate) const ALL: [Self; 3] = [Self::Start, Self::Lag, Self::Clock];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Lag => "lag",
            Self::Clock => "clock",
        }
    }
}

/// What is known of one replica, or of an address where one should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaNumbers {
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) is_connected: bool,
    pub(crate) connects: u64,
    pub(crate) connects_failed: u64,
    pub(crate) batches_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) acks: u64,
    pub(crate) skew_ms: i64,
    /// Where it was last reached.
    pub(crate) address: Option<SocketAddr>,
    /// When it last acknowledged something, on the monotonic clock.
    pub(crate) last_ack: Option<Duration>,
    /// Why there is no connection.
    pub(crate) error: Option<String>,
    /// It hung up because the certificate was revoked.
    pub(crate) is_revoked: bool,
    pub(crate) refusals: BTreeMap<&'static str, u64>,
}

impl Shared {
    pub(crate) fn new(clock: Clock, spool: Spool, requests: mpsc::Sender<Request>) -> Self {
        Self {
            clock,
            spool: Mutex::new(spool),
            spool_changed: watch::Sender::new(0),
            spool_touched: Notify::new(),
            targets: watch::Sender::new(Vec::new()),
            identity: watch::Sender::new(None),
            fleet_changed: Notify::new(),
            requests,
            numbers: Mutex::new(Numbers {
                reload_succeeded: true,
                reloaded_at: clock.started_at(),
                ..Numbers::default()
            }),
            replicas: Mutex::default(),
            claimed: Mutex::default(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn spool(&self) -> MutexGuard<'_, Spool> {
        lock(&self.spool)
    }

    pub(crate) fn numbers(&self) -> MutexGuard<'_, Numbers> {
        lock(&self.numbers)
    }

    pub(crate) fn replicas(&self) -> MutexGuard<'_, BTreeMap<String, ReplicaNumbers>> {
        lock(&self.replicas)
    }

    /// The spool has news for the sessions.
    pub(crate) fn spool_has_changed(&self) {
        self.spool_changed.send_modify(|version| *version += 1);
        self.spool_touched.notify_one();
    }

    /// The right to have the session with `replica`, if nobody has it.
    pub(crate) fn claim(self: &Arc<Self>, replica: ReplicaId, peer: String) -> Option<Claim> {
        let mut claimed = lock(&self.claimed);
        if claimed.contains_key(&replica) {
            return None;
        }
        claimed.insert(replica, peer);
        Some(Claim { shared: Arc::clone(self), replica })
    }

    /// Whether the task of this peer has a session.
    pub(crate) fn has_session(&self, peer: &str) -> bool {
        lock(&self.claimed).values().any(|holder| holder == peer)
    }

    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        lock(&self.claimed).len()
    }

    /// Asks for a new log in the place of `log`. One request is enough: when the queue is full there are others,
    /// and the session asks again.
    pub(crate) fn request_new_log(&self, log: LogId) {
        if self.requests.try_send(Request::NewLog(log)).is_err() {
            tracing::debug!(%log, "a new log was asked for while many requests wait");
        }
    }
}

/// How many batches of the spool a replica has not acknowledged.
pub(crate) fn lag_batches(spool: &Spool, replica: ReplicaId) -> u64 {
    let behind = |range: &LogRange| {
        let through = spool.cursor(replica, range.log).0.max(range.first.0 - 1);
        range.last.0.saturating_sub(through)
    };
    spool.logs().iter().map(behind).sum()
}

/// Given back when dropped.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    replica: ReplicaId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.shared.claimed).remove(&self.replica);
        self.shared.fleet_changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind the locks is changed by calls that leave it whole, or end the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
