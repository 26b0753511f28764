//! The spool's small files: one cursor file per replica, and the last known membership.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use vedette_wire::control::{Member, Members};
use vedette_wire::{BatchSeq, LogId, ReplicaId};

use crate::record::{RecordError, RecordReader, RecordWriter};

const CURSOR_MAGIC: [u8; 4] = *b"VCUR";
const MEMBERS_MAGIC: [u8; 4] = *b"VMEM";
const VERSION: u8 = 1;
/// No state file is longer.
pub(crate) const STATE_FILE_BYTES_MAX: usize = 1 << 20;

/// What one replica has acknowledged: log → the last number of the unbroken run from 1.
pub(crate) type Cursor = BTreeMap<LogId, BatchSeq>;

pub(crate) fn cursors_path(root: &Path) -> PathBuf {
    root.join("cursors")
}

pub(crate) fn cursor_path(root: &Path, replica: ReplicaId) -> PathBuf {
    cursors_path(root).join(format!("{}.cursor", replica.0))
}

/// Writes a membership's file, for a spool that is not open: [`crate::SpoolConfig::members_file`]. It is durable: without
/// it, an agent may know nobody to ask.
pub fn write_members(file: &Path, members: &Members) -> io::Result<()> {
    let draft = file.with_extension("tmp");
    let mut writing = File::create(&draft)?;
    writing.write_all(&members_file(members))?;
    writing.sync_all()?;
    fs::rename(&draft, file)?;
    file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

pub(crate) fn cursor_file(replica: ReplicaId, cursor: &Cursor) -> Vec<u8> {
    let mut writer = RecordWriter::new(CURSOR_MAGIC, VERSION);
    writer.put_u128(replica.0.as_u128());
    writer.put_u32(cursor.len() as u32);
    for (log, through) in cursor {
        writer.put_u128(log.0);
        writer.put_u64(through.0);
    }
    writer.finish()
}

pub(crate) fn parse_cursor_file(bytes: &[u8]) -> Result<(ReplicaId, Cursor), RecordError> {
    let mut reader = RecordReader::open(bytes, CURSOR_MAGIC, VERSION, "cursor")?;
    let replica = ReplicaId(Uuid::from_u128(reader.u128()?));
    let mut cursor = Cursor::new();
    for _ in 0..reader.count(24)? {
        let log = LogId(reader.u128()?);
        cursor.insert(log, BatchSeq(reader.u64()?));
    }
    reader.finish()?;
    Ok((replica, cursor))
}

pub(crate) fn members_file(members: &Members) -> Vec<u8> {
    let mut writer = RecordWriter::new(MEMBERS_MAGIC, VERSION);
    writer.put_u64(members.version);
    writer.put_u64(members.lease_ms);
    writer.put_u32(members.members.len() as u32);
    for member in &members.members {
        writer.put_u128(member.replica.0.as_u128());
        writer.put_u32(member.addresses.len() as u32);
        for address in &member.addresses {
            writer.put_text(address);
        }
    }
    writer.finish()
}

pub(crate) fn parse_members_file(bytes: &[u8]) -> Result<Members, RecordError> {
    let mut reader = RecordReader::open(bytes, MEMBERS_MAGIC, VERSION, "members")?;
    let (version, lease_ms) = (reader.u64()?, reader.u64()?);
    let mut members = Vec::new();
    for _ in 0..reader.count(20)? {
        let replica = ReplicaId(Uuid::from_u128(reader.u128()?));
        let mut addresses = Vec::new();
        for _ in 0..reader.count(4)? {
            addresses.push(reader.text()?.to_owned());
        }
        members.push(Member { replica, addresses });
    }
    reader.finish()?;
    Ok(Members { version, lease_ms, members })
}
