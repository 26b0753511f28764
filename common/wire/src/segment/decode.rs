use vedette_model::Timestamp;

use xxhash_rust::xxh3::xxh3_128;

use super::dictionary::{Dictionary, DictionaryTarget, decompress};
use super::range::RangeDecoder;
use super::rows::{BodyState, TargetState};
use super::{SECTION_DICTIONARY, SECTION_OPTIONAL_MIN, SECTION_ROWS};
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
    /// Series of all targets of a log.
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
    /// Series of all rows of a batch, present or not.
    pub cells_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            targets_max: 1 << 14,
            series_per_target_max: crate::table::SERIES_PER_TARGET_MAX,
            series_max: 1 << 20,
            families_max: 1 << 16,
            label_bytes_max: 64 << 10,
            block_bytes_max: 16 << 20,
            dictionary_bytes_max: 256 << 20,
            rows_max: 1 << 16,
            cells_max: 1 << 21,
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
            FrameKind::Key => OpenSegment { key_seq: seq, targets: Vec::new(), body: BodyState::new() },
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
        self.segment = Some(segment);
        Ok(DecodedBody { complete_from, complete_through, dictionary_changed })
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
}

impl<'a> Sections<'a> {
    fn read(mut body: &'a [u8]) -> Result<Self, BodyError> {
        let mut dictionary = None;
        let mut rows = None;
        while let Some((&kind, mut rest)) = body.split_first() {
            let length = usize::try_from(varint::read(&mut rest)?).unwrap_or(usize::MAX);
            let (section, rest) =
                rest.split_at_checked(length).ok_or(BodyError::Malformed("section length"))?;
            body = rest;
            let slot = match kind {
                SECTION_DICTIONARY => &mut dictionary,
                SECTION_ROWS => &mut rows,
                optional if optional >= SECTION_OPTIONAL_MIN => continue,
                unknown => return Err(BodyError::Section(unknown)),
            };
            if slot.replace(section).is_some() {
                return Err(BodyError::Malformed("section given twice"));
            }
        }
        let rows = rows.ok_or(BodyError::Malformed("batch without rows section"))?;
        Ok(Self { dictionary: dictionary.unwrap_or_default(), rows })
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
