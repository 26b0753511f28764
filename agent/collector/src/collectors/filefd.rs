//! Open file handles, from `/proc/sys/fs/file-nr`.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

struct FileDescriptors {
    file: HotFile,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(FileDescriptors { file: HotFile::new(paths.proc("sys/fs/file-nr")) }))
}

impl Collector for FileDescriptors {
    fn name(&self) -> &'static str {
        "filefd"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.file.read_value(&mut sources.scratch)?;
        // Separated by tabs. The second has been 0 since Linux 2.6.
        let mut fields = content.split(|byte| *byte == b'\t');
        let (Some(allocated), Some(_), Some(maximum)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(self.file.malformed(1, Fault::TooFewFields));
        };
        for (name, help, field) in [
            ("node_filefd_allocated", "File descriptor statistics: allocated.", allocated),
            ("node_filefd_maximum", "File descriptor statistics: maximum.", maximum),
        ] {
            let value = parse::number(field).ok_or_else(|| self.file.malformed(1, Fault::NotANumber))?;
            out.family(name, Gauge, help).value(value);
        }
        Ok(())
    }
}
