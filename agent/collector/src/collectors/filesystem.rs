//! Sizes of the mounted file systems.
//!
//! A mount whose server is gone blocks whoever asks it for its size, for hours and unkillably. So asking is left to
//! threads of its own ([`Prober`]), and a mount that does not answer is told as an error and not asked again until
//! its thread comes back. Most hosts have no such mounts: what is in memory or an ext4 reached by way of these alone is
//! asked without a thread.

mod mounts;
mod prober;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::CollectError;
use crate::filter::Filter;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

use mounts::{Mount, MountTable};
use prober::{Answer, Prober};

const MOUNT_POINTS_EXCLUDE: &str =
    "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
const FS_TYPES_EXCLUDE: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$";
const MOUNT_TIMEOUT: Duration = Duration::from_secs(5);
const STAT_WORKERS: u32 = 4;

/// The label `device_error` of a mount that does not answer.
const TIMEOUT_ERROR: &str = "mountpoint timeout";

struct Filesystem {
    table: MountTable,
    prober: Prober,
    /// Beside the mounts of `table`.
    answers: Vec<Answer>,
}

/// What a file system says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    size_bytes: f64,
    free_bytes: f64,
    available_bytes: f64,
    files: f64,
    files_free: f64,
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let mount_points =
        Filter::take(parameters, ("mount-points-exclude", MOUNT_POINTS_EXCLUDE), "mount-points-include")?;
    let types = Filter::take(parameters, ("fs-types-exclude", FS_TYPES_EXCLUDE), "fs-types-include")?;
    let timeout = parameters.take_duration("mount-timeout", MOUNT_TIMEOUT)?;
    let workers = parameters.take_number("stat-workers", STAT_WORKERS)?;
    let table = MountTable::new(mount_points, types, paths);
    let prober = Prober::new(Arc::new(statfs), workers.max(1) as usize, timeout);
    Ok(Box::new(Filesystem { table, prober, answers: Vec::new() }))
}

impl Collector for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let mounts = self.table.read(sources)?;
        self.prober.probe(mounts.iter().map(|mount| (&mount.path, mount.is_prompt)), &mut self.answers);
        self.write(out);
        Ok(())
    }
}

impl Filesystem {
    fn write(&self, out: &mut Gathered) {
        let all = || self.table.mounts().iter().zip(&self.answers);
        let told = || all().filter(|(mount, _)| !mount.is_hidden);
        let mut family = out.family(
            "node_filesystem_device_error",
            Gauge,
            "Whether an error occurred while getting statistics for the given device.",
        );
        for (mount, answer) in told() {
            if let Some(error) = error_label(answer) {
                family.sample(&mount.labels(error), f64::from(u8::from(!error.is_empty())));
            }
        }
        let mut family = out.family("node_filesystem_readonly", Gauge, "Filesystem read-only status.");
        for (mount, answer) in told() {
            if let Some(error) = error_label(answer) {
                family.sample(&mount.labels(error), f64::from(u8::from(mount.is_readonly)));
            }
        }
        for (name, help, pick) in USAGES {
            let mut family = out.family(name, Gauge, help);
            for (mount, answer) in told() {
                if let Answer::Usage(usage) = answer {
                    family.sample(&mount.labels(""), pick(usage));
                }
            }
        }
        let mut family = out.family("node_filesystem_mount_info", Gauge, "Filesystem mount information.");
        for (mount, answer) in all() {
            if let Answer::Usage(_) = answer {
                family.sample(&mount.info_labels(), 1.0);
            }
        }
    }
}

type Pick = fn(&Usage) -> f64;

/// Name, help and value of what is told of a file system that answers.
const USAGES: [(&str, &str, Pick); 6] = [
    ("node_filesystem_size_bytes", "Filesystem size in bytes.", |usage| usage.size_bytes),
    ("node_filesystem_free_bytes", "Filesystem free space in bytes.", |usage| usage.free_bytes),
    ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.", |usage| {
        usage.available_bytes
    }),
    ("node_filesystem_files", "Filesystem total file nodes.", |usage| usage.files),
    ("node_filesystem_files_free", "Filesystem total free file nodes.", |usage| usage.files_free),
    (
        "node_filesystem_purgeable_bytes",
        "Filesystem space available including purgeable space (MacOS specific).",
        |_| 0.0,
    ),
];

/// Empty where all is well; none where nothing is known yet.
fn error_label(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Usage(_) => Some(""),
        Answer::Error(error) => Some(error),
        Answer::Timeout => Some(TIMEOUT_ERROR),
        Answer::Unknown => None,
    }
}

impl Mount {
    fn labels<'a>(&'a self, error: &'a str) -> [(&'static str, &'a str); 4] {
        [
            ("device", &self.device),
            ("device_error", error),
            ("fstype", &self.fs_type),
            ("mountpoint", &self.mount_point),
        ]
    }

    fn info_labels(&self) -> [(&'static str, &str); 4] {
        [
            ("device", &self.device),
            ("major", &self.major),
            ("minor", &self.minor),
            ("mountpoint", &self.mount_point),
        ]
    }
}

fn statfs(path: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::statfs(path)?;
    let block_bytes = stat.f_bsize as f64;
    Ok(Usage {
        size_bytes: stat.f_blocks as f64 * block_bytes,
        free_bytes: stat.f_bfree as f64 * block_bytes,
        available_bytes: stat.f_bavail as f64 * block_bytes,
        files: stat.f_files as f64,
        files_free: stat.f_ffree as f64,
    })
}

#[cfg(test)]
mod tests;
