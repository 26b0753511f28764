//! Columns of native histograms, and of exemplars. `FORMAT.md` has the diagrams.
//!
//! Neighbours with the same buckets are written together: the layout once, then a column of values for each number
//! that they have, so that a histogram's buckets are stored as the series of a classic histogram would be.

use std::cmp::Ordering;
use std::sync::Arc;

use vedette_chunk::{decode_values, encode_values, push_signed, push_unsigned};
use vedette_model::{CountKind, CounterReset, Exemplar, Histogram, Labels, Span};

use crate::bytes::{BytesError, Reader, push_prefixed};

const WHAT: &str = "a column of histograms";
const EXEMPLARS: &str = "a column of exemplars";
/// Numbers that one column may come to when it is decoded.
const NUMBERS_MAX: usize = 1 << 28;
/// Numbers of a histogram beside its buckets: kind of reset, sum, count, zero count.
const OTHERS: usize = 4;

/// Appends histograms to `out`.
pub(crate) fn encode_histograms(histograms: &[Arc<Histogram>], out: &mut Vec<u8>) {
    push_unsigned(out, histograms.len() as u64);
    let mut column = Vec::with_capacity(histograms.len());
    let mut encoded = Vec::new();
    for run in histograms.chunk_by(|left, right| same_layout(left, right)) {
        push_unsigned(out, run.len() as u64);
        encode_layout(&run[0], out);
        let buckets = run[0].positive_buckets.len() + run[0].negative_buckets.len();
        for place in 0..OTHERS + buckets {
            column.clear();
            column.extend(run.iter().map(|histogram| number(histogram, place)));
            encoded.clear();
            encode_values(&column, &mut encoded);
            push_prefixed(out, &encoded);
        }
    }
}

/// Undoes [`encode_histograms`], for a column of `count`.
pub(crate) fn decode_histograms(bytes: &[u8], count: usize) -> Result<Vec<Arc<Histogram>>, BytesError> {
    let mut reader = Reader::new(bytes, WHAT);
    if reader.count(count)? != count {
        return Err(BytesError::damaged(WHAT, "not as long as its times"));
    }
    let mut all: Vec<Arc<Histogram>> = Vec::new();
    let mut numbers = 0usize;
    let mut values = Vec::new();
    while all.len() < count {
        let run = reader.count(count - all.len())?;
        let layout = decode_layout(&mut reader)?;
        let places = OTHERS + layout.positive_buckets.len() + layout.negative_buckets.len();
        let spans = layout.positive_spans.len() + layout.negative_spans.len();
        numbers = numbers.saturating_add(run.max(1).saturating_mul(places + spans));
        if numbers > NUMBERS_MAX {
            return Err(BytesError::damaged(WHAT, format_args!("more than {NUMBERS_MAX} numbers")));
        }
        let mut histograms = vec![layout; run];
        for place in 0..places {
            decode_values(reader.prefixed()?, run, &mut values)
                .map_err(|error| BytesError::damaged(WHAT, error))?;
            if values.len() != run {
                return Err(BytesError::damaged(WHAT, "numbers are missing"));
            }
            for (histogram, value) in histograms.iter_mut().zip(&values) {
                set_number(histogram, place, *value);
            }
        }
        all.extend(histograms.into_iter().map(Arc::new));
    }
    if reader.rest().is_empty() { Ok(all) } else { Err(BytesError::damaged(WHAT, "bytes after the last")) }
}

fn same_layout(left: &Histogram, right: &Histogram) -> bool {
    left.counts == right.counts
        && left.schema == right.schema
        && left.zero_threshold.to_bits() == right.zero_threshold.to_bits()
        && left.positive_spans == right.positive_spans
        && left.negative_spans == right.negative_spans
        && left.positive_buckets.len() == right.positive_buckets.len()
        && left.negative_buckets.len() == right.negative_buckets.len()
        && (Arc::ptr_eq(&left.custom_values, &right.custom_values)
            || bits(&left.custom_values).eq(bits(&right.custom_values)))
}

fn bits(floats: &[f64]) -> impl Iterator<Item = u64> + '_ {
    floats.iter().map(|float| float.to_bits())
}

/// The numbers of a histogram, by place: other ones first, then positive buckets, then negative ones.
fn number(histogram: &Histogram, place: usize) -> f64 {
    match place {
        0 => f64::from(code_of(histogram.counter_reset)),
        1 => histogram.sum,
        2 => histogram.count,
        3 => histogram.zero_count,
        bucket => {
            let (positive, negative) = (&histogram.positive_buckets, &histogram.negative_buckets);
            let bucket = bucket - OTHERS;
            positive.get(bucket).or_else(|| negative.get(bucket - positive.len())).copied().unwrap_or(0.0)
        }
    }
}

fn set_number(histogram: &mut Histogram, place: usize, value: f64) {
    let positive = histogram.positive_buckets.len();
    match place {
        0 => histogram.counter_reset = counter_reset_of(value),
        1 => histogram.sum = value,
        2 => histogram.count = value,
        3 => histogram.zero_count = value,
        bucket if bucket - OTHERS < positive => histogram.positive_buckets[bucket - OTHERS] = value,
        bucket => histogram.negative_buckets[bucket - OTHERS - positive] = value,
    }
}

fn code_of(counter_reset: CounterReset) -> u8 {
    match counter_reset {
        CounterReset::Unknown => 0,
        CounterReset::Reset => 1,
        CounterReset::NotReset => 2,
        CounterReset::Gauge => 3,
    }
}

fn counter_reset_of(code: f64) -> CounterReset {
    match code as u8 {
        1 => CounterReset::Reset,
        2 => CounterReset::NotReset,
        3 => CounterReset::Gauge,
        _ => CounterReset::Unknown,
    }
}

fn encode_layout(histogram: &Histogram, out: &mut Vec<u8>) {
    out.push(u8::from(histogram.counts == CountKind::Integer));
    push_signed(out, i64::from(histogram.schema));
    out.extend(histogram.zero_threshold.to_bits().to_le_bytes());
    for (spans, buckets) in [
        (&histogram.positive_spans, &histogram.positive_buckets),
        (&histogram.negative_spans, &histogram.negative_buckets),
    ] {
        push_unsigned(out, spans.len() as u64);
        for span in spans {
            push_signed(out, i64::from(span.offset));
            push_unsigned(out, u64::from(span.length));
        }
        push_unsigned(out, buckets.len() as u64);
    }
    push_unsigned(out, histogram.custom_values.len() as u64);
    bits(&histogram.custom_values).for_each(|bits| out.extend(bits.to_le_bytes()));
}

/// A histogram whose numbers are all 0.
fn decode_layout(reader: &mut Reader<'_>) -> Result<Histogram, BytesError> {
    let counts = if reader.byte()? == 1 { CountKind::Integer } else { CountKind::Float };
    let schema = i32::try_from(reader.signed()?).map_err(|error| BytesError::damaged(WHAT, error))?;
    let zero_threshold = f64::from_bits(u64::from_le_bytes(reader.array()?));
    let mut sides = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for (spans, buckets) in &mut sides {
        for _ in 0..reader.elements()? {
            let offset = i32::try_from(reader.signed()?).map_err(|error| BytesError::damaged(WHAT, error))?;
            spans.push(Span { offset, length: reader.count(u32::MAX as usize)? as u32 });
        }
        // Each bucket has a column behind the layout, which takes bytes.
        *buckets = vec![0.0; reader.elements()?];
    }
    let custom = reader.elements()?;
    let custom_values = (0..custom)
        .map(|_| Ok(f64::from_bits(u64::from_le_bytes(reader.array()?))))
        .collect::<Result<Vec<_>, BytesError>>()?;
    let [(positive_spans, positive_buckets), (negative_spans, negative_buckets)] = sides;
    Ok(Histogram {
        counts,
        schema,
        zero_threshold,
        positive_spans,
        positive_buckets,
        negative_spans,
        negative_buckets,
        custom_values: custom_values.into(),
        ..Histogram::default()
    })
}

/// An order of all histograms, by which every replica decides conflicts alike. It means nothing else.
pub(crate) fn compare(left: &Histogram, right: &Histogram) -> Ordering {
    let rank = |histogram: &Histogram| {
        let floats = [histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum];
        let [threshold, zero_count, count, sum] = floats.map(f64::to_bits);
        (histogram.counts, histogram.counter_reset, histogram.schema, count, sum, zero_count, threshold)
    };
    rank(left)
        .cmp(&rank(right))
        .then_with(|| left.positive_spans.cmp(&right.positive_spans))
        .then_with(|| left.negative_spans.cmp(&right.negative_spans))
        .then_with(|| bits(&left.positive_buckets).cmp(bits(&right.positive_buckets)))
        .then_with(|| bits(&left.negative_buckets).cmp(bits(&right.negative_buckets)))
        .then_with(|| bits(&left.custom_values).cmp(bits(&right.custom_values)))
}

/// Appends exemplars to `out`.
pub(crate) fn encode_exemplars(exemplars: &[Exemplar], out: &mut Vec<u8>) {
    push_unsigned(out, exemplars.len() as u64);
    let mut before = 0i64;
    for exemplar in exemplars {
        push_signed(out, exemplar.at_ms.wrapping_sub(before));
        before = exemplar.at_ms;
        out.extend(exemplar.value.to_bits().to_le_bytes());
        push_prefixed(out, exemplar.labels.canonical().as_bytes());
    }
}

/// Undoes [`encode_exemplars`].
pub(crate) fn decode_exemplars(bytes: &[u8]) -> Result<Vec<Exemplar>, BytesError> {
    let mut reader = Reader::new(bytes, EXEMPLARS);
    let mut before = 0i64;
    let mut all = Vec::new();
    for _ in 0..reader.elements()? {
        let at_ms = before.wrapping_add(reader.signed()?);
        before = at_ms;
        let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
        let labels = Labels::from_canonical(reader.text()?);
        let labels = labels.ok_or_else(|| BytesError::damaged(EXEMPLARS, "labels are not canonical"))?;
        all.push(Exemplar { labels, value, at_ms });
    }
    Ok(all)
}

/// By time, each once, and of each day only the newest `max`: what a replica keeps does not depend on what it froze and
/// merged when.
pub(crate) fn newest_exemplars(mut exemplars: Vec<Exemplar>, max: usize) -> Vec<Exemplar> {
    let rank = |left: &Exemplar, right: &Exemplar| {
        let (bits, other) = (left.value.to_bits(), right.value.to_bits());
        left.at_ms.cmp(&right.at_ms).then(bits.cmp(&other)).then_with(|| left.labels.cmp(&right.labels))
    };
    exemplars.sort_by(rank);
    exemplars.dedup_by(|right, left| rank(left, right).is_eq());
    let mut kept = Vec::with_capacity(exemplars.len().min(max));
    for day in exemplars.chunk_by(|left, right| {
        crate::keys::Partition::of(left.at_ms) == crate::keys::Partition::of(right.at_ms)
    }) {
        kept.extend_from_slice(&day[day.len().saturating_sub(max)..]);
    }
    kept
}

/// Reads `bytes` as either kind of column, and what was read once more.
pub(crate) fn check_any_bytes(bytes: &[u8]) {
    const COUNT_MAX: usize = 1 << 12;
    let count = Reader::new(bytes, WHAT).count(COUNT_MAX).unwrap_or(0);
    if let Ok(histograms) = decode_histograms(bytes, count) {
        let mut encoded = Vec::new();
        encode_histograms(&histograms, &mut encoded);
        assert_eq!(decode_histograms(&encoded, count), Ok(histograms));
    }
    if let Ok(exemplars) = decode_exemplars(bytes) {
        let mut encoded = Vec::new();
        encode_exemplars(&exemplars, &mut encoded);
        let again = decode_exemplars(&encoded).map(|all| all.len());
        assert_eq!(again, Ok(exemplars.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histograms() -> Vec<Arc<Histogram>> {
        let of = |number: u32| {
            let buckets: Vec<f64> = (0..3 + number / 4).map(|place| f64::from(place * number)).collect();
            Histogram {
                counts: if number < 6 { CountKind::Integer } else { CountKind::Float },
                counter_reset: if number == 4 { CounterReset::Reset } else { CounterReset::NotReset },
                schema: if number < 8 { 3 } else { -53 },
                zero_threshold: 1e-128,
                sum: [0.25, f64::NAN, -0.0, f64::INFINITY][number as usize % 4],
                count: f64::from(number),
                positive_spans: vec![Span { offset: -2, length: buckets.len() as u32 }],
                positive_buckets: buckets,
                negative_spans: vec![Span { offset: 0, length: 0 }, Span { offset: 3, length: 1 }],
                negative_buckets: vec![f64::from_bits(u64::MAX - u64::from(number))],
                custom_values: if number < 8 { Arc::default() } else { [0.5, 1.0].into() },
                ..Histogram::default()
            }
        };
        (0..12).map(|number| Arc::new(of(number))).collect()
    }

    fn exemplar(at_ms: i64, value: f64) -> Exemplar {
        Exemplar { labels: Labels::from_pairs([("trace_id", "4bf92f3577b34da6")]), value, at_ms }
    }

    #[test]
    fn columns_come_back_bit_for_bit_and_cut_ones_do_not() {
        for count in [0, 1, 12] {
            let histograms = &histograms()[..count];
            let mut bytes = Vec::new();
            encode_histograms(histograms, &mut bytes);
            assert_eq!(decode_histograms(&bytes, count).as_deref(), Ok(histograms));
            assert!(decode_histograms(&bytes, count + 1).is_err());
            assert!((0..bytes.len()).all(|len| decode_histograms(&bytes[..len], count).is_err()));
        }
        let exemplars = [exemplar(5, -0.0), exemplar(2, 3.5)];
        let mut bytes = Vec::new();
        encode_exemplars(&exemplars, &mut bytes);
        assert_eq!(decode_exemplars(&bytes).as_deref(), Ok(&exemplars[..]));
        assert!((0..bytes.len()).all(|len| decode_exemplars(&bytes[..len]).is_err()));
    }

    #[test]
    fn the_newest_of_each_day_are_kept_once() {
        let day = crate::keys::DAY_MS;
        let all = [(1, 1.0), (day + 3, 1.0), (day + 1, 1.0), (day + 3, 1.0), (day + 3, 2.0), (2, 1.0)];
        let kept = newest_exemplars(all.map(|(at_ms, value)| exemplar(at_ms, value)).to_vec(), 2);
        let kept: Vec<_> = kept.iter().map(|exemplar| (exemplar.at_ms, exemplar.value)).collect();
        assert_eq!(kept, [(1, 1.0), (2, 1.0), (day + 3, 1.0), (day + 3, 2.0)]);
        assert!(newest_exemplars(vec![exemplar(1, 1.0)], 0).is_empty());
    }

    #[test]
    fn the_order_tells_all_apart() {
        let all = histograms();
        for (left, one) in all.iter().enumerate() {
            for (right, other) in all.iter().enumerate() {
                assert_eq!(compare(one, other).is_eq(), left == right);
                assert_eq!(compare(one, other), compare(other, one).reverse());
            }
        }
    }

    /// With `VEDETTE_WRITE_CORPUS` set, columns are written to the corpus folder: after a change of the format.
    #[test]
    fn the_corpus_has_columns() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/records");
        let (mut columns, mut exemplars) = (Vec::new(), Vec::new());
        encode_histograms(&histograms(), &mut columns);
        encode_exemplars(&[exemplar(5, -0.0), exemplar(2, 3.5)], &mut exemplars);
        for (name, bytes) in [("histograms", columns), ("exemplars", exemplars)] {
            if std::env::var_os("VEDETTE_WRITE_CORPUS").is_some() {
                std::fs::write(folder.join(name), &bytes).expect("writes");
            }
            // As released: whoever breaks this breaks parts in the field.
            let released = std::fs::read(folder.join(name)).expect("is there");
            assert!(decode_histograms(&released, 12).is_ok() || decode_exemplars(&released).is_ok());
        }
    }
}
