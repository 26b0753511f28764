//! The process is killed at named points and at random; what was acknowledged is there afterwards, once.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::*;
use vedette_storage::{AppendOutcome, Storage, StorageConfig};

const FOLDER: &str = "VEDETTE_TEST_CRASH_FOLDER";
const POINT: &str = "VEDETTE_TEST_CRASH_POINT";
const PASSES: &str = "VEDETTE_TEST_CRASH_PASSES";
const BATCHES_MAX: u64 = 60;

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

fn crash_config(path: &Path) -> StorageConfig {
    StorageConfig { crash_point: Some(hook), ..config(path) }
}

fn rows(seq: u64) -> Vec<Row> {
    let values = vec![("m".to_owned(), seq as f64), (format!("n{}", seq % 5), -(seq as f64))];
    vec![(0, DAY + seq as i64 * 1000, values)]
}

/// Not a test: what the parent starts. Goes on where the log ends, and says what was acknowledged.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let storage = Storage::open(crash_config(Path::new(&folder)), at(DAY)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 5);
    let through = storage.resume(writer.log).through.0;
    writer.seq = through;
    for seq in through + 1..=through + BATCHES_MAX {
        let whole = (DAY + seq as i64 * 1000 - 1000, DAY + seq as i64 * 1000);
        match submit(&storage, writer.batch(whole, &rows(seq))) {
            AppendOutcome::Durable { through, .. } => println!("ack {}", through.0),
            other => panic!("{other:?}"),
        }
        std::io::stdout().flush().expect("the parent reads");
        match seq % 7 {
            0 | 3 => drop(storage.freeze(at(DAY))),
            5 => storage.maintain(at(DAY)),
            _ => {}
        }
    }
}

fn spawn(folder: &Path, point: &str, passes: usize) -> Child {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(POINT, point)
        .env(PASSES, passes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Reads acknowledgements until the child ends, or kills it after `acks_max` of them; gives the last.
fn watch(mut child: Child, acks_max: usize) -> u64 {
    let mut last = 0;
    let mut acks = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("text");
        // The test harness may have written its own words before.
        if let Some(seq) = line.split("ack ").nth(1).and_then(|seq| seq.trim().parse().ok()) {
            last = seq;
            acks += 1;
            if acks == acks_max {
                child.kill().expect("is killed");
            }
        }
    }
    child.wait().expect("has ended");
    last
}

fn check(folder: &Path, acknowledged: u64, what: &str) {
    let storage = Storage::open(config(folder), at(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let writer = LogWriter::new("a", 1, 5);
    let through = storage.resume(writer.log).through.0;
    assert!(through >= acknowledged, "{what}: {acknowledged} was acknowledged, {through} is there");
    assert!(through <= acknowledged + 1, "{what}: {through} is there, {acknowledged} was acknowledged");
    let mut model = Model::default();
    (1..=through).for_each(|seq| model.apply(writer.log, &rows(seq)));
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
    storage.flush_and_close();
}

#[test]
fn killed_at_every_named_point() {
    for point in [
        "log_before_write",
        "log_after_write",
        "freeze_before_write",
        "freeze_before_ingest",
        "freeze_after_ingest",
        "merge_before_ingest",
        "merge_after_ingest",
        "drop_generation",
        "garbage",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut last = 0;
        for passes in [0, 2, 1] {
            let acknowledged = watch(spawn(folder.path(), point, passes), usize::MAX);
            last = last.max(acknowledged);
            check(folder.path(), last, point);
        }
    }
}

#[test]
fn killed_at_random() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut last = 0;
    let mut seed = 0x2545_f491u32;
    for round in 0..12 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let acknowledged = watch(spawn(folder.path(), "", 0), 1 + (seed >> 24) as usize % 40);
        last = last.max(acknowledged);
        check(folder.path(), last, &format!("round {round}"));
    }
}
