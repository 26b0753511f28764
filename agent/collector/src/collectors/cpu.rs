//! Time spent by each CPU, and what CPUs there are.

mod info;
mod topology;

use vedette_model::MetricKind::Counter;

use crate::config::{ConfigError, Parameters};
use crate::error::CollectError;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::proc_stat::{CPU_MODES, CpuTicks};
use crate::registry::Collector;
use crate::sources::Sources;

use info::CpuInfo;
use topology::Topology;

/// Modes of `node_cpu_seconds_total`, in the file's order; then come the two of guests.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
const IDLE: usize = 3;

/// Ticks per second that the kernel shows to programs, whatever it counts itself.
const USER_HZ: f64 = 100.0;

/// An idle time that falls by so much means that the CPU went away and came back, and counts anew.
const JUMP_BACK_SECONDS: f64 = 3.0;

struct Cpu {
    /// None where it is off.
    info: Option<CpuInfo>,
    with_guest: bool,
    topology: Topology,
    times: Vec<CpuTimes>,
}

/// What is told of one CPU.
struct CpuTimes {
    cpu: u32,
    label: String,
    seconds: [f64; CPU_MODES],
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let with_guest = parameters.take_switch("guest", true)?;
    let info = CpuInfo::take(parameters, paths)?;
    Ok(Box::new(Cpu { info, with_guest, topology: Topology::new(paths), times: Vec::new() }))
}

impl Collector for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        if let Some(info) = &mut self.info {
            info.collect(sources, out)?;
        }
        let has_other_cpus = update(&mut self.times, &sources.proc_stat()?.cpus);
        self.write_times(out);
        if has_other_cpus {
            self.topology.rescan_next();
        }
        self.topology.collect(sources, out)
    }
}

impl Cpu {
    fn write_times(&self, out: &mut Gathered) {
        let mut family =
            out.family("node_cpu_seconds_total", Counter, "Seconds the CPUs spent in each mode.");
        for cpu in &self.times {
            for (mode, seconds) in MODES.iter().zip(cpu.seconds) {
                family.sample(&[("cpu", &cpu.label), ("mode", mode)], seconds);
            }
        }
        if !self.with_guest {
            return;
        }
        let mut family = out.family(
            "node_cpu_guest_seconds_total",
            Counter,
            "Seconds the CPUs spent in guests (VMs) for each mode.",
        );
        for cpu in &self.times {
            for (mode, seconds) in GUEST_MODES.iter().zip(&cpu.seconds[MODES.len()..]) {
                family.sample(&[("cpu", &cpu.label), ("mode", mode)], *seconds);
            }
        }
    }
}

/// Takes over what was read. Says whether the CPUs are other ones than before.
fn update(times: &mut Vec<CpuTimes>, read: &[CpuTicks]) -> bool {
    let is_same = times.len() == read.len() && times.iter().zip(read).all(|(old, new)| old.cpu == new.cpu);
    if !is_same {
        let mut known = std::mem::take(times);
        *times = read
            .iter()
            .map(|new| match known.iter().position(|old| old.cpu == new.cpu) {
                Some(at) => known.swap_remove(at),
                None => CpuTimes { cpu: new.cpu, label: new.cpu.to_string(), seconds: [0.0; CPU_MODES] },
            })
            .collect();
    }
    for (old, new) in times.iter_mut().zip(read) {
        old.advance(&new.ticks);
    }
    !is_same
}

impl CpuTimes {
    /// The kernel's counters, above all idle and iowait, now and then fall a little: what was told stays then.
    fn advance(&mut self, ticks: &[u64; CPU_MODES]) {
        let read = ticks.map(|ticks| ticks as f64 / USER_HZ);
        if self.seconds[IDLE] - read[IDLE] >= JUMP_BACK_SECONDS {
            self.seconds = [0.0; CPU_MODES];
        }
        for (told, read) in self.seconds.iter_mut().zip(read) {
            if read >= *told {
                *told = read;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(cpu: u32, user: u64, idle: u64) -> CpuTicks {
        CpuTicks { cpu, ticks: [user, 0, 0, idle, 0, 0, 0, 0, 0, 0] }
    }

    /// Feeds readings of CPU 0 and gives what is told at last.
    fn check(readings: &[(u64, u64)]) -> (f64, f64) {
        let mut times = Vec::new();
        for (user, idle) in readings {
            update(&mut times, &[ticks(0, *user, *idle)]);
        }
        (times[0].seconds[0], times[0].seconds[IDLE])
    }

    #[test]
    fn a_small_step_back_is_not_told() {
        assert_eq!(check(&[(100, 1000), (90, 990)]), (1.0, 10.0));
        assert_eq!(check(&[(100, 1000), (90, 1010)]), (1.0, 10.1));
        assert_eq!(check(&[(100, 1000), (90, 701)]), (1.0, 10.0));
    }

    #[test]
    fn a_large_step_back_is_a_reset() {
        assert_eq!(check(&[(100, 1000), (1, 700)]), (0.01, 7.0));
    }

    #[test]
    fn cpus_come_and_go() {
        let mut times = Vec::new();
        assert!(update(&mut times, &[ticks(0, 1, 1), ticks(2, 5, 5)]));
        assert!(!update(&mut times, &[ticks(0, 1, 1), ticks(2, 5, 5)]));
        assert!(update(&mut times, &[ticks(0, 2, 2)]));
        assert!(update(&mut times, &[ticks(0, 2, 2), ticks(1, 9, 9), ticks(2, 1, 1)]));
        let told: Vec<_> = times.iter().map(|cpu| (cpu.label.as_str(), cpu.seconds[0])).collect();
        assert_eq!(told, [("0", 0.02), ("1", 0.09), ("2", 0.01)]);
    }
}
