//! What the end-to-end tests share: the real binaries on loopback, asked and hurt from outside.
//!
//! Nothing here knows the inside of agent or aggregator; it starts them as a user would, and reads what a user reads.

mod api;
pub mod compare;
mod disk;
pub mod exporter;
mod network;
mod process;
mod programs;
mod prometheus;
pub mod push;
mod raw;
pub mod read;
mod witness;

pub use api::{Answer, Api};
pub use disk::{Disk, Fault, Loss, Operation};
pub use network::Network;
pub use process::{Program, ProgramExit, free_port};
pub use programs::{Agent, Aggregator, Mounted, Ran, binary, enrolled_pair, mounted_tmpfs};
pub use prometheus::Prometheus;
pub use raw::RawAnswer;
pub use witness::Witness;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for what should take seconds, before it calls it a failure.
pub const GENEROUS: Duration = Duration::from_secs(90);

/// Now, by the monotonic clock of this machine.
#[expect(clippy::disallowed_methods, reason = "driver: tests wait for other processes")]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, in milliseconds since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "driver: tests compare with the wall clock of the programs under test"
)]
pub fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Asks again and again until `ask` gives something, or fails with what it said last.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = now() + deadline;
    loop {
        let answer = ask();
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if now() >= end => bail!("{what}: not so after {deadline:?}"),
            Err(error) if now() >= end => {
                return Err(error.context(format!("{what}: not so after {deadline:?}")));
            }
            Ok(None) | Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Lets `duration` pass while the programs under test go on: the load of a scenario, never a way to wait for a state.
pub fn run_for(duration: Duration) {
    std::thread::sleep(duration);
}

/// Whether missing peers, data or rights fail a test instead of skipping it.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// Says that a test can not run here; in CI that is a failure.
pub fn skip(why: &str) {
    assert!(!in_ci(), "in CI nothing is skipped: {why}");
    println!("skipped: {why}");
}

/// A peer's binary (`promtool`, `prometheus` …) in the folder that `VEDETTE_PEERS` names.
pub fn peer(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("VEDETTE_PEERS").map(PathBuf::from);
    let path = folder.map(|folder| folder.join(name)).filter(|path| path.exists());
    if path.is_none() {
        skip(&format!("{name} is not in the folder VEDETTE_PEERS (tests/peers.sh fetches it)"));
    }
    path
}

/// The folder with recordings and reference data, beside the checkout.
pub fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    if path.exists() {
        return Some(path);
    }
    skip("../shared is not beside the checkout");
    None
}
