use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vedette_transport::{Backoff, Caller, Connected, Protocol, close};
use vedette_wire::session::{AgentOptions, CloseCode};

use crate::shared::{ReplicaNumbers, Shared};
use crate::ship::conversation::{Conversation, Ended};
use crate::ship::plan::Peer;

/// A failure that goes on is said again after so long.
const REPEAT_AFTER: Duration = Duration::from_secs(300);
/// A replica that refuses the certificate is asked again after so long, or when there is another certificate.
const REVOKED_WAIT: Duration = Duration::from_secs(60);
/// Someone else has the session with the replica that answered: how long to leave it at that.
const TAKEN_WAIT: Duration = Duration::from_secs(30);

/// Calls one peer again and again, and talks to it while the connection lasts.
pub(crate) struct Courier {
    pub(crate) shared: Arc<Shared>,
    pub(crate) caller: Caller,
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
        let mut enrolments = self.shared.identity.subscribe();
        loop {
            attempt = attempt.wrapping_add(1);
            let Some(identity) = enrolments.borrow_and_update().clone() else {
                if enrolments.changed().await.is_err() {
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
                self.caller.connect(&identity, Protocol::Data, &addresses, self.peer.expected()).await;
            let (mut wait, mut is_revoked) = (Duration::ZERO, false);
            match connected {
                Ok(connected) => match self.shared.claim(connected.replica, self.peer.label()) {
                    Some(_claim) => {
                        backoff.on_connected(self.shared.clock.monotonic());
                        (wait, is_revoked) = self.converse(connected, &mut said).await;
                    }
                    None => {
                        debug!(peer = self.peer.label(), replica = %connected.replica, "already connected");
                        close(&connected.connection, CloseCode::Done, "already connected");
                        wait = TAKEN_WAIT;
                    }
                },
                Err(error) => {
                    let text = error.to_string();
                    note(&self.shared, &self.peer.label(), |numbers| {
                        numbers.connects_failed += 1;
                        numbers.error = Some(text.clone());
                    });
                    self.say(&mut said, text);
                }
            }
            let delay = backoff.next_delay(self.shared.clock.monotonic(), rand::random());
            let waiting = tokio::time::sleep(delay.max(wait));
            if is_revoked {
                tokio::select! {
                    () = waiting => {}
                    changed = enrolments.changed() => if changed.is_err() { return },
                }
            } else {
                waiting.await;
            }
        }
    }

    /// Gives how long the replica wants to be left alone, and whether it refuses the certificate.
    async fn converse(&self, connected: Connected, said: &mut Said) -> (Duration, bool) {
        let (replica, address) = (connected.replica, connected.address);
        info!(%replica, %address, "connected");
        // Whatever address led to it: its numbers are kept under its own name.
        let label = replica.to_string();
        note(&self.shared, &label, |numbers| {
            numbers.replica = Some(replica);
            numbers.is_connected = true;
            numbers.connects += 1;
            (numbers.address, numbers.error, numbers.is_revoked) = (Some(address), None, false);
        });
        self.shared.spool().connected(replica);
        self.shared.fleet_changed.notify_one();
        let _presence = Presence { courier: self, replica };
        let conversation = Conversation::new(&self.shared, label.clone(), connected, self.options.clone());
        let Ended { reason, retry_after, is_revoked } = conversation.run(&self.stop).await;
        // Nobody asks any more for one that was left out of the membership.
        if let Some(numbers) = self.shared.replicas().get_mut(&label) {
            (numbers.error, numbers.is_revoked) = (Some(reason.clone()), is_revoked);
        }
        if is_revoked {
            if self.is_news(said, &reason) {
                warn!(
                    %replica, reason,
                    "the aggregators refuse this agent, batches wait in the spool; to come back, on an aggregator: \
                     vedette-aggregator token create >token, and here: vedette-agent enroll --token-file token"
                );
            }
            return (REVOKED_WAIT, true);
        }
        *said = Said::default();
        if self.stop.is_cancelled() {
            info!(%replica, %address, "connection closed");
        } else {
            warn!(%replica, %address, reason, "connection lost");
        }
        (retry_after, false)
    }

    fn say(&self, said: &mut Said, failure: String) {
        if self.is_news(said, &failure) {
            warn!(peer = self.peer.label(), error = failure, "can not connect; batches wait in the spool");
        }
    }

    /// Whether this failure was not said lately; then it counts as said.
    fn is_news(&self, said: &mut Said, failure: &str) -> bool {
        let now = self.shared.clock.monotonic();
        let known = said.failure.as_ref();
        let is_news =
            known.is_none_or(|(before, at)| before != failure || now.saturating_sub(*at) > REPEAT_AFTER);
        if is_news {
            said.failure = Some((failure.to_owned(), now));
        }
        is_news
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
