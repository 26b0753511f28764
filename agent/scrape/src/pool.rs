use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use vedette_model::Timestamp;

use crate::client::{Body, FetchError};
use crate::config::ScrapeConfig;
use crate::schedule::Tick;
use crate::target::{Target, TargetKey};

/// One fetch that is over.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Whose.
    pub target: TargetKey,
    /// For when.
    pub tick: Tick,
    /// What came.
    pub result: Result<Body, FetchError>,
    /// How long it took.
    pub duration: Duration,
}

/// What a reload changed.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// New targets: make a [`crate::TargetScrape`] of each.
    pub added: Vec<Arc<Target>>,
    /// Targets that are gone: call [`crate::TargetScrape::end`] at the given time, once they are dropped.
    pub removed: Vec<(TargetKey, Timestamp)>,
    /// Targets that go on as they were.
    pub kept: usize,
    /// Jobs whose TLS files cannot be used; they are left as they were.
    pub failed: Vec<(String, crate::client::ClientError)>,
}

/// Runs one task a target. Fetches of one target never overlap; a point that is missed is skipped.
#[derive(Debug)]
pub struct ScrapePool {
    agent: String,
    version: String,
    sender: mpsc::Sender<Fetched>,
}

impl ScrapePool {
    /// Nothing runs before the first [`ScrapePool::reload`]. `agent` spreads the grid; `queue_max` bounds the
    /// fetches that wait for their taker, then the loops wait.
    pub fn new(agent: &str, version: &str, queue_max: usize) -> (Self, mpsc::Receiver<Fetched>) {
        let (sender, receiver) = mpsc::channel(queue_max);
        (Self { agent: agent.to_owned(), version: version.to_owned(), sender }, receiver)
    }

    /// Starts what is new, stops what is gone, leaves the rest alone. Must run within a tokio runtime.
    pub fn reload(&mut self, _configs: &[Arc<ScrapeConfig>]) -> Reloaded {
        let _ = (&self.agent, &self.version, &self.sender);
        unimplemented!()
    }

    /// Stops all loops and waits for them.
    pub async fn shutdown(self) {
        unimplemented!()
    }

    /// How many targets run.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
