//! The repository's rules: names at the top, direction of dependencies, documented formats, no stray marks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// All that may stand at the top beside dotfiles.
const TOP_LEVEL: [&str; 10] = [
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "agent",
    "aggregator",
    "common",
    "packaging",
    "systemd",
];

/// Which of our crates each of our crates may name. Arrows point down only.
const MAY_NAME: [(&str, &[&str]); 17] = [
    ("vedette-model", &[]),
    ("vedette-chunk", &["model"]),
    ("vedette-daemon", &["model"]),
    ("vedette-exposition", &["model"]),
    ("vedette-wire", &["model"]),
    ("vedette-transport", &["model", "wire"]),
    ("vedette-collector", &["model"]),
    ("vedette-scrape", &["exposition", "model", "wire"]),
    ("vedette-spool", &["model", "wire"]),
    (
        "vedette-agent",
        &["collector", "daemon", "exposition", "model", "scrape", "spool", "transport", "wire"],
    ),
    ("vedette-storage", &["chunk", "model", "wire"]),
    ("vedette-promql", &["model"]),
    ("vedette-ingest", &["exposition", "model", "storage", "transport", "wire"]),
    ("vedette-api", &["exposition", "model", "promql"]),
    (
        "vedette-aggregator",
        &["api", "daemon", "exposition", "ingest", "model", "promql", "storage", "transport", "wire"],
    ),
    ("vedette-manual", &[]),
    ("vedette-tests", &["exposition", "model", "transport", "wire"]),
];

/// Foreign crates that only the named crates of ours may use outside tests.
const RESERVED: [(&str, &[&str]); 5] = [
    ("rocksdb", &["vedette-storage"]),
    (
        "quinn",
        &["vedette-agent", "vedette-aggregator", "vedette-ingest", "vedette-tests", "vedette-transport"],
    ),
    ("bincode", &["vedette-storage", "vedette-transport", "vedette-wire"]),
    ("axum", &["vedette-agent", "vedette-aggregator", "vedette-api"]),
    (
        "tokio",
        &[
            "vedette-agent",
            "vedette-aggregator",
            "vedette-api",
            "vedette-ingest",
            "vedette-scrape",
            "vedette-tests",
            "vedette-transport",
        ],
    ),
];

/// Crates that write bytes which outlive a process or cross the network.
const WITH_FORMAT: [&str; 5] =
    ["common/wire", "common/chunk", "common/transport", "agent/spool", "aggregator/storage"];

/// Crates whose decoders or parsers read what strangers wrote.
const WITH_FUZZ: [&str; 8] = [
    "common/wire",
    "common/chunk",
    "common/exposition",
    "common/transport",
    "agent/spool",
    "aggregator/ingest",
    "aggregator/promql",
    "aggregator/storage",
];

const LINES_MAX: usize = 800;

/// What a program keeps in its data folder.
struct DataFormat {
    program: &'static str,
    /// The format of the folder as a whole: `DATA_FORMAT`.
    format: u32,
    /// The versions of what is in it: file, constant, value. A release whose data the one before can not read raises one
    /// of these and the format.
    versions: &'static [(&'static str, &'static str, u32)],
}

const DATA_FORMATS: [DataFormat; 2] = [
    DataFormat {
        program: "agent",
        format: 1,
        versions: &[
            ("agent/spool/src/layout.rs", "VERSION", 1),
            ("agent/spool/src/state.rs", "VERSION", 1),
            ("common/wire/src/frame.rs", "FRAME_VERSION", 1),
        ],
    },
    DataFormat {
        program: "aggregator",
        format: 1,
        versions: &[
            ("aggregator/storage/src/bytes.rs", "VERSION", 1),
            ("aggregator/storage/src/part_writer.rs", "COLUMNS_VERSION", 2),
            ("common/chunk/src/times.rs", "VERSION", 1),
            ("common/chunk/src/values.rs", "VERSION", 1),
            ("common/transport/src/members.rs", "FILE_VERSION", 1),
            ("common/transport/src/roll.rs", "FILE_VERSION", 1),
            ("common/transport/src/token_store.rs", "FILE_VERSION", 2),
            ("common/wire/src/frame.rs", "FRAME_VERSION", 1),
        ],
    },
];

#[test]
fn top_level_names_are_fixed() {
    for path in tracked() {
        let top = path.split('/').next().unwrap_or_default();
        let known = TOP_LEVEL.contains(&top) || top == "tests" || top.starts_with('.');
        assert!(known, "{path}: {top} is not one of the fixed top-level names");
    }
}

#[test]
fn dependencies_point_down() {
    let packages = packages();
    assert_eq!(packages.len(), MAY_NAME.len(), "a crate is missing in MAY_NAME: {:?}", packages.keys());
    for (name, dependencies) in &packages {
        let Some((_, allowed)) = MAY_NAME.iter().find(|(known, _)| known == name) else {
            panic!("{name} is not in MAY_NAME");
        };
        for dependency in dependencies {
            if let Some(ours) = dependency.strip_prefix("vedette-") {
                assert!(allowed.contains(&ours), "{name} may not depend on {dependency}");
            }
            if let Some((_, users)) = RESERVED.iter().find(|(foreign, _)| foreign == dependency) {
                assert!(users.contains(&name.as_str()), "{name} may not depend on {dependency}");
            }
        }
    }
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    for path in tracked().iter().filter(|path| path.ends_with("/Cargo.toml") && !path.contains("/fuzz/")) {
        let lines = read(path);
        assert!(lines.contains("[lints]\nworkspace = true"), "{path} does not take the workspace's lints");
    }
}

#[test]
fn persisted_and_wire_formats_are_documented() {
    for folder in WITH_FORMAT {
        let format = read(&format!("{folder}/FORMAT.md"));
        assert!(format.to_lowercase().contains("version"), "{folder}/FORMAT.md names no version");
    }
}

/// What keeps an older package, or program, from newer data is one number, and is raised when what is written changes.
#[test]
fn packages_know_the_format_of_the_data() {
    for DataFormat { program, format, versions } in DATA_FORMATS {
        assert_eq!(number(&format!("{program}/src/main.rs"), "const DATA_FORMAT: u32 = "), format);
        for script in ["deb", "rpm"] {
            let script =
                format!("packaging/{script}/{program}/{}", if script == "deb" { "preinst" } else { "pre" });
            assert_eq!(number(&script, "data_format="), format, "{script} is not of {program}'s format");
        }
        for (path, name, version) in versions {
            let found = number(path, &format!("const {name}: {} = ", integer_type(path, name)));
            assert_eq!(
                found, *version,
                "{path}: {name} was changed; does {program}'s DATA_FORMAT rise with it?"
            );
        }
    }
}

fn integer_type(path: &str, name: &str) -> String {
    let text = read(path);
    let (_, rest) =
        text.split_once(&format!("const {name}: ")).unwrap_or_else(|| panic!("{path} has no {name}"));
    rest.split(' ').next().unwrap_or_default().to_owned()
}

/// The number that stands behind `before`, which a file has once.
fn number(path: &str, before: &str) -> u32 {
    let text = read(path);
    let mut found = text.match_indices(before);
    let (Some((at, _)), None) = (found.next(), found.next()) else { panic!("{path}: not one {before:?}") };
    let digits: String = text[at + before.len()..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{path}: no number behind {before:?}"))
}

#[test]
fn decoders_have_fuzz_targets_and_a_corpus() {
    let tracked = tracked();
    for folder in WITH_FUZZ {
        for part in ["fuzz/fuzz_targets/", "fuzz/corpus/"] {
            let prefix = format!("{folder}/{part}");
            assert!(tracked.iter().any(|path| path.starts_with(&prefix)), "{prefix} is missing");
        }
    }
}

#[test]
fn files_stay_readable() {
    for path in rust_files() {
        let lines = read(&path).lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines: what is its second subject?");
    }
}

#[test]
fn no_marks_and_no_places_of_one_machine() {
    // Put together here, so that this file does not find itself.
    let marks =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[ign", "ore"].concat(), ["/wo", "rk/"].concat()];
    for path in tracked().iter().filter(|path| !path.contains("/corpus/") && *path != "Cargo.lock") {
        let Ok(text) = std::fs::read_to_string(root().join(path)) else { continue };
        for mark in &marks {
            assert!(!text.contains(mark), "{path} contains {mark}");
        }
    }
}

/// Messages that are put together where they are said; the page has how each begins.
const SAID_ELSEWHERE: [(&str, [&str; 2]); 1] = [("{what}", ["not enrolled", "the identity can not be used"])];

#[test]
fn every_warning_and_error_of_the_log_is_on_the_operations_page() {
    let page = read("packaging/OPERATIONS.md");
    let mut messages = 0;
    for path in rust_files().iter().filter(|path| path.contains("/src/") && !path.starts_with("tests/")) {
        let text = read(path);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for message in messages_of(code) {
            messages += 1;
            match SAID_ELSEWHERE.iter().find(|(known, _)| *known == message) {
                Some((_, beginnings)) => {
                    for beginning in beginnings {
                        assert!(code.contains(beginning), "{path}: {beginning:?} is not said any more");
                        assert!(page.contains(&format!("`{beginning}`")), "{beginning:?} is not on the page");
                    }
                }
                None => assert!(
                    page.contains(&format!("`{message}`")),
                    "{path}: {message:?} is not explained in packaging/OPERATIONS.md"
                ),
            }
        }
    }
    assert!(messages > 60, "only {messages} messages found: are they written in another way?");
}

#[test]
fn messages_are_found_however_they_are_written() {
    let code = r#"warn!("a"); tracing::error!(%error, path = %p.display(), "b (\"c\")"); info!("d");
        tracing::warn!(
            limit = format!("{}", f(1)), "e \
             f"
        ); Err(error) => error!(x = 1, "{what}"),"#;
    assert_eq!(messages_of(code), ["a", "b (\"c\")", "e f", "{what}"]);
}

/// What `warn!` and `error!` say: the last text within their parentheses.
fn messages_of(code: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for start in code.match_indices("warn!(").chain(code.match_indices("error!(")).map(|(at, _)| at) {
        let Some(open) = code[start..].find('(') else { continue };
        messages.push((start, last_text(&code[start + open + 1..])));
    }
    messages.sort();
    messages.into_iter().map(|(_, message)| message).collect()
}

/// The last literal before the parenthesis that closes.
fn last_text(code: &str) -> String {
    let (mut depth, mut text, mut last) = (1, None::<String>, String::new());
    let mut characters = code.chars();
    while let Some(character) = characters.next() {
        match (&mut text, character) {
            (None, '"') => text = Some(String::new()),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) => {}
            (Some(found), '"') => {
                last = std::mem::take(found);
                text = None;
            }
            (Some(found), '\\') => match characters.next() {
                // The text goes on where the next line begins.
                Some('\n') => {
                    let rest = characters.as_str().trim_start();
                    characters = rest.chars();
                }
                Some(escaped) => found.push(escaped),
                None => break,
            },
            (Some(found), character) => found.push(character),
        }
        if depth == 0 {
            break;
        }
    }
    last
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files that git knows, or would add.
fn tracked() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files failed");
    let files: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    assert!(files.len() > 50, "git lists only {} files", files.len());
    files.into_iter().filter(|path| root().join(path).exists()).collect()
}

fn rust_files() -> Vec<String> {
    tracked().into_iter().filter(|path| path.ends_with(".rs")).collect()
}

/// Our crates with the names of what they depend on outside tests.
fn packages() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            (text(&package["name"]), normal.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}
