//! What CPUs these are, from `/proc/cpuinfo`: told only on demand.

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::filter::Pattern;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::sources::Sources;

/// Labels of `node_cpu_info` and the file's keys for them. Sorted by label; the CPU's number is written as read.
const LABELS: [(&str, &[&str]); 10] = [
    ("cachesize", &["cache size"]),
    ("core", &["core id"]),
    ("cpu", &["processor"]),
    ("family", &["cpu family"]),
    ("microcode", &["microcode"]),
    ("model", &["model"]),
    ("model_name", &["model name"]),
    ("package", &["physical id"]),
    ("stepping", &["stepping"]),
    ("vendor", &["vendor_id", "vendor"]),
];
const CORE: usize = 1;
const CPU: usize = 2;
const PACKAGE: usize = 7;

pub(super) struct CpuInfo {
    file: HotFile,
    flags: Option<Pattern>,
    bugs: Option<Pattern>,
}

#[derive(Debug, Default)]
struct Processor {
    id: u64,
    /// In the order of [`LABELS`].
    values: [String; LABELS.len()],
    megahertz: f64,
    flags: String,
    bugs: String,
}

impl CpuInfo {
    /// On by itself, or by a wish for flags or bugs.
    pub(super) fn take(parameters: &mut Parameters, paths: &Paths) -> Result<Option<Self>, ConfigError> {
        let is_on = parameters.take_switch("info", false)?;
        let flags = Pattern::take(parameters, "info.flags-include", "")?;
        let bugs = Pattern::take(parameters, "info.bugs-include", "")?;
        let is_wanted = is_on || flags.is_some() || bugs.is_some();
        Ok(is_wanted.then(|| Self { file: HotFile::new(paths.proc("cpuinfo")), flags, bugs }))
    }

    pub(super) fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.file.read(&mut sources.scratch)?;
        let processors = parse(content).map_err(|(line, fault)| self.file.malformed(line, fault))?;
        let mut family = out.family("node_cpu_info", Gauge, "CPU information from /proc/cpuinfo.");
        for processor in &processors {
            family.sample(&processor.labels(), 1.0);
        }
        let mut family =
            out.family("node_cpu_frequency_hertz", Gauge, "CPU frequency in hertz from /proc/cpuinfo.");
        for processor in &processors {
            let labels = processor.labels();
            family.sample(&[labels[CORE], labels[CPU], labels[PACKAGE]], processor.megahertz * 1e6);
        }
        if let Some(first) = processors.first() {
            self.write_words(first, out);
        }
        Ok(())
    }

    fn write_words(&self, first: &Processor, out: &mut Gathered) {
        for (name, help, label, pattern, words) in [
            (
                "node_cpu_flag_info",
                "The `flags` field of CPU information from /proc/cpuinfo taken from the first core.",
                "flag",
                &self.flags,
                &first.flags,
            ),
            (
                "node_cpu_bug_info",
                "The `bugs` field of CPU information from /proc/cpuinfo taken from the first core.",
                "bug",
                &self.bugs,
                &first.bugs,
            ),
        ] {
            let mut family = out.family(name, Gauge, help);
            let is_wanted = |word: &&str| pattern.as_ref().is_some_and(|pattern| pattern.is_match(word));
            let mut words: Vec<&str> = words.split_whitespace().filter(is_wanted).collect();
            words.sort_unstable();
            words.dedup();
            for word in words {
                family.sample(&[(label, word)], 1.0);
            }
        }
    }
}

impl Processor {
    fn labels(&self) -> [(&str, &str); LABELS.len()] {
        let mut labels = [("", ""); LABELS.len()];
        for ((label, (name, _)), value) in labels.iter_mut().zip(LABELS).zip(&self.values) {
            *label = (name, value);
        }
        labels
    }
}

/// Blocks of `key<tab>: value`, each beginning with `processor`.
fn parse(content: &[u8]) -> Result<Vec<Processor>, (usize, Fault)> {
    let mut processors: Vec<Processor> = Vec::new();
    for (number, line) in parse::lines(content) {
        let line = String::from_utf8_lossy(line);
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.strip_prefix(' ').unwrap_or(value));
        if key == "processor" {
            let id = parse::unsigned(value.as_bytes()).ok_or((number, Fault::NotANumber))?;
            if processors.last().is_some_and(|last| last.id >= id) {
                return Err((number, Fault::NotAscending));
            }
            processors.push(Processor { id, ..Processor::default() });
        }
        let Some(processor) = processors.last_mut() else {
            return Err((number, Fault::FieldMissing));
        };
        match key {
            "cpu MHz" => {
                processor.megahertz =
                    parse::number(value.trim().as_bytes()).ok_or((number, Fault::NotANumber))?;
            }
            "flags" => value.clone_into(&mut processor.flags),
            "bugs" => value.clone_into(&mut processor.bugs),
            _ => {
                if let Some(at) = LABELS.iter().position(|(_, keys)| keys.contains(&key)) {
                    value.clone_into(&mut processor.values[at]);
                }
            }
        }
    }
    if processors.is_empty() { Err((0, Fault::FieldMissing)) } else { Ok(processors) }
}
