//! What a gather of all default collectors costs on this host, and which collector how much of it.
//!
//! `cargo run --release -p vedette-collector --example gather_cost [-- GATHERS PAUSE_MS]`
//!
//! Without a pause all caches are warm; with the pause of a real interval they are not.

#![expect(clippy::print_stdout, reason = "prints its result")]
#![expect(clippy::disallowed_methods, reason = "driver: measures")]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use vedette_collector::{CollectorsConfig, Gathered, Paths, Registry};

const GATHERS: u64 = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let gathers = arguments.next().transpose()?.unwrap_or(GATHERS);
    let pause = Duration::from_millis(arguments.next().transpose()?.unwrap_or(0));
    let mut registry = Registry::new(&CollectorsConfig::default(), Paths::default())?;
    let mut gathered = Gathered::new();
    let mut by_collector: Vec<(String, f64)> = Vec::new();
    for _ in 0..50 {
        gathered.clear();
        registry.gather(&mut gathered);
    }
    let (begin, begin_cpu) = (Instant::now(), cpu_time());
    for _ in 0..gathers {
        std::thread::sleep(pause);
        gathered.clear();
        registry.gather(&mut gathered);
        add_durations(&gathered, &mut by_collector);
    }
    let (elapsed, cpu) = (begin.elapsed(), cpu_time() - begin_cpu);
    let per_gather = |total: Duration| total.as_secs_f64() * 1e6 / gathers as f64;
    println!(
        "{} samples; per gather {:.1} µs CPU (all threads), {:.1} µs elapsed",
        gathered.samples_len(),
        per_gather(cpu),
        per_gather(elapsed)
    );
    by_collector.sort_by(|one, other| other.1.total_cmp(&one.1));
    for (collector, seconds) in by_collector {
        println!("{:8.1} µs  {collector}", seconds * 1e6 / gathers as f64);
    }
    Ok(())
}

/// User and system time of all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn add_durations(gathered: &Gathered, by_collector: &mut Vec<(String, f64)>) {
    let family = gathered.families().find(|family| family.name == "node_scrape_collector_duration_seconds");
    for (at, (key, seconds)) in family.iter().flat_map(|family| family.samples()).enumerate() {
        if at == by_collector.len() {
            by_collector.push((String::from_utf8_lossy(key).into_owned(), 0.0));
        }
        by_collector[at].1 += seconds;
    }
}
