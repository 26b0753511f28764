//! Interrupts, context switches, forks and processes, from `/proc/stat`.

use vedette_model::MetricKind::{Counter, Gauge};

use crate::config::{ConfigError, Parameters};
use crate::error::CollectError;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::proc_stat::SOFTIRQ_VECTORS;
use crate::registry::Collector;
use crate::sources::Sources;

const VECTORS: [&str; SOFTIRQ_VECTORS] =
    ["hi", "timer", "net_tx", "net_rx", "block", "block_iopoll", "tasklet", "sched", "hrtimer", "rcu"];

struct Stat {
    with_softirq: bool,
}

pub(crate) fn build(parameters: &mut Parameters, _: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(Stat { with_softirq: parameters.take_switch("softirq", false)? }))
}

impl Collector for Stat {
    fn name(&self) -> &'static str {
        "stat"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let stat = sources.proc_stat()?;
        for (name, kind, help, value) in [
            ("node_intr_total", Counter, "Total number of interrupts serviced.", stat.interrupts),
            (
                "node_context_switches_total",
                Counter,
                "Total number of context switches.",
                stat.context_switches,
            ),
            ("node_forks_total", Counter, "Total number of forks.", stat.forks),
            ("node_boot_time_seconds", Gauge, "Node boot time, in unixtime.", stat.boot_time_seconds),
            ("node_procs_running", Gauge, "Number of processes in runnable state.", stat.running),
            (
                "node_procs_blocked",
                Gauge,
                "Number of processes blocked waiting for I/O to complete.",
                stat.blocked,
            ),
        ] {
            out.family(name, kind, help).value(value as f64);
        }
        if self.with_softirq {
            let mut family = out.family("node_softirqs_total", Counter, "Number of softirq calls.");
            for (vector, calls) in VECTORS.iter().zip(stat.softirqs) {
                family.sample(&[("vector", vector)], calls as f64);
            }
        }
        Ok(())
    }
}
