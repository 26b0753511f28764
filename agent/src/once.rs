//! `collect --once`: what the collectors find on this host, with no daemon and no network.

use anyhow::bail;
use vedette_collector::{CollectorHealth, Gathered, Registry};
use vedette_daemon::people::say;

use crate::config::Config;

/// Prints the exposition. With names, of these collectors alone, be they on in the configuration or not.
pub(crate) fn print(config: &Config, only: &[String]) -> anyhow::Result<()> {
    let collectors = config.collectors.only(only);
    let mut registry = Registry::new(&collectors, config.paths.clone())?;
    let mut gathered = Gathered::new();
    registry.gather(&mut gathered);
    let mut text = Vec::new();
    gathered.write_text(&mut text);
    say(&text)?;
    let failed: Vec<_> = registry
        .health()
        .filter(|(_, health)| matches!(health, CollectorHealth::Failing(_)))
        .map(|(name, _)| name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}; the lines above say why", failed.join(", "));
    }
    Ok(())
}
