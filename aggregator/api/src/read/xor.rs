//! Floats as Prometheus has them in its chunks: Gorilla's compression.
//!
//! ```text
//! count: 2 bytes, big endian
//! first   | time: zigzag varint | value: 8 bytes, big endian |
//! second  | time − first time: varint | value |
//! others  | delta of delta: 0 → bit 0; 14 bits → 10; 17 → 110; 20 → 1110; else 1111 and 64 | value |
//! value   XOR with the one before: 0 → bit 0; within the last window of bits → 10 and these;
//!         else 11, leading zeros: 5, bits: 6 (0 stands for 64), the bits
//! ```

/// Samples that Prometheus puts in a chunk.
pub(super) const CHUNK_SAMPLES_MAX: usize = 120;

/// Encodes samples, no more than [`CHUNK_SAMPLES_MAX`].
pub(super) fn encode(at_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.bytes.extend((at_ms.len() as u16).to_be_bytes());
    let mut window = Window { leading: u32::MAX, trailing: 0 };
    let (mut last_at, mut last_delta, mut last_value) = (0i64, 0i64, 0f64);
    for (index, (&at, &value)) in at_ms.iter().zip(values).enumerate() {
        let delta = at.wrapping_sub(last_at);
        match index {
            0 => {
                bits.varint((at << 1 ^ at >> 63).cast_unsigned());
                bits.push(value.to_bits(), 64);
            }
            1 => {
                bits.varint(delta.cast_unsigned());
                bits.value(&mut window, last_value, value);
            }
            _ => {
                bits.delta_of_delta(delta.wrapping_sub(last_delta));
                bits.value(&mut window, last_value, value);
            }
        }
        if index > 0 {
            last_delta = delta;
        }
        (last_at, last_value) = (at, value);
    }
    bits.bytes
}

/// Which bits of the last XOR were written.
struct Window {
    /// `u32::MAX` before the first.
    leading: u32,
    trailing: u32,
}

/// Bits, the highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u32,
}

impl Bits {
    fn push(&mut self, value: u64, count: u32) {
        for place in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if value >> place & 1 == 1
                && let Some(last) = self.bytes.last_mut()
            {
                *last |= 1 << self.free;
            }
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }

    fn delta_of_delta(&mut self, value: i64) {
        // Of two's complement, one more above zero than below it.
        let fits = |bits: u32| -(1i64 << (bits - 1)) < value && value <= 1i64 << (bits - 1);
        match value {
            0 => self.push(0, 1),
            _ if fits(14) => self.marked(0b10, 2, value, 14),
            _ if fits(17) => self.marked(0b110, 3, value, 17),
            _ if fits(20) => self.marked(0b1110, 4, value, 20),
            _ => self.marked(0b1111, 4, value, 64),
        }
    }

    fn marked(&mut self, mark: u64, mark_bits: u32, value: i64, bits: u32) {
        self.push(mark, mark_bits);
        self.push(value.cast_unsigned(), bits);
    }

    fn value(&mut self, window: &mut Window, last: f64, value: f64) {
        let xor = last.to_bits() ^ value.to_bits();
        if xor == 0 {
            return self.push(0, 1);
        }
        self.push(1, 1);
        // Five bits say how many.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if window.leading != u32::MAX && leading >= window.leading && trailing >= window.trailing {
            self.push(0, 1);
            return self.push(xor >> window.trailing, 64 - window.leading - window.trailing);
        }
        *window = Window { leading, trailing };
        let bits = 64 - leading - trailing;
        self.push(1, 1);
        self.push(leading.into(), 5);
        self.push(u64::from(bits) & 63, 6);
        self.push(xor >> trailing, bits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand from the diagram above; that Prometheus reads such chunks, `tests/differential` shows.
    #[test]
    fn bytes_are_those_of_the_diagram() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(encode(&[], &[])), "0000");
        assert_eq!(hex(encode(&[1], &[1.0])), "0001023ff0000000000000");
        // A delta of 15 s, no change; then a delta of delta of 0, no change.
        assert_eq!(hex(encode(&[0, 15_000, 30_000], &[1.0; 3])), "0003003ff0000000000000987500");
    }
}
