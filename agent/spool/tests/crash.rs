//! The spool on a disk that breaks: random histories of appends, acknowledgements, limits, kills, losses of power
//! and full disks, compared with what was appended.

mod simulated;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use simulated::{Random, SimulatedDisk, frame};
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_spool::{Appended, Spool, SpoolConfig, SyncPolicy};
use vedette_wire::control::{Member, Members};
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, FrameHeader, FrameKind, LogId, ReplicaId};

fn replica(number: u128) -> ReplicaId {
    ReplicaId(Uuid::from_u128(number))
}

fn members(numbers: &[u128]) -> Members {
    let members = numbers.iter().map(|n| Member { replica: replica(*n), addresses: vec!["a:1".into()] });
    Members { version: 1, lease_ms: 3_600_000, members: members.collect() }
}

/// A spool, what was put into it, and what replicas took out of it.
struct World {
    disk: SimulatedDisk,
    config: SpoolConfig,
    spool: Spool,
    random: Random,
    seconds: u64,
    log: LogId,
    key: u64,
    run: u64,
    appended: BTreeMap<LogId, Vec<Vec<u8>>>,
    /// Appended frames that a loss of power must not take.
    durable: BTreeMap<LogId, u64>,
    /// Frames that each replica has received, by log: the next number.
    received: BTreeMap<(u128, LogId), u64>,
    gaps: Vec<(LogId, u64, u64)>,
}

impl World {
    fn new(seed: u64, config: SpoolConfig) -> Self {
        let disk = SimulatedDisk::new();
        let now = Now { wall: Timestamp::from_millis(0), monotonic: Duration::ZERO };
        let spool = Spool::open(config.clone(), Arc::new(disk.clone()), now).expect("opens");
        let mut world = Self {
            disk,
            config,
            spool,
            random: Random(seed),
            seconds: 0,
            log: LogId(0),
            key: 0,
            run: 0,
            appended: BTreeMap::new(),
            durable: BTreeMap::new(),
            received: BTreeMap::new(),
            gaps: Vec::new(),
        };
        world.start_log();
        world
    }

    fn now(&self) -> Now {
        let monotonic = Duration::from_secs(self.seconds);
        Now { wall: Timestamp::from_millis(1000 + self.seconds as i64 * 1000), monotonic }
    }

    fn start_log(&mut self) {
        self.log = LogId(u128::from(self.random.next()) << 64 | u128::from(self.random.next()));
        self.spool.start_log(self.log);
        self.run = 0;
    }

    fn append(&mut self) -> Appended {
        let seq = self.spool.next_seq().0;
        let is_key = self.run == 0 || self.run >= 8 || self.spool.wants_key();
        if is_key {
            (self.key, self.run) = (seq, 0);
        }
        self.run += 1;
        let length = 20 + self.random.below(300) as usize;
        let body: Vec<u8> = (0..length).map(|_| self.random.next() as u8).collect();
        let bytes = frame(seq, self.key, &body);
        let appended = self.spool.append(BatchSeq(seq), &bytes, is_key, self.now()).expect("in order");
        self.appended.entry(self.log).or_default().push(bytes);
        if self.config.sync == SyncPolicy::Always && appended == Appended::Disk {
            self.durable.insert(self.log, seq);
        }
        self.seconds += 1;
        appended
    }

    fn append_many(&mut self, batches: usize) {
        for _ in 0..batches {
            let _appended = self.append();
        }
    }

    fn restart(&mut self) {
        self.spool =
            Spool::open(self.config.clone(), Arc::new(self.disk.clone()), self.now()).expect("opens");
        self.start_log();
    }

    /// What a replica reads from where it is, checked against what was appended.
    fn ship(&mut self, number: u128, bytes_max: usize) {
        for range in self.spool.logs() {
            let next = self.received.get(&(number, range.log)).copied().unwrap_or(1);
            let frames = self.spool.read(range.log, BatchSeq(next), range.last, bytes_max, self.now());
            let mut expected = next;
            for stored in frames.expect("reads") {
                assert_eq!(stored.first.0, expected, "no hole in what is read");
                self.check_frame(range.log, stored.first.0, stored.last.0, &stored.bytes);
                expected = stored.last.0 + 1;
            }
            self.received.insert((number, range.log), expected);
            self.spool.set_cursor(replica(number), range.log, BatchSeq(expected - 1));
        }
    }

    fn check_frame(&mut self, log: LogId, first: u64, last: u64, bytes: &[u8]) {
        let header = FrameHeader::parse(bytes).expect("parses").expect("is whole");
        assert_eq!((header.seq.0, header.last_seq.0, header.frame_len), (first, last, bytes.len()));
        if header.kind == FrameKind::Gap {
            self.gaps.push((log, first, last));
        } else {
            assert_eq!(bytes, self.appended[&log][first as usize - 1], "bit for bit");
        }
    }

    fn ship_all(&mut self, number: u128) {
        while self
            .spool
            .logs()
            .iter()
            .any(|range| range.last.0 >= self.received.get(&(number, range.log)).copied().unwrap_or(1))
        {
            self.ship(number, 1000);
        }
    }

    fn sync(&mut self) {
        if let Some(ticket) = self.spool.take_sync(self.now()) {
            ticket.run().expect("syncs");
        }
    }
}

fn config(sync: SyncPolicy) -> SpoolConfig {
    SpoolConfig { sync, ..SpoolConfig::at("/spool") }
}

#[test]
fn everything_appended_is_read_back() {
    let mut world = World::new(1, config(SyncPolicy::Never));
    for _ in 0..100 {
        assert_eq!(world.append(), Appended::Disk);
    }
    world.ship_all(1);
    assert_eq!((world.gaps.len(), world.received[&(1, world.log)]), (0, 101));
    assert_eq!(world.spool.run_start(world.log, BatchSeq(12)), Some(BatchSeq(9)));
}

#[test]
fn segments_go_when_all_members_have_them_and_the_log_with_them() {
    let mut world = World::new(2, config(SyncPolicy::Never));
    world.spool.set_members(members(&[1, 2]), world.now());
    world.append_many(100);
    world.ship_all(1);
    world.spool.maintain(world.now());
    assert_eq!(world.disk.paths(".seg").len(), 13);
    world.ship_all(2);
    world.spool.maintain(world.now());
    assert_eq!(world.disk.paths(".seg").len(), 1);
    let old = world.log;
    world.restart();
    world.spool.maintain(world.now());
    assert_eq!(world.spool.log(old).map(|range| range.last), Some(BatchSeq(100)), "cursors are saved later");
    world.ship(1, 1000);
    world.ship(2, 1000);
    world.spool.maintain(world.now());
    assert_eq!((world.spool.log(old), world.disk.paths(".seg").len()), (None, 0));
}

#[test]
fn cursors_and_members_outlive_a_restart() {
    let mut world = World::new(3, config(SyncPolicy::Never));
    world.spool.set_members(members(&[1, 2]), world.now());
    world.append_many(20);
    world.ship_all(1);
    let old = world.log;
    world.spool.flush(world.now());
    world.restart();
    assert_eq!(world.spool.cursor(replica(1), old), BatchSeq(20));
    assert_eq!(world.spool.cursor(replica(2), old), BatchSeq(0));
    assert_eq!(world.spool.members(), Some(&members(&[1, 2])));
}

#[test]
fn age_is_time_that_passed_whatever_the_wall_clock_says() {
    let hour = Duration::from_secs(3600);
    let mut world = World::new(4, SpoolConfig { age_max: hour, ..config(SyncPolicy::Never) });
    for _ in 0..30 {
        world.append();
    }
    let dropped = |world: &World| {
        let statistics = world.spool.statistics(world.now());
        statistics.counters.dropped_by_reason().map(|(_, batches)| batches).sum::<u64>()
    };
    let far_ahead = |world: &World| Now { wall: Timestamp::from_millis(i64::MAX / 2), ..world.now() };
    world.spool.maintain(far_ahead(&world));
    assert_eq!(dropped(&world), 0);
    world.restart();
    world.spool.maintain(far_ahead(&world));
    assert_eq!(dropped(&world), 0);
    world.seconds += 2 * 3600;
    world.spool.maintain(world.now());
    assert!(dropped(&world) >= 24);
}

#[test]
fn a_limit_drops_the_oldest_into_one_gap() {
    let mut world = World::new(4, SpoolConfig { bytes_max: 10_000, ..config(SyncPolicy::Never) });
    for _ in 0..300 {
        world.append();
        world.spool.maintain(world.now());
    }
    assert!(world.spool.statistics(world.now()).bytes <= 10_000 + 64);
    let old = world.log;
    world.restart();
    world.ship_all(1);
    assert_eq!(world.received[&(1, old)], 301);
    assert_eq!((world.gaps.len(), world.gaps[0].1), (1, 1));
    assert!(world.gaps[0].2 > 200);
}

#[test]
fn a_full_disk_is_outlived_in_memory() {
    let mut world = World::new(5, config(SyncPolicy::Interval(Duration::from_secs(1))));
    world.append_many(20);
    world.disk.set_capacity(world.disk.used() + 100);
    let kept: Vec<Appended> = (0..60).map(|_| world.append()).collect();
    assert_eq!(kept[59], Appended::Memory);
    world.spool.maintain(world.now());
    assert!(!world.spool.statistics(world.now()).is_disk_good);
    // Also what is only in memory can be shipped.
    world.ship_all(1);
    assert_eq!((world.gaps.len(), world.received[&(1, world.log)]), (0, 81));
    world.disk.set_capacity(u64::MAX);
    world.seconds += 10;
    world.spool.maintain(world.now());
    let statistics = world.spool.statistics(world.now());
    assert!(statistics.is_disk_good && statistics.memory_batches == 0);
    assert_eq!(world.append(), Appended::Disk);
    world.restart();
    world.ship_all(2);
    assert_eq!(world.gaps, []);
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    for policy in [SyncPolicy::Always, SyncPolicy::Interval(Duration::from_secs(1))] {
        for failures in 1..4 {
            let mut world = World::new(9, config(policy));
            world.append_many(13);
            world.sync();
            world.disk.fail_syncs(failures);
            world.append_many(3);
            for _ in 0..8 {
                world.seconds += 1;
                world.spool.maintain(world.now());
                if let Some(ticket) = world.spool.take_sync(world.now())
                    && let Err(failed) = ticket.run()
                {
                    world.spool.sync_failed(failed);
                }
            }
            let statistics = world.spool.statistics(world.now());
            assert!(statistics.counters.io_errors >= 1, "{statistics:?}");
            world.append_many(3);
            world.seconds += 1;
            world.sync();
            let old = world.log;
            world.disk.lose_power(&mut world.random);
            world.restart();
            world.ship_all(1);
            assert_eq!((world.gaps.len(), world.received[&(1, old)]), (0, 20), "{policy:?}, {failures}");
        }
    }
}

#[test]
fn memory_is_bounded_and_what_it_drops_is_a_gap() {
    let mut world = World::new(6, SpoolConfig { memory_bytes_max: 5000, ..config(SyncPolicy::Never) });
    world.append_many(20);
    world.disk.set_capacity(0);
    world.append_many(200);
    assert!(world.spool.statistics(world.now()).memory_bytes <= 5000);
    world.disk.set_capacity(u64::MAX);
    world.seconds += 10;
    world.spool.maintain(world.now());
    let old = world.log;
    world.restart();
    world.ship_all(1);
    assert_eq!((world.received[&(1, old)], world.gaps.len()), (221, 1));
    assert!(world.gaps[0].1 <= 21 + 8 && world.gaps[0].2 < 219);
}

#[test]
fn a_broken_segment_is_a_gap_to_its_end() {
    let mut world = World::new(7, config(SyncPolicy::Never));
    world.append_many(32);
    let paths = world.disk.paths(".seg");
    world.disk.damage(&paths[1], |bytes| *bytes.last_mut().expect("not empty") ^= 1);
    world.disk.delete(&paths[2]);
    world.ship_all(1);
    let log = world.log;
    assert_eq!(world.gaps, [(log, 16, 16), (log, 17, 24)]);
    world.gaps.clear();
    world.restart();
    world.ship_all(2);
    assert_eq!(world.gaps, [(log, 16, 16), (log, 17, 24)]);
}

#[test]
fn a_break_before_whole_frames_of_the_last_segment_is_a_gap() {
    let mut world = World::new(8, config(SyncPolicy::Never));
    world.append_many(8);
    let path = world.disk.paths(".seg").remove(0);
    world.disk.damage(&path, |bytes| bytes[60] ^= 1);
    let log = world.log;
    world.restart();
    world.ship_all(1);
    assert_eq!(world.gaps, [(log, 1, 8)]);
}

#[test]
fn a_medium_that_can_not_be_read_is_given_up() {
    let mut world = World::new(9, config(SyncPolicy::Never));
    world.append_many(32);
    world.disk.fail_reads(true);
    let range = world.spool.log(world.log).expect("is there");
    let first = world.spool.read(range.log, BatchSeq(1), BatchSeq(8), 10_000, world.now()).expect("gap");
    assert_eq!((first.len(), first[0].last), (1, BatchSeq(8)));
    world.disk.fail_reads(false);
    world.ship_all(1);
    assert_eq!(world.gaps, [(range.log, 1, 8)]);
}

#[test]
fn a_restored_spool_offers_old_logs_and_drops_nothing() {
    let mut world = World::new(10, config(SyncPolicy::Never));
    world.spool.set_members(members(&[1]), world.now());
    world.append_many(30);
    world.ship_all(1);
    world.spool.flush(world.now());
    let (snapshot, old) = (world.disk.snapshot(), world.log);
    world.append_many(30);
    world.ship_all(1);
    world.spool.maintain(world.now());
    // The machine is taken back to the snapshot: the old cursor holds for the old log only.
    world.disk.restore(&snapshot);
    world.restart();
    world.spool.maintain(world.now());
    assert_ne!(world.log, old);
    world.append_many(5);
    world.spool.maintain(world.now());
    let live = world.spool.log(world.log).expect("is there");
    assert_eq!((live.first, live.last), (BatchSeq(1), BatchSeq(5)));
    world.ship_all(1);
    assert_eq!(world.gaps, []);
}

#[test]
fn what_was_freed_is_a_gap_for_who_comes_late() {
    let mut world = World::new(11, config(SyncPolicy::Never));
    world.spool.set_members(members(&[1]), world.now());
    world.append_many(30);
    world.ship_all(1);
    world.spool.maintain(world.now());
    world.ship_all(2);
    assert_eq!(world.gaps, [(world.log, 1, 24)]);
}

#[test]
fn nothing_is_synced_that_all_members_have() {
    let mut world = World::new(12, config(SyncPolicy::Interval(Duration::from_secs(1))));
    world.spool.set_members(members(&[1]), world.now());
    let soon = Duration::from_secs(1);
    // Over several segments.
    for _ in 0..20 {
        world.append();
        assert!(world.spool.next_maintenance(world.now()) <= soon);
        world.ship_all(1);
        assert!(world.spool.take_sync(world.now()).is_none());
        assert!(world.spool.next_maintenance(world.now()) > soon);
        world.seconds += 5;
        assert!(world.spool.take_sync(world.now()).is_none());
    }
    world.append();
    world.seconds += 5;
    assert_eq!(world.spool.next_maintenance(world.now()), Duration::ZERO);
    assert!(world.spool.take_sync(world.now()).is_some());
    assert!(world.spool.next_maintenance(world.now()) > soon);
}

#[test]
fn what_was_just_written_is_not_read_from_disk() {
    let mut world = World::new(14, config(SyncPolicy::Never));
    world.append();
    world.ship_all(1);
    world.disk.fail_reads(true);
    // Over the end of a segment too.
    for _ in 0..20 {
        world.append();
        world.ship_all(1);
    }
    assert_eq!((world.gaps.len(), world.received[&(1, world.log)]), (0, 22));
}

#[test]
fn what_a_newer_release_wrote_is_left_alone() {
    let mut world = World::new(13, config(SyncPolicy::Never));
    world.append_many(4);
    let path = world.disk.paths(".seg").remove(0);
    world.disk.damage(&path, |bytes| bytes[4] = 9);
    let old = world.log;
    world.restart();
    assert_eq!(world.spool.log(old), None);
    assert_eq!(world.disk.paths(".seg"), [path]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: what is read is what was appended, without a hole; a kill costs nothing; a loss of power
    /// nothing that was synced; gaps come only from limits.
    #[test]
    fn random_histories(seed in any::<u64>(), small in any::<bool>(), always in any::<bool>()) {
        let sync = if always { SyncPolicy::Always } else { SyncPolicy::Interval(Duration::from_secs(2)) };
        let bytes_max = if small { 20_000 } else { 1 << 30 };
        let limits = SpoolConfig { bytes_max, memory_bytes_max: 30_000, ..config(sync) };
        let mut world = World::new(seed, limits);
        let mut lost_power = false;
        let mut was_full = false;
        for _ in 0..150 {
            match world.random.below(30) {
                0 => world.restart(),
                1 if world.spool.statistics(world.now()).memory_batches == 0 => {
                    let mut random = Random(world.random.next());
                    world.disk.lose_power(&mut random);
                    lost_power = true;
                    world.restart();
                }
                2 => {
                    world.disk.set_capacity(world.disk.used() + 500);
                    was_full = true;
                }
                3 => world.disk.set_capacity(u64::MAX),
                4 => world.start_log(),
                5 => world.spool.set_members(members(&[1, 2]), world.now()),
                6..=8 => world.ship(1, 2000),
                9..=10 => world.ship(2, 700),
                11..=13 => world.spool.maintain(world.now()),
                14..=15 => world.sync(),
                16 => world.spool.save_state(world.now()),
                _ => world.append_many(1),
            }
        }
        world.disk.set_capacity(u64::MAX);
        world.seconds += 60;
        world.spool.maintain(world.now());
        world.ship_all(1);
        world.ship_all(2);
        if !small && !was_full && !lost_power {
            prop_assert_eq!(&world.gaps, &[]);
            for (log, frames) in &world.appended {
                let received = world.received.get(&(1, *log)).copied().unwrap_or(1);
                prop_assert_eq!(received, frames.len() as u64 + 1, "a kill costs nothing");
            }
        }
        if !small && !was_full {
            for (log, durable) in &world.durable {
                let received = world.received.get(&(1, *log)).copied().unwrap_or(1);
                prop_assert!(received > *durable, "{} of {} synced", received, durable);
            }
        }
    }
}
