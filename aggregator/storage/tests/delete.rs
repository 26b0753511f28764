//! Deleting series, and snapshots.

mod support;

use support::*;
use vedette_model::{Matcher, SelectRequest, SeriesSource as _, Timestamp};
use vedette_storage::{DeleteError, Storage};

const NOW: i64 = DAY + 3_600_000;

fn named(name: &str) -> [Matcher; 1] {
    [Matcher::equal("__name__", name)]
}

/// Two series, one of them deleted from the 10th to the 20th second, with ten seconds on both sides.
fn rows(seconds: std::ops::Range<i64>) -> Vec<Row> {
    let values = |second| vec![("x".to_owned(), second as f64), ("y".to_owned(), second as f64)];
    seconds.map(|second| (0, DAY + second * 1000, values(second))).collect()
}

fn write(storage: &Storage, writer: &mut LogWriter, seconds: std::ops::Range<i64>) {
    let complete = (DAY + seconds.start * 1000 - 1000, DAY + seconds.end * 1000 - 1000);
    let append = writer.batch(complete, &rows(seconds));
    submit_durable(storage, append, writer.seq);
}

fn delete(storage: &Storage, matchers: &[Matcher], from: i64, to: i64) -> Result<(), DeleteError> {
    storage.delete_series(matchers, (at(DAY + from * 1000), at(DAY + to * 1000)), at(NOW))
}

/// The seconds that are there.
fn seconds(storage: &Storage, name: &str) -> Vec<i64> {
    let found = dump(&storage.view(at(NOW)), &named(name), DAY, NOW);
    // The writer has long gone, so the series has ended.
    let samples = found.iter().flat_map(|(_, samples)| samples);
    let there = samples.filter(|(_, bits)| !vedette_model::is_stale(f64::from_bits(*bits)));
    there.map(|(at_ms, _)| (at_ms - DAY) / 1000).collect()
}

fn left() -> Vec<i64> {
    (0..10).chain(21..30).collect()
}

fn check(storage: &Storage) {
    assert_eq!(seconds(storage, "x"), left());
    assert_eq!(seconds(storage, "y"), (0..30).collect::<Vec<_>>());
}

#[test]
fn what_is_deleted_stays_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(NOW)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    write(&storage, &mut writer, 0..15);
    assert!(storage.freeze(at(NOW)));
    write(&storage, &mut writer, 15..25);
    // One part of the range is in a part, one in the head, and the last is to come.
    delete(&storage, &named("x"), 10, 20).expect("deletes");
    write(&storage, &mut writer, 25..30);
    check(&storage);

    // Over a restart, which reads the log again, a freeze and a merge.
    storage.flush_and_close();
    drop(storage);
    let storage = Storage::open(config(folder.path()), at(NOW)).expect("opens");
    check(&storage);
    assert!(storage.freeze(at(NOW)));
    check(&storage);
    storage.maintain(at(NOW));
    check(&storage);
    storage.flush_and_close();
    drop(storage);
    check(&Storage::open(config(folder.path()), at(NOW)).expect("opens"));
}

#[test]
fn cleaning_frees_the_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(NOW)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    write(&storage, &mut writer, 0..30);
    assert!(storage.freeze(at(NOW)));
    assert_eq!(storage.statistics().parts_samples, 60);
    delete(&storage, &named("x"), 10, 20).expect("deletes");
    assert_eq!(storage.statistics().parts_samples, 60);
    storage.clean_tombstones(at(NOW)).expect("cleans");
    assert_eq!(storage.statistics().parts_samples, 49);
    check(&storage);
    // All of a part.
    delete(&storage, &[Matcher::equal("job", "test")], -100, 100).expect("deletes");
    assert!(seconds(&storage, "y").is_empty());
    storage.clean_tombstones(at(NOW)).expect("cleans");
    assert_eq!(storage.statistics().parts_samples, 0);
    // What comes later is there, as is the same once more from a later log.
    write(&storage, &mut writer, 200..202);
    let mut later = LogWriter::new("a", 2, 64);
    write(&storage, &mut later, 5..7);
    assert_eq!(seconds(&storage, "x"), [5, 6, 200, 201]);
}

#[test]
fn a_series_of_which_nothing_is_left_is_not_listed() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(NOW)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    write(&storage, &mut writer, 0..30);
    delete(&storage, &named("x"), 0, 30).expect("deletes");
    let request = SelectRequest { matchers: &[], start: at(DAY), end: at(NOW) };
    assert_eq!(storage.view(at(NOW)).series(&request).expect("reads"), [labels("y")]);
    // Nothing matches, so nothing has to be remembered.
    for _ in 0..3000 {
        delete(&storage, &named("nothing"), 0, 30).expect("deletes");
    }
}

#[test]
fn deletions_are_bounded_and_forgotten_with_what_they_hid() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = vedette_storage::StorageConfig { retention_ms: 86_400_000, ..config(folder.path()) };
    let storage = Storage::open(short, at(NOW)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    write(&storage, &mut writer, 0..2000);
    let refused = (0..2000).find_map(|second| delete(&storage, &named("x"), second, second).err());
    assert!(matches!(refused, Some(DeleteError::TooMany { tombstones_max: 1024 })), "{refused:?}");
    storage.maintain(at(NOW + 2 * 86_400_000));
    let mut later = LogWriter::new("b", 2, 64);
    write(&storage, &mut later, 0..30);
    delete(&storage, &named("x"), 10, 20).expect("there is room again");
}

#[test]
fn a_snapshot_is_a_storage() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(&folder.path().join("data")), at(NOW)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    write(&storage, &mut writer, 0..15);
    assert!(storage.freeze(at(NOW)));
    write(&storage, &mut writer, 15..30);
    delete(&storage, &named("x"), 10, 20).expect("deletes");
    for (name, freeze) in [("frozen", true), ("logged", false)] {
        storage.snapshot(&folder.path().join(name), freeze, Timestamp::from_millis(NOW)).expect("copies");
    }
    // What comes later is not in it.
    write(&storage, &mut writer, 30..40);
    for name in ["frozen", "logged"] {
        let copy = Storage::open(config(&folder.path().join(name)), at(NOW)).expect("a copy opens");
        check(&copy);
    }
    let again = storage.snapshot(&folder.path().join("frozen"), true, at(NOW));
    assert!(again.is_err(), "it is there already");
}
