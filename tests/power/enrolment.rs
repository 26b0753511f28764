//! Who is who survives the loss of power: tokens, certificates, keys, membership.

use anyhow::{Result, ensure};
use vedette_tests::{Agent, Aggregator, Disk, GENEROUS, Loss, eventually};

use crate::rounds::rounds;

const ROUNDS: u32 = 8;

/// All that was not synced is lost at once.
fn lose_power(aggregator: &mut Aggregator, disk: &mut Disk) -> Result<()> {
    disk.cut_power_after(0);
    aggregator.kill_hard()?;
    disk.restore(Loss::All, 0)?;
    aggregator.run()
}

#[test]
fn a_token_that_was_shown_works_and_one_that_was_used_does_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let storage = disk.path().join("lib/aggregator");
    let mut aggregator = Aggregator::prepare(&dir.path().join("aggregator"), &storage)?;
    aggregator.run()?;
    for round in 0..3 {
        let token = aggregator.token("agent")?;
        lose_power(&mut aggregator, &mut disk)?;
        let agent = Agent::prepare(&dir.path().join(format!("agent-{round}")), &[])?;
        agent.enroll(&token)?;
        lose_power(&mut aggregator, &mut disk)?;
        let clone = Agent::prepare(&dir.path().join(format!("clone-{round}")), &[])?;
        let refused = clone.enroll(&token).err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(refused.contains("was used before"), "{refused}");
    }
    Ok(())
}

#[test]
fn whoever_was_told_that_it_is_enrolled_is_enrolled() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    for (number, loss) in (0..).zip(Loss::EACH) {
        let name = format!("agent-{number}");
        let mut agent = Agent::prepare(&dir.path().join(&name), &["--interval=1s"])?
            .with_config(&format!("name: {name}\n"))?
            .with_spool(&disk.path().join(format!("lib/{name}")));
        agent.enroll(&aggregator.token("agent")?)?;
        disk.restore(loss, number)?;
        agent.run()?;
        let selector = format!("node_boot_time_seconds{{instance=\"{name}\"}}");
        eventually("its samples arrive", GENEROUS, || aggregator.api().value(&selector, None))?;
        // It hears of the membership again and keeps it.
        agent.kill_hard()?;
        disk.restore(loss, number)?;
        agent.run()?;
        eventually("it is connected again", GENEROUS, || {
            let page = agent.api().get("/metrics")?;
            let mut lines = page.lines().filter(|line| line.starts_with("vedette_agent_replica_connected{"));
            Ok(lines.any(|line| line.ends_with(" 1")).then_some(()))
        })?;
        agent.kill_hard()?;
    }
    Ok(())
}

#[test]
fn a_replica_that_was_told_that_it_has_joined_has_joined() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let first = Aggregator::start(&dir.path().join("first"))?;
    let mut second = Aggregator::prepare(&dir.path().join("second"), &disk.path().join("lib/second"))?;
    second.join(&first.token("replica")?)?;
    disk.restore(Loss::All, 0)?;
    second.run()?;
    let authority = |aggregator: &Aggregator| std::fs::read(aggregator.storage().join("ca/authority.pem"));
    ensure!(authority(&second)? == authority(&first)?, "it has founded a group of its own");
    second.kill_hard()
}

/// Power goes anywhere in the life of an agent's folder that is just being enrolled: what is left of it can be enrolled
/// again, or is enrolled.
#[test]
fn an_enrolment_that_power_cut_short_can_be_repeated() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    for round in rounds(ROUNDS, 14) {
        let name = format!("agent-{}", round.number);
        let mut agent = Agent::prepare(&dir.path().join(&name), &["--interval=1s"])?
            .with_config(&format!("name: {name}\n"))?
            .with_spool(&disk.path().join(format!("lib/{name}")));
        disk.cut_power_after(round.operations);
        let was_told = agent.enroll(&aggregator.token("agent")?).is_ok();
        disk.restore(round.loss, round.seed)?;
        if !was_told {
            agent.enroll(&aggregator.token("agent")?)?;
        }
        agent.run()?;
        let selector = format!("node_boot_time_seconds{{instance=\"{name}\"}}");
        eventually("its samples arrive", GENEROUS, || aggregator.api().value(&selector, None))?;
        agent.kill_hard()?;
    }
    Ok(())
}
