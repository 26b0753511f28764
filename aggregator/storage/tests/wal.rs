//! The log on disk: what is cut off or damaged there, what it gives back, and what it forgets.

mod support;

use std::path::{Path, PathBuf};

use support::*;
use vedette_storage::{AppendOutcome, OpenError, Storage, StorageConfig};
use vedette_wire::{BatchSeq, GapReason, LogId, encode_gap};

const BATCHES: u64 = 100;

fn row(seq: u64) -> Vec<Row> {
    vec![(0, DAY + seq as i64 * 1000, vec![("m".to_owned(), seq as f64)])]
}

fn next(writer: &mut LogWriter) -> vedette_storage::Append {
    let seq = writer.seq + 1;
    writer.batch((DAY + seq as i64 * 1000 - 1000, DAY + seq as i64 * 1000), &row(seq))
}

/// A closed folder whose batches are in RocksDB's log only.
fn written(folder: &Path) {
    let storage = Storage::open(config(folder), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    for seq in 1..=BATCHES {
        submit_durable(&storage, next(&mut writer), seq);
    }
    storage.flush_and_close();
}

fn wal(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let files = entries.map(|entry| entry.expect("an entry").path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| path.metadata().expect("a file").len()).expect("a log")
}

/// Opens after the file was changed: how many batches are there.
fn check(change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, OpenError> {
    let folder = tempfile::tempdir().expect("a folder");
    written(folder.path());
    let path = wal(folder.path());
    let mut bytes = std::fs::read(&path).expect("reads");
    change(&mut bytes);
    std::fs::write(&path, bytes).expect("writes");
    let storage = Storage::open(config(folder.path()), at(0))?;
    let through = storage.resume(LogId(1)).through.0;
    let mut model = Model::default();
    (1..=through).for_each(|seq| model.apply(LogId(1), &row(seq)));
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
    Ok(through)
}

#[test]
fn what_was_cut_off_at_the_end_is_passed_over() {
    assert_eq!(check(|_| {}).expect("opens"), BATCHES);
    for cut in [1, 9, 30] {
        assert_eq!(check(|bytes| bytes.truncate(bytes.len() - cut)).expect("opens"), BATCHES - 1);
    }
}

#[test]
fn what_a_loss_of_power_has_torn_is_cut_off() {
    // Many small records, then a large one, which alone was not synced.
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let mut model = Model::default();
    for seq in 1..=BATCHES {
        model.apply(LogId(1), &row(seq));
        submit_durable(&storage, next(&mut writer), seq);
    }
    let synced = std::fs::metadata(wal(folder.path())).expect("a log").len() as usize;
    let noise = |index: u64| f64::from_bits(index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
    let values = (0..10_000).map(|index| (format!("m{index}"), noise(index))).collect();
    let large = vec![(0, DAY + BATCHES as i64 * 1000 + 1000, values)];
    let times = (DAY + BATCHES as i64 * 1000, DAY + BATCHES as i64 * 1000 + 1000);
    submit_durable(&storage, writer.batch(times, &large), BATCHES + 1);
    storage.flush_and_close();
    drop(storage);
    let path = wal(folder.path());
    let bytes = std::fs::read(&path).expect("reads");
    assert!(bytes.len() > synced + 40_000, "{} bytes, {synced} of them before", bytes.len());
    let sectors = synced.div_ceil(512)..bytes.len() / 512;
    for sector in sectors.step_by(29) {
        let mut torn = bytes.clone();
        torn[sector * 512..(sector + 1) * 512].fill(0);
        let copy = tempfile::tempdir().expect("a folder");
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_file() {
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copies");
            }
        }
        std::fs::write(copy.path().join(path.file_name().expect("a name")), torn).expect("writes");
        for _ in 0..2 {
            let storage = Storage::open(config(copy.path()), at(0)).expect("opens");
            assert_eq!(storage.resume(LogId(1)).through.0, BATCHES, "sector {sector}");
            check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
            storage.flush_and_close();
        }
    }
}

#[test]
fn damage_in_the_middle_refuses_to_open_and_says_what_to_do() {
    for place in [4, 3, 2] {
        let refused = check(|bytes| {
            let at = bytes.len() / place;
            bytes[at] ^= 0x10;
        });
        let message = match refused {
            Err(error @ OpenError::Corrupt { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(message.contains("is damaged") && message.contains("restore a backup"), "{message}");
    }
}

#[test]
fn a_gap_over_batches_that_are_here_is_the_missing_part() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 2);
    let frames: Vec<_> = (0..10).map(|_| next(&mut writer)).collect();
    for (seq, frame) in (1..).zip(&frames[..6]) {
        submit_durable(&storage, frame.clone(), seq);
    }
    let gap = |from, to| writer.append(encode_gap(BatchSeq(from), BatchSeq(to), GapReason::SpoolLimit));
    // A peer had batches 3 to 6 of this gap, and all of the next.
    submit_durable(&storage, gap(3, 8), 8);
    assert_eq!(submit(&storage, gap(1, 5)), AppendOutcome::Known { through: BatchSeq(8) });
    submit_durable(&storage, frames[8].clone(), 9);
    for _ in 0..2 {
        let gaps = &storage.writers()[0].logs[0].gaps;
        assert_eq!(gaps.iter().map(|gap| (gap.from.0, gap.to.0)).collect::<Vec<_>>(), [(7, 8)]);
        assert_eq!(dump(&storage.view(at(0)), &[], 0, i64::MAX)[0].1.len(), 7);
        storage.flush_and_close();
        drop(storage);
        storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
    }
}

#[test]
fn frames_come_back_as_they_came_up_to_the_first_hole() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let appends: Vec<_> = (0..12).map(|_| next(&mut writer)).collect();
    for (seq, append) in (1..).zip(&appends[..9]) {
        submit_durable(&storage, append.clone(), seq);
        // Frames are in several generations: the segment is open, so none is dropped.
        if seq % 3 == 0 {
            assert!(storage.freeze(at(DAY)));
        }
    }
    let gap = writer.append(encode_gap(BatchSeq(10), BatchSeq(11), GapReason::SpoolLimit));
    let frames = |from, to, bytes_max| {
        storage.frames(LogId(1), BatchSeq(from), BatchSeq(to), bytes_max).expect("reads")
    };
    let sent = |range: std::ops::Range<usize>| {
        appends[range].iter().map(|append| append.frame.clone()).collect::<Vec<_>>()
    };
    assert_eq!(frames(1, 9, usize::MAX), sent(0..9));
    assert_eq!(frames(5, 7, usize::MAX), sent(4..7));
    assert_eq!(frames(5, 7, 1), sent(4..5));
    submit_durable(&storage, gap, 11);
    assert_eq!(frames(8, 12, usize::MAX), sent(7..9));
    assert!(frames(10, 12, usize::MAX).is_empty());
    assert!(storage.frames(LogId(2), BatchSeq(1), BatchSeq(9), usize::MAX).expect("reads").is_empty());
}

#[test]
fn logs_are_forgotten_with_what_they_brought() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = 86_400_000;
    let config = StorageConfig { retention_ms: day, ..config(folder.path()) };
    let generations = config.generations_max as i64;
    let mut storage = Storage::open(config.clone(), at(DAY)).expect("opens");
    let mut old = LogWriter::new("old", 1, 64);
    submit_durable(&storage, next(&mut old), 1);
    let mut live = LogWriter::new("live", 2, 64);
    for tick in 0..generations + 2 {
        let now = DAY + tick * day;
        let rows = vec![(0, now, vec![("m".to_owned(), 1.0)])];
        submit_durable(&storage, live.batch((now - 1000, now), &rows), tick as u64 + 1);
        let known = storage.writers().iter().any(|writer| writer.name == old.name);
        assert!(known || tick > 2, "retention has kept what it brought");
        storage.freeze(at(now));
        storage.maintain(at(now));
    }
    for _ in 0..2 {
        let writers = storage.writers();
        assert_eq!(writers.iter().map(|writer| &writer.name).collect::<Vec<_>>(), [&live.name]);
        assert_eq!(storage.resume(old.log).through, BatchSeq(0));
        assert_eq!(storage.resume(live.log).through, BatchSeq(live.seq));
        storage.flush_and_close();
        drop(storage);
        storage = Storage::open(config.clone(), at(DAY)).expect("opens again");
    }
}

#[test]
fn the_last_clone_may_be_dropped_by_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let (told, answers) = std::sync::mpsc::sync_channel(1);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let last = storage.clone();
    let done = Box::new(move |outcome| {
        released.recv().expect("the test goes on");
        drop(last);
        told.send(outcome).expect("the test waits");
    });
    storage.submit(next(&mut writer), done).expect("queued");
    drop(storage);
    release.send(()).expect("the writer waits");
    let outcome = answers.recv().expect("the writer lives");
    assert!(matches!(outcome, AppendOutcome::Durable { .. }), "{outcome:?}");
}
