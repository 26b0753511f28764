//! Neighbouring series of a part as they are stored together, opened.

use std::ops::Range;

use vedette_model::Labels;

use crate::bytes::{BytesError, Reader};
use crate::part_writer::{COLUMN_EXEMPLARS, COLUMN_FLOATS, COLUMNS_GROUP, COLUMNS_VERSION, LABELS_GROUP};

/// The labels of neighbouring series.
pub(crate) struct LabelsGroup {
    all: Vec<Labels>,
}

impl LabelsGroup {
    pub(crate) fn read(plain: &[u8]) -> Result<Self, BytesError> {
        const WHAT: &str = "labels";
        let mut reader = Reader::new(plain, WHAT);
        let mut all = Vec::with_capacity(LABELS_GROUP as usize);
        while !reader.rest().is_empty() {
            let labels = Labels::from_canonical(reader.text()?);
            all.push(labels.ok_or_else(|| BytesError::damaged(WHAT, "not canonical"))?);
            check_count(all.len(), LABELS_GROUP, WHAT)?;
        }
        Ok(Self { all })
    }

    pub(crate) fn of(&self, ordinal: u32) -> Option<&Labels> {
        self.all.get((ordinal % LABELS_GROUP) as usize)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        /// Of the text's counts, and of the allocator.
        const TEXT_BYTES: usize = 24;
        let text = self.all.iter().map(|labels| TEXT_BYTES + labels.canonical().len()).sum::<usize>();
        size_of::<Self>() + self.all.capacity() * size_of::<Labels>() + text
    }
}

/// The columns of neighbouring series.
pub(crate) struct ColumnsGroup {
    plain: Vec<u8>,
    columns: Vec<Column>,
    /// How many of `columns` stand before the end of each series.
    ends: Vec<u32>,
}

impl ColumnsGroup {
    pub(crate) fn read(plain: Vec<u8>, version: u8) -> Result<Self, BytesError> {
        const WHAT: &str = "columns";
        let mut reader = Reader::new(&plain, WHAT);
        let mut columns = Vec::with_capacity(COLUMNS_GROUP as usize);
        let mut ends = Vec::with_capacity(COLUMNS_GROUP as usize);
        while !reader.rest().is_empty() {
            for _ in 0..reader.elements()? {
                columns.push(read_column(&mut reader, plain.len(), version)?);
            }
            ends.push(columns.len() as u32);
            check_count(ends.len(), COLUMNS_GROUP, WHAT)?;
        }
        Ok(Self { plain, columns, ends })
    }

    /// The columns of a series: one a log and kind.
    pub(crate) fn of(&self, ordinal: u32) -> Option<&[Column]> {
        let place = (ordinal % COLUMNS_GROUP) as usize;
        let end = *self.ends.get(place)? as usize;
        let begin = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        self.columns.get(begin..end)
    }

    /// Bytes of a column, as they are stored.
    pub(crate) fn bytes(&self, place: &Range<u32>) -> &[u8] {
        self.plain.get(place.start as usize..place.end as usize).unwrap_or_default()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let columns = self.columns.capacity() * size_of::<Column>() + self.ends.capacity() * size_of::<u32>();
        size_of::<Self>() + self.plain.capacity() + columns
    }
}

fn check_count(count: usize, series_max: u32, what: &'static str) -> Result<(), BytesError> {
    match count <= series_max as usize {
        true => Ok(()),
        false => Err(BytesError::damaged(what, format_args!("more than {series_max} series"))),
    }
}

/// Where a series' samples of one log are, or its exemplars.
#[derive(Clone)]
pub(crate) struct Column {
    pub(crate) kind: u8,
    /// By place in the part's record.
    pub(crate) log: u32,
    /// The number of its column of times.
    pub(crate) times: u32,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) values: Range<u32>,
    pub(crate) starts: Range<u32>,
}

impl Column {
    pub(crate) fn is_exemplars(&self) -> bool {
        self.kind == COLUMN_EXEMPLARS
    }
}

fn read_column(reader: &mut Reader<'_>, plain_len: usize, version: u8) -> Result<Column, BytesError> {
    let kind = if version < COLUMNS_VERSION { COLUMN_FLOATS } else { reader.byte()? };
    // Nothing is opened that is longer than what a `u32` counts.
    let place_of = |reader: &mut Reader<'_>| {
        let bytes = reader.prefixed()?;
        let end = plain_len - reader.rest().len();
        Ok::<_, BytesError>((end - bytes.len()) as u32..end as u32)
    };
    if kind == COLUMN_EXEMPLARS {
        let values = place_of(reader)?;
        return Ok(Column { kind, log: 0, times: 0, first: 0, last: 0, values, starts: 0..0 });
    }
    if kind > COLUMN_EXEMPLARS {
        return Err(BytesError::damaged("columns", format_args!("kind {kind} of a column")));
    }
    let log = reader.count(u32::MAX as usize)? as u32;
    let times = reader.count(u32::MAX as usize)? as u32;
    let first = reader.signed()?;
    let last = first.wrapping_add(reader.unsigned()? as i64);
    let values = place_of(reader)?;
    let starts = if version < COLUMNS_VERSION { 0..0 } else { place_of(reader)? };
    Ok(Column { kind, log, times, first, last, values, starts })
}
