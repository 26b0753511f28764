//! An aggregator that loses power, while it takes batches and while it opens.

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Aggregator, Api, Disk, GENEROUS, Witness, eventually};

use crate::rounds::{Round, await_dark, rounds};

/// Frozen every second, so that parts, merges and dropped generations are under way when power goes.
pub(crate) const BUSY: &str = "storage:\n  head_age_max: 1s\n  head_samples_max: 2000\n";
/// Longer than any test: the witness ends with it.
pub(crate) const FOR_EVER: u32 = 3600;
const ROUNDS: u32 = 20;

#[test]
fn what_was_acknowledged_survives_every_loss_of_power() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let storage = disk.path().join("storage");
    let mut aggregator = Aggregator::prepare(&dir.path().join("aggregator"), &storage)?.with_config(BUSY)?;
    aggregator.run()?;
    let witness = Witness::enrolled(dir.path(), &aggregator, FOR_EVER)?;
    let mut freezes = 0.0;
    for round in rounds(ROUNDS, 300) {
        disk.cut_power_after(round.operations);
        let api = aggregator.api();
        eventually("the power is gone", GENEROUS, || {
            if let Ok(counted) = counter(&api, "vedette_aggregator_storage_freezes_total") {
                freezes = f64::max(freezes, counted);
            }
            Ok(disk.is_off().then_some(()))
        })?;
        aggregator.kill_hard()?;
        let promised = witness.acknowledged()?;
        disk.restore(round.loss, round.seed)?;
        if round.number % 3 == 0 {
            lose_power_while_it_opens(&mut aggregator, &mut disk, &round)?;
        }
        aggregator.run()?;
        check_whole(&witness, &aggregator, promised)?;
    }
    let promised = witness.acknowledged()?;
    ensure!(promised > 500, "only {promised} batches were acknowledged");
    ensure!(freezes > 1.0, "the head was frozen {freezes} times");
    Ok(())
}

/// Everything acknowledged is there; if not, the error says what else there is.
pub(crate) fn check_whole(witness: &Witness, aggregator: &Aggregator, promised: u64) -> Result<()> {
    witness.check_whole(&aggregator.api(), promised).with_context(|| {
        let entries = std::fs::read_dir(aggregator.storage()).into_iter().flatten().flatten();
        let files: Vec<_> = entries
            .map(|entry| (entry.file_name(), entry.metadata().map_or(0, |metadata| metadata.len())))
            .collect();
        format!("{files:?}\n{}", aggregator.log())
    })
}

fn lose_power_while_it_opens(aggregator: &mut Aggregator, disk: &mut Disk, round: &Round) -> Result<()> {
    disk.cut_power_after(1 + round.seed % 60);
    aggregator.launch()?;
    await_dark(disk)?;
    aggregator.kill_hard()?;
    disk.restore(round.loss, round.seed)
}

fn counter(api: &Api, name: &str) -> Result<f64> {
    let page = api.get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map_or(Ok(0.0), str::parse)?)
}
