use vedette_model::Timestamp;

use xxhash_rust::xxh3::xxh3_128;

use super::dictionary::{Dictionary, DictionaryTarget, decompress};
use super::exemplars::ExemplarsState;
use super::histograms::HistogramsState;
use super::range::RangeDecoder;
use super::rows::{BodyState, TargetState};
use super::starts::StartsState;
use super::{
    SECTION_DICTIONARY, SECTION_EXEMPLARS, SECTION_HISTOGRAMS, SECTION_OPTIONAL_MIN, SECTION_ROWS,
    SECTION_STARTS,
};
use crate::frame::{FrameError, FrameHeader, FrameKind, read_frame};
use crate::ids::{BatchSeq, GapReason};
use crate::row::RowValues;
use crate::varint;

/// What a decoder accepts. What is beyond is refused before memory is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Targets of a log.
    pub targets_max: usize,
    /// Series of a target.
    pub series_per_target_max: usize,
    /// Series of all targets of a log; and buckets of all histogram series.
    pub series_max: usize,
    /// Families of a log.
    pub families_max: usize,
    /// Bytes of one series' labels, and of one family's name, unit and help.
    pub label_bytes_max: usize,
    /// Bytes of one target's part of a batch's dictionary, decompressed.
    pub block_bytes_max: usize,
    /// Bytes of all labels and metadata of a log.
    pub dictionary_bytes_max: usize,
    /// Rows of a batch.
    pub rows_max: usize,
    /// Series of all rows of a batch, present or not; and buckets of all its histograms.
    pub cells_max: usize,
    /// Buckets of one histogram, and its custom bounds.
    pub histogram_buckets_max: usize,
    /// Exemplars of a batch.
    pub exemplars_max: usize,
}

/// Buckets (and custom bounds) that a histogram may have. Whoever takes histograms in refuses what has more.
pub const HISTOGRAM_BUCKETS_MAX: usize = 1 << 14;
/// Series that a segment may have, over all its targets.
pub const SERIES_PER_SEGMENT_MAX: usize = 1 << 20;

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            targets_max: 1 << 14,
            series_per_target_max: crate::table::SERIES_PER_TARGET_MAX,
            series_max: SERIES_PER_SEGMENT_MAX,
            families_max: 1 << 16,
            label_bytes_max: 64 << 10,
            block_bytes_max: 16 << 20,
            dictionary_bytes_max: 256 << 20,
            rows_max: 1 << 16,
            cells_max: 1 << 21,
            histogram_buckets_max: HISTOGRAM_BUCKETS_MAX,
            exemplars_max: 1 << 18,
        }
    }
}

/// Batches that the writer no longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: BatchSeq,
    /// The last of them.
    pub to: BatchSeq,
    /// Why they are gone.
    pub reason: GapReason,
}

/// One row of a decoded batch.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRow {
    /// Index into [`Dictionary::targets`].
    pub target: u32,
    /// The time of all its values.
    pub at: Timestamp,
    /// By series index of the target.
    pub values: RowValues,
}

/// A decoded batch; borrowed from the decoder, which reuses its memory.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Its number; of a gap, its first.
    pub seq: BatchSeq,
    /// What its frame is.
    pub kind: FrameKind,
    /// The batch holds all that the writer's targets gave from here (exclusive) …
    pub complete_from: Timestamp,
    /// … to here (inclusive). Of a gap both are [`Timestamp::MIN`].
    pub complete_through: Timestamp,
    /// What the rows' indices stand for.
    pub dictionary: &'a Dictionary,
    /// Whether the dictionary differs in any way from the one that came with the batch decoded before. A
    /// key batch often repeats it, and then it has not changed.
    pub dictionary_changed: bool,
    /// In the order in which they were written.
    pub rows: &'a [DecodedRow],
    /// Set when the frame is a gap.
    pub gap: Option<Gap>,
}

/// Why a frame could not be decoded. The decoder then waits for a key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a frame, or damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The batch continues a segment of which this decoder has not seen all before it.
    #[error("batch {seq} needs its segment from key batch {key_seq} on")]
    NeedsKey {
        /// The batch.
        seq: BatchSeq,
        /// Its segment's first.
        key_seq: BatchSeq,
    },
    /// The checksum is right and the content makes no sense: written by something else.
    #[error("batch {seq} is malformed: {what}")]
    Malformed {
        /// The batch.
        seq: BatchSeq,
        /// What was found.
        what: &'static str,
    },
    /// A section that must be understood, of a newer release.
    #[error(
        "batch {seq} has a section of kind {kind} that this release does not know: upgrade the reader first"
    )]
    Section {
        /// The batch.
        seq: BatchSeq,
        /// The section's kind.
        kind: u8,
    },
    /// More of something than the limits allow.
    #[error("batch {seq} has too many or too long {what}, at most {max} are allowed")]
    Limit {
        /// The batch.
        seq: BatchSeq,
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// Turns frames back into rows.
#[derive(Debug)]
pub struct SegmentDecoder {
    limits: DecodeLimits,
    /// `None`: only a key batch or a gap can come.
    segment: Option<OpenSegment>,
    /// The last batch decoded, even when a gap or a fault came behind it.
    position: Option<BatchSeq>,
    dictionary: Dictionary,
    /// Hash of the dictionary section that `dictionary` is made of, if it is one section of a key batch and no
    /// more.
    dictionary_hash: Option<u128>,
    /// The first `rows_len` are of the batch decoded last, the others are kept for their memory.
    rows: Vec<DecodedRow>,
    rows_len: usize,
}

#[derive(Debug)]
struct OpenSegment {
    key_seq: BatchSeq,
    targets: Vec<TargetState>,
    body: BodyState,
    /// Made with the first histogram, as it is large.
    histograms: Option<Box<HistogramsState>>,
    starts: StartsState,
    exemplars: ExemplarsState,
}

impl OpenSegment {
    fn new(key_seq: BatchSeq) -> Self {
        Self {
            key_seq,
            targets: Vec::new(),
            body: BodyState::new(),
            histograms: None,
            starts: StartsState::new(),
            exemplars: ExemplarsState::default(),
        }
    }
}

impl SegmentDecoder {
    /// A decoder that waits for a key batch.
    pub fn new(limits: DecodeLimits) -> Self {
        Self {
            limits,
            segment: None,
            position: None,
            dictionary: Dictionary::default(),
            dictionary_hash: None,
            rows: Vec::new(),
            rows_len: 0,
        }
    }

    /// Decodes one frame. A key batch or a gap may come at any time; a delta batch must follow the batch
    /// decoded last.
    pub fn decode(&mut self, frame: &[u8]) -> Result<Batch<'_>, DecodeError> {
        // Taken out, so that after an error only a key batch can come.
        let open = self.segment.take();
        let position = self.position.take();
        self.rows_len = 0;
        let (header, body) = read_frame(frame)?;
        let seq = header.seq;
        let segment = match header.kind {
            FrameKind::Gap => return self.decode_gap(&header, body),
            FrameKind::Key => OpenSegment::new(seq),
            FrameKind::Delta => {
                let follows = position.map(BatchSeq::next) == Some(seq);
                let open = open.filter(|open| follows && open.key_seq == header.key_seq);
                open.ok_or(DecodeError::NeedsKey { seq, key_seq: header.key_seq })?
            }
        };
        let body = self.decode_body(segment, header.kind, body).map_err(|error| {
            // The caller has not heard of what changed: the next key batch must say so.
            self.dictionary_hash = None;
            error.at(seq)
        })?;
        self.position = Some(seq);
        Ok(Batch {
            seq,
            kind: header.kind,
            complete_from: body.complete_from,
            complete_through: body.complete_through,
            dictionary: &self.dictionary,
            dictionary_changed: body.dictionary_changed,
            rows: &self.rows[..self.rows_len],
            gap: None,
        })
    }

    /// The number of the batch or gap decoded last; `None` before the first and after an error.
    pub fn position(&self) -> Option<BatchSeq> {
        self.position
    }

    fn decode_gap(&mut self, header: &FrameHeader, body: &[u8]) -> Result<Batch<'_>, DecodeError> {
        let malformed = DecodeError::Malformed { seq: header.seq, what: "gap" };
        // What follows the reason is of a newer release.
        let code = body.first().ok_or(malformed)?;
        let reason = GapReason::from_code(*code).ok_or(malformed)?;
        self.position = Some(header.last_seq);
        Ok(Batch {
            seq: header.seq,
            kind: FrameKind::Gap,
            complete_from: Timestamp::MIN,
            complete_through: Timestamp::MIN,
            dictionary: &self.dictionary,
            dictionary_changed: false,
            rows: &[],
            gap: Some(Gap { from: header.seq, to: header.last_seq, reason }),
        })
    }

    fn decode_body(
        &mut self,
        mut segment: OpenSegment,
        kind: FrameKind,
        body: &[u8],
    ) -> Result<DecodedBody, BodyError> {
        let sections = Sections::read(body)?;
        let dictionary_changed = self.decode_dictionary(kind, sections.dictionary)?;
        segment.targets.resize_with(self.dictionary.targets.len(), TargetState::default);
        for (state, target) in segment.targets.iter_mut().zip(&self.dictionary.targets) {
            state.grow(target.series.len());
        }
        let mut coder = RangeDecoder::new(sections.rows);
        let (complete_from, complete_through) =
            segment.body.code_completeness(&mut coder, Timestamp::MIN, Timestamp::MIN);
        let rows = segment.body.code_row_count(&mut coder, 0);
        if rows > self.limits.rows_max {
            return Err(BodyError::Limit("rows", self.limits.rows_max));
        }
        let mut cells = 0;
        for _ in 0..rows {
            let target = segment.body.code_target(&mut coder, 0);
            let state = segment.targets.get_mut(target as usize).ok_or(BodyError::Malformed("target"))?;
            cells += state.series_len();
            if cells > self.limits.cells_max {
                return Err(BodyError::Limit("values", self.limits.cells_max));
            }
            if self.rows_len == self.rows.len() {
                self.rows.push(DecodedRow { target, at: Timestamp::MIN, values: RowValues::new() });
            }
            let row = &mut self.rows[self.rows_len];
            self.rows_len += 1;
            row.target = target;
            row.values.clear();
            row.values.resize(state.series_len());
            row.at =
                segment.body.code_row(&mut coder, state, Timestamp::MIN, &RowValues::new(), &mut row.values);
        }
        self.rows.truncate(self.rows_len.max(ROWS_KEPT_MAX));
        self.decode_rare(&mut segment, &sections)?;
        self.segment = Some(segment);
        Ok(DecodedBody { complete_from, complete_through, dictionary_changed })
    }

    /// What few rows have: histograms, starts, exemplars.
    fn decode_rare(&mut self, segment: &mut OpenSegment, sections: &Sections<'_>) -> Result<(), BodyError> {
        let rows = &mut self.rows[..self.rows_len];
        if let Some(section) = sections.histograms {
            let state = segment.histograms.get_or_insert_with(|| Box::new(HistogramsState::new()));
            state.decode(section, rows, &self.limits)?;
        }
        segment.starts.decode(sections.starts, rows)?;
        match sections.exemplars {
            Some(section) => segment.exemplars.decode(section, rows, &self.limits),
            None => Ok(()),
        }
    }

    /// Applies a dictionary section; says whether the dictionary is another one now.
    fn decode_dictionary(&mut self, kind: FrameKind, section: &[u8]) -> Result<bool, BodyError> {
        if kind == FrameKind::Key {
            let hash = Some(xxh3_128(section));
            if hash == self.dictionary_hash {
                return Ok(false);
            }
            self.dictionary = Dictionary::default();
            // Until it is whole, a fault must not leave a hash behind.
            self.dictionary_hash = None;
            self.apply_blocks(section)?;
            self.dictionary_hash = hash;
            return Ok(true);
        }
        if section.is_empty() {
            return Ok(false);
        }
        self.dictionary_hash = None;
        self.apply_blocks(section)?;
        Ok(true)
    }

    fn apply_blocks(&mut self, mut section: &[u8]) -> Result<(), BodyError> {
        while !section.is_empty() {
            let target = varint::read(&mut section)?;
            if target >= self.limits.targets_max as u64 {
                return Err(BodyError::Limit("targets", self.limits.targets_max));
            }
            let target = target as usize;
            let length = usize::try_from(varint::read(&mut section)?).unwrap_or(usize::MAX);
            let (block, rest) =
                section.split_at_checked(length).ok_or(BodyError::Malformed("block length"))?;
            section = rest;
            if target >= self.dictionary.targets.len() {
                self.dictionary.targets.resize_with(target + 1, DictionaryTarget::default);
            }
            let plain = decompress(block, &self.limits)?;
            self.dictionary.read_block(target, &plain, &self.limits)?;
        }
        Ok(())
    }
}

/// Rows kept for their memory when a batch had fewer.
const ROWS_KEPT_MAX: usize = 16;

struct DecodedBody {
    complete_from: Timestamp,
    complete_through: Timestamp,
    dictionary_changed: bool,
}

/// The sections of a body that this release knows.
struct Sections<'a> {
    dictionary: &'a [u8],
    rows: &'a [u8],
    histograms: Option<&'a [u8]>,
    starts: Option<&'a [u8]>,
    exemplars: Option<&'a [u8]>,
}

impl<'a> Sections<'a> {
    fn read(mut body: &'a [u8]) -> Result<Self, BodyError> {
        let [mut dictionary, mut rows, mut histograms, mut starts, mut exemplars] = [None; 5];
        while let Some((&kind, mut rest)) = body.split_first() {
            let length = usize::try_from(varint::read(&mut rest)?).unwrap_or(usize::MAX);
            let (section, rest) =
                rest.split_at_checked(length).ok_or(BodyError::Malformed("section length"))?;
            body = rest;
            let slot = match kind {
                SECTION_DICTIONARY => &mut dictionary,
                SECTION_ROWS => &mut rows,
                SECTION_HISTOGRAMS => &mut histograms,
                SECTION_STARTS => &mut starts,
                SECTION_EXEMPLARS => &mut exemplars,
                optional if optional >= SECTION_OPTIONAL_MIN => continue,
                unknown => return Err(BodyError::Section(unknown)),
            };
            if slot.replace(section).is_some() {
                return Err(BodyError::Malformed("section given twice"));
            }
        }
        let rows = rows.ok_or(BodyError::Malformed("batch without rows section"))?;
        Ok(Self { dictionary: dictionary.unwrap_or_default(), rows, histograms, starts, exemplars })
    }
}

/// What is wrong with a body; [`DecodeError`] without the batch's number.
pub(super) enum BodyError {
    Malformed(&'static str),
    Limit(&'static str, usize),
    Section(u8),
}

impl BodyError {
    fn at(self, seq: BatchSeq) -> DecodeError {
        match self {
            Self::Malformed(what) => DecodeError::Malformed { seq, what },
            Self::Limit(what, max) => DecodeError::Limit { seq, what, max },
            Self::Section(kind) => DecodeError::Section { seq, kind },
        }
    }
}

impl From<varint::VarintError> for BodyError {
    fn from(_: varint::VarintError) -> Self {
        Self::Malformed("number")
    }
}

#[cfg(test)]
mod tests {
    use super::super::dictionary::compress;
    use super::super::range::RangeEncoder;
    use super::super::write_section;
    use super::*;
    use crate::frame::write_frame;

    const LIMITS: DecodeLimits = DecodeLimits {
        targets_max: 4,
        series_per_target_max: 100,
        series_max: 150,
        families_max: 10,
        label_bytes_max: 1000,
        block_bytes_max: 100_000,
        dictionary_bytes_max: 10_000,
        rows_max: 10,
        cells_max: 1000,
        histogram_buckets_max: 100,
        exemplars_max: 10,
    };

    /// A block with one family and `series` series of one label, whose value is `value_len` long.
    fn block(target: u64, series: u64, value_len: usize) -> Vec<u8> {
        let texts = ["x".to_owned(), String::new(), "__name__".to_owned(), "v".repeat(value_len)];
        let mut plain = Vec::new();
        varint::write(&mut plain, texts.len() as u64);
        texts.iter().for_each(|text| plain.extend_from_slice(&[text.as_bytes(), &[0xff]].concat()));
        // One family: replaces none, counter, name, unit, help as the unit.
        plain.extend([1, 0, 1, 0, 0, 3]);
        varint::write(&mut plain, series);
        for number in 0..series {
            // The block's first family; the label names; the value.
            plain.extend(if number == 0 { &[1, 0, 1, 0, 0][..] } else { &[0, 1, 5] });
        }
        let compressed = compress(&plain);
        let mut out = Vec::new();
        varint::write(&mut out, target);
        varint::write(&mut out, compressed.len() as u64);
        out.extend(compressed);
        out
    }

    fn rows(count: usize, target: u32) -> Vec<u8> {
        let mut coder = RangeEncoder::new(Vec::new());
        let mut state = BodyState::new();
        state.code_completeness(&mut coder, Timestamp::MIN, Timestamp::MAX);
        state.code_row_count(&mut coder, count);
        state.code_target(&mut coder, target);
        coder.finish()
    }

    fn check(sections: &[(u8, &[u8])], expected: Result<usize, DecodeError>) {
        let mut body = Vec::new();
        sections.iter().for_each(|(kind, section)| write_section(&mut body, *kind, section));
        let frame = write_frame(FrameKind::Key, BatchSeq(1), 0, &body);
        let mut decoder = SegmentDecoder::new(LIMITS);
        assert_eq!(decoder.decode(&frame).map(|batch| batch.rows.len()), expected);
    }

    fn limit(what: &'static str, max: usize) -> Result<usize, DecodeError> {
        Err(DecodeError::Limit { seq: BatchSeq(1), what, max })
    }

    fn malformed(what: &'static str) -> Result<usize, DecodeError> {
        Err(DecodeError::Malformed { seq: BatchSeq(1), what })
    }

    #[test]
    fn every_limit_holds() {
        let none = rows(0, 0);
        let dictionary = |blocks: &[Vec<u8>], expected| {
            check(&[(SECTION_DICTIONARY, &blocks.concat()), (SECTION_ROWS, &none)], expected);
        };
        dictionary(&[block(0, 3, 5)], Ok(0));
        dictionary(&[block(4, 3, 5)], limit("targets", 4));
        dictionary(&[block(0, 101, 5)], limit("series of a target", 100));
        dictionary(&[block(0, 90, 5), block(1, 90, 5)], limit("series", 150));
        dictionary(&[block(0, 1, 1001)], limit("label bytes", 1000));
        // One string, named many times.
        dictionary(&[block(0, 90, 900)], limit("dictionary bytes", 10_000));
        dictionary(&vec![block(0, 0, 1); 11], limit("families", 10));
        dictionary(&[block(0, 1, 200_000)], limit("dictionary bytes", 100_000));
    }

    #[test]
    fn rows_are_bounded_however_few_bytes_they_take() {
        let dictionary = block(0, 90, 5);
        check(&[(SECTION_ROWS, &rows(11, 0))], limit("rows", 10));
        check(&[(SECTION_ROWS, &rows(usize::MAX >> 1, 0))], limit("rows", 10));
        check(&[(SECTION_ROWS, &rows(1, 0))], malformed("target"));
        check(&[(SECTION_DICTIONARY, &dictionary), (SECTION_ROWS, &rows(1, 1))], malformed("target"));
        let mut decoder = SegmentDecoder::new(DecodeLimits { cells_max: 100, ..LIMITS });
        let mut body = Vec::new();
        write_section(&mut body, SECTION_DICTIONARY, &dictionary);
        write_section(&mut body, SECTION_ROWS, &rows(2, 0));
        let error =
            decoder.decode(&write_frame(FrameKind::Key, BatchSeq(1), 0, &body)).map(|batch| batch.seq);
        let values = DecodeError::Limit { seq: BatchSeq(1), what: "values", max: 100 };
        assert!(
            matches!(error, Err(found) if found == values || matches!(found, DecodeError::Malformed { .. }))
        );
    }

    #[test]
    fn a_lying_length_takes_no_memory() {
        let mut block = vec![0, 20];
        varint::write(&mut block, 99_999);
        block.resize(22, 0);
        let sections = [(SECTION_DICTIONARY, block.as_slice()), (SECTION_ROWS, &rows(0, 0))];
        check(&sections, malformed("dictionary compression"));
    }

    #[test]
    fn sections_of_newer_releases() {
        let none = rows(0, 0);
        check(&[(SECTION_ROWS, &none), (SECTION_EXEMPLARS + 1, b"later")], Ok(0));
        check(&[(SECTION_ROWS, &none), (5, b"")], Err(DecodeError::Section { seq: BatchSeq(1), kind: 5 }));
        check(&[(SECTION_ROWS, &none), (SECTION_ROWS, &none)], malformed("section given twice"));
        check(&[], malformed("batch without rows section"));
    }

    #[test]
    fn a_gap_of_an_unknown_reason_is_malformed() {
        let mut decoder = SegmentDecoder::new(LIMITS);
        let frame = write_frame(FrameKind::Gap, BatchSeq(1), 3, &[99]);
        assert_eq!(decoder.decode(&frame).map(|batch| batch.rows.len()), malformed("gap"));
    }
}
