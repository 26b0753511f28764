//! The end of RocksDB's logs after a loss of power.
//!
//! RocksDB's own way to open ([`rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords`]) passes over a record that is cut
//! off. A disk may leave worse of bytes that were never synced: zeros where a sector is missing, and good ones behind it.
//! That looks like damage to what was synced, and RocksDB can not tell the two apart. Here they are. Every write is synced
//! before the next begins, so that a record which is not whole was never acknowledged if no other *begins* behind it. And
//! what is missing is missing by the sector: bits that have changed are damage, even in the last record. What is torn is
//! cut off; a damaged file is left as it is, for people to look at.
//!
//! The log and the manifest have one format: blocks of 32 KiB, in them fragments of records.
//!
//! ```text
//! 0        4        6      7
//! ┌────────┬────────┬──────┬─────────┐
//! │ crc32c │ length │ type │ payload │   type: 1 whole record, 2 first, 3 middle, 4 last fragment of one
//! └────────┴────────┴──────┴─────────┘   crc32c: masked, over type and payload; little-endian
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// What a disk writes as a whole.
const SECTOR: usize = 512;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Cuts off what a loss of power has left behind the last synced record. Whether there was anything of the kind.
///
/// To be called when the database could not be opened: where all is well, nothing is read.
pub(crate) fn cut_torn(folder: &Path) -> io::Result<bool> {
    // A process that runs writes what would look torn.
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("LOCK"))?;
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let mut is_cut = cut_last(&manifests(folder)?)?;
    is_cut |= cut_last(&write_ahead_logs(folder)?)?;
    Ok(is_cut)
}

/// The manifest in use: others are not read.
fn manifests(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let name = std::fs::read_to_string(folder.join("CURRENT"))?;
    Ok(vec![folder.join(name.trim_end())])
}

/// In the order in which they were written.
fn write_ahead_logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == "log")
        {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// Cuts the last file that holds anything, if what is torn there is its end.
fn cut_last(files: &[PathBuf]) -> io::Result<bool> {
    for path in files.iter().rev() {
        let bytes = std::fs::read(path)?;
        match judge(&bytes) {
            // Made for records that never came: the one before is the last.
            End::Clean { len: 0 } => {}
            End::Clean { .. } | End::Damaged => return Ok(false),
            End::Torn { len } => {
                let file = File::options().write(true).open(path)?;
                file.set_len(len as u64)?;
                file.sync_all()?;
                let cut = bytes.len() - len;
                tracing::warn!(
                    path = %path.display(), bytes = cut,
                    "cut off what a loss of power has left of a write that was never acknowledged"
                );
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// How a file ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// With a whole record.
    Clean { len: usize },
    /// The last whole record ends here, none begins behind it, and bytes of the one that follows are missing.
    Torn { len: usize },
    /// In any other way.
    Damaged,
}

struct Fragment {
    kind: u8,
    end: usize,
}

/// The fragment that begins at `at`, if it is whole.
fn fragment(bytes: &[u8], at: usize) -> Option<Fragment> {
    let header = bytes.get(at..at + HEADER)?;
    let crc = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let end = at + HEADER + length;
    let is_in_block = end <= (at / BLOCK + 1) * BLOCK;
    let is_whole = is_in_block && header[6] != 0 && mask(crc32c(bytes.get(at + HEADER - 1..end)?)) == crc;
    is_whole.then_some(Fragment { kind: header[6], end })
}

fn judge(bytes: &[u8]) -> End {
    let (mut at, mut len, mut is_inside) = (0, 0, false);
    while at < bytes.len() {
        if BLOCK - at % BLOCK < HEADER {
            at = (at / BLOCK + 1) * BLOCK;
            continue;
        }
        let Some(Fragment { kind, end }) = fragment(bytes, at) else { break };
        match (kind, is_inside) {
            (WHOLE, false) | (LAST, true) => (len, is_inside) = (end, false),
            (FIRST, false) | (MIDDLE, true) => is_inside = true,
            (WHOLE | FIRST | MIDDLE | LAST, _) => break,
            // What newer releases of RocksDB note between records.
            _ => len = if is_inside { len } else { end },
        }
        at = end;
    }
    if len >= bytes.len() {
        return End::Clean { len };
    }
    let begins = |at| fragment(bytes, at).is_some_and(|found| matches!(found.kind, WHOLE | FIRST));
    // Any place may be a beginning: a length that is damaged hides where the next fragment is. The first is that of the
    // record which is not whole.
    let behind = if is_inside { len + HEADER.. } else { at + 1.. };
    let is_last = !behind.take_while(|at| *at + HEADER <= bytes.len()).any(begins);
    if is_last && (is_cut_off(bytes, at) || misses_sector(bytes, len)) {
        End::Torn { len }
    } else {
        End::Damaged
    }
}

/// Whether the fragment that begins at `at` would end behind the file.
fn is_cut_off(bytes: &[u8], at: usize) -> bool {
    let length = bytes.get(at + 4..at + HEADER).map(|header| u16::from_le_bytes([header[0], header[1]]));
    length.is_none_or(|length| at + HEADER + usize::from(length) > bytes.len())
}

/// Whether what lies behind `len` in some sector is all zeros.
fn misses_sector(bytes: &[u8], len: usize) -> bool {
    (len / SECTOR..bytes.len().div_ceil(SECTOR)).any(|sector| {
        let (from, to) = (len.max(sector * SECTOR), bytes.len().min((sector + 1) * SECTOR));
        bytes[from..to].iter().all(|byte| *byte == 0)
    })
}

/// As RocksDB stores checksums, so that one over bytes with a checksum is not a special case.
fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Records of these sizes, as RocksDB lays them out, and where each ends.
    fn log(sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (size, fill) in sizes.iter().zip(1u8..) {
            let (mut left, mut is_first) = (*size, true);
            loop {
                let room = BLOCK - bytes.len() % BLOCK;
                if room < HEADER {
                    bytes.resize(bytes.len() + room, 0);
                    continue;
                }
                let length = left.min(room - HEADER);
                left -= length;
                let kind = match (is_first, left == 0) {
                    (true, true) => WHOLE,
                    (true, false) => FIRST,
                    (false, false) => MIDDLE,
                    (false, true) => LAST,
                };
                let mut payload = vec![kind];
                payload.resize(length + 1, fill);
                bytes.extend(mask(crc32c(&payload)).to_le_bytes());
                bytes.extend((length as u16).to_le_bytes());
                bytes.extend(payload);
                is_first = false;
                if left == 0 {
                    break;
                }
            }
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn the_checksum_is_the_castagnoli_one() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn the_last_record_may_be_torn_in_any_way() {
        for last in [10, 600, 5_000, 34_000] {
            let (bytes, ends) = log(&[100, 33_000, 3, last]);
            let (start, end) = (ends[2], ends[3]);
            assert_eq!(judge(&bytes), End::Clean { len: end });
            for sector in (start / 512..end.div_ceil(512)).step_by(5) {
                let mut torn = bytes.clone();
                torn[start.max(sector * 512)..end.min((sector + 1) * 512)].fill(0);
                assert_eq!(judge(&torn), End::Torn { len: start }, "sector {sector} of {last} bytes");
            }
            for cut in [1, 7, 8, (end - start) / 2, end - start - 1] {
                assert_eq!(judge(&bytes[..end - cut]), End::Torn { len: start }, "{last} bytes cut by {cut}");
            }
            assert_eq!(judge(&bytes[..start]), End::Clean { len: start });
        }
    }

    #[test]
    fn what_stands_before_a_record_was_synced() {
        let (bytes, ends) = log(&[100, 33_000, 300, 34_000, 20, 5]);
        // The end of a block that is too small for a header is no part of any record.
        for at in (0..ends[4]).step_by(12_007) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(judge(&damaged), End::Damaged, "byte {at}");
        }
        let mut damaged = bytes.clone();
        damaged[ends[0]..ends[3]].fill(0);
        assert_eq!(judge(&damaged), End::Damaged);
        damaged[ends[3]..].fill(0);
        assert_eq!(judge(&damaged), End::Torn { len: ends[0] });
    }

    #[test]
    fn changed_bits_of_the_last_record_are_damage() {
        let (bytes, ends) = log(&[100, 40_000, 3_000]);
        for at in (ends[1] + HEADER..ends[2]).step_by(701) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(judge(&damaged), End::Damaged, "byte {at}");
        }
    }

    #[test]
    fn any_bytes_have_an_end() {
        assert_eq!(judge(&[]), End::Clean { len: 0 });
        assert_eq!(judge(&[0; 40_000]), End::Torn { len: 0 });
        let mut state = 1u32;
        let noise: Vec<u8> = (0..70_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        assert_eq!(judge(&noise), End::Damaged);
    }
}
