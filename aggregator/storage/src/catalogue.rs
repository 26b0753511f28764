//! What is known of all logs: watermarks, completeness, gaps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vedette_model::Timestamp;
use vedette_wire::{AgentName, BatchSeq, LogId, WriterKind};

use crate::absence::joined;
use crate::record::LogRecord;
use crate::{LogStatus, Resume, SeriesCount, TimeRange, WriterStatus};

#[derive(Default)]
pub(crate) struct Catalogue {
    pub(crate) logs: BTreeMap<LogId, LogInfo>,
    writers: BTreeMap<AgentName, Vec<LogId>>,
    /// What views are given; brought up to date when one is taken.
    times: Arc<WritersTimes>,
    /// Writers whose `times` are out of date.
    changed: BTreeSet<AgentName>,
}

/// When each writer's data is whole, by name. A view takes it as it is; [`Catalogue::times`] replaces the entries
/// that have changed.
pub(crate) type WritersTimes = BTreeMap<Arc<str>, Arc<WriterTimes>>;

/// A writer's logs, and when its data is whole over all of them, each range with the writer's interval at its end.
pub(crate) struct WriterTimes {
    pub(crate) logs: Vec<LogId>,
    pub(crate) complete: Vec<(TimeRange, u32)>,
}

pub(crate) struct LogInfo {
    pub(crate) record: LogRecord,
    /// The next batch can only be read after its segment's key batch has come again.
    pub(crate) needs_key: bool,
    /// Batches applied since the last freeze: the first and the last.
    pub(crate) in_head: Option<(u64, u64)>,
    /// Of the last segment applied since the start.
    pub(crate) series: SeriesCount,
}

impl Catalogue {
    /// The entry of a log, made when it is new.
    pub(crate) fn entry(&mut self, log: LogId, writer: &AgentName, interval_ms: u32) -> &mut LogInfo {
        self.logs.entry(log).or_insert_with(|| {
            self.writers.entry(writer.clone()).or_default().push(log);
            let record = LogRecord {
                writer: writer.clone(),
                interval_ms,
                watermark: 0,
                complete: Default::default(),
                gaps: Vec::new(),
            };
            LogInfo { record, needs_key: true, in_head: None, series: SeriesCount::default() }
        })
    }

    /// A log's record as it was stored.
    pub(crate) fn restore(&mut self, log: LogId, record: LogRecord) {
        let (writer, interval_ms) = (record.writer.clone(), record.interval_ms);
        self.entry(log, &writer, interval_ms).record = record;
        self.changed.insert(writer);
    }

    /// Forgets logs that are not `active`, have brought nothing since the last freeze and nothing that retention has
    /// kept.
    pub(crate) fn forget_before(&mut self, oldest: Timestamp, active: impl Fn(LogId) -> bool) -> Vec<LogId> {
        let past = |log: LogId, info: &LogInfo| {
            info.in_head.is_none()
                && info.record.complete.last_through().is_some_and(|through| through < oldest)
                && !active(log)
        };
        let gone: Vec<LogId> =
            self.logs.iter().filter(|(log, info)| past(**log, info)).map(|(log, _)| *log).collect();
        for log in &gone {
            if let Some(info) = self.logs.remove(log)
                && let Some(logs) = self.writers.get_mut(&info.record.writer)
            {
                self.changed.insert(info.record.writer.clone());
                logs.retain(|other| other != log);
                if logs.is_empty() {
                    self.writers.remove(&info.record.writer);
                }
            }
        }
        gone
    }

    pub(crate) fn resume(&self, log: LogId) -> Resume {
        match self.logs.get(&log) {
            Some(info) => Resume { through: BatchSeq(info.record.watermark), needs_key: info.needs_key },
            None => Resume { through: BatchSeq(0), needs_key: false },
        }
    }

    pub(crate) fn statuses(&self) -> Vec<WriterStatus> {
        self.writers.keys().map(|name| self.status(name)).collect()
    }

    fn status(&self, name: &AgentName) -> WriterStatus {
        let mut logs: Vec<LogStatus> = self.logs_of(name).map(|(log, info)| log_status(log, info)).collect();
        logs.sort_by_key(|status| status.log);
        let complete: Vec<TimeRange> =
            joined(self.ranges_of(name, |_| true)).into_iter().map(|(range, _)| range).collect();
        let complete_through = complete.last().map(|range| range.through);
        let newest = self.logs_of(name).max_by_key(|(log, info)| (info.record.complete.last_through(), *log));
        let series = newest.map_or_else(SeriesCount::default, |(_, info)| info.series);
        WriterStatus { name: name.clone(), logs, complete, complete_through, series }
    }

    /// Something came from the writer.
    pub(crate) fn touch(&mut self, writer: AgentName) {
        self.changed.insert(writer);
    }

    /// When the writers' data is whole. Costs as much as there are writers with news since the last time.
    pub(crate) fn times(&mut self) -> Arc<WritersTimes> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Arc::clone(&self.times);
        }
        let fresh: Vec<(AgentName, Option<WriterTimes>)> = changed
            .into_iter()
            .map(|name| {
                let times = self.writers.get(&name).map(|logs| WriterTimes {
                    logs: logs.clone(),
                    // Nobody knows when what is pushed is whole: its absence says nothing.
                    complete: joined(self.ranges_of(&name, |log| log.kind() == WriterKind::Agent)),
                });
                (name, times)
            })
            .collect();
        let all = Arc::make_mut(&mut self.times);
        for (name, times) in fresh {
            match (times, all.get_mut(name.as_str())) {
                (Some(times), Some(old)) => *old = Arc::new(times),
                (Some(times), None) => drop(all.insert(name.as_str().into(), Arc::new(times))),
                (None, _) => drop(all.remove(name.as_str())),
            }
        }
        Arc::clone(&self.times)
    }

    fn logs_of<'a>(&'a self, name: &AgentName) -> impl Iterator<Item = (LogId, &'a LogInfo)> {
        let logs = self.writers.get(name).into_iter().flatten();
        logs.filter_map(|log| Some((*log, self.logs.get(log)?)))
    }

    fn ranges_of(&self, name: &AgentName, wanted: impl Fn(LogId) -> bool) -> Vec<(TimeRange, u32)> {
        self.logs_of(name)
            .filter(|(log, _)| wanted(*log))
            .flat_map(|(_, info)| {
                info.record.complete.as_slice().iter().map(|range| (*range, info.record.interval_ms))
            })
            .collect()
    }
}

fn log_status(log: LogId, info: &LogInfo) -> LogStatus {
    LogStatus {
        log,
        through: BatchSeq(info.record.watermark),
        interval_ms: info.record.interval_ms,
        complete: info.record.complete.as_slice().to_vec(),
        gaps: info.record.gaps.clone(),
    }
}
