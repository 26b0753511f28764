//! What is to be made durable, when, and what is done when that fails.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, LogId};

use crate::config::SyncPolicy;
use crate::files::{Files, SpoolFile};
use crate::layout::SEGMENT_BYTES_MAX;
use crate::spool::Spool;

#[derive(Default)]
pub(crate) struct Unsynced {
    /// Segments that are finished.
    pub(crate) files: Vec<Finished>,
    pub(crate) folders: BTreeSet<PathBuf>,
    pub(crate) since: Option<Duration>,
    /// Segments whose sync has failed. The kernel holds their bytes for clean and would not write them again, so that
    /// the spool does: whole files, beside the old ones.
    pub(crate) doubtful: BTreeSet<PathBuf>,
}

/// A segment that grows no more.
pub(crate) struct Finished {
    pub(crate) log: LogId,
    pub(crate) last: BatchSeq,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn SpoolFile>,
}

/// Files to make durable, outside of any lock.
pub struct SyncTicket {
    files: Vec<(PathBuf, Arc<dyn SpoolFile>)>,
    folders: BTreeSet<PathBuf>,
    layer: Arc<dyn Files>,
}

/// What could not be made durable; for [`Spool::sync_failed`].
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SyncError {
    error: io::Error,
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl SyncTicket {
    /// Does it. May take as long as the disk likes.
    pub fn run(self) -> Result<(), SyncError> {
        let files = self.files.iter().try_for_each(|(_, file)| file.sync());
        let synced =
            files.and_then(|()| self.folders.iter().try_for_each(|folder| self.layer.sync_folder(folder)));
        synced.map_err(|error| SyncError {
            error,
            files: self.files.into_iter().map(|(path, _)| path).collect(),
            folders: self.folders,
        })
    }
}

impl Spool {
    /// What should be made durable now, by the policy. To be run outside of any lock.
    pub fn take_sync(&mut self, now: Now) -> Option<SyncTicket> {
        let SyncPolicy::Interval(interval) = self.config.sync else { return None };
        self.forget_acked(now);
        let since = self.unsynced.since?;
        (now.monotonic.saturating_sub(since) >= interval).then(|| self.sync_ticket())
    }

    /// What every member has on its disk need not be on this one.
    fn forget_acked(&mut self, now: Now) {
        let shelf = &self.shelf;
        self.unsynced.files.retain(|finished| finished.last > shelf.acked_by_all(finished.log, now));
        let Some(live) = shelf.live() else { return };
        let last = shelf.range(live).map_or(BatchSeq(0), |(_, last)| last);
        if self.unsynced.files.is_empty() && last <= shelf.acked_by_all(live, now) {
            self.unsynced.since = None;
        }
    }

    fn sync_ticket(&mut self) -> SyncTicket {
        self.counters.syncs += 1;
        let doubtful = std::mem::take(&mut self.unsynced.doubtful);
        let unsynced = std::mem::replace(&mut self.unsynced, Unsynced { doubtful, ..Unsynced::default() });
        let writer = self.writer.as_ref().map(|writer| (writer.path.clone(), Arc::clone(&writer.file)));
        SyncTicket {
            files: unsynced
                .files
                .into_iter()
                .map(|finished| (finished.path, finished.file))
                .chain(writer)
                .collect(),
            folders: unsynced.folders,
            layer: Arc::clone(&self.files),
        }
    }

    /// A sync failed: what is in those files may be lost, and the kernel will not say so again. They are written again,
    /// and the next batch begins a new file.
    pub fn sync_failed(&mut self, failed: SyncError) {
        self.counters.io_errors += 1;
        self.wants_key = true;
        if self.unsynced.doubtful.is_empty() {
            let (path, error) = (self.config.path.display(), &failed.error);
            warn!(%path, %error, "the spool's disk could not sync; what it may have lost is written again");
        }
        self.finish_writer_unsynced();
        self.unsynced.doubtful.extend(failed.files);
        self.unsynced.folders.extend(failed.folders);
    }

    /// Writes segments again whose sync has failed, as long as the disk takes them.
    pub(crate) fn rewrite_doubtful(&mut self) {
        while let Some(path) = self.unsynced.doubtful.first().cloned() {
            match self.rewrite(&path) {
                Ok(()) => {}
                // Freed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.counters.io_errors += 1;
                    debug!(path = %path.display(), %error, "a segment can not be written again yet");
                    return;
                }
            }
            self.unsynced.doubtful.remove(&path);
        }
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let bytes = self.files.read(path, 0, SEGMENT_BYTES_MAX)?;
        self.replace_file_synced(path, &bytes)
    }

    pub(crate) fn sync_now(&mut self) {
        if let Err(failed) = self.sync_ticket().run() {
            self.sync_failed(failed);
            self.rewrite_doubtful();
        }
    }
}
