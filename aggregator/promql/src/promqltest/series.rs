use std::sync::Arc;

use vedette_model::{Histogram, Labels, STALE_NAN};

use crate::parse_metric;
use crate::promqltest::histogram::{Described, parse_histogram};
use crate::syntax::parse_number;

/// One value of a series description.
#[derive(Clone, Debug)]
pub enum SequenceValue {
    /// `_`: no sample.
    Omitted,
    /// A number, or the staleness marker.
    Value(f64),
    /// `{{…}}`: a native histogram.
    Histogram {
        /// The histogram.
        histogram: Arc<Histogram>,
        /// Whether the description says anything of counter resets.
        names_counter_reset: bool,
    },
}

/// Repetitions beyond this are a mistake.
const REPEAT_MAX: usize = 1_000_000;

/// Reads `name{labels} 1 2+3x4 _ stale`.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<SequenceValue>), String> {
    let end = metric_end(line);
    let metric = &line[..end];
    let labels = parse_metric(metric).map_err(|error| error.to_string())?;
    Ok((labels, parse_values(&line[end..])?))
}

/// Where the metric ends: after the closing brace, or at the first space when there is none.
pub(super) fn metric_end(line: &str) -> usize {
    let mut in_braces = false;
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        match quote {
            Some(open) => {
                if escaped {
                    escaped = false;
                } else if character == '\\' && open != '`' {
                    escaped = true;
                } else if character == open {
                    quote = None;
                }
            }
            None => match character {
                '"' | '\'' | '`' => quote = Some(character),
                '{' => in_braces = true,
                '}' if in_braces => return at + 1,
                ' ' | '\t' if !in_braces => return at,
                _ => {}
            },
        }
    }
    line.len()
}

fn parse_values(text: &str) -> Result<Vec<SequenceValue>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        rest = match rest.strip_prefix("{{") {
            Some(after) => parse_histograms(after, &mut values)?,
            None => {
                let end = rest.find([' ', '\t']).unwrap_or(rest.len());
                parse_item(&rest[..end], &mut values)?;
                &rest[end..]
            }
        }
        .trim_start();
    }
    Ok(values)
}

/// Reads `…}}`, `…}}x3`, `…}}+{{…}}x3` and gives what follows.
fn parse_histograms<'a>(rest: &'a str, values: &mut Vec<SequenceValue>) -> Result<&'a str, String> {
    let (Described { mut histogram, mut names_counter_reset }, mut after) = parse_histogram(rest)?;
    let mut step = None;
    for (sign, combine) in [("+{{", Histogram::add as fn(&mut _, &_) -> _), ("-{{", Histogram::sub)] {
        if let Some(text) = after.strip_prefix(sign) {
            let described;
            (described, after) = parse_histogram(text)?;
            names_counter_reset = described.names_counter_reset;
            if histogram.schema > described.histogram.schema {
                return Err(
                    "histograms can only be combined with those of the same or a higher schema".to_owned()
                );
            }
            step = Some((described.histogram, combine));
            break;
        }
    }
    let end = after.find([' ', '\t']).unwrap_or(after.len());
    let times = match after[..end].strip_prefix('x') {
        Some(times) => repetitions(times)?,
        None if end == 0 && step.is_none() => 0,
        None => return Err(format!("unexpected {:?} after a histogram", &after[..end])),
    };
    for number in 0..=times {
        if let (Some((step, combine)), true) = (&step, number > 0) {
            combine(&mut histogram, step).map_err(|error| error.to_string())?;
        }
        let histogram = Arc::new(histogram.clone());
        values.push(SequenceValue::Histogram { histogram, names_counter_reset });
    }
    Ok(&after[end..])
}

pub(super) fn repetitions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(times) if times <= REPEAT_MAX => Ok(times),
        _ => Err(format!("invalid repetition in series values: {text:?}")),
    }
}

fn parse_item(item: &str, values: &mut Vec<SequenceValue>) -> Result<(), String> {
    if item == "_" {
        values.push(SequenceValue::Omitted);
        return Ok(());
    }
    if let Some(times) = item.strip_prefix("_x") {
        values.extend(std::iter::repeat_n(SequenceValue::Omitted, repetitions(times)?));
        return Ok(());
    }
    if item == "stale" {
        values.push(SequenceValue::Value(STALE_NAN));
        return Ok(());
    }
    let wrong = || format!("invalid series value {item:?}");
    let (mut value, mut rest) = split_number(item).ok_or_else(wrong)?;
    let mut step = 0.0;
    if rest.starts_with(['+', '-']) {
        (step, rest) = split_number(rest).ok_or_else(wrong)?;
        if !rest.starts_with('x') {
            return Err(wrong());
        }
    }
    let times = match rest.strip_prefix('x') {
        Some(times) => repetitions(times)?,
        None if rest.is_empty() => 0,
        None => return Err(wrong()),
    };
    for _ in 0..=times {
        values.push(SequenceValue::Value(value));
        value += step;
    }
    Ok(())
}

/// Splits a number with its sign off the beginning.
pub(super) fn split_number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let word = unsigned.get(..3).map(str::to_ascii_lowercase);
    if matches!(word.as_deref(), Some("inf" | "nan")) {
        let value = if word.as_deref() == Some("inf") { f64::INFINITY } else { f64::NAN };
        return Some((sign * value, &unsigned[3..]));
    }
    let bytes = unsigned.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let exponent_sign = matches!(byte, b'+' | b'-') && end > 0 && matches!(bytes[end - 1], b'e' | b'E');
        if !(byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'_') || exponent_sign) {
            break;
        }
        end += 1;
    }
    let value = parse_number(unsigned.get(..end)?)?;
    Some((sign * value, &unsigned[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sequences() {
        let (labels, values) = parse_series(
            r#"a{b="} x"} 1 _ 2+3x2 -1x1 _x2 stale 1e-3-1x1 {{sum:1 count:2}}+{{sum:1 count:1}}x1"#,
        )
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(labels.get("b"), Some("} x"));
        let shown: Vec<_> = values
            .iter()
            .map(|value| match value {
                SequenceValue::Omitted => "_".to_owned(),
                SequenceValue::Value(value) => value.to_string(),
                SequenceValue::Histogram { histogram, .. } => histogram.to_string(),
            })
            .collect();
        let floats = ["1", "_", "2", "5", "8", "-1", "-1", "_", "_", "NaN", "0.001", "-0.999"];
        assert_eq!(shown[..12], floats);
        assert_eq!(shown[12..], ["{count:2, sum:1}", "{count:3, sum:2}"]);
    }
}
