//! Prometheus' own conformance scripts.

use std::path::PathBuf;

use vedette_promql::promqltest::{Outcome, Script, Verdict};
use vedette_promql::{Engine, EngineOptions};

fn scripts() -> Option<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/promqltest"));
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
    println!("skipped: {} is missing", folder.display());
    None
}

fn engine() -> Engine {
    Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() })
}

fn run(text: &str) -> Vec<Outcome> {
    let script = Script::parse(text).unwrap_or_else(|error| panic!("{error}"));
    script.run(&engine())
}

#[test]
fn report() {
    let Some(folder) = scripts() else { return };
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("folder").map(|e| e.expect("entry").path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("").to_owned();
        if !name.contains(&only) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let script = match Script::parse(&text) {
            Ok(s) => s,
            Err(e) => {
                println!("{name}: {e}");
                continue;
            }
        };
        let outcomes = script.run(&engine());
        let passed = outcomes.iter().filter(|o| o.verdict == Verdict::Passed).count();
        let more = outcomes.iter().filter(|o| matches!(o.verdict, Verdict::NeedsMore(_))).count();
        println!("(\"{name}\", {}, {passed}, {more}),", outcomes.len());
        for o in &outcomes {
            match &o.verdict {
                Verdict::Failed(m) => println!(
                    "    FAIL {name}:{} {} -- {}",
                    o.line,
                    o.query,
                    m.chars().take(500).collect::<String>()
                ),
                Verdict::NeedsMore(m) if std::env::var("MORE").is_ok() => println!(
                    "    more {name}:{} {} -- {}",
                    o.line,
                    o.query,
                    m.chars().take(300).collect::<String>()
                ),
                _ => {}
            }
        }
    }
}
