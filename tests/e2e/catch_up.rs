//! A replica that was away for long, or is new, gets from the other what agents no longer have.

use std::time::Duration;

use anyhow::{Result, ensure};
use vedette_tests::{Agent, Aggregator, GENEROUS, eventually, run_for, unix_ms};

use crate::continuity::await_whole;
use crate::replicas::{PROBE, compare};

/// Everything that takes minutes or hours takes seconds.
const QUICK: &str = "
storage:
  head_age_max: 2s
  generations_max: 2
  merge_parts_min: 3
members:
  lease: 4s
  catch_up_interval: 1s
";

fn prepare(dir: &std::path::Path, name: &str) -> Result<Aggregator> {
    Aggregator::prepare(&dir.join(name), &dir.join(name).join("storage"))?.with_config(QUICK)
}

/// The first replica of a group, and an agent of it, both running.
fn first_with_agent(dir: &std::path::Path) -> Result<(Aggregator, Agent)> {
    let mut first = prepare(dir, "first")?;
    first.run()?;
    let mut agent = Agent::prepare(&dir.join("agent"), &["--interval=1s"])?;
    agent.enroll(&first.token("agent")?)?;
    agent.run()?;
    eventually("the first sample", GENEROUS, || first.api().value(PROBE, None))?;
    Ok((first, agent))
}

/// Waits until all that the first replica has taken so far is in merged parts alone, and neither in its log nor with
/// the agent: which has to start anew for that, since its open segment is kept.
fn let_go(first: &Aggregator, agent: &mut Agent) -> Result<()> {
    let merges = || first.api().own_metric("vedette_aggregator_storage_merges_total");
    let (before, start) = (merges()?, unix_ms());
    agent.terminate()?;
    agent.run()?;
    eventually("parts are merged", GENEROUS, || Ok((merges()? >= before + 2.0).then_some(())))?;
    eventually("the agent has freed what it had", GENEROUS, || {
        let logs = agent.api().own_metric("vedette_agent_spool_logs")?;
        Ok((logs == 1.0 && unix_ms() > start + 8_000).then_some(()))
    })
}

/// Waits until `replica` lacks nothing that its peer has, and has no hole.
fn await_caught_up(replica: &Aggregator) -> Result<()> {
    eventually("the replica has caught up", GENEROUS, || {
        let api = replica.api();
        let copied = api.own_metric("vedette_aggregator_catch_up_batches_copied_total")?;
        let holes = api.own_metric("vedette_aggregator_gap_batches")?;
        ensure!(copied > 0.0 && holes == 0.0, "{copied} batches copied, {holes} missing");
        Ok(Some(()))
    })
}

fn check(first: &Aggregator, second: &Aggregator, start: i64) -> Result<()> {
    run_for(Duration::from_secs(3));
    await_caught_up(second)?;
    let end = unix_ms() - 3_000;
    // The agent was started anew once: a second or two are missing there, on both sides.
    await_whole(&first.api(), PROBE, end - 3_000, end)?;
    compare(&first.api(), &second.api(), start, end)
}

#[test]
fn a_replica_that_was_away_past_its_lease_copies_what_agents_have_freed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, mut agent) = first_with_agent(dir.path())?;
    let mut second = prepare(dir.path(), "second")?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    eventually("the first sample", GENEROUS, || second.api().value(PROBE, None))?;
    let start = unix_ms();
    run_for(Duration::from_secs(3));
    second.kill_hard()?;
    run_for(Duration::from_secs(12));
    let_go(&first, &mut agent)?;
    second.run()?;
    check(&first, &second, start)?;
    second.await_logged(&["catch-up ends"])
}

#[test]
fn a_replica_that_joins_gets_the_whole_past() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, mut agent) = first_with_agent(dir.path())?;
    let start = unix_ms();
    run_for(Duration::from_secs(8));
    let_go(&first, &mut agent)?;
    let mut second = prepare(dir.path(), "second")?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    check(&first, &second, start)
}

#[test]
fn a_replica_that_is_killed_while_it_catches_up_finishes_later() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, mut agent) = first_with_agent(dir.path())?;
    let start = unix_ms();
    run_for(Duration::from_secs(10));
    let_go(&first, &mut agent)?;
    // So slow that it is killed in the middle.
    let slow = format!("{QUICK}limits:\n  catch_up_bytes_per_second_max: 2000\n");
    let mut second = Aggregator::prepare(&dir.path().join("second"), &dir.path().join("second/storage"))?
        .with_config(&slow)?;
    second.join(&first.token("replica")?)?;
    for _ in 0..3 {
        second.run()?;
        let api = second.api();
        eventually("a copy is going on", GENEROUS, || {
            let running = api.own_metric("vedette_aggregator_catch_up_running")?;
            let bytes = api.own_metric("vedette_aggregator_catch_up_bytes_copied_total")?;
            Ok((running > 0.0 && bytes > 0.0).then_some(()))
        })?;
        second.kill_hard()?;
    }
    let mut second = second.with_config(QUICK)?;
    second.run()?;
    check(&first, &second, start)
}
