//! The driver: owns the files, does what the shelf decides.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};
use vedette_wire::control::Members;
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, GapReason, LogId, ReplicaId};

use crate::age::Written;
use crate::config::{SpoolConfig, SyncPolicy};
use crate::files::{Files, SpoolFile};
use crate::layout::{FileKind, Gap, file_path, gap_file, log_path, segment_header};
use crate::memory::{Held, Memory};
use crate::shelf::{Segment, SegmentKind, Shelf};
use crate::state::{cursor_file, cursor_path, cursors_path, members_file};
use crate::statistics::{Counters, SpoolStatistics};
use crate::sync::{Finished, Unsynced};

/// How often the disk is tried again after it refused a write.
const DISK_RETRY: Duration = Duration::from_secs(5);
/// How often cursors are written. An old cursor costs nothing but segments kept for longer.
const CURSOR_SAVE: Duration = Duration::from_secs(15);
/// How many finished files may wait for their sync; beyond that the oldest is synced at once.
const UNSYNCED_MAX: usize = 8;
/// Ends the names of files that are being written.
pub(crate) const DRAFT_SUFFIX: &str = "tmp";
/// How many segments one call of `maintain` removes at most, so that it does not hold up the tick.
const REMOVALS_MAX: usize = 256;
/// How long `maintain` may be left uncalled when nothing happens: time alone makes data overdue and ends leases.
const MAINTAIN_MAX: Duration = Duration::from_secs(10);
/// The largest frame that is kept in memory behind its write, for the replicas that are about to be sent it.
const LAST_FRAME_BYTES_MAX: usize = 64 << 10;

/// Logs on disk, one of them growing.
pub struct Spool {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) config: SpoolConfig,
    pub(crate) shelf: Shelf,
    pub(crate) memory: Memory,
    pub(crate) counters: Counters,
    /// The segment that grows.
    pub(crate) writer: Option<Writer>,
    /// The number that the live log expects.
    next: BatchSeq,
    pub(crate) wants_key: bool,
    disk: Disk,
    pub(crate) unsynced: Unsynced,
    cursors_saved: Duration,
    members_unsaved: bool,
}

/// The open segment.
pub(crate) struct Writer {
    pub(crate) log: LogId,
    pub(crate) file: Arc<dyn SpoolFile>,
    pub(crate) path: PathBuf,
    pub(crate) first: BatchSeq,
    /// Where each frame begins.
    pub(crate) offsets: Vec<u32>,
    /// What is good; there may be torn bytes behind it.
    pub(crate) length: u64,
    /// The frame written last; empty when it was too large to be kept.
    pub(crate) last_frame: Vec<u8>,
    is_torn: bool,
}

impl Writer {
    fn next(&self) -> BatchSeq {
        BatchSeq(self.first.0 + self.offsets.len() as u64)
    }

    fn keep_last(&mut self, frame: &[u8]) {
        self.last_frame.clear();
        if frame.len() <= LAST_FRAME_BYTES_MAX {
            self.last_frame.extend_from_slice(frame);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Good,
    /// Refused a write; tried again at that time.
    Refusing {
        retry_at: Duration,
    },
}

/// Where an appended batch is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// In a file; durable as far as the sync policy says.
    Disk,
    /// In memory, as the disk takes nothing.
    Memory,
    /// Nowhere: a gap stands for it.
    Dropped,
}

/// Why a batch was not taken. A fault of the caller.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No log was started.
    #[error("no log was started")]
    NoLog,
    /// Numbers follow each other.
    #[error("batch {found} where {expected} is next")]
    OutOfOrder {
        /// The number given.
        found: BatchSeq,
        /// The number due.
        expected: BatchSeq,
    },
}

/// What can be offered of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// The first number kept, or the first of a gap.
    pub first: BatchSeq,
    /// The last number.
    pub last: BatchSeq,
    /// Whether it will never grow.
    pub is_closed: bool,
}

impl Spool {
    pub(crate) fn empty(config: SpoolConfig, files: Arc<dyn Files>) -> Self {
        Self {
            memory: Memory::new(config.memory_bytes_max),
            files,
            config,
            shelf: Shelf::default(),
            counters: Counters::default(),
            writer: None,
            next: BatchSeq(1),
            wants_key: false,
            disk: Disk::Good,
            unsynced: Unsynced::default(),
            cursors_saved: Duration::ZERO,
            members_unsaved: false,
        }
    }

    /// Begins a new log, which takes all appends from now on. The one before is closed.
    ///
    /// `log` must be drawn at random, never taken from anything kept.
    pub fn start_log(&mut self, log: LogId) {
        if self.memory.is_empty() {
            self.finish_writer();
        }
        self.shelf.start_log(log);
        self.next = BatchSeq(1);
        self.wants_key = false;
    }

    /// Whether the next batch should be a key batch: what it would build on is lost.
    pub fn wants_key(&self) -> bool {
        self.wants_key
    }

    /// The number that the next batch of the live log must have.
    pub fn next_seq(&self) -> BatchSeq {
        self.next
    }

    /// Takes a frame of the live log.
    pub fn append(
        &mut self,
        seq: BatchSeq,
        frame: &[u8],
        is_key: bool,
        now: Now,
    ) -> Result<Appended, AppendError> {
        let log = self.shelf.live().ok_or(AppendError::NoLog)?;
        if seq != self.next {
            return Err(AppendError::OutOfOrder { found: seq, expected: self.next });
        }
        self.next = BatchSeq(seq.0 + 1);
        if !is_key && self.is_chain_broken(log, seq) {
            self.drop_undecodable(log, seq, now);
            return Ok(Appended::Dropped);
        }
        self.wants_key &= !is_key;
        if self.memory.is_empty() {
            match self.write_frame(log, seq, is_key, frame, now) {
                Ok(()) => return Ok(Appended::Disk),
                Err(error) => self.refused(&error, now),
            }
        }
        let dropped = self.memory.push(log, seq, is_key, frame.to_vec());
        self.counters.dropped(GapReason::MemoryLimit, dropped);
        if self.memory.ends_with_gap() {
            self.wants_key = true;
            return Ok(Appended::Dropped);
        }
        Ok(Appended::Memory)
    }

    /// Whether a delta batch `seq` would follow a gap.
    fn is_chain_broken(&self, log: LogId, seq: BatchSeq) -> bool {
        if !self.memory.is_empty() {
            return self.memory.ends_with_gap();
        }
        !self.writer.as_ref().is_some_and(|writer| writer.log == log && writer.next() == seq)
    }

    fn drop_undecodable(&mut self, log: LogId, seq: BatchSeq, now: Now) {
        self.wants_key = true;
        let reason = if self.memory.is_empty() { GapReason::SpoolCorrupt } else { GapReason::MemoryLimit };
        let gap = Gap { first: seq, last: seq, reason };
        self.counters.dropped(reason, 1);
        if self.memory.is_empty() {
            self.append_gap(log, gap, now);
        } else {
            self.memory.push_gap(log, gap);
        }
    }

    fn write_frame(
        &mut self,
        log: LogId,
        seq: BatchSeq,
        is_key: bool,
        frame: &[u8],
        now: Now,
    ) -> io::Result<()> {
        if is_key {
            self.write_first_frame(log, seq, frame, now)?;
        } else {
            self.write_next_frame(log, seq, frame, now)?;
        }
        self.unsynced.since.get_or_insert(now.monotonic);
        if self.config.sync == SyncPolicy::Always {
            self.sync_now();
        }
        Ok(())
    }

    fn write_first_frame(&mut self, log: LogId, seq: BatchSeq, frame: &[u8], now: Now) -> io::Result<()> {
        self.finish_writer();
        let folder = log_path(&self.config.path, log);
        let path = file_path(&self.config.path, log, FileKind::Segment, seq);
        if self.shelf.range(log).is_none() {
            self.files.create_folder(&folder)?;
            self.unsynced.folders.insert(self.config.path.clone());
        }
        self.close_hole(log, seq, now);
        let file = self.files.open(&path)?;
        let mut bytes = segment_header(log, seq);
        let offset = bytes.len() as u32;
        bytes.extend_from_slice(frame);
        // A file of this name can only be what an earlier, failed attempt left.
        let written = file.truncate(0).and_then(|()| file.append(&bytes));
        if let Err(error) = written {
            if let Err(error) = self.files.remove(&path) {
                warn!(path = %path.display(), %error, "can not remove a torn segment");
            }
            return Err(error);
        }
        let bytes = bytes.len() as u64;
        let segment =
            Segment { first: seq, last: seq, bytes, written: Written::at(now), kind: SegmentKind::Frames };
        self.shelf.push(log, segment);
        self.unsynced.folders.insert(folder);
        let writer = Writer {
            log,
            file,
            path,
            first: seq,
            offsets: vec![offset],
            length: bytes,
            last_frame: Vec::new(),
            is_torn: false,
        };
        self.writer.insert(writer).keep_last(frame);
        Ok(())
    }

    fn write_next_frame(&mut self, log: LogId, seq: BatchSeq, frame: &[u8], now: Now) -> io::Result<()> {
        let writer = self.writer.as_mut().filter(|writer| writer.log == log && writer.next() == seq);
        let Some(writer) = writer else {
            // Can not be decoded without what it builds on.
            self.wants_key = true;
            let gap = Gap { first: seq, last: seq, reason: GapReason::SpoolCorrupt };
            self.counters.dropped(gap.reason, 1);
            self.append_gap(log, gap, now);
            return Ok(());
        };
        if writer.is_torn {
            writer.file.truncate(writer.length)?;
            writer.is_torn = false;
        }
        if let Err(error) = writer.file.append(frame) {
            writer.is_torn = writer.file.truncate(writer.length).is_err();
            return Err(error);
        }
        writer.offsets.push(writer.length as u32);
        writer.length += frame.len() as u64;
        writer.keep_last(frame);
        self.shelf.grow(log, frame.len() as u64, Written::at(now));
        Ok(())
    }

    /// No more frames come into the open segment.
    pub(crate) fn finish_writer(&mut self) {
        self.finish_writer_unsynced();
        if self.unsynced.files.len() > UNSYNCED_MAX {
            self.sync_now();
        }
    }

    pub(crate) fn finish_writer_unsynced(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if writer.is_torn && writer.file.truncate(writer.length).is_err() {
            warn!(path = %writer.path.display(), "torn bytes stay at the end of a segment until it is read");
        }
        if self.unsynced.since.is_some() {
            let last = BatchSeq(writer.next().0 - 1);
            self.unsynced.files.push(Finished {
                log: writer.log,
                last,
                path: writer.path,
                file: writer.file,
            });
        }
    }

    /// What lies between the end of a log on disk and `seq` was in memory only, and every member has it.
    fn close_hole(&mut self, log: LogId, seq: BatchSeq, now: Now) {
        if let Some((_, last)) = self.shelf.range(log)
            && last.0 + 1 < seq.0
        {
            let gap =
                Gap { first: BatchSeq(last.0 + 1), last: BatchSeq(seq.0 - 1), reason: GapReason::SpoolLost };
            self.append_gap(log, gap, now);
        }
    }

    /// Puts a gap at the end of a log.
    fn append_gap(&mut self, log: LogId, mut gap: Gap, now: Now) {
        self.finish_writer();
        if let Some((_, last)) = self.shelf.range(log)
            && let Some(before) = self.shelf.segment(log, last).copied()
            && before.kind == SegmentKind::Gap(gap.reason)
        {
            gap.first = before.first;
            let bytes = self.store_gap(log, gap);
            self.shelf.replace(log, Segment::gap(gap, bytes, Written::at(now)), 0);
            return;
        }
        let bytes = self.store_gap(log, gap);
        self.shelf.push(log, Segment::gap(gap, bytes, Written::at(now)));
    }

    /// Makes a gap durable; its bytes. Where that fails it is known until the process ends, and afterwards the
    /// hole is found again.
    pub(crate) fn store_gap(&mut self, log: LogId, gap: Gap) -> u64 {
        self.counters.gaps += 1;
        let path = file_path(&self.config.path, log, FileKind::Gap, gap.first);
        let bytes = gap_file(log, gap);
        let is_durable = self.config.sync != SyncPolicy::Never;
        let stored = self.write_draft(&path, &bytes).and_then(|(draft, file)| {
            if is_durable {
                file.sync()?;
            }
            self.files.rename(&draft, &path)
        });
        if let Err(error) = stored {
            self.counters.io_errors += 1;
            warn!(path = %path.display(), %error, "can not record a gap");
            return 0;
        }
        bytes.len() as u64
    }

    /// Puts a small file in the place of the old. After a loss of power it may be broken, which its checksum tells.
    fn replace_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (draft, _) = self.write_draft(path, bytes)?;
        self.files.rename(&draft, path)
    }

    /// The same, durable: after a loss of power either the old or the new file is there.
    pub(crate) fn replace_file_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (draft, file) = self.write_draft(path, bytes)?;
        if let Err(error) = file.sync() {
            // The next attempt must not build on what the kernel holds for clean.
            self.files.remove(&draft)?;
            return Err(error);
        }
        self.files.rename(&draft, path)?;
        path.parent().map_or(Ok(()), |folder| self.files.sync_folder(folder))
    }

    fn write_draft(&self, path: &Path, bytes: &[u8]) -> io::Result<(PathBuf, Arc<dyn SpoolFile>)> {
        let draft = path.with_extension(DRAFT_SUFFIX);
        if let Some(folder) = path.parent() {
            self.files.create_folder(folder)?;
        }
        let file = self.files.open(&draft)?;
        match file.truncate(0).and_then(|()| file.append(bytes)) {
            Ok(()) => Ok((draft, file)),
            Err(error) => {
                // What is left of it would keep the folder from being removed.
                if let Err(error) = self.files.remove(&draft) {
                    warn!(path = %draft.display(), %error, "can not remove a draft");
                }
                Err(error)
            }
        }
    }

    fn refused(&mut self, error: &io::Error, now: Now) {
        self.counters.io_errors += 1;
        if self.disk == Disk::Good {
            warn!(
                path = %self.config.path.display(), %error, memory_bytes_max = self.config.memory_bytes_max,
                "the spool's disk takes no more data; batches are kept in memory until it does"
            );
        }
        self.disk = Disk::Refusing { retry_at: now.monotonic + DISK_RETRY };
    }

    /// Frees, drops, retries and saves what is due. To be called when batches were appended or acknowledged, and after
    /// [`Spool::next_maintenance`].
    pub fn maintain(&mut self, now: Now) {
        self.rewrite_doubtful();
        self.free_acked(now);
        self.drop_overdue(now);
        self.drain_memory(now);
        if now.monotonic.saturating_sub(self.cursors_saved) >= CURSOR_SAVE {
            self.save_state(now);
        }
    }

    fn free_acked(&mut self, now: Now) {
        for _ in 0..REMOVALS_MAX {
            let Some((log, segment)) = self.shelf.free(now) else { break };
            let is_open =
                self.writer.as_ref().is_some_and(|writer| (writer.log, writer.first) == (log, segment.first));
            if is_open && segment.is_frames() {
                break;
            }
            self.remove_segment(log, &segment);
            if self.shelf.freed_front(log) {
                self.remove_folder(log);
            }
        }
        let shelf = &self.shelf;
        self.memory.trim(|log, seq| seq <= shelf.acked_by_all(log, now));
    }

    fn drop_overdue(&mut self, now: Now) {
        let mut dropped = 0;
        for _ in 0..REMOVALS_MAX {
            let overdue = self.shelf.overdue(now, self.config.bytes_max, self.config.age_max);
            let Some((log, segment)) = overdue else { break };
            dropped += self.drop_segment(log, &segment);
        }
        if dropped > 0 {
            warn!(
                batches = dropped, bytes_max = self.config.bytes_max, age_max = ?self.config.age_max,
                "spool limit reached: the oldest batches were dropped before every replica had them"
            );
        }
    }

    /// Leaves a gap in the place of a segment; how many batches that costs.
    pub(crate) fn drop_segment(&mut self, log: LogId, segment: &Segment) -> u64 {
        let Some(gap) = self.shelf.gap_for(log, segment.first, GapReason::SpoolLimit) else { return 0 };
        self.counters.dropped(GapReason::SpoolLimit, segment.batches());
        // The gap first: a crash in between leaves both, and then the gap counts.
        let bytes = self.store_gap(log, gap);
        self.remove_segment(log, segment);
        self.shelf.replace(log, Segment::gap(gap, bytes, segment.written), 0);
        segment.batches()
    }

    pub(crate) fn remove_segment(&mut self, log: LogId, segment: &Segment) {
        let kind = if segment.is_frames() { FileKind::Segment } else { FileKind::Gap };
        let path = file_path(&self.config.path, log, kind, segment.first);
        self.unsynced.files.retain(|finished| finished.path != path);
        self.unsynced.doubtful.remove(&path);
        match self.files.remove(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.counters.io_errors += 1;
                warn!(path = %path.display(), %error, "can not remove a segment");
            }
        }
    }

    pub(crate) fn remove_folder(&mut self, log: LogId) {
        let folder = log_path(&self.config.path, log);
        self.unsynced.folders.remove(&folder);
        match self.files.remove_folder(&folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(path = %folder.display(), %error, "can not remove the folder of an old log"),
        }
    }

    fn drain_memory(&mut self, now: Now) {
        match self.disk {
            Disk::Good => return,
            Disk::Refusing { retry_at } if now.monotonic < retry_at => return,
            Disk::Refusing { .. } => {}
        }
        let mut drained = 0u64;
        while let Some(entry) = self.memory.pop_front() {
            let log = entry.log;
            let written = match &entry.held {
                Held::Frame { seq, is_key, frame } => self.write_frame(log, *seq, *is_key, frame, now),
                Held::Gap(gap) => {
                    self.append_gap(log, *gap, now);
                    Ok(())
                }
            };
            if let Err(error) = written {
                self.memory.push_front(entry);
                self.refused(&error, now);
                return;
            }
            drained += 1;
        }
        self.disk = Disk::Good;
        info!(path = %self.config.path.display(), batches = drained, "the spool's disk takes data again");
    }

    /// Writes cursors and membership that have changed.
    pub fn save_state(&mut self, now: Now) {
        self.cursors_saved = now.monotonic;
        if self.members_unsaved
            && let Some(members) = self.shelf.members()
        {
            let bytes = members_file(members);
            // It is written seldom, and an agent without it may know nobody to ask.
            match self.replace_file_synced(&self.config.members_file, &bytes) {
                Ok(()) => self.members_unsaved = false,
                Err(error) => self.state_failed("members", &error),
            }
        }
        let mut failed = None;
        while let Some((replica, cursor)) = self.shelf.take_unsaved() {
            let path = cursor_path(&self.config.path, replica);
            if let Err(error) = self.replace_file(&path, &cursor_file(replica, &cursor)) {
                failed = Some(replica);
                self.state_failed("cursor", &error);
                break;
            }
        }
        if let Some(replica) = failed {
            self.shelf.mark_unsaved(replica);
        }
    }

    fn state_failed(&mut self, what: &str, error: &io::Error) {
        self.counters.io_errors += 1;
        if self.disk == Disk::Good {
            warn!(path = %self.config.path.display(), what, %error, "can not save the spool's state");
        }
    }

    /// How long [`Spool::maintain`] and [`Spool::take_sync`] may be left uncalled while nothing is appended or
    /// acknowledged.
    pub fn next_maintenance(&self, now: Now) -> Duration {
        let sync_at = match (self.config.sync, self.unsynced.since) {
            (SyncPolicy::Interval(interval), Some(since)) => Some(since + interval),
            _ => None,
        };
        let retry_at = match self.disk {
            Disk::Refusing { retry_at } => Some(retry_at),
            Disk::Good => None,
        };
        let next = [sync_at, retry_at].into_iter().flatten().min();
        next.map_or(MAINTAIN_MAX, |at| at.saturating_sub(now.monotonic).min(MAINTAIN_MAX))
    }

    /// Makes everything durable, and the state too. For the end of the process.
    pub fn flush(&mut self, now: Now) {
        self.disk = match self.disk {
            Disk::Good => Disk::Good,
            Disk::Refusing { .. } => Disk::Refusing { retry_at: now.monotonic },
        };
        self.drain_memory(now);
        self.save_state(now);
        if self.config.sync != SyncPolicy::Never && self.unsynced.since.is_some() {
            self.sync_now();
        }
    }

    /// What can be offered, the live log first, then the oldest first.
    pub fn logs(&self) -> Vec<LogRange> {
        let live = self.shelf.live();
        let written = |log| self.shelf.segments(log).next().map(|segment| segment.written);
        let mut logs: Vec<LogRange> = self.shelf.logs().filter_map(|(log, _)| self.log(log)).collect();
        logs.sort_by_key(|range| (range.is_closed, written(range.log), range.log));
        debug_assert!(logs.iter().skip(1).all(|range| Some(range.log) != live));
        logs
    }

    /// What can be offered of one log.
    pub fn log(&self, log: LogId) -> Option<LogRange> {
        let (on_disk, in_memory) = (self.shelf.range(log), self.memory.range(log));
        let first = on_disk.or(in_memory)?.0;
        let last = in_memory.or(on_disk)?.1;
        Some(LogRange { log, first, last, is_closed: self.shelf.live() != Some(log) })
    }

    /// What `replica` is known to have of `log`.
    pub fn cursor(&self, replica: ReplicaId, log: LogId) -> BatchSeq {
        self.shelf.cursor(replica, log)
    }

    /// `replica` has `log` up to `through`: by its acknowledgement, or by what it said when it was asked, which
    /// may be less than it acknowledged once.
    pub fn set_cursor(&mut self, replica: ReplicaId, log: LogId, through: BatchSeq) {
        self.shelf.set_cursor(replica, log, through);
    }

    /// Who must have the data.
    pub fn set_members(&mut self, members: Members, now: Now) {
        if self.shelf.members() == Some(&members) {
            return;
        }
        for replica in self.shelf.set_members(members, now) {
            let path = cursor_path(&self.config.path, replica);
            if let Err(error) = self.files.remove(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                warn!(path = %path.display(), %error, "can not remove a cursor");
            }
        }
        self.members_unsaved = true;
        self.save_state(now);
    }

    /// Reads the membership's file again: someone else may have written it.
    pub fn reload_members(&mut self, now: Now) {
        if let Some(members) = self.read_members() {
            self.set_members(members, now);
        }
    }

    /// The membership last told, also before a restart.
    pub fn members(&self) -> Option<&Members> {
        self.shelf.members()
    }

    /// There is a session with this replica.
    pub fn connected(&mut self, replica: ReplicaId) {
        self.shelf.connected(replica);
    }

    /// There is none any more: its lease runs.
    pub fn disconnected(&mut self, replica: ReplicaId, now: Now) {
        self.shelf.disconnected(replica, now);
    }

    /// New limits and sync policy, from a reloaded config. The paths stay.
    pub fn reconfigure(&mut self, config: SpoolConfig) {
        self.memory.set_limit(config.memory_bytes_max);
        let (path, members_file) = (self.config.path.clone(), self.config.members_file.clone());
        self.config = SpoolConfig { path, members_file, ..config };
    }

    /// Its limits, as they are now.
    pub fn config(&self) -> &SpoolConfig {
        &self.config
    }

    /// For metrics.
    pub fn statistics(&self, now: Now) -> SpoolStatistics {
        SpoolStatistics {
            bytes: self.shelf.bytes(),
            segments: self.shelf.logs().map(|(_, segments)| segments.len() as u64).sum(),
            logs: self.shelf.log_count() as u64,
            oldest_age: self.shelf.oldest_written().map(|written| written.age(now)),
            memory_batches: self.memory.batches() as u64,
            memory_bytes: self.memory.bytes() as u64,
            is_disk_good: self.disk == Disk::Good,
            counters: self.counters.clone(),
        }
    }

    pub(crate) fn cursors_folder(&self) -> PathBuf {
        cursors_path(&self.config.path)
    }

    pub(crate) fn request_key(&mut self) {
        self.wants_key = true;
    }
}
