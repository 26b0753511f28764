//! Who is not a member of the group any more, as replicas tell each other.

use super::codec::{ControlError, bounded};
use crate::{AGENT_NAME_BYTES_MAX, ReplicaId};
use bincode::{Decode, Encode};

/// Agents of one page.
pub const ROLL_PAGE_MAX: usize = 1024;
/// Replicas that were removed from a group.
pub const REMOVED_MAX: usize = 256;

/// A page of the roll. It says nothing of agents that are not in it; what is said twice counts once, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RollPage {
    /// In a question: the answer's page begins behind this name. In an answer: as it was asked.
    pub after: String,
    /// Sorted by name.
    pub revoked: Vec<RevokedAgent>,
    /// All of them, in every page.
    pub removed: Vec<ReplicaId>,
}

/// An agent whose certificates were revoked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RevokedAgent {
    /// Its name.
    pub name: String,
    /// How often. Only certificates that were issued after so many revocations are good.
    pub revocations: u32,
}

impl RollPage {
    pub(super) fn check(&self) -> Result<(), ControlError> {
        bounded("bytes of a name", self.after.len(), AGENT_NAME_BYTES_MAX)?;
        bounded("revoked agents", self.revoked.len(), ROLL_PAGE_MAX)?;
        bounded("removed replicas", self.removed.len(), REMOVED_MAX)?;
        for agent in &self.revoked {
            bounded("bytes of a name", agent.name.len(), AGENT_NAME_BYTES_MAX)?;
        }
        Ok(())
    }
}
