//! Since when series count. It changes when a process starts anew, so only changes are written.

use vedette_model::Timestamp;

use super::decode::{BodyError, DecodedRow};
use super::range::{BitCoder, BitModel, BitTree, RangeDecoder, RangeEncoder};
use super::series::{RestModels, code_signed};
use crate::row::RowValues;

/// What both sides know of a segment's starts.
#[derive(Debug)]
pub(super) struct StartsState {
    /// By target index, then by series; 0: unknown. Shorter than the target where the rest is unknown.
    targets: Vec<Vec<i64>>,
    any: BitModel,
    count: BitTree<64>,
    gap: BitTree<64>,
    start: BitTree<64>,
    rest: RestModels,
    /// The start written last.
    last: Option<i64>,
}

impl StartsState {
    pub(super) fn new() -> Self {
        Self {
            targets: Vec::new(),
            any: BitModel::new(),
            count: BitTree::new(),
            gap: BitTree::new(),
            start: BitTree::new(),
            rest: RestModels::new(),
            last: None,
        }
    }

    /// Whether a row says nothing that is not known: nothing has to be compared then.
    fn is_silent(&self, target: u32, row: &RowValues) -> bool {
        row.starts_ms().is_empty() && self.targets.get(target as usize).is_none_or(Vec::is_empty)
    }

    /// The section of a batch with these rows; `None` when no start changed.
    pub(super) fn encode<'a>(
        &mut self,
        rows: impl Iterator<Item = (u32, Timestamp, &'a RowValues)> + Clone,
    ) -> Option<Vec<u8>> {
        // Without a section a reader's models learn nothing, so neither may these.
        if rows.clone().all(|(target, _, row)| self.changes(target, row).is_empty()) {
            return None;
        }
        let mut coder = RangeEncoder::new(Vec::new());
        for (target, at, row) in rows {
            let changes = self.changes(target, row);
            self.code_changes(&mut coder, target, at, &changes, usize::MAX).ok()?;
        }
        Some(coder.finish())
    }

    /// Applies a section, if there is one, and says of all rows since when their series count.
    pub(super) fn decode(
        &mut self,
        section: Option<&[u8]>,
        rows: &mut [DecodedRow],
    ) -> Result<(), BodyError> {
        let mut coder = section.map(RangeDecoder::new);
        for row in rows {
            if let Some(coder) = &mut coder {
                self.code_changes(coder, row.target, row.at, &[], row.values.len())?;
            }
            let known = self.targets.get(row.target as usize).map_or(&[][..], |starts| starts);
            for (index, start_ms) in known.iter().enumerate().filter(|(_, start_ms)| **start_ms != 0) {
                if row.values.is_present(index) || row.values.histogram(index).is_some() {
                    row.values.set_start_ms(index, *start_ms);
                }
            }
        }
        Ok(())
    }

    /// Series of the row whose start is not the one known.
    fn changes(&self, target: u32, row: &RowValues) -> Vec<(u32, i64)> {
        if self.is_silent(target, row) {
            return Vec::new();
        }
        let known = self.targets.get(target as usize).map_or(&[][..], |starts| starts);
        let floats = row.iter_present().map(|(index, _)| index as u32);
        let mut changes: Vec<_> = floats
            .chain(row.histograms().iter().map(|(index, _)| *index))
            .map(|index| (index, row.start_ms(index as usize)))
            .filter(|(index, start_ms)| known.get(*index as usize).copied().unwrap_or(0) != *start_ms)
            .collect();
        changes.sort_unstable();
        changes
    }

    fn code_changes<C: BitCoder>(
        &mut self,
        coder: &mut C,
        target: u32,
        at: Timestamp,
        changes: &[(u32, i64)],
        series_len: usize,
    ) -> Result<(), BodyError> {
        if !coder.bit(&mut self.any, !changes.is_empty()) {
            return Ok(());
        }
        if target as usize >= self.targets.len() {
            self.targets.resize_with(target as usize + 1, Vec::new);
        }
        let known = &mut self.targets[target as usize];
        let count = code_signed(coder, &mut self.count, &mut self.rest, changes.len() as i64);
        let mut changes = changes.iter();
        let mut next = 0usize;
        for _ in 0..count {
            let (truth, start_ms) = changes.next().copied().unwrap_or((next as u32, 0));
            let gap = code_signed(coder, &mut self.gap, &mut self.rest, i64::from(truth) - next as i64);
            let index = usize::try_from(gap).ok().and_then(|gap| gap.checked_add(next));
            let index = index.filter(|index| *index < series_len);
            let index = index.ok_or(BodyError::Malformed("series of a start"))?;
            next = index + 1;
            let expected = self.last.unwrap_or(at.as_millis());
            let distance = start_ms.wrapping_sub(expected);
            let start_ms =
                expected.wrapping_add(code_signed(coder, &mut self.start, &mut self.rest, distance));
            self.last = Some(start_ms);
            if index >= known.len() {
                known.resize(index + 1, 0);
            }
            known[index] = start_ms;
        }
        Ok(())
    }
}
