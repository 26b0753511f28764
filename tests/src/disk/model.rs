//! Files and folders of a disk with a volatile cache: what is seen, what is durable, and what is neither yet.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::io::Errno;

use super::content::Content;
use super::{Fault, Loss, Operation};

pub(super) type Inode = u64;
const ROOT: Inode = 1;

type Entries = BTreeMap<OsString, Inode>;

#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Folder {
        /// As programs see it.
        entries: Entries,
        /// As the disk has it.
        durable: Entries,
    },
    /// A name for something that lives in the kernel.
    Socket,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) modified: SystemTime,
    pub(super) links: u32,
    handles: u32,
}

/// One change of names, which happens as a whole or not at all: what each place holds afterwards.
#[derive(Debug)]
struct Change(Vec<(Inode, OsString, Option<Inode>)>);

/// The disk. Owns no mount and no clock; everything random comes from the seed of a loss.
#[derive(Debug)]
pub(super) struct Model {
    nodes: BTreeMap<Inode, Node>,
    last_inode: Inode,
    /// Changes of names that no sync of their folder has covered, oldest first.
    unsynced: Vec<Change>,
    is_off: bool,
    /// The power goes after so many more operations.
    cut_after: Option<u64>,
    faults: Vec<Fault>,
}

pub(super) struct NewNode {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) now: SystemTime,
}

impl NewNode {
    fn node(self) -> Node {
        Node { kind: self.kind, mode: self.mode, owner: self.owner, modified: self.now, links: 1, handles: 0 }
    }
}

impl Kind {
    pub(super) fn folder() -> Self {
        Self::Folder { entries: Entries::new(), durable: Entries::new() }
    }
}

impl Model {
    pub(super) fn new(now: SystemTime) -> Self {
        let root = NewNode { kind: Kind::folder(), mode: 0o755, owner: (0, 0), now };
        Self {
            nodes: BTreeMap::from([(ROOT, root.node())]),
            last_inode: ROOT,
            unsynced: Vec::new(),
            is_off: false,
            cut_after: None,
            faults: Vec::new(),
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }

    pub(super) fn cut_power_after(&mut self, operations: u64) {
        self.cut_after = Some(operations);
        self.is_off = operations == 0;
    }

    pub(super) fn set_faults(&mut self, faults: Vec<Fault>) {
        self.faults = faults;
    }

    /// How many of the planned faults have not happened yet.
    pub(super) fn faults_left(&self) -> usize {
        self.faults.iter().filter(|fault| fault.skip > 0 || fault.times > 0).count()
    }

    /// Does what changes the disk, unless the power is gone or a fault is due. At the last operation before the power
    /// goes, the disk has done its part, and nobody hears of it.
    pub(super) fn operate<T>(
        &mut self,
        operation: Operation,
        act: impl FnOnce(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.powered()?;
        if let Some(fault) = self.faults.iter_mut().find_map(|fault| fault.is_due(operation).then_some(fault))
        {
            return Err(fault.errno);
        }
        let result = act(self);
        if let Some(left) = &mut self.cut_after {
            *left = left.saturating_sub(1);
            self.is_off = *left == 0;
            self.powered()?;
        }
        result
    }

    pub(super) fn sync_file(&mut self, inode: Inode) -> Result<(), Errno> {
        self.content(inode)?;
        let mut was_asked = false;
        let synced = self.operate(Operation::Sync, |model| {
            was_asked = true;
            model.content(inode).map(Content::sync)
        });
        if !was_asked {
            self.content(inode)?.fail_sync();
        }
        synced
    }

    pub(super) fn powered(&self) -> Result<(), Errno> {
        if self.is_off { Err(Errno::IO) } else { Ok(()) }
    }

    pub(super) fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.nodes.get(&inode).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, inode: Inode) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::NOENT)
    }

    pub(super) fn content(&mut self, inode: Inode) -> Result<&mut Content, Errno> {
        match &mut self.node_mut(inode)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Folder { .. } => Err(Errno::ISDIR),
            Kind::Socket => Err(Errno::INVAL),
        }
    }

    pub(super) fn entries(&self, folder: Inode) -> Result<&Entries, Errno> {
        match &self.node(folder)?.kind {
            Kind::Folder { entries, .. } => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn find(&self, folder: Inode, name: &OsStr) -> Result<Inode, Errno> {
        self.entries(folder)?.get(name).copied().ok_or(Errno::NOENT)
    }

    pub(super) fn opened(&mut self, inode: Inode) -> Result<(), Errno> {
        self.node_mut(inode)?.handles += 1;
        Ok(())
    }

    pub(super) fn released(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.handles = node.handles.saturating_sub(1);
        }
    }

    pub(super) fn create(&mut self, folder: Inode, name: &OsStr, new: NewNode) -> Result<Inode, Errno> {
        if self.entries(folder)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.last_inode += 1;
        self.nodes.insert(self.last_inode, new.node());
        self.change(vec![(folder, name.to_owned(), Some(self.last_inode))])?;
        Ok(self.last_inode)
    }

    pub(super) fn link(&mut self, inode: Inode, folder: Inode, name: &OsStr) -> Result<(), Errno> {
        if self.entries(folder)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.node_mut(inode)?.links += 1;
        self.change(vec![(folder, name.to_owned(), Some(inode))])
    }

    pub(super) fn remove(&mut self, folder: Inode, name: &OsStr) -> Result<(), Errno> {
        let inode = self.find(folder, name)?;
        self.check_replaceable(inode)?;
        let node = self.node_mut(inode)?;
        node.links = node.links.saturating_sub(1);
        self.change(vec![(folder, name.to_owned(), None)])
    }

    pub(super) fn rename(
        &mut self,
        from: (Inode, &OsStr),
        to: (Inode, &OsStr),
        may_replace: bool,
    ) -> Result<(), Errno> {
        let inode = self.find(from.0, from.1)?;
        if let Ok(replaced) = self.find(to.0, to.1) {
            if !may_replace {
                return Err(Errno::EXIST);
            }
            if replaced == inode {
                return Ok(());
            }
            self.check_replaceable(replaced)?;
            let node = self.node_mut(replaced)?;
            node.links = node.links.saturating_sub(1);
        }
        self.change(vec![(from.0, from.1.to_owned(), None), (to.0, to.1.to_owned(), Some(inode))])
    }

    fn check_replaceable(&self, inode: Inode) -> Result<(), Errno> {
        match &self.node(inode)?.kind {
            Kind::Folder { entries, .. } if !entries.is_empty() => Err(Errno::NOTEMPTY),
            _ => Ok(()),
        }
    }

    fn change(&mut self, places: Vec<(Inode, OsString, Option<Inode>)>) -> Result<(), Errno> {
        for (folder, name, inode) in &places {
            let Kind::Folder { entries, .. } = &mut self.node_mut(*folder)?.kind else {
                return Err(Errno::NOTDIR);
            };
            set(entries, name, *inode);
        }
        self.unsynced.push(Change(places));
        Ok(())
    }

    /// Makes the names in `folder` durable, and those in others that a rename ties to them.
    pub(super) fn sync_folder(&mut self, folder: Inode) -> Result<(), Errno> {
        self.entries(folder)?;
        let mut folders = BTreeSet::from([folder]);
        loop {
            let known = folders.len();
            for Change(places) in &self.unsynced {
                if places.iter().any(|(folder, ..)| folders.contains(folder)) {
                    folders.extend(places.iter().map(|(folder, ..)| *folder));
                }
            }
            if folders.len() == known {
                break;
            }
        }
        let is_covered = |change: &Change| change.0.iter().any(|(folder, ..)| folders.contains(folder));
        let (covered, rest) = std::mem::take(&mut self.unsynced).into_iter().partition(is_covered);
        self.unsynced = rest;
        self.make_durable(covered);
        self.drop_unreachable();
        Ok(())
    }

    fn make_durable(&mut self, changes: Vec<Change>) {
        for (folder, name, inode) in changes.into_iter().flat_map(|change| change.0) {
            if let Some(Node { kind: Kind::Folder { durable, .. }, .. }) = self.nodes.get_mut(&folder) {
                set(durable, &name, inode);
            }
        }
    }

    /// Frees what has no name, neither seen nor durable nor on its way, and is not open.
    fn drop_unreachable(&mut self) {
        let mut named: BTreeSet<Inode> =
            self.unsynced.iter().flat_map(|change| &change.0).filter_map(|(.., inode)| *inode).collect();
        for node in self.nodes.values() {
            if let Kind::Folder { entries, durable } = &node.kind {
                named.extend(entries.values().chain(durable.values()));
            }
        }
        self.nodes.retain(|inode, node| *inode == ROOT || node.handles > 0 || named.contains(inode));
    }

    /// From now on there is what the disk has; the power is on again, and nothing is open.
    pub(super) fn lose_power(&mut self, loss: Loss, seed: u64) {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut changes = std::mem::take(&mut self.unsynced);
        match loss {
            Loss::All => changes.clear(),
            Loss::Later => changes.truncate(random.random_range(0..=changes.len())),
            Loss::Some => changes.retain(|_| random.random_bool(0.5)),
        }
        self.make_durable(changes);
        for node in self.nodes.values_mut() {
            node.handles = 0;
            node.links = 0;
            match &mut node.kind {
                Kind::File(content) => content.lose_power(loss, random),
                Kind::Folder { entries, durable } => entries.clone_from(durable),
                Kind::Socket => {}
            }
        }
        self.drop_unreachable();
        let named: Vec<Inode> = self.nodes.values().flat_map(Node::named).collect();
        for inode in named {
            if let Some(node) = self.nodes.get_mut(&inode) {
                node.links += 1;
            }
        }
        (self.is_off, self.cut_after) = (false, None);
        self.faults.clear();
    }
}

impl Node {
    fn named(&self) -> Vec<Inode> {
        match &self.kind {
            Kind::Folder { entries, .. } => entries.values().copied().collect(),
            _ => Vec::new(),
        }
    }
}

fn set(entries: &mut Entries, name: &OsStr, inode: Option<Inode>) {
    match inode {
        Some(inode) => drop(entries.insert(name.to_owned(), inode)),
        None => drop(entries.remove(name)),
    }
}
