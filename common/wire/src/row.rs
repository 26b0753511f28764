use std::sync::Arc;

use vedette_model::{Exemplar, Histogram};

const WORD_BITS: usize = u64::BITS as usize;

/// The values of one scrape of one target, by series index; a series may be absent.
///
/// A value is a float or a histogram. Most rows have floats and nothing else; what is rarer is kept apart, so that it costs
/// them nothing.
#[derive(Clone, Debug, Default)]
pub struct RowValues {
    /// Where the presence bit is not set the value means nothing.
    values: Vec<f64>,
    /// One bit a series, lowest first. Invariant: as many words as the values need, no bit past them.
    present: Vec<u64>,
    /// `None`: the row has floats only.
    rare: Option<Box<Rare>>,
}

/// What a row has beside floats, each by series index, rising.
#[derive(Clone, Debug, Default)]
struct Rare {
    /// No series here has a float.
    histograms: Vec<(u32, Arc<Histogram>)>,
    /// Since when present series count, in milliseconds since the epoch; never 0.
    starts_ms: Vec<(u32, i64)>,
    /// Several may be of one series; these are in the order in which they came.
    exemplars: Vec<(u32, Exemplar)>,
}

impl RowValues {
    /// A row of no series.
    pub fn new() -> Self {
        Self::default()
    }

    /// All series absent; the length stays.
    pub fn clear(&mut self) {
        self.present.fill(0);
        self.rare = None;
    }

    /// Room for `len` series; new ones are absent, those past `len` are forgotten.
    pub fn resize(&mut self, len: usize) {
        self.values.resize(len, 0.0);
        self.present.resize(len.div_ceil(WORD_BITS), 0);
        if let (Some(last), used @ 1..) = (self.present.last_mut(), len % WORD_BITS) {
            *last &= (1 << used) - 1;
        }
        if let Some(rare) = &mut self.rare {
            let end = |index: u32| index as usize >= len;
            rare.histograms.truncate(rare.histograms.partition_point(|entry| !end(entry.0)));
            rare.starts_ms.truncate(rare.starts_ms.partition_point(|entry| !end(entry.0)));
            rare.exemplars.truncate(rare.exemplars.partition_point(|entry| !end(entry.0)));
        }
    }

    /// Sets the value of series `index`, growing the row when needed.
    #[inline]
    pub fn set(&mut self, index: usize, value: f64) {
        if index >= self.values.len() {
            self.resize(index + 1);
        }
        self.values[index] = value;
        self.present[index / WORD_BITS] |= 1 << (index % WORD_BITS);
        if self.rare.is_some() {
            self.remove_histogram(index);
        }
    }

    /// Makes a histogram the value of series `index`, growing the row when needed. It has to be valid and to have at most
    /// [`crate::HISTOGRAM_BUCKETS_MAX`] buckets, otherwise no batch can be made of the row.
    pub fn set_histogram(&mut self, index: usize, histogram: Arc<Histogram>) {
        if index >= self.values.len() {
            self.resize(index + 1);
        }
        self.present[index / WORD_BITS] &= !(1 << (index % WORD_BITS));
        place(&mut self.rare_mut().histograms, index, histogram);
    }

    /// Says since when series `index`, which is present, counts; 0: that is unknown.
    pub fn set_start_ms(&mut self, index: usize, start_ms: i64) {
        if start_ms != 0 {
            return place(&mut self.rare_mut().starts_ms, index, start_ms);
        }
        if let Some(rare) = &mut self.rare {
            rare.starts_ms.retain(|(known, _)| *known as usize != index);
        }
    }

    /// Adds an exemplar of series `index`.
    pub fn push_exemplar(&mut self, index: usize, exemplar: Exemplar) {
        let exemplars = &mut self.rare_mut().exemplars;
        let place = exemplars.partition_point(|(known, _)| *known as usize <= index);
        exemplars.insert(place, (index as u32, exemplar));
    }

    /// The histograms with their series, by index. None of these series has a float.
    pub fn histograms(&self) -> &[(u32, Arc<Histogram>)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.histograms)
    }

    /// The histogram of series `index`, if it has one.
    pub fn histogram(&self, index: usize) -> Option<&Arc<Histogram>> {
        find(self.histograms(), index)
    }

    /// Since when series count, by index: only where it is known.
    pub fn starts_ms(&self) -> &[(u32, i64)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.starts_ms)
    }

    /// Since when series `index` counts; 0 where that is unknown.
    pub fn start_ms(&self, index: usize) -> i64 {
        find(self.starts_ms(), index).copied().unwrap_or(0)
    }

    /// The exemplars with their series, by index.
    pub fn exemplars(&self) -> &[(u32, Exemplar)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.exemplars)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn remove_histogram(&mut self, index: usize) {
        if let Some(rare) = &mut self.rare
            && let Ok(place) = rare.histograms.binary_search_by_key(&index, |(known, _)| *known as usize)
        {
            rare.histograms.remove(place);
        }
    }

    /// The float of series `index`, if it has one.
    pub fn get(&self, index: usize) -> Option<f64> {
        self.is_present(index).then(|| self.values[index])
    }

    /// Whether series `index` has a float.
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

    /// The series with a float, and these, by index.
    pub fn iter_present(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.present.iter().enumerate().flat_map(move |(word_index, &word)| {
            let base = word_index * WORD_BITS;
            SetBits(word).map(move |bit| (base + bit, self.values[base + bit]))
        })
    }

    /// How many series have a float.
    pub fn count_present(&self) -> usize {
        self.present.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many series have a value, a float or a histogram.
    pub fn count_samples(&self) -> usize {
        self.count_present() + self.histograms().len()
    }

    /// Which series have a float: 64 series a word, lowest bit first.
    pub fn present_words(&self) -> &[u64] {
        &self.present
    }

    /// Copies all that the row has of series `index` to series `to` of another row.
    pub(crate) fn copy_series(&self, index: usize, other: &mut Self, to: usize) {
        if let Some(value) = self.get(index) {
            other.set(to, value);
        }
        if let Some(histogram) = self.histogram(index) {
            other.set_histogram(to, Arc::clone(histogram));
        }
        other.set_start_ms(to, self.start_ms(index));
        let of_series = self.exemplars().iter().filter(|(known, _)| *known as usize == index);
        of_series.for_each(|(_, exemplar)| other.push_exemplar(to, exemplar.clone()));
    }

    /// Makes this row a copy of `other`, reusing its memory.
    pub fn copy_from(&mut self, other: &Self) {
        self.values.clone_from(&other.values);
        self.present.clone_from(&other.present);
        self.rare.clone_from(&other.rare);
    }
}

/// Puts a value where its index belongs; replaces one that is there.
fn place<T>(entries: &mut Vec<(u32, T)>, index: usize, value: T) {
    match entries.binary_search_by_key(&index, |(known, _)| *known as usize) {
        Ok(place) => entries[place].1 = value,
        Err(place) => entries.insert(place, (index as u32, value)),
    }
}

fn find<T>(entries: &[(u32, T)], index: usize) -> Option<&T> {
    let place = entries.binary_search_by_key(&index, |(known, _)| *known as usize).ok()?;
    Some(&entries[place].1)
}

/// Same length, same series present, same bits in their values; the same histograms, starts and exemplars.
impl PartialEq for RowValues {
    fn eq(&self, other: &Self) -> bool {
        self.values.len() == other.values.len()
            && self.present == other.present
            && self.iter_present().zip(other.iter_present()).all(|(a, b)| a.1.to_bits() == b.1.to_bits())
            && self.histograms() == other.histograms()
            && self.starts_ms() == other.starts_ms()
            && self.exemplars().len() == other.exemplars().len()
            && self
                .exemplars()
                .iter()
                .zip(other.exemplars())
                .all(|(a, b)| a.0 == b.0 && same_exemplar(&a.1, &b.1))
    }
}

fn same_exemplar(left: &Exemplar, right: &Exemplar) -> bool {
    left.labels == right.labels && left.at_ms == right.at_ms && left.value.to_bits() == right.value.to_bits()
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
    fn a_series_has_a_float_or_a_histogram() {
        let mut row = RowValues::new();
        row.set(1, 1.0);
        row.set_histogram(2, Arc::default());
        row.set_histogram(1, Arc::default());
        row.set_histogram(0, Arc::default());
        row.set(2, 2.0);
        row.set_start_ms(2, 7);
        row.set_start_ms(0, 5);
        row.set_start_ms(0, 0);
        assert_eq!(row.iter_present().collect::<Vec<_>>(), [(2, 2.0)]);
        assert_eq!(row.histograms().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((row.count_samples(), row.start_ms(0), row.start_ms(2)), (3, 0, 7));
        row.resize(1);
        assert_eq!((row.count_samples(), row.histogram(0).is_some(), row.start_ms(2)), (1, true, 0));
        row.clear();
        assert_eq!(row.count_samples(), 0);
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
