//! The group's replicas, as this one knows them, in `members.json`.

use crate::files::{self, FileError};
use crate::roll::Roll;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use vedette_wire::control::{MEMBERS_MAX, Member, Members};

const FILE: &str = "members.json";
const FILE_VERSION: u32 = 1;
/// How long a replica may be away before agents free their spool without it, unless the group says otherwise.
pub const LEASE: Duration = Duration::from_secs(3600);

/// Keeps the membership on disk and tells who is interested.
pub struct MembersStore {
    path: PathBuf,
    /// This replica's own entry, on which it has the last word. Held while the file is written, so that
    /// disk and memory change in the same order.
    own: Mutex<Member>,
    current: watch::Sender<Members>,
    /// Says who was removed for good.
    roll: watch::Receiver<Arc<Roll>>,
}

impl MembersStore {
    /// Reads the membership in `folder`, or starts one, and sees to it that `own` is in it.
    pub fn open(folder: &Path, own: Member) -> Result<Self, FileError> {
        Self::open_with(folder, own, watch::Sender::default().subscribe())
    }

    /// The same; whoever is removed by `roll` is no member, whatever peers say.
    pub(crate) fn open_with(
        folder: &Path,
        own: Member,
        roll: watch::Receiver<Arc<Roll>>,
    ) -> Result<Self, FileError> {
        let path = folder.join(FILE);
        let members = match files::read(&path)? {
            None => Members { version: 0, lease_ms: LEASE.as_millis() as u64, members: Vec::new() },
            Some(bytes) => parse(&bytes).map_err(|reason| files::invalid(&path, reason))?,
        };
        let store = Self { path, own: Mutex::new(own), current: watch::Sender::new(members), roll };
        store.change(|_own, _members| {})?;
        Ok(store)
    }

    /// The membership.
    pub fn current(&self) -> Members {
        self.current.borrow().clone()
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<Members> {
        self.current.subscribe()
    }

    /// Adds a replica or changes its addresses; on disk when it returns. The membership after that.
    pub fn put(&self, member: Member) -> Result<Members, FileError> {
        self.change(|_own, members| {
            members.put(member);
        })
    }

    /// Takes over what a peer knows; on disk when it returns. The membership after that.
    pub fn merge(&self, other: &Members) -> Result<Members, FileError> {
        self.change(|_own, members| {
            members.merge(other);
        })
    }

    /// The roll has changed: whoever was removed goes; on disk when it returns.
    pub(crate) fn call_roll(&self) -> Result<Members, FileError> {
        self.change(|_own, _members| {})
    }

    /// Changes how long a replica of the group may be away.
    pub fn set_lease(&self, lease: Duration) -> Result<(), FileError> {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        let change = |_own: &mut Member, members: &mut Members| {
            if members.lease_ms != lease_ms {
                members.lease_ms = lease_ms;
                members.version = members.version.saturating_add(1);
            }
        };
        self.change(change).map(drop)
    }

    /// This replica can be reached elsewhere.
    pub(crate) fn announce(&self, addresses: &[String]) -> Result<(), FileError> {
        self.change(|own, _members| own.addresses = addresses.to_vec()).map(drop)
    }

    fn change(&self, change: impl FnOnce(&mut Member, &mut Members)) -> Result<Members, FileError> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let mut members = before.clone();
        change(&mut own, &mut members);
        let roll = self.roll.borrow().clone();
        let listed = members.members.len();
        members.members.retain(|member| member.replica == own.replica || !roll.is_removed(member.replica));
        // Agents and peers take the greater version.
        members.version = members.version.saturating_add(u64::from(members.members.len() < listed));
        // Two replicas that changed the membership apart from each other may have lost one another's
        // newcomer; each puts itself back.
        members.put(own.clone());
        if members.members.len() > MEMBERS_MAX {
            return Err(files::invalid(&self.path, format!("more than {MEMBERS_MAX} replicas")));
        }
        if members != before {
            files::replace(
                &self.path,
                &render(&members).map_err(|error| files::invalid(&self.path, error))?,
            )?;
            self.current.send_replace(members.clone());
        }
        Ok(members)
    }
}

#[derive(Serialize, Deserialize)]
struct RawMembers {
    /// Version of the file, not of the membership.
    file_version: u32,
    version: u64,
    lease_ms: u64,
    members: Vec<RawMember>,
}

#[derive(Serialize, Deserialize)]
struct RawMember {
    replica: String,
    addresses: Vec<String>,
}

fn render(members: &Members) -> Result<Vec<u8>, serde_json::Error> {
    let raw = |member: &Member| RawMember {
        replica: member.replica.to_string(),
        addresses: member.addresses.clone(),
    };
    serde_json::to_vec_pretty(&RawMembers {
        file_version: FILE_VERSION,
        version: members.version,
        lease_ms: members.lease_ms,
        members: members.members.iter().map(raw).collect(),
    })
}

fn parse(bytes: &[u8]) -> Result<Members, String> {
    let raw: RawMembers = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if raw.file_version != FILE_VERSION {
        return Err(format!("version {} of the file, this release reads {FILE_VERSION}", raw.file_version));
    }
    let mut members = Members { version: 0, lease_ms: raw.lease_ms, members: Vec::new() };
    for RawMember { replica, addresses } in raw.members {
        let replica = replica.parse().map_err(|error| format!("{replica:?}: {error}"))?;
        members.put(Member { replica, addresses });
    }
    members.version = raw.version;
    Ok(members)
}

/// Reads `bytes` as the file.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    if let Ok(members) = parse(bytes) {
        let rendered = render(&members).expect("strings and numbers");
        assert_eq!(parse(&rendered), Ok(members));
    }
}
