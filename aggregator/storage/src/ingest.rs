//! Frames in: decode, write to the log, apply to the head.
//!
//! A frame is decoded before it is written, so that what does not decode never gets into the log, and the log can
//! always be read again. All that the writer thread knows of a log, its decoder above all, is here; what others may
//! see of it is in the catalogue.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rocksdb::{Direction, IteratorMode, WriteBatch};
use rustc_hash::FxHashMap;
use vedette_model::Timestamp;
use vedette_wire::{
    AgentName, BatchSeq, DecodeError, DecodeLimits, DecodedRow, FrameHeader, FrameKind, Gap, LogId,
    RowValues, SegmentDecoder,
};

use crate::admission::SeriesLimits;
use crate::db::{Db, create_generation, drop_generation, generation_name, write_synced};
use crate::head::{Block, FamilyList, Head, LogDictionary, TargetSeries, far_exemplars};
use crate::keys::{self, TIME_END_MS, TIME_MIN_MS};
use crate::record::{LogEntry, SegmentEntry};
use crate::shared::{Core, Frozen};
use crate::statistics::{Counters, Stopwatch};
use crate::{Append, AppendRefusal, SeriesCount};

pub(crate) struct Ingest {
    core: Arc<Core>,
    logs: FxHashMap<LogId, LogWork>,
    series_limits: SeriesLimits,
    /// The generation that is written, the last of `generations`.
    generation: u64,
    /// Bytes of frames in each.
    generations: BTreeMap<u64, u64>,
    /// Counts heads: blocks of an older one are not written to.
    head: u64,
}

/// The writer thread's memory of a log.
struct LogWork {
    decoder: SegmentDecoder,
    dictionary: LogDictionary,
    /// The segment that the decoder is in.
    segment: Option<OpenSegment>,
    /// The key batch of the last segment, and its limit on series: it holds when the segment comes again.
    pinned: Option<(u64, usize)>,
    /// The last batch staged; the catalogue has the last one applied.
    watermark: u64,
    /// Written into this generation.
    entry: Option<(u64, LogEntry)>,
    /// The last generation that took a frame.
    last_generation: u64,
    /// The generation that its first frame there can not be read without.
    reads_from: u64,
    blocks: Vec<Option<Arc<Block>>>,
    /// The head that `blocks` are of.
    head: u64,
}

#[derive(Clone, Copy)]
struct OpenSegment {
    key_seq: u64,
    /// The generation from which on all of the segment's frames can be read.
    generation: u64,
    series_max: usize,
}

/// A frame that has been decoded and waits to be written and applied.
pub(crate) struct Staged {
    log: LogId,
    writer: AgentName,
    interval_ms: u32,
    /// The last batch that the frame settles.
    pub(crate) seq: u64,
    first: u64,
    rows: Vec<StagedRow>,
    families: Arc<FamilyList>,
    complete: (Timestamp, Timestamp),
    gap: Option<Gap>,
    series: SeriesCount,
    /// Samples left out because of them.
    samples_masked: usize,
}

struct StagedRow {
    target: usize,
    series: TargetSeries,
    at_ms: i64,
    values: RowValues,
}

impl LogDictionary {
    /// What of a batch's rows is stored, and how many samples are not.
    fn stage_rows(&self, rows: &[DecodedRow]) -> (Vec<StagedRow>, usize) {
        let mut samples_masked = 0;
        let mut staged = Vec::with_capacity(rows.len());
        for row in rows {
            let target = row.target as usize;
            let Some(series) = self.targets.get(target) else { continue };
            let mut values = row.values.clone();
            let admitted = self.admission.admitted(target);
            if values.len() > admitted {
                let present = values.count_samples();
                values.resize(admitted);
                let masked = present - values.count_samples();
                samples_masked += masked;
                if masked > 0 && masked == present {
                    continue;
                }
            }
            staged.push(StagedRow { target, series: Arc::clone(series), at_ms: row.at.as_millis(), values });
        }
        (staged, samples_masked)
    }
}

impl OpenSegment {
    fn entry(&self) -> SegmentEntry {
        SegmentEntry { series_max: self.series_max as u64 }
    }
}

impl Staged {
    /// Counts what is about to be applied.
    pub(crate) fn count(&self, counters: &Counters) {
        let samples: usize = self.rows.iter().map(|row| row.values.count_samples()).sum();
        counters.samples_appended.fetch_add(samples as u64, Relaxed);
        counters.samples_masked.fetch_add(self.samples_masked as u64, Relaxed);
        let far = self.rows.iter().map(|row| far_exemplars(&row.values, row.at_ms)).sum::<usize>();
        counters.exemplars_refused.fetch_add(far as u64, Relaxed);
        if let Some(gap) = &self.gap {
            counters.gaps.fetch_add(1, Relaxed);
            counters.gap_batches.fetch_add(gap.to.0.saturating_sub(gap.from.0) + 1, Relaxed);
        }
    }

    /// The writer's series, when samples were left out because of them.
    pub(crate) fn masked(&self) -> Option<SeriesCount> {
        (self.samples_masked > 0).then_some(self.series)
    }
}

/// What staging makes of a frame.
pub(crate) enum Stage {
    /// To be written and applied.
    New(Box<Staged>),
    /// Here already. `keep`: the decoder needed it, so the log has to have it.
    Known { keep: bool },
}

/// What a frame stands for in its log.
struct Place {
    header: FrameHeader,
    /// The last batch that it settles, and its number in the log.
    last: u64,
}

impl LogWork {
    fn new(watermark: u64) -> Self {
        Self {
            decoder: SegmentDecoder::new(DecodeLimits::default()),
            dictionary: LogDictionary::default(),
            segment: None,
            pinned: None,
            watermark,
            entry: None,
            last_generation: 0,
            reads_from: 0,
            blocks: Vec::new(),
            head: 0,
        }
    }

    /// The segment has to come again from its key batch on.
    fn forget_segment(&mut self) {
        self.segment = None;
        self.decoder = SegmentDecoder::new(DecodeLimits::default());
    }

    /// A frame stands in `generation` now, and its segment is open.
    fn stands_in(&mut self, generation: u64) {
        if self.last_generation != generation {
            self.reads_from = self.segment.map_or(generation, |segment| segment.generation);
        }
        self.last_generation = generation;
    }

    /// The oldest generation that is needed to read what `current` has, and what will follow.
    fn needs(&self, current: u64) -> u64 {
        let segment = self.segment.map_or(u64::MAX, |segment| segment.generation);
        // A segment that has ended since may still have frames there that are in no part.
        if self.last_generation == current { segment.min(self.reads_from) } else { segment }
    }

    /// Whether a frame already known brings the decoder nearer to the next batch.
    fn wants(&self, place: &Place, limits: &SeriesLimits) -> bool {
        let replaced = |segment: &OpenSegment| {
            segment.key_seq == place.last && limits.replaces(segment.key_seq, segment.series_max)
        };
        let behind = self.segment.is_none() || self.decoder.position() != Some(BatchSeq(self.watermark));
        match place.header.kind {
            FrameKind::Key => behind || self.segment.as_ref().is_some_and(replaced),
            FrameKind::Delta => {
                behind && self.decoder.position().is_some_and(|position| position.next() == place.header.seq)
            }
            FrameKind::Gap => false,
        }
    }
}

impl Ingest {
    /// Starts with the generations that there are.
    pub(crate) fn new(core: Arc<Core>, generations: &[u64]) -> Self {
        Self {
            series_limits: SeriesLimits::Configured(core.config.series_per_agent_max),
            core,
            logs: FxHashMap::default(),
            generation: generations.last().copied().unwrap_or(0),
            generations: generations.iter().map(|generation| (*generation, 0)).collect(),
            head: 0,
        }
    }

    /// Decodes a frame. Nothing is visible before [`Ingest::apply`].
    pub(crate) fn stage(&mut self, append: &Append) -> Result<Stage, AppendRefusal> {
        let log = append.log;
        let malformed = |reason: String| AppendRefusal::Malformed { log, reason };
        let header = FrameHeader::parse(&append.frame).map_err(|error| malformed(error.to_string()))?;
        let header = header.ok_or_else(|| malformed("not a whole frame".to_owned()))?;
        if !self.logs.contains_key(&log) {
            let watermark = self.admit(append)?;
            self.logs.insert(log, LogWork::new(watermark));
        }
        let generation = self.generation;
        let unlimited = SeriesLimits::Configured(usize::MAX);
        let limits = match &self.series_limits {
            // What others push comes from many hosts.
            SeriesLimits::Configured(_) if append.interval_ms == 0 => &unlimited,
            limits => limits,
        };
        let Some(work) = self.logs.get_mut(&log) else { return Ok(Stage::Known { keep: false }) };
        if let Some((_, entry)) = &work.entry
            && entry.writer != append.writer
        {
            return Err(AppendRefusal::ForeignLog { log, owner: entry.writer.clone() });
        }
        let place = Place { last: header.last_seq.0, header };
        if place.last <= work.watermark {
            let keep =
                work.wants(&place, limits) && work.decode_only(&append.frame, &place, generation, limits);
            return Ok(Stage::Known { keep });
        }
        if place.header.seq.0 > work.watermark + 1 {
            let expected = BatchSeq(work.watermark + 1);
            return Err(AppendRefusal::OutOfOrder { log, expected, got: place.header.seq });
        }
        let staged = work.decode(append, &place, generation, limits);
        if staged.is_err() {
            work.forget_segment();
            if work.watermark == 0 {
                // What has brought nothing yet takes no room.
                self.logs.remove(&log);
            }
            self.publish_needs_key(log, true);
        }
        staged.map(|staged| Stage::New(Box::new(staged)))
    }

    /// Checks a log that is seen for the first time since the start; gives its watermark.
    fn admit(&self, append: &Append) -> Result<u64, AppendRefusal> {
        let logs_max = self.core.config.logs_max;
        let state = self.core.lock();
        match state.catalogue.logs.get(&append.log) {
            Some(info) if info.record.writer != append.writer => {
                Err(AppendRefusal::ForeignLog { log: append.log, owner: info.record.writer.clone() })
            }
            Some(info) => Ok(info.record.watermark),
            None if self.logs.len().max(state.catalogue.logs.len()) >= logs_max => {
                Err(AppendRefusal::LogLimit { logs_max })
            }
            None => Ok(0),
        }
    }

    /// Adds what a staged or kept frame has to leave in the log.
    pub(crate) fn write_into(&mut self, db: &Db, batch: &mut WriteBatch, append: &Append, seq: u64) {
        let Some(family) = db.cf_handle(&generation_name(self.generation)) else { return };
        let Some(work) = self.logs.get_mut(&append.log) else { return };
        let entry = LogEntry { writer: append.writer.clone(), interval_ms: append.interval_ms };
        let written = Some((self.generation, entry));
        if work.entry != written
            && let Some((_, entry)) = &written
        {
            batch.put_cf(&family, keys::frame(append.log, 0), entry.encode());
            work.entry = written;
        }
        work.stands_in(self.generation);
        if let Some(segment) = work.segment.filter(|segment| segment.key_seq == seq) {
            batch.put_cf(&family, keys::segment(append.log, seq), segment.entry().encode());
        }
        batch.put_cf(&family, keys::frame(append.log, seq), &append.frame);
        *self.generations.entry(self.generation).or_default() += append.frame.len() as u64;
    }

    /// Makes a staged frame visible. Gives the log's new watermark.
    pub(crate) fn apply(&mut self, staged: Staged) -> BatchSeq {
        let (head, version) = {
            let state = self.core.lock();
            (Arc::clone(&state.active), state.version + 1)
        };
        if let Some(work) = self.logs.get_mut(&staged.log) {
            if work.head != self.head {
                work.head = self.head;
                work.blocks.clear();
            }
            head.add_families(&staged.families);
            for row in staged.rows {
                let block = work.block(&head, staged.log, row.target, row.series);
                head.push_row(&block, version, row.at_ms, row.values);
            }
        }
        let needs_key = self.logs.get(&staged.log).is_none_or(|work| work.segment.is_none());
        let mut state = self.core.lock();
        state.version = version;
        let info = state.catalogue.entry(staged.log, &staged.writer, staged.interval_ms);
        info.needs_key = needs_key;
        info.record.interval_ms = staged.interval_ms;
        info.record.watermark = staged.seq;
        if staged.gap.is_none() {
            info.series = staged.series;
        }
        info.record.complete.add(staged.complete.0, staged.complete.1);
        info.record.add_gap(staged.gap);
        info.in_head = Some((info.in_head.map_or(staged.first, |(first, _)| first), staged.seq));
        state.catalogue.touch(staged.writer);
        BatchSeq(staged.seq)
    }

    /// Tells the catalogue whether the log's next batch needs its key again.
    pub(crate) fn publish_segment(&self, log: LogId) {
        let open = self.logs.get(&log).is_some_and(|work| {
            work.segment.is_some() && work.decoder.position() == Some(BatchSeq(work.watermark))
        });
        self.publish_needs_key(log, !open);
        if let Some(work) = self.logs.get(&log).filter(|work| work.segment.is_some())
            && let Some(info) = self.core.lock().catalogue.logs.get_mut(&log)
        {
            info.series = work.dictionary.admission.count();
        }
    }

    fn publish_needs_key(&self, log: LogId, needs_key: bool) {
        if let Some(info) = self.core.lock().catalogue.logs.get_mut(&log) {
            info.needs_key = needs_key;
        }
    }

    /// A log ends later than its frames: batches came in parts. Its decoder stays where it is, so that frames that
    /// lead on from there still do.
    pub(crate) fn raise(&mut self, log: LogId, watermark: u64) {
        if let Some(work) = self.logs.get_mut(&log) {
            work.watermark = work.watermark.max(watermark);
        }
        self.publish_segment(log);
    }

    /// The log's watermark as acknowledged.
    pub(crate) fn watermark(&self, log: LogId) -> BatchSeq {
        BatchSeq(self.logs.get(&log).map_or(0, |work| work.watermark))
    }

    /// Starts a new generation and a new head; the old head is frozen. Whether there is a frozen head now.
    pub(crate) fn rotate(&mut self, db: &Db, now: Timestamp) -> Result<bool, rocksdb::Error> {
        {
            let state = self.core.lock();
            if state.frozen.is_some() {
                return Ok(true);
            }
            if state.is_idle() {
                return Ok(false);
            }
        }
        let old = self.generation;
        create_generation(db, old + 1)?;
        self.generations.insert(old + 1, 0);
        self.generation = old + 1;
        self.forget_idle_logs();
        self.carry_segments(db)?;
        self.publish_sizes();
        self.head += 1;
        // Or a log that is never written to again would keep its last head's rows in memory.
        self.logs.values_mut().for_each(|work| work.blocks.clear());
        let oldest = self.core.forgotten_before(now);
        let mut guard = self.core.lock();
        let state = &mut *guard;
        // A log that the writer thread still knows was written to lately, whatever its times say.
        let forgotten = state.catalogue.forget_before(oldest, |log| self.logs.contains_key(&log));
        let mut logs = Vec::new();
        for (log, info) in &mut state.catalogue.logs {
            if let Some(batches) = info.in_head.take() {
                info.record.complete.forget_before(oldest);
                logs.push((*log, info.record.clone(), batches));
            }
        }
        state.frozen_version = state.version;
        let head = std::mem::take(&mut state.active);
        state.frozen = Some(Arc::new(Frozen { head, logs, forgotten, generation: old }));
        Ok(true)
    }

    /// The last generation that is dropped when there are too many.
    fn last_old(&self) -> Option<u64> {
        self.generation.checked_sub(self.core.config.generations_max as u64)
    }

    /// Lets go of logs that had no frame for as many generations as there may be: most are of processes that have
    /// ended. One that does go on has to send its key batch again.
    fn forget_idle_logs(&mut self) {
        let Some(last_old) = self.last_old() else { return };
        let core = &self.core;
        self.logs.retain(|log, work| {
            let idle = work.last_generation <= last_old;
            if idle && let Some(info) = core.lock().catalogue.logs.get_mut(log) {
                info.needs_key = true;
            }
            !idle
        });
    }

    /// When there are too many generations, takes the open segments of the oldest along into the new one.
    fn carry_segments(&mut self, db: &Db) -> Result<(), rocksdb::Error> {
        let Some(last_old) = self.last_old() else { return Ok(()) };
        let generation = self.generation;
        let mut carried = Vec::new();
        for (log, work) in &mut self.logs {
            let Some(segment) = work.segment.filter(|segment| segment.generation <= last_old) else {
                continue;
            };
            carried.push((*log, segment.generation, segment.key_seq..=work.watermark));
            work.segment = Some(OpenSegment { generation, ..segment });
        }
        for (log, from, batches) in carried {
            self.carry(db, log, from, batches)?;
        }
        Ok(())
    }

    fn carry(
        &mut self,
        db: &Db,
        log: LogId,
        from: u64,
        batches: RangeInclusive<u64>,
    ) -> Result<(), rocksdb::Error> {
        let mut batch = WriteBatch::default();
        let Some(target) = db.cf_handle(&generation_name(self.generation)) else { return Ok(()) };
        let first = keys::frame(log, *batches.start());
        for (generation, _) in self.generations.range(from..self.generation) {
            let Some(family) = db.cf_handle(&generation_name(*generation)) else { continue };
            for entry in db.iterator_cf(&family, IteratorMode::From(&first, Direction::Forward)) {
                let (key, frame) = entry?;
                match keys::parse_frame(&key) {
                    Some((found, seq)) if found == log && batches.contains(&seq) => {
                        batch.put_cf(&target, &key, &frame)
                    }
                    _ => break,
                }
            }
        }
        if let Some(work) = self.logs.get_mut(&log)
            && let Some((_, entry)) = &work.entry
        {
            batch.put_cf(&target, keys::frame(log, 0), entry.encode());
            if let Some(segment) = work.segment {
                batch.put_cf(&target, keys::segment(log, segment.key_seq), segment.entry().encode());
            }
        }
        *self.generations.entry(self.generation).or_default() += batch.size_in_bytes() as u64;
        write_synced(db, batch)
    }

    /// Drops generations that are in parts and that no segment of a later one needs, the oldest first.
    pub(crate) fn drop_generations(&mut self, db: &Db, through: u64) -> Result<(), rocksdb::Error> {
        let needed = self.logs.values().map(|work| work.needs(self.generation)).min().unwrap_or(u64::MAX);
        while let Some((&oldest, _)) = self.generations.first_key_value()
            && oldest <= through
            && oldest < needed
            && oldest < self.generation
        {
            self.core.crash_point("drop_generation");
            drop_generation(db, oldest)?;
            self.generations.remove(&oldest);
        }
        self.publish_sizes();
        Ok(())
    }

    pub(crate) fn publish_sizes(&self) {
        self.core.counters.log_bytes.store(self.generations.values().sum(), Relaxed);
        self.core.counters.log_generations.store(self.generations.len() as u64, Relaxed);
        let mut state = self.core.lock();
        if !state.generations.iter().eq(self.generations.keys()) {
            state.generations = Arc::new(self.generations.keys().copied().collect());
        }
    }

    /// Reads all generations again: what is not in parts is applied, the rest opens segments.
    pub(crate) fn replay(&mut self, db: &Db) -> Result<(), ReplayError> {
        let core = Arc::clone(&self.core);
        let _watch = Stopwatch::start(&core.counters.open_micros);
        let generations: Vec<u64> = self.generations.keys().copied().collect();
        for generation in generations {
            self.generation = generation;
            let Some(family) = db.cf_handle(&generation_name(generation)) else { continue };
            let mut entry = None;
            for item in db.iterator_cf(&family, IteratorMode::Start) {
                let (key, value) = item?;
                let corrupt = |what: String| {
                    ReplayError::Corrupt(format!("generation {generation} of the log: {what}"))
                };
                if let Some((_, key_seq)) = keys::parse_segment(&key) {
                    let decoded = SegmentEntry::decode(&value).map_err(|error| corrupt(error.to_string()))?;
                    let series_max = usize::try_from(decoded.series_max).unwrap_or(usize::MAX);
                    if let SeriesLimits::Replayed(limits) = &mut self.series_limits {
                        limits.insert(key_seq, series_max);
                    }
                    continue;
                }
                let (log, seq) = keys::parse_frame(&key).ok_or_else(|| corrupt("a key".to_owned()))?;
                if seq == 0 {
                    let decoded = LogEntry::decode(&value).map_err(|error| corrupt(error.to_string()))?;
                    entry = Some((log, decoded));
                    self.series_limits = SeriesLimits::Replayed(BTreeMap::new());
                    continue;
                }
                let Some((_, entry)) = entry.as_ref().filter(|(of, _)| *of == log) else {
                    return Err(corrupt(format!("log {log} has no entry")));
                };
                let append = Append {
                    writer: entry.writer.clone(),
                    log,
                    interval_ms: entry.interval_ms,
                    frame: value.into_vec(),
                };
                self.replay_frame(&append, entry.clone()).map_err(|refusal| corrupt(refusal.to_string()))?;
            }
        }
        self.series_limits = SeriesLimits::Configured(core.config.series_per_agent_max);
        if self.generations.is_empty() {
            create_generation(db, 1)?;
            self.generation = 1;
            self.generations.insert(1, 0);
        }
        let logs: Vec<LogId> = self.logs.keys().copied().collect();
        logs.into_iter().for_each(|log| self.publish_segment(log));
        self.publish_sizes();
        Ok(())
    }

    fn replay_frame(&mut self, append: &Append, entry: LogEntry) -> Result<(), AppendRefusal> {
        self.core.counters.replayed_frames.fetch_add(1, Relaxed);
        *self.generations.entry(self.generation).or_default() += append.frame.len() as u64;
        if let Stage::New(staged) = self.stage(append)? {
            self.apply(*staged);
        }
        if let Some(work) = self.logs.get_mut(&append.log) {
            work.entry = Some((self.generation, entry));
            work.stands_in(self.generation);
        }
        Ok(())
    }
}

/// Why the log could not be read again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error(transparent)]
    Disk(#[from] rocksdb::Error),
    #[error("{0}")]
    Corrupt(String),
}

/// What lies outside of what can be stored is cut off: no sample can be there.
fn storable_time(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().clamp(TIME_MIN_MS, TIME_END_MS))
}

impl LogWork {
    /// Lets the decoder see a batch that is here already; whether it could read it.
    fn decode_only(&mut self, frame: &[u8], place: &Place, generation: u64, limits: &SeriesLimits) -> bool {
        let series_max = self.series_max(place, limits);
        let Ok(batch) = self.decoder.decode(frame) else {
            self.forget_segment();
            return false;
        };
        match place.header.kind {
            FrameKind::Key => {
                self.dictionary.begin(&batch, series_max);
                self.begin_segment(place, generation, series_max);
            }
            FrameKind::Delta => self.dictionary.go_on(&batch),
            FrameKind::Gap => {}
        }
        true
    }

    fn decode(
        &mut self,
        append: &Append,
        place: &Place,
        generation: u64,
        limits: &SeriesLimits,
    ) -> Result<Staged, AppendRefusal> {
        let log = append.log;
        let series_max = self.series_max(place, limits);
        let batch = self.decoder.decode(&append.frame).map_err(|error| match error {
            DecodeError::NeedsKey { seq, .. } => AppendRefusal::NeedsKey { log, seq },
            other => AppendRefusal::Malformed { log, reason: other.to_string() },
        })?;
        let storable = TIME_MIN_MS..TIME_END_MS;
        if let Some(row) = batch.rows.iter().find(|row| !storable.contains(&row.at.as_millis())) {
            return Err(AppendRefusal::TimeOutOfRange { log, at_ms: row.at.as_millis() });
        }
        match place.header.kind {
            FrameKind::Key => self.dictionary.begin(&batch, series_max),
            FrameKind::Delta => self.dictionary.go_on(&batch),
            FrameKind::Gap => {}
        }
        let (rows, samples_masked) = self.dictionary.stage_rows(batch.rows);
        let gap = batch.gap.map(|gap| Gap { from: BatchSeq(self.watermark + 1).max(gap.from), ..gap });
        let staged = Staged {
            log,
            writer: append.writer.clone(),
            interval_ms: append.interval_ms,
            seq: place.last,
            first: self.watermark + 1,
            rows,
            families: Arc::clone(&self.dictionary.families),
            complete: match gap {
                // A gap says nothing of time.
                Some(_) => (Timestamp::MIN, Timestamp::MIN),
                None => (storable_time(batch.complete_from), storable_time(batch.complete_through)),
            },
            gap,
            series: self.dictionary.admission.count(),
            samples_masked,
        };
        match place.header.kind {
            FrameKind::Key => self.begin_segment(place, generation, series_max),
            FrameKind::Gap => self.forget_segment(),
            FrameKind::Delta => {}
        }
        self.watermark = place.last;
        Ok(staged)
    }

    /// The limit of the segment that a key batch begins.
    fn series_max(&self, place: &Place, limits: &SeriesLimits) -> usize {
        match self.pinned {
            Some((key_seq, series_max)) if key_seq == place.last && !limits.replaces(key_seq, series_max) => {
                series_max
            }
            _ => limits.of_segment(place.last),
        }
    }

    fn begin_segment(&mut self, place: &Place, generation: u64, series_max: usize) {
        let key_seq = place.last;
        self.segment = Some(OpenSegment { key_seq, generation, series_max });
        self.pinned = Some((key_seq, series_max));
    }

    /// The block that takes a target's rows.
    fn block(&mut self, head: &Head, log: LogId, target: usize, series: TargetSeries) -> Arc<Block> {
        if self.blocks.len() <= target {
            self.blocks.resize(target + 1, None);
        }
        match &self.blocks[target] {
            Some(block) if block.extend(head, &series) => Arc::clone(block),
            _ => {
                let block = head.add_block(log, series);
                self.blocks[target] = Some(Arc::clone(&block));
                block
            }
        }
    }
}
