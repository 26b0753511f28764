//! Whose work is part of a program, and under which licence: from what Cargo says of the program, and from the files that
//! the crates themselves carry.

use std::collections::{BTreeMap, BTreeSet};
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
/// Whose work a folder inside a crate is, a README tells that is no longer than this.
const README_BYTES_MAX: u64 = 4 << 10;
/// No crate has more.
const FOLDERS_MAX: usize = 4096;
/// Folders of what is not compiled into a program.
const NOT_LINKED: [&str; 6] = ["benches", "doc", "docs", "examples", "fuzz", "tests"];

/// What compilers add to a program.
const RUST_LIBRARY: &str = "Rust's standard library";
const RUST_LICENCE: &str = "MIT OR Apache-2.0  https://github.com/rust-lang/rust";
const CPP_LIBRARY: &str = "GCC's C++ library";
const CPP_LICENCE: &str = "GPL-3.0-or-later WITH GCC-exception-3.1  https://gcc.gnu.org";
const APACHE: &str = include_str!("../../../LICENSE");
const GPL: &str = include_str!("../licences/GPL-3.0");
const GCC_EXCEPTION: &str = include_str!("../licences/GCC-exception-3.1");

/// The text for the package of that name, compiled for that target: every crate with its licence, then every text once,
/// with those that it is of.
pub(crate) fn write(package: &str, target: &str) -> Result<String, Box<dyn Error>> {
    let libraries = libraries(package, target)?;
    let mut text = format!("The libraries that are part of {package}, and their licences.\n\n");
    let mut texts = Texts::default();
    writeln!(text, "{RUST_LIBRARY}: {RUST_LICENCE}")?;
    texts.add(RUST_LIBRARY.to_owned(), APACHE);
    if libraries.iter().any(|library| library.name.starts_with("librocksdb-sys ")) {
        writeln!(text, "{CPP_LIBRARY}: {CPP_LICENCE}")?;
        texts.add(CPP_LIBRARY.to_owned(), GPL);
        texts.add(CPP_LIBRARY.to_owned(), GCC_EXCEPTION);
    }
    for library in &libraries {
        let Library { name, licence, repository, .. } = library;
        writeln!(text, "{}", format!("{name}: {licence}  {repository}").trim_end())?;
        for (folder, found) in library.licences_or_of_kin(&libraries)? {
            texts.add(format!("{name} {folder}").trim_end().to_owned(), &found);
        }
    }
    for (licence, of) in texts.0.values() {
        let of: Vec<_> = of.iter().map(String::as_str).collect();
        write!(text, "\n{:=<100}\n{}\n\n{}\n", "", of.join(", "), licence.trim_end())?;
    }
    Ok(text)
}

/// What is said, once, and by whom; by its words, as it is broken into lines in many ways.
#[derive(Default)]
struct Texts(BTreeMap<String, (String, BTreeSet<String>)>);

impl Texts {
    fn add(&mut self, of: String, text: &str) {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.entry(words).or_insert_with(|| (text.to_owned(), BTreeSet::new())).1.insert(of);
    }
}

/// A crate that is part of a program.
struct Library {
    /// With its version.
    name: String,
    licence: String,
    repository: String,
    manifest: String,
}

impl Library {
    fn of(package: &Value) -> Result<Self, Box<dyn Error>> {
        let field = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {}", field("name"), field("version"));
        let licence = field("license");
        if licence.is_empty() {
            return Err(format!("{name} does not say its licence").into());
        }
        Ok(Self { name, licence, repository: field("repository"), manifest: field("manifest_path") })
    }

    /// The crate's texts. When none is its own, those of another crate from its repository are, whose licences it can be
    /// had under as well.
    fn licences_or_of_kin(&self, all: &[Self]) -> Result<Vec<(String, String)>, Box<dyn Error>> {
        let mut found = self.licences()?;
        let mut kin = all.iter().filter(|other| {
            !self.repository.is_empty()
                && other.repository == self.repository
                && other.alternatives().is_subset(&self.alternatives())
        });
        while !found.iter().any(|(place, _)| place.is_empty()) {
            let other = kin.next().ok_or_else(|| {
                format!(
                    "{} ({}) carries no text of its licence, and no other crate of {:?} does: take a release that does, or do without it",
                    self.name, self.licence, self.repository
                )
            })?;
            found.extend(other.licences()?.into_iter().filter(|(place, _)| place.is_empty()));
        }
        Ok(found)
    }

    fn licences(&self) -> Result<Vec<(String, String)>, Box<dyn Error>> {
        let folder = Path::new(&self.manifest).parent().ok_or("a manifest is in a folder")?;
        licences(folder).map_err(|error| format!("{}: {error}", self.name).into())
    }

    /// The licences to choose from, in both notations.
    fn alternatives(&self) -> BTreeSet<&str> {
        self.licence.split(" OR ").flat_map(|part| part.split('/')).map(str::trim).collect()
    }
}

/// The crates that are linked into a package with the features that it is built with, in the order of their names,
/// without our own. What a macro's crate is made of is not in the program, but listing it does no harm.
fn libraries(package: &str, target: &str) -> Result<Vec<Library>, Box<dyn Error>> {
    let tree = ["tree", "--locked", "--package", package, "--edges", "normal", "--target", target];
    let tree = cargo(&[&tree[..], &["--prefix", "none", "--format", "{p}"]].concat())?;
    // A line is a crate's name, its version after a `v`, and remarks.
    let linked: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        })
        .collect();
    let metadata = cargo(&["metadata", "--locked", "--format-version", "1", "--filter-platform", target])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found = Vec::new();
    for (name, version) in linked {
        let described = packages.iter().find(|other| other["name"] == name && other["version"] == version);
        let described = described.ok_or_else(|| format!("{name} {version} is not described"))?;
        if !described["source"].is_null() {
            found.push(Library::of(described)?);
        }
    }
    Ok(found)
}

fn cargo(arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new("cargo").args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The texts in a crate's folder and in all below it, where others' work lies that the crate brings along: each with its
/// folder.
fn licences(crate_folder: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut texts = Vec::new();
    let mut waiting = vec![crate_folder.to_path_buf()];
    let mut folders = 0;
    while let Some(folder) = waiting.pop() {
        folders += 1;
        if folders > FOLDERS_MAX {
            return Err(format!("more than {FOLDERS_MAX} folders").into());
        }
        let place = folder.strip_prefix(crate_folder)?.to_string_lossy().into_owned();
        let (mut found, mut readme) = (Vec::new(), None);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name().to_string_lossy().into_owned(), entry.metadata()?);
            if metadata.is_dir() && !NOT_LINKED.contains(&name.as_str()) {
                waiting.push(entry.path());
            } else if metadata.is_file() && is_licence(&name) {
                if metadata.len() > BYTES_MAX {
                    return Err(format!("{place}/{name} is longer than {BYTES_MAX} bytes").into());
                }
                found.push((name, read(&entry.path())?));
            } else if name == "README" && !place.is_empty() && metadata.len() <= README_BYTES_MAX {
                readme = Some(read(&entry.path())?);
            }
        }
        waiting.sort();
        found.sort();
        // RocksDB, PerconaFT and zstd come under the GPL as well; we take the other licence.
        let has_other = found.iter().any(|(_, text)| !is_gpl(text));
        found.retain(|(_, text)| !(has_other && is_gpl(text)));
        let readme = readme.filter(|_| !found.is_empty());
        let found = readme.into_iter().chain(found.into_iter().map(|(_, text)| text));
        texts.extend(found.map(|text| (place.clone(), text)));
    }
    Ok(texts)
}

fn read(path: &Path) -> Result<String, Box<dyn Error>> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).replace('\r', ""))
}

/// Not source code whose name begins so.
fn is_licence(name: &str) -> bool {
    let name = name.to_uppercase();
    let is_code = [".RS", ".C", ".CC", ".H", ".PY"].iter().any(|end| name.ends_with(end));
    NAMES.iter().any(|start| name.starts_with(start)) && !is_code
}

/// The GPL or the AGPL, by its title.
fn is_gpl(text: &str) -> bool {
    let title = text.split_whitespace().take(5).collect::<Vec<_>>().join(" ");
    title.starts_with("GNU GENERAL PUBLIC LICENSE") || title.starts_with("GNU AFFERO GENERAL PUBLIC LICENSE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(name: &str, licence: &str, folder: &Path) -> Library {
        let manifest = folder.join(name).join("Cargo.toml").to_string_lossy().into_owned();
        let repository = "https://example.org/repository".to_owned();
        Library { name: name.to_owned(), licence: licence.to_owned(), repository, manifest }
    }

    fn lay(folder: &Path, files: &[(&str, &str)]) -> std::io::Result<()> {
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap_or(folder))?;
            fs::write(path, text)?;
        }
        Ok(())
    }

    #[test]
    fn a_crate_without_a_text_has_that_of_its_kin() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        lay(
            folder.path(),
            &[
                ("bare/src/license.rs", "code"),
                ("bare/inside/LICENSE", "Zlib"),
                ("kin/LICENSE", "MIT"),
                ("far/LICENSE", "BSD"),
            ],
        )?;
        let [bare, far, kin] =
            [("bare", "MIT/Apache-2.0"), ("far", "BSD-3-Clause"), ("kin", "Apache-2.0 OR MIT")]
                .map(|(name, licence)| library(name, licence, folder.path()));
        let all = [bare, far, kin];
        let expected =
            [("inside", "Zlib"), ("", "MIT")].map(|(place, text)| (place.to_owned(), text.to_owned()));
        assert_eq!(all[0].licences_or_of_kin(&all)?, expected);
        let error = all[0].licences_or_of_kin(&all[..2]).expect_err("there is no text").to_string();
        assert!(error.starts_with("bare (MIT/Apache-2.0) carries no text of its licence"), "{error}");
        Ok(())
    }

    #[test]
    fn texts_are_found_at_any_depth() -> Result<(), Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        lay(
            folder.path(),
            &[
                ("LICENSE-MIT", "of the crate"),
                ("README", "of the crate"),
                ("a/b/c/d/COPYING.GPLv2", "\t GNU GENERAL PUBLIC LICENSE\n Version 2"),
                ("a/b/c/d/copying.apache", "of what is inside"),
                ("a/b/c/d/README", "whose it is"),
                ("gpl/COPYING", "GNU GENERAL PUBLIC LICENSE"),
                ("tests/LICENSE", "of what is not linked"),
            ],
        )?;
        let mut found = licences(folder.path())?;
        found.sort();
        let expected = [
            ("", "of the crate"),
            ("a/b/c/d", "of what is inside"),
            ("a/b/c/d", "whose it is"),
            ("gpl", "GNU GENERAL PUBLIC LICENSE"),
        ];
        assert_eq!(found, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
        Ok(())
    }
}
