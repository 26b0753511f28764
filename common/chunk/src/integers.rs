//! Integers, as they are or as differences, in blocks of 128 packed with patched frame of reference.

use crate::ChunkError;
use crate::varint::{
    push_signed, push_unsigned, take_byte, take_signed, take_slice, take_unsigned, unsigned_len,
};

const BLOCK: usize = 128;
/// A number of so many bits is in one word that begins at its first byte.
const ONE_WORD_BITS: usize = 57;
/// Set in a block's width byte when patches follow.
const PATCHED: u8 = 0x80;
/// Two differences are the most that is tried.
const ORDER_MAX: u8 = 2;

/// Writes the shortest of the orders of difference in `orders`.
pub(crate) fn encode(numbers: &[i64], orders: std::ops::RangeInclusive<u8>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut best: Option<Vec<u8>> = None;
    let mut work = numbers.to_vec();
    let mut firsts = Vec::new();
    for order in 0..=*orders.end() {
        if order > 0 {
            let Some((&first, _)) = work.split_first() else { break };
            firsts.push(first);
            for index in 0..work.len() - 1 {
                work[index] = work[index + 1].wrapping_sub(work[index]);
            }
            work.pop();
        }
        let only_choice = work.is_empty() && best.is_none();
        if !(orders.contains(&order) || only_choice) {
            continue;
        }
        let mut bytes = vec![order];
        firsts.iter().for_each(|&first| push_signed(&mut bytes, first));
        work.chunks(BLOCK).for_each(|block| encode_block(block, &mut bytes));
        if best.as_ref().is_none_or(|best| bytes.len() < best.len()) {
            best = Some(bytes);
        }
    }
    out.extend_from_slice(&best.unwrap_or_else(|| vec![0]));
    debug_assert!(out.len() > start);
}

/// Replaces `out` by the `count` numbers that `bytes` starts with.
pub(crate) fn decode(bytes: &mut &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let order = take_byte(bytes)?;
    if order > ORDER_MAX || usize::from(order) > count {
        return Err(ChunkError::Damaged("order of difference"));
    }
    let mut firsts = [0; ORDER_MAX as usize];
    for first in &mut firsts[..usize::from(order)] {
        *first = take_signed(bytes)?;
    }
    out.clear();
    // A block takes at least two bytes, so that memory is bounded by what is there.
    out.reserve(count.min(bytes.len() * BLOCK));
    let mut left = count - usize::from(order);
    while left > 0 {
        let len = left.min(BLOCK);
        decode_block(bytes, len, out)?;
        left -= len;
    }
    for &first in firsts[..usize::from(order)].iter().rev() {
        integrate(out, first);
    }
    Ok(())
}

/// Differences back to numbers, one more than there were.
fn integrate(numbers: &mut Vec<i64>, first: i64) {
    let mut sum = first;
    for number in numbers.iter_mut() {
        let next = sum.wrapping_add(*number);
        *number = sum;
        sum = next;
    }
    numbers.push(sum);
}

fn encode_block(block: &[i64], out: &mut Vec<u8>) {
    let least = block.iter().copied().min().unwrap_or(0);
    let offset = |number: i64| (number as u64).wrapping_sub(least as u64);
    let width = choose_width(block, offset);
    push_signed(out, least);
    let patches: Vec<(usize, u64)> = block
        .iter()
        .enumerate()
        .map(|(at, &number)| (at, high_bits(offset(number), width)))
        .filter(|&(_, high)| high != 0)
        .collect();
    if patches.is_empty() {
        out.push(width as u8);
    } else {
        out.push(width as u8 | PATCHED);
        out.push(patches.len() as u8);
    }
    pack(block.iter().map(|&number| offset(number)), width, out);
    for (at, high) in patches {
        out.push(at as u8);
        push_unsigned(out, high);
    }
}

/// The width with the least bytes, patches counted.
fn choose_width(block: &[i64], offset: impl Fn(i64) -> u64) -> u32 {
    let mut by_bits = [0usize; 65];
    for &number in block {
        by_bits[(64 - offset(number).leading_zeros()) as usize] += 1;
    }
    let widest = by_bits.iter().rposition(|&count| count > 0).unwrap_or(0);
    let cost = |width: usize| {
        let patches: usize = (width + 1..=widest)
            .map(|bits| by_bits[bits] * (1 + unsigned_len(1u64 << (bits - width - 1))))
            .sum();
        (block.len() * width).div_ceil(8) + patches + usize::from(width < widest)
    };
    (0..=widest).min_by_key(|&width| cost(width)).unwrap_or(0) as u32
}

fn high_bits(offset: u64, width: u32) -> u64 {
    offset.checked_shr(width).unwrap_or(0)
}

/// The low `width` bits of each, lowest first, filled up to a whole byte.
fn pack(offsets: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let mask = low_mask(width);
    let (mut buffer, mut used) = (0u128, 0);
    for offset in offsets {
        buffer |= u128::from(offset & mask) << used;
        used += width;
        while used >= 8 {
            out.push(buffer as u8);
            buffer >>= 8;
            used -= 8;
        }
    }
    if used > 0 {
        out.push(buffer as u8);
    }
}

fn low_mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

fn decode_block(bytes: &mut &[u8], len: usize, out: &mut Vec<i64>) -> Result<(), ChunkError> {
    let least = take_signed(bytes)?;
    let tag = take_byte(bytes)?;
    let width = u32::from(tag & !PATCHED);
    if width > 64 {
        return Err(ChunkError::Damaged("width of a block"));
    }
    let patches = if tag & PATCHED != 0 { take_byte(bytes)? } else { 0 };
    let packed = take_slice(bytes, (len * width as usize).div_ceil(8))?;
    let start = out.len();
    unpack(packed, width, len, least, out);
    for _ in 0..patches {
        let at = usize::from(take_byte(bytes)?);
        let high = take_unsigned(bytes)?.checked_shl(width).unwrap_or(0) as i64;
        let number = out.get_mut(start + at).ok_or(ChunkError::Damaged("place of a patch"))?;
        *number = number.wrapping_add(high);
    }
    Ok(())
}

fn unpack(packed: &[u8], width: u32, len: usize, least: i64, out: &mut Vec<i64>) {
    if width == 0 {
        out.resize(out.len() + len, least);
        return;
    }
    // Room past the end, so that a whole word can be read at every place.
    let mut padded = [0u8; BLOCK * 8 + 16];
    padded[..packed.len()].copy_from_slice(packed);
    let mask = low_mask(width);
    let width = width as usize;
    if width <= ONE_WORD_BITS {
        let number = |bit: usize| word_at(&padded, bit / 8) >> (bit % 8) & mask;
        out.extend((0..len).map(|index| least.wrapping_add(number(index * width) as i64)));
        return;
    }
    out.extend((0..len).map(|index| {
        let bit = index * width;
        let byte = bit / 8;
        let word = word_at(&padded, byte) >> (bit % 8);
        // It may reach into a ninth byte.
        let rest = if bit.is_multiple_of(8) { 0 } else { word_at(&padded, byte + 8) << (64 - bit % 8) };
        least.wrapping_add(((word | rest) & mask) as i64)
    }));
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(numbers: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode(numbers, 0..=2, &mut bytes);
        let mut rest = bytes.as_slice();
        let mut decoded = Vec::new();
        decode(&mut rest, numbers.len(), &mut decoded).expect("decodes");
        assert_eq!(decoded, numbers);
        assert!(rest.is_empty());
        bytes.len()
    }

    #[test]
    fn a_straight_line_costs_nearly_nothing() {
        let line: Vec<i64> = (0..1000).map(|index| 1_700_000_000_000 + index * 15_000).collect();
        assert!(check(&line) < 32, "{}", check(&line));
    }

    #[test]
    fn a_lone_jump_is_patched() {
        let mut numbers = vec![7; 128];
        numbers[60] = i64::MAX;
        assert!(check(&numbers) < 32, "{}", check(&numbers));
    }

    #[test]
    fn extremes_survive() {
        check(&[]);
        check(&[i64::MIN]);
        check(&[i64::MIN, i64::MAX, 0, i64::MIN, -1]);
    }

    proptest! {
        #[test]
        fn round_trips(numbers in proptest::collection::vec(
            prop_oneof![any::<i64>(), -3i64..3, 0i64..100_000], 0..400)) {
            check(&numbers);
        }

        #[test]
        fn every_width_round_trips(bits in 0u32..64, seeds in proptest::collection::vec(any::<i64>(), 129)) {
            check(&seeds.iter().map(|seed| seed >> bits).collect::<Vec<_>>());
        }
    }
}
