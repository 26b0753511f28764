use vedette_model::{Histogram, Labels};

use crate::eval::almost_equal;
use crate::promqltest::script::Eval;
use crate::promqltest::series::SequenceValue;
use crate::value::{QueryResult, SampleValue, Series, Value, VectorSample};

/// How far a value may be from what is expected, as a share of both.
const EPSILON: f64 = 0.000_001;

impl Eval {
    pub(super) fn check_annotations(&self, result: &QueryResult) -> Result<(), String> {
        for (expected, found, none, kind) in [
            (&self.warn, &result.warnings, self.no_warn, "warning"),
            (&self.info, &result.infos, self.no_info, "info"),
        ] {
            if none && !found.is_empty() {
                return Err(format!("unexpected {kind} annotations {found:?}"));
            }
            if expected.is_empty() {
                continue;
            }
            if let Some(missed) =
                expected.iter().find(|wanted| !found.iter().any(|text| wanted.matches(text)))
            {
                return Err(format!("no {kind} annotation matches {missed:?}, found {found:?}"));
            }
            if let Some(extra) = found.iter().find(|text| !expected.iter().any(|wanted| wanted.matches(text)))
            {
                return Err(format!("unexpected {kind} annotation {extra:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn check_value(&self, value: &Value) -> Result<(), String> {
        match value {
            Value::String { value, .. } => match &self.string {
                Some(wanted) if wanted == value => Ok(()),
                wanted => Err(format!("expected string {wanted:?}, got {value:?}")),
            },
            Value::Scalar { value, .. } => match self.scalar {
                Some(wanted) if same(wanted, *value) => Ok(()),
                wanted => Err(format!("expected scalar {wanted:?}, got {value}")),
            },
            Value::Vector(samples) => self.check_vector(samples),
            Value::Matrix(series) => self.check_matrix(series),
        }
    }

    fn find(&self, labels: &Labels) -> Result<(usize, &[SequenceValue]), String> {
        let found = self.series.iter().enumerate().rev().find(|(_, (wanted, _))| wanted == labels);
        found
            .map(|(position, (_, values))| (position, values.as_slice()))
            .ok_or_else(|| format!("unexpected metric {labels:?} in result"))
    }

    fn check_vector(&self, samples: &[VectorSample]) -> Result<(), String> {
        if self.scalar.is_some() {
            return Err(format!("expected a scalar, got a vector of {}", samples.len()));
        }
        for (position, sample) in samples.iter().enumerate() {
            let (wanted_position, values) = self.find(&sample.labels)?;
            if self.ordered && wanted_position != position {
                return Err(format!("expected {:?} at {wanted_position}, was at {position}", sample.labels));
            }
            if !values.first().is_some_and(|wanted| wanted.is_met_by(&sample.value)) {
                let shown = values.first().map_or_else(String::new, show_wanted);
                return Err(format!("expected {shown} for {:?}, got {}", sample.labels, show(&sample.value)));
            }
        }
        self.check_all_found(samples.iter().map(|sample| &sample.labels))
    }

    fn check_matrix(&self, matrix: &[Series]) -> Result<(), String> {
        if self.ordered || self.scalar.is_some() {
            return Err("the query gave a matrix".to_owned());
        }
        if !matrix.windows(2).all(|pair| pair[0].labels <= pair[1].labels) {
            return Err("the matrix is not sorted by labels".to_owned());
        }
        let (start, end, step_ms) =
            self.range_vector.unwrap_or((self.start, self.end, self.step_ms.unwrap_or(1)));
        for series in matrix {
            let (_, values) = self.find(&series.labels)?;
            let mut wanted = Vec::new();
            for (index, value) in values.iter().enumerate() {
                let at = start.plus_millis(step_ms.saturating_mul(index as i64));
                if at > end {
                    return Err(format!("expected {} points, more than the range has", values.len()));
                }
                if !matches!(value, SequenceValue::Omitted) {
                    wanted.push((at.as_millis(), value));
                }
            }
            check_points(series, &wanted)?;
        }
        self.check_all_found(matrix.iter().map(|series| &series.labels))
    }

    fn check_all_found<'a>(&self, found: impl Iterator<Item = &'a Labels> + Clone) -> Result<(), String> {
        match self.series.iter().find(|(wanted, _)| !found.clone().any(|labels| labels == wanted)) {
            Some((missing, _)) => Err(format!("expected metric {missing:?} not found")),
            None => Ok(()),
        }
    }
}

fn check_points(series: &Series, wanted: &[(i64, &SequenceValue)]) -> Result<(), String> {
    let samples = &series.samples;
    let floats = samples.at_ms.iter().zip(&samples.values);
    let mut found: Vec<_> = floats.map(|(at_ms, value)| (*at_ms, SampleValue::Float(*value))).collect();
    let histograms = samples.histograms.iter();
    found.extend(histograms.map(|sample| (sample.at_ms, SampleValue::Histogram(sample.histogram.clone()))));
    found.sort_by_key(|(at_ms, _)| *at_ms);
    let equal = found.len() == wanted.len()
        && found
            .iter()
            .zip(wanted)
            .all(|((at_ms, value), (wanted_ms, wanted))| at_ms == wanted_ms && wanted.is_met_by(value));
    if equal {
        return Ok(());
    }
    let found: Vec<_> = found.iter().map(|(at_ms, value)| format!("{} @{at_ms}", show(value))).collect();
    let wanted: Vec<_> =
        wanted.iter().map(|(at_ms, value)| format!("{} @{at_ms}", show_wanted(value))).collect();
    Err(format!("expected {wanted:?} for {:?}, got {found:?}", series.labels))
}

impl SequenceValue {
    fn is_met_by(&self, found: &SampleValue) -> bool {
        match (self, found) {
            (Self::Value(wanted), SampleValue::Float(found)) => same(*wanted, *found),
            (Self::Histogram { histogram, names_counter_reset }, SampleValue::Histogram(found)) => {
                same_histogram(histogram, found)
                    && (!names_counter_reset || histogram.counter_reset == found.counter_reset)
            }
            _ => false,
        }
    }
}

fn show_wanted(wanted: &SequenceValue) -> String {
    match wanted {
        SequenceValue::Omitted => "nothing".to_owned(),
        SequenceValue::Value(value) => value.to_string(),
        SequenceValue::Histogram { histogram, .. } => show_histogram(histogram),
    }
}

fn show(found: &SampleValue) -> String {
    match found {
        SampleValue::Float(value) => value.to_string(),
        SampleValue::Histogram(histogram) => show_histogram(histogram),
    }
}

fn show_histogram(histogram: &Histogram) -> String {
    format!(
        "{histogram} schema {} threshold {} {:?}",
        histogram.schema, histogram.zero_threshold, histogram.counter_reset
    )
}

/// Whether two histograms hold nearly the same numbers in the same buckets, empty ones left out.
fn same_histogram(wanted: &Histogram, found: &Histogram) -> bool {
    let (mut wanted, mut found) = (wanted.clone(), found.clone());
    wanted.compact(0);
    found.compact(0);
    let all_same = |wanted: &[f64], found: &[f64]| {
        wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| same(*wanted, *found))
    };
    wanted.schema == found.schema
        && wanted.zero_threshold == found.zero_threshold
        && wanted.custom_values == found.custom_values
        && wanted.positive_spans == found.positive_spans
        && wanted.negative_spans == found.negative_spans
        && all_same(
            &[wanted.count, wanted.sum, wanted.zero_count],
            &[found.count, found.sum, found.zero_count],
        )
        && all_same(&wanted.positive_buckets, &found.positive_buckets)
        && all_same(&wanted.negative_buckets, &found.negative_buckets)
}

fn same(wanted: f64, found: f64) -> bool {
    almost_equal(wanted, found, EPSILON)
}
