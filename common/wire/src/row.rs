const WORD_BITS: usize = u64::BITS as usize;

/// The values of one scrape of one target, by series index; a series may be absent.
#[derive(Clone, Debug, Default)]
pub struct RowValues {
    /// Where the presence bit is not set the value means nothing.
    values: Vec<f64>,
    /// One bit a series, lowest first. Invariant: as many words as the values need, no bit past them.
    present: Vec<u64>,
}

impl RowValues {
    /// A row of no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// All series absent; the length stays.
    pub fn clear(&mut self) {
        self.present.fill(0);
    }

    /// Room for `len` series; new ones are absent, those past `len` are forgotten.
    pub fn resize(&mut self, len: usize) {
        self.values.resize(len, 0.0);
        self.present.resize(len.div_ceil(WORD_BITS), 0);
        if let (Some(last), used @ 1..) = (self.present.last_mut(), len % WORD_BITS) {
            *last &= (1 << used) - 1;
        }
    }

    /// Sets the value of series `index`, growing the row when needed.
    pub fn set(&mut self, index: usize, value: f64) {
        if index >= self.values.len() {
            self.resize(index + 1);
        }
        self.values[index] = value;
        self.present[index / WORD_BITS] |= 1 << (index % WORD_BITS);
    }

    /// The value of series `index`, if it is present.
    pub fn get(&self, index: usize) -> Option<f64> {
        self.is_present(index).then(|| self.values[index])
    }

    /// Whether series `index` is present.
    pub fn is_present(&self, index: usize) -> bool {
        self.present.get(index / WORD_BITS).is_some_and(|word| word >> (index % WORD_BITS) & 1 == 1)
    }

    /// How many series the row has room for, present or not.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether the row has room for no series.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The present series with their values, by index.
    pub fn iter_present(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.present.iter().enumerate().flat_map(move |(word_index, &word)| {
            let base = word_index * WORD_BITS;
            SetBits(word).map(move |bit| (base + bit, self.values[base + bit]))
        })
    }

    /// How many series are present.
    pub fn count_present(&self) -> usize {
        self.present.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The presence bits, 64 series a word, lowest bit first.
    pub fn present_words(&self) -> &[u64] {
        &self.present
    }

    /// Makes this row a copy of `other`, reusing its memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
        self.present.clone_from(&other.present);
    }
}

/// Same length, same series present, same bits in their values.
impl PartialEq for RowValues {
    fn eq(&self, other: &Self) -> bool {
        self.values.len() == other.values.len()
            && self.present == other.present
            && self.iter_present().zip(other.iter_present()).all(|(a, b)| a.1.to_bits() == b.1.to_bits())
    }
}

/// The indices of the bits set in a word, lowest first.
pub(crate) struct SetBits(pub(crate) u64);

impl Iterator for SetBits {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_set() {
        let mut row = RowValues::new();
        row.set(70, 1.5);
        row.set(3, -0.0);
        assert_eq!(row.len(), 71);
        assert_eq!(row.iter_present().map(|(index, _)| index).collect::<Vec<_>>(), [3, 70]);
        assert_eq!(row.get(3).map(f64::to_bits), Some((-0.0f64).to_bits()));
        assert_eq!((row.get(4), row.get(71), row.count_present()), (None, None, 2));
    }

    #[test]
    fn shrinking_forgets() {
        let mut row = RowValues::new();
        row.set(70, 1.0);
        row.set(65, 1.0);
        row.resize(66);
        row.resize(80);
        assert_eq!(row.iter_present().map(|(index, _)| index).collect::<Vec<_>>(), [65]);
        row.clear();
        assert_eq!((row.count_present(), row.len()), (0, 80));
    }

    #[test]
    fn equality_is_of_bits() {
        let of = |value| {
            let mut row = RowValues::new();
            row.set(0, value);
            row
        };
        assert_eq!(of(f64::NAN), of(f64::NAN));
        assert_ne!(of(0.0), of(-0.0));
    }
}
