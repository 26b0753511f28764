use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use vedette_daemon::{build, host};
use vedette_transport::{Caller, client_endpoint};
use vedette_wire::session::AgentOptions;

use crate::config::Config;
use crate::shared::Shared;
use crate::ship::courier::Courier;
use crate::ship::plan::{Peer, plan};

/// Without a session for so long, every known address is tried.
const ALONE_AFTER: Duration = Duration::from_secs(30);
/// How often the plan is looked at while there is no session. With one, nothing changes unsaid.
const REVIEW: Duration = Duration::from_secs(10);
/// How long connections may take to say good-bye.
const GOODBYE_MAX: Duration = Duration::from_millis(300);

/// What of the configuration matters here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetConfig {
    pub(crate) seeds: Vec<String>,
    pub(crate) interval: Duration,
}

impl FleetConfig {
    pub(crate) fn of(config: &Config) -> Self {
        Self { seeds: config.aggregators.clone(), interval: config.global.scrape_interval }
    }

    fn options(&self) -> AgentOptions {
        AgentOptions {
            software: format!("vedette-agent {} on {}", build::VERSION, host::inventory()),
            interval_ms: u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX),
            batch_interval: self.interval,
            ..AgentOptions::default()
        }
    }
}

/// Keeps one task for each peer of the plan.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    config: watch::Receiver<FleetConfig>,
    stop: CancellationToken,
    running: BTreeMap<Peer, Running>,
    tasks: JoinSet<()>,
}

struct Running {
    addresses: Vec<String>,
    stop: CancellationToken,
}

impl Fleet {
    pub(crate) fn new(
        shared: Arc<Shared>,
        config: watch::Receiver<FleetConfig>,
        stop: CancellationToken,
    ) -> Self {
        Self { shared, config, stop, running: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Runs until it is stopped.
    pub(crate) async fn run(mut self) {
        let caller = match client_endpoint() {
            Ok(endpoint) => Caller::new(endpoint),
            Err(error) => {
                tracing::error!(%error, "no UDP socket: nothing can be shipped");
                return self.stop.cancelled().await;
            }
        };
        let mut identity = self.shared.identity.subscribe();
        let mut group = None;
        let mut alone_since = None;
        loop {
            let now = self.shared.clock.monotonic();
            if self.shared.sessions() > 0 {
                alone_since = None;
            } else {
                alone_since.get_or_insert(now);
            }
            let authority =
                identity.borrow_and_update().as_ref().map(|identity| identity.authority().as_ref().to_vec());
            if authority != group {
                // Another group: nothing of the old one's connections is of use.
                self.stop_all();
                group = authority;
            }
            if group.is_some() {
                self.review(
                    &caller,
                    alone_since.is_some_and(|since| now.saturating_sub(since) > ALONE_AFTER),
                );
            }
            let changed = self.shared.fleet_changed.notified();
            tokio::select! {
                () = changed => {}
                Ok(()) = identity.changed() => {}
                Ok(()) = self.config.changed() => self.stop_all(),
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended {
                        warn!(%error, "a shipping task ended badly");
                        self.stop_all();
                    }
                }
                () = tokio::time::sleep(REVIEW), if alone_since.is_some() => {}
                () = self.stop.cancelled() => break,
            }
        }
        self.stop_all();
        let goodbye = async {
            while self.tasks.join_next().await.is_some() {}
            caller.wait_idle().await;
        };
        tokio::time::timeout(GOODBYE_MAX, goodbye).await.ok();
    }

    /// Ends tasks that are not in the plan, starts those that are and do not run.
    fn review(&mut self, caller: &Caller, is_alone: bool) {
        let config = self.config.borrow_and_update().clone();
        let planned = plan(self.shared.spool().members(), &config.seeds, is_alone);
        if planned.is_empty() && self.running.is_empty() {
            warn!("no aggregator is known: give --aggregator or the key aggregators");
        }
        self.running.retain(|peer, running| {
            // A seed that found a replica stays with it until it is lost.
            let is_kept = planned.get(peer).is_some_and(|addresses| *addresses == running.addresses)
                || (matches!(peer, Peer::Seed(_)) && self.shared.has_session(&peer.label()));
            if !is_kept {
                running.stop.cancel();
                self.shared.replicas().remove(&peer.label());
            }
            is_kept
        });
        for (peer, addresses) in planned {
            if self.running.contains_key(&peer) {
                continue;
            }
            let stop = self.stop.child_token();
            let courier = Courier {
                shared: Arc::clone(&self.shared),
                caller: caller.clone(),
                peer: peer.clone(),
                addresses: addresses.clone(),
                seeds: config.seeds.clone(),
                options: config.options(),
                stop: stop.clone(),
            };
            self.tasks.spawn(courier.run());
            self.running.insert(peer, Running { addresses, stop });
        }
    }

    fn stop_all(&mut self) {
        for (peer, running) in std::mem::take(&mut self.running) {
            running.stop.cancel();
            self.shared.replicas().remove(&peer.label());
        }
    }
}

/// Waits until every connected replica has all of the spool, or until `max` is over.
pub(crate) async fn settle(shared: &Shared, max: Duration) {
    let deadline = shared.clock.monotonic() + max;
    while shared.clock.monotonic() < deadline {
        let connected: Vec<_> = {
            let replicas = shared.replicas();
            replicas
                .values()
                .filter(|numbers| numbers.is_connected)
                .filter_map(|numbers| numbers.replica)
                .collect()
        };
        let is_settled = {
            let spool = shared.spool();
            let logs = spool.logs();
            connected
                .iter()
                .all(|replica| logs.iter().all(|range| spool.cursor(*replica, range.log) >= range.last))
        };
        if is_settled {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
