//! Parameters of aggregations: what Prometheus refuses and warns of, over all steps, before any of them.

use vedette_model::number::format_exposition;

use crate::ast::Span;
use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::context::Context;
use crate::eval::function::{go_max, go_min};

/// The largest and the smallest of all steps, NaN where any is, and whether any is.
struct Extremes {
    largest: f64,
    smallest: f64,
    any_nan: bool,
}

impl Extremes {
    fn of(values: &[f64]) -> Self {
        Self {
            largest: values.iter().copied().fold(f64::NEG_INFINITY, go_max),
            smallest: values.iter().copied().fold(f64::INFINITY, go_min),
            any_nan: values.iter().any(|value| value.is_nan()),
        }
    }
}

/// Checks how many series `topk` and its kin want. False: nothing, at any step.
pub(crate) fn check_count(wanted: &[f64]) -> Result<bool, QueryError> {
    let found = Extremes::of(wanted);
    if found.largest < 1.0 {
        return Ok(false);
    }
    if found.any_nan {
        return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
    }
    if found.smallest <= i64::MIN as f64 {
        let text = format!("Scalar value {} underflows int64", format_exposition(found.smallest));
        return Err(QueryError::Execution(text));
    }
    if found.largest >= i64::MAX as f64 {
        let text = format!("Scalar value {} overflows int64", format_exposition(found.largest));
        return Err(QueryError::Execution(text));
    }
    Ok(true)
}

/// Checks the share that `limit_ratio` wants. False: nothing, at any step.
pub(crate) fn check_ratio(context: &Context<'_>, wanted: &[f64], span: Span) -> Result<bool, QueryError> {
    let found = Extremes::of(wanted);
    if found.largest == 0.0 && found.smallest == 0.0 {
        return Ok(false);
    }
    if found.any_nan {
        return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
    }
    for (value, limit) in [(found.largest, 1.0), (found.smallest, -1.0)] {
        if value * limit > 1.0 {
            let (value, limit) = (format_exposition(value), format_exposition(limit));
            context.annotate(Annotation::InvalidRatio { value, limit }, span);
        }
    }
    Ok(true)
}

/// Warns of quantiles outside of 0 to 1: of NaN, of the largest and of the smallest.
pub(crate) fn note_quantiles(context: &Context<'_>, wanted: &[f64], span: Span) {
    let found = Extremes::of(wanted);
    for wanted in [found.largest, found.smallest] {
        note_quantile(context, wanted, span);
    }
    if found.any_nan {
        note_quantile(context, f64::NAN, span);
    }
}

/// Warns of a quantile outside of 0 to 1.
pub(crate) fn note_quantile(context: &Context<'_>, wanted: f64, span: Span) {
    if !(0.0..=1.0).contains(&wanted) {
        let value = format_exposition(wanted);
        context.annotate(Annotation::InvalidQuantile { value }, span);
    }
}
