//! Selections long enough to be read ahead by a second thread.

mod support;

use support::*;
use vedette_model::{Samples, SelectRequest, SeriesSource, SeriesStream};
use vedette_storage::{Storage, View};

const SERIES: usize = 600;
const TICKS: i64 = 400;

/// Half of it in a part and half in the head, so that most series are put together of two.
fn filled(folder: &std::path::Path) -> (Storage, Model) {
    let storage = Storage::open(config(folder), at(0)).expect("opens");
    let (mut writer, mut model) = (LogWriter::new("a", 1, 64), Model::default());
    for tick in 0..TICKS {
        let time = DAY + tick * 1000;
        let value = |series: usize| (series as i64 * tick) as f64 / 4.0;
        let values = (0..SERIES).map(|series| (format!("m{series}"), value(series))).collect();
        let rows = vec![(0, time, values)];
        let append = writer.batch((time - 1000, time), &rows);
        submit_durable(&storage, append, writer.seq);
        model.apply(writer.log, &rows);
        if tick == TICKS / 2 {
            assert!(storage.freeze(at(time)));
        }
    }
    (storage, model)
}

fn select(view: &View) -> Box<dyn SeriesStream + '_> {
    view.select(&SelectRequest { matchers: &[], start: at(0), end: at(i64::MAX) }).expect("selects")
}

#[test]
fn all_series_come_in_order_with_all_their_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let (storage, model) = filled(folder.path());
    let view = storage.view(at(DAY));
    let expected = model.dump(&[], 0, i64::MAX);
    // More at once than there may be helpers.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(dump(&view, &[], 0, i64::MAX), expected));
        }
    });
    // The end stays the end.
    let (mut stream, mut samples) = (select(&view), Samples::default());
    while stream.next_into(&mut samples).expect("reads").is_some() {}
    assert!(samples.is_empty());
    assert!(stream.next_into(&mut samples).expect("reads").is_none());
}

#[test]
fn whoever_stops_early_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (storage, _) = filled(folder.path());
    for taken in [0, 1, SERIES / 2, SERIES - 1] {
        let view = storage.view(at(DAY));
        let (mut stream, mut samples) = (select(&view), Samples::default());
        for _ in 0..taken {
            assert!(stream.next_into(&mut samples).expect("reads").is_some());
        }
    }
    // A reader that had been left behind would hold the database.
    storage.flush_and_close();
    drop(storage);
    Storage::open(config(folder.path()), at(0)).expect("opens again");
}
