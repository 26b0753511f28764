//! The items of a part's stream, read and checked. `FORMAT.md` has the diagrams.

use std::collections::HashMap;
use std::ops::Range;

use vedette_chunk::{decode_times, decode_values, take_unsigned};
use vedette_model::{Exemplar, Labels, Metadata};
use vedette_wire::LogId;

use super::export::{CHUNK_BYTES, ITEM_END, ITEM_FAMILY, ITEM_HEAD, ITEM_SERIES, ITEM_TIMES};
use super::import::ImportError;
use crate::bytes::{BytesError, Reader, VERSION, open_bounded};
use crate::histograms::{decode_exemplars, decode_histograms};
use crate::keys::Partition;
use crate::part::{COLUMN_SAMPLES_MAX, read_metadata};
use crate::part_writer::{COLUMN_EXEMPLARS, COLUMN_FLOATS, COLUMN_HISTOGRAMS, EncodedColumn};
use crate::record::{LogBatches, PartRecord};

/// No item is longer: a series' columns fit a sealed value.
const ITEM_BYTES_MAX: u64 = 512 << 20;
/// Kind and length of an item.
const ITEM_HEAD_BYTES_MAX: usize = 11;
const WHAT: &str = "a part's stream";

/// What a part is made of.
pub(super) enum Item<'a> {
    /// A column of times; they are numbered as they come.
    Times(&'a [u8]),
    /// The next series in the order of labels.
    Series { labels: Labels, columns: Vec<EncodedColumn<'a>>, exemplars: Vec<Exemplar> },
    /// What is known of a family.
    Family { name: String, known: Vec<Metadata> },
}

/// Reads items, and checks that they make the part that was listed. Memory grows with what came, never with what was
/// announced.
pub(super) struct Items<'a> {
    chunks: &'a mut dyn Iterator<Item = Result<Vec<u8>, String>>,
    buffer: Vec<u8>,
    /// Of the buffer, what was read.
    done: usize,
    listed: PartRecord,
    logs: Vec<LogBatches>,
    times: Vec<Times>,
    last: Option<Labels>,
    series: u64,
    samples: u64,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Version,
    Head,
    Body,
    End,
}

/// What is known of a column of times.
struct Times {
    count: usize,
    first: i64,
    last: i64,
}

impl<'a> Items<'a> {
    /// The items of the part that was listed as `listed`.
    pub(super) fn new(
        listed: &PartRecord,
        chunks: &'a mut dyn Iterator<Item = Result<Vec<u8>, String>>,
    ) -> Self {
        Self {
            chunks,
            buffer: Vec::new(),
            done: 0,
            listed: listed.clone(),
            logs: Vec::new(),
            times: Vec::new(),
            last: None,
            series: 0,
            samples: 0,
            stage: Stage::Version,
        }
    }

    /// Series so far.
    pub(super) fn series(&self) -> u64 {
        self.series
    }

    /// The batches that the part may hold samples of, by log.
    pub(super) fn batches(&self) -> HashMap<LogId, (u64, u64)> {
        self.logs.iter().map(|batches| (batches.log, (batches.first, batches.last))).collect()
    }

    /// The next item; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>, ImportError> {
        if self.stage == Stage::Version {
            self.fill(1)?;
            if self.buffer[0] != VERSION {
                return Err(BytesError::Newer { what: WHAT, found: self.buffer[0], newest: VERSION }.into());
            }
            self.done = 1;
            self.stage = Stage::Head;
        }
        if self.stage == Stage::Head {
            let (kind, body) = self.next_body()?;
            if kind != ITEM_HEAD {
                return Err(damaged("no head").into());
            }
            self.read_head(body)?;
            self.stage = Stage::Body;
        }
        let (kind, body) = self.next_body()?;
        match kind {
            ITEM_TIMES => self.read_times(body.clone())?,
            ITEM_SERIES | ITEM_FAMILY => {}
            ITEM_END => return self.read_end(body).map(|()| None),
            other => return Err(damaged(format_args!("an item of kind {other}")).into()),
        }
        match kind {
            ITEM_TIMES => Ok(Some(Item::Times(&self.buffer[body]))),
            ITEM_FAMILY => Ok(Some(read_family(&self.buffer[body])?)),
            _ => Ok(Some(self.read_series(body)?)),
        }
    }

    /// Reads chunks until `count` bytes are there behind what was read. Whether there are.
    fn try_fill(&mut self, count: usize) -> Result<bool, ImportError> {
        if self.buffer.len() - self.done < count && self.done > 0 {
            self.buffer.drain(..self.done);
            self.done = 0;
        }
        while self.buffer.len() - self.done < count {
            let Some(chunk) = self.chunks.next() else { return Ok(false) };
            let chunk = chunk.map_err(ImportError::Stream)?;
            self.buffer.extend_from_slice(&open_bounded(VERSION, &chunk, WHAT, CHUNK_BYTES)?.1);
        }
        Ok(true)
    }

    fn fill(&mut self, count: usize) -> Result<(), ImportError> {
        match self.try_fill(count)? {
            true => Ok(()),
            false => Err(ImportError::Stream("it ended too early".to_owned())),
        }
    }

    /// The next item's kind, and where its body is.
    fn next_body(&mut self) -> Result<(u8, Range<usize>), ImportError> {
        if self.stage == Stage::End {
            return Err(damaged("goes on behind its end").into());
        }
        // The last item may be shorter than that.
        self.try_fill(ITEM_HEAD_BYTES_MAX)?;
        let mut rest = &self.buffer[self.done..];
        let Some((&kind, behind)) = rest.split_first() else {
            return Err(ImportError::Stream("it ended too early".to_owned()));
        };
        rest = behind;
        let length = take_unsigned(&mut rest).map_err(damaged)?;
        if length > ITEM_BYTES_MAX {
            return Err(damaged(format_args!("an item of {length} bytes")).into());
        }
        self.done = self.buffer.len() - rest.len();
        self.fill(length as usize)?;
        let body = self.done..self.done + length as usize;
        self.done = body.end;
        Ok((kind, body))
    }

    fn read_head(&mut self, body: Range<usize>) -> Result<(), BytesError> {
        let record = PartRecord::decode(&self.buffer[body])?;
        if record.id != self.listed.id {
            return Err(damaged("another part"));
        }
        self.logs = record.logs;
        Ok(())
    }

    fn read_times(&mut self, body: Range<usize>) -> Result<(), BytesError> {
        let most = COLUMN_SAMPLES_MAX.min(usize::try_from(self.listed.samples).unwrap_or(usize::MAX));
        let mut times = Vec::new();
        decode_times(&self.buffer[body], most, &mut times).map_err(damaged)?;
        let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
            return Err(damaged("no times"));
        };
        let day = self.listed.id.partition;
        if times.windows(2).any(|pair| pair[0] >= pair[1])
            || first < 0
            || (Partition::of(first), Partition::of(last)) != (day, day)
        {
            return Err(damaged("times not in order, or of another day"));
        }
        self.times.push(Times { count: times.len(), first, last });
        Ok(())
    }

    fn read_series(&mut self, body: Range<usize>) -> Result<Item<'_>, BytesError> {
        let mut reader = Reader::new(&self.buffer[body], WHAT);
        let labels = Labels::from_canonical(reader.text()?).ok_or_else(|| damaged("labels"))?;
        if self.last.as_ref().is_some_and(|last| *last >= labels) {
            return Err(damaged("series not in order"));
        }
        let count = reader.elements()?;
        let (mut columns, mut exemplars) = (Vec::new(), Vec::new());
        for _ in 0..count {
            match reader.byte()? {
                COLUMN_EXEMPLARS => exemplars.extend(decode_exemplars(reader.prefixed()?)?),
                kind @ (COLUMN_FLOATS | COLUMN_HISTOGRAMS) => {
                    columns.push(read_column(&mut reader, kind, &self.logs, &self.times)?);
                }
                other => return Err(damaged(format_args!("a column of kind {other}"))),
            }
        }
        let samples = columns.iter().map(|column| column.samples).fold(0, u64::saturating_add);
        self.samples = self.samples.saturating_add(samples);
        self.series += 1;
        if (columns.is_empty() && exemplars.is_empty())
            || self.samples > self.listed.samples
            || self.series > u64::from(self.listed.series)
        {
            return Err(damaged("a series of nothing, or more than was listed"));
        }
        self.last = Some(labels.clone());
        Ok(Item::Series { labels, columns, exemplars })
    }

    fn read_end(&mut self, body: Range<usize>) -> Result<(), ImportError> {
        let series = Reader::new(&self.buffer[body], WHAT).unsigned()?;
        if series != self.series {
            return Err(damaged(format_args!("{} of {series} series", self.series)).into());
        }
        self.stage = Stage::End;
        Ok(())
    }
}

/// A column of samples: it fits its times, and can be read.
fn read_column<'a>(
    reader: &mut Reader<'a>,
    kind: u8,
    logs: &[LogBatches],
    times: &[Times],
) -> Result<EncodedColumn<'a>, BytesError> {
    let place = reader.count(logs.len())?;
    let log = Some(logs.get(place).ok_or_else(|| damaged("a column names no log"))?.log);
    let number = reader.count(times.len())?;
    let of_times = times.get(number).ok_or_else(|| damaged("a column names no times"))?;
    let first = reader.signed()?;
    let last = first.wrapping_add(reader.unsigned()? as i64);
    let values = reader.prefixed()?;
    let starts = reader.prefixed()?.to_vec();
    let count = match kind {
        COLUMN_HISTOGRAMS => decode_histograms(values, of_times.count)?.len(),
        _ => {
            let mut decoded = Vec::new();
            decode_values(values, of_times.count, &mut decoded).map_err(damaged)?;
            decoded.len()
        }
    };
    let mut decoded = Vec::new();
    if !starts.is_empty() {
        decode_times(&starts, of_times.count, &mut decoded).map_err(damaged)?;
    }
    if count != of_times.count
        || (first, last) != (of_times.first, of_times.last)
        || !(starts.is_empty() || decoded.len() == count)
    {
        return Err(damaged("a column does not fit its times"));
    }
    Ok(EncodedColumn { kind, log, times: number as u32, first, last, samples: count as u64, values, starts })
}

fn read_family(body: &[u8]) -> Result<Item<'static>, BytesError> {
    let mut reader = Reader::new(body, WHAT);
    Ok(Item::Family { name: reader.text()?.to_owned(), known: read_metadata(&mut reader)? })
}

fn damaged(reason: impl ToString) -> BytesError {
    BytesError::damaged(WHAT, reason)
}

/// Reads `bytes` as the stream of a part with any day and numbers.
pub(super) fn check_any_bytes(bytes: &[u8]) {
    let Some((listed, rest)) = bytes.split_first().and_then(|(length, rest)| {
        let (record, rest) = rest.split_at_checked(usize::from(*length))?;
        Some((PartRecord::decode(record).ok()?, rest))
    }) else {
        return;
    };
    // A fuzzer would ask for days of milliseconds at once.
    let listed = PartRecord { samples: listed.samples.min(1 << 16), ..listed };
    let mut chunks = rest.chunks(CHUNK_BYTES).map(|chunk| Ok(crate::bytes::seal(chunk)));
    let mut items = Items::new(&listed, &mut chunks);
    let mut series = 0;
    while let Ok(Some(item)) = items.next() {
        series += u64::from(matches!(item, Item::Series { .. }));
    }
    assert!(items.series() >= series, "{series} series");
}
