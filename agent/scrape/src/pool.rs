use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vedette_model::Timestamp;

use crate::client::{Body, ClientError, FetchError, ScrapeClient};
use crate::config::ScrapeConfig;
use crate::schedule::{Schedule, Tick, grid_offset};
use crate::target::{Target, TargetError, TargetKey};

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
    /// Targets whose configuration changed, but not their series: call [`crate::TargetScrape::set_target`].
    pub changed: Vec<Arc<Target>>,
    /// Targets that are gone: call [`crate::TargetScrape::end`] and drop them. What is still fetched of them is void.
    pub removed: Vec<TargetKey>,
    /// Targets that go on as they were.
    pub kept: usize,
    /// Targets that cannot be scraped.
    pub refused: Vec<TargetError>,
    /// Jobs whose TLS files cannot be used; their targets go on as they were.
    pub failed: Vec<(String, ClientError)>,
}

/// Runs one task a target. Fetches of one target never overlap; a point that is missed is skipped.
#[derive(Debug)]
pub struct ScrapePool {
    agent: String,
    version: String,
    sender: mpsc::Sender<Fetched>,
    running: BTreeMap<TargetKey, Running>,
}

#[derive(Debug)]
struct Running {
    target: Arc<Target>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl ScrapePool {
    /// Nothing runs before the first [`ScrapePool::reload`]. `agent` spreads the grid; `queue_max` bounds the
    /// fetches that wait for their taker, then the loops wait.
    pub fn new(agent: &str, version: &str, queue_max: usize) -> (Self, mpsc::Receiver<Fetched>) {
        let (sender, receiver) = mpsc::channel(queue_max);
        let pool =
            Self { agent: agent.to_owned(), version: version.to_owned(), sender, running: BTreeMap::new() };
        (pool, receiver)
    }

    /// Starts what is new, stops what is gone, leaves the rest alone. Must run within a tokio runtime.
    pub fn reload(&mut self, configs: &[Arc<ScrapeConfig>]) -> Reloaded {
        let mut report = Reloaded::default();
        let mut wanted = BTreeMap::new();
        for config in configs {
            self.want(config, &mut wanted, &mut report);
        }
        let gone: Vec<_> = self.running.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for key in gone {
            self.stop(key);
            report.removed.push(key);
        }
        for (key, (target, client)) in wanted {
            match self.running.get(&key).map(|running| running.target.clone()) {
                Some(running) if running == target => {
                    report.kept += 1;
                    continue;
                }
                Some(_) => {
                    self.stop(key);
                    report.changed.push(target.clone());
                }
                None => report.added.push(target.clone()),
            }
            if let Some(client) = client {
                self.start(target, client);
            }
        }
        report
    }

    /// The targets of one configuration. Without a client they are those that run already.
    fn want(
        &self,
        config: &Arc<ScrapeConfig>,
        wanted: &mut BTreeMap<TargetKey, (Arc<Target>, Option<ScrapeClient>)>,
        report: &mut Reloaded,
    ) {
        let (targets, refused) = Target::of_config(config);
        report.refused.extend(refused);
        match ScrapeClient::new(config, &self.version) {
            Ok(client) => {
                let with_client = |target: Arc<Target>| (target.key(), (target, Some(client.clone())));
                wanted.extend(targets.into_iter().map(with_client));
            }
            Err(error) => {
                report.failed.push((config.job_name.clone(), error));
                let same_job = |running: &&Running| running.target.config.job_name == config.job_name;
                let as_they_are = |running: &Running| (running.target.key(), (running.target.clone(), None));
                wanted.extend(self.running.values().filter(same_job).map(as_they_are));
            }
        }
    }

    fn start(&mut self, target: Arc<Target>, client: ScrapeClient) {
        let stop = CancellationToken::new();
        let offset = grid_offset(&self.agent, &target.stable_name(), target.interval);
        let task = tokio::spawn(run(target.clone(), client, offset, self.sender.clone(), stop.clone()));
        self.running.insert(target.key(), Running { target, stop, task });
    }

    /// The task ends by itself: nothing that it does outlasts its token.
    fn stop(&mut self, key: TargetKey) {
        if let Some(running) = self.running.remove(&key) {
            running.stop.cancel();
        }
    }

    /// Stops all loops and waits for them.
    pub async fn shutdown(mut self) {
        let all = std::mem::take(&mut self.running);
        for running in all.values() {
            running.stop.cancel();
        }
        for running in all.into_values() {
            if let Err(error) = running.task.await {
                tracing::error!(%error, url = running.target.url, "scrape loop failed");
            }
        }
    }

    /// How many targets run.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

impl Drop for ScrapePool {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
    }
}

async fn run(
    target: Arc<Target>,
    client: ScrapeClient,
    offset: Duration,
    sender: mpsc::Sender<Fetched>,
    stop: CancellationToken,
) {
    let scrapes = async {
        let mut schedule = Schedule::new(target.interval, offset, wall_clock());
        loop {
            let asked = monotonic();
            tokio::time::sleep(schedule.wait(wall_clock())).await;
            let tick = schedule.tick(wall_clock(), asked.elapsed());
            let start = monotonic();
            let result = client.fetch(&target).await;
            let fetched = Fetched { target: target.key(), tick, result, duration: start.elapsed() };
            if sender.send(fetched).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = scrapes => {}
        () = stop.cancelled() => {}
    }
}

#[expect(clippy::disallowed_methods, reason = "driver: runs the schedule on the real clock")]
fn monotonic() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "driver: runs the schedule on the real clock")]
fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}
