use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tracing::{info, warn};
use vedette_collector::{ConfigError, Registry};
use vedette_daemon::build::VERSION;
use vedette_model::{Labels, Timestamp};
use vedette_scrape::{Fetched, Schedule, ScrapePool, TargetKey, TargetScrape, Tick, grid_offset};
use vedette_wire::{BatchInput, EncodeError, LogId, RowInput, SegmentEncoder, SegmentLimits};

use crate::collect::{Alarm, Completeness, Node, targets};
use crate::config::Config;
use crate::own;
use crate::report::{CollectorReport, TargetReport};
use crate::shared::{LogReason, Shared};

/// Fetches that wait to be taken; then their loops wait.
const FETCHED_MAX: usize = 64;
/// A row waits at most this long for others to share its batch.
const BATCH_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long the scrape loops may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);
/// The host's own index among the targets.
const NODE_TARGET: u32 = 0;
/// The name under which the host's own grid offset is drawn.
const NODE_GRID: &str = "node";

/// What other tasks ask of the one that collects.
pub(crate) enum Request {
    /// The host's metrics as of now, in the text format.
    Exposition(oneshot::Sender<Vec<u8>>),
    /// How collectors and targets are.
    Status(oneshot::Sender<Gathering>),
    /// End this log and start a new one, if it is still the live one.
    NewLog(LogId),
    /// Go on with this configuration.
    Reload(Box<Config>),
    /// Put what is at hand into the spool and end.
    Stop,
}

/// How what is collected is, for `status`.
#[derive(Default)]
pub(crate) struct Gathering {
    pub(crate) name: String,
    pub(crate) interval: Duration,
    pub(crate) collectors: Vec<CollectorReport>,
    pub(crate) targets: Vec<TargetReport>,
}

/// The driver: runs collectors and scrapes on their grids and puts batches into the spool.
pub(crate) struct Collection {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    fetched: mpsc::Receiver<Fetched>,
    pool: ScrapePool,
    config: Config,
    node: Node,
    own: own::Own,
    schedule: Schedule,
    scrapes: BTreeMap<TargetKey, Scraped>,
    encoder: SegmentEncoder,
    completeness: Completeness,
    waiting: Vec<WaitingRow>,
    log: LogId,
    /// When the oldest waiting row came.
    waiting_since: Option<Duration>,
}

struct Scraped {
    scrape: TargetScrape,
    index: u32,
}

/// A row that is in its target's table.
struct WaitingRow {
    /// None: the host itself.
    target: Option<TargetKey>,
    index: u32,
    at: Timestamp,
}

impl Collection {
    /// Starts a log of its own. Must run within a tokio runtime.
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Receiver<Request>,
        config: Config,
    ) -> Result<Self, ConfigError> {
        let registry = Registry::new(&config.collectors, config.paths.clone())?;
        let name = config.name.as_str();
        let (pool, fetched) = ScrapePool::new(name, VERSION, FETCHED_MAX);
        let mut collection = Self {
            node: Node::new(registry, name, &config.global.external_labels),
            schedule: schedule(&config, shared.now().wall),
            own: own::Own::default(),
            shared,
            requests,
            fetched,
            pool,
            config,
            scrapes: BTreeMap::new(),
            encoder: SegmentEncoder::new(SegmentLimits::default()),
            completeness: Completeness::default(),
            waiting: Vec::new(),
            log: LogId(0),
            waiting_since: None,
        };
        collection.start_log(LogReason::Start);
        collection.reload_scrapes();
        Ok(collection)
    }

    /// Runs until it is stopped. Fails when the kernel's timer does.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut due = Alarm::new()?;
        let mut asleep_since = self.sleep(&mut due)?;
        loop {
            let flush_at =
                self.waiting_since.map(|since| self.shared.clock.instant(since + self.batch_wait()));
            tokio::select! {
                rung = due.rung() => {
                    rung?;
                    let now = self.shared.now();
                    let tick = self.schedule.tick(now.wall, now.monotonic.saturating_sub(asleep_since));
                    self.on_tick(tick);
                }
                Some(fetched) = self.fetched.recv() => { self.on_fetched(&fetched); continue }
                () = until(flush_at) => { self.flush(); continue }
                request = self.requests.recv() => match request {
                    Some(Request::Exposition(answer)) => { self.expose(answer); continue }
                    Some(Request::Status(answer)) => {
                        // Who asked may be gone.
                        answer.send(self.gathering()).ok();
                        continue;
                    }
                    Some(Request::NewLog(log)) => {
                        if log == self.log {
                            self.flush();
                            self.start_log(LogReason::Lag);
                            info!(
                                log = %self.log, before = %log,
                                "a replica lags: live data goes into a new log and overtakes the backlog"
                            );
                        }
                        continue;
                    }
                    Some(Request::Reload(config)) => self.reload(*config),
                    Some(Request::Stop) | None => break,
                },
            }
            asleep_since = self.sleep(&mut due)?;
        }
        self.flush();
        // What is being fetched is not waited for.
        tokio::time::timeout(SHUTDOWN_MAX, self.pool.shutdown()).await.ok();
        Ok(())
    }

    /// Sets the alarm to the next point of the grid; gives when.
    fn sleep(&mut self, due: &mut Alarm) -> io::Result<Duration> {
        let now = self.shared.now();
        due.set(self.schedule.wait(now.wall))?;
        Ok(now.monotonic)
    }

    fn batch_wait(&self) -> Duration {
        self.config.global.scrape_interval.min(BATCH_WAIT_MAX)
    }

    fn on_tick(&mut self, tick: Tick) {
        if let Some(step_ms) = tick.clock_step_ms {
            self.shared.numbers().clock_steps += 1;
            self.flush();
            self.completeness.interrupt();
            self.start_log(LogReason::Clock);
            warn!(step_ms, log = %self.log, "the clock was set: live data goes into a new log");
        } else if tick.skipped > 0 {
            self.flush();
            self.completeness.interrupt();
        }
        let began = self.shared.clock.monotonic();
        self.node.gather();
        if self.config.own_metrics {
            self.own.gather(&self.shared, self.node.gathered_mut());
        }
        let duration = self.shared.clock.monotonic().saturating_sub(began);
        let row = self.node.fill_row(duration);
        {
            let mut numbers = self.shared.numbers();
            numbers.ticks += 1;
            numbers.ticks_skipped += tick.skipped;
            numbers.collect_duration += duration;
            numbers.samples += row.samples;
            numbers.series_refused += row.refused;
        }
        self.completeness.settle(NODE_TARGET, before_next(tick.at, self.config.global.scrape_interval));
        self.wait(WaitingRow { target: None, index: NODE_TARGET, at: tick.at });
        self.flush();
    }

    fn on_fetched(&mut self, fetched: &Fetched) {
        // The table holds one row: what waits goes before it is overwritten.
        if self.waiting.iter().any(|row| row.target == Some(fetched.target)) {
            self.flush();
        }
        let Some(Scraped { scrape, index }) = self.scrapes.get_mut(&fetched.target) else { return };
        let failed_before = scrape.status().last_error.clone();
        let outcome = scrape.apply(fetched);
        let (index, next) = (*index, before_next(fetched.tick.at, scrape.target().interval));
        {
            let mut numbers = self.shared.numbers();
            numbers.scrapes += 1;
            numbers.scrapes_failed += u64::from(outcome.error.is_some());
            numbers.samples += outcome.samples as u64;
            numbers.exemplars_refused += outcome.exemplars_refused as u64;
            numbers.histograms_refused += outcome.histograms_refused as u64;
        }
        self.completeness.settle(index, next);
        self.wait(WaitingRow { target: Some(fetched.target), index, at: outcome.at });
        if outcome.error.map(|error| error.to_string()) != failed_before {
            self.tell_targets();
        }
    }

    fn wait(&mut self, row: WaitingRow) {
        self.waiting.push(row);
        self.waiting_since.get_or_insert(self.shared.clock.monotonic());
    }

    /// Puts the rows that wait into one batch.
    fn flush(&mut self) {
        self.waiting_since = None;
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        let result = self.append(&waiting);
        if let Err(error) = result {
            self.append_one_by_one(&waiting, error);
        }
        if self.encoder.will_start_segment() {
            self.compact();
        }
        self.shared.spool_has_changed();
    }

    /// A batch that is too large as a whole may fit in parts.
    fn append_one_by_one(&mut self, waiting: &[WaitingRow], error: EncodeError) {
        if waiting.len() > 1 {
            for row in waiting {
                if let Err(error) = self.append(std::slice::from_ref(row)) {
                    self.refuse(row, error);
                }
            }
        } else if let Some(row) = waiting.first() {
            self.refuse(row, error);
        }
    }

    fn refuse(&mut self, row: &WaitingRow, error: EncodeError) {
        self.shared.numbers().batches_refused += 1;
        warn!(target = row.index, at = %row.at, %error, "a scrape does not fit into a batch and is dropped");
    }

    fn append(&mut self, waiting: &[WaitingRow]) -> Result<(), EncodeError> {
        let mut rows = Vec::with_capacity(waiting.len());
        for row in waiting {
            let input = |at, table, values| RowInput { target: row.index, at, table, values };
            match &row.target {
                None => rows.push(input(row.at, self.node.table(), self.node.table().row())),
                Some(key) => {
                    let Some(Scraped { scrape, .. }) = self.scrapes.get(key) else { continue };
                    rows.extend(scrape.rows(row.at).map(|(at, values)| input(at, scrape.table(), values)));
                }
            }
        }
        let first = waiting.iter().map(|row| row.at).min().unwrap_or_default();
        let last = waiting.iter().map(|row| row.at).max().unwrap_or_default();
        let (complete_from, complete_through) = self.completeness.take(first, last);
        let began = self.shared.clock.monotonic();
        let mut spool = self.shared.spool();
        if spool.wants_key() {
            self.encoder.start_segment();
        }
        let seq = spool.next_seq();
        let batch = self.encoder.encode(&BatchInput { seq, complete_from, complete_through, rows: &rows })?;
        let encoded = self.shared.clock.monotonic();
        if let Err(error) = spool.append(seq, &batch.frame, batch.is_key, self.shared.now()) {
            warn!(%error, "the spool refuses a batch");
        }
        drop(spool);
        let mut numbers = self.shared.numbers();
        numbers.batches += 1;
        numbers.key_batches += u64::from(batch.is_key);
        numbers.batch_bytes += batch.frame.len() as u64;
        numbers.encode_duration += encoded.saturating_sub(began);
        Ok(())
    }

    /// Forgets series that are gone for long, right before a new segment.
    fn compact(&mut self) {
        for Scraped { scrape, .. } in self.scrapes.values_mut() {
            if scrape.needs_compaction() {
                scrape.compact();
            }
        }
        if self.node.table().needs_compaction() {
            self.node.table_mut().compact();
        }
    }

    fn start_log(&mut self, reason: LogReason) {
        self.log = draw_log_id();
        self.encoder.start_segment();
        self.shared.spool().start_log(self.log);
        self.shared.numbers().logs_started[reason as usize] += 1;
        self.shared.spool_has_changed();
    }

    fn expose(&mut self, answer: oneshot::Sender<Vec<u8>>) {
        self.node.gather();
        self.own.gather(&self.shared, self.node.gathered_mut());
        let mut text = Vec::with_capacity(128 << 10);
        self.node.write_text(&mut text);
        // Who asked may be gone.
        answer.send(text).ok();
    }

    fn gathering(&self) -> Gathering {
        let targets = self.scrapes.values().map(|Scraped { scrape, .. }| TargetReport {
            job: scrape.target().config.job_name.clone(),
            url: scrape.target().url.clone(),
            health: scrape.status().health.as_str().to_owned(),
            last_error: scrape.status().last_error.clone(),
        });
        Gathering {
            name: self.config.name.to_string(),
            interval: self.config.global.scrape_interval,
            collectors: self.node.collectors(),
            targets: targets.collect(),
        }
    }

    fn reload(&mut self, config: Config) {
        self.flush();
        match Registry::new(&config.collectors, config.paths.clone()) {
            Ok(registry) => self.node.set_registry(registry),
            // The configuration was checked with the same collectors.
            Err(error) => warn!(%error, "the collectors stay as they were"),
        }
        let labels_changed = config.global.external_labels != self.config.global.external_labels
            || config.name != self.config.name;
        if config.global.scrape_interval != self.config.global.scrape_interval
            || config.name != self.config.name
        {
            self.schedule = schedule(&config, self.shared.now().wall);
        }
        self.config = config;
        if labels_changed {
            self.relabel();
        }
        self.reload_scrapes();
    }

    /// All series end under their old labels and go on under the new ones.
    fn relabel(&mut self) {
        let at = self.shared.now().wall;
        self.node.table_mut().end_target();
        self.wait(WaitingRow { target: None, index: NODE_TARGET, at });
        let keys: Vec<TargetKey> = self.scrapes.keys().copied().collect();
        for key in &keys {
            self.end_scrape(*key, at);
        }
        self.flush();
        let registry = Registry::new(&self.config.collectors, self.config.paths.clone());
        if let Ok(registry) = registry {
            self.node = Node::new(registry, self.config.name.as_str(), &self.config.global.external_labels);
        }
        for key in keys {
            if let Some(scraped) = self.scrapes.get_mut(&key) {
                let target = Arc::clone(scraped.scrape.target());
                scraped.scrape = TargetScrape::new(target, self.config.global.external_labels.clone());
            }
        }
        self.encoder.start_segment();
    }

    fn end_scrape(&mut self, key: TargetKey, at: Timestamp) {
        if self.waiting.iter().any(|row| row.target == Some(key)) {
            self.flush();
        }
        let Some(Scraped { scrape, index }) = self.scrapes.get_mut(&key) else { return };
        scrape.end();
        let index = *index;
        self.wait(WaitingRow { target: Some(key), index, at });
    }

    fn reload_scrapes(&mut self) {
        let reloaded = self.pool.reload(&self.config.scrape_configs);
        for (job, error) in &reloaded.failed {
            warn!(job, %error, "the targets of a job stay as they were");
        }
        for refused in &reloaded.refused {
            warn!(error = %refused, "a target is left out");
        }
        let now = self.shared.now().wall;
        for key in &reloaded.removed {
            self.end_scrape(*key, now);
        }
        self.flush();
        for key in &reloaded.removed {
            if let Some(scraped) = self.scrapes.remove(key) {
                self.completeness.forget(scraped.index);
                // Its index may go to another target, which is another table.
                self.encoder.start_segment();
            }
        }
        for target in reloaded.changed {
            if let Some(scraped) = self.scrapes.get_mut(&target.key()) {
                scraped.scrape.set_target(target);
            }
        }
        self.shared.numbers().seconds_per_batch = self.config.global.scrape_interval.as_secs_f64();
        for target in reloaded.added {
            let index = self.free_index();
            let key = target.key();
            let scrape = TargetScrape::new(target, self.external_labels());
            self.completeness.settle(index, now);
            self.scrapes.insert(key, Scraped { scrape, index });
        }
        self.shared.numbers().targets = self.scrapes.len() as u64;
        self.tell_targets();
    }

    /// For the aggregators, which are told when anything of it has changed.
    fn tell_targets(&self) {
        let global = &self.config.global;
        let node = targets::node_report(self.node.labels(), self.config.web_listen, global.scrape_interval);
        let scraped = self.scrapes.values().map(|Scraped { scrape, .. }| {
            let labels = scrape.labels();
            targets::report(scrape.target(), &labels, scrape.status().last_error.as_deref())
        });
        let reports = std::iter::once(node).chain(scraped).collect();
        self.shared.targets.send_if_modified(|known| {
            let changed = *known != reports;
            *known = reports;
            changed
        });
    }

    fn external_labels(&self) -> Labels {
        self.config.global.external_labels.clone()
    }

    /// The least index that no target has.
    fn free_index(&self) -> u32 {
        let taken: BTreeSet<u32> = self.scrapes.values().map(|scraped| scraped.index).collect();
        (NODE_TARGET + 1..).find(|index| !taken.contains(index)).unwrap_or(u32::MAX)
    }
}

/// Identity of a log: never taken from anything kept.
pub(crate) fn draw_log_id() -> LogId {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without it numbers of two logs could be taken for each other.
        panic!("no random numbers from the system: {error}");
    }
    LogId(u128::from_le_bytes(bytes))
}

fn schedule(config: &Config, now: Timestamp) -> Schedule {
    let interval = config.global.scrape_interval;
    Schedule::new(interval, grid_offset(config.name.as_str(), NODE_GRID, interval), now)
}

/// Just before the next point of a grid.
fn before_next(at: Timestamp, interval: Duration) -> Timestamp {
    at.plus_millis(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX) - 1)
}

/// Until an instant, or for ever.
async fn until(instant: Option<tokio::time::Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
