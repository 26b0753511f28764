use vedette_model::{Labels, STALE_NAN};

use crate::parse_metric;
use crate::syntax::parse_number;

/// One value of a series description.
#[derive(Clone, Copy, Debug)]
pub enum SequenceValue {
    /// `_`: no sample.
    Omitted,
    /// A number, or the staleness marker.
    Value(f64),
    /// `{{…}}`: a native histogram.
    Histogram,
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
fn metric_end(line: &str) -> usize {
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
            Some(after) => parse_histogram(after, &mut values)?,
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
fn parse_histogram<'a>(rest: &'a str, values: &mut Vec<SequenceValue>) -> Result<&'a str, String> {
    let unclosed = || format!("histogram without end: {{{{{rest}");
    let (_, mut after) = rest.split_once("}}").ok_or_else(unclosed)?;
    if after.starts_with("+{{") || after.starts_with("-{{") {
        (_, after) = after.split_once("}}").ok_or_else(unclosed)?;
    }
    let end = after.find([' ', '\t']).unwrap_or(after.len());
    let count = match after[..end].strip_prefix('x') {
        Some(times) => repetitions(times)? + 1,
        None if end == 0 => 1,
        None => return Err(format!("unexpected {:?} after a histogram", &after[..end])),
    };
    values.extend(std::iter::repeat_n(SequenceValue::Histogram, count));
    Ok(&after[end..])
}

fn repetitions(text: &str) -> Result<usize, String> {
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
fn split_number(text: &str) -> Option<(f64, &str)> {
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
        let (labels, values) =
            parse_series(r#"a{b="} x"} 1 _ 2+3x2 -1x1 _x2 stale 1e-3-1x1 {{sum:1 count:2}}x1"#)
                .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(labels.get("b"), Some("} x"));
        let shown: Vec<_> = values
            .iter()
            .map(|value| match value {
                SequenceValue::Omitted => "_".to_owned(),
                SequenceValue::Value(value) => value.to_string(),
                SequenceValue::Histogram => "h".to_owned(),
            })
            .collect();
        let wanted = ["1", "_", "2", "5", "8", "-1", "-1", "_", "_", "NaN", "0.001", "-0.999", "h", "h"];
        assert_eq!(shown, wanted);
    }
}
