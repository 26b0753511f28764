//! Small pieces that all records and values on disk are made of.

use std::cell::RefCell;

use vedette_chunk::{ChunkError, push_unsigned, take_unsigned};
use zstd::bulk::Decompressor;

/// The newest version of every record and value that this release writes and reads.
pub(crate) const VERSION: u8 = 1;
/// No sealed value is longer than this when it is opened.
const OPENED_BYTES_MAX: usize = 256 << 20;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Level 3 costs little at a freeze; what merges write is read more often, and could afford more.
const ZSTD_LEVEL: i32 = 3;
/// Below this a zstd frame's own bytes are a loss.
const ZSTD_BYTES_MIN: usize = 64;

/// Why stored bytes can not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BytesError {
    #[error("{what} has version {found}, this release reads up to {newest}")]
    Newer { what: &'static str, found: u8, newest: u8 },
    #[error("{what} is damaged: {reason}")]
    Damaged { what: &'static str, reason: String },
}

impl BytesError {
    pub(crate) fn damaged(what: &'static str, reason: impl ToString) -> Self {
        Self::Damaged { what, reason: reason.to_string() }
    }
}

/// Version, then the bytes, compressed where that is shorter.
pub(crate) fn seal(plain: &[u8]) -> Vec<u8> {
    seal_as(VERSION, plain)
}

/// As [`seal`], with another version.
pub(crate) fn seal_as(version: u8, plain: &[u8]) -> Vec<u8> {
    if plain.len() >= ZSTD_BYTES_MIN
        && let Ok(packed) = zstd::bulk::compress(plain, ZSTD_LEVEL)
        && packed.len() + 4 < plain.len()
    {
        let mut sealed = vec![version, ZSTD];
        push_unsigned(&mut sealed, plain.len() as u64);
        sealed.extend_from_slice(&packed);
        return sealed;
    }
    let mut sealed = vec![version, PLAIN];
    sealed.extend_from_slice(plain);
    sealed
}

/// Undoes [`seal`].
pub(crate) fn open(sealed: &[u8], what: &'static str) -> Result<Vec<u8>, BytesError> {
    open_up_to(VERSION, sealed, what).map(|(_, plain)| plain)
}

/// As [`open`], of any version up to `newest`; gives that as well.
pub(crate) fn open_up_to(newest: u8, sealed: &[u8], what: &'static str) -> Result<(u8, Vec<u8>), BytesError> {
    open_bounded(newest, sealed, what, OPENED_BYTES_MAX)
}

/// As [`open_up_to`], of no more than `bytes_max` bytes.
pub(crate) fn open_bounded(
    newest: u8,
    sealed: &[u8],
    what: &'static str,
    bytes_max: usize,
) -> Result<(u8, Vec<u8>), BytesError> {
    let known = |version: u8| (1..=newest).contains(&version);
    match *sealed {
        [version, PLAIN, ref plain @ ..] if known(version) && plain.len() <= bytes_max => {
            Ok((version, plain.to_vec()))
        }
        [version, PLAIN, ..] if known(version) => Err(BytesError::damaged(what, "too long")),
        [version, ZSTD, ref rest @ ..] if known(version) => {
            let mut reader = Reader::new(rest, what);
            let len = reader.count(bytes_max)?;
            match unpack(reader.rest(), len) {
                Ok(plain) if plain.len() == len => Ok((version, plain)),
                Ok(_) => Err(BytesError::damaged(what, "shorter than it says")),
                Err(error) => Err(BytesError::damaged(what, error)),
            }
        }
        [found, ..] if found > newest => Err(BytesError::Newer { what, found, newest }),
        _ => Err(BytesError::damaged(what, "its head")),
    }
}

thread_local! {
    /// A context takes longer to make than most values take to unpack.
    static UNPACKER: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unpack(packed: &[u8], len: usize) -> std::io::Result<Vec<u8>> {
    UNPACKER.with_borrow_mut(|unpacker| {
        let unpacker = match unpacker {
            Some(unpacker) => unpacker,
            None => unpacker.insert(Decompressor::new()?),
        };
        unpacker.decompress(packed, len)
    })
}

/// Takes values off the front; knows what it reads, for messages.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    /// Reads past the version byte.
    pub(crate) fn versioned(bytes: &'a [u8], what: &'static str) -> Result<Self, BytesError> {
        match bytes {
            [VERSION, rest @ ..] => Ok(Self::new(rest, what)),
            [found, ..] => Err(BytesError::Newer { what, found: *found, newest: VERSION }),
            [] => Err(BytesError::damaged(what, "empty")),
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, BytesError> {
        take_unsigned(&mut self.bytes).map_err(|error| self.damaged(error))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, BytesError> {
        vedette_chunk::take_signed(&mut self.bytes).map_err(|error| self.damaged(error))
    }

    pub(crate) fn count(&mut self, max: usize) -> Result<usize, BytesError> {
        let count = self.unsigned()?;
        match usize::try_from(count) {
            Ok(fits) if fits <= max => Ok(fits),
            _ => Err(BytesError::damaged(self.what, format_args!("{count} of something, at most {max}"))),
        }
    }

    /// How many elements follow; none takes less than a byte, so that memory is bounded by what is there.
    pub(crate) fn elements(&mut self) -> Result<usize, BytesError> {
        let max = self.bytes.len();
        self.count(max)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], BytesError> {
        let Some((slice, rest)) = self.bytes.split_at_checked(len) else {
            return Err(BytesError::damaged(self.what, "ends too early"));
        };
        self.bytes = rest;
        Ok(slice)
    }

    /// Bytes with their length before them.
    pub(crate) fn prefixed(&mut self) -> Result<&'a [u8], BytesError> {
        let len = self.elements()?;
        self.slice(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, BytesError> {
        let bytes = self.prefixed()?;
        std::str::from_utf8(bytes).map_err(|error| BytesError::damaged(self.what, error))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BytesError> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| BytesError::damaged(self.what, "ends too early"))
    }

    pub(crate) fn byte(&mut self) -> Result<u8, BytesError> {
        Ok(self.array::<1>()?[0])
    }

    fn damaged(&self, error: ChunkError) -> BytesError {
        BytesError::damaged(self.what, error)
    }
}

/// Bytes with their length before them.
pub(crate) fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    push_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
