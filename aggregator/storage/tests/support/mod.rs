//! Writers, and a model that is too simple to be wrong.
#![allow(dead_code, unreachable_pub, reason = "every test uses its part of this")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use vedette_model::{
    Exemplar, Histogram, Labels, Matcher, Metadata, MetricKind, Samples, SelectRequest, SeriesSource,
    SeriesStream, Timestamp,
};
use vedette_storage::{Append, AppendOutcome, SeriesCount, Storage, StorageConfig, View, WriterStatus};
use vedette_wire::{
    AgentName, BatchInput, BatchSeq, Family, LogId, RowInput, SegmentEncoder, SegmentLimits,
    SeriesDescription, TargetTable,
};

/// A day in 2025, so that partitions are as in life.
pub const DAY: i64 = 20_089 * 86_400_000;
pub const INTERVAL_MS: u32 = 1000;

pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Small enough that everything happens.
pub fn config(path: &std::path::Path) -> StorageConfig {
    StorageConfig {
        retention_ms: 365 * 86_400_000,
        head_age_max_ms: i64::MAX,
        merge_parts_min: 2,
        merge_quiet_ms: i64::MAX,
        generations_max: 3,
        ..StorageConfig::new(path)
    }
}

/// Writes frames of one log.
pub struct LogWriter {
    pub name: AgentName,
    pub log: LogId,
    pub seq: u64,
    encoder: SegmentEncoder,
    tables: Vec<TargetTable>,
}

/// One row: target, time, and values by series name.
pub type Row = (u32, i64, Vec<(String, f64)>);

/// A value of any kind.
#[derive(Clone, Debug)]
pub enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
    /// No sample at all.
    None,
}

/// What a row has of one series.
#[derive(Clone, Debug)]
pub struct Datum {
    pub name: String,
    pub value: Value,
    pub start_ms: i64,
    pub exemplars: Vec<Exemplar>,
}

impl LogWriter {
    pub fn new(name: &str, log: u128, batches_max: u32) -> Self {
        let limits = SegmentLimits { batches_max, ..SegmentLimits::default() };
        Self {
            name: AgentName::new(name).expect("a name"),
            log: LogId(log),
            seq: 0,
            encoder: SegmentEncoder::new(limits),
            tables: (0..4).map(|_| TargetTable::new()).collect(),
        }
    }

    /// The next batch, whole on `complete`.
    pub fn batch(&mut self, complete: (i64, i64), rows: &[Row]) -> Append {
        let datum = |(name, value): &(String, f64)| Datum {
            name: name.clone(),
            value: Value::Float(*value),
            start_ms: 0,
            exemplars: Vec::new(),
        };
        let of_row = |(target, at, values): &Row| (*target, *at, values.iter().map(datum).collect());
        let rows: Vec<_> = rows.iter().map(of_row).collect();
        self.batch_of(complete, &rows)
    }

    /// The next batch, with values of all kinds.
    pub fn batch_of(&mut self, complete: (i64, i64), rows: &[(u32, i64, Vec<Datum>)]) -> Append {
        let mut encoded = Vec::new();
        for (target, at, data) in rows {
            let table = &mut self.tables[*target as usize];
            table.begin_row();
            for datum in data {
                add(table, datum);
            }
            let mut values = table.row().clone();
            // A table knows a series by its value, so one that has exemplars alone is named by hand.
            for datum in data.iter().filter(|datum| matches!(datum.value, Value::None)) {
                let labels = labels(&datum.name);
                let index = (0..table.series_len()).find(|index| table.labels(*index) == Some(&labels));
                for exemplar in index.into_iter().flat_map(|_| &datum.exemplars) {
                    values.push_exemplar(index.unwrap_or(0), exemplar.clone());
                }
            }
            encoded.push((*target, at_of(*at), values));
        }
        self.seq += 1;
        let rows: Vec<RowInput<'_>> = encoded
            .iter()
            .map(|(target, at, values)| RowInput {
                target: *target,
                at: *at,
                table: &self.tables[*target as usize],
                values,
            })
            .collect();
        let input = BatchInput {
            seq: BatchSeq(self.seq),
            complete_from: at_of(complete.0),
            complete_through: at_of(complete.1),
            rows: &rows,
        };
        let frame = self.encoder.encode(&input).expect("encodes").frame;
        self.append(frame)
    }

    pub fn append(&self, frame: Vec<u8>) -> Append {
        Append { writer: self.name.clone(), log: self.log, interval_ms: INTERVAL_MS, frame }
    }

    pub fn start_segment(&mut self) {
        self.encoder.start_segment();
    }

    /// As a writer that starts anew with empty tables.
    pub fn forget_series(&mut self) {
        self.encoder.start_segment();
        self.tables.fill_with(TargetTable::new);
    }
}

fn add(table: &mut TargetTable, datum: &Datum) {
    let Datum { name, value, start_ms, exemplars } = datum;
    let describe = || Ok::<_, ()>(SeriesDescription { labels: labels(name), family: name.clone() });
    match value {
        Value::Float(value) => table.set(name.as_bytes(), *value, describe).expect("a series"),
        Value::Histogram(histogram) => {
            table.set_histogram(name.as_bytes(), Arc::clone(histogram), describe).expect("a series")
        }
        Value::None => return,
    };
    table.set_start_ms(*start_ms);
    for exemplar in exemplars {
        table.push_exemplar(exemplar.labels.clone(), exemplar.value, Some(exemplar.at_ms), 0);
    }
    let help = format!("Help of {name}.");
    let metadata = Metadata { kind: MetricKind::Gauge, unit: String::new(), help };
    table.set_family(Family { name: name.clone(), metadata });
}

fn at_of(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// The series behind a name: of one job, so that several writers may write it.
pub fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("job", "test"), ("first", &name[..1])])
}

/// Appends and waits.
pub fn submit(storage: &Storage, append: Append) -> AppendOutcome {
    let (sender, receiver) = sync_channel(1);
    let done = Box::new(move |outcome| drop(sender.send(outcome)));
    storage.submit(append, done).expect("room in the queue");
    receiver.recv().expect("an answer")
}

pub fn submit_durable(storage: &Storage, append: Append, seq: u64) {
    assert_eq!(submit(storage, append), AppendOutcome::Durable { through: BatchSeq(seq), masked: None });
}

/// Every series with its samples, as bits.
pub type Dump = Vec<(Labels, Vec<(i64, u64)>)>;

pub fn dump(view: &View, matchers: &[Matcher], start: i64, end: i64) -> Dump {
    let request = SelectRequest { matchers, start: at(start), end: at(end) };
    let all = drain(view.select(&request).expect("selects"));
    let newest = drain(view.select_newest(&request).expect("selects"));
    let last = |series: &Dump| -> Vec<_> {
        series.iter().map(|(labels, samples)| (labels.clone(), samples.last().copied())).collect()
    };
    assert_eq!(last(&newest), last(&all), "from {start} to {end}");
    all
}

fn drain(mut stream: Box<dyn SeriesStream + '_>) -> Dump {
    let mut samples = Samples::default();
    let mut all = Vec::new();
    while let Some(labels) = stream.next_into(&mut samples).expect("reads") {
        let pairs = samples.at_ms.iter().copied().zip(samples.values.iter().map(|value| value.to_bits()));
        all.push((labels, pairs.collect()));
    }
    all
}

/// What every storage must answer.
#[derive(Default, Clone)]
pub struct Model {
    /// By series and time: the greatest of (log, bits).
    series: BTreeMap<Labels, BTreeMap<i64, (u128, u64)>>,
}

impl Model {
    pub fn apply(&mut self, log: LogId, rows: &[Row]) {
        for (_, at, values) in rows {
            for (name, value) in values {
                let samples = self.series.entry(labels(name)).or_default();
                let new = (log.0, value.to_bits());
                let slot = samples.entry(*at).or_insert(new);
                *slot = (*slot).max(new);
            }
        }
    }

    pub fn dump(&self, matchers: &[Matcher], start: i64, end: i64) -> Dump {
        let accepts = |labels: &Labels| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        let found = self.series.iter().filter(|(labels, _)| accepts(labels)).map(|(labels, samples)| {
            let samples = samples.range(start..=end.max(start)).map(|(at, (_, bits))| (*at, *bits)).collect();
            (labels.clone(), samples)
        });
        found.filter(|(_, samples): &(Labels, Vec<_>)| !samples.is_empty() && start <= end).collect()
    }
}

/// Compares all that can be asked about a range.
pub fn check_range(view: &View, model: &Model, matchers: &[Matcher], start: i64, end: i64) {
    let expected = model.dump(matchers, start, end);
    assert_eq!(dump(view, matchers, start, end), expected);
    let request = SelectRequest { matchers, start: at(start), end: at(end) };
    let series: Vec<Labels> = expected.iter().map(|(labels, _)| labels.clone()).collect();
    assert_eq!(view.series(&request).expect("series"), series);
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all.dedup();
        all
    };
    let names = series.iter().flatten().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(view.label_names(&request).expect("names"), sorted(names));
    for name in ["__name__", "first", "job", "none"] {
        let values = series.iter().filter_map(|labels| labels.get(name)).map(str::to_owned).collect();
        assert_eq!(view.label_values(name, &request).expect("values"), sorted(values));
    }
}

/// What is known of the writers, but for their open segments: those are here or there.
pub fn writers_of(storage: &Storage) -> Vec<WriterStatus> {
    let known = |writer| WriterStatus { series: SeriesCount::default(), ..writer };
    storage.writers().into_iter().map(known).collect()
}
