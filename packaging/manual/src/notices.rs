//! Whose work is part of a program, and under which licence: from `cargo metadata`, and from the files that the crates
//! themselves carry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Files with these beginnings are licences and notices.
const NAMES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];
/// No licence is longer.
const BYTES_MAX: u64 = 256 << 10;

/// What compilers add to a program.
const RUST_LIBRARY: &str = "Rust's standard library: MIT OR Apache-2.0  https://github.com/rust-lang/rust\n";
const CPP_LIBRARY: &str = "GCC's C++ library: GPL-3.0-or-later WITH GCC-exception-3.1  https://gcc.gnu.org\n";

/// The text for the package of that name: every crate with its licence, then every text once.
pub(crate) fn write(package: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new("cargo")
        .args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut text = format!("The libraries that are part of {package}, and their licences.\n\n");
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let libraries = libraries(&metadata, package)?;
    let has_cpp = libraries.iter().any(|library| library["name"] == "librocksdb-sys");
    text.push_str(RUST_LIBRARY);
    text.push_str(if has_cpp { CPP_LIBRARY } else { "" });
    for library in libraries {
        let field = |name: &str| library[name].as_str().unwrap_or_default().to_owned();
        let crate_name = format!("{} {}", field("name"), field("version"));
        let licence = field("license");
        if licence.is_empty() {
            return Err(format!("{crate_name} does not say its licence").into());
        }
        let repository = field("repository");
        writeln!(text, "{}", format!("{crate_name}: {licence}  {repository}").trim_end())?;
        let manifest = field("manifest_path");
        let folder = Path::new(&manifest).parent().ok_or("a manifest is in a folder")?;
        for found in licences(folder)? {
            texts.entry(found).or_default().push(crate_name.clone());
        }
    }
    for (licence, crates) in &texts {
        write!(text, "\n{:=<100}\n{}\n\n{}\n", "", crates.join(", "), licence.trim_end())?;
    }
    Ok(text)
}

/// The crates that are linked into a package, in the order of their names, without our own.
fn libraries<'a>(metadata: &'a Value, package: &str) -> Result<Vec<&'a Value>, Box<dyn Error>> {
    let list = |value: &'a Value| value.as_array().map(Vec::as_slice).unwrap_or_default();
    let packages: HashMap<_, _> =
        list(&metadata["packages"]).iter().map(|found| (&found["id"], found)).collect();
    let nodes: HashMap<_, _> =
        list(&metadata["resolve"]["nodes"]).iter().map(|node| (&node["id"], node)).collect();
    let root = list(&metadata["packages"]).iter().find(|found| found["name"] == package);
    let mut waiting = vec![&root.ok_or_else(|| format!("there is no package {package}"))?["id"]];
    let mut seen = BTreeSet::new();
    let mut found = BTreeMap::new();
    while let Some(id) = waiting.pop() {
        let (Some(library), Some(node)) = (packages.get(id), nodes.get(id)) else {
            return Err(format!("{id} is not described").into());
        };
        if !seen.insert(id.to_string()) {
            continue;
        }
        if !library["source"].is_null() {
            found.insert((library["name"].to_string(), library["version"].to_string()), *library);
        }
        for dependency in list(&node["deps"]) {
            let is_linked = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            // What a macro's crate is made of is not in the program, but listing it does no harm.
            if is_linked {
                waiting.push(&dependency["pkg"]);
            }
        }
    }
    Ok(found.into_values().collect())
}

/// The texts in a crate's folder, and in those of what it brings along in other languages.
fn licences(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut texts = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name() != "tests" {
            folders.push(entry.path());
        }
    }
    folders.sort();
    for folder in folders {
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name().to_string_lossy().to_uppercase(), entry.metadata()?);
            let is_licence = NAMES.iter().any(|start| name.starts_with(start)) && !name.ends_with(".RS");
            if is_licence && metadata.is_file() && metadata.len() <= BYTES_MAX {
                found.push((name, entry.path()));
            }
        }
        found.sort();
        // RocksDB and zstd come under the GPL as well, in this file; we take the other one.
        let has_other = found.iter().any(|(name, _)| name.starts_with("LICENSE"));
        for (_, path) in found.iter().filter(|(name, _)| !(has_other && name.starts_with("COPYING"))) {
            texts.push(String::from_utf8_lossy(&fs::read(path)?).replace('\r', ""));
        }
    }
    Ok(texts)
}
