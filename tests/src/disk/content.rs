//! One file: what programs see, and what of it the disk has.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Loss;

/// What a disk writes at once, or not at all.
pub(super) const SECTOR: usize = 512;
/// Sectors of a page of the kernel's cache.
const PAGE_SECTORS: usize = 8;

/// The bytes of a file. Invariant: sectors that are not in `unsynced` are on the disk as they are in `cached`.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    cached: Vec<u8>,
    durable_len: usize,
    unsynced: BTreeMap<usize, Unsynced>,
}

/// A sector written since the last sync.
#[derive(Clone, Debug)]
struct Unsynced {
    /// What the disk has; nothing is zeros.
    old: Option<Box<[u8; SECTOR]>>,
    /// A sync of it has failed: the kernel holds it for clean, and no later sync writes it.
    forsaken: bool,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn read(&self, offset: usize, size: usize) -> &[u8] {
        let end = offset.saturating_add(size).min(self.cached.len());
        self.cached.get(offset..end).unwrap_or_default()
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        self.remember(offset, end);
        if end > self.cached.len() {
            self.cached.resize(end, 0);
        }
        self.cached[offset..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.remember(len, self.cached.len());
        self.cached.resize(len, 0);
    }

    /// Keeps what the disk has of the sectors that are about to change.
    fn remember(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let (cached, durable_len) = (&self.cached, self.durable_len);
            let entry = self.unsynced.entry(sector).or_insert_with(|| {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(durable_len).min(cached.len());
                let old = (start < end).then(|| {
                    let mut old = Box::new([0; SECTOR]);
                    old[..end - start].copy_from_slice(&cached[start..end]);
                    old
                });
                Unsynced { old, forsaken: false }
            });
            entry.forsaken = false;
        }
    }

    /// A sync that went well.
    pub(super) fn sync(&mut self) {
        self.unsynced.retain(|_, unsynced| unsynced.forsaken);
        self.durable_len = self.cached.len();
    }

    /// A sync that failed.
    pub(super) fn fail_sync(&mut self) {
        self.unsynced.values_mut().for_each(|unsynced| unsynced.forsaken = true);
    }

    /// From now on there is what the disk has.
    pub(super) fn lose_power(&mut self, loss: Loss, random: &mut StdRng) {
        let kept = self.kept(loss, random);
        let mut len = self.durable_len;
        if loss != Loss::All && self.cached.len() > len {
            let data_end =
                kept.last().map_or(len, |sector| (sector + 1) * SECTOR).clamp(len, self.cached.len());
            // The length may reach the disk before the bytes do.
            len = if random.random_bool(0.5) { self.cached.len() } else { data_end };
        } else if loss != Loss::All && random.random_bool(0.5) {
            len = self.cached.len();
        }
        let mut image = std::mem::take(&mut self.cached);
        let cached_len = image.len();
        image.resize(cached_len.max(len).next_multiple_of(SECTOR), 0);
        for (sector, unsynced) in std::mem::take(&mut self.unsynced) {
            let start = sector * SECTOR;
            let is_cut_off = start >= cached_len;
            if (is_cut_off || kept.binary_search(&sector).is_err())
                && let Some(place) = image.get_mut(start..start + SECTOR)
            {
                place.copy_from_slice(&unsynced.old.map_or([0; SECTOR], |old| *old));
            }
        }
        image.truncate(len);
        image.shrink_to_fit();
        *self = Self { cached: image, durable_len: len, unsynced: BTreeMap::new() };
    }

    /// The unsynced sectors that reach the disk all the same, in order.
    fn kept(&self, loss: Loss, random: &mut StdRng) -> Vec<usize> {
        let whole_pages = random.random_bool(0.5);
        let sectors =
            self.unsynced.iter().filter(|(_, unsynced)| !unsynced.forsaken).map(|(sector, _)| *sector);
        let unit = |sector: usize| if whole_pages { sector / PAGE_SECTORS } else { sector };
        match loss {
            Loss::All => Vec::new(),
            Loss::Later => {
                let sectors: Vec<usize> = sectors.collect();
                let end = random.random_range(0..=sectors.len());
                let Some(last) = sectors.get(end) else { return sectors };
                sectors.iter().copied().filter(|sector| unit(*sector) < unit(*last)).collect()
            }
            Loss::Some => {
                let mut lucky = BTreeMap::new();
                sectors
                    .filter(|sector| *lucky.entry(unit(*sector)).or_insert_with(|| random.random_bool(0.5)))
                    .collect()
            }
        }
    }
}
