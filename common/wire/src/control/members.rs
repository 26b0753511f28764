//! The replicas of a group, as they tell each other and their agents.

use super::codec::{ControlError, bounded};
use crate::ReplicaId;
use bincode::{Decode, Encode};

/// Replicas in one group.
pub const MEMBERS_MAX: usize = 64;
/// Addresses of one replica.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of one address, `host:port`.
pub const ADDRESS_BYTES_MAX: usize = 300;

/// The replicas of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Members {
    /// Grows with every change.
    pub version: u64,
    /// How long a replica may be away before agents free their spool without it.
    pub lease_ms: u64,
    /// By replica id, each once.
    pub members: Vec<Member>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Member {
    /// Which one.
    pub replica: ReplicaId,
    /// Where it can be reached, as `host:port`.
    pub addresses: Vec<String>,
}

impl Members {
    /// The replica with this id.
    pub fn get(&self, replica: ReplicaId) -> Option<&Member> {
        self.members.iter().find(|member| member.replica == replica)
    }

    /// Adds a replica, or changes its addresses. Whether anything changed; then the version has grown.
    pub fn put(&mut self, member: Member) -> bool {
        let changed = match self.members.binary_search_by_key(&member.replica, |known| known.replica) {
            Ok(index) if self.members[index] == member => false,
            Ok(index) => {
                self.members[index] = member;
                true
            }
            Err(index) => {
                self.members.insert(index, member);
                true
            }
        };
        self.version = self.version.saturating_add(u64::from(changed));
        changed
    }

    /// Takes over what a peer knows; whether anything changed.
    ///
    /// The greater version wins. Where two replicas changed the same version apart from each other, both
    /// arrive at the same union, whichever of them hears of the other first.
    pub fn merge(&mut self, other: &Self) -> bool {
        if other.version < self.version || self == other {
            return false;
        }
        if other.version > self.version {
            *self = other.clone();
            self.sort();
            return true;
        }
        self.members.extend(other.members.iter().cloned());
        self.sort();
        self.lease_ms = self.lease_ms.max(other.lease_ms);
        self.version = self.version.saturating_add(1);
        true
    }

    /// Sorted by id, each id once; of two entries of one id the greater stays.
    fn sort(&mut self) {
        self.members.sort_unstable_by(|a, b| b.cmp(a));
        self.members.dedup_by_key(|member| member.replica);
        self.members.reverse();
        self.members.truncate(MEMBERS_MAX);
    }

    pub(super) fn check(&self) -> Result<(), ControlError> {
        bounded("members", self.members.len(), MEMBERS_MAX)?;
        for member in &self.members {
            member.check()?;
        }
        Ok(())
    }
}

impl Member {
    pub(super) fn check(&self) -> Result<(), ControlError> {
        check_addresses(&self.addresses)
    }
}

pub(super) fn check_addresses(addresses: &[String]) -> Result<(), ControlError> {
    bounded("addresses", addresses.len(), ADDRESSES_MAX)?;
    for address in addresses {
        bounded("bytes of an address", address.len(), ADDRESS_BYTES_MAX)?;
    }
    Ok(())
}
