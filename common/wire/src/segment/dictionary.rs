//! The dictionary of a segment, and how a target's part of it is written.

use std::collections::HashMap;

use vedette_model::{Labels, Metadata, MetricKind};
use zstd_safe::{CCtx, CompressionLevel, DCtx};

use super::decode::{BodyError, DecodeLimits};
use crate::table::{Family, TargetTable};
use crate::varint;

/// What the indices of a segment's batches stand for. Grows within a segment, and starts empty with each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// By target index.
    pub targets: Vec<DictionaryTarget>,
    /// By family index. Targets do not share them, so that a name may come several times.
    pub families: Vec<Family>,
    /// Bytes of all text in it.
    bytes: usize,
    /// Series of all targets.
    series: usize,
}

/// One target's series, by series index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictionaryTarget {
    /// In the order in which the writer first saw them.
    pub series: Vec<DictionarySeries>,
}

/// One series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DictionarySeries {
    /// The whole label set.
    pub labels: Labels,
    /// Index into [`Dictionary::families`].
    pub family: u32,
}

/// Small blocks are written once and repeated with every segment, so they may cost time.
const LEVEL_SMALL: CompressionLevel = 19;
const LEVEL_LARGE: CompressionLevel = 9;
const SMALL_BYTES_MAX: usize = 256 << 10;

/// What a writer has told of a target within a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Whether the segment knows the target at all.
    pub(super) target: bool,
    pub(super) series: usize,
    /// By the table's family index: the index in the segment's dictionary, and the version told.
    families: Vec<Option<(u32, u64)>>,
    family_version: u64,
}

impl Told {
    /// Whether the table has nothing new to tell.
    pub(super) fn is_all(&self, table: &TargetTable) -> bool {
        self.target && self.series == table.series_len() && self.family_version == table.family_version()
    }

    /// The same, told in a segment in which `offset` families came before.
    pub(super) fn moved(&self, offset: u32) -> Self {
        self.with_families(|index| index + offset)
    }

    /// The same, told at the start of a segment instead of after `offset` families.
    pub(super) fn moved_back(&self, offset: u32) -> Self {
        self.with_families(|index| index - offset)
    }

    /// How many families were told.
    pub(super) fn families_len(&self) -> u32 {
        self.families.iter().flatten().count() as u32
    }

    fn with_families(&self, place: impl Fn(u32) -> u32) -> Self {
        let moved = |&(index, version): &(u32, u64)| (place(index), version);
        let families = self.families.iter().map(|told| told.as_ref().map(moved)).collect();
        Self { families, ..*self }
    }
}

/// Writes what `table` has beyond `told`, as plain bytes. `families_len`: families of the segment so far,
/// raised by those written.
pub(super) fn write_block(table: &TargetTable, told: &mut Told, families_len: &mut u32) -> Vec<u8> {
    let mut strings = Strings::default();
    let mut families = Vec::new();
    let mut family_count = 0;
    let mut references = Vec::new();
    told.families.resize(table.families().len(), None);
    let old_families_len = *families_len;
    let mut tell_family = |index: usize, told: &mut Told| -> u32 {
        let version = table.family_version_of(index);
        let replaced = match told.families[index] {
            Some((known, told_version)) if told_version == version => return known,
            Some((known, _)) => u64::from(known) + 1,
            None => 0,
        };
        let Family { name, metadata } = &table.families()[index];
        varint::write(&mut families, replaced);
        families.push(kind_code(metadata.kind));
        for text in [name, &metadata.unit, &metadata.help] {
            strings.write(&mut families, text);
        }
        let new = *families_len;
        told.families[index] = Some((new, version));
        *families_len += 1;
        family_count += 1;
        new
    };
    for index in 0..told.families.len() {
        if told.families[index].is_some() {
            tell_family(index, told);
        }
    }
    for index in told.series..table.series_len() {
        references.push(tell_family(table.family_of(index) as usize, told));
    }
    let mut series = Vec::new();
    let mut shapes = Shapes::default();
    let mut family_before = i64::from(old_families_len) - 1;
    for (index, reference) in (told.series..).zip(references) {
        // Families of this block count from it, so that the same block serves at any place.
        let code = match i64::from(reference) - family_before {
            0 => FAMILY_SAME,
            1 => FAMILY_NEXT,
            _ => match reference.checked_sub(old_families_len) {
                Some(new) => FAMILY_OTHER + (u64::from(new) << 1 | 1),
                None => FAMILY_OTHER + (u64::from(reference) << 1),
            },
        };
        varint::write(&mut series, code);
        family_before = i64::from(reference);
        if let Some(labels) = table.labels(index) {
            let family = &table.families()[table.family_of(index) as usize];
            shapes.write(&mut series, labels, &family.name, &mut strings);
        }
    }
    let mut plain = strings.finish();
    varint::write(&mut plain, family_count);
    plain.extend(families);
    varint::write(&mut plain, (table.series_len() - told.series) as u64);
    plain.extend(series);
    told.target = true;
    told.series = table.series_len();
    told.family_version = table.family_version();
    plain
}

/// A series' family: that of the series before, the one after that, or one by its number.
const FAMILY_SAME: u64 = 0;
const FAMILY_NEXT: u64 = 1;
const FAMILY_OTHER: u64 = 2;
/// A string: the next one not named so far, the name of the series' family, or one by its number.
const STRING_NEW: u8 = 0;
const STRING_FAMILY: u8 = 1;
const STRING_KNOWN: u64 = 2;

/// Ends each string: a byte that UTF-8 never has, and that compresses better than lengths.
const STRING_END: u8 = 0xff;

/// Strings in the order of their first use.
#[derive(Default)]
struct Strings<'a> {
    numbers: HashMap<&'a str, u64>,
    bytes: Vec<u8>,
}

impl<'a> Strings<'a> {
    fn write(&mut self, out: &mut Vec<u8>, text: &'a str) {
        let next = self.numbers.len() as u64;
        match self.numbers.get(text) {
            Some(number) => varint::write(out, STRING_KNOWN + number),
            None => {
                self.numbers.insert(text, next);
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.push(STRING_END);
                out.push(STRING_NEW);
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + varint::BYTES_MAX);
        varint::write(&mut out, self.numbers.len() as u64);
        out.extend(self.bytes);
        out
    }
}

/// The label names of series, each combination once.
#[derive(Default)]
struct Shapes<'a> {
    numbers: HashMap<Vec<&'a str>, u64>,
}

impl<'a> Shapes<'a> {
    fn write(&mut self, out: &mut Vec<u8>, labels: &'a Labels, family: &str, strings: &mut Strings<'a>) {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        let next = self.numbers.len() as u64;
        if let Some(number) = self.numbers.get(&names) {
            varint::write(out, number + 1);
        } else {
            out.push(0);
            varint::write(out, names.len() as u64);
            for name in &names {
                strings.write(out, name);
            }
            self.numbers.insert(names, next);
        }
        for (_, value) in labels {
            if value == family { out.push(STRING_FAMILY) } else { strings.write(out, value) }
        }
    }
}

/// Compresses a block: varint length of `plain`, then a zstd frame without its magic number.
pub(super) fn compress(plain: &[u8]) -> Vec<u8> {
    let level = if plain.len() <= SMALL_BYTES_MAX { LEVEL_SMALL } else { LEVEL_LARGE };
    let mut frame = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
    let mut out = Vec::with_capacity(frame.capacity() / 4);
    varint::write(&mut out, plain.len() as u64);
    CCtx::create().compress(&mut frame, plain, level).expect("the buffer has room for the worst case");
    out.extend_from_slice(&frame[ZSTD_MAGIC.len()..]);
    out
}

const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Undoes [`compress`].
pub(super) fn decompress(mut block: &[u8], limits: &DecodeLimits) -> Result<Vec<u8>, BodyError> {
    let length = varint::read(&mut block)?;
    if length > limits.block_bytes_max as u64 {
        return Err(BodyError::Limit("dictionary bytes", limits.block_bytes_max));
    }
    let length = length as usize;
    // zstd cannot compress better than about 1 : 32,000, so that a short block takes no large buffer.
    if length / 40_000 > block.len() {
        return Err(BodyError::Malformed("dictionary length"));
    }
    let frame = [&ZSTD_MAGIC[..], block].concat();
    let mut plain = Vec::with_capacity(length);
    match DCtx::create().decompress(&mut plain, &frame) {
        Ok(found) if found == length => Ok(plain),
        _ => Err(BodyError::Malformed("dictionary compression")),
    }
}

impl Dictionary {
    /// Adds what a block tells of target `target`.
    pub(super) fn read_block(
        &mut self,
        target: usize,
        plain: &[u8],
        limits: &DecodeLimits,
    ) -> Result<(), BodyError> {
        let mut rest = plain;
        let strings = ReadStrings::read(&mut rest)?;
        let mut reader =
            BlockReader { rest, strings, next_string: 0, families_before: self.families.len(), limits };
        self.read_families(target, &mut reader)?;
        self.read_series(target, &mut reader)?;
        if reader.rest.is_empty() { Ok(()) } else { Err(BodyError::Malformed("dictionary length")) }
    }

    /// Counts text that is copied out of blocks: a block can name one long string many times.
    fn take_bytes(&mut self, bytes: usize, limits: &DecodeLimits) -> Result<(), BodyError> {
        self.bytes += bytes;
        let max = limits.dictionary_bytes_max;
        if self.bytes > max { Err(BodyError::Limit("dictionary bytes", max)) } else { Ok(()) }
    }

    fn read_families(&mut self, target: usize, reader: &mut BlockReader<'_>) -> Result<(), BodyError> {
        let count = reader.count()?;
        if self.families.len() + count > reader.limits.families_max {
            return Err(BodyError::Limit("families", reader.limits.families_max));
        }
        for _ in 0..count {
            let replaced = varint::read(&mut reader.rest)?;
            let (&code, rest) = reader.rest.split_first().ok_or(BodyError::Malformed("family"))?;
            reader.rest = rest;
            // A kind of a newer release is not worth refusing a batch.
            let kind = kind_of(code).unwrap_or_default();
            let (name, unit, help) = (reader.string()?, reader.string()?, reader.string()?);
            if name.len() + unit.len() + help.len() > reader.limits.label_bytes_max {
                return Err(BodyError::Limit("family bytes", reader.limits.label_bytes_max));
            }
            self.take_bytes(name.len() + unit.len() + help.len(), reader.limits)?;
            let new = self.families.len() as u32;
            let metadata = Metadata { kind, unit: unit.to_owned(), help: help.to_owned() };
            self.families.push(Family { name: name.to_owned(), metadata });
            if replaced > 0 {
                let moved = self.targets[target].series.iter_mut();
                moved
                    .filter(|series| u64::from(series.family) == replaced - 1)
                    .for_each(|series| series.family = new);
            }
        }
        reader.families_before = self.families.len() - count;
        Ok(())
    }

    fn read_series(&mut self, target: usize, reader: &mut BlockReader<'_>) -> Result<(), BodyError> {
        let count = reader.count()?;
        let limits = reader.limits;
        self.series += count;
        if self.series > limits.series_max {
            return Err(BodyError::Limit("series", limits.series_max));
        }
        if self.targets[target].series.len() + count > limits.series_per_target_max {
            return Err(BodyError::Limit("series of a target", limits.series_per_target_max));
        }
        let mut shapes: Vec<Vec<&str>> = Vec::new();
        let families_before = reader.families_before as u64;
        let mut family = families_before.wrapping_sub(1);
        for _ in 0..count {
            family = match varint::read(&mut reader.rest)? {
                FAMILY_SAME => family,
                FAMILY_NEXT => family.wrapping_add(1),
                other if other & 1 == 1 => ((other - FAMILY_OTHER) >> 1).saturating_add(families_before),
                other => (other - FAMILY_OTHER) >> 1,
            };
            let known = usize::try_from(family).ok().and_then(|family| self.families.get(family));
            let family_name = known.ok_or(BodyError::Malformed("family reference"))?.name.as_str();
            let shape = match varint::read(&mut reader.rest)? {
                0 => {
                    let names = reader.count()?;
                    let names = (0..names).map(|_| reader.string()).collect::<Result<Vec<_>, _>>()?;
                    shapes.push(names);
                    shapes.len() - 1
                }
                number => number as usize - 1,
            };
            let names = shapes.get(shape).ok_or(BodyError::Malformed("label names reference"))?;
            let mut pairs = Vec::with_capacity(names.len());
            let mut bytes = 0;
            for name in names {
                let value = reader.string_or(family_name)?;
                bytes += name.len() + value.len();
                pairs.push((*name, value));
            }
            if bytes > limits.label_bytes_max {
                return Err(BodyError::Limit("label bytes", limits.label_bytes_max));
            }
            let labels = Labels::from_sorted(&pairs).ok_or(BodyError::Malformed("label order"))?;
            self.take_bytes(bytes, limits)?;
            self.targets[target].series.push(DictionarySeries { labels, family: family as u32 });
        }
        Ok(())
    }
}

struct BlockReader<'a> {
    rest: &'a [u8],
    strings: ReadStrings<'a>,
    next_string: usize,
    families_before: usize,
    limits: &'a DecodeLimits,
}

impl<'a> BlockReader<'a> {
    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<usize, BodyError> {
        let count = varint::read(&mut self.rest)?;
        if count > self.rest.len() as u64 { Err(BodyError::Malformed("count")) } else { Ok(count as usize) }
    }

    fn string(&mut self) -> Result<&'a str, BodyError> {
        self.known_string()?.ok_or(BodyError::Malformed("string reference"))
    }

    /// A string that may be `family`.
    fn string_or<'f>(&mut self, family: &'f str) -> Result<&'f str, BodyError>
    where
        'a: 'f,
    {
        Ok(self.known_string()?.unwrap_or(family))
    }

    fn known_string(&mut self) -> Result<Option<&'a str>, BodyError> {
        let code = varint::read(&mut self.rest)?;
        let number = if code == u64::from(STRING_NEW) {
            self.next_string += 1;
            self.next_string as u64 - 1
        } else if code == u64::from(STRING_FAMILY) {
            return Ok(None);
        } else {
            code - STRING_KNOWN
        };
        let text = usize::try_from(number).ok().and_then(|number| self.strings.texts.get(number));
        text.copied().map(Some).ok_or(BodyError::Malformed("string reference"))
    }
}

struct ReadStrings<'a> {
    texts: Vec<&'a str>,
}

impl<'a> ReadStrings<'a> {
    fn read(rest: &mut &'a [u8]) -> Result<Self, BodyError> {
        let count = varint::read(rest)?;
        if count > rest.len() as u64 {
            return Err(BodyError::Malformed("string count"));
        }
        let mut texts = Vec::new();
        for _ in 0..count {
            let end =
                rest.iter().position(|byte| *byte == STRING_END).ok_or(BodyError::Malformed("string end"))?;
            texts.push(
                std::str::from_utf8(&rest[..end]).map_err(|_| BodyError::Malformed("string encoding"))?,
            );
            *rest = &rest[end + 1..];
        }
        Ok(Self { texts })
    }
}

/// By their place on the wire.
const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

fn kind_code(kind: MetricKind) -> u8 {
    KINDS.iter().position(|found| *found == kind).unwrap_or(0) as u8
}

fn kind_of(code: u8) -> Option<MetricKind> {
    KINDS.get(usize::from(code)).copied()
}
