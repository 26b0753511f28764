//! Disks that fail: said, never acknowledged, survived.

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::io::Errno;
use vedette_tests::{Aggregator, Disk, Fault, GENEROUS, Loss, Operation, Witness, eventually};

use crate::aggregator::{BUSY, FOR_EVER, check_whole};

const OPERATIONS: [Operation; 4] =
    [Operation::Write, Operation::Sync, Operation::SyncFolder, Operation::Names];

#[test]
fn an_aggregator_acknowledges_nothing_that_its_disk_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(mut disk) = Disk::mount(&dir.path().join("disk"))? else { return Ok(()) };
    let storage = disk.path().join("storage");
    let mut aggregator = Aggregator::prepare(&dir.path().join("aggregator"), &storage)?.with_config(BUSY)?;
    aggregator.run()?;
    let witness = Witness::enrolled(dir.path(), &aggregator, FOR_EVER)?;
    let mut fixed = StdRng::seed_from_u64(2);
    let mut varied = StdRng::seed_from_u64(rand::random());
    for round in 0..6 {
        let random = if round < 3 { &mut fixed } else { &mut varied };
        let operation = OPERATIONS[round % OPERATIONS.len()];
        let fault = Fault {
            operation,
            // Files come and go once in a while only.
            skip: match operation {
                Operation::Write | Operation::Sync => random.random_range(0..30),
                Operation::SyncFolder | Operation::Names => random.random_range(0..3),
            },
            times: random.random_range(1..=3),
            errno: if random.random_bool(0.5) { Errno::IO } else { Errno::NOSPC },
        };
        println!("round {round}: {fault:?}");
        disk.set_faults(&[fault]);
        eventually("the disk has failed", GENEROUS, || Ok((disk.faults_left() == 0).then_some(())))?;
        aggregator.program()?.check_alive()?;
        let promised = witness.acknowledged()?;
        eventually("it takes batches again", GENEROUS, || {
            Ok((witness.acknowledged()? > promised + 50).then_some(()))
        })?;
        // Whatever the kernel gave up on must have been written again by now.
        disk.cut_power_after(random.random_range(1..100));
        crate::rounds::await_dark(&disk)?;
        aggregator.kill_hard()?;
        let promised = witness.acknowledged()?;
        disk.restore(Loss::All, random.random())?;
        aggregator.run()?;
        check_whole(&witness, &aggregator, promised)?;
    }
    aggregator.await_logged(&["storage can not write"])?;
    aggregator.await_logged(&["storage can write again"])
}
