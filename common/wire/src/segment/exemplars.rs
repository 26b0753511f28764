//! Exemplars: mostly random numbers of traces, which nothing predicts.

use vedette_model::{Exemplar, Labels, Timestamp};

use super::decode::{BodyError, DecodeLimits, DecodedRow};
use crate::row::RowValues;
use crate::varint;

/// Lists of label names that a segment numbers; others are told each time.
const NAMES_MAX: usize = 64;

/// What both sides know of a segment's exemplars: lists of label names.
#[derive(Debug, Default)]
pub(super) struct ExemplarsState {
    names: Vec<Vec<String>>,
}

impl ExemplarsState {
    /// The section of a batch with these rows; `None` when there is no exemplar.
    pub(super) fn encode<'a>(
        &mut self,
        rows: impl Iterator<Item = (Timestamp, &'a RowValues)>,
    ) -> Option<Vec<u8>> {
        let mut section = Vec::new();
        let mut skipped = 0u64;
        for (at, row) in rows {
            if row.exemplars().is_empty() {
                skipped += 1;
                continue;
            }
            varint::write(&mut section, skipped);
            varint::write(&mut section, row.exemplars().len() as u64);
            skipped = 0;
            let mut before = 0;
            for (index, exemplar) in row.exemplars() {
                varint::write(&mut section, u64::from(index - before));
                before = *index;
                self.write(&mut section, at, exemplar);
            }
        }
        (!section.is_empty()).then_some(section)
    }

    fn write(&mut self, section: &mut Vec<u8>, at: Timestamp, exemplar: &Exemplar) {
        let labels = &exemplar.labels;
        let same =
            |names: &Vec<String>| names.iter().map(String::as_str).eq(labels.iter().map(|(name, _)| name));
        match self.names.iter().position(same) {
            Some(number) => varint::write(section, number as u64 + 1),
            None => {
                section.push(0);
                varint::write(section, labels.len() as u64);
                labels.iter().for_each(|(name, _)| write_text(section, name));
                if self.names.len() < NAMES_MAX {
                    self.names.push(labels.iter().map(|(name, _)| name.to_owned()).collect());
                }
            }
        }
        labels.iter().for_each(|(_, value)| write_text(section, value));
        section.extend(exemplar.value.to_bits().to_le_bytes());
        let distance = at.as_millis().wrapping_sub(exemplar.at_ms);
        varint::write(section, ((distance << 1) ^ (distance >> 63)) as u64);
    }

    /// Adds what a section says to the rows.
    pub(super) fn decode(
        &mut self,
        mut section: &[u8],
        rows: &mut [DecodedRow],
        limits: &DecodeLimits,
    ) -> Result<(), BodyError> {
        let mut next = 0usize;
        let mut found = 0usize;
        // Names can be long and are told by number, so that few bytes could ask for much memory.
        let mut bytes_left = limits.block_bytes_max;
        while !section.is_empty() {
            let skipped = usize::try_from(varint::read(&mut section)?).unwrap_or(usize::MAX);
            let row = next.checked_add(skipped).and_then(|place| rows.get_mut(place));
            let row = row.ok_or(BodyError::Malformed("row of an exemplar"))?;
            next += skipped + 1;
            let count = varint::read(&mut section)?;
            let mut index = 0u64;
            for _ in 0..count {
                found += 1;
                if found > limits.exemplars_max {
                    return Err(BodyError::Limit("exemplars", limits.exemplars_max));
                }
                index = index.saturating_add(varint::read(&mut section)?);
                if index >= row.values.len() as u64 {
                    return Err(BodyError::Malformed("series of an exemplar"));
                }
                let exemplar = self.read(&mut section, row.at, limits)?;
                bytes_left = bytes_left
                    .checked_sub(exemplar.labels.canonical().len())
                    .ok_or(BodyError::Limit("bytes of exemplars", limits.block_bytes_max))?;
                row.values.push_exemplar(index as usize, exemplar);
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        section: &mut &[u8],
        at: Timestamp,
        limits: &DecodeLimits,
    ) -> Result<Exemplar, BodyError> {
        let told;
        let number = varint::read(section)?;
        let names = match number.checked_sub(1) {
            None => {
                told = read_names(section, limits)?;
                if self.names.len() < NAMES_MAX {
                    self.names.push(told.clone());
                }
                &told
            }
            Some(number) => usize::try_from(number)
                .ok()
                .and_then(|number| self.names.get(number))
                .ok_or(BodyError::Malformed("label names of an exemplar"))?,
        };
        let mut pairs: Vec<(&str, String)> = Vec::with_capacity(names.len());
        for name in names {
            pairs.push((name, read_text(section, limits)?));
        }
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > limits.label_bytes_max {
            return Err(BodyError::Limit("label bytes", limits.label_bytes_max));
        }
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let labels = Labels::from_sorted(&pairs).ok_or(BodyError::Malformed("label order of an exemplar"))?;
        let (bits, rest) = section.split_first_chunk().ok_or(BodyError::Malformed("value of an exemplar"))?;
        *section = rest;
        let distance = varint::read(section)?;
        let distance = (distance >> 1) as i64 ^ -((distance & 1) as i64);
        let at_ms = at.as_millis().wrapping_sub(distance);
        Ok(Exemplar { labels, value: f64::from_bits(u64::from_le_bytes(*bits)), at_ms })
    }
}

fn read_names(section: &mut &[u8], limits: &DecodeLimits) -> Result<Vec<String>, BodyError> {
    let count = varint::read(section)?;
    if count > section.len() as u64 {
        return Err(BodyError::Malformed("label names of an exemplar"));
    }
    let names = (0..count).map(|_| read_text(section, limits)).collect::<Result<Vec<_>, _>>()?;
    if names.iter().map(String::len).sum::<usize>() > limits.label_bytes_max {
        return Err(BodyError::Limit("label bytes", limits.label_bytes_max));
    }
    Ok(names)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A text: twice its length in bytes, or, where it is an even number of small hexadecimal digits, twice the bytes that
/// these stand for and 1; then the bytes.
fn write_text(section: &mut Vec<u8>, text: &str) {
    let digit = |byte: &u8| HEX.iter().position(|known| known == byte).map(|value| value as u8);
    let packed: Option<Vec<u8>> = match text.len() % 2 {
        0 if !text.is_empty() => {
            let pairs = text.as_bytes().chunks_exact(2);
            pairs.map(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?)).collect()
        }
        _ => None,
    };
    match packed {
        Some(bytes) => {
            varint::write(section, (bytes.len() as u64) << 1 | 1);
            section.extend(bytes);
        }
        None => {
            varint::write(section, (text.len() as u64) << 1);
            section.extend_from_slice(text.as_bytes());
        }
    }
}

fn read_text(section: &mut &[u8], limits: &DecodeLimits) -> Result<String, BodyError> {
    let code = varint::read(section)?;
    let length = code >> 1;
    if length > limits.label_bytes_max as u64 {
        return Err(BodyError::Limit("label bytes", limits.label_bytes_max));
    }
    let malformed = BodyError::Malformed("text of an exemplar");
    let Some((bytes, rest)) = section.split_at_checked(length as usize) else { return Err(malformed) };
    *section = rest;
    if code & 1 == 1 {
        let digits = bytes.iter().flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        return Ok(digits.map(char::from).collect());
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| malformed)
}
