//! Records of logs and parts, and the log's own entries. `FORMAT.md` has the diagrams.

use vedette_chunk::{push_signed, push_unsigned};
use vedette_model::Timestamp;
use vedette_wire::{AgentName, BatchSeq, Gap, GapReason, LogId};

use crate::TimeRange;
use crate::bytes::{BytesError, Reader, VERSION, push_prefixed};
use crate::copy::Batches;
use crate::keys::{PartId, Partition};
use crate::ranges::RangeSet;

/// The only kind of writer yet. Of two values for one series and time, an agent's wins over a push.
const ORIGIN_AGENT: u8 = 0;

/// What is known of a log up to its watermark: durable with every freeze that moved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub(crate) writer: AgentName,
    pub(crate) interval_ms: u32,
    /// The last batch applied.
    pub(crate) watermark: u64,
    pub(crate) complete: RangeSet,
    pub(crate) gaps: Vec<Gap>,
}

/// More holes than this in one log are the work of a broken spool: the oldest are forgotten.
const GAPS_MAX: usize = 4096;

impl LogRecord {
    /// Records a hole behind all that is there. One that goes on from the last for the same reason makes it longer.
    pub(crate) fn add_gap(&mut self, gap: Option<Gap>) {
        let Some(gap) = gap else { return };
        match self.gaps.last_mut() {
            Some(last) if last.to.next() == gap.from && last.reason == gap.reason => last.to = gap.to,
            _ => self.gaps.push(gap),
        }
        if self.gaps.len() > GAPS_MAX {
            self.gaps.remove(0);
        }
    }

    /// These batches have come after all: no gap names them any more.
    pub(crate) fn fill(&mut self, batches: &Batches) {
        let left = |gap: &Gap| {
            let left = Batches::range(gap.from.0, gap.to.0).without(batches);
            let gap = *gap;
            let of = |(from, to): &(u64, u64)| Gap { from: BatchSeq(*from), to: BatchSeq(*to), ..gap };
            left.as_slice().iter().map(of).collect::<Vec<_>>()
        };
        self.gaps = self.gaps.iter().flat_map(left).collect();
        let forgotten = self.gaps.len().saturating_sub(GAPS_MAX);
        self.gaps.drain(..forgotten);
    }

    const WHAT: &'static str = "a log's record";

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, ORIGIN_AGENT];
        push_prefixed(&mut out, self.writer.as_str().as_bytes());
        push_unsigned(&mut out, u64::from(self.interval_ms));
        push_unsigned(&mut out, self.watermark);
        push_unsigned(&mut out, self.complete.as_slice().len() as u64);
        for range in self.complete.as_slice() {
            push_signed(&mut out, range.from.as_millis());
            // Two's complement: a range may be wider than a signed number says.
            let width = range.through.as_millis().wrapping_sub(range.from.as_millis());
            push_unsigned(&mut out, width as u64);
        }
        push_unsigned(&mut out, self.gaps.len() as u64);
        for gap in &self.gaps {
            push_unsigned(&mut out, gap.from.0);
            push_unsigned(&mut out, gap.to.0);
            out.push(gap.reason.code());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        if reader.byte()? != ORIGIN_AGENT {
            return Err(BytesError::damaged(Self::WHAT, "kind of writer"));
        }
        let writer = decode_name(&mut reader, Self::WHAT)?;
        let interval_ms = reader.count(u32::MAX as usize)? as u32;
        let watermark = reader.unsigned()?;
        let mut complete = RangeSet::default();
        for _ in 0..reader.elements()? {
            let from = reader.signed()?;
            let through = from.checked_add_unsigned(reader.unsigned()?);
            let through = through.ok_or_else(|| BytesError::damaged(Self::WHAT, "end of a range"))?;
            complete.add(Timestamp::from_millis(from), Timestamp::from_millis(through));
        }
        let mut gaps = Vec::new();
        for _ in 0..reader.elements()? {
            let (from, to) = (BatchSeq(reader.unsigned()?), BatchSeq(reader.unsigned()?));
            let reason = GapReason::from_code(reader.byte()?);
            let reason = reason.ok_or_else(|| BytesError::damaged(Self::WHAT, "reason of a gap"))?;
            gaps.push(Gap { from, to, reason });
        }
        Ok(Self { writer, interval_ms, watermark, complete, gaps })
    }
}

/// What stands before a log's frames in each generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry {
    pub(crate) writer: AgentName,
    pub(crate) interval_ms: u32,
}

impl LogEntry {
    const WHAT: &'static str = "a log's entry";

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, ORIGIN_AGENT];
        push_prefixed(&mut out, self.writer.as_str().as_bytes());
        push_unsigned(&mut out, u64::from(self.interval_ms));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        if reader.byte()? != ORIGIN_AGENT {
            return Err(BytesError::damaged(Self::WHAT, "kind of writer"));
        }
        let writer = decode_name(&mut reader, Self::WHAT)?;
        Ok(Self { writer, interval_ms: reader.count(u32::MAX as usize)? as u32 })
    }
}

/// What was decided when a segment began, kept in each generation that has its key batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEntry {
    /// So many of its series are stored.
    pub(crate) series_max: u64,
}

impl SegmentEntry {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = vec![VERSION];
        push_unsigned(&mut out, self.series_max);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, "a segment's entry")?;
        Ok(Self { series_max: reader.unsigned()? })
    }
}

fn decode_name(reader: &mut Reader<'_>, what: &'static str) -> Result<AgentName, BytesError> {
    AgentName::new(reader.text()?).map_err(|error| BytesError::damaged(what, error))
}

/// What is known of a part without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartRecord {
    pub(crate) id: PartId,
    /// How often its data was merged.
    pub(crate) level: u8,
    /// When it was made, by the clock of the machine.
    pub(crate) created: Timestamp,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// Times of the first and the last sample.
    pub(crate) range: TimeRange,
    /// The logs its columns are of, with the numbers of the batches. Columns name them by place.
    pub(crate) logs: Vec<LogBatches>,
}

/// Batches of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogBatches {
    pub(crate) log: LogId,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl PartRecord {
    const WHAT: &'static str = "a part's record";

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        push_unsigned(&mut out, u64::from(self.id.partition.0));
        push_unsigned(&mut out, self.id.number);
        out.push(self.level);
        push_signed(&mut out, self.created.as_millis());
        push_unsigned(&mut out, u64::from(self.series));
        push_unsigned(&mut out, self.samples);
        push_unsigned(&mut out, self.bytes);
        push_signed(&mut out, self.range.from.as_millis());
        push_signed(&mut out, self.range.through.as_millis());
        push_unsigned(&mut out, self.logs.len() as u64);
        for batches in &self.logs {
            out.extend_from_slice(&batches.log.0.to_be_bytes());
            push_unsigned(&mut out, batches.first);
            push_unsigned(&mut out, batches.last);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BytesError> {
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        let partition = Partition(reader.count(u32::MAX as usize)? as u32);
        let id = PartId { partition, number: reader.unsigned()? };
        let level = reader.byte()?;
        let created = Timestamp::from_millis(reader.signed()?);
        let series = reader.count(u32::MAX as usize)? as u32;
        let (samples, bytes) = (reader.unsigned()?, reader.unsigned()?);
        let from = Timestamp::from_millis(reader.signed()?);
        let through = Timestamp::from_millis(reader.signed()?);
        let mut logs = Vec::new();
        for _ in 0..reader.elements()? {
            let log = LogId(u128::from_be_bytes(reader.array()?));
            logs.push(LogBatches { log, first: reader.unsigned()?, last: reader.unsigned()? });
        }
        Ok(Self { id, level, created, series, samples, bytes, range: TimeRange { from, through }, logs })
    }
}
