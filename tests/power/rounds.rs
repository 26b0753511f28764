//! When power goes, and what it takes with it.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_tests::{Disk, GENEROUS, Loss, eventually};

/// One loss of power.
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) loss: Loss,
    pub(crate) seed: u64,
    /// How many operations of the disk later.
    pub(crate) operations: u64,
}

/// `count` losses, the first half of them the same in every run. All are printed.
pub(crate) fn rounds(count: u32, operations_max: u64) -> impl Iterator<Item = Round> {
    let (mut fixed, mut varied) = (StdRng::seed_from_u64(1), StdRng::seed_from_u64(rand::random()));
    (0..count).map(move |number| {
        let random = if number < count / 2 { &mut fixed } else { &mut varied };
        let round = Round {
            number,
            loss: Loss::EACH[random.random_range(0..Loss::EACH.len())],
            seed: random.random(),
            operations: random.random_range(1..=operations_max),
        };
        println!("round {number}: {:?}, seed {}, after {}", round.loss, round.seed, round.operations);
        round
    })
}

/// Waits until the power is gone.
pub(crate) fn await_dark(disk: &Disk) -> Result<()> {
    eventually("the power is gone", GENEROUS, || Ok(disk.is_off().then_some(())))
}
