//! A replica that is killed while it copies from another goes on afterwards, and has everything once.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;
use vedette_storage::{LogListing, Lot, PartListing, Storage, StorageConfig};

const FOLDER: &str = "VEDETTE_TEST_COPY_FOLDER";
const POINT: &str = "VEDETTE_TEST_COPY_POINT";
const PASSES: &str = "VEDETTE_TEST_COPY_PASSES";
const BATCHES: u64 = 30;
const PAGE_BYTES: usize = 1 << 16;

static PASSED: AtomicUsize = AtomicUsize::new(0);

/// Aborts at the point that the parent has named, after it was passed often enough.
fn hook(name: &'static str) {
    if std::env::var(POINT).as_deref() == Ok(name) {
        let passes: usize = std::env::var(PASSES).ok().and_then(|passes| passes.parse().ok()).unwrap_or(0);
        if PASSED.fetch_add(1, Ordering::Relaxed) >= passes {
            std::process::abort();
        }
    }
}

fn rows(log: u128, seq: u64) -> Vec<Row> {
    let day = (seq % 3) as i64 * 86_400_000;
    vec![(0, DAY + seq as i64 * 1000 - day, vec![("m".to_owned(), seq as f64), (format!("n{log}"), 1.0)])]
}

fn writers() -> Vec<LogWriter> {
    vec![LogWriter::new("a", 1, 5), LogWriter::new("b", 2, 5)]
}

/// Everything is in the first; the second gets a few batches of each log by itself.
fn fill(first: &Storage, second: &Storage) {
    for mut writer in writers() {
        for seq in 1..=BATCHES {
            let whole = (DAY + seq as i64 * 1000 - 1000, DAY + seq as i64 * 1000);
            let append = writer.batch(whole, &rows(writer.log.0, seq));
            submit_durable(first, append.clone(), seq);
            if seq <= 7 {
                submit_durable(second, append, seq);
            }
            if seq % 10 == 0 {
                first.freeze(at(DAY));
            }
        }
    }
}

/// Not a test: what the parent starts. Copies what is lacking.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let open =
        |name: &str| StorageConfig { crash_point: Some(hook), ..config(&Path::new(&folder).join(name)) };
    let from = Storage::open(config(&Path::new(&folder).join("first")), at(DAY)).expect("opens");
    let to = Storage::open(open("second"), at(DAY)).expect("opens");
    let logs = LogListing::decode(&from.list_logs(None, PAGE_BYTES).expect("lists")).expect("reads").logs;
    let mut lot = Lot::new(to.compare(logs, at(DAY)).expect("compares"));
    let parts = from.list_parts(None, &lot.logs(), PAGE_BYTES).expect("lists");
    to.add_parts(&mut lot, PartListing::decode(&parts).expect("reads").parts, at(DAY));
    to.begin(&mut lot, at(DAY)).expect("claims");
    while let Some((part, logs)) = lot.next_part() {
        let mut export = from.export(part, &logs).expect("is there");
        let mut chunks = std::iter::from_fn(|| {
            hook("chunk");
            export.next_chunk().transpose()
        });
        to.import(&mut lot, &mut chunks, at(DAY)).expect("imports");
    }
}

/// Whether the child got through.
fn run_child(folder: &Path, point: &str, passes: usize) -> bool {
    let status = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(POINT, point)
        .env(PASSES, passes.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("runs");
    status.success()
}

#[test]
fn killed_at_every_step_of_a_copy() {
    let mut model = Model::default();
    for writer in writers() {
        (1..=BATCHES).for_each(|seq| model.apply(writer.log, &rows(writer.log.0, seq)));
    }
    for point in ["chunk", "copy_before_ingest", "copy_after_ingest"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let first = Storage::open(config(&path("first")), at(DAY)).expect("opens");
        let second = Storage::open(config(&path("second")), at(DAY)).expect("opens");
        fill(&first, &second);
        let expected = writers_of(&first);
        drop((first, second));
        let mut kills = 0;
        for passes in [0, 1, 2, 4, usize::MAX] {
            kills += usize::from(!run_child(folder.path(), point, passes));
            let second = Storage::open(config(&path("second")), at(DAY)).expect("opens");
            // Whatever is claimed is there: no log ends later than its samples.
            for log in second.writers().iter().flat_map(|writer| &writer.logs) {
                for seq in (1..=log.through.0)
                    .filter(|seq| log.gaps.iter().all(|gap| *seq < gap.from.0 || *seq > gap.to.0))
                {
                    let at = rows(log.log.0, seq)[0].1;
                    let found = dump(&second.view(support::at(0)), &[], at, at);
                    let name = format!("n{}", log.log.0);
                    assert!(
                        found.iter().any(|(labels, _)| labels.metric_name() == Some(&name)),
                        "{point}: {seq}"
                    );
                }
            }
            second.flush_and_close();
        }
        assert!(kills >= 2, "{point}: killed {kills} times");
        let merging = StorageConfig { merge_quiet_ms: 0, ..config(&path("second")) };
        let second = Storage::open(merging, at(DAY)).expect("opens");
        assert_eq!(writers_of(&second), expected, "{point}");
        check_range(&second.view(at(0)), &model, &[], 0, i64::MAX);
        second.freeze(at(DAY));
        (0..6).for_each(|_| second.maintain(at(DAY + 10 * 86_400_000)));
        check_range(&second.view(at(0)), &model, &[], 0, i64::MAX);
        // What was there twice is merged away: two logs, two series each.
        assert_eq!(second.statistics().parts_samples, 2 * BATCHES * 2, "{point}");
    }
}
