//! Frames out of the log, for replicas that miss them.

use rocksdb::{Direction, IteratorMode};
use vedette_wire::{BatchSeq, FrameHeader, FrameKind, LogId};

use crate::db::{Db, generation_name};
use crate::keys;

/// The first frames of `wanted`, without a hole between them.
///
/// A log's numbers rise from generation to generation; what a generation repeats of an earlier one is passed over.
pub(crate) fn read_frames(
    db: &Db,
    generations: &[u64],
    log: LogId,
    wanted: (BatchSeq, BatchSeq),
    bytes_max: usize,
) -> Result<Vec<Vec<u8>>, rocksdb::Error> {
    let (BatchSeq(mut next), BatchSeq(to)) = wanted;
    let mut frames = Vec::new();
    let mut bytes = 0;
    for generation in generations {
        // One that was dropped meanwhile takes its frames along; what was read before it still holds.
        let Some(family) = db.cf_handle(&generation_name(*generation)) else { continue };
        // Number 0 is the log's entry.
        let first = keys::frame(log, next.max(1));
        for item in db.iterator_cf(&family, IteratorMode::From(&first, Direction::Forward)) {
            let (key, frame) = item?;
            if keys::parse_frame(&key) != Some((log, next)) {
                break;
            }
            let whole =
                matches!(FrameHeader::parse(&frame), Ok(Some(header)) if header.kind != FrameKind::Gap);
            if !whole || next > to || (bytes + frame.len() > bytes_max && !frames.is_empty()) {
                return Ok(frames);
            }
            bytes += frame.len();
            frames.push(frame.into_vec());
            next += 1;
        }
    }
    Ok(frames)
}

/// The first batch of a log that is in any generation; those after it are as well.
pub(crate) fn first_frame(
    db: &Db,
    generations: &[u64],
    log: LogId,
) -> Result<Option<BatchSeq>, rocksdb::Error> {
    let mut first: Option<u64> = None;
    for generation in generations {
        let Some(family) = db.cf_handle(&generation_name(*generation)) else { continue };
        let from = keys::frame(log, 1);
        if let Some(item) = db.iterator_cf(&family, IteratorMode::From(&from, Direction::Forward)).next()
            && let Some((found, seq)) = keys::parse_frame(&item?.0)
            && found == log
        {
            // A segment that was carried along stands in a later generation than what follows it.
            first = Some(first.map_or(seq, |first| first.min(seq)));
        }
    }
    Ok(first.map(BatchSeq))
}
