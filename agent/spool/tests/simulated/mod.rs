//! A disk in memory that can fill up, fail, and lose what was not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use vedette_model::Timestamp;
use vedette_spool::{FileEntry, Files, SpoolFile};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A small generator, so that a seed replays a run.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// What is durable of them: a file that shrank is durable up to its length.
    synced: Vec<u8>,
    /// A sync has failed: the bytes are held for clean, and no later sync writes them.
    is_forsaken: bool,
}

/// An entry of a folder: an inode's number.
type Names = BTreeMap<PathBuf, u64>;

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Content>,
    names: Names,
    /// Folders' entries as they would be found after a loss of power, and the changes since then in order.
    durable_names: Names,
    journal: Vec<(PathBuf, Option<u64>)>,
    next_inode: u64,
    /// Bytes that all files may have together.
    capacity: u64,
    fail_reads: bool,
    /// So many of the next syncs of files fail.
    failing_syncs: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

impl SimulatedDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { capacity: u64::MAX, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test thread has panicked")
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    pub(crate) fn fail_reads(&self, fail: bool) {
        self.state().fail_reads = fail;
    }

    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state().failing_syncs = count;
    }

    /// Paths of all files that end with `suffix`.
    pub(crate) fn paths(&self, suffix: &str) -> Vec<PathBuf> {
        let state = self.state();
        state.names.keys().filter(|path| path.to_string_lossy().ends_with(suffix)).cloned().collect()
    }

    /// Changes a file from outside.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        let content = state.inodes.get_mut(&inode).expect("has content");
        change(&mut content.bytes);
        content.synced = content.bytes.clone();
    }

    pub(crate) fn delete(&self, path: &Path) {
        self.remove(path).expect("is there");
    }

    /// A copy of all files as they are, to be put back by `restore`.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, inode)| (path.clone(), state.inodes[inode].bytes.clone())).collect()
    }

    pub(crate) fn restore(&self, snapshot: &BTreeMap<PathBuf, Vec<u8>>) {
        let mut state = self.state();
        state.names.clear();
        for (path, bytes) in snapshot {
            let inode = state.create(path);
            state
                .inodes
                .insert(inode, Content { bytes: bytes.clone(), synced: bytes.clone(), is_forsaken: false });
        }
        state.durable_names = state.names.clone();
        state.journal.clear();
    }

    /// Power is lost: of what was not synced, a part is left.
    pub(crate) fn lose_power(&self, random: &mut Random) {
        let mut state = self.state();
        let kept = random.below(state.journal.len() as u64 + 1) as usize;
        let journal = std::mem::take(&mut state.journal);
        for (path, inode) in journal.into_iter().take(kept) {
            match inode {
                Some(inode) => drop(state.durable_names.insert(path, inode)),
                None => drop(state.durable_names.remove(&path)),
            }
        }
        state.names = state.durable_names.clone();
        for content in state.inodes.values_mut() {
            content.lose_power(random);
        }
    }
}

impl Content {
    fn lose_power(&mut self, random: &mut Random) {
        let same = self.bytes.iter().zip(&self.synced).take_while(|(a, b)| a == b).count();
        let mut left = self.bytes.clone();
        if same == self.synced.len() {
            // Appended to: any length, and the kernel may have written the size before the data.
            left.truncate(same + random.below((left.len() - same) as u64 + 1) as usize);
            if random.chance(3) && left.len() > same {
                let zeros_from = same + random.below((left.len() - same) as u64) as usize;
                left[zeros_from..].fill(0);
            }
        } else if random.chance(2) {
            left.clone_from(&self.synced);
        }
        self.bytes = left.clone();
        self.synced = left;
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[inode].bytes.len() as u64).sum()
    }

    fn create(&mut self, path: &Path) -> u64 {
        self.next_inode += 1;
        let inode = self.next_inode;
        self.inodes.insert(inode, Content::default());
        self.name(path, Some(inode));
        inode
    }

    fn name(&mut self, path: &Path, inode: Option<u64>) {
        self.journal.push((path.to_owned(), inode));
        match inode {
            Some(inode) => drop(self.names.insert(path.to_owned(), inode)),
            None => drop(self.names.remove(path)),
        }
    }
}

fn full() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Files for SimulatedDisk {
    fn list(&self, folder: &Path) -> io::Result<Vec<FileEntry>> {
        let state = self.state();
        let mut entries: BTreeMap<String, FileEntry> = BTreeMap::new();
        for (path, inode) in &state.names {
            let Ok(rest) = path.strip_prefix(folder) else { continue };
            let mut parts = rest.components();
            let Some(first) = parts.next() else { continue };
            let name = first.as_os_str().to_string_lossy().into_owned();
            let is_folder = parts.next().is_some();
            let bytes = if is_folder { 0 } else { state.inodes[inode].bytes.len() as u64 };
            let modified = Timestamp::from_millis(1000);
            entries.insert(name.clone(), FileEntry { name, bytes, modified, is_folder });
        }
        Ok(entries.into_values().collect())
    }

    fn create_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        let journal = std::mem::take(&mut state.journal);
        for (path, inode) in journal {
            if path.parent() != Some(folder) {
                state.journal.push((path, inode));
                continue;
            }
            match inode {
                Some(inode) => drop(state.durable_names.insert(path, inode)),
                None => drop(state.durable_names.remove(&path)),
            }
        }
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        assert!(self.list(folder)?.is_empty(), "{} is not empty", folder.display());
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(file) {
            return Err(missing());
        }
        state.name(file, None);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let inode = *state.names.get(from).ok_or_else(missing)?;
        state.name(to, Some(inode));
        state.name(from, None);
        Ok(())
    }

    fn read(&self, file: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        if state.fail_reads {
            return Err(io::Error::from_raw_os_error(5));
        }
        let inode = state.names.get(file).ok_or_else(missing)?;
        let bytes = &state.inodes[inode].bytes;
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min(start + bytes_max);
        Ok(bytes[start..end].to_vec())
    }

    fn open(&self, file: &Path) -> io::Result<Arc<dyn SpoolFile>> {
        let mut state = self.state();
        let inode = match state.names.get(file) {
            Some(inode) => *inode,
            None if state.used() >= state.capacity => return Err(full()),
            None => state.create(file),
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: u64,
}

impl SpoolFile for SimulatedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let room = state.capacity.saturating_sub(state.used()).min(bytes.len() as u64) as usize;
        let content = state.inodes.get_mut(&self.inode).expect("open files have content");
        content.bytes.extend_from_slice(&bytes[..room]);
        if room < bytes.len() { Err(full()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let content = state.inodes.get_mut(&self.inode).expect("open files have content");
        content.bytes.truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let is_failing = state.failing_syncs > 0;
        state.failing_syncs = state.failing_syncs.saturating_sub(1);
        let content = state.inodes.get_mut(&self.inode).expect("open files have content");
        content.is_forsaken |= is_failing;
        if is_failing {
            return Err(io::Error::other("the disk fails"));
        }
        if !content.is_forsaken {
            content.synced = content.bytes.clone();
        }
        Ok(())
    }
}

/// A frame as `common/wire/FORMAT.md` has it, with any body.
pub(crate) fn frame(seq: u64, key: u64, body: &[u8]) -> Vec<u8> {
    let varint = |out: &mut Vec<u8>, mut value: u64| {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    let mut bytes = vec![1, if seq == key { 1 } else { 2 }];
    bytes.extend([0; 8]);
    varint(&mut bytes, seq);
    if seq != key {
        varint(&mut bytes, seq - key);
    }
    varint(&mut bytes, body.len() as u64);
    bytes.extend_from_slice(body);
    let mut hasher = Xxh3::with_seed(xxh3_64(&bytes[..2]));
    hasher.update(&bytes[10..]);
    let checksum = hasher.digest();
    bytes[2..10].copy_from_slice(&checksum.to_le_bytes());
    bytes
}
