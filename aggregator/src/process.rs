//! What this process uses, for the `process_*` metrics that every Prometheus client library has.

use std::fs;

use procfs::process::{LimitValue, Process};

/// One look at this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    /// User and system CPU time of all threads so far.
    pub(crate) cpu_seconds: f64,
    /// Open file descriptors.
    pub(crate) open_fds: u64,
    /// How many may be open; infinite where there is no limit.
    pub(crate) max_fds: f64,
    /// Virtual memory.
    pub(crate) virtual_bytes: f64,
    /// Resident memory.
    pub(crate) resident_bytes: f64,
}

impl Usage {
    /// Looks at `/proc/self`; none where that can not be read.
    pub(crate) fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            open_fds: open_descriptors(),
            max_fds: match limit {
                Ok(LimitValue::Value(limit)) => limit as f64,
                Ok(LimitValue::Unlimited) | Err(_) => f64::INFINITY,
            },
            virtual_bytes: stat.vsize as f64,
            resident_bytes: (stat.rss * procfs::page_size()) as f64,
        })
    }
}

/// How many threads this process has; 0 where that can not be read.
pub(crate) fn threads() -> u64 {
    let stat = Process::myself().and_then(|process| process.stat());
    stat.map_or(0, |stat| u64::try_from(stat.num_threads).unwrap_or(0))
}

/// The kernel counts them itself since 6.2; before that the folder has no size.
fn open_descriptors() -> u64 {
    let counted = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
    if counted > 0 {
        return counted;
    }
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::Usage;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::read().unwrap();
        assert!(usage.open_fds >= 3 && usage.max_fds >= usage.open_fds as f64, "{usage:?}");
        assert!(usage.resident_bytes > 100_000.0 && usage.virtual_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.cpu_seconds >= 0.0, "{usage:?}");
    }
}
