//! The disk itself: it loses what it should, and keeps what it must.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use rustix::io::Errno;
use vedette_tests::{Disk, Fault, Loss, Operation};

/// A disk on which `act` has worked and then the power was lost, and the folder that it is in, which outlives it.
fn after(
    loss: Loss,
    seed: u64,
    act: impl Fn(&Disk) -> Result<()>,
) -> Result<Option<(tempfile::TempDir, Disk)>> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(None) };
    act(&disk)?;
    disk.restore(loss, seed)?;
    Ok(Some((dir, disk)))
}

/// What of `path` there is after everything that was not synced is lost.
fn left(path: &str, act: impl Fn(&Path) -> Result<()>) -> Result<Option<String>> {
    let Some((_dir, disk)) = after(Loss::All, 0, |disk| act(disk.path()))? else { return Ok(None) };
    Ok(Some(fs::read_to_string(disk.path().join(path)).unwrap_or_else(|error| error.kind().to_string())))
}

#[track_caller]
fn check(expected: &str, path: &str, act: impl Fn(&Path) -> Result<()>) {
    if let Some(left) = left(path, act).expect("the disk works") {
        assert_eq!(left, expected);
    }
}

const GONE: &str = "entity not found";

fn sync(path: &Path) -> Result<()> {
    Ok(File::open(path)?.sync_all()?)
}

fn synced_file(folder: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(folder.join(name), text)?;
    sync(&folder.join(name))?;
    sync(folder)
}

#[test]
fn bytes_are_there_when_file_and_folder_were_synced() {
    check("synced", "a", |root| synced_file(root, "a", "synced"));
    check(GONE, "a", |root| Ok(fs::write(root.join("a"), "text")?));
    check("", "a", |root| {
        fs::write(root.join("a"), "text")?;
        sync(root)
    });
    check(GONE, "a", |root| {
        fs::write(root.join("a"), "text")?;
        sync(&root.join("a"))
    });
}

#[test]
fn what_was_written_after_the_sync_is_undone() {
    check("one", "a", |root| {
        synced_file(root, "a", "one")?;
        OpenOptions::new().append(true).open(root.join("a"))?.write_all(b", two")?;
        Ok(())
    });
    check("one, two", "a", |root| {
        synced_file(root, "a", "one")?;
        let mut file = OpenOptions::new().append(true).open(root.join("a"))?;
        file.write_all(b", two")?;
        Ok(file.sync_data()?)
    });
    check("one", "a", |root| {
        synced_file(root, "a", "one")?;
        let file = OpenOptions::new().write(true).open(root.join("a"))?;
        file.write_all_at(b"xxx", 0)?;
        file.set_len(0)?;
        Ok(file.write_all_at(b"yyyyyyy", 2000)?)
    });
    check("one", "a", |root| {
        synced_file(root, "a", "one")?;
        File::create(root.join("a"))?.write_all(b"replaced in place")?;
        Ok(())
    });
}

#[test]
fn names_are_as_their_folder_was_when_it_was_synced() {
    check("old", "a", |root| {
        synced_file(root, "a", "old")?;
        fs::write(root.join("draft"), "new")?;
        sync(&root.join("draft"))?;
        Ok(fs::rename(root.join("draft"), root.join("a"))?)
    });
    check("new", "a", |root| {
        synced_file(root, "a", "old")?;
        fs::write(root.join("draft"), "new")?;
        sync(&root.join("draft"))?;
        fs::rename(root.join("draft"), root.join("a"))?;
        sync(root)
    });
    // Renamed and the rename made durable, but not the bytes.
    check("", "a", |root| {
        synced_file(root, "a", "old")?;
        fs::write(root.join("draft"), "new")?;
        fs::rename(root.join("draft"), root.join("a"))?;
        sync(root)
    });
    check("there again", "a", |root| {
        synced_file(root, "a", "there again")?;
        Ok(fs::remove_file(root.join("a"))?)
    });
    check(GONE, "a", |root| {
        synced_file(root, "a", "gone")?;
        fs::remove_file(root.join("a"))?;
        sync(root)
    });
    check("linked", "b", |root| {
        synced_file(root, "a", "linked")?;
        fs::hard_link(root.join("a"), root.join("b"))?;
        fs::remove_file(root.join("a"))?;
        sync(root)
    });
}

#[test]
fn a_folder_is_lost_with_all_in_it_unless_the_one_above_was_synced() {
    let make = |root: &Path| {
        fs::create_dir(root.join("folder"))?;
        synced_file(&root.join("folder"), "a", "text")
    };
    check(GONE, "folder/a", make);
    check("text", "folder/a", |root| {
        make(root)?;
        sync(root)
    });
    // A rename from folder to folder happens as a whole.
    check("text", "a", |root| {
        make(root)?;
        sync(root)?;
        fs::rename(root.join("folder/a"), root.join("a"))?;
        sync(&root.join("folder"))
    });
}

/// 40 sectors, the first 20 of them synced.
fn half_synced(disk: &Disk) -> Result<()> {
    let path = disk.path().join("a");
    let mut file = File::create(&path)?;
    for sector in 1..=40 {
        file.write_all(&[sector; 512])?;
        if sector == 20 {
            file.sync_data()?;
            sync(disk.path())?;
        }
    }
    Ok(())
}

/// The first bytes of the sectors that were not synced, and whether what was synced is intact.
fn unsynced_sectors(loss: Loss, seed: u64) -> Result<Option<Vec<u8>>> {
    let Some((_dir, disk)) = after(loss, seed, half_synced)? else { return Ok(None) };
    let bytes = fs::read(disk.path().join("a"))?;
    let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
    ensure!(bytes.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "a sector is torn");
    ensure!((1..=20).eq(sectors[..20].iter().copied()), "what was synced is gone");
    ensure!(sectors.iter().zip(1..).all(|(found, written)| *found == written || *found == 0));
    Ok(Some(sectors[20..].to_vec()))
}

#[test]
fn what_was_not_synced_may_be_there_in_part() -> Result<()> {
    let (mut cut, mut zeros, mut holes) = (0, 0, 0);
    for seed in 0..60 {
        let Some(later) = unsynced_sectors(Loss::Later, seed)? else { return Ok(()) };
        let Some(some) = unsynced_sectors(Loss::Some, seed)? else { return Ok(()) };
        ensure!(unsynced_sectors(Loss::Some, seed)?.as_ref() == Some(&some), "a seed says it all");
        let end = later.iter().position(|sector| *sector == 0).unwrap_or(later.len());
        ensure!(later[end..].iter().all(|sector| *sector == 0), "in order: {later:?}");
        cut += u32::from(later.len() < 20);
        zeros += u32::from(end < later.len());
        holes += u32::from(some.windows(2).any(|pair| pair[0] == 0 && pair[1] != 0));
    }
    ensure!(cut > 5 && zeros > 5 && holes > 20, "{cut} were cut, {zeros} ended in zeros, {holes} had holes");
    Ok(())
}

#[test]
fn power_goes_at_an_operation_and_everything_fails_after_it() -> Result<()> {
    for operations in 1..8 {
        let dir = tempfile::tempdir()?;
        let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
        disk.cut_power_after(operations);
        // Four operations, three times over: create, write, sync, sync of the folder.
        let written =
            (0..3).take_while(|number| synced_file(disk.path(), &number.to_string(), "text").is_ok());
        let written = written.count() as u64;
        ensure!(disk.is_off() && fs::read_dir(disk.path()).is_err());
        ensure!(written == (operations - 1) / 4, "{written} files after {operations} operations");
        disk.restore(Loss::All, 0)?;
        let there = fs::read_dir(disk.path())?.count() as u64;
        ensure!(there == operations / 4, "{there} files are there after {operations} operations");
    }
    Ok(())
}

#[test]
fn after_a_failed_sync_a_good_one_saves_only_what_was_written_since() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    synced_file(disk.path(), "a", "")?;
    let mut file = OpenOptions::new().read(true).append(true).open(disk.path().join("a"))?;
    file.write_all(&[1; 512])?;
    disk.set_faults(&[Fault { operation: Operation::Sync, skip: 0, times: 1, errno: Errno::IO }]);
    let failed = file.sync_all().map_err(|error| error.raw_os_error());
    ensure!(failed == Err(Some(Errno::IO.raw_os_error())) && disk.faults_left() == 0);
    file.write_all(&[2; 512])?;
    file.sync_all()?;
    // The cache has it, as if nothing were wrong.
    let mut seen = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut seen)?;
    ensure!(seen[0] == 1 && seen[512] == 2);
    drop(file);
    disk.restore(Loss::All, 0)?;
    let bytes = fs::read(disk.path().join("a"))?;
    ensure!(bytes[..512] == [0; 512] && bytes[512..] == [2; 512]);
    Ok(())
}
