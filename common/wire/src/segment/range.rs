//! A binary range coder with adaptive models, in integers only, so that every machine gives the same bytes.
//!
//! Encoder and decoder share one trait: code that describes a format calls [`BitCoder`] with the true value,
//! and gets the true value back; the decoder ignores what it is given. So each format is written once, and the
//! two sides cannot drift apart.

/// What a format is written against: see the module's documentation.
pub(super) trait BitCoder {
    /// Whether values given are the true ones.
    const ENCODES: bool;

    /// One bit whose probability `model` learns.
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> bool;

    /// `bits` (at most 16) bits that nothing is known of.
    fn raw(&mut self, value: u32, bits: u32) -> u32;
}

/// The probability of a bit, which moves towards the bits seen: fast at first, then slowly.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitModel {
    /// Of a set bit, in 1/65536. Invariant: neither outcome is impossible, as what is less than the highest
    /// divisor does not move any more.
    probability: u16,
    /// Bits seen, held at the highest shift.
    seen: u8,
}

/// The way to the bit seen is halved this often: once at the first bit, then more, up to here.
const SHIFT_MAX: u8 = 5;
const PROBABILITY_BITS: u32 = 16;

impl BitModel {
    /// A bit of which nothing is known.
    pub(super) const fn new() -> Self {
        Self { probability: 1 << 15, seen: 0 }
    }

    #[inline]
    fn probability(self) -> u32 {
        u32::from(self.probability)
    }

    #[inline]
    fn learn(&mut self, bit: bool) {
        self.seen = (self.seen + 1).min(SHIFT_MAX);
        if bit {
            self.probability += (u16::MAX - self.probability) >> self.seen;
        } else {
            self.probability -= self.probability >> self.seen;
        }
    }
}

/// The interval is renewed from below this.
const RANGE_MIN: u32 = 1 << 24;

/// Writes bits.
#[derive(Debug)]
pub(super) struct RangeEncoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still raise, and how many 0xff bytes follow it.
    pending: u8,
    pending_ones: usize,
    started: bool,
    out: Vec<u8>,
}

impl RangeEncoder {
    /// Appends to `out`.
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self { low: 0, range: u32::MAX, pending: 0, pending_ones: 0, started: false, out }
    }

    /// The bytes, without the zeros at their end, which the decoder supplies.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let start = self.out.len();
        // Of the numbers in the interval the one with most zeros at its end.
        let high = self.low + u64::from(self.range) - 1;
        for bits in (0..32).rev() {
            let rounded = (self.low + (1 << bits) - 1) >> bits << bits;
            if rounded <= high {
                self.low = rounded;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        let used = self.out.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.out.truncate(used.max(start));
        self.out
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if self.low < 0xff00_0000 || carry == 1 {
            if self.started {
                self.out.push(self.pending.wrapping_add(carry));
            }
            self.started = true;
            for _ in 0..self.pending_ones {
                self.out.push(0xff_u8.wrapping_add(carry));
            }
            self.pending_ones = 0;
            self.pending = (self.low >> 24) as u8;
        } else {
            self.pending_ones += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    fn normalize(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl BitCoder for RangeEncoder {
    const ENCODES: bool = true;

    #[inline]
    fn bit(&mut self, model: &mut BitModel, bit: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * model.probability();
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        model.learn(bit);
        self.normalize();
        bit
    }

    #[inline]
    fn raw(&mut self, value: u32, bits: u32) -> u32 {
        self.range >>= bits;
        self.low += u64::from(value) * u64::from(self.range);
        self.normalize();
        value
    }
}

/// Reads bits. Behind the end of the bytes it reads zeros, so it never fails: whoever reads bounds what is
/// read, and a checksum vouches for the bytes.
#[derive(Debug)]
pub(super) struct RangeDecoder<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
}

impl<'a> RangeDecoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u32::MAX, bytes };
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | decoder.byte();
        }
        decoder
    }

    #[inline]
    fn byte(&mut self) -> u32 {
        match self.bytes.split_first() {
            Some((&byte, rest)) => {
                self.bytes = rest;
                u32::from(byte)
            }
            None => 0,
        }
    }

    #[inline]
    fn normalize(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.code = self.code << 8 | self.byte();
        }
    }
}

impl BitCoder for RangeDecoder<'_> {
    const ENCODES: bool = false;

    #[inline]
    fn bit(&mut self, model: &mut BitModel, _bit: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * model.probability();
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        model.learn(bit);
        self.normalize();
        bit
    }

    #[inline]
    fn raw(&mut self, _value: u32, bits: u32) -> u32 {
        self.range >>= bits;
        // What no encoder wrote may lie behind the last value.
        let value = (self.code / self.range).min((1 << bits) - 1);
        self.code = self.code.wrapping_sub(value * self.range);
        self.normalize();
        value
    }
}

/// A number of `BITS` bits, highest first, each bit's model chosen by the bits before it.
#[derive(Clone, Debug)]
pub(super) struct BitTree<const NODES: usize> {
    nodes: [BitModel; NODES],
}

impl<const NODES: usize> BitTree<NODES> {
    const BITS: u32 = NODES.ilog2();

    pub(super) const fn new() -> Self {
        Self { nodes: [BitModel::new(); NODES] }
    }

    #[inline]
    pub(super) fn code<C: BitCoder>(&mut self, coder: &mut C, value: u32) -> u32 {
        let mut node = 1;
        for level in (0..Self::BITS).rev() {
            let bit = coder.bit(&mut self.nodes[node as usize], value >> level & 1 == 1);
            node = node << 1 | u32::from(bit);
        }
        node - (1 << Self::BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same calls for both sides, as formats are written.
    fn run<C: BitCoder>(coder: &mut C, input: &[(u8, u32)]) -> Vec<u32> {
        let mut models = [BitModel::new(); 4];
        let mut tree = BitTree::<32>::new();
        let kinds = input.iter().map(|&(kind, value)| match kind % 6 {
            4 => coder.raw(value & 0x1fff, 13),
            5 => tree.code(coder, value & 31),
            model => u32::from(coder.bit(&mut models[usize::from(model)], value & 1 == 1)),
        });
        kinds.collect()
    }

    #[test]
    fn certain_bits_cost_nothing() {
        let input = vec![(0, 1); 100_000];
        let mut encoder = RangeEncoder::new(Vec::new());
        run(&mut encoder, &input);
        assert!(encoder.finish().len() < 100);
    }

    proptest! {
        #[test]
        fn round_trips(input in proptest::collection::vec((any::<u8>(), any::<u32>()), 0..2000), skew in 0u32..3) {
            let input: Vec<_> = input.into_iter().map(|(kind, value)| match skew {
                0 => (kind, value),
                1 => (kind, u32::MAX),
                _ => (kind, if value % 50 == 0 { value } else { 0 }),
            }).collect();
            let mut encoder = RangeEncoder::new(vec![7]);
            let truth = run(&mut encoder, &input);
            let bytes = encoder.finish();
            prop_assert_eq!(bytes[0], 7);
            prop_assert_eq!(run(&mut RangeDecoder::new(&bytes[1..]), &input), truth);
        }

        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let input: Vec<_> = (0..1000u32).map(|index| (index as u8, index)).collect();
            run(&mut RangeDecoder::new(&bytes), &input);
        }
    }
}
