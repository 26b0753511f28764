//! A disk with a volatile cache, mounted under a program's folder: what was not synced is lost with the power.
//!
//! ```text
//! write, truncate ──▶ seen by programs ──fsync of the file──▶ on the disk
//! create, link, rename, unlink, mkdir ──▶ seen ──fsync of the folder──▶ on the disk
//! ```
//!
//! That is all that POSIX promises, and less than most file systems do: a file that was synced loses its name as long as
//! its folder was not, and a rename is undone. What was not synced is not always lost, which is worse: see [`Loss`]. Being
//! mounted, it sees whatever reaches the kernel, by whichever library.
//!
//! `content` and `model` decide, `fuse` is the driver. Modes, owners and times of files are durable at once, and a write to
//! a shared mapping is seen when the kernel writes it back.

mod content;
mod fuse;
mod model;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use fuser::{BackgroundSession, Config, MountOption, spawn_mount};
use rustix::io::Errno;

use self::fuse::Driver;
use self::model::Model;
use crate::{GENEROUS, eventually};

/// What becomes of what was not synced when the power goes. Which bytes and names, the seed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    All,
    /// In each file, and of the names, what came first is there, as on a file system that writes in order. It ends at a
    /// sector or a page of the cache; where bytes are missing, the file may be as long as if they were there.
    Later,
    /// Any of it is there, sector by sector or page by page, with zeros or what was there before in between.
    Some,
}

impl Loss {
    /// Every kind.
    pub const EACH: [Self; 3] = [Self::All, Self::Later, Self::Some];
}

/// What programs ask of a disk that changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Bytes or the length of a file.
    Write,
    /// fsync or fdatasync of a file.
    Sync,
    /// fsync of a folder.
    SyncFolder,
    /// Names: create, link, rename, remove.
    Names,
}

/// Operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Of which kind.
    pub operation: Operation,
    /// How many of that kind go well before.
    pub skip: u64,
    /// How many fail then.
    pub times: u64,
    /// With what. After a sync that failed, the kernel holds what should have been synced for clean: it is never
    /// written, unless the program writes it again.
    pub errno: Errno,
}

impl Fault {
    fn is_due(&mut self, operation: Operation) -> bool {
        if operation != self.operation {
            return false;
        }
        let left = if self.skip > 0 { &mut self.skip } else { &mut self.times };
        let is_due = *left > 0;
        *left = left.saturating_sub(1);
        is_due
    }
}

/// A disk, mounted until it is dropped.
pub struct Disk {
    model: Arc<Mutex<Model>>,
    path: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An empty disk, mounted at `path`, which is made; `None` where mounting is not permitted.
    pub fn mount(path: &Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(path)?;
        if !Path::new("/dev/fuse").exists() {
            crate::skip("/dev/fuse is not there: the kernel has no FUSE, or the container was not given it");
            return Ok(None);
        }
        let model = Arc::new(Mutex::new(Model::new(wall_clock())));
        let mut disk = Self { model, path: path.to_path_buf(), session: None };
        disk.attach()?;
        Ok(Some(disk))
    }

    fn attach(&mut self) -> Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("vedette-test-disk".to_owned())];
        let session = spawn_mount(Driver(Arc::clone(&self.model)), &self.path, &config);
        self.session = Some(session.with_context(|| format!("mounting {}", self.path.display()))?);
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        // Whoever asks every file system for its size, as any agent here does, holds it for a moment.
        eventually("nobody uses the disk", GENEROUS, || {
            let status = Command::new("umount").arg(&self.path).stderr(Stdio::null()).status()?;
            Ok(status.success().then_some(()))
        })?;
        session.join().with_context(|| self.path.display().to_string())
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the power go after so many more operations that change the disk: from then on everything fails, and nothing
    /// that a program does reaches the disk.
    pub fn cut_power_after(&self, operations: u64) {
        self.model().cut_power_after(operations);
    }

    /// Whether the power is gone.
    pub fn is_off(&self) -> bool {
        self.model().is_off()
    }

    /// Gives power again to a disk that nobody uses any more: it has what was synced, and of the rest what `loss` and
    /// `seed` say. Faults are over.
    pub fn restore(&mut self, loss: Loss, seed: u64) -> Result<()> {
        // Mounted anew, so that the kernel knows nothing of the time before.
        self.detach()?;
        self.model().lose_power(loss, seed);
        self.attach()
    }

    /// Plans faults, in place of those planned before.
    pub fn set_faults(&self, faults: &[Fault]) {
        self.model().set_faults(faults.to_vec());
    }

    /// How many planned faults have not happened, or not as often as planned.
    pub fn faults_left(&self) -> usize {
        self.model().faults_left()
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open keeps the mount until it ends.
        self.detach().ok();
    }
}

fn wall_clock() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(crate::unix_ms()).unwrap_or(0))
}
