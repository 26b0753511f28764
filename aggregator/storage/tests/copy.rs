//! Replicas copy from each other what they lack: whatever was frozen, merged, restarted or brought by writers
//! meanwhile, both have everything afterwards, once.

mod support;

use proptest::prelude::*;
use support::*;
use tempfile::TempDir;
use vedette_model::SeriesSource;
use vedette_storage::{
    Append, AppendOutcome, ImportError, Lack, LogListing, Lot, PartListing, Storage, StorageConfig,
};
use vedette_wire::{BatchSeq, FrameHeader, GapReason, LogId, encode_gap};

/// Small, so that there are many pages.
const PAGE_BYTES: usize = 200;

struct Replica {
    folder: TempDir,
    storage: Storage,
}

impl Replica {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(config(folder.path()), at(0)).expect("opens");
        Self { folder, storage }
    }

    fn reopen(&mut self) {
        self.storage.flush_and_close();
        self.storage = Storage::open(config(self.folder.path()), at(0)).expect("opens again");
    }

    /// Brings a log's batch as a session would: from the key batch of its segment on what is not here, with a gap
    /// before that, and what is here again as far as it is wanted.
    fn deliver(&self, frames: &[Append], seq: u64) {
        let log = frames[0].log;
        let frame = |seq: u64| frames[seq as usize - 1].clone();
        let key = FrameHeader::parse(&frame(seq).frame).expect("a frame").expect("whole").key_seq.0;
        let through = self.storage.resume(log).through.0;
        if through + 1 < key {
            let gap = encode_gap(BatchSeq(through + 1), BatchSeq(key - 1), GapReason::SpoolLimit);
            submit_durable(&self.storage, Append { frame: gap, ..frame(1) }, key - 1);
        }
        let resume = self.storage.resume(log);
        let from = if resume.needs_key { key } else { resume.through.0 + 1 };
        for seq in from.min(seq)..=seq {
            match submit(&self.storage, frame(seq)) {
                AppendOutcome::Known { through } => assert!(through.0 >= seq),
                AppendOutcome::Durable { through, .. } => assert_eq!(through.0, seq),
                other => panic!("{other:?}"),
            }
        }
    }

    fn gaps(&self) -> Vec<(LogId, u64, u64)> {
        let writers = self.storage.writers();
        let logs = writers.iter().flat_map(|writer| &writer.logs);
        logs.flat_map(|log| log.gaps.iter().map(|gap| (log.log, gap.from.0, gap.to.0))).collect()
    }
}

/// All that `to` lacks of what `from` has in parts.
fn lacks(from: &Storage, to: &Storage, now: i64) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut after = None;
    loop {
        let page = LogListing::decode(&from.list_logs(after, PAGE_BYTES).expect("lists")).expect("reads");
        after = page.logs.last().map(|log| log.log());
        lacks.extend(to.compare(page.logs, at(now)).expect("compares"));
        if !page.more {
            return lacks;
        }
    }
}

fn list_parts(from: &Storage, to: &Storage, lot: &mut Lot, now: i64) {
    let mut after = None;
    loop {
        let page = from.list_parts(after, &lot.logs(), PAGE_BYTES).expect("lists");
        let page = PartListing::decode(&page).expect("reads");
        after = page.parts.last().map(|part| part.name());
        to.add_parts(lot, page.parts, at(now));
        if !page.more {
            return;
        }
    }
}

/// Copies until nothing is lacking. `between` happens before each step.
fn copy(from: &Storage, to: &Storage, now: i64, mut between: impl FnMut()) {
    for _round in 0..100 {
        let lacks = lacks(from, to, now);
        if lacks.is_empty() {
            return;
        }
        let mut lot = Lot::new(lacks);
        between();
        list_parts(from, to, &mut lot, now);
        between();
        to.begin(&mut lot, at(now)).expect("claims");
        while let Some((part, logs)) = lot.next_part() {
            // Gone when it was merged meanwhile: all over again.
            let Some(mut export) = from.export(part, &logs) else { break };
            between();
            let mut chunks = std::iter::from_fn(|| export.next_chunk().transpose());
            to.import(&mut lot, &mut chunks, at(now)).expect("imports");
            between();
        }
    }
    panic!("copying does not end");
}

#[derive(Clone, Debug)]
enum Step {
    /// Log, rows, and who gets it: the first, the second, both.
    Append(usize, Vec<(i64, u8, Vec<f64>)>, u8),
    Freeze(usize),
    Maintain(usize),
    Reopen(usize),
    /// The replica copies from the other; in between happens what the number says.
    Copy(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some are a day early: a batch in two parts.
    let delay = prop_oneof![6 => 0i64..3000, 2 => -30_000i64..0, 2 => Just(-86_400_000i64)];
    let value = prop_oneof![4 => (0i32..5).prop_map(f64::from), 1 => any::<u64>().prop_map(f64::from_bits)];
    let row = (delay, 0u8..3, proptest::collection::vec(value, 1..4));
    let rows = proptest::collection::vec(row, 0..3);
    let step = prop_oneof![
        14 => (0usize..3, rows, 1u8..4).prop_map(|(log, rows, to)| Step::Append(log, rows, to)),
        3 => (0usize..2).prop_map(Step::Freeze),
        2 => (0usize..2).prop_map(Step::Maintain),
        1 => (0usize..2).prop_map(Step::Reopen),
        2 => (0usize..2, any::<u8>()).prop_map(|(to, what)| Step::Copy(to, what)),
    ];
    proptest::collection::vec(step, 1..60)
}

fn check(steps: &[Step]) {
    let mut replicas = [Replica::new(), Replica::new()];
    let mut model = Model::default();
    // Short segments, so that there are many gaps.
    let mut writers: Vec<LogWriter> =
        [("a", 7), ("a", 3), ("b", 5)].map(|(name, log)| LogWriter::new(name, log, 2)).into();
    let mut frames: Vec<Vec<Append>> = vec![Vec::new(); writers.len()];
    for (tick, step) in (0i64..).zip(steps) {
        match step {
            Step::Append(place, rows, to) => {
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|(delay, first, values)| {
                        let names = (0..values.len())
                            .map(|index| format!("{}m", char::from(b'a' + first + index as u8)));
                        (0, DAY + tick * 1000 + delay, names.zip(values.iter().copied()).collect())
                    })
                    .collect();
                let whole = (DAY + tick * 1000 - 1000, DAY + tick * 1000);
                frames[*place].push(writers[*place].batch(whole, &rows));
                model.apply(writers[*place].log, &rows);
                for (bit, replica) in [1, 2].into_iter().zip(&replicas) {
                    if to & bit != 0 {
                        replica.deliver(&frames[*place], writers[*place].seq);
                    }
                }
            }
            Step::Freeze(place) => drop(replicas[*place].storage.freeze(at(DAY))),
            Step::Maintain(place) => replicas[*place].storage.maintain(at(DAY)),
            Step::Reopen(place) => replicas[*place].reopen(),
            Step::Copy(place, what) => {
                let (to, from) = (&replicas[*place], &replicas[1 - place]);
                let mut what = *what;
                copy(&from.storage, &to.storage, DAY, || {
                    match what & 7 {
                        0 => drop(from.storage.freeze(at(DAY))),
                        1 => from.storage.maintain(at(DAY)),
                        2 => drop(to.storage.freeze(at(DAY))),
                        3 => to.storage.maintain(at(DAY)),
                        // A writer brings again what it has last brought, to one that copies the same just now.
                        4 | 5 => {
                            for frames in frames.iter().filter(|frames| !frames.is_empty()) {
                                to.deliver(frames, frames.len() as u64);
                            }
                        }
                        _ => {}
                    }
                    what = what.rotate_right(3) ^ 1;
                });
            }
        }
        if tick % 5 == 0 {
            for replica in &replicas {
                let logs: Vec<_> = replica.storage.writers();
                assert!(logs.len() <= 2);
            }
        }
    }
    for replica in &mut replicas {
        replica.storage.freeze(at(DAY));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        copy(&replicas[from].storage, &replicas[to].storage, DAY, || {});
    }
    for round in 0..3 {
        for replica in &replicas {
            assert_eq!(replica.gaps(), [], "round {round}");
            check_range(&replica.storage.view(at(0)), &model, &[], 0, i64::MAX);
        }
        let [first, second] = &replicas;
        assert_eq!(writers_of(&first.storage), writers_of(&second.storage));
        for now in [DAY, DAY + 20_000, DAY + 100_000] {
            let (first, second) = (first.storage.view(at(now)), second.storage.view(at(now)));
            assert_eq!(dump(&first, &[], 0, i64::MAX), dump(&second, &[], 0, i64::MAX), "at {now}");
            assert_eq!(first.metadata(None).expect("metadata"), second.metadata(None).expect("metadata"));
        }
        match round {
            0 => replicas.iter_mut().for_each(Replica::reopen),
            // Merged, what is there twice is there once.
            _ => replicas.iter().for_each(|replica| replica.storage.maintain(at(DAY + 2 * 86_400_000))),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn both_have_everything_afterwards(steps in steps()) {
        check(&steps);
    }
}

/// A replica with batches of two logs over two days, all in parts, and the model of what it has.
fn filled() -> (Replica, Model) {
    let replica = Replica::new();
    let mut model = Model::default();
    for (name, log) in [("a", 1), ("b", 2)] {
        let mut writer = LogWriter::new(name, log, 5);
        for tick in 0..20 {
            let at = DAY + tick * 1000 - (tick % 2) * 86_400_000;
            let rows =
                [(0, at, (0..40).map(|series| (format!("m{series}"), (tick * series) as f64)).collect())];
            submit_durable(
                &replica.storage,
                writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows),
                writer.seq,
            );
            model.apply(writer.log, &rows);
            if tick % 8 == 7 {
                replica.storage.freeze(at_day());
            }
        }
    }
    replica.storage.freeze(at_day());
    (replica, model)
}

fn at_day() -> vedette_model::Timestamp {
    at(DAY)
}

/// The chunks of the lot's next part, and the lot.
fn first_part(from: &Storage, to: &Storage) -> (Lot, Vec<Vec<u8>>) {
    let mut lot = Lot::new(lacks(from, to, DAY));
    list_parts(from, to, &mut lot, DAY);
    let (part, logs) = lot.next_part().expect("a part");
    let mut export = from.export(part, &logs).expect("is there");
    let chunks = std::iter::from_fn(|| export.next_chunk().expect("reads")).collect();
    (lot, chunks)
}

#[test]
fn what_is_damaged_or_breaks_off_leaves_nothing() {
    let (from, _) = filled();
    let to = Replica::new();
    let (_, whole) = first_part(&from.storage, &to.storage);
    let bytes: usize = whole.iter().map(Vec::len).sum();
    let mut refused = 0;
    for place in (0..bytes).step_by(7) {
        let (mut lot, mut chunks) = first_part(&from.storage, &to.storage);
        let mut at_byte = place;
        let chunk = chunks.iter_mut().find(|chunk| {
            let here = at_byte < chunk.len();
            at_byte -= if here { 0 } else { chunk.len() };
            here
        });
        chunk.expect("a chunk")[at_byte] ^= 0x55;
        let outcome = to.storage.import(&mut lot, &mut chunks.into_iter().map(Ok), at(DAY));
        refused += usize::from(matches!(outcome, Err(ImportError::Damaged(_) | ImportError::Stream(_))));
        // What is wrong and can not be seen, such as another value, is for the checksums of the transport.
    }
    assert!(refused * 2 > bytes / 7, "{refused} of {}", bytes / 7);

    let to = Replica::new();
    let (mut lot, mut chunks) = first_part(&from.storage, &to.storage);
    chunks.pop();
    let broken = chunks.into_iter().map(Ok).chain([Err("the line is cut".to_owned())]);
    let outcome = to.storage.import(&mut lot, &mut broken.into_iter(), at(DAY));
    assert_eq!(outcome, Err(ImportError::Stream("the line is cut".to_owned())));
    assert!(dump(&to.storage.view(at(0)), &[], 0, i64::MAX).is_empty());
    let left = std::fs::read_dir(to.folder.path().join("staging/copies")).expect("the folder").count();
    assert_eq!((left, to.storage.writers().len()), (0, 0));
}

#[test]
fn of_a_part_only_the_logs_that_are_lacking_are_copied() {
    let (from, model) = filled();
    from.storage.maintain(at(DAY));
    let to = Replica::new();
    // The second log comes as it should, the first not at all.
    let mut writer = LogWriter::new("b", 2, 5);
    for tick in 0..20 {
        let at = DAY + tick * 1000 - (tick % 2) * 86_400_000;
        let rows = [(0, at, (0..40).map(|series| (format!("m{series}"), (tick * series) as f64)).collect())];
        submit_durable(
            &to.storage,
            writer.batch((DAY + tick * 1000 - 1000, DAY + tick * 1000), &rows),
            writer.seq,
        );
    }
    to.storage.freeze(at(DAY));
    let (before, all) = (to.storage.statistics().parts_samples, from.storage.statistics().parts_samples);
    copy(&from.storage, &to.storage, DAY, || {});
    assert_eq!(to.storage.statistics().parts_samples - before, all / 2);
    check_range(&to.storage.view(at(0)), &model, &[], 0, i64::MAX);
    assert_eq!(to.storage.statistics().conflicts, 0);
}

#[test]
fn nothing_past_retention_is_copied() {
    let (from, _) = filled();
    let folder = tempfile::tempdir().expect("a folder");
    let config = StorageConfig { retention_ms: 86_400_000, ..config(folder.path()) };
    let to = Storage::open(config, at(DAY)).expect("opens");
    let now = DAY + 86_400_000 + 1;
    copy(&from.storage, &to, now, || {});
    // Of the two days only the one is copied that is not past.
    assert_eq!(from.storage.statistics().parts.iter().sum::<u64>(), 10);
    assert_eq!(to.statistics().parts.iter().sum::<u64>(), 5);
    assert_eq!(lacks(&from.storage, &to, now), []);
    // Later the logs themselves are.
    assert_eq!(lacks(&from.storage, &Replica::new().storage, now).len(), 2);
    let late = DAY + 3 * 86_400_000;
    let empty = tempfile::tempdir().expect("a folder");
    let empty = Storage::open(
        StorageConfig { retention_ms: 86_400_000, ..StorageConfig::new(empty.path()) },
        at(DAY),
    );
    assert_eq!(lacks(&from.storage, &empty.expect("opens"), late), []);
}

#[test]
fn logs_beyond_the_limit_are_not_copied_and_counted() {
    let (from, _) = filled();
    let folder = tempfile::tempdir().expect("a folder");
    let to = Storage::open(StorageConfig { logs_max: 1, ..config(folder.path()) }, at(DAY)).expect("opens");
    copy_once(&from.storage, &to);
    assert_eq!(to.writers().len(), 1);
    let refused =
        to.statistics().refused.iter().find(|(reason, _)| *reason == "log_limit").map(|(_, count)| *count);
    assert!(refused > Some(0));
}

fn copy_once(from: &Storage, to: &Storage) {
    let mut lot = Lot::new(lacks(from, to, DAY));
    list_parts(from, to, &mut lot, DAY);
    to.begin(&mut lot, at(DAY)).expect("claims");
    while let Some((part, logs)) = lot.next_part() {
        let mut export = from.export(part, &logs).expect("is there");
        let mut chunks = std::iter::from_fn(|| export.next_chunk().transpose());
        to.import(&mut lot, &mut chunks, at(DAY)).expect("imports");
    }
}

/// What other replicas send, for the fuzz target. Written once with WRITE_CORPUS; readable ever after.
#[test]
fn what_is_sent_is_in_the_corpus() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/records");
    let (from, _) = filled();
    let to = Replica::new();
    let lot = Lot::new(lacks(&from.storage, &to.storage, DAY));
    let logs = from.storage.list_logs(None, 1 << 16).expect("lists");
    let parts = from.storage.list_parts(None, &lot.logs(), PAGE_BYTES).expect("lists");
    // The target reads a stream behind the record of its part, whose length here fits a byte.
    let mut stream = parts[2..3 + usize::from(parts[2])].to_vec();
    for chunk in first_part(&from.storage, &to.storage).1 {
        match &chunk[..2] {
            [1, 0] => stream.extend_from_slice(&chunk[2..]),
            // Behind the length, which takes two bytes here.
            _ => stream.extend(zstd::bulk::decompress(&chunk[4..], 1 << 20).expect("a zstd frame")),
        }
    }
    for (name, bytes) in [("list_of_logs", logs), ("list_of_parts", parts), ("stream_of_a_part", stream)] {
        let path = corpus.join(name);
        if std::env::var_os("WRITE_CORPUS").is_some() && !path.exists() {
            std::fs::write(&path, &bytes).expect("writes");
        }
        vedette_storage::check_any_bytes(&bytes);
        vedette_storage::check_any_bytes(&std::fs::read(&path).expect(name));
    }
    let kept = std::fs::read(corpus.join("list_of_logs")).expect("a file");
    assert_eq!(LogListing::decode(&kept).expect("reads").logs.len(), 2);
    let kept = std::fs::read(corpus.join("list_of_parts")).expect("a file");
    assert!(!PartListing::decode(&kept).expect("reads").parts.is_empty());
}
