//! What a part holds of some logs, as a stream of items cut into chunks. `FORMAT.md` has the diagrams.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use vedette_chunk::{push_signed, push_unsigned};
use vedette_wire::LogId;

use super::listing::{PartName, only};
use crate::bytes::{VERSION, push_prefixed, seal};
use crate::db::Db;
use crate::group::Column;
use crate::part::{Part, PartReader, ReadError};
use crate::record::PartRecord;
use crate::shared::Core;

/// Bytes of items that are put into one chunk before it is compressed.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Kinds of items.
pub(super) const ITEM_HEAD: u8 = 0;
pub(super) const ITEM_TIMES: u8 = 1;
pub(super) const ITEM_SERIES: u8 = 2;
pub(super) const ITEM_FAMILY: u8 = 3;
pub(super) const ITEM_END: u8 = 4;

/// The stream of one part, chunk by chunk. Each is read when it is asked for; what is not read costs nothing. The
/// part's files stay as long as this lives.
pub struct PartExport {
    reader: PartReader,
    /// By place in the part's record: the log's place in the stream's head.
    places: FxHashMap<u32, u32>,
    /// Columns of times that were sent, with their numbers in the stream.
    times: FxHashMap<u32, u32>,
    next: Next,
    series: u64,
    /// Written and not cut into chunks yet.
    pending: VecDeque<u8>,
    /// Kept so that it is not reopened under the export.
    _db: Arc<Db>,
}

enum Next {
    Series(u32),
    Families,
    Nothing,
}

/// Starts the export of a part; `None` when it is not there any more. `logs` are sorted.
pub(crate) fn export(core: &Core, name: PartName, logs: &[LogId]) -> Option<PartExport> {
    let (part, db) = {
        let state = core.lock();
        let found = state.parts.iter().find(|part| PartName::from(part.record.id) == name);
        (Arc::clone(found?), state.db.clone()?)
    };
    Some(PartExport::new(part, db, logs))
}

impl PartExport {
    fn new(part: Arc<Part>, db: Arc<Db>, logs: &[LogId]) -> Self {
        let record = PartRecord { logs: only(&part.record.logs, logs), ..part.record.clone() };
        let wanted: FxHashMap<LogId, u32> = record.logs.iter().map(|batches| batches.log).zip(0..).collect();
        let places = part
            .record
            .logs
            .iter()
            .zip(0u32..)
            .filter_map(|(batches, place)| wanted.get(&batches.log).map(|wanted| (place, *wanted)));
        let mut export = Self {
            places: places.collect(),
            times: FxHashMap::default(),
            next: if record.logs.is_empty() { Next::Nothing } else { Next::Series(0) },
            series: 0,
            pending: VecDeque::from([VERSION]),
            reader: PartReader::once(part),
            _db: db,
        };
        export.push_item(ITEM_HEAD, &record.encode());
        if record.logs.is_empty() {
            export.push_end();
        }
        export
    }

    /// The next chunk; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        while self.pending.len() < CHUNK_BYTES && !matches!(self.next, Next::Nothing) {
            self.step().map_err(|error| error.to_string())?;
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<u8> = self.pending.drain(..CHUNK_BYTES.min(self.pending.len())).collect();
        Ok(Some(seal(&bytes)))
    }

    fn step(&mut self) -> Result<(), ReadError> {
        match self.next {
            Next::Series(ordinal) if ordinal < self.reader.part.record.series => {
                self.next = Next::Series(ordinal + 1);
                self.push_series(ordinal)
            }
            Next::Series(_) => {
                self.next = Next::Families;
                Ok(())
            }
            Next::Families => {
                self.next = Next::Nothing;
                self.push_families()?;
                self.push_end();
                Ok(())
            }
            Next::Nothing => Ok(()),
        }
    }

    /// Adds a series with its columns of the wanted logs and its exemplars, if it has any of these columns or nothing
    /// but exemplars, and before it the times that they need.
    fn push_series(&mut self, ordinal: u32) -> Result<(), ReadError> {
        let group = self.reader.group(ordinal)?;
        let columns = self.reader.columns_of(&group, ordinal)?;
        let place_of = |column: &Column| self.places.get(&column.log).copied();
        if !columns.iter().all(Column::is_exemplars)
            && !columns.iter().any(|column| !column.is_exemplars() && place_of(column).is_some())
        {
            return Ok(());
        }
        let wanted: Vec<(u32, &Column)> = columns
            .iter()
            .filter_map(|column| {
                if column.is_exemplars() { Some((0, column)) } else { Some((place_of(column)?, column)) }
            })
            .collect();
        let mut item = Vec::new();
        push_prefixed(&mut item, self.reader.labels(ordinal)?.canonical().as_bytes());
        push_unsigned(&mut item, wanted.len() as u64);
        for (place, column) in wanted {
            item.push(column.kind);
            if !column.is_exemplars() {
                push_unsigned(&mut item, u64::from(place));
                push_unsigned(&mut item, u64::from(self.send_times(column.times)?));
                push_signed(&mut item, column.first);
                push_unsigned(&mut item, column.last.wrapping_sub(column.first) as u64);
            }
            push_prefixed(&mut item, group.bytes(&column.values));
            if !column.is_exemplars() {
                push_prefixed(&mut item, group.bytes(&column.starts));
            }
        }
        self.series += 1;
        self.push_item(ITEM_SERIES, &item);
        Ok(())
    }

    /// The number, in the stream, of a column of times, which is sent when it is not there yet.
    fn send_times(&mut self, place: u32) -> Result<u32, ReadError> {
        if let Some(sent) = self.times.get(&place) {
            return Ok(*sent);
        }
        let number = self.times.len() as u32;
        let bytes = self.reader.times_bytes(place)?.to_vec();
        self.push_item(ITEM_TIMES, &bytes);
        self.times.insert(place, number);
        Ok(number)
    }

    fn push_families(&mut self) -> Result<(), ReadError> {
        let mut families = Vec::new();
        self.reader.part.metadata(None, |name, known| {
            families.push((name.to_owned(), known));
            Ok(())
        })?;
        for (name, known) in families {
            let mut item = Vec::new();
            push_prefixed(&mut item, name.as_bytes());
            push_unsigned(&mut item, known.len() as u64);
            for metadata in known {
                for text in [metadata.kind.as_str(), &metadata.unit, &metadata.help] {
                    push_prefixed(&mut item, text.as_bytes());
                }
            }
            self.push_item(ITEM_FAMILY, &item);
        }
        Ok(())
    }

    fn push_end(&mut self) {
        let mut item = Vec::new();
        push_unsigned(&mut item, self.series);
        self.push_item(ITEM_END, &item);
    }

    fn push_item(&mut self, kind: u8, body: &[u8]) {
        let mut head = vec![kind];
        push_unsigned(&mut head, body.len() as u64);
        self.pending.extend(head);
        self.pending.extend(body);
    }
}
