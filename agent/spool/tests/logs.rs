//! A process that restarted very often leaves very many logs.

#[expect(dead_code, reason = "every test uses its part of this")]
mod simulated;

use std::sync::Arc;
use std::time::Duration;

use simulated::{SimulatedDisk, frame};
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_spool::{Spool, SpoolConfig, SyncPolicy};
use vedette_wire::control::{Member, Members};
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, FrameHeader, FrameKind, GapReason, LogId, ReplicaId};

/// As many logs as keep their batches.
const KEPT: u128 = 1000;
const BATCHES: u64 = 3;

fn now() -> Now {
    Now { wall: Timestamp::from_millis(5000), monotonic: Duration::from_secs(5) }
}

fn replica(number: u128) -> ReplicaId {
    ReplicaId(Uuid::from_u128(number))
}

fn open(disk: &SimulatedDisk) -> Spool {
    let config = SpoolConfig { sync: SyncPolicy::Never, ..SpoolConfig::at("/spool") };
    Spool::open(config, Arc::new(disk.clone()), now()).expect("opens")
}

fn fill(spool: &mut Spool, logs: std::ops::RangeInclusive<u128>) {
    let members = [1, 2].map(|number| Member { replica: replica(number), addresses: vec!["a:1".into()] });
    spool.set_members(Members { version: 1, lease_ms: 3_600_000, members: members.into() }, now());
    for log in logs {
        spool.start_log(LogId(log));
        for seq in 1..=BATCHES {
            spool.append(BatchSeq(seq), &frame(seq, 1, b"body"), seq == 1, now()).expect("in order");
        }
    }
    spool.flush(now());
}

/// Batches dropped because of a limit since the spool was opened.
fn dropped(spool: &Spool) -> u64 {
    let counters = spool.statistics(now()).counters;
    counters
        .dropped_by_reason()
        .filter(|(reason, _)| *reason == GapReason::SpoolLimit)
        .map(|(_, count)| count)
        .sum()
}

/// What a replica that has nothing of a log is sent: kind, first and last number of each frame.
fn sent(spool: &mut Spool, log: u128) -> Vec<(FrameKind, u64, u64)> {
    let frames = spool.read(LogId(log), BatchSeq(1), BatchSeq(BATCHES), usize::MAX, now()).expect("reads");
    let kind = |bytes: &[u8]| FrameHeader::parse(bytes).expect("a frame").expect("whole").kind;
    frames.iter().map(|stored| (kind(&stored.bytes), stored.first.0, stored.last.0)).collect()
}

#[test]
fn of_too_many_logs_the_oldest_become_gaps_that_replicas_are_told_of() {
    let disk = SimulatedDisk::new();
    fill(&mut open(&disk), 1..=KEPT + 3);
    let whole = [(FrameKind::Key, 1, 1), (FrameKind::Delta, 2, 2), (FrameKind::Delta, 3, 3)];
    let gap = [(FrameKind::Gap, 1, BATCHES)];
    let mut spool = open(&disk);
    assert_eq!(dropped(&spool), 3 * BATCHES);
    for _ in 0..2 {
        assert_eq!(spool.logs().len() as u128, KEPT + 3, "all are still offered");
        for log in 1..=3 {
            assert_eq!(sent(&mut spool, log), gap, "log {log}");
        }
        for log in [4, 5, KEPT + 3] {
            assert_eq!(sent(&mut spool, log), whole, "log {log}");
        }
        // What was made a gap stays one.
        spool = open(&disk);
        assert_eq!(dropped(&spool), 0);
    }
    // A gap goes when every member has been told.
    spool.set_cursor(replica(1), LogId(1), BatchSeq(BATCHES));
    spool.maintain(now());
    assert_eq!(sent(&mut spool, 1), gap);
    spool.set_cursor(replica(2), LogId(1), BatchSeq(BATCHES));
    spool.maintain(now());
    assert!(spool.logs().iter().all(|range| range.log != LogId(1)));
}

#[test]
fn what_everyone_has_leaves_no_gap() {
    let disk = SimulatedDisk::new();
    let mut spool = open(&disk);
    fill(&mut spool, 1..=KEPT + 2);
    for number in [1, 2] {
        spool.set_cursor(replica(number), LogId(1), BatchSeq(BATCHES));
    }
    spool.save_state(now());
    let mut spool = open(&disk);
    assert_eq!(dropped(&spool), BATCHES, "of log 2 alone");
    assert_eq!(sent(&mut spool, 2), [(FrameKind::Gap, 1, BATCHES)]);
}
