//! Scripts for what Prometheus' own leave out: other options, several steps, messages.

use vedette_promql::promqltest::{Script, Verdict};
use vedette_promql::{Engine, EngineOptions};

/// Runs a script, whose expectations must all hold, and none of whose wrong ones may.
fn check(text: &str, options: EngineOptions) {
    let engine = Engine::new(options);
    let script = || Script::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let failed = |script: Script| -> Vec<_> {
        let outcomes = script.run(&engine);
        outcomes.into_iter().map(|outcome| (outcome.verdict != Verdict::Passed).then_some(outcome)).collect()
    };
    let problems: Vec<_> = failed(script()).into_iter().flatten().collect();
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(script().evaluations() > 0);
    assert!(failed(script().with_wrong_values()).iter().all(Option::is_some));
    let expects = script().expects_messages();
    let wrong = failed(script().with_wrong_messages());
    assert!(expects.iter().zip(&wrong).all(|(expects, failed)| !expects || failed.is_some()));
}

#[test]
fn names_that_are_dropped_at_once() {
    check(include_str!("scripts/names_dropped_at_once.test"), EngineOptions::default());
}

#[test]
fn starts_over_several_steps() {
    let options = EngineOptions { use_start_timestamps: true, ..EngineOptions::default() };
    check(include_str!("scripts/starts.test"), options);
}

#[test]
fn messages_of_operators_and_aggregations() {
    let options = EngineOptions { delayed_name_removal: true, ..EngineOptions::default() };
    check(include_str!("scripts/messages.test"), options);
}

#[test]
fn counters_by_their_type_label() {
    let options = EngineOptions { type_and_unit_labels: true, ..EngineOptions::default() };
    check(include_str!("scripts/type_and_unit_labels.test"), options);
}

#[test]
fn what_random_queries_found() {
    check(include_str!("scripts/found_at_random.test"), EngineOptions::default());
}
