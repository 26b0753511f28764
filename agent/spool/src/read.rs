//! Frames out of the spool, checked on their way.

use std::io;

use tracing::warn;
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, GapReason, LogId, encode_gap};

use crate::age::Written;
use crate::layout::{FileKind, Gap, SEGMENT_BYTES_MAX, ScanEnd, file_path, scan_segment, whole_frame};
use crate::memory::Held;
use crate::shelf::{Segment, SegmentKind};
use crate::spool::Spool;

/// A frame as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFrame {
    /// Its number, or the first of a gap.
    pub first: BatchSeq,
    /// Its number, or the last of a gap.
    pub last: BatchSeq,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The disk could not be read just now; what is there is not given up for that.
#[derive(Debug, thiserror::Error)]
#[error("can not read log {log}: {source}")]
pub struct ReadError {
    log: LogId,
    source: io::Error,
}

/// `EIO`: the medium itself.
const MEDIUM_ERROR: i32 = 5;

impl Spool {
    /// Frames of `log` that cover `from..=to` without a hole, gaps as gap frames: as many as come to about
    /// `bytes_max`, at least one. None when nothing from `from` on is known.
    ///
    /// What was freed is given as a gap too: a replica asks for it only when it was released or restored, and it
    /// must not wait for it for ever.
    pub fn read(
        &mut self,
        log: LogId,
        from: BatchSeq,
        to: BatchSeq,
        bytes_max: usize,
        now: Now,
    ) -> Result<Vec<StoredFrame>, ReadError> {
        let mut frames = Vec::new();
        let Some(range) = self.log(log) else { return Ok(frames) };
        let to = to.min(range.last);
        let mut next = from.max(BatchSeq(1));
        let mut bytes = 0;
        if next < range.first && next <= to {
            let last = BatchSeq(range.first.0 - 1).min(to);
            frames.push(gap_frame(next, last, GapReason::SpoolLost));
            next = BatchSeq(last.0 + 1);
        }
        while next <= to && bytes < bytes_max {
            let found = match self.shelf.segment(log, next).copied() {
                Some(segment) => self.read_segment(log, segment, next, to, bytes_max - bytes, now),
                None => Ok(self.read_memory(log, next, to, bytes_max - bytes)),
            };
            let found = found.map_err(|source| ReadError { log, source })?;
            let Some(last) = found.last() else { break };
            next = BatchSeq(last.last.0 + 1);
            bytes += found.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            frames.extend(found);
        }
        Ok(frames)
    }

    /// The first number of the run that is needed to decode batch `seq`.
    pub fn run_start(&self, log: LogId, seq: BatchSeq) -> Option<BatchSeq> {
        let range = self.log(log)?;
        let seq = seq.clamp(range.first, range.last);
        match self.shelf.segment(log, seq) {
            Some(segment) => Some(segment.first),
            None => self
                .memory
                .run_start(log, seq)
                // The run began on disk.
                .or_else(|| self.shelf.segments(log).last().map(|segment| segment.first)),
        }
    }

    fn read_memory(&self, log: LogId, from: BatchSeq, to: BatchSeq, bytes_max: usize) -> Vec<StoredFrame> {
        let mut frames = Vec::new();
        let mut bytes = 0;
        for entry in self.memory.read(log, from) {
            if entry.first() > to || bytes >= bytes_max {
                break;
            }
            let frame = match &entry.held {
                Held::Frame { seq, frame, .. } => {
                    StoredFrame { first: *seq, last: *seq, bytes: frame.clone() }
                }
                Held::Gap(gap) => gap_frame(gap.first.max(from), gap.last, gap.reason),
            };
            bytes += frame.bytes.len();
            frames.push(frame);
        }
        frames
    }

    fn read_segment(
        &mut self,
        log: LogId,
        segment: Segment,
        from: BatchSeq,
        to: BatchSeq,
        bytes_max: usize,
        now: Now,
    ) -> io::Result<Vec<StoredFrame>> {
        if let SegmentKind::Gap(reason) = segment.kind {
            return Ok(vec![gap_frame(from, segment.last, reason)]);
        }
        if let Some(frames) = self.read_open(log, from, to.min(segment.last), bytes_max)? {
            return Ok(frames);
        }
        let path = file_path(&self.config.path, log, FileKind::Segment, segment.first);
        let bytes = match self.files.read(&path, 0, SEGMENT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                let reason = match (error.kind(), error.raw_os_error()) {
                    (io::ErrorKind::NotFound, _) => GapReason::SpoolLost,
                    (_, Some(MEDIUM_ERROR)) => GapReason::SpoolCorrupt,
                    _ => return Err(error),
                };
                warn!(path = %path.display(), %error, "a segment is lost");
                return Ok(self.give_up(log, segment, segment.first, 0, reason, from, now));
            }
        };
        let scan = scan_segment(&bytes, log, segment.first);
        if let ScanEnd::Newer { version } = scan.end {
            return Err(io::Error::other(format!("version {version} is of a newer release")));
        }
        let mut frames = Vec::new();
        let mut taken = 0;
        for spot in scan.frames.iter().filter(|spot| spot.seq >= from && spot.seq <= to.min(segment.last)) {
            if taken >= bytes_max {
                return Ok(frames);
            }
            taken += spot.length;
            let bytes = bytes[spot.offset..spot.offset + spot.length].to_vec();
            frames.push(StoredFrame { first: spot.seq, last: spot.seq, bytes });
        }
        let broken = BatchSeq(segment.first.0 + scan.frames.len() as u64);
        if frames.is_empty() && broken <= segment.last {
            warn!(path = %path.display(), first = %broken, last = %segment.last, "a segment is broken");
            let reason = GapReason::SpoolCorrupt;
            return Ok(self.give_up(log, segment, broken, scan.good_len as u64, reason, from, now));
        }
        Ok(frames)
    }

    /// From the segment that grows, whose offsets are known. `None` when it is another one, or something in it is
    /// not as it was written.
    fn read_open(
        &self,
        log: LogId,
        from: BatchSeq,
        to: BatchSeq,
        bytes_max: usize,
    ) -> io::Result<Option<Vec<StoredFrame>>> {
        let Some(writer) = self.writer.as_ref().filter(|writer| writer.log == log && writer.first <= from)
        else {
            return Ok(None);
        };
        let index = (from.0 - writer.first.0) as usize;
        if index + 1 == writer.offsets.len() && !writer.last_frame.is_empty() {
            // What goes out in the ordinary case, right behind its write.
            return Ok(Some(vec![StoredFrame { first: from, last: from, bytes: writer.last_frame.clone() }]));
        }
        let Some(offset) = writer.offsets.get(index).copied() else { return Ok(None) };
        let beyond = writer.offsets[index..].iter().position(|at| (at - offset) as usize >= bytes_max);
        let end_index = beyond.map_or(writer.offsets.len(), |beyond| index + beyond.max(1));
        let end = writer.offsets.get(end_index).map_or(writer.length, |end| u64::from(*end));
        let bytes = self.files.read(&writer.path, u64::from(offset), (end - u64::from(offset)) as usize)?;
        let mut frames = Vec::new();
        let mut at = 0;
        for seq in from.0..writer.first.0 + end_index as u64 {
            let seq = BatchSeq(seq);
            if seq > to {
                break;
            }
            let Some(length) = whole_frame(&bytes[at..], seq) else { return Ok(None) };
            frames.push(StoredFrame { first: seq, last: seq, bytes: bytes[at..at + length].to_vec() });
            at += length;
        }
        Ok(Some(frames))
    }

    /// Puts a gap in the place of what is broken from number `broken` to the segment's end.
    #[expect(clippy::too_many_arguments, reason = "one caller's locals, split off only for its length")]
    fn give_up(
        &mut self,
        log: LogId,
        segment: Segment,
        broken: BatchSeq,
        good_len: u64,
        reason: GapReason,
        from: BatchSeq,
        now: Now,
    ) -> Vec<StoredFrame> {
        let is_open =
            self.writer.as_ref().is_some_and(|writer| (writer.log, writer.first) == (log, segment.first));
        if is_open {
            self.finish_writer();
            self.request_key();
        }
        let gap = Gap { first: broken, last: segment.last, reason };
        self.counters.dropped(reason, gap.last.0 - gap.first.0 + 1);
        let bytes = self.store_gap(log, gap);
        if broken == segment.first {
            self.remove_segment(log, &segment);
        } else {
            self.cut(log, &segment, good_len);
        }
        self.shelf.replace(log, Segment::gap(gap, bytes, Written::at(now)), good_len);
        vec![gap_frame(from.max(broken), segment.last, reason)]
    }

    fn cut(&mut self, log: LogId, segment: &Segment, good_len: u64) {
        let path = file_path(&self.config.path, log, FileKind::Segment, segment.first);
        if let Err(error) = self.files.open(&path).and_then(|file| file.truncate(good_len)) {
            self.counters.io_errors += 1;
            warn!(path = %path.display(), %error, "can not cut a broken segment");
        }
    }
}

fn gap_frame(first: BatchSeq, last: BatchSeq, reason: GapReason) -> StoredFrame {
    StoredFrame { first, last, bytes: encode_gap(first, last, reason) }
}
