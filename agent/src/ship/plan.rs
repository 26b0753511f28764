use std::collections::BTreeMap;

use vedette_wire::ReplicaId;
use vedette_wire::control::Members;

/// Someone to call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// A replica that the membership names.
    Member(ReplicaId),
    /// Whoever answers at an address.
    Seed(String),
}

impl Peer {
    /// For logs and metrics.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Member(replica) => replica.to_string(),
            Self::Seed(address) => address.clone(),
        }
    }

    /// The only replica that will do.
    pub(crate) fn expected(&self) -> Option<ReplicaId> {
        match self {
            Self::Member(replica) => Some(*replica),
            Self::Seed(_) => None,
        }
    }
}

/// Whom to call, and at which addresses.
///
/// All members; and the seeds of the configuration that are no member's address, so that a wrong one is noticed, and
/// so that the group is found again when it has moved. When nobody has been reached for a while (`is_alone`), every
/// known address is a seed: another replica may have taken it over.
pub(crate) fn plan(
    members: Option<&Members>,
    seeds: &[String],
    is_alone: bool,
) -> BTreeMap<Peer, Vec<String>> {
    let members = members.map_or(&[][..], |members| members.members.as_slice());
    let mut peers = BTreeMap::new();
    for member in members {
        peers.insert(Peer::Member(member.replica), member.addresses.clone());
    }
    let told: Vec<&String> = members.iter().flat_map(|member| &member.addresses).collect();
    for seed in seeds.iter().filter(|seed| is_alone || !told.contains(seed)) {
        peers.insert(Peer::Seed(seed.clone()), vec![seed.clone()]);
    }
    for address in told.into_iter().filter(|_| is_alone) {
        peers.insert(Peer::Seed(address.clone()), vec![address.clone()]);
    }
    peers
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vedette_wire::control::Member;

    use super::*;

    fn check(members: &[(u128, &[&str])], seeds: &[&str], is_alone: bool, expected: &[&str]) {
        let members = Members {
            version: 1,
            lease_ms: 1,
            members: members
                .iter()
                .map(|(id, addresses)| Member {
                    replica: ReplicaId(Uuid::from_u128(*id)),
                    addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
                })
                .collect(),
        };
        let seeds: Vec<String> = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        let planned = plan(Some(&members), &seeds, is_alone);
        let found: Vec<String> = planned.keys().map(Peer::label).collect();
        assert_eq!(found, expected);
    }

    const ONE: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn seeds_until_the_membership_is_known() {
        check(&[], &["a:1", "b:1"], false, &["a:1", "b:1"]);
        check(&[(1, &["a:1"])], &["a:1"], false, &[ONE]);
    }

    #[test]
    fn a_seed_that_is_no_member_is_called_too() {
        check(&[(1, &["a:1"])], &["b:1"], false, &[ONE, "b:1"]);
    }

    #[test]
    fn alone_every_address_is_tried() {
        check(&[(1, &["a:1", "c:1"])], &["b:1"], true, &[ONE, "a:1", "b:1", "c:1"]);
    }
}
