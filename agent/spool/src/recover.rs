//! Opening a folder as some other process, or a loss of power, left it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{error, info, warn};
use vedette_model::Timestamp;
use vedette_wire::control::Members;
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, GapReason, LogId};

use crate::age::{Written, written_before};
use crate::config::SpoolConfig;
use crate::files::{FileEntry, Files};
use crate::layout::{
    FileKind, GAP_FILE_BYTES_MAX, Gap, SEGMENT_BYTES_MAX, ScanEnd, file_path, log_path, parse_file_name,
    parse_gap_file, scan_segment,
};
use crate::shelf::{Segment, SegmentKind};
use crate::spool::{DRAFT_SUFFIX, Spool};
use crate::state::{STATE_FILE_BYTES_MAX, parse_cursor_file, parse_members_file};

/// How many logs keep their batches: a process that restarts all the time leaves one each time. Of older ones a gap is
/// left, which replicas are told of.
const LOGS_MAX: usize = 1000;
/// How many logs are kept at all, gaps included. Each takes a file of 55 bytes, and nobody is told of those beyond.
const GAPS_MAX: usize = 9000;

/// The spool's folder can not be used.
#[derive(Debug, thiserror::Error)]
#[error("can not open the spool {path}: {source}")]
pub struct OpenError {
    path: String,
    source: io::Error,
}

/// A file of a log, by its name.
struct Piece {
    first: BatchSeq,
    kind: FileKind,
    entry: FileEntry,
}

impl Spool {
    /// Opens the folder, made if it is not there. Logs found are closed; [`Spool::start_log`] comes next.
    ///
    /// Reads the names of all segments, and the content of each log's last. Whether the others are intact turns
    /// out when they are read.
    pub fn open(config: SpoolConfig, files: Arc<dyn Files>, now: Now) -> Result<Self, OpenError> {
        let path = config.path.clone();
        let mut spool = Self::empty(config, files);
        spool.recover(&path, now).map_err(|source| OpenError { path: path.display().to_string(), source })?;
        Ok(spool)
    }

    fn recover(&mut self, root: &Path, now: Now) -> io::Result<()> {
        self.files.create_folder(root)?;
        let mut logs: Vec<(LogId, FileEntry)> = Vec::new();
        for entry in self.files.list(root)? {
            if entry.is_folder
                && let Ok(log) = entry.name.parse()
            {
                logs.push((log, entry));
            }
        }
        logs.sort_by_key(|(log, entry)| (entry.modified, *log));
        let surplus = logs.len().saturating_sub(LOGS_MAX + GAPS_MAX);
        for (log, _) in logs.drain(..surplus) {
            self.discard_log(log)?;
        }
        let oldest: Vec<LogId> = logs.iter().map(|(log, _)| *log).collect();
        let mut found = Vec::new();
        for (log, _) in logs {
            match self.recover_log(log, now) {
                Ok(pieces) => found.extend(pieces.into_iter().map(|piece| (log, piece))),
                Err(error) => {
                    self.counters.io_errors += 1;
                    error!(%log, %error, "an old log can not be read and is left alone");
                    self.shelf.remove_log(log);
                }
            }
        }
        self.recover_ages(&found, now);
        self.recover_state(now);
        self.drop_surplus(&oldest, now);
        let statistics = self.statistics(now);
        if statistics.logs > 0 {
            info!(
                path = %root.display(), logs = statistics.logs, segments = statistics.segments,
                bytes = statistics.bytes, "found batches of earlier starts in the spool"
            );
        }
        Ok(())
    }

    /// Leaves a gap of logs beyond the limit, the oldest first, unless everyone has them anyway.
    fn drop_surplus(&mut self, oldest: &[LogId], now: Now) {
        let with_batches: Vec<LogId> =
            oldest.iter().copied().filter(|log| self.shelf.segments(*log).any(Segment::is_frames)).collect();
        let surplus = with_batches.len().saturating_sub(LOGS_MAX);
        let mut batches = 0;
        for log in &with_batches[..surplus] {
            let acked = self.shelf.acked_by_all(*log, now);
            let segments: Vec<Segment> = self
                .shelf
                .segments(*log)
                .filter(|segment| segment.is_frames() && segment.last > acked)
                .copied()
                .collect();
            for segment in segments {
                batches += self.drop_segment(*log, &segment);
            }
        }
        if batches > 0 {
            warn!(
                logs = surplus,
                batches,
                logs_max = LOGS_MAX,
                "too many logs in the spool: the batches of the oldest are dropped, and replicas are told"
            );
        }
    }

    fn recover_ages(&mut self, found: &[(LogId, Piece)], now: Now) {
        let modified: BTreeSet<Timestamp> = found.iter().map(|(_, piece)| piece.entry.modified).collect();
        let written = written_before(&modified, now);
        for (log, piece) in found {
            if let Some(written) = written.get(&piece.entry.modified) {
                self.shelf.set_written(*log, piece.first, *written);
            }
        }
    }

    fn discard_log(&mut self, log: LogId) -> io::Result<()> {
        warn!(%log, logs_max = LOGS_MAX + GAPS_MAX, "far too many logs in the spool: the oldest is forgotten, and no replica learns of it");
        let folder = log_path(&self.config.path, log);
        let mut last = 0;
        for entry in self.files.list(&folder)? {
            last = last.max(parse_file_name(&entry.name).map_or(0, |(_, first)| first.0));
            self.files.remove(&folder.join(&entry.name))?;
        }
        self.counters.dropped(GapReason::SpoolLimit, last);
        self.files.remove_folder(&folder)
    }

    fn recover_log(&mut self, log: LogId, now: Now) -> io::Result<Vec<Piece>> {
        let folder = log_path(&self.config.path, log);
        let mut pieces = Vec::new();
        for entry in self.files.list(&folder)? {
            match parse_file_name(&entry.name) {
                Some((kind, first)) => pieces.push(Piece { first, kind, entry }),
                None if entry.name.ends_with(DRAFT_SUFFIX) => self.files.remove(&folder.join(&entry.name))?,
                None => {}
            }
        }
        pieces.sort_by_key(|piece| (piece.first, piece.kind));
        for index in 0..pieces.len() {
            let next = pieces.get(index + 1).map(|piece| piece.first);
            self.recover_piece(log, &pieces[index], next, now)?;
        }
        if self.shelf.range(log).is_none() {
            self.remove_folder(log);
        }
        Ok(pieces)
    }

    fn recover_piece(
        &mut self,
        log: LogId,
        piece: &Piece,
        next: Option<BatchSeq>,
        now: Now,
    ) -> io::Result<()> {
        let path = file_path(&self.config.path, log, piece.kind, piece.first);
        // Until all files are known; their ages come from all of them.
        let written = Written::at(now);
        if self.shelf.range(log).is_some_and(|(_, last)| piece.first <= last) {
            // A gap took its place, and the process ended before this was removed.
            return self.files.remove(&path);
        }
        match (piece.kind, next) {
            (FileKind::Gap, _) => {
                let bytes = self.files.read(&path, 0, GAP_FILE_BYTES_MAX)?;
                match parse_gap_file(&bytes, log) {
                    Ok(gap) if gap.first == piece.first => {
                        self.fill_hole(log, gap.first, now);
                        self.shelf.push(log, Segment::gap(gap, bytes.len() as u64, written));
                    }
                    Ok(_) | Err(_) => self.files.remove(&path)?,
                }
            }
            (FileKind::Segment, Some(next)) if next > piece.first => {
                self.fill_hole(log, piece.first, now);
                let (first, last) = (piece.first, BatchSeq(next.0 - 1));
                let bytes = piece.entry.bytes;
                self.shelf.push(log, Segment { first, last, bytes, written, kind: SegmentKind::Frames });
            }
            (FileKind::Segment, _) => self.recover_last(log, piece, now)?,
        }
        Ok(())
    }

    /// The segment that grew when the process ended.
    fn recover_last(&mut self, log: LogId, piece: &Piece, now: Now) -> io::Result<()> {
        let path = file_path(&self.config.path, log, FileKind::Segment, piece.first);
        let bytes = self.files.read(&path, 0, SEGMENT_BYTES_MAX)?;
        let scan = scan_segment(&bytes, log, piece.first);
        if let ScanEnd::Newer { version } = scan.end {
            return Err(io::Error::other(format!("version {version} is of a newer release")));
        }
        if scan.end != ScanEnd::Clean {
            let torn = (bytes.len() - scan.good_len) as u64;
            self.counters.torn_bytes += torn;
            info!(path = %path.display(), bytes = torn, "cut what was not whole from the end of a segment");
        }
        if scan.frames.is_empty() {
            self.files.remove(&path)?;
        } else {
            self.fill_hole(log, piece.first, now);
            if scan.good_len < bytes.len() {
                self.files.open(&path)?.truncate(scan.good_len as u64)?;
            }
            let last = BatchSeq(piece.first.0 + scan.frames.len() as u64 - 1);
            let (bytes, written) = (scan.good_len as u64, Written::at(now));
            let kind = SegmentKind::Frames;
            self.shelf.push(log, Segment { first: piece.first, last, bytes, written, kind });
        }
        if let ScanEnd::Corrupt { last } = scan.end {
            let first = BatchSeq(piece.first.0 + scan.frames.len() as u64);
            self.fill_hole(log, first, now);
            self.lose(log, Gap { first, last, reason: GapReason::SpoolCorrupt }, now);
        }
        Ok(())
    }

    /// What a log should hold before `first` and does not. At its beginning nothing is missing: it was freed.
    fn fill_hole(&mut self, log: LogId, first: BatchSeq, now: Now) {
        if let Some((_, last)) = self.shelf.range(log)
            && last.0 + 1 < first.0
        {
            let (from, to) = (BatchSeq(last.0 + 1), BatchSeq(first.0 - 1));
            self.lose(log, Gap { first: from, last: to, reason: GapReason::SpoolLost }, now);
        }
    }

    fn lose(&mut self, log: LogId, gap: Gap, now: Now) {
        let batches = gap.last.0 - gap.first.0 + 1;
        warn!(%log, first = %gap.first, batches, reason = %gap.reason, "batches of the spool are lost");
        self.counters.dropped(gap.reason, batches);
        let bytes = self.store_gap(log, gap);
        self.shelf.push(log, Segment::gap(gap, bytes, Written::at(now)));
    }

    fn recover_state(&mut self, now: Now) {
        if let Some(members) = self.read_members() {
            self.shelf.set_members(members, now);
        }
        let folder = self.cursors_folder();
        let Ok(entries) = self.files.list(&folder) else { return };
        for entry in entries.iter().filter(|entry| entry.name.ends_with(".cursor")) {
            let path = folder.join(&entry.name);
            let Some(bytes) = self.read_state(&path) else { continue };
            match parse_cursor_file(&bytes) {
                Ok((replica, cursor)) => self.shelf.load_cursor(replica, cursor),
                Err(error) => {
                    warn!(path = %path.display(), %error, "a cursor is unknown until its replica tells it")
                }
            }
        }
    }

    pub(crate) fn read_members(&mut self) -> Option<Members> {
        let path = self.config.members_file.clone();
        let bytes = self.read_state(&path)?;
        parse_members_file(&bytes)
            .inspect_err(|error| warn!(path = %path.display(), %error, "membership is unknown until a replica tells it"))
            .ok()
    }

    fn read_state(&mut self, path: &Path) -> Option<Vec<u8>> {
        match self.files.read(path, 0, STATE_FILE_BYTES_MAX) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                self.counters.io_errors += 1;
                warn!(path = %path.display(), %error, "can not read the spool's state");
                None
            }
        }
    }
}
