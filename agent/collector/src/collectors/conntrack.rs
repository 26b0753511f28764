//! Connection tracking: table size and what became of packets, from `/proc/sys/net/netfilter` and
//! `/proc/net/stat/nf_conntrack`.

use std::path::Path;

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

/// Columns of the statistics that are summed over all CPUs: where they are, name and help.
const SUMMED: [(usize, &str, &str); 8] = [
    (2, "node_nf_conntrack_stat_found", "Number of searched entries which were successful."),
    (4, "node_nf_conntrack_stat_invalid", "Number of packets seen which can not be tracked."),
    (
        5,
        "node_nf_conntrack_stat_ignore",
        "Number of packets seen which are already connected to a conntrack entry.",
    ),
    (8, "node_nf_conntrack_stat_insert", "Number of entries inserted into the list."),
    (
        9,
        "node_nf_conntrack_stat_insert_failed",
        "Number of entries for which list insertion was attempted but failed.",
    ),
    (10, "node_nf_conntrack_stat_drop", "Number of packets dropped due to conntrack failure."),
    (
        11,
        "node_nf_conntrack_stat_early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
    ),
    (
        16,
        "node_nf_conntrack_stat_search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

/// Kernels before 2.6.35 have no `search_restart`.
const COLUMNS_MIN: usize = 16;
const COLUMNS_MAX: usize = 17;

struct Conntrack {
    count: HotFile,
    limit: HotFile,
    statistics: HotFile,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(Conntrack {
        count: HotFile::new(paths.proc("sys/net/netfilter/nf_conntrack_count")),
        limit: HotFile::new(paths.proc("sys/net/netfilter/nf_conntrack_max")),
        statistics: HotFile::new(paths.proc("net/stat/nf_conntrack")),
    }))
}

impl Collector for Conntrack {
    fn name(&self) -> &'static str {
        "conntrack"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        self.collect_all(sources, out).map_err(|error| match error {
            missing if missing.is_not_found() => CollectError::NoData { what: "connection tracking" },
            other => other,
        })
    }
}

impl Conntrack {
    fn collect_all(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let count = self.count.read_unsigned(&mut sources.scratch)?;
        out.family(
            "node_nf_conntrack_entries",
            Gauge,
            "Number of currently allocated flow entries for connection tracking.",
        )
        .value(count as f64);
        let limit = self.limit.read_unsigned(&mut sources.scratch)?;
        out.family("node_nf_conntrack_entries_limit", Gauge, "Maximum size of connection tracking table.")
            .value(limit as f64);
        let content = self.statistics.read(&mut sources.scratch)?;
        let sums = sum(content, self.statistics.path())?;
        for ((_, name, help), sum) in SUMMED.iter().zip(sums) {
            out.family(name, Gauge, help).value(sum as f64);
        }
        Ok(())
    }
}

/// A line of names, then a line of hexadecimal numbers per CPU.
fn sum(content: &[u8], path: &Path) -> Result<[u64; SUMMED.len()], CollectError> {
    let mut sums = [0u64; SUMMED.len()];
    for (number, line) in parse::lines(content).skip(1) {
        let mut row = [0; COLUMNS_MAX];
        let mut columns = 0;
        for field in parse::fields(line) {
            let cell = row.get_mut(columns).ok_or_else(|| Fault::TooManyFields.at(path, number))?;
            *cell = parse::hexadecimal(field).ok_or_else(|| Fault::NotANumber.at(path, number))?;
            columns += 1;
        }
        if columns < COLUMNS_MIN {
            return Err(Fault::TooFewFields.at(path, number));
        }
        for ((column, _, _), sum) in SUMMED.iter().zip(&mut sums) {
            *sum = sum.wrapping_add(row[*column]);
        }
    }
    Ok(sums)
}
