//! How it goes with each peer, for the status of this replica.

use std::collections::BTreeMap;
use std::time::Duration;

use vedette_wire::ReplicaId;

/// How it goes with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// How long ago an exchange with it last worked; none since the start.
    pub reached_ago: Option<Duration>,
    /// Why the last exchange did not work.
    pub error: Option<String>,
    /// Batches that it had and this replica had not, when this replica last looked.
    pub lacking_batches: Option<u64>,
    /// Batches that were pushed here and that it has not acknowledged; none while it is not connected.
    pub unshipped_batches: Option<u64>,
}

/// What is remembered of peers.
///
/// Reads no clock: drivers say what happens.
#[derive(Default)]
pub(crate) struct Neighbours(BTreeMap<ReplicaId, Neighbour>);

#[derive(Default)]
struct Neighbour {
    reached_at: Option<Duration>,
    error: Option<String>,
    lacking: Option<u64>,
}

impl Neighbours {
    /// An exchange with a peer has ended.
    pub(crate) fn exchanged(&mut self, now: Duration, replica: ReplicaId, outcome: Result<(), String>) {
        let neighbour = self.0.entry(replica).or_default();
        match outcome {
            Ok(()) => (neighbour.reached_at, neighbour.error) = (Some(now), None),
            Err(error) => neighbour.error = Some(error),
        }
    }

    /// A peer was looked at.
    pub(crate) fn lacks(&mut self, replica: ReplicaId, batches: u64) {
        self.0.entry(replica).or_default().lacking = Some(batches);
    }

    /// Those that are no peers any more are forgotten.
    pub(crate) fn retain(&mut self, peers: &[ReplicaId]) {
        self.0.retain(|replica, _| peers.contains(replica));
    }

    pub(crate) fn status(&self, now: Duration, replica: ReplicaId) -> PeerStatus {
        let Some(neighbour) = self.0.get(&replica) else { return PeerStatus::default() };
        PeerStatus {
            reached_ago: neighbour.reached_at.map(|at| now.saturating_sub(at)),
            error: neighbour.error.clone(),
            lacking_batches: neighbour.lacking,
            unshipped_batches: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exchange_that_worked_is_remembered_beside_the_error() {
        let peer: ReplicaId = "6ba7b810-9dad-11d1-80b4-00c04fd43001".parse().expect("a uuid");
        let at = Duration::from_secs;
        let mut neighbours = Neighbours::default();
        assert_eq!(neighbours.status(at(9), peer), PeerStatus::default());
        neighbours.exchanged(at(1), peer, Ok(()));
        neighbours.exchanged(at(5), peer, Err("away".to_owned()));
        neighbours.lacks(peer, 7);
        let status = neighbours.status(at(9), peer);
        assert_eq!(status.reached_ago, Some(at(8)));
        assert_eq!(status.error.as_deref(), Some("away"));
        assert_eq!(status.lacking_batches, Some(7));
        neighbours.exchanged(at(10), peer, Ok(()));
        assert_eq!(neighbours.status(at(10), peer).error, None);
        neighbours.retain(&[]);
        assert_eq!(neighbours.status(at(10), peer), PeerStatus::default());
    }
}
