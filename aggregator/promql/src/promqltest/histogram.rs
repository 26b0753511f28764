//! The scripts' notation for native histograms: `{{schema:0 count:4 sum:5 buckets:[1 2 1]}}`.

use vedette_model::{CounterReset, Histogram, Span};

use crate::promqltest::series::split_number;

/// A histogram as written.
pub(super) struct Described {
    pub(super) histogram: Histogram,
    /// Whether anything is said of counter resets.
    pub(super) names_counter_reset: bool,
}

/// Reads what follows `{{` and gives what follows `}}`.
pub(super) fn parse_histogram(text: &str) -> Result<(Described, &str), String> {
    let unclosed = || format!("histogram without end: {{{{{text}");
    let (description, after) = text.split_once("}}").ok_or_else(unclosed)?;
    let mut described = Described { histogram: Histogram::default(), names_counter_reset: false };
    let (mut offset, mut negative_offset) = (0, 0);
    let mut seen = Vec::new();
    for item in split_items(description) {
        let (key, value) = item.split_once(':').ok_or_else(|| format!("no value in {item:?}"))?;
        if seen.contains(&key) {
            return Err(format!("duplicate key {key:?} in histogram"));
        }
        seen.push(key);
        let histogram = &mut described.histogram;
        match key {
            "schema" => histogram.schema = integer(value)?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "custom_values" => histogram.custom_values = numbers(value)?.into(),
            "buckets" => histogram.positive_buckets = numbers(value)?,
            "offset" => offset = integer(value)?,
            "n_buckets" => histogram.negative_buckets = numbers(value)?,
            "n_offset" => negative_offset = integer(value)?,
            "counter_reset_hint" => {
                described.names_counter_reset = true;
                histogram.counter_reset = counter_reset(value)?;
            }
            _ => return Err(format!("unknown key {key:?} in histogram")),
        }
    }
    let histogram = &mut described.histogram;
    histogram.positive_spans = span(offset, &histogram.positive_buckets);
    histogram.negative_spans = span(negative_offset, &histogram.negative_buckets);
    Ok((described, after))
}

/// Splits at spaces, but not inside of brackets.
fn split_items(description: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    let at_space = move |character: char| {
        match character {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && character.is_ascii_whitespace()
    };
    description.split(at_space).filter(|item| !item.is_empty())
}

fn span(offset: i32, buckets: &[f64]) -> Vec<Span> {
    let length = buckets.len() as u32;
    if length == 0 { Vec::new() } else { vec![Span { offset, length }] }
}

fn integer(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is no integer"))
}

fn number(text: &str) -> Result<f64, String> {
    match split_number(text) {
        Some((value, "")) => Ok(value),
        _ => Err(format!("{text:?} is no number")),
    }
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inside.ok_or_else(|| format!("{text:?} is no list"))?.split_ascii_whitespace().map(number).collect()
}

fn counter_reset(text: &str) -> Result<CounterReset, String> {
    Ok(match text {
        "unknown" => CounterReset::Unknown,
        "reset" => CounterReset::Reset,
        "not_reset" => CounterReset::NotReset,
        "gauge" => CounterReset::Gauge,
        _ => return Err(format!("unknown counter reset hint {text:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_descriptions() {
        let text = "schema:-53 sum:-1.5 count:3 custom_values:[5 1e1] buckets:[1 0 2] offset:1 \
                    counter_reset_hint:gauge }}x2";
        let (described, after) = parse_histogram(text).unwrap_or_else(|error| panic!("{error}"));
        let histogram = described.histogram;
        assert_eq!((after, described.names_counter_reset, histogram.sum), ("x2", true, -1.5));
        assert_eq!(histogram.positive_spans, [Span { offset: 1, length: 3 }]);
        assert_eq!((*histogram.custom_values).to_vec(), [5.0, 10.0]);
        for wrong in ["schema:1", "schema:x}}", "sum:1 sum:2}}", "buckets:1}}", "what:1}}", "count}}"] {
            assert!(parse_histogram(wrong).is_err(), "{wrong}");
        }
    }
}
