use std::path::{Path, PathBuf};

/// Where the host's files are: elsewhere in a container, and in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Mount point of procfs.
    pub procfs: PathBuf,
    /// Mount point of sysfs.
    pub sysfs: PathBuf,
    /// The host's root directory, as seen from here.
    pub rootfs: PathBuf,
    /// udev's database of devices.
    pub udev: PathBuf,
    /// The host's time zone, in TZif format.
    pub localtime: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            procfs: PathBuf::from("/proc"),
            sysfs: PathBuf::from("/sys"),
            rootfs: PathBuf::from("/"),
            udev: PathBuf::from("/run/udev/data"),
            localtime: PathBuf::from("/etc/localtime"),
        }
    }
}

impl Paths {
    /// `name` below procfs.
    pub(crate) fn proc(&self, name: impl AsRef<Path>) -> PathBuf {
        self.procfs.join(name)
    }

    /// `name` below sysfs.
    pub(crate) fn sys(&self, name: impl AsRef<Path>) -> PathBuf {
        self.sysfs.join(name)
    }

    /// A path of the host, as it is reached from here.
    pub(crate) fn host(&self, path: &Path) -> PathBuf {
        self.rootfs.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What a path seen from here is called on the host.
    ///
    /// A plain prefix of the text, not of path components, as node_exporter has it.
    pub(crate) fn strip_rootfs<'a>(&self, path: &'a str) -> &'a str {
        let Some(rootfs) = self.rootfs.to_str().filter(|rootfs| *rootfs != "/") else {
            return path;
        };
        match path.strip_prefix(rootfs) {
            Some("") => "/",
            Some(stripped) => stripped,
            None => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_prefix_is_stripped() {
        let paths = Paths { rootfs: PathBuf::from("/host"), ..Paths::default() };
        for (seen, called) in [("/host", "/"), ("/host/", "/"), ("/host/var", "/var"), ("/run", "/run")] {
            assert_eq!(paths.strip_rootfs(seen), called);
        }
        assert_eq!(Paths::default().strip_rootfs("/host"), "/host");
        assert_eq!(paths.host(Path::new("/etc/os-release")), Path::new("/host/etc/os-release"));
    }
}
