use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vedette_transport::{Backoff, Connected, Protocol, close, connect};
use vedette_wire::session::{AgentOptions, CloseCode};

use crate::shared::{ReplicaNumbers, Shared};
use crate::ship::conversation::{Conversation, Ended};
use crate::ship::plan::Peer;

/// A failure that goes on is said again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// Someone else has the session with the replica that answered: how long to leave it at that.
const TAKEN_WAIT: Duration = Duration::from_secs(30);

/// Calls one peer again and again, and talks to it while the connection lasts.
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) endpoint: Endpoint,
    pub(crate) peer: Peer,
    pub(crate) addresses: Vec<String>,
    /// Tried as well when the peer's own addresses do not lead to it.
    pub(crate) seeds: Vec<String>,
    pub(crate) options: AgentOptions,
    pub(crate) stop: CancellationToken,
}

/// What was said last, so that a failure that goes on is said once.
#[derive(Default)]
struct Said {
    failure: Option<(String, Duration)>,
}

impl Courier {
    /// Runs until it is stopped.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.call_for_ever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn call_for_ever(&self) {
        let mut backoff = Backoff::default();
        let mut said = Said::default();
        let mut attempt = 0u32;
        loop {
            attempt = attempt.wrapping_add(1);
            let Some(identity) = self.shared.identity.borrow().clone() else {
                let mut enrolled = self.shared.identity.subscribe();
                if enrolled.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut addresses = self.addresses.clone();
            // Whoever a seed finds will do, so that others are not asked on its behalf.
            if attempt.is_multiple_of(2) && self.peer.expected().is_some() {
                addresses.extend(self.seeds.iter().filter(|seed| !self.addresses.contains(seed)).cloned());
            }
            let connected =
                connect(&self.endpoint, &identity, Protocol::Data, &addresses, self.peer.expected()).await;
            let mut wait = Duration::ZERO;
            match connected {
                Ok(connected) => match self.shared.claim(connected.replica, self.peer.label()) {
                    Some(_claim) => {
                        backoff.on_connected(self.shared.clock.monotonic());
                        said = Said::default();
                        wait = self.converse(connected).await;
                    }
                    None => {
                        debug!(peer = self.peer.label(), replica = %connected.replica, "already connected");
                        close(&connected.connection, CloseCode::Done, "already connected");
                        wait = TAKEN_WAIT;
                    }
                },
                Err(error) => {
                    note(&self.shared, &self.peer.label(), |numbers| numbers.connects_failed += 1);
                    self.say(&mut said, error.to_string());
                }
            }
            let delay = backoff.next_delay(self.shared.clock.monotonic(), rand::random());
            tokio::time::sleep(delay.max(wait)).await;
        }
    }

    /// Gives how long the replica wants to be left alone.
    async fn converse(&self, connected: Connected) -> Duration {
        let (replica, address) = (connected.replica, connected.address);
        info!(%replica, %address, "connected");
        // Whatever address led to it: its numbers are kept under its own name.
        let label = replica.to_string();
        note(&self.shared, &label, |numbers| {
            numbers.replica = Some(replica);
            numbers.is_connected = true;
            numbers.connects += 1;
        });
        self.shared.spool().connected(replica);
        self.shared.fleet_changed.notify_one();
        let _presence = Presence { courier: self, replica };
        let conversation = Conversation::new(&self.shared, label, connected, self.options.clone());
        let Ended { reason, retry_after } = conversation.run(&self.stop).await;
        if self.stop.is_cancelled() {
            info!(%replica, %address, "connection closed");
        } else {
            warn!(%replica, %address, reason, "connection lost");
        }
        retry_after
    }

    fn say(&self, said: &mut Said, failure: String) {
        let now = self.shared.clock.monotonic();
        let is_news = said
            .failure
            .as_ref()
            .is_none_or(|(before, at)| *before != failure || now.saturating_sub(*at) > REPEAT_AFTER);
        if is_news {
            warn!(peer = self.peer.label(), error = failure, "can not connect; batches wait in the spool");
            said.failure = Some((failure, now));
        }
    }
}

fn note(shared: &Shared, label: &str, change: impl FnOnce(&mut ReplicaNumbers)) {
    change(shared.replicas().entry(label.to_owned()).or_default());
}

/// Ends the presence of a replica, however its conversation ends.
struct Presence<'a> {
    courier: &'a Courier,
    replica: vedette_wire::ReplicaId,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let shared = &self.courier.shared;
        shared.spool().disconnected(self.replica, shared.now());
        if let Some(numbers) = shared.replicas().get_mut(&self.replica.to_string()) {
            numbers.is_connected = false;
        }
    }
}
