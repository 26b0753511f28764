use crate::varint::{push_signed, push_unsigned, take_byte, take_count, take_signed};
use crate::{ChunkError, integers};

const VERSION: u8 = 1;

const EMPTY_OR_REGULAR: u8 = 0;
const GRID: u8 = 1;
const DIFFERENCES: u8 = 2;

/// Appends `times` (milliseconds, in any order) to `out`.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    out.push(VERSION);
    push_unsigned(out, times.len() as u64);
    let first = times.first().copied().unwrap_or(0);
    let step = median_step(times);
    let residuals: Vec<i64> = (0i64..)
        .zip(times)
        .map(|(index, time)| time.wrapping_sub(first.wrapping_add(step.wrapping_mul(index))))
        .collect();
    if residuals.iter().all(|&residual| residual == 0) {
        out.push(EMPTY_OR_REGULAR);
        push_signed(out, first);
        push_signed(out, step);
        return;
    }
    let mut grid = vec![GRID];
    push_signed(&mut grid, first);
    push_signed(&mut grid, step);
    integers::encode(&residuals, 0..=0, &mut grid);
    let mut differences = vec![DIFFERENCES];
    integers::encode(times, 1..=2, &mut differences);
    out.extend_from_slice(if grid.len() <= differences.len() { &grid } else { &differences });
}

/// Replaces `out` by the times that `bytes` holds, at most `count_max` of them.
pub fn decode_times(bytes: &[u8], count_max: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let mut rest = bytes;
    out.clear();
    let version = take_byte(&mut rest)?;
    if version != VERSION {
        return Err(ChunkError::Newer { found: version, known: VERSION });
    }
    let count = take_count(&mut rest, count_max)?;
    match take_byte(&mut rest)? {
        EMPTY_OR_REGULAR => {
            let (first, step) = (take_signed(&mut rest)?, take_signed(&mut rest)?);
            out.extend((0..count).map(|index| grid_time(first, step, index)));
        }
        GRID => {
            let (first, step) = (take_signed(&mut rest)?, take_signed(&mut rest)?);
            integers::decode(&mut rest, count, out)?;
            for (index, time) in out.iter_mut().enumerate() {
                *time = time.wrapping_add(grid_time(first, step, index));
            }
        }
        DIFFERENCES => integers::decode(&mut rest, count, out)?,
        _ => return Err(ChunkError::Damaged("kind of a column of times")),
    }
    if rest.is_empty() { Ok(()) } else { Err(ChunkError::Damaged("bytes after the last time")) }
}

fn grid_time(first: i64, step: i64, index: usize) -> i64 {
    first.wrapping_add(step.wrapping_mul(index as i64))
}

/// The step that most neighbours are about: a hole or a late scrape does not move it.
fn median_step(times: &[i64]) -> i64 {
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    if steps.is_empty() {
        return 0;
    }
    let middle = steps.len() / 2;
    *steps.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(times: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode_times(times, &mut bytes);
        let mut decoded = vec![1, 2, 3];
        assert_eq!(decode_times(&bytes, times.len(), &mut decoded), Ok(()));
        assert_eq!(decoded, times);
        if !times.is_empty() {
            assert!(matches!(
                decode_times(&bytes, times.len() - 1, &mut decoded),
                Err(ChunkError::TooMany { .. })
            ));
            assert!(decode_times(&bytes[..bytes.len() - 1], times.len(), &mut decoded).is_err());
        }
        bytes.len()
    }

    #[test]
    fn sizes_are_as_expected() {
        let grid: Vec<i64> = (0..1440).map(|index| 1_700_000_003_123 + index * 15_000).collect();
        assert!(check(&grid) < 16);
        let mut hole = grid.clone();
        hole.drain(700..720);
        assert!(check(&hole) < 80, "{}", check(&hole));
        let jitter: Vec<i64> = (0..).zip(&grid).map(|(index, time)| time + (index * 7919 % 7) - 3).collect();
        assert!(check(&jitter) < 1440 / 2, "{}", check(&jitter));
    }

    #[test]
    fn a_newer_version_is_named() {
        assert_eq!(
            decode_times(&[9, 0, 0], 1, &mut Vec::new()),
            Err(ChunkError::Newer { found: 9, known: VERSION })
        );
    }

    proptest! {
        #[test]
        fn round_trips(times in proptest::collection::vec(any::<i64>(), 0..300)) {
            check(&times);
        }

        #[test]
        fn near_grids_round_trip(start in any::<i64>(), steps in proptest::collection::vec(14_990i64..15_010, 0..300)) {
            let times: Vec<i64> = steps
                .iter()
                .scan(start, |at, step| {
                    *at = at.wrapping_add(*step);
                    Some(*at)
                })
                .collect();
            check(&times);
        }
    }
}
