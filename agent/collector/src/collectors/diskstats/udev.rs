//! What udev's database has of a block device.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::file::HotFile;
use crate::parse;

/// A file of the database, read anew when udev has written it anew.
pub(super) struct UdevFile {
    path: PathBuf,
    /// Modification time and inode; none where there is no file.
    version: Option<(i64, i64, u64)>,
    properties: Properties,
}

/// The properties that are told; empty where not known.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) path: String,
    pub(super) wwn: String,
    pub(super) model: String,
    pub(super) revision: String,
    /// The three places of the serial number, the best first.
    serials: [String; 3],
    pub(super) filesystem_type: String,
    pub(super) filesystem_usage: String,
    pub(super) filesystem_uuid: String,
    pub(super) filesystem_version: String,
    pub(super) mapper_name: String,
    pub(super) mapper_uuid: String,
    pub(super) mapper_group: String,
    pub(super) mapper_volume: String,
    pub(super) mapper_layer: String,
    pub(super) ata: String,
    pub(super) ata_write_cache: String,
    pub(super) ata_write_cache_enabled: String,
    pub(super) ata_rotation_rate: String,
}

impl UdevFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, version: None, properties: Properties::default() }
    }

    pub(super) fn properties(&self) -> &Properties {
        &self.properties
    }

    /// A file that can not be read means that nothing is known.
    pub(super) fn refresh(&mut self, scratch: &mut Vec<u8>) {
        let metadata = std::fs::metadata(&self.path).ok();
        let version = metadata.map(|file| (file.mtime(), file.mtime_nsec(), file.ino()));
        if version == self.version {
            return;
        }
        self.properties = Properties::default();
        // udev replaces files, so a descriptor is of no use the next time.
        match HotFile::new(self.path.clone()).read(scratch) {
            Ok(content) => {
                self.properties = Properties::parse(content);
                self.version = version;
            }
            Err(_) => self.version = None,
        }
    }
}

impl Properties {
    /// Lines such as `E:ID_MODEL=name`; other letters than E are udev's own affair.
    fn parse(content: &[u8]) -> Self {
        let mut properties = Self::default();
        for (_, line) in parse::lines(content) {
            let Some(property) = line.strip_prefix(b"E:") else {
                continue;
            };
            let Some(at) = property.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            if let Some(target) = properties.target(&property[..at]) {
                *target = String::from_utf8_lossy(&property[at + 1..]).into_owned();
            }
        }
        properties
    }

    fn target(&mut self, key: &[u8]) -> Option<&mut String> {
        Some(match key {
            b"ID_PATH" => &mut self.path,
            b"ID_WWN" => &mut self.wwn,
            b"ID_MODEL" => &mut self.model,
            b"ID_REVISION" => &mut self.revision,
            b"SCSI_IDENT_SERIAL" => &mut self.serials[0],
            b"ID_SERIAL_SHORT" => &mut self.serials[1],
            b"ID_SERIAL" => &mut self.serials[2],
            b"ID_FS_TYPE" => &mut self.filesystem_type,
            b"ID_FS_USAGE" => &mut self.filesystem_usage,
            b"ID_FS_UUID" => &mut self.filesystem_uuid,
            b"ID_FS_VERSION" => &mut self.filesystem_version,
            b"DM_NAME" => &mut self.mapper_name,
            b"DM_UUID" => &mut self.mapper_uuid,
            b"DM_VG_NAME" => &mut self.mapper_group,
            b"DM_LV_NAME" => &mut self.mapper_volume,
            b"DM_LV_LAYER" => &mut self.mapper_layer,
            b"ID_ATA" => &mut self.ata,
            b"ID_ATA_WRITE_CACHE" => &mut self.ata_write_cache,
            b"ID_ATA_WRITE_CACHE_ENABLED" => &mut self.ata_write_cache_enabled,
            b"ID_ATA_ROTATION_RATE_RPM" => &mut self.ata_rotation_rate,
            _ => return None,
        })
    }

    /// What is printed on the disk's label, else what else there is: virtual disks have only the last.
    pub(super) fn serial(&self) -> &str {
        self.serials.iter().find(|serial| !serial.is_empty()).map_or("", String::as_str)
    }
}
