//! The disk runs full and is freed again, under a running storage.

mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::*;
use vedette_storage::{AppendOutcome, Storage, StorageFault};

/// A small tmpfs, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves `left` bytes free.
    fn fill(&self, left: usize) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = std::fs::File::create(&path).expect("creates");
        let mut written = 0u64;
        while file.write_all(&[1; 65_536]).is_ok() {
            written += 65_536;
        }
        file.set_len(written.saturating_sub(left as u64)).expect("shrinks");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{:?} stays mounted", self.folder.path());
    }
}

#[test]
fn a_full_disk_fails_appends_and_heals() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "mounting a tmpfs is needed");
        println!("skipped: a tmpfs can not be mounted here");
        return;
    };
    let storage = Storage::open(config(&disk.path().join("data")), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let mut model = Model::default();
    let rows_of = |seq: u64| {
        let noise =
            |index: u64| f64::from_bits((seq * 1000 + index).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2);
        let values = (0..200).map(|index| (format!("m{index}"), noise(index))).collect();
        vec![(0, DAY + seq as i64 * 1000, values)]
    };
    let mut next = |storage: &Storage, model: &mut Model| {
        let seq = storage.resume(writer.log).through.0 + 1;
        if seq != writer.seq + 1 {
            writer.seq = seq - 1;
            writer.start_segment();
        }
        let whole = (DAY + seq as i64 * 1000 - 1000, DAY + seq as i64 * 1000);
        let append = writer.batch(whole, &rows_of(seq));
        let outcome = submit(storage, append);
        if matches!(outcome, AppendOutcome::Durable { .. }) {
            model.apply(writer.log, &rows_of(seq));
        }
        outcome
    };
    for _ in 0..50 {
        assert!(matches!(next(&storage, &mut model), AppendOutcome::Durable { .. }));
    }
    assert!(storage.freeze(at(DAY)));
    let filler = disk.fill(200_000);
    let failed = (0..5000)
        .map(|_| next(&storage, &mut model))
        .find(|outcome| !matches!(outcome, AppendOutcome::Durable { .. }));
    assert!(matches!(failed, Some(AppendOutcome::Failed(StorageFault::Disk(_)))), "{failed:?}");
    // Nothing gets better by itself, reading goes on, and nothing stops.
    storage.maintain(at(DAY));
    assert!(storage.statistics().faulted);
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
    std::fs::remove_file(filler).expect("frees the disk");
    for tick in 1..10 {
        storage.maintain(at(DAY + tick * 5000));
    }
    let statistics = storage.statistics();
    assert!(!statistics.faulted && statistics.reopens == 1, "{statistics:?}");
    // A batch that failed may be there: its bytes were written, the sync was not.
    let through = storage.resume(vedette_wire::LogId(1)).through.0;
    (1..=through).for_each(|seq| model.apply(vedette_wire::LogId(1), &rows_of(seq)));
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
    for _ in 0..50 {
        assert!(matches!(next(&storage, &mut model), AppendOutcome::Durable { .. }));
    }
    assert!(storage.freeze(at(DAY)));
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
}
