//! A request of remote write 1.0: snappy, protobuf, and no more of it read than is needed.
//!
//! A series that is known is found by a hash of the bytes of its labels, so that its labels are not read again; they
//! stay undecoded here.

use std::ops::Range;

use vedette_exposition::protobuf::{Fields, FieldsError, Value, push_bytes, read_label};
use vedette_model::{Exemplar, Labels, MetricKind};
use xxhash_rust::xxh3::xxh3_128;

use super::histogram::{PushedHistogram, read_histogram};

/// What was pushed: `prometheus.WriteRequest`.
#[derive(Default)]
pub(super) struct Request {
    pub(super) series: Vec<PushedSeries>,
    pub(super) metadata: Vec<MetricMetadata>,
    samples: Vec<PushedSample>,
    histograms: Vec<PushedHistogram>,
    exemplars: Vec<Exemplar>,
    /// The labels of all series, each `prometheus.Label` with its length in front.
    labels: Vec<u8>,
}

/// `prometheus.TimeSeries`.
pub(super) struct PushedSeries {
    /// Hash of its labels as they came.
    pub(super) key: u128,
    labels: Range<usize>,
    samples: Range<usize>,
    histograms: Range<usize>,
    exemplars: Range<usize>,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PushedSample {
    pub(super) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(super) at_ms: i64,
}

/// `prometheus.MetricMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MetricMetadata {
    pub(super) kind: MetricKind,
    pub(super) family: String,
    pub(super) help: String,
    pub(super) unit: String,
}

/// Why a body is no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Snappy(#[from] snap::Error),
    #[error(
        "the request takes {bytes} bytes uncompressed, at most {bytes_max} are allowed (limits.push_request_bytes_max)"
    )]
    TooLong { bytes: usize, bytes_max: usize },
    #[error("not a prometheus.WriteRequest: {0}")]
    Protobuf(#[from] FieldsError),
}

/// How long a body is once it is uncompressed, as it says itself.
pub(super) fn decompressed_len(body: &[u8], bytes_max: usize) -> Result<usize, RequestError> {
    let bytes = snap::raw::decompress_len(body)?;
    if bytes > bytes_max { Err(RequestError::TooLong { bytes, bytes_max }) } else { Ok(bytes) }
}

impl Request {
    /// Reads a body whose length was checked by [`decompressed_len`].
    pub(super) fn decode(body: &[u8]) -> Result<Self, RequestError> {
        let plain = snap::raw::Decoder::new().decompress_vec(body)?;
        Ok(Self::read(&plain)?)
    }

    /// Reads what was in a body.
    pub(super) fn read(plain: &[u8]) -> Result<Self, FieldsError> {
        let mut request = Self::default();
        request.labels.reserve(plain.len());
        for field in Fields::of(plain) {
            match field? {
                (1, Value::Bytes(series)) => request.read_series(series)?,
                (3, Value::Bytes(metadata)) => request.metadata.push(MetricMetadata::read(metadata)?),
                _ => {}
            }
        }
        Ok(request)
    }

    fn read_series(&mut self, series: &[u8]) -> Result<(), FieldsError> {
        let (labels, samples) = (self.labels.len(), self.samples.len());
        let (histograms, exemplars) = (self.histograms.len(), self.exemplars.len());
        for field in Fields::of(series) {
            match field? {
                (1, Value::Bytes(label)) => push_label(&mut self.labels, label),
                (2, Value::Bytes(sample)) => self.samples.push(PushedSample::read(sample)?),
                (3, Value::Bytes(exemplar)) => self.exemplars.extend(read_exemplar(exemplar)?),
                (4, Value::Bytes(histogram)) => self.histograms.push(read_histogram(histogram)?),
                _ => {}
            }
        }
        self.series.push(PushedSeries {
            key: xxh3_128(&self.labels[labels..]),
            labels: labels..self.labels.len(),
            samples: samples..self.samples.len(),
            histograms: histograms..self.histograms.len(),
            exemplars: exemplars..self.exemplars.len(),
        });
        Ok(())
    }

    pub(super) fn samples(&self, series: &PushedSeries) -> &[PushedSample] {
        &self.samples[series.samples.clone()]
    }

    pub(super) fn histograms(&self, series: &PushedSeries) -> &[PushedHistogram] {
        &self.histograms[series.histograms.clone()]
    }

    pub(super) fn exemplars(&self, series: &PushedSeries) -> &[Exemplar] {
        &self.exemplars[series.exemplars.clone()]
    }

    /// The labels of a series; `None` when Prometheus would not take them: without a metric's name, with a name twice or
    /// empty, not in UTF-8.
    pub(super) fn labels(&self, series: &PushedSeries) -> Option<Labels> {
        let mut rest = &self.labels[series.labels.clone()];
        let mut pairs = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (label, behind) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = behind;
            let (name, value) = read_label(label).ok()?;
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
            pairs.push((name, std::str::from_utf8(value).ok()?));
        }
        pairs.sort_unstable();
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        pairs.retain(|(_, value)| !value.is_empty());
        let labels = Labels::from_sorted(&pairs)?;
        labels.metric_name().is_some().then_some(labels)
    }
}

impl PushedSample {
    fn read(message: &[u8]) -> Result<Self, FieldsError> {
        let mut sample = Self::default();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Fixed64(bits)) => sample.value = f64::from_bits(bits),
                (2, Value::Varint(at)) => sample.at_ms = at.cast_signed(),
                _ => {}
            }
        }
        Ok(sample)
    }
}

impl MetricMetadata {
    fn read(message: &[u8]) -> Result<Self, FieldsError> {
        let mut metadata = Self::default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(number)) => metadata.kind = kind_of(number),
                (2, Value::Bytes(family)) => metadata.family = text(family),
                (4, Value::Bytes(help)) => metadata.help = text(help),
                (5, Value::Bytes(unit)) => metadata.unit = text(unit),
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// `prometheus.Exemplar`; none when its labels are not UTF-8.
fn read_exemplar(message: &[u8]) -> Result<Option<Exemplar>, FieldsError> {
    let mut exemplar = Exemplar { labels: Labels::empty(), value: 0.0, at_ms: 0 };
    let mut pairs = Vec::new();
    for field in Fields::of(message) {
        match field? {
            (1, Value::Bytes(label)) => pairs.push(read_label(label)?),
            (2, Value::Fixed64(bits)) => exemplar.value = f64::from_bits(bits),
            (3, Value::Varint(at)) => exemplar.at_ms = at.cast_signed(),
            _ => {}
        }
    }
    let text = |(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
    let pairs: Option<Vec<(&str, &str)>> = pairs.into_iter().map(text).collect();
    Ok(pairs.map(|pairs| Exemplar { labels: Labels::from_pairs(pairs), ..exemplar }))
}

/// `prometheus.MetricMetadata.MetricType`; a number of a later release says nothing.
fn kind_of(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// The key of a label set as it is written by a client that sorts, which most do.
pub(super) fn canonical_key(labels: &Labels) -> u128 {
    let (mut key, mut label) = (Vec::new(), Vec::new());
    for (name, value) in labels {
        label.clear();
        push_bytes(&mut label, 1, name.as_bytes());
        push_bytes(&mut label, 2, value.as_bytes());
        push_label(&mut key, &label);
    }
    xxh3_128(&key)
}

/// With its length in front, so that no two lists of labels read the same.
fn push_label(labels: &mut Vec<u8>, label: &[u8]) {
    labels.extend_from_slice(&(label.len() as u32).to_le_bytes());
    labels.extend_from_slice(label);
}

#[cfg(test)]
pub(super) mod tests {
    use vedette_exposition::protobuf::{push_double, push_integer};

    use super::*;

    /// A `prometheus.TimeSeries`.
    pub(in super::super) fn series(labels: &[(&str, &str)], samples: &[(f64, i64)]) -> Vec<u8> {
        let mut message = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            push_bytes(&mut label, 1, name.as_bytes());
            push_bytes(&mut label, 2, value.as_bytes());
            push_bytes(&mut message, 1, &label);
        }
        for (value, at_ms) in samples {
            let mut sample = Vec::new();
            push_double(&mut sample, 1, *value);
            push_integer(&mut sample, 2, *at_ms);
            push_bytes(&mut message, 2, &sample);
        }
        message
    }

    /// A body of these series, and of families with their help.
    pub(in super::super) fn body(series: &[Vec<u8>], families: &[(&str, &str)]) -> Vec<u8> {
        let mut request = Vec::new();
        series.iter().for_each(|series| push_bytes(&mut request, 1, series));
        for (family, help) in families {
            let mut metadata = Vec::new();
            push_integer(&mut metadata, 1, 1);
            push_bytes(&mut metadata, 2, family.as_bytes());
            push_bytes(&mut metadata, 4, help.as_bytes());
            push_bytes(&mut request, 3, &metadata);
        }
        snap::raw::Encoder::new().compress_vec(&request).expect("compresses")
    }

    fn labels_of(labels: &[(&str, &str)]) -> Option<Labels> {
        let request = Request::decode(&body(&[series(labels, &[])], &[])).expect("a request");
        request.labels(&request.series[0])
    }

    #[test]
    fn labels_are_those_that_prometheus_takes() {
        assert!(labels_of(&[("__name__", "a"), ("b", "")]).is_some_and(|labels| labels.len() == 1));
        assert!(labels_of(&[("b c", "1"), ("__name__", "ä.b")]).is_some());
        for invalid in [
            &[("a", "b")][..],
            &[("__name__", "")],
            &[("__name__", "a"), ("", "b")],
            &[("__name__", "a"), ("b", "1"), ("b", "2")],
            &[("__name__", "a"), ("b", "1"), ("b", "1")],
            &[],
        ] {
            assert_eq!(labels_of(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn a_sorting_clients_key_is_the_canonical_one() {
        let pairs = [("__name__", "a"), ("b", "1")];
        let request = Request::decode(&body(&[series(&pairs, &[(1.0, 2)])], &[])).expect("a request");
        assert_eq!(request.series[0].key, canonical_key(&Labels::from_pairs(pairs)));
        assert_eq!(request.samples(&request.series[0]), [PushedSample { value: 1.0, at_ms: 2 }]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(matches!(decompressed_len(&[0xff; 3], 10), Err(RequestError::Snappy(_))));
        assert!(matches!(
            decompressed_len(&body(&[vec![0; 20]], &[]), 10),
            Err(RequestError::TooLong { .. })
        ));
        let truncated = snap::raw::Encoder::new().compress_vec(&[0x0a, 0x05, 0x00]).expect("compresses");
        assert_eq!(Request::decode(&truncated).err(), Some(RequestError::Protobuf(FieldsError::End)));
    }
}
