//! Prometheus' own conformance scripts, read in place.

use std::path::PathBuf;

use vedette_promql::promqltest::{Outcome, Script, Verdict};
use vedette_promql::{Engine, EngineOptions};

/// How many evaluations each script has.
const EVALUATIONS: [(&str, usize); 21] = [
    ("aggregators.test", 160),
    ("at_modifier.test", 78),
    ("collision.test", 2),
    ("duration_expression.test", 59),
    ("extended_vectors.test", 169),
    ("fill-modifier.test", 46),
    ("functions.test", 431),
    ("histograms.test", 185),
    ("info.test", 53),
    ("limit.test", 37),
    ("literals.test", 25),
    ("name_label_dropping.test", 30),
    ("native_histograms.test", 522),
    ("operators.test", 214),
    ("range_queries.test", 18),
    ("selectors.test", 31),
    ("staleness.test", 17),
    ("start_timestamps.test", 26),
    ("subquery.test", 34),
    ("trig_functions.test", 19),
    ("type_and_unit.test", 58),
];

/// The scripts by name, or nothing where they are not on this machine.
fn scripts() -> Vec<(String, String)> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/promqltest"));
    if !folder.is_dir() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{} is missing", folder.display());
        println!("skipped: {} is missing", folder.display());
        return Vec::new();
    }
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder can be read")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            (name, std::fs::read_to_string(&path).expect("the script can be read"))
        })
        .collect();
    scripts.sort();
    scripts
}

/// As Prometheus runs them: with delayed name removal and start timestamps.
fn engine() -> Engine {
    Engine::new(EngineOptions {
        delayed_name_removal: true,
        use_start_timestamps: true,
        ..EngineOptions::default()
    })
}

fn parse(name: &str, text: &str) -> Script {
    Script::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn all_evaluations_pass() {
    let scripts = scripts();
    if scripts.is_empty() {
        return;
    }
    let names: Vec<_> = scripts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, EVALUATIONS.map(|(name, _)| name), "the scripts have changed");
    let mut problems = Vec::new();
    let mut passed = 0;
    for ((name, text), (_, evaluations)) in scripts.iter().zip(EVALUATIONS) {
        let outcomes = parse(name, text).run(&engine());
        assert_eq!(outcomes.len(), evaluations, "{name} has other evaluations");
        for Outcome { line, query, verdict } in &outcomes {
            match verdict {
                Verdict::Passed => passed += 1,
                Verdict::Failed(message) => problems.push(format!("{name}:{line}: {query}\n    {message}")),
            }
        }
    }
    assert!(problems.is_empty(), "{} fail:\n{}", problems.len(), problems.join("\n"));
    assert_eq!(passed, 2_214);
}

/// Asserts that none of the evaluations that `matter` passes.
fn assert_none_pass(name: &str, script: &Script, matter: impl Fn(usize) -> bool) {
    let outcomes = script.run(&engine());
    let passed: Vec<_> = outcomes
        .iter()
        .enumerate()
        .filter(|(index, outcome)| matter(*index) && outcome.verdict == Verdict::Passed)
        .collect();
    assert!(passed.is_empty(), "{name}: these passed with wrong expectations: {passed:#?}");
}

#[test]
fn a_wrong_value_is_caught() {
    for (name, text) in scripts() {
        assert_none_pass(&name, &parse(&name, &text).with_wrong_values(), |_| true);
    }
}

#[test]
fn a_wrong_message_is_caught() {
    let mut checked = 0;
    for (name, text) in scripts() {
        let script = parse(&name, &text);
        let matter = script.expects_messages();
        checked += matter.iter().filter(|matters| **matters).count();
        assert_none_pass(&name, &script.with_wrong_messages(), |index| matter[index]);
    }
    assert!(scripts().is_empty() || checked > 500, "only {checked} evaluations expect messages");
}

#[test]
fn results_without_delayed_name_removal_differ_in_names_only() {
    let script = "
        load 1m
          a_total{x=\"1\"} 0+1x10
          b_total{x=\"1\"} 0+1x10

        eval instant at 5m rate({__name__=~\"._total\"}[2m])
          expect fail msg: vector cannot contain metrics with the same labelset

        eval instant at 5m sum(rate({__name__=~\"a_total\"}[2m]))
          {} 0.016666666666666666

        eval instant at 5m abs(a_total)
          {x=\"1\"} 5

        eval instant at 5m -{__name__=~\"._total\"}
          expect fail msg: vector cannot contain metrics with the same labelset

        eval instant at 5m a_total > 1
          a_total{x=\"1\"} 5
    ";
    let engine = Engine::new(EngineOptions::default());
    for outcome in parse("script", script).run(&engine) {
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
    }
}
