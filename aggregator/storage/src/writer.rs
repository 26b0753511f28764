//! The writer thread: takes what is queued, writes it with one sync, applies it, and only then says so.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use rocksdb::WriteBatch;

use crate::copy::show;
use crate::db::{Db, write_synced};
use crate::ingest::{Ingest, Stage, Staged};
use crate::open::{Opened, open};
use crate::queue::{Command, Queue};
use crate::shared::Core;
use crate::statistics::Stopwatch;
use crate::{Append, AppendOutcome, Done, StorageFault};

pub(crate) struct Writer {
    core: Arc<Core>,
    queue: Arc<Queue>,
    /// `None` after a fault, until the database is open again.
    ingest: Option<Ingest>,
}

/// What one synced write is to settle.
#[derive(Default)]
struct Group {
    batch: WriteBatch,
    entries: Vec<(Done, Entry)>,
}

enum Entry {
    New(Box<Staged>),
    Known(vedette_wire::LogId),
    Settled(AppendOutcome),
}

impl Writer {
    pub(crate) fn new(core: Arc<Core>, queue: Arc<Queue>, ingest: Ingest) -> Self {
        Self { core, queue, ingest: Some(ingest) }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            let commands = self.queue.take(self.core.config.group_frames_max);
            if commands.is_empty() {
                return;
            }
            let mut group = Group::default();
            for command in commands {
                match command {
                    Command::Append(append, done) => self.add(&mut group, append, done),
                    control => {
                        self.commit(std::mem::take(&mut group));
                        self.control(control);
                    }
                }
            }
            self.commit(group);
        }
    }

    fn add(&mut self, group: &mut Group, append: Append, done: Done) {
        let entry = match self.stage(group, append) {
            Ok(entry) => entry,
            Err(outcome) => Entry::Settled(outcome),
        };
        group.entries.push((done, entry));
    }

    fn stage(&mut self, group: &mut Group, append: Append) -> Result<Entry, AppendOutcome> {
        let fault = |fault| AppendOutcome::Failed(fault);
        let (db, samples) = {
            let state = self.core.lock();
            let reason = || state.fault.clone().unwrap_or_default();
            let db = state.db.clone().ok_or_else(|| fault(StorageFault::Disk(reason())))?;
            (db, state.active.weight.load(Relaxed))
        };
        if samples >= self.core.config.head_samples_max.saturating_mul(2) {
            return Err(fault(StorageFault::HeadFull { samples }));
        }
        let Some(ingest) = &mut self.ingest else {
            let reason = self.core.lock().fault.clone().unwrap_or_default();
            return Err(fault(StorageFault::Disk(reason)));
        };
        match ingest.stage(&append).map_err(AppendOutcome::Refused)? {
            Stage::New(staged) => {
                ingest.write_into(&db, &mut group.batch, &append, staged.seq);
                Ok(Entry::New(staged))
            }
            Stage::Known { keep } => {
                if keep && let Ok(Some(header)) = vedette_wire::FrameHeader::parse(&append.frame) {
                    ingest.write_into(&db, &mut group.batch, &append, header.last_seq.0);
                }
                Ok(Entry::Known(append.log))
            }
        }
    }

    /// Writes, applies, answers.
    fn commit(&mut self, group: Group) {
        if group.entries.is_empty() {
            return;
        }
        let counters = Arc::clone(&self.core.counters);
        let result = if group.batch.is_empty() { Ok(()) } else { self.write(group.batch) };
        if let Err(reason) = &result {
            self.fail(reason.clone());
        }
        for (done, entry) in group.entries {
            let outcome = match (entry, &result, &mut self.ingest) {
                (Entry::Settled(outcome), ..) => outcome,
                (Entry::New(staged), Ok(()), Some(ingest)) => {
                    counters.batches_appended.fetch_add(1, Relaxed);
                    staged.count(&counters);
                    let masked = staged.masked();
                    AppendOutcome::Durable { through: ingest.apply(*staged), masked }
                }
                (Entry::Known(log), Ok(()), Some(ingest)) => {
                    counters.batches_known.fetch_add(1, Relaxed);
                    ingest.publish_segment(log);
                    AppendOutcome::Known { through: ingest.watermark(log) }
                }
                (_, Err(reason), _) => AppendOutcome::Failed(StorageFault::Disk(reason.clone())),
                (_, Ok(()), None) => AppendOutcome::Failed(StorageFault::Closed),
            };
            match &outcome {
                AppendOutcome::Refused(refusal) => counters.refuse(refusal),
                AppendOutcome::Failed(_) => drop(counters.failed.fetch_add(1, Relaxed)),
                AppendOutcome::Durable { .. } | AppendOutcome::Known { .. } => {}
            }
            done(outcome);
        }
        if let Some(ingest) = &self.ingest {
            ingest.publish_sizes();
        }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), String> {
        let db = self.core.lock().db.clone().ok_or("closed")?;
        self.core.crash_point("log_before_write");
        {
            let _watch = Stopwatch::start(&self.core.counters.sync_micros);
            write_synced(&db, batch).map_err(|error| error.to_string())?;
        }
        self.core.counters.syncs.fetch_add(1, Relaxed);
        self.core.crash_point("log_after_write");
        Ok(())
    }

    /// Nothing more is written until the database has been opened again, because RocksDB does not go on after a
    /// failed write, and because the decoders are ahead of the log now.
    fn fail(&mut self, reason: String) {
        self.core.counters.disk_faults.fetch_add(1, Relaxed);
        tracing::error!(%reason, "storage can not write; it will reopen itself when it can");
        self.core.lock().fault = Some(reason);
        self.ingest = None;
    }

    fn control(&mut self, command: Command) {
        match command {
            Command::Append(..) => {}
            Command::Rotate(now, answer) => {
                let frozen = self.with_db(|ingest, db| ingest.rotate(db, now)).unwrap_or(false);
                // Whoever asked may have gone.
                answer.send(frozen).ok();
            }
            Command::DropGenerations { through } => {
                self.with_db(|ingest, db| ingest.drop_generations(db, through));
            }
            Command::Show(copied, answer) => {
                let core = Arc::clone(&self.core);
                let shown = self.with_db(|ingest, db| {
                    for (log, watermark) in show(&core, db, *copied) {
                        ingest.raise(log, watermark);
                    }
                    Ok(())
                });
                answer.send(shown.is_some()).ok();
            }
            Command::Reopen(answer) => {
                answer.send(self.reopen()).ok();
            }
        }
    }

    fn with_db<T>(
        &mut self,
        act: impl FnOnce(&mut Ingest, &Arc<Db>) -> Result<T, rocksdb::Error>,
    ) -> Option<T> {
        let db = self.core.lock().db.clone()?;
        match act(self.ingest.as_mut()?, &db) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(error.to_string());
                None
            }
        }
    }

    /// Closes the database and opens it again, if no view needs it. Whether it is open.
    fn reopen(&mut self) -> bool {
        {
            let mut state = self.core.lock();
            if state.fault.is_none() {
                return true;
            }
            if let Some(db) = &state.db
                && Arc::strong_count(db) > 1 + state.parts.len()
            {
                return false;
            }
            self.ingest = None;
            // All that is in memory comes back from the log and the parts.
            let fault = state.fault.take();
            *state = crate::shared::State { fault, ..Default::default() };
        }
        match open(&self.core) {
            Ok(Opened { state, ingest }) => {
                *self.core.lock() = state;
                self.ingest = Some(ingest);
                self.core.counters.reopens.fetch_add(1, Relaxed);
                tracing::info!("storage can write again");
                true
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(%reason, "storage could not be reopened yet");
                self.core.lock().fault = Some(reason);
                false
            }
        }
    }
}
