//! `vedette-agent run`: starts the parts, hears signals, ends the parts.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vedette_daemon::logging::LogLevel;
use vedette_daemon::{data_format, notify};
use vedette_spool::{DiskFiles, Spool, SpoolLock};

use crate::DATA_FORMAT;
use crate::cli::Flags;
use crate::clock::Clock;
use crate::collect::{Collection, Request};
use crate::config::Config;
use crate::control;
use crate::identity::{IdentityConfig, IdentityKeeper};
use crate::shared::Shared;
use crate::ship::{Fleet, FleetConfig, settle};
use crate::web;

/// Requests that wait for the task that collects.
const REQUESTS_MAX: usize = 16;
/// How long leaving may take to send what is there.
const SETTLE_MAX: Duration = Duration::from_millis(1500);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config, flags: Flags, level: LogLevel) -> anyhow::Result<()> {
    let clock = Clock::new();
    let mut signals = Signals::new()?;
    let _lock = SpoolLock::take(&config.spool.path)?;
    data_format::check(&config.spool.path, DATA_FORMAT)?;
    if let Err(error) = data_format::note(&config.spool.path, DATA_FORMAT) {
        warn!(%error, "the format of the data can not be noted: a package of an older release will not know of it");
    }
    let spool = Spool::open(config.spool.clone(), Arc::new(DiskFiles), clock.now())?;
    let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
    let shared = Arc::new(Shared::new(clock, spool, requests));
    let listener = web::listen(config.web_listen)
        .await
        .with_context(|| format!("can not listen on {}", config.web_listen))?;
    let address = listener.local_addr()?;
    let status = control::listen(&config.spool.path);

    let stop = CancellationToken::new();
    let (identity_config, identity_watch) = watch::channel(IdentityConfig::of(&config));
    let mut keeper = IdentityKeeper::new(Arc::clone(&shared), &config, identity_watch);
    keeper.look();
    let (fleet_config, fleet_watch) = watch::channel(FleetConfig::of(&config));
    let collection = Collection::new(Arc::clone(&shared), waiting, config.clone())?;
    let mut collecting = tokio::spawn(collection.run());
    let fleet = tokio::spawn(Fleet::new(Arc::clone(&shared), fleet_watch, stop.clone()).run());
    let tasks = [
        tokio::spawn(keeper.run(stop.clone())),
        tokio::spawn(web::serve(listener, Arc::clone(&shared), stop.clone())),
        tokio::spawn(control::serve(status, Arc::clone(&shared), stop.clone())),
        tokio::spawn(look_after_spool(Arc::clone(&shared), stop.clone())),
        tokio::spawn(feed_watchdog(stop.clone())),
    ];
    info!(
        name = %config.name, http = %address, aggregators = known_aggregators(&shared, &config),
        interval = ?config.global.scrape_interval, spool = %config.spool.path.display(), "ready"
    );
    notify::ready();

    let mut running = Running { flags, config, level, shared, fleet_config, identity_config };
    let result = running.hear(&mut signals, &mut collecting).await;
    notify::stopping();
    running.leave(collecting, fleet, tasks, &stop).await;
    result
}

fn known_aggregators(shared: &Shared, config: &Config) -> String {
    let spool = shared.spool();
    let members = spool.members().map_or(&[][..], |members| members.members.as_slice());
    let told = members.iter().flat_map(|member| &member.addresses);
    let all: BTreeSet<&str> = config.aggregators.iter().chain(told).map(String::as_str).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let hear = |kind| signal(kind).context("can not hear signals");
        Ok(Self {
            hangup: hear(SignalKind::hangup())?,
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
        })
    }
}

struct Running {
    flags: Flags,
    config: Config,
    level: LogLevel,
    shared: Arc<Shared>,
    fleet_config: watch::Sender<FleetConfig>,
    identity_config: watch::Sender<IdentityConfig>,
}

impl Running {
    /// Until the agent is to leave.
    async fn hear(
        &mut self,
        signals: &mut Signals,
        collecting: &mut JoinHandle<io::Result<()>>,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                Some(()) = signals.terminate.recv() => break,
                Some(()) = signals.interrupt.recv() => break,
                Some(()) = signals.hangup.recv() => self.reload().await,
                ended = &mut *collecting => {
                    anyhow::bail!("collecting has ended by itself: {ended:?}");
                }
            }
        }
        info!("leaving");
        Ok(())
    }

    /// A whole new configuration, or the old one.
    async fn reload(&mut self) {
        notify::reloading();
        match crate::reload(&self.flags) {
            Ok(config) => self.take_up(config).await,
            Err(error) => {
                self.shared.numbers().reload_succeeded = false;
                error!(%error, "the configuration is not taken; the old one stays");
            }
        }
        notify::ready();
    }

    async fn take_up(&mut self, mut config: Config) {
        if config.spool.path != self.config.spool.path || config.web_listen != self.config.web_listen {
            warn!("spool.path and web.listen_address change only with a restart");
            config.spool.path.clone_from(&self.config.spool.path);
            config.spool.members_file.clone_from(&self.config.spool.members_file);
            config.web_listen = self.config.web_listen;
        }
        if config.log_format != self.config.log_format {
            warn!("log.format changes only with a restart");
        }
        self.level.set(config.log_level);
        self.shared.spool().reconfigure(config.spool.clone());
        replace(&self.fleet_config, FleetConfig::of(&config));
        replace(&self.identity_config, IdentityConfig::of(&config));
        // Fails only when collecting has ended, which ends the agent.
        self.shared.requests.send(Request::Reload(Box::new(config.clone()))).await.ok();
        self.config = config;
        let now = self.shared.now().wall;
        let mut numbers = self.shared.numbers();
        (numbers.reload_succeeded, numbers.reloaded_at) = (true, now);
        drop(numbers);
        info!("configuration reloaded");
    }

    /// Puts what is at hand into the spool, sends what can be sent soon, ends everything.
    async fn leave<const N: usize>(
        &self,
        collecting: JoinHandle<io::Result<()>>,
        fleet: JoinHandle<()>,
        tasks: [JoinHandle<()>; N],
        stop: &CancellationToken,
    ) {
        if !collecting.is_finished() {
            // Fails only when it ends at this very moment.
            self.shared.requests.send(Request::Stop).await.ok();
            join("collecting", collecting).await;
        }
        settle(&self.shared, SETTLE_MAX).await;
        stop.cancel();
        join("shipping", fleet).await;
        for task in tasks {
            task.abort();
        }
        let now = self.shared.now();
        self.shared.spool().flush(now);
    }
}

/// Tells those who watch, if it is news.
fn replace<T: PartialEq>(sender: &watch::Sender<T>, new: T) {
    sender.send_if_modified(|current| {
        let is_new = *current != new;
        *current = new;
        is_new
    });
}

async fn join<T>(what: &str, task: JoinHandle<T>) {
    if let Err(error) = task.await {
        error!(what, %error, "a task ended badly");
    }
}

/// Frees, drops, retries, syncs: when something was appended or acknowledged, as then the host is awake anyway, and
/// when time alone makes something due.
async fn look_after_spool(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let (ticket, wait) = {
            let (mut spool, now) = (shared.spool(), shared.now());
            spool.maintain(now);
            (spool.take_sync(now), spool.next_maintenance(now))
        };
        let Some(ticket) = ticket else {
            tokio::select! {
                () = shared.spool_touched.notified() => {}
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            continue;
        };
        // A disk that hangs stalls this task alone.
        match tokio::task::spawn_blocking(|| ticket.run()).await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => shared.spool().sync_failed(failed),
            Err(error) => error!(%error, "a sync ended badly"),
        }
    }
}

async fn feed_watchdog(stop: CancellationToken) {
    let Some(interval) = notify::watchdog_interval() else { return };
    loop {
        notify::watchdog();
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => return,
        }
    }
}
