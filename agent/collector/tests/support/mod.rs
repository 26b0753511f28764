//! What the tests of collectors share: the reference data, and expositions taken apart.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use vedette_collector::{CollectorsConfig, Gathered, Paths, Registry};

/// node_exporter's data beside the checkout; where that is absent, none, or a failure in CI.
pub fn reference_data() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/node_exporter"));
    found(path.is_dir(), "the reference data of node_exporter").then_some(path)
}

/// Where something is missing, CI fails and a developer reads why a test does nothing.
pub fn found(is_there: bool, what: &str) -> bool {
    if !is_there {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{what} is missing");
        println!("skipped: {what} is missing");
    }
    is_there
}

/// An exposition, by family.
#[derive(Clone, Debug, Default)]
pub struct Exposition(pub BTreeMap<String, Family>);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Family {
    pub help: String,
    pub kind: String,
    /// Value as written, by key.
    pub samples: BTreeMap<String, String>,
}

impl Exposition {
    /// Of the text format, without histograms and summaries.
    pub fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else if let Some((key, value)) = line.rsplit_once(' ') {
                let name = key.split('{').next().unwrap_or(key);
                let family = families.entry(name.to_owned()).or_default();
                let before = family.samples.insert(key.to_owned(), value.to_owned());
                assert_eq!(before, None, "{key} comes twice");
            }
        }
        Self(families)
    }

    /// Of one gather.
    pub fn gather(registry: &mut Registry) -> Self {
        let mut gathered = Gathered::new();
        registry.gather(&mut gathered);
        let mut text = Vec::new();
        gathered.write_text(&mut text);
        Self::parse(&String::from_utf8(text).expect("valid UTF-8"))
    }
}

/// Families by the collector that makes them, from the inventory.
pub fn families_by_collector(data: &Path) -> BTreeMap<String, String> {
    let inventory = fs::read_to_string(data.join("inventory.tsv")).expect("an inventory");
    let rows = inventory.lines().skip(1).map(|row| {
        let mut cells = row.split('\t');
        let collector = cells.next().expect("a collector").to_owned();
        (cells.next().expect("a family").to_owned(), collector)
    });
    rows.collect()
}

pub fn config(yaml: &str) -> CollectorsConfig {
    serde_saphyr::from_str(yaml).expect("valid configuration")
}

/// A copy of the fixtures that may be changed, archives unpacked.
pub fn unpack_fixtures(data: &Path, target: &Path) -> Paths {
    let fixtures = data.join("fixtures");
    copy_tree(&fixtures.join("proc"), &target.join("proc"));
    copy_tree(&fixtures.join("usr"), &target.join("usr"));
    for archive in ["sys.ttar", "udev.ttar"] {
        let content = fs::read_to_string(fixtures.join(archive)).expect("an archive");
        unpack_ttar(&content, target);
    }
    Paths {
        procfs: target.join("proc"),
        sysfs: target.join("sys"),
        rootfs: target.to_owned(),
        udev: target.join("udev/data"),
        localtime: target.join("localtime"),
    }
}

fn copy_tree(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("a folder");
    for entry in fs::read_dir(source).expect("a readable folder") {
        let entry = entry.expect("an entry");
        let target = target.join(entry.file_name());
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            fs::write(&target, fs::read(entry.path()).expect("a readable file")).expect("a writable file");
        }
    }
}

/// A text archive: records of `Directory:`, `Path:`, `SymlinkTo:`, `Lines:`, `Mode:`.
fn unpack_ttar(archive: &str, target: &Path) {
    let mut path = PathBuf::new();
    let mut lines = archive.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("Directory: ") {
            path = target.join(name);
            fs::create_dir_all(&path).expect("a folder");
        } else if let Some(name) = line.strip_prefix("Path: ") {
            path = target.join(name);
        } else if let Some(link) = line.strip_prefix("SymlinkTo: ") {
            std::os::unix::fs::symlink(link, &path).expect("a link");
        } else if let Some(count) = line.strip_prefix("Lines: ") {
            let count: usize = count.parse().expect("a count");
            let content: Vec<String> = lines.by_ref().take(count).map(unescape_ttar).collect();
            fs::write(&path, join_ttar(&content)).expect("a writable file");
        } else if let Some(mode) = line.strip_prefix("Mode: ") {
            let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
            // Tests change these files.
            fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o200)).expect("a mode");
        }
    }
}

fn unescape_ttar(line: &str) -> String {
    line.replace("NULLBYTE", "\0").replace("\\NULLBYTE", "NULLBYTE")
}

/// `EOF` at the end of the last line means that no newline follows it.
fn join_ttar(lines: &[String]) -> String {
    let mut content = String::new();
    for line in lines {
        match line.strip_suffix("EOF").filter(|rest| !rest.ends_with('\\')) {
            Some(line) => content.push_str(line),
            None => {
                content.push_str(&line.replace("\\EOF", "EOF"));
                content.push('\n');
            }
        }
    }
    content
}
