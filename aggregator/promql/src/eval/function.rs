//! Functions of single values, and the operator that applies them.

use std::sync::Arc;

use vedette_model::Histogram;

use crate::error::QueryError;
use crate::eval::calendar::Civil;
use crate::eval::column::{ABSENT, Column, SeriesHead, is_present, without_metric};
use crate::eval::context::Context;
use crate::eval::operator::Operator;
use crate::eval::{exponential, hyperbolic};
use crate::value::SampleValue;

/// A function from value to value.
pub(crate) type Simple = fn(f64) -> f64;

/// The simple function of this name.
pub(crate) fn simple(name: &str) -> Option<Simple> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => exponential::exp,
        "sqrt" => f64::sqrt,
        "ln" => exponential::ln,
        "log2" => f64::log2,
        "log10" => exponential::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => hyperbolic::sinh,
        "cosh" => hyperbolic::cosh,
        "tanh" => f64::tanh,
        "asinh" => hyperbolic::asinh,
        "acosh" => hyperbolic::acosh,
        "atanh" => hyperbolic::atanh,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "sgn" => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        _ => return date(name),
    })
}

/// The function of this name that takes a date from seconds since the epoch.
pub(crate) fn date(name: &str) -> Option<Simple> {
    Some(match name {
        "days_in_month" => |seconds| civil(seconds).days_in_month() as f64,
        "day_of_month" => |seconds| civil(seconds).day as f64,
        "day_of_week" => |seconds| civil(seconds).weekday as f64,
        "day_of_year" => |seconds| civil(seconds).day_of_year as f64,
        "hour" => |seconds| civil(seconds).hour as f64,
        "minute" => |seconds| civil(seconds).minute as f64,
        "month" => |seconds| civil(seconds).month as f64,
        "year" => |seconds| civil(seconds).year as f64,
        _ => return None,
    })
}

fn civil(seconds: f64) -> Civil {
    // What i64 does not hold is the same to Go as its smallest value, and its calendar wraps that around.
    let fits = seconds >= i64::MIN as f64 && seconds < i64::MAX as f64;
    if fits { Civil::from_seconds(seconds as i64) } else { Civil::AFTER_I64 }
}

/// Go's `math.Max`: NaN wins, except over +Inf; zeros have signs.
pub(crate) fn go_max(left: f64, right: f64) -> f64 {
    if left == f64::INFINITY || right == f64::INFINITY {
        f64::INFINITY
    } else if left.is_nan() || right.is_nan() {
        f64::NAN
    } else if left > right || (left == right && right.is_sign_negative()) {
        left
    } else {
        right
    }
}

/// Go's `math.Min`: NaN wins, except over -Inf.
pub(crate) fn go_min(left: f64, right: f64) -> f64 {
    -go_max(-left, -right)
}

/// Prometheus' quantile: between two values their weighted mean. Sorts `values`, NaN first.
pub(crate) fn quantile(wanted: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || wanted.is_nan() {
        return f64::NAN;
    }
    if wanted < 0.0 {
        return f64::NEG_INFINITY;
    }
    if wanted > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(|left, right| {
        right.is_nan().cmp(&left.is_nan()).then(left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal))
    });
    let last = (values.len() - 1) as f64;
    let rank = wanted * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    let weight = rank - rank.floor();
    values[lower as usize] * (1.0 - weight) + values[upper as usize] * weight
}

/// What a [`Mapped`] does to a value; scalar arguments have one value a step.
pub(crate) enum Mapping {
    Simple(Simple),
    Negate,
    Clamp {
        low: Vec<f64>,
        high: Vec<f64>,
    },
    Round {
        to_nearest: Vec<f64>,
    },
    /// `timestamp` of what is no selector: each step's own time.
    StepTime(Vec<f64>),
}

impl Mapping {
    fn apply(&self, step: usize, value: f64) -> f64 {
        match self {
            Self::Simple(function) => function(value),
            Self::Negate => -value,
            Self::Clamp { low, high } if high[step] < low[step] => ABSENT,
            Self::Clamp { low, high } => go_max(low[step], go_min(high[step], value)),
            Self::Round { to_nearest } => {
                let inverse = 1.0 / to_nearest[step];
                (value * inverse + 0.5).floor() / inverse
            }
            Self::StepTime(times) => times[step],
        }
    }

    /// What becomes of a histogram. Most functions are for floats alone.
    fn apply_to_histogram(&self, step: usize, histogram: &Histogram) -> Option<SampleValue> {
        match self {
            Self::Negate => {
                let mut negated = histogram.clone();
                negated.mul(-1.0);
                Some(SampleValue::Histogram(Arc::new(negated)))
            }
            Self::StepTime(times) => Some(SampleValue::Float(times[step])),
            _ => None,
        }
    }

    fn apply_to_column(&self, column: &mut Column) {
        for (step, value) in column.floats.iter_mut().enumerate() {
            if is_present(*value) {
                *value = self.apply(step, *value);
            }
        }
        if column.has_histograms() {
            let found: Vec<_> = column
                .histograms()
                .map(|(step, histogram)| (step, self.apply_to_histogram(step, histogram)))
                .collect();
            column.drop_histograms();
            for (step, sample) in found {
                column.set(step, sample);
            }
        }
    }
}

/// `abs(x)` and the like: value by value; the result is another metric.
pub(crate) struct Mapped<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) mapping: Mapping,
}

impl Operator for Mapped<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.inner.next_into(column)? else { return Ok(None) };
            self.mapping.apply_to_column(column);
            if !column.any() {
                continue;
            }
            head.drop_name = true;
            if !self.context.delays_names() {
                head.labels = without_metric(&head.labels);
            }
            return Ok(Some(head));
        }
    }
}

/// 1 at the steps where the input has nothing: `absent`, `absent_over_time`.
pub(crate) struct Absent<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    /// The result's labels, until they are given.
    pub(crate) head: Option<SeriesHead>,
    pub(crate) steps: usize,
}

impl Operator for Absent<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        let Some(head) = self.head.take() else { return Ok(None) };
        let mut result = vec![1.0; self.steps];
        while self.inner.next_into(column)?.is_some() {
            for (step, result) in result.iter_mut().enumerate() {
                if column.is_present(step) {
                    *result = ABSENT;
                }
            }
        }
        *column = result.into();
        Ok(column.any().then_some(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_of_nan_are_those_of_go() {
        assert!(go_max(f64::NAN, 1.0).is_nan() && go_min(1.0, f64::NAN).is_nan());
        assert_eq!(go_max(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!(go_min(f64::NAN, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!((go_min(1.0, 2.0), go_max(1.0, 2.0)), (1.0, 2.0));
        for (left, right) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert!(go_max(left, right).is_sign_positive() && go_min(left, right).is_sign_negative());
        }
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(0.0, &mut [1.0, 0.0]), 0.0);
        assert_eq!(quantile(2.0, &mut [1.0]), f64::INFINITY);
        assert!(quantile(0.5, &mut []).is_nan());
    }
}
