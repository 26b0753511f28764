//! What Prometheus' chunks are made of: bits, numbers of few bits, floats by their XOR.
//!
//! ```text
//! varbit  0 → bit 0; else ones and a zero, which say how many bits follow:
//!         3 → 10; 6 → 110; 9 → 1110; 12 → 11110; 18 → 111110; 25 → 1111110; 56 → 11111110; 64 → 11111111
//! ```

/// Bits, the highest first.
#[derive(Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Free bits of the last byte.
    free: u32,
}

/// Which bits of the last XOR of a column were written.
#[derive(Clone, Copy)]
pub(super) struct Window {
    /// `u32::MAX` before the first.
    leading: u32,
    trailing: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { leading: u32::MAX, trailing: 0 }
    }
}

/// Whether so many bits hold a number: of two's complement, one more above zero than below it.
pub(super) fn fits(value: i64, bits: u32) -> bool {
    -(1i64 << (bits - 1)) < value && value <= 1i64 << (bits - 1)
}

/// How many bits a varbit may have; the last stands for all.
const VARBIT_SIZES: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];

impl Bits {
    /// Goes on after whole bytes.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, free: 0 }
    }

    /// The last byte is filled with zeros.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds the lowest `count` bits.
    pub(super) fn push(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = count.min(self.free);
            count -= taken;
            self.free -= taken;
            let part = (value >> count) as u8 & (0xff >> (8 - taken));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << self.free;
            }
        }
    }

    /// Adds a number after the mark that says how long it is.
    pub(super) fn marked(&mut self, mark: u64, mark_bits: u32, value: u64, bits: u32) {
        self.push(mark, mark_bits);
        self.push(value, bits);
    }

    /// A float as it is.
    pub(super) fn float(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    /// As protobuf has it.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }

    /// A number of either sign.
    pub(super) fn varbit(&mut self, value: i64) {
        let place = VARBIT_SIZES.iter().position(|bits| *bits == 64 || fits(value, *bits));
        self.sized(value.cast_unsigned(), place.unwrap_or(VARBIT_SIZES.len() - 1));
    }

    /// A number that has no sign.
    pub(super) fn varbit_unsigned(&mut self, value: u64) {
        let length = 64 - value.leading_zeros();
        self.sized(value, VARBIT_SIZES.partition_point(|bits| *bits < length));
    }

    fn sized(&mut self, value: u64, place: usize) {
        match place as u32 {
            _ if value == 0 => self.push(0, 1),
            7 => self.marked(0xff, 8, value, 64),
            ones => self.marked((1 << (ones + 2)) - 2, ones + 2, value, VARBIT_SIZES[place]),
        }
    }

    /// A float by how it differs from the one before.
    pub(super) fn value(&mut self, window: &mut Window, last: f64, value: f64) {
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

    fn bits(write: impl Fn(&mut Bits)) -> String {
        let mut bits = Bits::default();
        write(&mut bits);
        let length = bits.bytes.len() * 8 - bits.free as usize;
        let all = bits.bytes.iter().map(|byte| format!("{byte:08b}")).collect::<String>();
        all[..length].to_owned()
    }

    /// By hand from the diagram above; that Prometheus reads such chunks, `tests/differential` shows.
    #[test]
    fn numbers_take_few_bits() {
        let signed = |value| bits(|bits| bits.varbit(value));
        assert_eq!([0, 1, 4, -3].map(signed), ["0", "10001", "10100", "10101"]);
        assert_eq!([5, -4, 32].map(signed), ["110000101", "110111100", "110100000"]);
        assert_eq!(signed(33), format!("1110{:09b}", 33));
        assert_eq!(signed(257), format!("11110{:012b}", 257));
        assert_eq!(signed(131_072), format!("111110{:018b}", 131_072));
        assert_eq!(signed(131_073), format!("1111110{:025b}", 131_073));
        assert_eq!(signed(1 << 55), format!("11111110{:056b}", 1u64 << 55));
        assert_eq!(signed((1 << 55) + 1), format!("11111111{:064b}", (1u64 << 55) + 1));
        assert_eq!(signed(i64::MIN), format!("11111111{:064b}", 1u64 << 63));
        let unsigned = |value| bits(|bits| bits.varbit_unsigned(value));
        assert_eq!([0, 1, 7, 8].map(unsigned), ["0", "10001", "10111", "110001000"]);
        assert_eq!(unsigned((1 << 56) - 1), format!("11111110{:056b}", (1u64 << 56) - 1));
        assert_eq!(unsigned(1 << 56), format!("11111111{:064b}", 1u64 << 56));
    }

    #[test]
    fn bits_cross_bytes() {
        assert_eq!(bits(|bits| bits.marked(1, 3, 0x155, 9)), "001101010101");
        assert_eq!(bits(|bits| bits.marked(0, 1, u64::MAX, 64)), format!("0{}", "1".repeat(64)));
    }
}
