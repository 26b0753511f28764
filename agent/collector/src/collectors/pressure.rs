//! Pressure stall information: how long work waited for CPU, IO, memory and interrupts, from `/proc/pressure`.

use rustix::io::Errno;
use vedette_model::MetricKind::Counter;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

/// Name and help of a family.
type Described = (&'static str, &'static str);

struct Resource {
    file: HotFile,
    /// The kernel has it not, though it has others.
    is_absent: bool,
    /// Some processes waited.
    some: Option<Described>,
    /// All did.
    full: Option<Described>,
}

struct Pressure {
    resources: [Resource; 4],
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let resource = |name, some, full| Resource {
        file: HotFile::of_one_record(paths.proc(name)),
        is_absent: false,
        some,
        full,
    };
    let resources = [
        resource(
            "pressure/cpu",
            Some((
                "node_pressure_cpu_waiting_seconds_total",
                "Total time in seconds that processes have waited for CPU time",
            )),
            None,
        ),
        resource(
            "pressure/io",
            Some((
                "node_pressure_io_waiting_seconds_total",
                "Total time in seconds that processes have waited due to IO congestion",
            )),
            Some((
                "node_pressure_io_stalled_seconds_total",
                "Total time in seconds no process could make progress due to IO congestion",
            )),
        ),
        resource(
            "pressure/memory",
            Some((
                "node_pressure_memory_waiting_seconds_total",
                "Total time in seconds that processes have waited for memory",
            )),
            Some((
                "node_pressure_memory_stalled_seconds_total",
                "Total time in seconds no process could make progress due to memory congestion",
            )),
        ),
        resource(
            "pressure/irq",
            None,
            Some((
                "node_pressure_irq_stalled_seconds_total",
                "Total time in seconds no process could make progress due to IRQ congestion",
            )),
        ),
    ];
    Ok(Box::new(Pressure { resources }))
}

impl Collector for Pressure {
    fn name(&self) -> &'static str {
        "pressure"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let mut absent = [false; 4];
        for (resource, is_absent) in self.resources.iter_mut().zip(&mut absent) {
            match resource.collect(sources, out) {
                Ok(()) => *is_absent = resource.is_absent,
                // Kernels before 4.20 have none, those before 6.1 none for interrupts.
                Err(error) if error.is_not_found() => *is_absent = true,
                Err(error) => return Err(error),
            }
        }
        if absent == [true; 4] {
            return Err(NO_PRESSURE);
        }
        // A kernel does not learn another one while it runs.
        for (resource, is_absent) in self.resources.iter_mut().zip(absent) {
            resource.is_absent = is_absent;
        }
        Ok(())
    }
}

const NO_PRESSURE: CollectError = CollectError::NoData { what: "pressure stall information" };

impl Resource {
    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        if self.is_absent {
            return Ok(());
        }
        let content = match self.file.read(&mut sources.scratch) {
            // The kernel has it, but was not booted with psi=1.
            Err(CollectError::Read { source, .. })
                if Errno::from_io_error(&source) == Some(Errno::OPNOTSUPP) =>
            {
                return Err(NO_PRESSURE);
            }
            other => other?,
        };
        let (mut some, mut full) = (None, None);
        for (number, line) in parse::lines(content) {
            let total = || {
                let field = parse::fields(line).find_map(|field| field.strip_prefix(b"total="));
                let field = field.ok_or_else(|| self.file.malformed(number, Fault::FieldMissing))?;
                parse::unsigned(field).ok_or_else(|| self.file.malformed(number, Fault::NotANumber))
            };
            match line {
                [b's', b'o', b'm', b'e', b' ', ..] => some = Some(total()?),
                [b'f', b'u', b'l', b'l', b' ', ..] => full = Some(total()?),
                _ => {}
            }
        }
        for (wanted, microseconds) in [(self.some, some), (self.full, full)] {
            let Some((name, help)) = wanted else {
                continue;
            };
            let microseconds = microseconds.ok_or(NO_PRESSURE)?;
            // Divided twice, so that the last bit is node_exporter's.
            out.family(name, Counter, help).value(microseconds as f64 / 1000.0 / 1000.0);
        }
        Ok(())
    }
}
