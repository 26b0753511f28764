//! Who is not a member of the group any more, in `ca/roll.json`: agents whose certificates were revoked, replicas that were
//! removed.
//!
//! It only grows, and two of them are joined by taking the greater of each entry. So it does not matter in which order
//! replicas tell each other, nor which of them was away. No clock decides: a certificate says how often its agent had been
//! revoked when it was issued, and is good as long as nobody knows of more.

use crate::files::{self, FileError};
use crate::identity::{Certified, Role};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use vedette_wire::control::{REMOVED_MAX, ROLL_PAGE_MAX, RevokedAgent, RollPage};
use vedette_wire::{AgentName, ReplicaId};

/// Agents that can have been revoked.
pub const REVOKED_MAX: usize = 20_000;
const FILE: &str = "roll.json";
const FILE_VERSION: u32 = 1;

/// Who is not a member any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// How often each agent was revoked.
    revoked: BTreeMap<String, u32>,
    removed: BTreeSet<ReplicaId>,
}

/// Why somebody stays a member.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// The file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no room.
    #[error("{REVOKED_MAX} agents and {REMOVED_MAX} replicas are on the roll, which is all that it holds")]
    Full,
}

impl Roll {
    /// Whether a certificate is not good any more.
    pub fn refuses(&self, certified: &Certified) -> bool {
        match &certified.role {
            Role::Agent(name) => certified.revocations < self.revocations(name),
            Role::Replica(replica) => self.removed.contains(replica),
        }
    }

    /// How often an agent was revoked.
    pub fn revocations(&self, agent: &AgentName) -> u32 {
        self.revoked.get(agent.as_str()).copied().unwrap_or(0)
    }

    /// Whether a replica was removed.
    pub fn is_removed(&self, replica: ReplicaId) -> bool {
        self.removed.contains(&replica)
    }

    /// The agents that were ever revoked, by name.
    pub fn revoked(&self) -> impl Iterator<Item = &str> {
        self.revoked.keys().map(String::as_str)
    }

    /// What is said of the agents behind a name, as much as fits a page.
    pub(crate) fn page(&self, after: &str) -> RollPage {
        let behind = self.revoked.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let entry = |(name, revocations): (&String, &u32)| RevokedAgent {
            name: name.clone(),
            revocations: *revocations,
        };
        RollPage {
            after: after.to_owned(),
            revoked: behind.take(ROLL_PAGE_MAX).map(entry).collect(),
            removed: self.removed.iter().copied().collect(),
        }
    }

    fn merge(&mut self, page: &RollPage) {
        for RevokedAgent { name, revocations } in &page.revoked {
            // Whoever wrote it: a name that no agent can have says nothing.
            if AgentName::new(name).is_ok() {
                let known = self.revoked.entry(name.clone()).or_default();
                *known = (*known).max(*revocations);
            }
        }
        self.removed.extend(page.removed.iter().copied());
    }
}

/// Keeps the roll on disk and tells who is interested.
pub struct RollStore {
    path: PathBuf,
    /// Held while the file is written, so that disk and memory change in the same order.
    writing: Mutex<()>,
    current: watch::Sender<Arc<Roll>>,
}

impl RollStore {
    /// Reads the roll in `folder`; a missing file means that everybody is a member.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let roll = match files::read(&path)? {
            None => Roll::default(),
            Some(bytes) => parse(&bytes).map_err(|reason| files::invalid(&path, reason))?,
        };
        Ok(Self { path, writing: Mutex::default(), current: watch::Sender::new(Arc::new(roll)) })
    }

    /// The roll.
    pub fn current(&self) -> Arc<Roll> {
        self.current.borrow().clone()
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Roll>> {
        self.current.subscribe()
    }

    /// No certificate that an agent has got so far is good any more; on disk when it returns.
    pub fn revoke(&self, agent: &AgentName) -> Result<(), RollError> {
        self.change(|roll| {
            let known = roll.revoked.entry(agent.to_string()).or_default();
            *known = known.saturating_add(1);
        })
    }

    /// A replica is no member any more, for good; on disk when it returns.
    pub fn remove(&self, replica: ReplicaId) -> Result<(), RollError> {
        self.change(|roll| roll.removed.extend([replica]))
    }

    /// Takes over what a peer knows; on disk when it returns.
    pub(crate) fn merge(&self, page: &RollPage) -> Result<(), RollError> {
        self.change(|roll| roll.merge(page))
    }

    fn change(&self, change: impl FnOnce(&mut Roll)) -> Result<(), RollError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let mut roll = Roll::clone(&before);
        change(&mut roll);
        if roll.revoked.len() > REVOKED_MAX || roll.removed.len() > REMOVED_MAX {
            return Err(RollError::Full);
        }
        if roll != *before {
            let bytes = render(&roll).map_err(|error| files::invalid(&self.path, error))?;
            files::replace(&self.path, &bytes)?;
            self.current.send_replace(Arc::new(roll));
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct RawRoll {
    version: u32,
    revoked: BTreeMap<String, u32>,
    removed: Vec<String>,
}

fn render(roll: &Roll) -> Result<Vec<u8>, serde_json::Error> {
    let removed = roll.removed.iter().map(ToString::to_string).collect();
    serde_json::to_vec_pretty(&RawRoll { version: FILE_VERSION, revoked: roll.revoked.clone(), removed })
}

fn parse(bytes: &[u8]) -> Result<Roll, String> {
    let raw: RawRoll = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if raw.version != FILE_VERSION {
        return Err(format!("version {} of the file, this release reads {FILE_VERSION}", raw.version));
    }
    let replica = |text: String| text.parse().map_err(|error| format!("{text:?}: {error}"));
    let removed = raw.removed.into_iter().map(replica).collect::<Result<_, String>>()?;
    Ok(Roll { revoked: raw.revoked, removed })
}

/// Reads `bytes` as the file.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    if let Ok(roll) = parse(bytes) {
        let rendered = render(&roll).expect("strings and numbers");
        assert_eq!(parse(&rendered), Ok(roll));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn agent(name: &str) -> AgentName {
        AgentName::new(name).unwrap()
    }

    fn certified(name: &str, revocations: u32) -> Certified {
        Certified { role: Role::Agent(agent(name)), revocations }
    }

    #[test]
    fn a_revocation_counts_for_what_was_issued_before_it_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let store = RollStore::open(folder.path()).unwrap();
        assert!(!store.current().refuses(&certified("a", 0)));
        store.revoke(&agent("a")).unwrap();
        let replica = ReplicaId(Uuid::from_u128(7));
        store.remove(replica).unwrap();

        let store = RollStore::open(folder.path()).unwrap();
        assert!(store.current().refuses(&certified("a", 0)));
        assert!(!store.current().refuses(&certified("a", 1)), "enrolled again");
        assert!(!store.current().refuses(&certified("b", 0)));
        assert!(store.current().refuses(&Certified { role: Role::Replica(replica), revocations: 0 }));
        store.revoke(&agent("a")).unwrap();
        assert!(store.current().refuses(&certified("a", 1)));
    }

    #[test]
    fn replicas_agree_whoever_tells_whom_first() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let stores = folders.each_ref().map(|folder| RollStore::open(folder.path()).unwrap());
        for _ in 0..3 {
            stores[0].revoke(&agent("a")).unwrap();
        }
        stores[1].revoke(&agent("a")).unwrap();
        stores[1].revoke(&agent("b")).unwrap();
        let pages = stores.each_ref().map(|store| store.current().page(""));
        for _ in 0..2 {
            stores[0].merge(&pages[1]).unwrap();
            stores[1].merge(&pages[0]).unwrap();
        }
        assert_eq!(stores[0].current(), stores[1].current());
        assert!(stores[1].current().refuses(&certified("a", 2)));
        assert!(!stores[1].current().refuses(&certified("a", 3)));
    }

    #[test]
    fn it_goes_page_by_page_and_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = RollStore::open(folder.path()).unwrap();
        let names: Vec<_> = (0..ROLL_PAGE_MAX + 1).map(|number| format!("host-{number:05}")).collect();
        let entry = |name: &String| RevokedAgent { name: name.clone(), revocations: 1 };
        let page = RollPage { revoked: names.iter().map(entry).collect(), ..RollPage::default() };
        store.merge(&page).unwrap();
        let first = store.current().page("");
        assert_eq!(first.revoked.len(), ROLL_PAGE_MAX);
        let rest = store.current().page(&first.revoked[ROLL_PAGE_MAX - 1].name);
        assert_eq!(rest.revoked, [entry(&names[ROLL_PAGE_MAX])]);

        let many = (0..REVOKED_MAX).map(|number| entry(&format!("other-{number}"))).collect();
        let page = RollPage { revoked: many, ..RollPage::default() };
        assert!(matches!(store.merge(&page), Err(RollError::Full)));
        assert_eq!(store.current().revoked().count(), names.len(), "nothing of it is taken");
    }
}
