//! The storage against a model: random logs, freezes, merges, restarts, late and conflicting samples.

mod support;

use proptest::prelude::*;
use support::*;
use vedette_model::{MatchOp, Matcher, SeriesSource};
use vedette_storage::{AppendOutcome, AppendRefusal, Resume, Storage};
use vedette_wire::{BatchSeq, FrameHeader, GapReason, encode_gap};

#[derive(Clone, Debug)]
enum Step {
    /// Writer, when, and rows of (target, delay, series, value).
    Append(usize, Vec<(u32, i64, u8, Vec<f64>)>),
    /// The same frame again.
    Repeat(usize),
    Freeze,
    Maintain,
    Reopen,
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0i32..5).prop_map(f64::from),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(vedette_model::STALE_NAN),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some samples are a day early, a few seconds late, or on top of each other.
    let delay = prop_oneof![6 => 0i64..3000, 2 => -30_000i64..0, 1 => Just(-86_400_000i64)];
    let row = (0u32..3, delay, 0u8..4, proptest::collection::vec(values(), 1..4));
    let step = prop_oneof![
        8 => (0usize..4, proptest::collection::vec(row, 0..4)).prop_map(|(writer, rows)| Step::Append(writer, rows)),
        1 => (0usize..4).prop_map(Step::Repeat),
        2 => Just(Step::Freeze),
        2 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Two logs of one writer, and two of another.
fn log_writers() -> Vec<LogWriter> {
    let logs = [("a", 7), ("a", 3), ("b", 5), ("b", 900)];
    logs.into_iter().map(|(name, log)| LogWriter::new(name, log, 5)).collect()
}

/// Rows as a writer gives them: the series of one target are neighbours.
fn rows_of(tick: i64, rows: &[(u32, i64, u8, Vec<f64>)]) -> Vec<Row> {
    rows.iter()
        .map(|(target, delay, first, values)| {
            let names = (0..values.len()).map(|index| format!("{}m", char::from(b'a' + first + index as u8)));
            (*target, DAY + tick * 1000 + delay, names.zip(values.iter().copied()).collect())
        })
        .collect()
}

fn check(steps: &[Step]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut model = Model::default();
    let mut writers = log_writers();
    let mut last = vec![None; writers.len()];
    for (tick, step) in (0i64..).zip(steps) {
        match step {
            Step::Append(place, rows) => {
                let rows = rows_of(tick, rows);
                // As after a reconnect: a log that was idle for long has to begin a new segment.
                if storage.resume(writers[*place].log).needs_key {
                    writers[*place].start_segment();
                }
                let append = writers[*place].batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows);
                last[*place] = Some(append.clone());
                submit_durable(&storage, append, writers[*place].seq);
                model.apply(writers[*place].log, &rows);
            }
            Step::Repeat(place) => {
                let Some(append) = last[*place].clone() else { continue };
                let through = BatchSeq(writers[*place].seq);
                assert_eq!(submit(&storage, append), AppendOutcome::Known { through });
            }
            Step::Freeze => drop(storage.freeze(at(DAY))),
            Step::Maintain => storage.maintain(at(DAY)),
            Step::Reopen => {
                storage.flush_and_close();
                drop(storage);
                storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
                for writer in writers.iter().filter(|writer| writer.seq > 0) {
                    let expected = Resume { through: BatchSeq(writer.seq), needs_key: false };
                    let resume = storage.resume(writer.log);
                    assert_eq!(resume.through, expected.through);
                }
            }
        }
        if tick % 7 == 0 {
            // At time 0 nothing reads as absent.
            check_range(&storage.view(at(0)), &model, &[], DAY + tick * 500, DAY + tick * 900);
        }
    }
    let view = storage.view(at(0));
    check_range(&view, &model, &[], 0, i64::MAX);
    for (op, name, value) in [
        (MatchOp::Equal, "first", "b"),
        (MatchOp::NotEqual, "first", "b"),
        (MatchOp::Regex, "__name__", "(a|c)m"),
        (MatchOp::Regex, "first", "[a-c]+"),
        (MatchOp::NotRegex, "first", "[a-c]+"),
        (MatchOp::Equal, "none", ""),
        (MatchOp::Regex, "job", ".+"),
    ] {
        let matcher = Matcher::new(op, name, value).expect("a matcher");
        check_range(&view, &model, std::slice::from_ref(&matcher), 0, i64::MAX);
        check_range(&view, &model, &[matcher], DAY + 3000, DAY + 20_000);
    }
}

/// Two replicas, the same logs, everything else different.
fn check_replicas(steps: &[Step], other_order: u64) {
    let (first_folder, second_folder) = (tempfile::tempdir().expect("a"), tempfile::tempdir().expect("b"));
    let first = Storage::open(config(first_folder.path()), at(0)).expect("opens");
    let mut second = Storage::open(config(second_folder.path()), at(0)).expect("opens");
    let mut writers = log_writers();
    let mut frames: Vec<Vec<_>> = vec![Vec::new(); writers.len()];
    for (tick, step) in (0i64..).zip(steps) {
        match step {
            Step::Append(place, rows) => {
                if first.resume(writers[*place].log).needs_key {
                    writers[*place].start_segment();
                }
                let whole = (DAY + tick * 1000 - 1000, DAY + tick * 1000);
                let append = writers[*place].batch(whole, &rows_of(tick, rows));
                frames[*place].push(append.clone());
                submit_durable(&first, append, writers[*place].seq);
            }
            Step::Freeze => drop(first.freeze(at(DAY))),
            _ => first.maintain(at(DAY)),
        }
    }
    // Log after log in another order, with other freezes in between.
    let mut seed = other_order;
    let mut sent = vec![0; frames.len()];
    while sent.iter().zip(&frames).any(|(sent, frames)| *sent < frames.len()) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (seed >> 33) as usize % frames.len();
        if sent[place] < frames[place].len() {
            // As the session does it: all from the segment's key batch on, when it is wanted.
            let key = FrameHeader::parse(&frames[place][sent[place]].frame)
                .expect("a frame")
                .expect("whole")
                .key_seq;
            let again =
                if second.resume(writers[place].log).needs_key { key.0 as usize - 1 } else { sent[place] };
            for append in &frames[place][again..sent[place]] {
                assert!(matches!(submit(&second, append.clone()), AppendOutcome::Known { .. }));
            }
            submit_durable(&second, frames[place][sent[place]].clone(), sent[place] as u64 + 1);
            sent[place] += 1;
        }
        match seed >> 40 & 15 {
            0 => drop(second.freeze(at(DAY))),
            1 => second.maintain(at(DAY)),
            2 => {
                second.flush_and_close();
                second = Storage::open(config(second_folder.path()), at(0)).expect("opens again");
            }
            _ => {}
        }
    }
    for now in [DAY, DAY + 20_000, DAY + 40_000, DAY + 100_000] {
        let (first, second) = (first.view(at(now)), second.view(at(now)));
        for (start, end) in [(0, i64::MAX), (DAY + 5000, DAY + 15_000), (DAY + 50_000, DAY + 90_000)] {
            assert_eq!(
                dump(&first, &[], start, end),
                dump(&second, &[], start, end),
                "at {now}: {start}..{end}"
            );
        }
        assert_eq!(first.metadata(None).expect("metadata"), second.metadata(None).expect("metadata"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn answers_as_the_model_does(steps in steps()) {
        check(&steps);
    }

    #[test]
    fn replicas_agree_whatever_they_froze_and_merged(steps in steps(), order in any::<u64>()) {
        check_replicas(&steps, order);
    }
}

fn one(target: u32, at: i64, name: &str, value: f64) -> Row {
    (target, at, vec![(name.to_owned(), value)])
}

#[test]
fn order_gaps_and_repetitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 4);
    let frames: Vec<_> = (0..12)
        .map(|tick| writer.batch((DAY + tick, DAY + tick + 1), &[one(0, DAY + tick, "m", 1.0)]))
        .collect();
    submit_durable(&storage, frames[0].clone(), 1);
    let refused = submit(&storage, frames[2].clone());
    assert!(matches!(refused, AppendOutcome::Refused(AppendRefusal::OutOfOrder { .. })), "{refused:?}");
    let mut broken = frames[1].clone();
    *broken.frame.last_mut().expect("bytes") ^= 1;
    let refused = submit(&storage, broken);
    assert!(matches!(refused, AppendOutcome::Refused(AppendRefusal::Malformed { .. })), "{refused:?}");
    // The decoder has lost the segment now, and says so until it has come again from its key on.
    assert!(storage.resume(writer.log).needs_key);
    let refused = submit(&storage, frames[1].clone());
    assert!(matches!(refused, AppendOutcome::Refused(AppendRefusal::NeedsKey { .. })), "{refused:?}");
    assert_eq!(submit(&storage, frames[0].clone()), AppendOutcome::Known { through: BatchSeq(1) });
    assert_eq!(storage.resume(writer.log), Resume { through: BatchSeq(1), needs_key: false });
    submit_durable(&storage, frames[1].clone(), 2);
    // Batches 3 to 8 are gone; 9 starts a segment.
    let gap = writer.append(encode_gap(BatchSeq(3), BatchSeq(8), GapReason::SpoolLimit));
    submit_durable(&storage, gap, 8);
    submit_durable(&storage, frames[8].clone(), 9);
    let mut foreign = frames[9].clone();
    foreign.writer = vedette_wire::AgentName::new("mallory").expect("a name");
    let refused = submit(&storage, foreign);
    assert!(matches!(refused, AppendOutcome::Refused(AppendRefusal::ForeignLog { .. })), "{refused:?}");
    storage.freeze(at(DAY));
    let writers = storage.writers();
    storage.flush_and_close();
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
    assert_eq!(storage.writers(), writers);
    assert_eq!(writers[0].logs[0].gaps.len(), 1);
    // The segment is open although its data is in a part: the delta batch goes on.
    assert_eq!(storage.resume(writer.log), Resume { through: BatchSeq(9), needs_key: false });
    submit_durable(&storage, frames[9].clone(), 10);
    assert_eq!(dump(&storage.view(at(0)), &[], 0, i64::MAX)[0].1.len(), 4);
}

#[test]
fn a_log_that_goes_on_survives_many_generations() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    // Segments longer than the generations that are kept.
    let mut writer = LogWriter::new("a", 1, 64);
    let mut model = Model::default();
    for tick in 0..40 {
        let rows = [one(0, DAY + tick * 1000, "m", tick as f64)];
        submit_durable(
            &storage,
            writer.batch((DAY + tick * 1000, DAY + tick * 1000 + 1000), &rows),
            tick as u64 + 1,
        );
        model.apply(writer.log, &rows);
        assert!(storage.freeze(at(DAY)));
        if tick % 11 == 10 {
            storage.flush_and_close();
            storage = Storage::open(config(folder.path()), at(0)).expect("opens again");
            assert!(!storage.resume(writer.log).needs_key);
        }
        assert!(storage.statistics().log_generations <= 6, "{}", storage.statistics().log_generations);
    }
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
    storage.maintain(at(DAY));
    let statistics = storage.statistics();
    assert!(statistics.parts.iter().sum::<u64>() < 40, "{statistics:?}");
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
}

#[test]
fn retention_hides_at_once_and_deletes_whole_days() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = 86_400_000;
    let mut config = config(folder.path());
    config.retention_ms = 2 * day;
    let storage = Storage::open(config, at(DAY)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    for tick in 0..5 {
        let rows = [one(0, DAY + tick * day, "m", tick as f64)];
        submit_durable(
            &storage,
            writer.batch((DAY + tick * day - 1, DAY + tick * day), &rows),
            tick as u64 + 1,
        );
    }
    storage.freeze(at(DAY));
    assert_eq!(storage.statistics().parts.iter().sum::<u64>(), 5);
    let now = DAY + 4 * day;
    let held = storage.view(at(now));
    // Three samples; the first two end in a staleness marker, because the writer was away for a day each time.
    assert_eq!(dump(&held, &[], 0, now)[0].1.len(), 5);
    storage.maintain(at(now));
    assert_eq!(storage.statistics().parts.iter().sum::<u64>(), 3);
    storage.maintain(at(now));
    // A view from before is still whole.
    assert_eq!(dump(&held, &[], 0, now)[0].1.len(), 5);
    drop(held);
    storage.maintain(at(now));
    assert_eq!(dump(&storage.view(at(now)), &[], 0, now)[0].1.len(), 5);
}

#[test]
fn a_folder_in_use_and_a_newer_one_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let second = Storage::open(config(folder.path()), at(0)).err().expect("is refused").to_string();
    assert!(second.contains("in use by another process"), "{second}");
    drop(storage);
    let db = rocksdb::DB::list_cf(&rocksdb::Options::default(), folder.path()).expect("families");
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), folder.path(), db).expect("opens");
    db.put(b"format", [9]).expect("writes");
    drop(db);
    let newer = Storage::open(config(folder.path()), at(0)).err().expect("is refused").to_string();
    assert!(newer.contains("newer release") && newer.contains('9'), "{newer}");
}

#[test]
fn an_absent_writer_reads_as_down_until_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    let both = |at: i64| vec![(0, at, vec![("up".to_owned(), 1.0), ("m".to_owned(), 5.0)])];
    for tick in 1..=5 {
        let batch =
            writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &both(DAY + tick * 1000 - 300));
        submit_durable(&storage, batch, tick as u64);
    }
    let up = [Matcher::equal("__name__", "up")];
    let zeros = |now: i64, start: i64| {
        let found = dump(&storage.view(at(now)), &up, start, now);
        let samples = found.into_iter().flat_map(|(_, samples)| samples);
        samples.filter(|(_, bits)| *bits == 0).map(|(at, _)| at - DAY).collect::<Vec<_>>()
    };
    for frozen in [false, true] {
        assert_eq!(zeros(DAY + 7000, DAY), [0i64; 0]);
        assert_eq!(zeros(DAY + 9000, DAY), [7700, 8700]);
        // Long after: the last real sample lies before the range.
        assert_eq!(zeros(DAY + 600_000, DAY + 597_500), [597_700, 598_700, 599_700]);
        let m = dump(&storage.view(at(DAY + 9000)), &[Matcher::equal("__name__", "m")], DAY, DAY + 9000);
        assert_eq!(m[0].1.last(), Some(&(DAY + 7700, vedette_model::STALE_NAN.to_bits())));
        if !frozen {
            storage.freeze(at(DAY));
        }
    }
    // The late batches come: nothing of it is left.
    for tick in 6..=20 {
        let batch =
            writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &both(DAY + tick * 1000 - 300));
        submit_durable(&storage, batch, tick as u64);
    }
    assert_eq!(zeros(DAY + 21_000, DAY), [0i64; 0]);
}

#[test]
fn damage_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let mut writer = LogWriter::new("a", 1, 64);
    submit_durable(&storage, writer.batch((DAY - 1, DAY), &[one(0, DAY, "m", 1.0)]), 1);
    storage.freeze(at(DAY));
    drop(storage);
    std::fs::write(folder.path().join("CURRENT"), "nothing").expect("writes");
    let damaged = Storage::open(config(folder.path()), at(0)).err().expect("is refused").to_string();
    assert!(damaged.contains("is damaged") && damaged.contains("backup"), "{damaged}");
}

#[test]
fn conflicts_are_decided_by_the_log_and_counted_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let (mut greater, mut less) = (LogWriter::new("a", 9, 64), LogWriter::new("b", 2, 64));
    let rows = |value| [one(0, DAY, "m", value)];
    submit_durable(&storage, greater.batch((DAY - 1, DAY), &rows(1.0)), 1);
    storage.freeze(at(DAY));
    submit_durable(&storage, less.batch((DAY - 1, DAY), &rows(2.0)), 1);
    let expected = vec![(labels("m"), vec![(DAY, 1.0f64.to_bits())])];
    assert_eq!(dump(&storage.view(at(0)), &[], 0, i64::MAX), expected);
    storage.freeze(at(DAY));
    assert_eq!(storage.statistics().conflicts, 0);
    storage.maintain(at(DAY));
    let statistics = storage.statistics();
    assert_eq!((statistics.merges, statistics.conflicts), (1, 1));
    assert_eq!(dump(&storage.view(at(0)), &[], 0, i64::MAX), expected);
}

#[test]
fn a_writer_long_dead_reads_as_down_unless_another_has_its_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let day = 86_400_000;
    let up = |at: i64, name: &str| vec![(0, at, vec![(name.to_owned(), 1.0)])];
    let (mut dead, mut live) = (LogWriter::new("dead", 1, 64), LogWriter::new("live", 2, 64));
    submit_durable(&storage, dead.batch((DAY - 1000, DAY), &up(DAY - 300, "up")), 1);
    storage.freeze(at(DAY));
    let zeros = |now: i64| {
        let found = dump(&storage.view(at(now)), &[Matcher::equal("__name__", "up")], now - 2500, now);
        let samples = found.into_iter().flat_map(|(_, samples)| samples);
        samples.filter(|(_, bits)| *bits == 0).map(|(at, _)| at - now).collect::<Vec<_>>()
    };
    for tick in 1..5 {
        let now = DAY + tick * day;
        submit_durable(&storage, live.batch((now - day, now), &up(now - 400, "other")), tick as u64);
        storage.freeze(at(now));
        for _ in 0..2 {
            assert_eq!(zeros(now), [-2300, -1300, -300]);
        }
    }
    // Another writer brings the same series: what the dead one left is not shown under it.
    let now = DAY + 5 * day;
    for (seq, before) in [(5, 4400), (6, 3400), (7, 2400), (8, 1400), (9, 400)] {
        submit_durable(&storage, live.batch((now - day, now - before), &up(now - before, "up")), seq);
        if seq == 6 {
            storage.freeze(at(now));
        }
    }
    for _ in 0..2 {
        assert_eq!(zeros(now), [0i64; 0]);
        storage.freeze(at(now));
    }
}

#[test]
fn a_target_that_shrinks_and_grows_anew_has_its_new_series() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
    let (mut model, mut writer) = (Model::default(), LogWriter::new("a", 1, 64));
    for (tick, names) in (1i64..).zip([&["a", "b", "c", "d", "e"][..], &["a", "b"], &["a", "b", "x", "y"]]) {
        if tick == 2 {
            writer.forget_series();
        }
        let values = names.iter().map(|name| ((*name).to_owned(), tick as f64)).collect();
        let rows = vec![(0, DAY + tick * 1000, values)];
        let append = writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows);
        submit_durable(&storage, append, writer.seq);
        model.apply(writer.log, &rows);
    }
    check_range(&storage.view(at(0)), &model, &[], 0, i64::MAX);
}
