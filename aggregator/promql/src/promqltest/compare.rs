use vedette_model::{Labels, Timestamp};

use crate::eval::almost_equal;
use crate::promqltest::script::Eval;
use crate::promqltest::series::SequenceValue;
use crate::value::{QueryResult, Series, Value, VectorSample};

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
            match values.first() {
                Some(SequenceValue::Value(wanted)) if same(*wanted, sample.value) => {}
                wanted => {
                    return Err(format!("expected {wanted:?} for {:?}, got {}", sample.labels, sample.value));
                }
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
                match value {
                    SequenceValue::Omitted => {}
                    SequenceValue::Value(value) => wanted.push((at, *value)),
                    SequenceValue::Histogram => return Err("expected a native histogram".to_owned()),
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

fn check_points(series: &Series, wanted: &[(Timestamp, f64)]) -> Result<(), String> {
    let samples = &series.samples;
    let found = samples.at_ms.iter().zip(&samples.values);
    let equal = samples.len() == wanted.len()
        && found.zip(wanted).all(|((at_ms, value), (wanted_at, wanted))| {
            *at_ms == wanted_at.as_millis() && same(*wanted, *value)
        });
    if equal { Ok(()) } else { Err(format!("expected {wanted:?} for {:?}, got {samples:?}", series.labels)) }
}

fn same(wanted: f64, found: f64) -> bool {
    almost_equal(wanted, found, EPSILON)
}
