use crate::error::CollectError;
use crate::paths::Paths;
use crate::proc_stat::{ProcStat, ProcStatFile};

/// What collectors share during one gather: where files are, one scratch buffer, and files that two of them read.
pub struct Sources {
    pub(crate) paths: Paths,
    /// For the content of one file at a time.
    pub(crate) scratch: Vec<u8>,
    proc_stat: ProcStatFile,
}

impl Sources {
    /// Opens nothing yet.
    pub fn new(paths: Paths) -> Self {
        Self { proc_stat: ProcStatFile::new(&paths), paths, scratch: Vec::new() }
    }

    /// From here on, shared files are read anew.
    pub(crate) fn begin_gather(&mut self) {
        self.proc_stat.forget();
    }

    /// `/proc/stat`, read once per gather: on large hosts it is the most expensive file of all.
    pub(crate) fn proc_stat(&mut self) -> Result<&ProcStat, CollectError> {
        self.proc_stat.read(&mut self.scratch)
    }
}
