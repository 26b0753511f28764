//! The log of what others push to this replica.
//!
//! Batches have rows of targets; what is pushed has series with times of their own. Series become targets of 64 in the
//! order in which they first come, so that what comes together, as the samples of a scrape do, makes whole rows, and a
//! sample that comes alone takes little room.

use std::convert::Infallible;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use vedette_model::{Exemplar, Histogram, HistogramError, Labels, METRIC_NAME, Timestamp, is_stale};
use vedette_wire::{
    BatchInput, BatchSeq, DecodeLimits, EncodeError, HISTOGRAM_BUCKETS_MAX, LogId, RowInput, RowValues,
    SegmentEncoder, SegmentLimits, SeriesDescription, TargetTable, with_request,
};

use super::histogram::PushedHistogram;
use super::request::{PushedSample, PushedSeries, Request, canonical_key};

/// Series of one target. With as many targets as a log may have, a log has room for as many series as it may have.
const SERIES_PER_TARGET: usize = 64;
/// Bytes of labels after which a target takes no more series, so that a batch of one target is never too long.
const TARGET_LABEL_BYTES_MAX: usize = 1 << 20;
/// Bytes of labels of one batch's targets: any of them may have to be told with it.
const BATCH_LABEL_BYTES_MAX: usize = 2 << 20;
/// Values of one batch, present or not.
const BATCH_CELLS_MAX: usize = 1 << 17;
/// Rows of one batch.
const BATCH_ROWS_MAX: usize = 1 << 14;
/// Series that are appended in one go.
pub(super) const APPEND_SERIES_MAX: usize = 50_000;
/// Room that a log must have left, so that an append always fits: in series, targets and bytes of labels.
const ROOM_SERIES: usize = 1 << 16;
const ROOM_TARGETS: usize = 1 << 11;
const ROOM_LABEL_BYTES: usize = 72 << 20;
/// Families of which metadata is kept.
const FAMILIES_MAX: usize = 1 << 14;
/// Bytes of one family's name, unit and help; what is longer is left out.
const FAMILY_BYTES_MAX: usize = 16 << 10;
/// A scrape of many hosts is spread over many requests: a segment has to be long, or it is mostly dictionary.
const SEGMENT_LIMITS: SegmentLimits = SegmentLimits { batches_max: 4096, bytes_max: 8 << 20 };
/// Further ahead of the clock than this is refused, as Prometheus does.
const AHEAD_MS_MAX: i64 = 600_000;

/// What is written for pushes, from one start of a log to its end.
///
/// Owns no storage and reads no clock.
pub(super) struct PushLog {
    log: LogId,
    last: BatchSeq,
    encoder: SegmentEncoder,
    /// The first has no samples: its series stand for families, and bring their metadata.
    targets: Vec<Target>,
    places: FxHashMap<u128, Place>,
    series_len: usize,
    label_bytes: usize,
    /// Metadata came since the last batch.
    metadata_came: bool,
    complete_through: Timestamp,
}

#[derive(Default)]
struct Target {
    table: TargetTable,
    /// The newest sample of each series.
    newest: Vec<Option<Newest>>,
    label_bytes: usize,
}

#[derive(Clone, Copy)]
struct Newest {
    at_ms: i64,
    bits: u64,
}

#[derive(Clone, Copy)]
struct Place {
    target: u32,
    series: u32,
}

/// A sample that will be written.
struct Cell {
    place: Place,
    at_ms: i64,
    content: Content,
}

enum Content {
    Float(f64),
    Histogram(Arc<Histogram>),
    Exemplar(Box<Exemplar>),
}

/// Which times are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) now: Timestamp,
    /// Retention has dropped what is older.
    pub(super) oldest: Timestamp,
}

/// Why a sample was not written. Each variant is one `reason` of the rejection counter.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Rejection {
    #[error(
        "duplicate sample for timestamp {at_ms}; overrides not allowed: existing {existing}, new value {new}"
    )]
    Duplicate { at_ms: i64, existing: f64, new: f64 },
    #[error("out of bounds: timestamp is too far in the future")]
    TooNew,
    #[error("out of bounds: the sample at {at_ms} ms is older than storage.retention keeps")]
    TooOld { at_ms: i64 },
    #[error("labels of {bytes} bytes, at most {bytes_max} are allowed")]
    LabelBytes { bytes: usize, bytes_max: usize },
    #[error("{0}")]
    Histogram(HistogramError),
    #[error("a histogram of {buckets} buckets, at most {HISTOGRAM_BUCKETS_MAX} are allowed")]
    HistogramBuckets { buckets: usize },
}

impl Rejection {
    pub(super) const REASONS: [&'static str; 8] = [
        "duplicate",
        "too_new",
        "too_old",
        "label_bytes",
        "histogram",
        "histogram_buckets",
        "invalid_labels",
        "same_request",
    ];

    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Duplicate { .. } => "duplicate",
            Self::TooNew => "too_new",
            Self::TooOld { .. } => "too_old",
            Self::LabelBytes { .. } => "label_bytes",
            Self::Histogram(_) => "histogram",
            Self::HistogramBuckets { .. } => "histogram_buckets",
        }
    }
}

/// What became of some series of a request.
#[derive(Default)]
pub(super) struct Appended {
    /// The batches to be stored, in order.
    pub(super) batches: Vec<(BatchSeq, Vec<u8>)>,
    pub(super) samples: u64,
    /// The first of each reason, with how many there were.
    pub(super) rejected: Vec<(Rejection, u64)>,
    /// Samples of series that no Prometheus would take. As with Prometheus, nobody is told.
    pub(super) invalid_labels: u64,
    /// Samples at a time for which the request had one already. As with Prometheus, nobody is told.
    pub(super) same_request: u64,
}

impl Appended {
    /// Says with the last batch that a request ends with it.
    pub(super) fn name_request(&mut self, hash: u128) {
        if let Some((_, frame)) = self.batches.last_mut() {
            *frame = with_request(std::mem::take(frame), hash);
        }
    }

    fn reject(&mut self, rejection: Rejection, count: u64) {
        let same = |other: &&mut (Rejection, u64)| other.0.reason() == rejection.reason();
        match self.rejected.iter_mut().find(same) {
            Some((_, counted)) => *counted += count,
            None => self.rejected.push((rejection, count)),
        }
    }
}

impl PushLog {
    pub(super) fn new(log: LogId) -> Self {
        Self {
            log,
            last: BatchSeq(0),
            encoder: SegmentEncoder::new(SEGMENT_LIMITS),
            targets: vec![Target::default()],
            places: FxHashMap::default(),
            series_len: 0,
            label_bytes: 0,
            metadata_came: false,
            complete_through: Timestamp::MIN,
        }
    }

    pub(super) fn id(&self) -> LogId {
        self.log
    }

    /// The last batch encoded; 0 before the first.
    pub(super) fn last(&self) -> BatchSeq {
        self.last
    }

    pub(super) fn series_len(&self) -> usize {
        self.series_len
    }

    /// Whether the log has to end: what is known of its series is never forgotten, and readers have bounds.
    pub(super) fn is_full(&self) -> bool {
        let limits = DecodeLimits::default();
        self.series_len + ROOM_SERIES > limits.series_max
            || self.targets.len() + ROOM_TARGETS > limits.targets_max
            || self.label_bytes + ROOM_LABEL_BYTES > limits.dictionary_bytes_max
    }

    /// Takes over what a request says of families.
    pub(super) fn note_metadata(&mut self, request: &Request) {
        let target = &mut self.targets[0];
        for metadata in request.metadata.iter().filter(|metadata| !metadata.family.is_empty()) {
            let families = target.table.families();
            let has_room = families.len() < FAMILIES_MAX;
            let bytes = metadata.family.len() + metadata.help.len() + metadata.unit.len();
            if bytes > FAMILY_BYTES_MAX
                || !(has_room || families.iter().any(|family| family.name == metadata.family))
            {
                continue;
            }
            target.table.note_family(&metadata.family, metadata.kind, &metadata.unit, &metadata.help);
            if target.table.families().len() > target.table.series_len() {
                let labels = Labels::from_pairs([(METRIC_NAME, &metadata.family)]);
                target.add(labels, metadata.family.clone());
            }
            self.metadata_came = true;
        }
    }

    /// Makes batches of some series of a request, no more than [`APPEND_SERIES_MAX`]. After an error the log has to end.
    pub(super) fn append(
        &mut self,
        request: &Request,
        series: &[PushedSeries],
        accepted: Accepted,
    ) -> Result<Appended, EncodeError> {
        let mut appended = Appended::default();
        let mut cells = Vec::with_capacity(series.len());
        for pushed in series {
            let count = (request.samples(pushed).len() + request.histograms(pushed).len()) as u64;
            match self.place(request, pushed) {
                Ok(Some(place)) => {
                    let samples = request.samples(pushed);
                    self.take_samples(place, samples, accepted, &mut cells, &mut appended);
                    take_rare(place, request, pushed, accepted, &mut cells, &mut appended);
                }
                Ok(None) => appended.invalid_labels += count,
                Err(rejection) => appended.reject(rejection, count),
            }
        }
        self.encode(cells, accepted.now, &mut appended)?;
        Ok(appended)
    }

    /// Where a series is, made when it is new; `None` when its labels are not valid.
    fn place(&mut self, request: &Request, pushed: &PushedSeries) -> Result<Option<Place>, Rejection> {
        if let Some(place) = self.places.get(&pushed.key) {
            return Ok(Some(*place));
        }
        let Some(labels) = request.labels(pushed) else { return Ok(None) };
        let canonical = canonical_key(&labels);
        if let Some(place) = self.places.get(&canonical).copied() {
            self.add_alias(pushed.key, place);
            return Ok(Some(place));
        }
        let (bytes, bytes_max) = (labels.canonical().len(), DecodeLimits::default().label_bytes_max);
        if bytes > bytes_max {
            return Err(Rejection::LabelBytes { bytes, bytes_max });
        }
        let has_room = |target: &Target| {
            target.table.series_len() < SERIES_PER_TARGET
                && target.label_bytes + bytes <= TARGET_LABEL_BYTES_MAX
        };
        if self.targets.len() == 1 || !self.targets.last().is_some_and(has_room) {
            self.targets.push(Target::default());
        }
        let index = self.targets.len() - 1;
        let series = self.targets[index].add(labels, String::new());
        let place = Place { target: index as u32, series };
        self.targets[index].label_bytes += bytes;
        self.label_bytes += bytes;
        self.series_len += 1;
        self.places.insert(canonical, place);
        self.add_alias(pushed.key, place);
        Ok(Some(place))
    }

    /// A label set can be written in many ways; whoever uses them all is looked up the long way.
    fn add_alias(&mut self, key: u128, place: Place) {
        if self.places.len() < 2 * DecodeLimits::default().series_max {
            self.places.insert(key, place);
        }
    }

    fn take_samples(
        &self,
        place: Place,
        samples: &[PushedSample],
        accepted: Accepted,
        cells: &mut Vec<Cell>,
        appended: &mut Appended,
    ) {
        let newest = self.targets[place.target as usize].newest[place.series as usize];
        for &PushedSample { value, at_ms } in samples {
            if let Err(rejection) = accepted.check(at_ms) {
                appended.reject(rejection, 1);
            } else if newest.is_some_and(|newest| newest.at_ms == at_ms && newest.bits != value.to_bits()) {
                let existing = newest.map_or(f64::NAN, |newest| f64::from_bits(newest.bits));
                appended.reject(Rejection::Duplicate { at_ms, existing, new: value }, 1);
            } else {
                appended.samples += 1;
                // What is here already counts as written.
                if newest.is_none_or(|newest| newest.at_ms != at_ms) {
                    cells.push(Cell { place, at_ms, content: Content::Float(value) });
                }
            }
        }
    }

    /// Puts cells into rows, and rows into batches.
    fn encode(
        &mut self,
        mut cells: Vec<Cell>,
        now: Timestamp,
        appended: &mut Appended,
    ) -> Result<(), EncodeError> {
        // Stable: of two samples for one time the first stays.
        cells.sort_by_key(|cell| (cell.place.target, cell.at_ms, cell.place.series));
        let mut rows: Vec<Row> = Vec::new();
        let (mut cell_count, mut label_bytes) = (0, 0);
        for cell in cells {
            let Cell { place: Place { target, series }, at_ms, content } = cell;
            if !rows.last().is_some_and(|row| row.target == target && row.at_ms == at_ms) {
                let new_target = rows.last().is_none_or(|row| row.target != target);
                let of_target = &self.targets[target as usize];
                cell_count += of_target.table.series_len();
                label_bytes += if new_target { of_target.label_bytes } else { 0 };
                if rows.len() >= BATCH_ROWS_MAX
                    || cell_count > BATCH_CELLS_MAX
                    || label_bytes > BATCH_LABEL_BYTES_MAX
                {
                    self.encode_batch(&mut rows, now, appended)?;
                    let of_target = &self.targets[target as usize];
                    (cell_count, label_bytes) = (of_target.table.series_len(), of_target.label_bytes);
                }
                rows.push(Row { target, at_ms, values: RowValues::new() });
            }
            let Some(row) = rows.last_mut() else { continue };
            let index = series as usize;
            if let Content::Exemplar(exemplar) = content {
                row.values.push_exemplar(index, *exemplar);
                continue;
            }
            if row.values.is_present(index) || row.values.histogram(index).is_some() {
                appended.samples -= 1;
                appended.same_request += 1;
                continue;
            }
            let value = match content {
                Content::Float(value) => value,
                Content::Histogram(histogram) => {
                    row.values.set_histogram(index, histogram);
                    continue;
                }
                Content::Exemplar(_) => continue,
            };
            row.values.set(index, value);
            let newest = &mut self.targets[target as usize].newest[series as usize];
            if newest.is_none_or(|newest| newest.at_ms <= at_ms) {
                *newest = Some(Newest { at_ms, bits: value.to_bits() });
            }
        }
        if !rows.is_empty() || self.metadata_came {
            self.encode_batch(&mut rows, now, appended)?;
        }
        Ok(())
    }

    /// Makes a batch of `rows` and takes them out.
    fn encode_batch(
        &mut self,
        rows: &mut Vec<Row>,
        now: Timestamp,
        appended: &mut Appended,
    ) -> Result<(), EncodeError> {
        // Each segment tells the families anew, as it does the series.
        let families = (self.metadata_came || self.encoder.will_start_segment()).then(|| Row {
            target: 0,
            at_ms: now.as_millis(),
            values: RowValues::new(),
        });
        self.metadata_came = false;
        let mut all: Vec<Row> = families.into_iter().chain(rows.drain(..)).collect();
        for row in &mut all {
            row.values.resize(self.targets[row.target as usize].table.series_len());
        }
        let inputs: Vec<RowInput<'_>> = all
            .iter()
            .map(|row| RowInput {
                target: row.target,
                at: Timestamp::from_millis(row.at_ms),
                table: &self.targets[row.target as usize].table,
                values: &row.values,
            })
            .collect();
        let seq = self.last.next();
        let from =
            if self.complete_through == Timestamp::MIN { now.minus_millis(1) } else { self.complete_through };
        let through = from.max(now);
        let batch = BatchInput { seq, complete_from: from, complete_through: through, rows: &inputs };
        let encoded = self.encoder.encode(&batch)?;
        (self.last, self.complete_through) = (seq, through);
        appended.batches.push((seq, encoded.frame));
        Ok(())
    }
}

impl Accepted {
    fn check(&self, at_ms: i64) -> Result<(), Rejection> {
        if at_ms > self.now.as_millis().saturating_add(AHEAD_MS_MAX) {
            return Err(Rejection::TooNew);
        }
        if at_ms < self.oldest.as_millis() { Err(Rejection::TooOld { at_ms }) } else { Ok(()) }
    }
}

/// Takes what few series have: native histograms and exemplars.
fn take_rare(
    place: Place,
    request: &Request,
    pushed: &PushedSeries,
    accepted: Accepted,
    cells: &mut Vec<Cell>,
    appended: &mut Appended,
) {
    for PushedHistogram { at_ms, histogram } in request.histograms(pushed) {
        let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
        let checked = accepted.check(*at_ms).and_then(|()| {
            if buckets.max(histogram.custom_values.len()) > HISTOGRAM_BUCKETS_MAX {
                return Err(Rejection::HistogramBuckets { buckets });
            }
            histogram.validate().map_err(Rejection::Histogram)
        });
        match checked {
            Ok(()) if is_stale(histogram.sum) => {
                appended.samples += 1;
                cells.push(Cell { place, at_ms: *at_ms, content: Content::Float(histogram.sum) });
            }
            Ok(()) => {
                appended.samples += 1;
                let content = Content::Histogram(Arc::clone(histogram));
                cells.push(Cell { place, at_ms: *at_ms, content });
            }
            Err(rejection) => appended.reject(rejection, 1),
        }
    }
    // As with Prometheus, nobody is told of an exemplar that is not taken.
    for exemplar in request.exemplars(pushed).iter().filter(|exemplar| accepted.check(exemplar.at_ms).is_ok())
    {
        let content = Content::Exemplar(Box::new(exemplar.clone()));
        cells.push(Cell { place, at_ms: exemplar.at_ms, content });
    }
}

struct Row {
    target: u32,
    at_ms: i64,
    values: RowValues,
}

impl Target {
    fn add(&mut self, labels: Labels, family: String) -> u32 {
        let series = self.newest.len() as u32;
        let describe = || Ok::<_, Infallible>(SeriesDescription { labels, family });
        match self.table.set(&series.to_le_bytes(), 0.0, describe) {
            Ok(_outcome) => self.newest.push(None),
            Err(never) => match never {},
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vedette_exposition::protobuf::{push_bytes, push_double, push_integer};
    use vedette_wire::SegmentDecoder;

    use super::super::request::tests::{body, series};
    use super::*;

    const NOW: i64 = 1_000_000_000;
    const ACCEPTED: Accepted =
        Accepted { now: Timestamp::from_millis(NOW), oldest: Timestamp::from_millis(NOW - 100_000) };

    /// A log, and what a reader has read of it.
    struct Fixture {
        log: PushLog,
        decoder: SegmentDecoder,
        /// By labels and time, the bits.
        read: BTreeMap<(String, i64), u64>,
        families: Vec<(String, String)>,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                log: PushLog::new(LogId::of_push(1)),
                decoder: SegmentDecoder::new(DecodeLimits::default()),
                read: BTreeMap::new(),
                families: Vec::new(),
            }
        }

        fn append(&mut self, request: &[u8]) -> Appended {
            let request = Request::decode(request).expect("a request");
            self.log.note_metadata(&request);
            let appended = self.log.append(&request, &request.series, ACCEPTED).expect("encodes");
            for (seq, frame) in &appended.batches {
                let batch = self.decoder.decode(frame).expect("decodes");
                assert_eq!(batch.seq, *seq);
                for row in batch.rows {
                    for (index, value) in row.values.iter_present() {
                        let labels = &batch.dictionary.targets[row.target as usize].series[index].labels;
                        let known =
                            self.read.insert((format!("{labels:?}"), row.at.as_millis()), value.to_bits());
                        assert!(
                            known.is_none_or(|known| known == value.to_bits()),
                            "written as it was pushed"
                        );
                    }
                }
                let named = batch.dictionary.families.iter().filter(|family| !family.name.is_empty());
                self.families =
                    named.map(|family| (family.name.clone(), family.metadata.help.clone())).collect();
            }
            appended
        }
    }

    #[test]
    fn what_is_pushed_can_be_read() {
        let mut fixture = Fixture::new();
        let all: Vec<_> = (0..200)
            .map(|number| {
                let name = number.to_string();
                series(
                    &[("__name__", "m"), ("n", &name)],
                    &[(f64::from(number), NOW - 2), (0.5, NOW - 1 - i64::from(number % 3))],
                )
            })
            .collect();
        let appended = fixture.append(&body(&all, &[]));
        assert_eq!((appended.samples, fixture.read.len(), fixture.log.series_len()), (333, 333, 200));
        assert_eq!(appended.same_request, 67);
        assert_eq!(
            fixture.read.get(&("{__name__=\"m\", n=\"7\"}".to_owned(), NOW - 2)),
            Some(&7f64.to_bits())
        );
        let appended = fixture.append(&body(&all, &[]));
        assert_eq!(appended.batches.len(), 1, "older samples may be new ones");
    }

    #[test]
    fn a_repetition_of_the_newest_writes_nothing() {
        let mut fixture = Fixture::new();
        let one = body(&[series(&[("__name__", "m")], &[(1.0, NOW)])], &[]);
        assert_eq!(fixture.append(&one).batches.len(), 1);
        let again = fixture.append(&one);
        assert_eq!((again.batches.len(), again.samples), (0, 1));
        let other = fixture.append(&body(&[series(&[("__name__", "m")], &[(2.0, NOW)])], &[]));
        let expected = Rejection::Duplicate { at_ms: NOW, existing: 1.0, new: 2.0 };
        assert_eq!(other.rejected, [(expected, 1)]);
    }

    #[test]
    fn times_are_bounded() {
        let mut fixture = Fixture::new();
        let samples =
            [(1.0, NOW + 600_001), (2.0, NOW + 600_000), (3.0, NOW - 100_000), (4.0, NOW - 100_001)];
        let appended = fixture.append(&body(&[series(&[("__name__", "m")], &samples)], &[]));
        let too_old = Rejection::TooOld { at_ms: NOW - 100_001 };
        assert_eq!(appended.rejected, [(Rejection::TooNew, 1), (too_old, 1)]);
        assert_eq!((appended.samples, fixture.read.len()), (2, 2));
    }

    #[test]
    fn one_series_however_its_labels_are_ordered() {
        let mut fixture = Fixture::new();
        for (at, labels) in [
            (NOW, [("__name__", "m"), ("a", "1"), ("b", "2")]),
            (NOW + 1, [("b", "2"), ("a", "1"), ("__name__", "m")]),
            (NOW + 2, [("a", "1"), ("__name__", "m"), ("b", "2")]),
        ] {
            fixture.append(&body(&[series(&labels, &[(1.0, at)])], &[]));
        }
        assert_eq!((fixture.log.series_len(), fixture.read.len()), (1, 3));
    }

    #[test]
    fn families_are_told_in_every_segment() {
        let mut fixture = Fixture::new();
        fixture.append(&body(&[], &[("m", "Old help."), ("n", "Help.")]));
        fixture.append(&body(&[series(&[("__name__", "m")], &[(1.0, NOW)])], &[("m", "New help.")]));
        fixture.log.encoder.start_segment();
        fixture.append(&body(&[series(&[("__name__", "m")], &[(1.0, NOW + 1)])], &[]));
        let expected =
            [("m", "New help."), ("n", "Help.")].map(|(name, help)| (name.to_owned(), help.to_owned()));
        fixture.families.sort();
        assert_eq!(fixture.families, expected);
    }

    /// A series with a histogram of whole numbers at `NOW`, and an exemplar a millisecond before.
    fn rare_series(schema: i64) -> Vec<u8> {
        let mut message = series(&[("__name__", "h")], &[]);
        let (mut span, mut histogram) = (Vec::new(), Vec::new());
        push_integer(&mut span, 1, 3);
        push_integer(&mut span, 2, 2);
        push_integer(&mut histogram, 1, 7);
        push_double(&mut histogram, 3, 12.5);
        push_integer(&mut histogram, 4, schema << 1);
        push_integer(&mut histogram, 6, 1);
        push_bytes(&mut histogram, 11, &span);
        push_bytes(&mut histogram, 12, &[4, 4]);
        push_integer(&mut histogram, 15, NOW);
        push_bytes(&mut message, 4, &histogram);
        let (mut label, mut exemplar) = (Vec::new(), Vec::new());
        push_bytes(&mut label, 1, b"trace_id");
        push_bytes(&mut label, 2, b"abc");
        push_bytes(&mut exemplar, 1, &label);
        push_double(&mut exemplar, 2, 0.25);
        push_integer(&mut exemplar, 3, NOW - 1);
        push_bytes(&mut message, 3, &exemplar);
        message
    }

    #[test]
    fn histograms_and_exemplars_are_taken() {
        let mut fixture = Fixture::new();
        let appended = fixture.append(&body(&[rare_series(2)], &[]));
        assert_eq!((appended.samples, appended.rejected.len()), (1, 0));
        let mut decoder = SegmentDecoder::new(DecodeLimits::default());
        let batch = decoder.decode(&appended.batches[0].1).expect("decodes");
        let rows: Vec<_> = batch.rows.iter().filter(|row| row.target > 0).collect();
        assert_eq!(rows.iter().map(|row| row.at.as_millis() - NOW).collect::<Vec<_>>(), [-1, 0]);
        let (_, exemplar) = &rows[0].values.exemplars()[0];
        assert_eq!((exemplar.value, exemplar.at_ms), (0.25, NOW - 1));
        let histogram = rows[1].values.histogram(0).expect("a histogram");
        assert_eq!((histogram.count, histogram.sum, histogram.zero_count), (7.0, 12.5, 1.0));
        assert_eq!((histogram.schema, histogram.positive_buckets.as_slice()), (2, &[2.0, 4.0][..]));
        assert_eq!(histogram.positive_spans, [vedette_model::Span { offset: -2, length: 2 }]);
    }

    #[test]
    fn a_histogram_that_is_not_valid_is_refused() {
        let appended = Fixture::new().append(&body(&[rare_series(12)], &[]));
        assert_eq!((appended.samples, appended.rejected.len()), (0, 1));
        assert_eq!(appended.rejected[0].0.reason(), "histogram");
    }

    #[test]
    fn a_series_with_many_times_takes_several_batches() {
        let mut fixture = Fixture::new();
        let samples: Vec<_> = (0..40_000).map(|at| (at as f64, NOW - at)).collect();
        let appended = fixture.append(&body(&[series(&[("__name__", "m")], &samples)], &[]));
        assert_eq!((appended.batches.len(), fixture.read.len()), (3, 40_000));
    }
}
