//! The kernel's random pool, from `/proc/sys/kernel/random`.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::CollectError;
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

struct Entropy {
    available: HotFile,
    pool_size: HotFile,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(Entropy {
        available: HotFile::new(paths.proc("sys/kernel/random/entropy_avail")),
        pool_size: HotFile::new(paths.proc("sys/kernel/random/poolsize")),
    }))
}

impl Collector for Entropy {
    fn name(&self) -> &'static str {
        "entropy"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let available = self.available.read_unsigned(&mut sources.scratch)?;
        out.family("node_entropy_available_bits", Gauge, "Bits of available entropy.")
            .value(available as f64);
        let pool_size = self.pool_size.read_unsigned(&mut sources.scratch)?;
        out.family("node_entropy_pool_size_bits", Gauge, "Bits of entropy pool.").value(pool_size as f64);
        Ok(())
    }
}
