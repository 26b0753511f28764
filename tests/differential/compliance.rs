//! The PromQL compliance suite's 539 queries, each at one time and over a range.

use anyhow::{Context as _, Result, ensure};
use vedette_tests::compare::{Question, Reply, Times};
use vedette_tests::{Api, shared, unix_ms};

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
            let question = Question { query: case.query.clone(), times };
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
    let (mut tried, mut missed) = (0, Vec::new());
    for case in cases.iter().filter(|case| !case.fails) {
        for times in times(end) {
            let question = Question { query: case.query.clone(), times };
            let reply = question.ask(theirs)?;
            for mutated in mutations(&reply) {
                tried += 1;
                if question.difference(&reply, &mutated).is_none() {
                    missed.push(format!("{question:?}: {:.300}", mutated.body.to_string()));
                }
            }
        }
    }
    ensure!(missed.is_empty(), "{} of {tried} mutations were not seen:\n{}", missed.len(), missed.join("\n"));
    ensure!(tried > 3000, "only {tried} mutations");
    Ok(())
}

/// A value a millionth larger, a time a millisecond later, a label more, a series less, a warning more, another status.
fn mutations(reply: &Reply) -> Vec<Reply> {
    let change = |change: &dyn Fn(&mut Reply)| {
        let mut changed = reply.clone();
        change(&mut changed);
        changed
    };
    let mut all = vec![
        change(&|reply| {
            let none = !reply.body["warnings"].is_array();
            reply.body["warnings"] = if none { serde_json::json!(["w"]) } else { serde_json::Value::Null };
        }),
        change(&|reply| (reply.status, reply.body["status"]) = (422, "error".into())),
    ];
    let result = &reply.body["data"]["result"];
    let place = match result {
        _ if result[0]["value"].is_array() => "/data/result/0/value",
        _ if result[0]["values"].is_array() => "/data/result/0/values/0",
        _ if result[0].is_number() => "/data/result",
        _ => return all,
    };
    let sample = reply.body.pointer(place).cloned().unwrap_or_default();
    let value: f64 = sample[1].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
    let other = if value.is_finite() { value * (1.0 + 1e-6) + 1e-300 } else { 1.0 };
    all.push(change(&|reply| {
        if let Some(sample) = reply.body.pointer_mut(place) {
            sample[1] = other.to_string().into();
        }
    }));
    all.push(change(&|reply| {
        if let Some(sample) = reply.body.pointer_mut(place) {
            sample[0] = (sample[0].as_f64().unwrap_or_default() + 0.001).into();
        }
    }));
    if result[0].is_object() {
        all.push(change(&|reply| reply.body["data"]["result"][0]["metric"]["more"] = "1".into()));
        all.push(change(&|reply| drop(reply.body["data"]["result"].as_array_mut().and_then(Vec::pop))));
    }
    all
}
