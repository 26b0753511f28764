//! Every crate that is part of a program is named, with a text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{read, run, write};

/// What a text is preceded by: a line, those that it is of, an empty line.
const RULE: &str = "\n====================================================================================================\n";

/// The notices of a program: what is listed, and those that each text is of.
struct Notices {
    listed: BTreeSet<String>,
    texts: BTreeMap<String, String>,
}

impl Notices {
    fn read(written: &Path, program: &str) -> Result<Self> {
        let text = read(&written.join(program).join("THIRD-PARTY-NOTICES"))?;
        let mut parts = text.split(RULE);
        let list = parts.next().context("a list")?.lines().skip(2);
        let listed = list.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect();
        let mut texts = BTreeMap::new();
        for part in parts {
            let (of, text) = part.split_once("\n\n").context("a heading")?;
            ensure!(text.trim().len() > 100, "{of}: {text:?} is no licence");
            for name in of.split(", ") {
                texts.entry(name.to_owned()).or_insert_with(String::new).push_str(text);
            }
        }
        Ok(Self { listed, texts })
    }

    fn text(&self, of: &str) -> Result<&str> {
        let found = self.texts.iter().find(|(name, _)| name.starts_with(of));
        Ok(found.with_context(|| format!("no text of {of}"))?.1)
    }
}

/// Crates that a program is built of, without our own and what compilers run.
fn linked(program: &str, target: &str) -> Result<BTreeSet<String>> {
    let package = format!("vedette-{program}");
    let mut command = Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"]);
    let tree = run(command.args(["--package", &package, "--target", target]))?;
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    Ok(lines.filter(|line| !line.contains("(/")).map(|line| line.replacen(" v", " ", 1)).collect())
}

#[test]
fn every_linked_crate_has_a_text() -> Result<()> {
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let written = write(Some(target))?;
        for program in ["agent", "aggregator"] {
            let notices = Notices::read(written.path(), program)?;
            let linked = linked(program, target)?;
            ensure!(linked.len() > 50, "only {linked:?}");
            for name in &linked {
                ensure!(notices.listed.contains(name), "{program} for {target}: {name} is not listed");
            }
            for name in &notices.listed {
                ensure!(notices.texts.contains_key(name), "{program} for {target}: no text of {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn others_work_inside_crates_has_its_text() -> Result<()> {
    let written = write(None)?;
    let (agent, aggregator) =
        (Notices::read(written.path(), "agent")?, Notices::read(written.path(), "aggregator")?);
    for notices in [&agent, &aggregator] {
        ensure!(notices.text("Rust's standard library")?.contains("Apache License"));
        ensure!(notices.texts.keys().any(|of| of.ends_with(" third_party/fiat")), "ring has fiat's code");
        ensure!(
            notices.texts.keys().any(|of| of.ends_with(" src/polyfill/once_cell")),
            "ring has once_cell's"
        );
        ensure!(notices.texts.keys().any(|of| of.ends_with(" src/spin")), "tracing-core has spin's code");
        // It carries no text; crates of its repository do.
        let text = notices.text("asn1-rs-impl ")?;
        ensure!(text.contains("Apache License") && text.contains("Pierre Chifflier"), "{text}");
    }
    let libstdcpp = aggregator.text("GCC's C++ library")?;
    ensure!(libstdcpp.contains("GCC RUNTIME LIBRARY EXCEPTION"), "{libstdcpp}");
    ensure!(libstdcpp.contains("GNU GENERAL PUBLIC LICENSE"), "{libstdcpp}");
    ensure!(agent.text("GCC's C++ library").is_err(), "the agent has no C++ in it");
    let range_tree = aggregator.texts.iter().find(|(of, _)| of.ends_with("range_tree/lib"));
    let (_, text) = range_tree.context("RocksDB has Percona's code")?;
    ensure!(text.to_lowercase().contains("percona") && text.contains("Apache License"), "{text}");
    ensure!(!text.contains("GNU AFFERO"), "it is taken under the other licence");
    Ok(())
}

#[test]
fn the_same_is_written_again() -> Result<()> {
    let (first, second) = (write(None)?, write(None)?);
    for program in ["agent", "aggregator"] {
        let path = Path::new(program).join("THIRD-PARTY-NOTICES");
        ensure!(read(&first.path().join(&path))? == read(&second.path().join(&path))?, "{program}");
    }
    Ok(())
}
