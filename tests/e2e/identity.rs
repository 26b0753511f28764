//! Machines that are wiped, cloned and restored: nothing is taken for a repetition, and conflicts are reported.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use vedette_tests::{Agent, GENEROUS, enrolled_pair, eventually, run_for, unix_ms};

use crate::continuity::sample_times;

const PROBE: &str = "node_boot_time_seconds";

#[test]
fn a_wiped_spool_loses_only_what_was_in_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    run_for(Duration::from_secs(4));
    let seen_until = unix_ms();
    let seen = sample_times(&api, PROBE, 3600, seen_until)?;
    agent.kill_hard()?;
    for entry in std::fs::read_dir(agent.spool())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "identity") {
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
    }
    agent.run()?;
    let back = unix_ms();
    eventually("new samples after the wipe", GENEROUS, || {
        let times = sample_times(&api, PROBE, 60, unix_ms())?;
        Ok((times.iter().filter(|at| **at > back).count() >= 3).then_some(()))
    })?;
    let kept = sample_times(&api, PROBE, 3600, seen_until)?;
    ensure!(seen.iter().all(|at| kept.contains(at)), "what had arrived is still there");
    Ok(())
}

#[test]
fn a_cloned_agent_is_reported_and_nothing_is_dropped() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    agent.kill_hard()?;
    copy(agent.spool(), &dir.path().join("clone/spool"))?;
    agent.run()?;
    let mut clone = Agent::prepare(&dir.path().join("clone"), &["--interval=1s"])?;
    clone.run()?;
    let conflict = "vedette_aggregator_identity_conflict";
    eventually("the conflict is reported", GENEROUS, || {
        Ok((aggregator.api().own_metric(conflict)? >= 1.0).then_some(()))
    })?;
    aggregator.await_logged(&["identity_conflict"])?;
    let start = unix_ms();
    run_for(Duration::from_secs(5));
    let times = sample_times(&api, PROBE, 3600, unix_ms())?;
    let recent = times.iter().filter(|at| **at > start).count();
    ensure!(recent >= 4, "both clones' data is taken: {recent} samples in 5 s");
    clone.kill_hard()?;
    eventually("the conflict is over", GENEROUS, || {
        Ok((aggregator.api().own_metric(conflict)? == 0.0).then_some(()))
    })
}

#[test]
fn a_restored_machine_is_not_taken_for_a_repetition() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    agent.kill_hard()?;
    let snapshot = dir.path().join("snapshot");
    copy(agent.spool(), &snapshot)?;

    agent.run()?;
    let lived = unix_ms();
    eventually("life after the snapshot", GENEROUS, || {
        Ok((sample_times(&api, PROBE, 60, unix_ms())?.iter().filter(|at| **at > lived).count() >= 4)
            .then_some(()))
    })?;
    let seen_until = unix_ms();
    let seen = sample_times(&api, PROBE, 3600, seen_until)?;
    agent.kill_hard()?;

    std::fs::remove_dir_all(agent.spool())?;
    copy(&snapshot, agent.spool())?;
    agent.run()?;
    let restored = unix_ms();
    eventually("life after the restore", GENEROUS, || {
        Ok((sample_times(&api, PROBE, 60, unix_ms())?.iter().filter(|at| **at > restored).count() >= 4)
            .then_some(()))
    })?;
    let kept = sample_times(&api, PROBE, 3600, seen_until)?;
    ensure!(seen.iter().all(|at| kept.contains(at)), "what had arrived before the restore is still there");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(status.success(), "cp -a {} {}", from.display(), to.display());
    Ok(())
}
