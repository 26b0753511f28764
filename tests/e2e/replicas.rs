//! Two replicas of one group: one away for a while, and both answer the same afterwards, bit for bit.

use std::time::Duration;

use anyhow::{Result, ensure};
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, eventually, run_for, unix_ms};

use crate::continuity::await_whole;

pub(crate) const PROBE: &str = "node_boot_time_seconds";

/// Everything, raw and evaluated.
const EXPRESSIONS: [&str; 6] = [
    "{__name__=~\".+\"}[5m]",
    "up",
    "sum by (mode) (rate(node_cpu_seconds_total[30s]))",
    "topk(5, {job=\"node\"})",
    "quantile by (__name__) (0.9, {job=\"node\"})",
    "count({job=\"node\"})",
];

#[test]
fn two_replicas_answer_the_same_after_one_was_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = Aggregator::start(&dir.path().join("first"))?;
    let mut second = Aggregator::prepare(&dir.path().join("second"), &dir.path().join("second/storage"))?;
    second.join(&first.token("replica")?)?;
    second.run()?;

    // The agent knows the first one only; it is told of the second.
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    agent.enroll(&first.token("agent")?)?;
    agent.run()?;
    for api in [first.api(), second.api()] {
        eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    }
    let start = unix_ms();
    run_for(Duration::from_secs(5));
    second.kill_hard()?;
    run_for(Duration::from_secs(62));
    second.run()?;
    run_for(Duration::from_secs(3));
    let end = unix_ms() - 2_000;
    for api in [first.api(), second.api()] {
        await_whole(&api, PROBE, start, end)?;
    }
    compare(&first.api(), &second.api(), start, end)
}

/// Waits until both answer the same over the range.
pub(crate) fn compare(first: &Api, second: &Api, start: i64, end: i64) -> Result<()> {
    eventually("both answer the same", GENEROUS, || {
        for expression in EXPRESSIONS {
            let answers = [first.query(expression, Some(end))?, second.query(expression, Some(end))?];
            ensure!(!answers[0].is_empty(), "{expression} is empty");
            ensure!(answers[0] == answers[1], "{expression} differs");
            if !expression.ends_with(']') {
                let answers = [
                    first.query_range(expression, start, end, "1s")?,
                    second.query_range(expression, start, end, "1s")?,
                ];
                ensure!(answers[0] == answers[1], "{expression} differs over the range");
            }
        }
        Ok(Some(()))
    })
}
