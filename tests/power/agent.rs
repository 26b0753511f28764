//! An agent that loses power: what it had synced is shipped, once, and nothing that it finds keeps it from going on.

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Agent, Aggregator, Api, Disk, GENEROUS, eventually, unix_ms};

use crate::rounds::{Round, await_dark, rounds};

const ROUNDS: u32 = 20;
const PROBE: &str = "node_boot_time_seconds";

/// One start of the agent.
struct Stretch {
    from_ms: i64,
    through_ms: i64,
    /// Batches that were in its spool, synced, before the power went.
    synced: f64,
}

#[test]
fn an_agent_ships_what_it_had_synced_before_power_went() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let spool = disk.path().join("lib/agent");
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?.with_spool(&spool);
    agent.enroll(&aggregator.token("agent")?)?;
    let mut stretches = Vec::new();
    for round in rounds(ROUNDS, 16) {
        // For half of the time nobody takes what is spooled.
        match round.number % 10 {
            2 => aggregator.kill_hard()?,
            7 => aggregator.run()?,
            _ => {}
        }
        // Every other start promises only that nothing breaks.
        let is_strict = round.number % 2 == 0;
        agent = agent.with_config(if is_strict {
            "spool:\n  sync: always\n"
        } else {
            "spool:\n  sync: 500ms\n"
        })?;
        let mut stretch = Stretch { from_ms: unix_ms(), through_ms: 0, synced: 0.0 };
        agent.run()?;
        disk.cut_power_after(round.operations);
        let spooled = watch(&agent.api(), &disk)?;
        stretch.through_ms = unix_ms();
        if is_strict {
            stretch.synced = spooled;
        }
        stretches.push(stretch);
        agent.kill_hard()?;
        disk.restore(round.loss, round.seed)?;
        if round.number % 4 == 0 {
            lose_power_while_it_opens(&mut agent, &mut disk, &round)?;
        }
    }
    agent.run()?;
    // Without power it can not be read, and that is said as well.
    let log = agent.log();
    let is_damage =
        |line: &&str| line.contains("identity can not be used") && !line.contains("Input/output error");
    ensure!(log.lines().find(is_damage).is_none(), "the identity was damaged: {log}");
    let promised: f64 = stretches.iter().map(|stretch| stretch.synced).sum();
    ensure!(promised > 5.0, "only {promised} batches were known to be synced");
    eventually("what was synced arrives, once", GENEROUS, || {
        check_shipped(&aggregator.api(), &stretches).map(Some)
    })
}

/// How many batches the agent had spooled, as it said last before the power went.
fn watch(api: &Api, disk: &Disk) -> Result<f64> {
    let mut spooled = 0.0;
    eventually("the power is gone", GENEROUS, || {
        let page = api.get("/metrics").unwrap_or_default();
        let name = "vedette_agent_batches_total ";
        let said = page.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
        if disk.is_off() {
            return Ok(Some(()));
        }
        // What it says without power is in no file.
        spooled = said.unwrap_or(spooled);
        Ok(None)
    })?;
    Ok(spooled)
}

fn lose_power_while_it_opens(agent: &mut Agent, disk: &mut Disk, round: &Round) -> Result<()> {
    disk.cut_power_after(1 + round.seed % 4);
    agent.launch()?;
    await_dark(disk)?;
    agent.kill_hard()?;
    disk.restore(round.loss, round.seed)
}

fn check_shipped(api: &Api, stretches: &[Stretch]) -> Result<()> {
    let start = stretches.first().context("a stretch")?.from_ms;
    let end = unix_ms();
    let answers = api.query(&format!("{PROBE}[{}ms]", end - start + 1), Some(end))?;
    let times: Vec<i64> = answers.iter().flat_map(|answer| &answer.samples).map(|(at, _)| *at).collect();
    ensure!(answers.len() == 1 && times.windows(2).all(|pair| pair[0] < pair[1]), "twice, or none");
    for (number, stretch) in stretches.iter().enumerate() {
        let (from, through) = (stretch.from_ms, stretch.through_ms);
        let arrived = times.iter().filter(|at| (from..=through).contains(at)).count();
        ensure!(
            arrived as f64 >= stretch.synced,
            "{arrived} of {} synced batches of round {number} have arrived",
            stretch.synced
        );
    }
    Ok(())
}
