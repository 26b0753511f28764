//! A full disk, on either side: said, survived, recovered from; nothing acknowledged is lost.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use vedette_tests::{Agent, Aggregator, GENEROUS, eventually, mounted_tmpfs, run_for, unix_ms};

use crate::continuity::{await_whole, sample_times};

const PROBE: &str = "node_boot_time_seconds";

#[test]
fn an_agent_goes_on_in_memory_when_its_disk_is_full() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let spool = dir.path().join("small");
    let Some(_mounted) = mounted_tmpfs(&spool, 2)? else { return Ok(()) };
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let mut agent =
        Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?.with_spool(&spool.join("spool"));
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    let start = unix_ms();
    let ballast = spool.join("ballast");
    fill(&ballast)?;
    aggregator.kill_hard()?;
    agent.await_logged(&["takes no more data", "No space left on device"])?;
    run_for(Duration::from_secs(8));
    aggregator.run()?;
    await_whole(&api, PROBE, start, unix_ms() - 1_000)?;
    std::fs::remove_file(&ballast)?;
    run_for(Duration::from_secs(4));
    agent.program()?.check_alive()?;
    await_whole(&api, PROBE, start, unix_ms() - 2_000)
}

#[test]
fn an_aggregator_whose_disk_was_full_has_everything_afterwards() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = dir.path().join("small");
    let Some(_mounted) = mounted_tmpfs(&disk, 64)? else { return Ok(()) };
    let mut aggregator = Aggregator::prepare(&dir.path().join("aggregator"), &disk.join("storage"))?;
    aggregator.run()?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    let start = unix_ms();
    run_for(Duration::from_secs(3));
    let ballast = disk.join("ballast");
    fill(&ballast)?;
    let seen_until = unix_ms();
    let seen = sample_times(&api, PROBE, 3600, seen_until)?;
    eventually("it says that it can not write", GENEROUS, || {
        let log = aggregator.log();
        Ok((log.contains("No space left") || log.to_lowercase().contains("disk")).then_some(()))
    })?;
    aggregator.program()?.check_alive()?;
    let kept = sample_times(&api, PROBE, 3600, seen_until)?;
    ensure!(seen.iter().all(|at| kept.contains(at)), "it still answers what it has");
    std::fs::remove_file(&ballast)?;
    eventually("it writes again", GENEROUS, || {
        let times = sample_times(&api, PROBE, 60, unix_ms())?;
        Ok(times.last().filter(|at| unix_ms() - **at < 3_000).map(drop))
    })?;
    await_whole(&api, PROBE, start, unix_ms() - 2_000)?;
    aggregator.kill_hard()?;
    aggregator.run()?;
    await_whole(&api, PROBE, start, seen_until)
}

/// Writes until there is no room.
fn fill(path: &Path) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut size = 1 << 16;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
    file.sync_all().ok();
    Ok(())
}
