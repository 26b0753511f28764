use serde::Deserialize;

/// The scrape half of `global`, as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGlobalConfig {}

/// One entry of `scrape_configs`, as the file has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawScrapeConfig {}
