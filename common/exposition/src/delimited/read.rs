//! Reading families.

use vedette_model::{BUCKET_LABEL, Histogram, MetricKind, QUANTILE_LABEL};

use super::histogram::HistogramMessage;
use crate::entry::{Exemplar, Sample};
use crate::float::format_bound;
use crate::printer::TextPrinter;
use crate::protobuf::{Fields, FieldsError, Value, read_label};

/// Bytes of all series' names and labels of one exposition: a long label is repeated with each bucket, so that short
/// messages could be made to mean any length.
const SERIES_BYTES_MAX: u64 = 1 << 30;

/// One thing that an exposition says. Texts of families are borrowed from the input.
#[derive(Clone, Debug, PartialEq)]
pub enum DelimitedEntry<'a, 'k> {
    /// What follows is of this family.
    Family {
        /// Its name.
        name: &'a str,
        /// What it counts.
        kind: MetricKind,
        /// What it is.
        help: &'a str,
        /// Its unit, or empty.
        unit: &'a str,
    },
    /// A float.
    Sample {
        /// The series as the text format has it, and its value.
        sample: Sample<'k>,
        /// Since when it counts, in milliseconds since the epoch; 0 where that is not said.
        start_ms: i64,
    },
    /// A native histogram. Where its classic buckets are read as well, they follow.
    Histogram(HistogramEntry<'k>),
}

/// A native histogram of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramEntry<'k> {
    /// The series as the text format has it, with value 0, and without an exemplar.
    pub sample: Sample<'k>,
    /// The histogram.
    pub histogram: Histogram,
    /// Since when it counts, in milliseconds since the epoch; 0 where that is not said.
    pub start_ms: i64,
    /// Its exemplars, each with a time.
    pub exemplars: Vec<Exemplar<'k>>,
}

/// What is read of histograms that are native.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Histograms {
    /// Whether they are read as such; else their classic buckets are.
    pub native: bool,
    /// Whether classic buckets are read beside them.
    pub classic_as_well: bool,
}

/// The exposition is not well formed. The whole scrape is refused, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelimitedError {
    /// A message is none.
    #[error("byte {offset}: {source}")]
    Message {
        /// Where its family starts.
        offset: usize,
        /// Why.
        source: FieldsError,
    },
    /// A name or a text that can not be one.
    #[error("invalid {what} of metric {family:?}")]
    Text {
        /// Which.
        what: &'static str,
        /// The family, as far as it can be read.
        family: String,
    },
    /// A type that nobody knows.
    #[error("unknown metric type {number} of metric {family:?}")]
    Kind {
        /// The family.
        family: String,
        /// The type.
        number: u64,
    },
    /// A native histogram whose parts do not fit.
    #[error("histogram {family:?}: {reason}")]
    Histogram {
        /// The family.
        family: String,
        /// Why.
        reason: String,
    },
    /// Names and labels are too long together.
    #[error("names and labels of the series take more than {SERIES_BYTES_MAX} bytes")]
    SeriesBytes,
}

/// Reads a whole body.
#[derive(Clone, Copy, Debug)]
pub struct DelimitedReader<'a> {
    body: &'a [u8],
    histograms: Histograms,
}

/// `Metric`, its value still unread.
struct Metric<'a> {
    labels: Vec<(&'a str, &'a str)>,
    value: Option<&'a [u8]>,
    /// 0 stands for none.
    timestamp: Option<i64>,
}

/// An exemplar with its labels, value and time.
pub(super) struct Timed<'a> {
    labels: Vec<(&'a [u8], &'a [u8])>,
    value: f64,
    pub(super) at_ms: Option<i64>,
}

/// `MetricFamily`, its metrics still unread.
struct Family<'a> {
    name: &'a str,
    number: u64,
    help: &'a str,
    unit: &'a str,
    message: &'a [u8],
}

impl<'a> DelimitedReader<'a> {
    /// Of a body.
    pub fn new(body: &'a [u8], histograms: Histograms) -> Self {
        Self { body, histograms }
    }

    /// Shows all entries, in order, until `visit` fails.
    pub fn read<E: From<DelimitedError>>(
        self,
        mut visit: impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = self.body;
        let mut writer = SeriesWriter::default();
        while !rest.is_empty() {
            let offset = self.body.len() - rest.len();
            let wrong = |source| DelimitedError::Message { offset, source };
            let message = take_delimited(&mut rest).map_err(wrong)?;
            let Some(family) = Family::read(message).map_err(|error| error.at(offset))? else { continue };
            let (name, help, unit) = (family.name, family.help, family.unit);
            visit(DelimitedEntry::Family { name, kind: family.kind(), help, unit })?;
            let mut reading = Reading { family, histograms: self.histograms, writer: &mut writer };
            reading.metrics(offset, &mut visit)?;
        }
        Ok(())
    }
}

/// What goes wrong with a message, before it is known where that is.
enum Wrong {
    Fields(FieldsError),
    Error(DelimitedError),
}

impl From<FieldsError> for Wrong {
    fn from(error: FieldsError) -> Self {
        Self::Fields(error)
    }
}

impl From<DelimitedError> for Wrong {
    fn from(error: DelimitedError) -> Self {
        Self::Error(error)
    }
}

impl Wrong {
    fn at(self, offset: usize) -> DelimitedError {
        match self {
            Self::Fields(source) => DelimitedError::Message { offset, source },
            Self::Error(error) => error,
        }
    }
}

/// A message with its length in front.
fn take_delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], FieldsError> {
    let length = crate::protobuf::take_varint(rest)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
    let (message, after) = rest.split_at(length.ok_or(FieldsError::End)?);
    *rest = after;
    Ok(message)
}

impl<'a> Family<'a> {
    /// `None` when it has no metric.
    fn read(message: &'a [u8]) -> Result<Option<Self>, Wrong> {
        let (mut name, mut help, mut unit): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
        let (mut number, mut has_metrics) = (0, false);
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(bytes)) => name = bytes,
                (2, Value::Bytes(bytes)) => help = bytes,
                (3, Value::Varint(kind)) => number = kind,
                (4, Value::Bytes(_)) => has_metrics = true,
                (5, Value::Bytes(bytes)) => unit = bytes,
                _ => {}
            }
        }
        if !has_metrics {
            return Ok(None);
        }
        let family = || String::from_utf8_lossy(name).into_owned();
        let invalid = |what| DelimitedError::Text { what, family: family() };
        if name.is_empty() {
            return Err(invalid("name").into());
        }
        if number > HISTOGRAM_GAUGE {
            return Err(DelimitedError::Kind { family: family(), number }.into());
        }
        let name = std::str::from_utf8(name).map_err(|_| invalid("name"))?;
        let help = std::str::from_utf8(help).map_err(|_| invalid("help"))?;
        let unit = std::str::from_utf8(unit).map_err(|_| invalid("unit"))?;
        Ok(Some(Self { name, number, help, unit, message }))
    }

    fn kind(&self) -> MetricKind {
        match self.number {
            COUNTER => MetricKind::Counter,
            GAUGE => MetricKind::Gauge,
            SUMMARY => MetricKind::Summary,
            HISTOGRAM => MetricKind::Histogram,
            HISTOGRAM_GAUGE => MetricKind::GaugeHistogram,
            _ => MetricKind::Unknown,
        }
    }

    /// The field of a metric that has the value of this type.
    fn value_field(&self) -> u32 {
        match self.number {
            COUNTER => 3,
            GAUGE => 2,
            SUMMARY => 4,
            HISTOGRAM | HISTOGRAM_GAUGE => 7,
            _ => 5,
        }
    }
}

const COUNTER: u64 = 0;
const GAUGE: u64 = 1;
const SUMMARY: u64 = 2;
const HISTOGRAM: u64 = 4;
const HISTOGRAM_GAUGE: u64 = 5;

/// One family's metrics.
struct Reading<'a, 'w> {
    family: Family<'a>,
    histograms: Histograms,
    writer: &'w mut SeriesWriter,
}

impl<'a> Reading<'a, '_> {
    fn metrics<E: From<DelimitedError>>(
        &mut self,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let located = |wrong: Wrong| wrong.at(offset);
        for field in Fields::of(self.family.message) {
            let field = field.map_err(|source| located(source.into()))?;
            let (4, Value::Bytes(message)) = field else { continue };
            let metric = self.metric(message).map_err(located)?;
            match self.family.number {
                SUMMARY => self.summary(&metric, offset, visit)?,
                HISTOGRAM | HISTOGRAM_GAUGE => self.histogram(&metric, offset, visit)?,
                _ => self.simple(&metric, offset, visit)?,
            }
        }
        Ok(())
    }

    fn metric(&self, message: &'a [u8]) -> Result<Metric<'a>, Wrong> {
        let mut metric = Metric { labels: Vec::new(), value: None, timestamp: None };
        let wanted = self.family.value_field();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(label)) => metric.labels.push(self.label(label)?),
                (6, Value::Varint(at)) => metric.timestamp = Some(at.cast_signed()).filter(|at| *at != 0),
                (number, Value::Bytes(value)) if number == wanted => metric.value = Some(value),
                _ => {}
            }
        }
        Ok(metric)
    }

    fn label(&self, message: &'a [u8]) -> Result<(&'a str, &'a str), Wrong> {
        let invalid = |what| DelimitedError::Text { what, family: self.family.name.to_owned() };
        let (name, value) = read_label(message)?;
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let value = std::str::from_utf8(value).map_err(|_| invalid("label value"))?;
        Ok((name.ok_or_else(|| invalid("label name"))?, value))
    }

    /// A counter, a gauge or what is of no type.
    fn simple<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut value, mut exemplar, mut start_ms) = (0.0, None, 0);
        let is_counter = self.family.number == COUNTER;
        for field in Fields::of(metric.value.unwrap_or_default()) {
            match field.map_err(|source| DelimitedError::Message { offset, source })? {
                (1, Value::Fixed64(bits)) => value = f64::from_bits(bits),
                (2, Value::Bytes(bytes)) if is_counter => exemplar = Some(bytes),
                (3, Value::Bytes(bytes)) if is_counter => {
                    start_ms =
                        read_start(bytes).map_err(|source| DelimitedError::Message { offset, source })?;
                }
                _ => {}
            }
        }
        let series = Series { suffix: "", bound: None, value, exemplar, start_ms };
        self.show(metric, &series, offset, visit)
    }

    fn summary<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let wrong = |source| DelimitedError::Message { offset, source };
        let (mut count, mut sum, mut quantiles, mut start_ms) = (0.0, 0.0, Vec::new(), 0);
        for field in Fields::of(metric.value.unwrap_or_default()) {
            match field.map_err(wrong)? {
                (1, Value::Varint(number)) => count = number as f64,
                (2, Value::Fixed64(bits)) => sum = f64::from_bits(bits),
                (3, Value::Bytes(quantile)) => quantiles.push(read_pair(quantile).map_err(wrong)?),
                (4, Value::Bytes(start)) => start_ms = read_start(start).map_err(wrong)?,
                _ => {}
            }
        }
        let plain = |suffix, value| Series { suffix, bound: None, value, exemplar: None, start_ms };
        self.show(metric, &plain("_count", count), offset, visit)?;
        self.show(metric, &plain("_sum", sum), offset, visit)?;
        for (quantile, value) in quantiles {
            let bound = Some((QUANTILE_LABEL, quantile));
            self.show(metric, &Series { bound, ..plain("", value) }, offset, visit)?;
        }
        Ok(())
    }

    fn histogram<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let wrong = |source| DelimitedError::Message { offset, source };
        let mut message = HistogramMessage::read(metric.value.unwrap_or_default()).map_err(wrong)?;
        let is_native = self.histograms.native && message.is_native();
        if is_native {
            self.native(metric, &mut message, offset, visit)?;
        }
        if !is_native || (self.histograms.classic_as_well && !message.buckets.is_empty()) {
            self.classic(metric, &message, offset, visit)?;
        }
        Ok(())
    }

    fn classic<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        message: &HistogramMessage<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start_ms = message.start_ms;
        let plain = |suffix, value| Series { suffix, bound: None, value, exemplar: None, start_ms };
        self.show(metric, &plain("_count", message.count()), offset, visit)?;
        self.show(metric, &plain("_sum", message.sum), offset, visit)?;
        let mut is_whole = false;
        for bucket in &message.buckets {
            let bound = Some((BUCKET_LABEL, bucket.upper_bound));
            let exemplar = bucket.exemplar;
            let series = Series { bound, exemplar, ..plain("_bucket", bucket.cumulative_count) };
            self.show(metric, &series, offset, visit)?;
            is_whole = bucket.upper_bound == f64::INFINITY;
            if is_whole {
                break;
            }
        }
        if !is_whole {
            let bound = Some((BUCKET_LABEL, f64::INFINITY));
            self.show(metric, &Series { bound, ..plain("_bucket", message.count()) }, offset, visit)?;
        }
        Ok(())
    }

    fn native<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        message: &mut HistogramMessage<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let exemplars =
            message.native_exemplars().map_err(|source| DelimitedError::Message { offset, source })?;
        let start_ms = message.start_ms;
        let is_gauge = self.family.number == HISTOGRAM_GAUGE;
        let histogram = message
            .take_native(is_gauge)
            .map_err(|reason| DelimitedError::Histogram { family: self.family.name.to_owned(), reason })?;
        self.writer.write(self.family.name, "", &metric.labels, None)?;
        let places: Vec<_> = exemplars.iter().map(|exemplar| self.writer.exemplar(exemplar)).collect();
        let shown = exemplars.iter().zip(places).filter_map(|(exemplar, labels)| {
            let labels = &self.writer.exemplars[labels?];
            Some(Exemplar { labels, value: exemplar.value, timestamp: exemplar.at_ms })
        });
        let series = &self.writer.series;
        let sample = Sample { series, value: 0.0, timestamp: metric.timestamp, exemplar: None };
        visit(DelimitedEntry::Histogram(HistogramEntry {
            sample,
            histogram,
            start_ms,
            exemplars: shown.collect(),
        }))
    }

    fn show<E: From<DelimitedError>>(
        &mut self,
        metric: &Metric<'a>,
        series: &Series<'a>,
        offset: usize,
        visit: &mut impl FnMut(DelimitedEntry<'a, '_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.writer.write(self.family.name, series.suffix, &metric.labels, series.bound)?;
        let exemplar = match series.exemplar {
            Some(message) => {
                let read =
                    Timed::read(message).map_err(|source| DelimitedError::Message { offset, source })?;
                self.writer.exemplar(&read).map(|labels| (labels, read))
            }
            None => None,
        };
        let exemplar = exemplar.map(|(labels, read)| Exemplar {
            labels: &self.writer.exemplars[labels],
            value: read.value,
            timestamp: read.at_ms,
        });
        // As in the text formats: a staleness marker can not come from outside.
        let value = if series.value.is_nan() { f64::from_bits(ORDINARY_NAN) } else { series.value };
        let sample = Sample { series: &self.writer.series, value, timestamp: metric.timestamp, exemplar };
        visit(DelimitedEntry::Sample { sample, start_ms: series.start_ms })
    }
}

/// Prometheus' NaN that is no marker.
const ORDINARY_NAN: u64 = 0x7ff8_0000_0000_0001;

/// A float that is part of a metric.
struct Series<'a> {
    suffix: &'static str,
    /// The label that tells it from its neighbours.
    bound: Option<(&'static str, f64)>,
    value: f64,
    exemplar: Option<&'a [u8]>,
    start_ms: i64,
}

/// Writes series as the text format has them.
#[derive(Default)]
struct SeriesWriter {
    series: Vec<u8>,
    /// Labels of the exemplars of the series, one after the other.
    exemplars: Vec<u8>,
    name: String,
    bytes: u64,
}

impl SeriesWriter {
    fn write(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        bound: Option<(&'static str, f64)>,
    ) -> Result<(), DelimitedError> {
        self.name.clear();
        self.name.push_str(name);
        self.name.push_str(suffix);
        self.series.clear();
        self.exemplars.clear();
        let bound = bound.map(|(label, bound)| (label, format_bound(bound)));
        let bound = bound.as_ref().map(|(label, text)| (*label, text.as_str()));
        TextPrinter::new(&mut self.series).series(&self.name, labels.iter().copied().chain(bound));
        self.bytes += self.series.len() as u64;
        if self.bytes > SERIES_BYTES_MAX { Err(DelimitedError::SeriesBytes) } else { Ok(()) }
    }

    /// Where its labels stand; nowhere when they are no text: Prometheus leaves such an exemplar out.
    fn exemplar(&mut self, exemplar: &Timed<'_>) -> Option<std::ops::Range<usize>> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let labels: Option<Vec<_>> =
            exemplar.labels.iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect();
        let start = self.exemplars.len();
        TextPrinter::new(&mut self.exemplars).label_set(labels?.into_iter());
        Some(start..self.exemplars.len())
    }
}

impl<'a> Timed<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, FieldsError> {
        let mut exemplar = Self { labels: Vec::new(), value: 0.0, at_ms: None };
        for field in Fields::of(message) {
            match field? {
                (1, Value::Bytes(label)) => exemplar.labels.push(read_label(label)?),
                (2, Value::Fixed64(bits)) => exemplar.value = f64::from_bits(bits),
                (3, Value::Bytes(at)) => exemplar.at_ms = Some(read_start(at)?),
                _ => {}
            }
        }
        Ok(exemplar)
    }
}

/// A quantile and its value.
fn read_pair(message: &[u8]) -> Result<(f64, f64), FieldsError> {
    let mut pair = (0.0, 0.0);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Fixed64(bits)) => pair.0 = f64::from_bits(bits),
            (2, Value::Fixed64(bits)) => pair.1 = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok(pair)
}

/// A `Timestamp` in milliseconds since the epoch.
pub(super) fn read_start(message: &[u8]) -> Result<i64, FieldsError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in Fields::of(message) {
        match field? {
            (1, Value::Varint(number)) => seconds = number.cast_signed(),
            (2, Value::Varint(number)) => nanos = i64::from(number as i32),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}
