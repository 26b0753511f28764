//! What comes between the freeze of a generation and its end.

mod support;

use std::sync::Mutex;

use support::*;
use vedette_storage::{Storage, StorageConfig};

/// What the hook appends; a hook is a plain function.
static WHILE_FREEZING: Mutex<Option<(Storage, Vec<vedette_storage::Append>)>> = Mutex::new(None);

fn append_while_freezing(place: &'static str) {
    if place != "freeze_after_ingest" {
        return;
    }
    let Some((storage, appends)) = WHILE_FREEZING.lock().expect("no panic").take() else { return };
    for (append, seq) in appends.into_iter().zip(3..) {
        submit_durable(&storage, append, seq);
    }
}

#[test]
fn a_segment_that_ends_while_its_generation_freezes_can_be_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = StorageConfig { crash_point: Some(append_while_freezing), ..config(folder.path()) };
    let storage = Storage::open(config.clone(), at(0)).expect("opens");
    // Batches 1 to 4 are a segment, of which 1 and 2 are in the first generation; 5 begins the next one.
    let mut writer = LogWriter::new("a", 1, 4);
    let mut model = Model::default();
    let mut batches: Vec<_> = (1..=5)
        .map(|tick| {
            let rows = vec![(0, DAY + tick * 1000, vec![("a".to_owned(), tick as f64)])];
            model.apply(writer.log, &rows);
            writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows)
        })
        .collect();
    let late = batches.split_off(2);
    for (append, seq) in batches.into_iter().zip(1..) {
        submit_durable(&storage, append, seq);
    }
    *WHILE_FREEZING.lock().expect("no panic") = Some((storage.clone(), late));
    assert!(storage.freeze(at(DAY)));
    assert!(WHILE_FREEZING.lock().expect("no panic").is_none(), "appended while it froze");
    storage.flush_and_close();
    drop(storage);

    let storage = Storage::open(config, at(0)).expect("opens again");
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
}
