//! What is mounted where, from mountinfo.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::filter::Filter;
use crate::parse;
use crate::paths::Paths;
use crate::sources::Sources;

/// File systems of this machine that know their size by heart: to ask one reads no disk and waits for nobody. Others that
/// are local may wait in rare cases, such as xfs and btrfs for work of their own, and fat for a count of its clusters.
const PROMPT_TYPES: [&str; 5] = ["ext2", "ext3", "ext4", "ramfs", "tmpfs"];

/// With quotas of projects, a size may have to be read.
const PROJECT_QUOTA: &[u8] = b"prjquota";

/// The mounts that are wanted.
pub(super) struct MountTable {
    mount_points: Filter,
    types: Filter,
    /// Of the first process, which sees what the host sees.
    first: HotFile,
    /// Where the first process is hidden.
    own: HotFile,
    /// What `mounts` was read from. The kernel's signal that mounts have changed is not used instead: a file system
    /// that turns read-only after an error gives none.
    content: Vec<u8>,
    mounts: Vec<Mount>,
}

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    /// As it is called on the host.
    pub(super) mount_point: String,
    pub(super) fs_type: String,
    pub(super) major: String,
    pub(super) minor: String,
    pub(super) is_readonly: bool,
    /// Another one of the same name has been mounted over it. Of this one only the number is told.
    pub(super) is_hidden: bool,
    /// Whether it and all on the way to it are sure to answer at once.
    pub(super) is_prompt: bool,
    /// As it is reached from here.
    pub(super) path: Arc<Path>,
}

impl MountTable {
    pub(super) fn new(mount_points: Filter, types: Filter, paths: &Paths) -> Self {
        Self {
            mount_points,
            types,
            first: HotFile::new(paths.proc("1/mountinfo")),
            own: HotFile::new(paths.proc("self/mountinfo")),
            content: Vec::new(),
            mounts: Vec::new(),
        }
    }

    /// What [`MountTable::read`] found last.
    pub(super) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    pub(super) fn read(&mut self, sources: &mut Sources) -> Result<&[Mount], CollectError> {
        let (file, len) = match self.first.read(&mut sources.scratch) {
            Ok(content) => (&self.first, content.len()),
            Err(error) if error.is_not_found() => {
                let len = self.own.read(&mut sources.scratch)?.len();
                (&self.own, len)
            }
            Err(error) => return Err(error),
        };
        let content = &sources.scratch[..len];
        if content != self.content {
            // Forgotten first, so that what can not be parsed is tried again.
            self.content.clear();
            self.mounts.clear();
            let mut slow = Vec::new();
            for (number, line) in parse::lines(content) {
                let mount =
                    parse_line(line, &sources.paths).map_err(|fault| file.malformed(number, fault))?;
                if !mount.is_prompt {
                    slow.push(Arc::clone(&mount.path));
                }
                if self.mount_points.ignores(&mount.mount_point) || self.types.ignores(&mount.fs_type) {
                    continue;
                }
                push(&mut self.mounts, mount);
            }
            for mount in &mut self.mounts {
                mount.is_prompt = !slow.iter().any(|slow| mount.path.starts_with(slow));
            }
            self.content.extend_from_slice(content);
        }
        Ok(&self.mounts)
    }
}

/// Adds one that may hide others.
fn push(mounts: &mut Vec<Mount>, mount: Mount) {
    let number = |mount: &Mount| (mount.major.clone(), mount.minor.clone());
    mounts.retain(|other| !other.is_called_like(&mount) || number(other) != number(&mount));
    for other in mounts.iter_mut().filter(|other| other.is_called_like(&mount)) {
        other.is_hidden = true;
    }
    mounts.push(mount);
}

impl Mount {
    fn is_called_like(&self, other: &Self) -> bool {
        (&self.device, &self.mount_point, &self.fs_type)
            == (&other.device, &other.mount_point, &other.fs_type)
    }
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, where there are zero or
/// more fields such as `master:1`.
fn parse_line(line: &[u8], paths: &Paths) -> Result<Mount, Fault> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [_, _, number, _, mount_point, options, .., b"-", fs_type, source, super_options] = fields[..] else {
        return Err(if fields.len() < 10 { Fault::TooFewFields } else { Fault::NoSeparator });
    };
    let colon = number.iter().position(|byte| *byte == b':').ok_or(Fault::NoSeparator)?;
    let major = parse::unsigned(&number[..colon]).ok_or(Fault::NotANumber)?;
    let minor = parse::unsigned(&number[colon + 1..]).ok_or(Fault::NotANumber)?;
    let mut is_readonly = false;
    for option in options.split(|byte| *byte == b',').chain(super_options.split(|byte| *byte == b',')) {
        is_readonly |= matches!(option, b"ro" | b"emergency_ro");
    }
    let has_quota = super_options.split(|byte| *byte == b',').any(|option| option == PROJECT_QUOTA);
    // For the label, node_exporter undoes only two of the kernel's escapes.
    let label = String::from_utf8_lossy(mount_point).replace("\\040", " ").replace("\\011", "\t");
    let unescaped = PathBuf::from(OsString::from_vec(unescape(mount_point)));
    // A mount point that is seen with the prefix of the host's root is not given it twice.
    let path = match unescaped.strip_prefix(&paths.rootfs) {
        Ok(stripped) => paths.rootfs.join(stripped),
        Err(_) => paths.host(&unescaped),
    };
    Ok(Mount {
        device: String::from_utf8_lossy(source).into_owned(),
        mount_point: paths.strip_rootfs(&label).to_owned(),
        fs_type: String::from_utf8_lossy(fs_type).into_owned(),
        major: major.to_string(),
        minor: minor.to_string(),
        is_readonly,
        is_hidden: false,
        // Below a prefix there may be other things than the table says.
        is_prompt: PROMPT_TYPES.iter().any(|prompt| prompt.as_bytes() == fs_type)
            && !has_quota
            && paths.rootfs == Path::new("/"),
        path: path.into(),
    })
}

/// Undoes `\` and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match after.get(..3).and_then(octal) {
            Some(escaped) if *byte == b'\\' => {
                out.push(escaped);
                rest = &after[3..];
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Mount, Fault> {
        parse_line(line.as_bytes(), &Paths::default())
    }

    #[test]
    fn reads_a_line() {
        let mount =
            check("36 35 98:7 /r /mnt/a\\040b\\134c rw,noatime shared:1 master:2 - ext4 /dev/root rw,x=1");
        let mount = mount.unwrap();
        assert_eq!(mount.mount_point, "/mnt/a b\\134c");
        assert_eq!(&*mount.path, Path::new("/mnt/a b\\c"));
        assert_eq!((mount.device.as_str(), mount.fs_type.as_str()), ("/dev/root", "ext4"));
        assert_eq!((mount.major.as_str(), mount.minor.as_str()), ("98", "7"));
        assert!(!mount.is_readonly);
    }

    #[test]
    fn read_only_is_said_in_two_places() {
        for (mount, superblock, is_readonly) in [
            ("rw,noatime", "rw,errors=remount-ro", false),
            ("ro,noatime", "rw", true),
            ("rw", "ro", true),
            ("rw", "rw,emergency_ro", true),
        ] {
            let line = format!("36 35 98:0 / /mnt {mount} - ext4 /dev/root {superblock}");
            assert_eq!(check(&line).unwrap().is_readonly, is_readonly, "{line}");
        }
    }

    #[test]
    fn the_host_may_be_below_a_prefix() {
        let paths = Paths { rootfs: PathBuf::from("/host"), ..Paths::default() };
        for (seen, mount_point, path) in
            [("/host/var", "/var", "/host/var"), ("/var", "/var", "/host/var"), ("/host", "/", "/host")]
        {
            let line = format!("36 35 98:0 / {seen} rw - ext4 /dev/root rw");
            let mount = parse_line(line.as_bytes(), &paths).unwrap();
            assert_eq!((mount.mount_point.as_str(), &*mount.path), (mount_point, Path::new(path)));
        }
    }

    /// Which mount points of a table are sure to answer at once.
    fn prompt(mountinfo: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("self")).unwrap();
        std::fs::write(folder.path().join("self/mountinfo"), mountinfo).unwrap();
        let paths = Paths { procfs: folder.path().to_owned(), ..Paths::default() };
        let mut parameters = crate::config::Parameters::new("filesystem", None).unwrap();
        let mut all = |keys| Filter::take(&mut parameters, keys, "none").unwrap();
        let (points, types) = (all(("a", "")), all(("b", "")));
        let mut table = MountTable::new(points, types, &paths);
        let mounts = table.read(&mut Sources::new(paths)).unwrap();
        mounts.iter().filter(|mount| mount.is_prompt).map(|mount| mount.mount_point.clone()).collect()
    }

    #[test]
    fn only_what_can_not_hang_answers_at_once() {
        let table = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 0 0:2 / /run rw - tmpfs tmpfs rw\n\
                     3 0 8:3 / /data rw - xfs /dev/sda3 rw\n4 0 8:4 / /data/fast rw - ext4 /dev/sda4 rw\n\
                     5 0 0:5 / /database rw - tmpfs tmpfs rw\n6 0 8:6 / /home rw - ext4 /dev/sda6 rw,prjquota\n\
                     7 0 0:7 / /mnt rw - nfs4 server:/ rw\n8 0 0:8 / /mnt/x rw - tmpfs tmpfs rw\n";
        assert_eq!(prompt(table), ["/", "/run", "/database"]);
        // Something else on top of it.
        let covered = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 0 8:2 / /mnt rw - ext4 /dev/sda2 rw\n\
                       3 0 0:3 / /mnt rw - nfs4 server:/ rw\n";
        assert_eq!(prompt(covered), ["/"]);
        assert!(prompt("1 0 0:1 / / rw - nfs server:/ rw\n2 0 8:2 / /a rw - ext4 /dev/a rw\n").is_empty());
    }

    #[test]
    fn refuses_other_lines() {
        for (line, fault) in [
            ("36 35 98:0 / /mnt rw - ext4 /dev/root", Fault::TooFewFields),
            ("36 35 98:0 / /mnt rw master:1 x ext4 /dev/root rw", Fault::NoSeparator),
            ("36 35 98 / /mnt rw - ext4 /dev/root rw", Fault::NoSeparator),
            ("36 35 98:x / /mnt rw - ext4 /dev/root rw", Fault::NotANumber),
            ("", Fault::TooFewFields),
        ] {
            assert_eq!(check(line), Err(fault), "{line}");
        }
    }
}
