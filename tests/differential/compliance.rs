//! The PromQL compliance suite's 539 queries, each at one time and over a range.

use anyhow::{Context as _, Result, ensure};
use vedette_tests::compare::{Question, Times};
use vedette_tests::{Api, shared, unix_ms};

use crate::mutations::{Missed, mutations};
use crate::{Pair, demo};

/// What has no series at all is easily equal. These have none, and no others.
const EMPTY: &str = include_str!("empty.txt");

struct Case {
    query: String,
    fails: bool,
}

fn cases() -> Result<Option<Vec<Case>>> {
    let Some(shared) = shared() else { return Ok(None) };
    let path = shared.join("data/promql-compliance/queries.tsv");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let cases = text.lines().skip(1).map(|line| {
        let (expected, query) = line.split_once('\t').context("two columns")?;
        // Written when label names were ASCII: any UTF-8 is a name now.
        let fails = expected == "fail" && !query.contains("\"~invalid\"");
        Ok(Case { query: query.to_owned(), fails })
    });
    Ok(Some(cases.collect::<Result<_>>()?))
}

#[test]
fn compliance_queries_are_answered_as_by_prometheus() -> Result<()> {
    let Some(cases) = cases()? else { return Ok(()) };
    ensure!(cases.len() == 539, "{} queries", cases.len());
    let Some(pair) = Pair::start()? else { return Ok(()) };
    // Ages well within the hour that Prometheus' head takes, and on a time that samples have.
    let end = unix_ms() / demo::INTERVAL_MS * demo::INTERVAL_MS - 60_000;
    pair.push(&demo::requests(end, 1))?;
    let (theirs, ours) = pair.apis();
    let (mut failing, mut different, mut empty) = (0, Vec::new(), Vec::new());
    for case in &cases {
        for times in times(end) {
            let question = Question::new(&case.query, times);
            let replies = (question.ask(&theirs)?, question.ask(&ours)?);
            ensure!(replies.0.is_error() == case.fails, "Prometheus: {question:?}: {:?}", replies.0);
            failing += usize::from(case.fails);
            if let Some(what) = question.difference(&replies.0, &replies.1) {
                different.push(format!("{question:?}: {what}"));
            }
            if replies.0.is_empty() {
                let kind = if matches!(question.times, Times::At(_)) { "instant" } else { "range" };
                empty.push(format!("{kind}\t{}", case.query));
            }
        }
    }
    ensure!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    ensure!(failing == 6, "{failing} answers are errors");
    let expected: Vec<&str> = EMPTY.lines().collect();
    ensure!(empty == expected, "empty answers are not those of empty.txt, but:\n{}", empty.join("\n"));
    mutations_are_caught(&theirs, &cases, end)
}

/// An instant within the data, and a range that begins before it.
fn times(end: i64) -> [Times; 2] {
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    let start = end - demo::SAMPLES * demo::INTERVAL_MS - 600_000;
    [
        Times::At(seconds(end - 600_000)),
        Times::Range { start: seconds(start), end: seconds(end), step: "30".to_owned() },
    ]
}

/// Whoever compares has to see what differs: each answer of Prometheus, changed a little, is another one.
fn mutations_are_caught(theirs: &Api, cases: &[Case], end: i64) -> Result<()> {
    let mut missed = Missed::default();
    for case in cases.iter().filter(|case| !case.fails) {
        for times in times(end) {
            let question = Question::new(&case.query, times);
            let reply = question.ask(theirs)?;
            missed.look_for(&question, &reply, mutations(&reply));
        }
    }
    missed.none(3000)
}
