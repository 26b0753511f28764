//! A part whose bytes are not what was written, though RocksDB's checksums hold.

mod support;

use std::path::Path;

use support::*;
use vedette_model::{SelectRequest, SeriesSource};
use vedette_storage::Storage;

/// Kind of a part's value: columns of times (`FORMAT.md`).
const TIMES: u8 = 2;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A group of one column of so many times on a grid, sealed: some 16 bytes, whatever their number.
fn grid(count: u64) -> Vec<u8> {
    let mut column = vec![1];
    varint(&mut column, count);
    column.push(0);
    varint(&mut column, (DAY as u64) << 1);
    varint(&mut column, 1000 << 1);
    let mut value = vec![1, 0];
    varint(&mut value, column.len() as u64);
    value.extend(column);
    value
}

/// What reading all says after the times of all parts were replaced.
fn check(times: &[u8]) -> Result<usize, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    for tick in 0..5 {
        let rows = vec![(0, DAY + tick * 1000, vec![("m".to_owned(), tick as f64)])];
        let append = writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows);
        submit_durable(&storage, append, writer.seq);
    }
    assert!(storage.freeze(at(DAY)));
    storage.flush_and_close();
    drop(storage);
    replace_times(folder.path(), times);
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
    let view = storage.view(at(0));
    let request = SelectRequest { matchers: &[], start: at(0), end: at(i64::MAX) };
    let mut stream = view.select(&request).map_err(|error| error.to_string())?;
    let mut samples = vedette_model::Samples::default();
    let mut count = 0;
    while stream.next_into(&mut samples).map_err(|error| error.to_string())?.is_some() {
        count += samples.at_ms.len();
    }
    Ok(count)
}

fn replace_times(folder: &Path, times: &[u8]) {
    let options = rocksdb::Options::default();
    let names = rocksdb::DB::list_cf(&options, folder).expect("lists");
    let db = rocksdb::DB::open_cf(&options, folder, &names).expect("opens");
    let parts = db.cf_handle("parts").expect("there");
    let keys = db.iterator_cf(&parts, rocksdb::IteratorMode::Start).map(|item| item.expect("reads").0);
    let is_times = |key: &[u8]| key.len() == 17 && key[..4] != [0; 4] && key[12] == TIMES;
    let keys: Vec<_> = keys.filter(|key| is_times(key)).collect();
    assert_eq!(keys.len(), 1);
    db.put_cf(&parts, &keys[0], times).expect("writes");
}

#[test]
fn a_column_can_not_ask_for_more_than_its_part_has() {
    assert_eq!(check(&grid(5)), Ok(5));
    // Within what a day of milliseconds can hold, and 690 MB.
    for count in [6, 86_400_000, u64::MAX] {
        let error = check(&grid(count)).expect_err("damaged");
        assert!(error.contains("column of times") && error.contains("damaged"), "{count}: {error}");
    }
    let error = check(&grid(4)).expect_err("damaged");
    assert!(error.contains("not as long as its times") || error.contains("at most 4"), "{error}");
}
