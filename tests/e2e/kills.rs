//! `kill -9` at random: what was acknowledged is there, once; what was spooled arrives.

use std::time::Duration;

use anyhow::{Result, ensure};
use rand::RngExt as _;
use vedette_tests::{Aggregator, GENEROUS, Witness, enrolled_pair, eventually, run_for, unix_ms};

use crate::continuity::{await_whole, holes, sample_times};

const KILLS: u32 = 20;
const PROBE: &str = "node_boot_time_seconds";

#[test]
fn the_aggregator_killed_twenty_times_loses_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, _agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    let start = unix_ms();
    for _ in 0..KILLS {
        run_for(Duration::from_millis(rand::rng().random_range(50..2_500)));
        let seen_until = unix_ms();
        let seen = sample_times(&api, PROBE, 3600, seen_until)?;
        aggregator.kill_hard()?;
        aggregator.run()?;
        let kept = sample_times(&api, PROBE, 3600, seen_until)?;
        let lost: Vec<_> = seen.iter().filter(|at| !kept.contains(at)).collect();
        ensure!(lost.is_empty(), "answered before the kill and gone after it: {lost:?}");
    }
    run_for(Duration::from_secs(2));
    await_whole(&api, PROBE, start, unix_ms() - 1_000)?;
    await_whole(&api, "up{job=\"node\"}", start, unix_ms() - 1_000)
}

#[test]
fn the_agent_killed_twenty_times_loses_nothing_it_had_spooled() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    let start = unix_ms();
    let mut downtimes = Vec::new();
    for _ in 0..KILLS {
        run_for(Duration::from_millis(rand::rng().random_range(50..2_500)));
        let down_from = unix_ms();
        agent.kill_hard()?;
        agent.run()?;
        downtimes.push((down_from, unix_ms()));
    }
    run_for(Duration::from_secs(3));
    let end = unix_ms();
    eventually("the samples between the kills arrive", GENEROUS, || {
        let times = sample_times(&api, PROBE, (end - start) / 1000, end)?;
        // A hole is explained by a downtime inside it: the tick before, the tick after, and the kill's own tick.
        let unexplained: Vec<_> = holes(&times, 1_500)
            .into_iter()
            .filter(|(from, to)| {
                !downtimes
                    .iter()
                    .any(|(down, up)| from - 1_500 <= *down && *up <= to + 1_500 && to - from < 6_000)
            })
            .collect();
        ensure!(unexplained.is_empty(), "holes while the agent was up: {unexplained:?}");
        ensure!(times.windows(2).all(|pair| pair[0] < pair[1]), "twice");
        Ok(Some(()))
    })
}

#[test]
fn an_aggregator_away_for_a_minute_gets_everything_live_first() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    let start = unix_ms();
    aggregator.kill_hard()?;
    run_for(Duration::from_secs(70));
    aggregator.run()?;
    let back = unix_ms();
    let live = eventually("live data", GENEROUS, || {
        let at = api.value(&format!("timestamp({PROBE})"), None)?;
        Ok(at.filter(|at| (at * 1000.0) as i64 >= back - 2_000))
    })?;
    let waited = unix_ms() - back;
    println!("live data {waited} ms after the return, of {live}");
    run_for(Duration::from_secs(3));
    await_whole(&api, PROBE, start, unix_ms() - 1_000)?;
    agent.await_logged(&["live"])
}

#[test]
fn what_a_witness_saw_acknowledged_survives_twenty_kills_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let mut witness = Witness::enrolled(dir.path(), &aggregator, 45)?;
    for _ in 0..KILLS {
        run_for(Duration::from_millis(rand::rng().random_range(50..1_500)));
        aggregator.kill_hard()?;
        let promised = witness.acknowledged()?;
        aggregator.run()?;
        witness.check_whole(&aggregator.api(), promised)?;
    }
    let exit = eventually("the witness is done", 2 * GENEROUS, || witness.ended())?;
    ensure!(exit.success(), "the witness: {exit}");
    let promised = witness.acknowledged()?;
    ensure!(promised > 1_000, "only {promised} batches were acknowledged");
    witness.check_whole(&aggregator.api(), promised)
}
