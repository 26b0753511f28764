//! What packages contain beside the programs, as `vedette-manual` writes it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

mod completions;
mod notices;

#[path = "../../../../agent/src/cli.rs"]
mod agent;
#[path = "../../../../aggregator/src/cli.rs"]
mod aggregator;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes everything for a target, or for this machine.
fn write(target: Option<&str>) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vedette-manual"));
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    run(command.arg(folder.path()))?;
    Ok(folder)
}

/// What a command prints; fails when it does.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{failed}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
