//! Names of files, and the bytes of segment and gap files. FORMAT.md has the diagrams.

use std::path::{Path, PathBuf};

use vedette_wire::{BatchSeq, FRAME_BYTES_MAX, FrameHeader, FrameKind, GapReason, LogId, check_frame};

use crate::record::{RECORD_OVERHEAD, RecordError, RecordReader, RecordWriter};

const SEGMENT_MAGIC: [u8; 4] = *b"VSEG";
const GAP_MAGIC: [u8; 4] = *b"VGAP";
const VERSION: u8 = 1;
/// Bytes before the first frame.
pub(crate) const SEGMENT_HEADER_LEN: usize = RECORD_OVERHEAD + 16 + 8;
/// No segment is longer; what lies beyond is not read.
pub(crate) const SEGMENT_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// No gap file is longer.
pub(crate) const GAP_FILE_BYTES_MAX: usize = 256;

/// What a file's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    /// Sorts first: where a gap and a segment begin at the same number, the gap has replaced the segment.
    Gap,
    Segment,
}

pub(crate) fn file_path(root: &Path, log: LogId, kind: FileKind, first: BatchSeq) -> PathBuf {
    let suffix = match kind {
        FileKind::Segment => "seg",
        FileKind::Gap => "gap",
    };
    log_path(root, log).join(format!("{:020}.{suffix}", first.0))
}

pub(crate) fn log_path(root: &Path, log: LogId) -> PathBuf {
    root.join(log.to_string())
}

pub(crate) fn parse_file_name(name: &str) -> Option<(FileKind, BatchSeq)> {
    let (number, suffix) = name.split_once('.')?;
    let kind = match suffix {
        "seg" => FileKind::Segment,
        "gap" => FileKind::Gap,
        _ => return None,
    };
    if number.len() != 20 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((kind, BatchSeq(number.parse().ok().filter(|number| *number > 0)?)))
}

pub(crate) fn segment_header(log: LogId, first: BatchSeq) -> Vec<u8> {
    let mut writer = RecordWriter::new(SEGMENT_MAGIC, VERSION);
    writer.put_u128(log.0);
    writer.put_u64(first.0);
    writer.finish()
}

pub(crate) fn gap_file(log: LogId, gap: Gap) -> Vec<u8> {
    let mut writer = RecordWriter::new(GAP_MAGIC, VERSION);
    writer.put_u128(log.0);
    writer.put_u64(gap.first.0);
    writer.put_u64(gap.last.0);
    writer.put_u8(gap.reason.code());
    writer.finish()
}

/// Numbers that are in no segment any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) first: BatchSeq,
    pub(crate) last: BatchSeq,
    pub(crate) reason: GapReason,
}

pub(crate) fn parse_gap_file(bytes: &[u8], log: LogId) -> Result<Gap, RecordError> {
    let mut reader = RecordReader::open(bytes, GAP_MAGIC, VERSION, "gap")?;
    if reader.u128()? != log.0 {
        return Err(reader.malformed());
    }
    let (first, last) = (BatchSeq(reader.u64()?), BatchSeq(reader.u64()?));
    let reason = GapReason::from_code(reader.u8()?).ok_or_else(|| reader.malformed())?;
    if first.0 == 0 || last < first {
        return Err(reader.malformed());
    }
    reader.finish()?;
    Ok(Gap { first, last, reason })
}

/// Where one frame lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameSpot {
    pub(crate) seq: BatchSeq,
    pub(crate) offset: usize,
    pub(crate) length: usize,
}

/// What was found in a segment's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Whole frames in order, from the first without a break.
    pub(crate) frames: Vec<FrameSpot>,
    /// Where the last of them ends.
    pub(crate) good_len: usize,
    pub(crate) end: ScanEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// At the last byte.
    Clean,
    /// In a frame that is not whole, as when power was lost while it was written.
    Torn,
    /// At bytes that are no frame. Whole frames lie behind them, the last with this number: they were written,
    /// and can not be decoded without what is broken.
    Corrupt { last: BatchSeq },
    /// At the very beginning: a newer release wrote the file.
    Newer { version: u8 },
}

/// Reads the frames of a whole segment file. Any bytes may come in.
pub(crate) fn scan_segment(bytes: &[u8], log: LogId, first: BatchSeq) -> Scan {
    let mut scan = Scan { frames: Vec::new(), good_len: 0, end: ScanEnd::Clean };
    match read_header(bytes) {
        Ok(header) if header == (log, first) => {
            scan.good_len = SEGMENT_HEADER_LEN;
            scan_frames(bytes, first, &mut scan);
            if scan.good_len == bytes.len() {
                return scan;
            }
        }
        Err(RecordError::Version { found, .. }) => {
            scan.end = ScanEnd::Newer { version: found };
            return scan;
        }
        Ok(_) | Err(_) => {}
    }
    let next = BatchSeq(first.0 + scan.frames.len() as u64);
    scan.end = match last_frame_behind(bytes, scan.good_len, next) {
        Some(last) => ScanEnd::Corrupt { last },
        None => ScanEnd::Torn,
    };
    scan
}

/// Frames from `scan.good_len` on, as long as they are whole and in order.
fn scan_frames(bytes: &[u8], first: BatchSeq, scan: &mut Scan) {
    let mut seq = first;
    while let Some(length) = bytes.get(scan.good_len..).and_then(|rest| whole_frame(rest, seq)) {
        let is_key_where_due = seq != first || is_key(&bytes[scan.good_len..]);
        if !is_key_where_due {
            return;
        }
        scan.frames.push(FrameSpot { seq, offset: scan.good_len, length });
        scan.good_len += length;
        seq = BatchSeq(seq.0 + 1);
    }
}

/// The length of the whole, intact frame of number `seq` that `bytes` begin with.
pub(crate) fn whole_frame(bytes: &[u8], seq: BatchSeq) -> Option<usize> {
    let header = intact(bytes)?;
    (header.seq == seq && header.kind != FrameKind::Gap).then_some(header.frame_len)
}

fn is_key(bytes: &[u8]) -> bool {
    matches!(FrameHeader::parse(bytes), Ok(Some(header)) if header.kind == FrameKind::Key)
}

fn intact(bytes: &[u8]) -> Option<FrameHeader> {
    let header = FrameHeader::parse(bytes).ok().flatten()?;
    let frame = bytes.get(..header.frame_len)?;
    check_frame(frame).ok()
}

/// No wire segment has nearly as many batches: a greater number is garbage that looks like a frame.
const BATCHES_BEHIND_MAX: u64 = 1 << 16;

/// The greatest number of an intact frame that begins anywhere behind `from` and continues the segment.
fn last_frame_behind(bytes: &[u8], from: usize, next: BatchSeq) -> Option<BatchSeq> {
    let mut last = None;
    let mut offset = from;
    while offset < bytes.len() {
        match intact(&bytes[offset..]) {
            // A gap's frame is never in a segment, and may end at any number.
            Some(header)
                if header.kind != FrameKind::Gap
                    && header.seq >= next
                    && header.seq.0 - next.0 < BATCHES_BEHIND_MAX =>
            {
                last = last.max(Some(header.last_seq));
                offset += header.frame_len.max(1);
            }
            _ => offset += 1,
        }
    }
    last
}

fn read_header(bytes: &[u8]) -> Result<(LogId, BatchSeq), RecordError> {
    let header = bytes.get(..SEGMENT_HEADER_LEN).unwrap_or(bytes);
    let mut reader = RecordReader::open(header, SEGMENT_MAGIC, VERSION, "segment")?;
    Ok((LogId(reader.u128()?), BatchSeq(reader.u64()?)))
}

/// Runs the readers of all files over any bytes, as they are and with the checksums that they should have, so that
/// what is behind those is reached: the body of the fuzz target, and of the test that replays its corpus.
#[doc(hidden)]
pub fn fuzz_files(bytes: &[u8]) {
    check_files(bytes);
    let mut sealed = bytes.to_vec();
    crate::record::seal(&mut sealed);
    check_files(&sealed);
    let mut sealed = bytes.to_vec();
    if let Some((header, mut frames)) = sealed.split_at_mut_checked(SEGMENT_HEADER_LEN) {
        crate::record::seal(header);
        while let Ok(Some(header)) = FrameHeader::parse(frames)
            && let Some((frame, rest)) = frames.split_at_mut_checked(header.frame_len)
        {
            vedette_wire::seal_frame(frame);
            frames = rest;
        }
    }
    check_files(&sealed);
}

fn check_files(bytes: &[u8]) {
    let scan = scan_segment(bytes, LogId(1), BatchSeq(1));
    assert!(scan.good_len <= bytes.len());
    let mut expected = SEGMENT_HEADER_LEN;
    for (index, frame) in scan.frames.iter().enumerate() {
        assert_eq!((frame.seq.0, frame.offset), (1 + index as u64, expected));
        expected += frame.length;
    }
    if let ScanEnd::Corrupt { last } = scan.end {
        assert!(last.0 <= bytes.len() as u64 + BATCHES_BEHIND_MAX, "{last} can not be in these bytes");
    }
    if let Ok(gap) = parse_gap_file(bytes, LogId(1)) {
        assert_eq!(gap_file(LogId(1), gap), bytes);
    }
    if let Ok((replica, cursor)) = crate::state::parse_cursor_file(bytes) {
        let written = crate::state::cursor_file(replica, &cursor);
        assert_eq!(crate::state::parse_cursor_file(&written), Ok((replica, cursor)));
    }
    if let Ok(members) = crate::state::parse_members_file(bytes) {
        let written = crate::state::members_file(&members);
        assert_eq!(crate::state::parse_members_file(&written), Ok(members));
    }
}
