//! A writer with too many series keeps those that came first, and the log says which these were.

mod support;

use std::path::Path;

use proptest::prelude::*;
use support::*;
use vedette_model::SeriesSource;
use vedette_storage::{AppendOutcome, SeriesCount, Storage, StorageConfig};
use vedette_wire::BatchSeq;

fn open(folder: &Path, series_per_agent_max: usize) -> Storage {
    let config = StorageConfig { series_per_agent_max, ..config(folder) };
    Storage::open(config, at(0)).expect("opens")
}

/// One row of `count` series of a target.
fn row(target: u32, tick: i64, count: usize) -> Row {
    let series = (0..count).map(|index| (format!("t{target}_{index:03}"), tick as f64));
    (target, DAY + tick * 1000, series.collect())
}

fn batch(writer: &mut LogWriter, tick: i64, rows: &[Row]) -> vedette_storage::Append {
    writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), rows)
}

fn count(series: u64, masked: u64, series_max: u64) -> SeriesCount {
    SeriesCount { series, masked, series_max }
}

/// Appends; what was masked.
fn masked(storage: &Storage, append: vedette_storage::Append, seq: u64) -> Option<SeriesCount> {
    match submit(storage, append) {
        AppendOutcome::Durable { through, masked } if through == BatchSeq(seq) => masked,
        other => panic!("batch {seq}: {other:?}"),
    }
}

fn everything(storage: &Storage) -> Dump {
    dump(&storage.view(at(0)), &[], 0, i64::MAX)
}

fn names(storage: &Storage) -> Vec<String> {
    let request = vedette_model::SelectRequest { matchers: &[], start: at(0), end: at(i64::MAX) };
    storage.view(at(0)).label_values("__name__", &request).expect("reads")
}

#[test]
fn what_came_first_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 10);
    let mut writer = LogWriter::new("a", 1, 64);
    let append = batch(&mut writer, 1, &[row(0, 1, 3), row(1, 1, 4)]);
    assert_eq!(masked(&storage, append, 1), None);
    // The second target grows past the limit, a third one comes.
    let append = batch(&mut writer, 2, &[row(0, 2, 3), row(1, 2, 9), row(2, 2, 2)]);
    assert_eq!(masked(&storage, append, 2), Some(count(14, 4, 10)));
    let expected: Vec<String> = (0..3)
        .map(|index| format!("t0_{index:03}"))
        .chain((0..7).map(|index| format!("t1_{index:03}")))
        .collect();
    assert_eq!(names(&storage), expected);
    let statistics = storage.statistics();
    assert_eq!((statistics.samples_appended, statistics.samples_masked), (17, 4));
    assert_eq!(storage.writers()[0].series, count(14, 4, 10));
    // Data is whole all the same.
    assert_eq!(storage.writers()[0].complete_through, Some(at(DAY + 2000)));
    assert!(storage.freeze(at(DAY)));
    assert_eq!(names(&storage), expected);
}

#[test]
fn the_host_comes_before_its_targets() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 10);
    let mut writer = LogWriter::new("a", 1, 64);
    let append = batch(&mut writer, 1, &[row(1, 1, 30)]);
    assert_eq!(masked(&storage, append, 1), Some(count(30, 20, 10)));
    let append = batch(&mut writer, 2, &[row(0, 2, 5)]);
    assert_eq!(masked(&storage, append, 2), None);
    assert_eq!(names(&storage).iter().filter(|name| name.starts_with("t0")).count(), 5);
}

#[test]
fn what_is_pushed_has_no_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 5);
    let mut writer = LogWriter::new("a", 1, 64);
    let append = batch(&mut writer, 1, &[row(0, 1, 8), row(1, 1, 8)]);
    assert_eq!(masked(&storage, vedette_storage::Append { interval_ms: 0, ..append }, 1), None);
    assert_eq!(names(&storage).len(), 16);
    storage.flush_and_close();
    drop(storage);
    assert_eq!(names(&open(folder.path(), 5)).len(), 16);
}

#[test]
fn series_that_are_gone_count_until_the_segment_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 10);
    let mut writer = LogWriter::new("a", 1, 2);
    for (tick, expected) in [(1, None), (2, Some(count(12, 2, 10))), (3, None)] {
        if tick == 3 {
            writer.forget_series();
        }
        // Six series that never come again, in segments of two batches.
        let series = (0..6).map(|index| (format!("c{tick}_{index}"), 1.0)).collect();
        let append = batch(&mut writer, tick, &[(1, DAY + tick * 1000, series)]);
        assert_eq!(masked(&storage, append, tick as u64), expected);
    }
    assert_eq!(storage.writers()[0].series, count(6, 0, 10));
}

#[test]
fn another_limit_holds_from_the_next_segment_on() {
    for (before, after) in [(5, 8), (8, 5)] {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = open(folder.path(), before);
        let mut writer = LogWriter::new("a", 1, 4);
        let overflow = |limit: usize| Some(count(20, 20 - limit as u64, limit as u64));
        for tick in 1..=2 {
            let append = batch(&mut writer, tick, &[row(1, tick, 20)]);
            assert_eq!(masked(&storage, append, tick as u64), overflow(before));
        }
        let answers = everything(&storage);
        storage.flush_and_close();
        drop(storage);

        let storage = open(folder.path(), after);
        assert_eq!(everything(&storage), answers, "the log decides, not the configuration");
        for tick in 3..=4 {
            let append = batch(&mut writer, tick, &[row(1, tick, 20)]);
            assert_eq!(masked(&storage, append, tick as u64), overflow(before), "the segment is still open");
        }
        let append = batch(&mut writer, 5, &[row(1, 5, 20)]);
        assert_eq!(masked(&storage, append, 5), overflow(after));
        let answers = everything(&storage);
        storage.flush_and_close();
        drop(storage);
        assert_eq!(everything(&open(folder.path(), 1)), answers);
    }
}

#[test]
fn a_carried_segment_keeps_its_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 5);
    let mut writer = LogWriter::new("a", 1, 64);
    masked(&storage, batch(&mut writer, 1, &[row(1, 1, 20)]), 1);
    // The log brings something in each generation, and its first one is long gone in the end.
    for tick in 2..=9 {
        masked(&storage, batch(&mut writer, tick, &[row(1, tick, 20)]), tick as u64);
        assert!(storage.freeze(at(DAY)));
    }
    assert!(storage.statistics().log_generations <= 4);
    let answers = everything(&storage);
    storage.flush_and_close();
    drop(storage);
    let storage = open(folder.path(), 9);
    assert_eq!(everything(&storage), answers);
    let found = masked(&storage, batch(&mut writer, 10, &[row(1, 10, 20)]), 10);
    assert_eq!(found, Some(count(20, 15, 5)), "carried with the segment");
}

#[test]
fn a_segment_that_comes_again_keeps_its_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 5);
    let mut writer = LogWriter::new("a", 1, 64);
    let key = batch(&mut writer, 1, &[row(1, 1, 20)]);
    masked(&storage, key.clone(), 1);
    storage.flush_and_close();
    drop(storage);
    let storage = open(folder.path(), 9);
    // A frame that does not decode makes the storage forget the segment: it has to come again.
    let next = batch(&mut writer, 2, &[row(1, 2, 20)]);
    let mut broken = next.clone();
    let last = broken.frame.len() - 1;
    broken.frame[last] ^= 0x55;
    assert!(matches!(submit(&storage, broken), AppendOutcome::Refused(_)));
    assert_eq!(submit(&storage, key), AppendOutcome::Known { through: BatchSeq(1) });
    assert_eq!(masked(&storage, next, 2), Some(count(20, 15, 5)));
    let answers = everything(&storage);
    storage.flush_and_close();
    drop(storage);
    assert_eq!(everything(&open(folder.path(), 7)), answers);
}

#[test]
fn a_log_from_before_the_limit_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = open(folder.path(), 100);
    let mut writer = LogWriter::new("a", 1, 2);
    for tick in 1..=3 {
        masked(&storage, batch(&mut writer, tick, &[row(1, tick, 20)]), tick as u64);
    }
    let answers = everything(&storage);
    storage.flush_and_close();
    drop(storage);
    forget_segment_entries(folder.path());
    let storage = open(folder.path(), 5);
    assert_eq!(everything(&storage), answers);
    assert_eq!(masked(&storage, batch(&mut writer, 4, &[row(1, 4, 20)]), 4), None, "the segment is open");
    assert_eq!(masked(&storage, batch(&mut writer, 5, &[row(1, 5, 20)]), 5), Some(count(20, 15, 5)));
}

/// Makes of the log what releases without the limit wrote.
fn forget_segment_entries(folder: &Path) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, folder).expect("lists");
    let db = rocksdb::DB::open_cf(&options, folder, &names).expect("opens");
    let mut forgotten = 0;
    for name in names.iter().filter(|name| name.starts_with("log-")) {
        let family = db.cf_handle(name).expect("there");
        let keys = db.iterator_cf(&family, rocksdb::IteratorMode::Start).map(|item| item.expect("reads").0);
        for key in keys.filter(|key| key.len() == 32) {
            db.delete_cf(&family, key).expect("deletes");
            forgotten += 1;
        }
    }
    assert_eq!(forgotten, 2, "one entry a segment");
}

/// Growing and shrinking targets, restarts under other limits and freezes change no answer.
fn check(steps: &[(u32, usize, u8)], limits: &[usize]) {
    let (once, restarted) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let mut storage = open(restarted.path(), limits[0]);
    let mut writer = LogWriter::new("a", 1, 3);
    let mut appends = Vec::new();
    let mut seen = Vec::new();
    for (tick, (target, series, what)) in (1..).zip(steps) {
        let append = batch(&mut writer, tick, &[row(*target, tick, *series)]);
        seen.push(masked(&storage, append.clone(), tick as u64));
        appends.push(append);
        match what {
            0 => {
                let answers = everything(&storage);
                storage.flush_and_close();
                drop(storage);
                storage = open(restarted.path(), limits[tick as usize % limits.len()]);
                assert_eq!(everything(&storage), answers, "after {tick}");
            }
            1 => drop(storage.freeze(at(DAY))),
            _ => {}
        }
    }
    if limits.iter().all(|limit| *limit == limits[0]) {
        let other = open(once.path(), limits[0]);
        for ((append, seq), expected) in appends.into_iter().zip(1..).zip(seen) {
            assert_eq!(masked(&other, append, seq), expected);
        }
        assert_eq!(everything(&other), everything(&storage));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn restarts_under_other_limits_change_no_answer(
        steps in proptest::collection::vec((0u32..3, 1usize..12, 0u8..6), 1..24),
        limits in proptest::collection::vec(1usize..16, 1..4),
    ) {
        check(&steps, &limits);
    }
}
