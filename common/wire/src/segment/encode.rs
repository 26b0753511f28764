use vedette_model::Timestamp;

use super::decode::{BodyError, DecodeLimits};
use super::dictionary::{Told, compress, write_block};
use super::exemplars::ExemplarsState;
use super::histograms::HistogramsState;
use super::range::RangeEncoder;
use super::rows::{BodyState, TargetState};
use super::starts::StartsState;
use super::{
    SECTION_DICTIONARY, SECTION_EXEMPLARS, SECTION_HISTOGRAMS, SECTION_ROWS, SECTION_STARTS, write_section,
};
use crate::frame::{FRAME_BYTES_MAX, FrameKind, write_frame};
use crate::ids::BatchSeq;
use crate::row::RowValues;
use crate::table::TargetTable;
use crate::varint;

/// When a segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// Batches of a segment, its key batch included.
    pub batches_max: u32,
    /// Bytes of its frames after which no further batch is added.
    pub bytes_max: usize,
}

impl Default for SegmentLimits {
    fn default() -> Self {
        Self { batches_max: 64, bytes_max: 256 << 10 }
    }
}

/// One scrape of one target, to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct RowInput<'a> {
    /// The target's index, which the writer gives out from 0 and keeps within a segment.
    pub target: u32,
    /// The scrape's time, or the time that the samples carry themselves.
    pub at: Timestamp,
    /// What the indices in `values` mean.
    pub table: &'a TargetTable,
    /// The values: `table.row()`, or an earlier copy of it.
    pub values: &'a RowValues,
}

/// A batch to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct BatchInput<'a> {
    /// Its number: one more than the last batch's.
    pub seq: BatchSeq,
    /// The batch holds all that the writer's targets gave from here (exclusive) …
    pub complete_from: Timestamp,
    /// … to here (inclusive).
    pub complete_through: Timestamp,
    /// In the order in which they will be read; a target may have several.
    pub rows: &'a [RowInput<'a>],
}

/// A batch as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedBatch {
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Whether it starts a segment.
    pub is_key: bool,
}

/// Why a batch cannot be encoded. The encoder goes on with a key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The frame would be longer than a reader accepts.
    #[error("batch of {bytes} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Bytes that it took.
        bytes: usize,
    },
    /// More of something than a reader accepts.
    #[error("batch with {found} {what}, at most {max} are allowed")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A histogram whose parts do not fit together.
    #[error("histogram that is not valid: {what}")]
    Histogram {
        /// What does not fit.
        what: &'static str,
    },
}

/// Turns rows into frames.
///
/// Batches should hold what all targets gave in a while (a second), not one target each: a segment's dictionary
/// has each target once, so that segments of few rows a target are mostly dictionary.
#[derive(Debug)]
pub struct SegmentEncoder {
    limits: SegmentLimits,
    /// What readers accept.
    accepted: DecodeLimits,
    /// `None`: the next batch is a key batch.
    segment: Option<OpenSegment>,
    /// By target index; outlives segments.
    targets: Vec<EncoderTarget>,
}

#[derive(Debug)]
struct OpenSegment {
    key_seq: BatchSeq,
    last_seq: BatchSeq,
    batches: u32,
    bytes: usize,
    families_len: u32,
    series_len: usize,
    body: BodyState,
    /// Made with the first histogram, as it is large.
    histograms: Option<Box<HistogramsState>>,
    starts: StartsState,
    exemplars: ExemplarsState,
}

/// What is remembered of a target.
#[derive(Debug, Default)]
struct EncoderTarget {
    /// Of its table, when it was encoded last.
    generation: Option<u64>,
    /// Empty until the target has a row in the segment.
    told: Told,
    /// The block that starts a segment, and what it told: ordinarily each segment repeats it.
    first_block: Option<(Told, Vec<u8>)>,
    state: TargetState,
}

impl SegmentEncoder {
    /// An encoder whose next batch is a key batch.
    pub fn new(limits: SegmentLimits) -> Self {
        Self { limits, accepted: DecodeLimits::default(), segment: None, targets: Vec::new() }
    }

    /// Encodes one batch.
    pub fn encode(&mut self, batch: &BatchInput<'_>) -> Result<EncodedBatch, EncodeError> {
        // Taken out, so that after an error the next batch is a key batch.
        let open = self.segment.take().filter(|open| self.continues(open, batch));
        self.check(batch)?;
        let is_key = open.is_none();
        let mut segment = open.unwrap_or_else(|| self.open_segment(batch.seq));
        let mut body = Vec::new();
        self.write_dictionary(&mut segment, batch, &mut body)?;
        self.write_rows(&mut segment, batch, &mut body);
        self.write_rare(&mut segment, batch, &mut body)?;
        let distance = batch.seq.0 - segment.key_seq.0;
        let kind = if is_key { FrameKind::Key } else { FrameKind::Delta };
        let frame = write_frame(kind, batch.seq, distance, &body);
        if frame.len() > FRAME_BYTES_MAX {
            return Err(EncodeError::TooLong { bytes: frame.len() });
        }
        segment.last_seq = batch.seq;
        segment.batches += 1;
        segment.bytes += frame.len();
        self.segment = Some(segment).filter(|open| !self.is_full(open));
        Ok(EncodedBatch { frame, is_key })
    }

    /// The next batch will be a key batch.
    pub fn start_segment(&mut self) {
        self.segment = None;
    }

    /// Whether the next batch will be a key batch. It also is one when a table in it was replaced or compacted.
    pub fn will_start_segment(&self) -> bool {
        self.segment.is_none()
    }

    fn is_full(&self, open: &OpenSegment) -> bool {
        open.batches >= self.limits.batches_max || open.bytes >= self.limits.bytes_max
    }

    /// Whether `batch` can go on with the open segment.
    fn continues(&self, open: &OpenSegment, batch: &BatchInput<'_>) -> bool {
        let same_table = |row: &RowInput<'_>| {
            let known = self.targets.get(row.target as usize);
            known
                .is_none_or(|target| !target.told.target || target.generation == Some(row.table.generation()))
        };
        batch.seq == open.last_seq.next() && batch.rows.iter().all(same_table)
    }

    fn check(&self, batch: &BatchInput<'_>) -> Result<(), EncodeError> {
        let check = |what, found, max| {
            if found > max { Err(EncodeError::Limit { what, found, max }) } else { Ok(()) }
        };
        check("rows", batch.rows.len(), self.accepted.rows_max)?;
        let mut cells = 0;
        for row in batch.rows {
            check("targets", row.target as usize + 1, self.accepted.targets_max)?;
            check("series of a target", row.table.series_len(), self.accepted.series_per_target_max)?;
            cells += row.table.series_len();
        }
        check("values", cells, self.accepted.cells_max)?;
        let exemplars = batch.rows.iter().map(|row| row.values.exemplars().len()).sum();
        check("exemplars", exemplars, self.accepted.exemplars_max)
    }

    fn open_segment(&mut self, seq: BatchSeq) -> OpenSegment {
        for target in &mut self.targets {
            target.told = Told::default();
            target.state.start_segment();
        }
        OpenSegment {
            key_seq: seq,
            last_seq: seq,
            batches: 0,
            bytes: 0,
            families_len: 0,
            series_len: 0,
            body: BodyState::new(),
            histograms: None,
            starts: StartsState::new(),
            exemplars: ExemplarsState::default(),
        }
    }

    fn write_dictionary(
        &mut self,
        segment: &mut OpenSegment,
        batch: &BatchInput<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let mut section = Vec::new();
        for row in batch.rows {
            let index = row.target as usize;
            if index >= self.targets.len() {
                self.targets.resize_with(index + 1, EncoderTarget::default);
            }
            let target = &mut self.targets[index];
            if target.generation != Some(row.table.generation()) {
                *target =
                    EncoderTarget { generation: Some(row.table.generation()), ..EncoderTarget::default() };
            }
            let told_before = target.told.series;
            if let Some(block) = target.block(row.table, &mut segment.families_len, &self.accepted)? {
                varint::write(&mut section, u64::from(row.target));
                varint::write(&mut section, block.len() as u64);
                section.extend(block);
            }
            segment.series_len += target.told.series - told_before;
            target.state.grow(target.told.series);
        }
        let (found, max) = (segment.series_len, self.accepted.series_max);
        if found > max {
            return Err(EncodeError::Limit { what: "series", found, max });
        }
        if !section.is_empty() {
            write_section(body, SECTION_DICTIONARY, &section);
        }
        Ok(())
    }

    fn write_rows(&mut self, segment: &mut OpenSegment, batch: &BatchInput<'_>, body: &mut Vec<u8>) {
        let mut coder = RangeEncoder::new(Vec::new());
        let state = &mut segment.body;
        state.code_completeness(&mut coder, batch.complete_from, batch.complete_through);
        state.code_row_count(&mut coder, batch.rows.len());
        let mut unused = RowValues::new();
        for row in batch.rows {
            state.code_target(&mut coder, row.target);
            let target = &mut self.targets[row.target as usize].state;
            state.code_row(&mut coder, target, row.at, row.values, &mut unused);
        }
        write_section(body, SECTION_ROWS, &coder.finish());
    }
}

impl SegmentEncoder {
    /// What few rows have: histograms, starts, exemplars.
    fn write_rare(
        &self,
        segment: &mut OpenSegment,
        batch: &BatchInput<'_>,
        body: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let rows = batch.rows.iter();
        if rows.clone().any(|row| !row.values.histograms().is_empty()) {
            let state = segment.histograms.get_or_insert_with(|| Box::new(HistogramsState::new()));
            let rows = rows.clone().map(|row| (row.target, row.values));
            let section = state.encode(rows, &self.accepted).map_err(|error| match error {
                BodyError::Limit(what, max) => EncodeError::Limit { what, found: max + 1, max },
                BodyError::Malformed(what) => EncodeError::Histogram { what },
                BodyError::Section(_) => EncodeError::Histogram { what: "histogram" },
            })?;
            write_section(body, SECTION_HISTOGRAMS, &section);
        }
        let starts = segment.starts.encode(rows.clone().map(|row| (row.target, row.at, row.values)));
        if let Some(section) = starts {
            write_section(body, SECTION_STARTS, &section);
        }
        if let Some(section) = segment.exemplars.encode(rows.map(|row| (row.at, row.values))) {
            write_section(body, SECTION_EXEMPLARS, &section);
        }
        Ok(())
    }
}

impl EncoderTarget {
    /// The block of what `table` has and the segment does not, if there is something.
    fn block(
        &mut self,
        table: &TargetTable,
        families_len: &mut u32,
        accepted: &DecodeLimits,
    ) -> Result<Option<Vec<u8>>, EncodeError> {
        if self.told.is_all(table) {
            return Ok(None);
        }
        let is_first = !self.told.target;
        if let (true, Some((told, block))) = (is_first, &self.first_block)
            && told.is_all(table)
        {
            self.told = told.moved(*families_len);
            *families_len += told.families_len();
            return Ok(Some(block.clone()));
        }
        let before = *families_len;
        let plain = write_block(table, &mut self.told, families_len);
        let (found, max) = (plain.len(), accepted.block_bytes_max);
        if found > max {
            return Err(EncodeError::Limit { what: "dictionary bytes", found, max });
        }
        let block = compress(&plain);
        if is_first {
            self.first_block = Some((self.told.moved_back(before), block.clone()));
        }
        Ok(Some(block))
    }
}
