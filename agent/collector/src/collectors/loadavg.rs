//! Load averages, from `/proc/loadavg`.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

struct LoadAverage {
    file: HotFile,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(LoadAverage { file: HotFile::new(paths.proc("loadavg")) }))
}

impl Collector for LoadAverage {
    fn name(&self) -> &'static str {
        "loadavg"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.file.read_value(&mut sources.scratch)?;
        let mut fields = parse::fields(content);
        let mut loads = [0.0; 3];
        for load in &mut loads {
            let field = fields.next().ok_or_else(|| self.file.malformed(1, Fault::TooFewFields))?;
            *load = parse::number(field).ok_or_else(|| self.file.malformed(1, Fault::NotANumber))?;
        }
        for (load, (name, help)) in loads.into_iter().zip([
            ("node_load1", "1m load average."),
            ("node_load5", "5m load average."),
            ("node_load15", "15m load average."),
        ]) {
            out.family(name, Gauge, help).value(load);
        }
        Ok(())
    }
}
