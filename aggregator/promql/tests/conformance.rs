//! Prometheus' own conformance scripts, read in place.

use std::path::PathBuf;

use vedette_promql::promqltest::{Outcome, Script, Verdict};
use vedette_promql::{Engine, EngineOptions};

/// Per script: how many evaluations it has, and how many at least pass. None may fail for any other reason
/// than that it needs native histograms, start timestamps, `info` or `limit_ratio`.
const FLOORS: [(&str, usize, usize); 21] = [
    ("aggregators.test", 160, 124),
    ("at_modifier.test", 78, 78),
    ("collision.test", 2, 2),
    ("duration_expression.test", 59, 59),
    ("extended_vectors.test", 169, 123),
    ("fill-modifier.test", 46, 46),
    ("functions.test", 431, 380),
    ("histograms.test", 185, 93),
    ("info.test", 53, 0),
    ("limit.test", 37, 7),
    ("literals.test", 25, 25),
    ("name_label_dropping.test", 30, 30),
    ("native_histograms.test", 522, 3),
    ("operators.test", 214, 145),
    ("range_queries.test", 18, 17),
    ("selectors.test", 31, 31),
    ("staleness.test", 17, 17),
    ("start_timestamps.test", 26, 3),
    ("subquery.test", 34, 32),
    ("trig_functions.test", 19, 19),
    ("type_and_unit.test", 58, 58),
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

/// As Prometheus runs them: with delayed name removal.
fn engine() -> Engine {
    Engine::new(EngineOptions { delayed_name_removal: true, ..EngineOptions::default() })
}

fn parse(name: &str, text: &str) -> Script {
    Script::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn evaluations_pass() {
    let scripts = scripts();
    if scripts.is_empty() {
        return;
    }
    let names: Vec<_> = scripts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, FLOORS.map(|(name, ..)| name), "the scripts have changed");
    let mut problems = Vec::new();
    for ((name, text), (_, evaluations, floor)) in scripts.iter().zip(FLOORS) {
        let outcomes = parse(name, text).run(&engine());
        assert_eq!(outcomes.len(), evaluations, "{name} has other evaluations");
        let passed = outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Passed).count();
        println!("{name}: {passed} of {evaluations} pass, {} need more", evaluations - passed);
        if passed < floor {
            problems.push(format!("{name}: {passed} pass, fewer than {floor}"));
        }
        for Outcome { line, query, verdict } in &outcomes {
            if let Verdict::Failed(message) = verdict {
                problems.push(format!("{name}:{line}: {query}\n    {message}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_wrong_expectation_is_caught() {
    for (name, text) in scripts() {
        let right = parse(&name, &text).run(&engine());
        let wrong = parse(&name, &text).falsified().run(&engine());
        let passes = |outcome: &Outcome| outcome.verdict == Verdict::Passed;
        // What does not pass as it stands says nothing when it is made wrong.
        let missed: Vec<_> =
            right.iter().zip(&wrong).filter(|(right, wrong)| passes(right) && passes(wrong)).collect();
        assert!(missed.is_empty(), "{name}: these passed with wrong expectations: {missed:#?}");
    }
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
