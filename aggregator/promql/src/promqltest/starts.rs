//! The scripts' notation for start timestamps: durations from each sample's own time, as in `-30s-1mx2 _ 0`.

use crate::parse_duration;
use crate::promqltest::series::repetitions;

/// Reads a sequence; `None` where a sample has no start.
pub(super) fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts_ms = Vec::new();
    for item in text.split_ascii_whitespace() {
        parse_item(item, &mut starts_ms).map_err(|error| format!("invalid start {item:?}: {error}"))?;
    }
    Ok(starts_ms)
}

fn parse_item(item: &str, starts_ms: &mut Vec<Option<i64>>) -> Result<(), String> {
    if let Some(rest) = item.strip_prefix('_') {
        let times = match rest.strip_prefix('x') {
            Some(times) => repetitions(times)?,
            None if rest.is_empty() => 1,
            None => return Err("a repetition begins with x".to_owned()),
        };
        starts_ms.extend(std::iter::repeat_n(None, times));
        return Ok(());
    }
    let (mut start_ms, mut rest) = split_duration(item)?;
    let mut step_ms = 0;
    if rest.starts_with(['+', '-']) {
        (step_ms, rest) = split_duration(rest)?;
        if rest.is_empty() {
            return Err("a step needs a repetition".to_owned());
        }
    }
    let times = match rest.strip_prefix('x') {
        Some(times) => repetitions(times)?,
        None if rest.is_empty() => 0,
        None => return Err("a repetition begins with x".to_owned()),
    };
    for _ in 0..=times {
        starts_ms.push(Some(start_ms));
        start_ms += step_ms;
    }
    Ok(())
}

/// Splits a duration with its sign off the beginning, in milliseconds.
fn split_duration(text: &str) -> Result<(i64, &str), String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(['+', '-', 'x']).unwrap_or(unsigned.len());
    let (duration, rest) = unsigned.split_at(end);
    let millis = if duration == "0" { 0 } else { parse_duration(duration)? };
    Ok((if text.starts_with('-') { -millis } else { millis }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sequences() {
        let starts = parse_starts("_ -30s-1mx2 1ms _x2 0").unwrap_or_else(|error| panic!("{error}"));
        let wanted = [None, Some(-30_000), Some(-90_000), Some(-150_000), Some(1), None, None, Some(0)];
        assert_eq!(starts, wanted);
        assert!(
            parse_starts("1s+1s").is_err() && parse_starts("_y").is_err() && parse_starts("1sx").is_err()
        );
    }
}
