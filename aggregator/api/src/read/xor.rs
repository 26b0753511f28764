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

use super::bits::{Bits, Window, fits};

/// Samples that Prometheus puts in a chunk.
pub(super) const CHUNK_SAMPLES_MAX: usize = 120;

/// Encodes samples, no more than [`CHUNK_SAMPLES_MAX`].
pub(super) fn encode(at_ms: &[i64], values: &[f64]) -> Vec<u8> {
    let mut bits = Bits::after((at_ms.len() as u16).to_be_bytes().to_vec());
    let mut window = Window::default();
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
                delta_of_delta(&mut bits, delta.wrapping_sub(last_delta));
                bits.value(&mut window, last_value, value);
            }
        }
        if index > 0 {
            last_delta = delta;
        }
        (last_at, last_value) = (at, value);
    }
    bits.into_bytes()
}

fn delta_of_delta(bits: &mut Bits, value: i64) {
    match value {
        0 => bits.push(0, 1),
        _ if fits(value, 14) => bits.marked(0b10, 2, value.cast_unsigned(), 14),
        _ if fits(value, 17) => bits.marked(0b110, 3, value.cast_unsigned(), 17),
        _ if fits(value, 20) => bits.marked(0b1110, 4, value.cast_unsigned(), 20),
        _ => bits.marked(0b1111, 4, value.cast_unsigned(), 64),
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
