use std::fmt;
use std::sync::Arc;

use vedette_model::Labels;

use crate::config::ScrapeConfig;

/// Tells targets apart across reloads: a hash of labels, URL and everything in the configuration that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey(pub u128);

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One HTTP endpoint that is scraped.
#[derive(Clone, Debug)]
pub struct Target {
    /// What its series are labelled with: `job`, `instance` and those of the configuration.
    pub labels: Labels,
    /// What is fetched, parameters included.
    pub url: String,
    /// The configuration it comes from.
    pub config: Arc<ScrapeConfig>,
    /// More targets than `target_limit`: every scrape of the job fails with this text.
    pub refused: Option<Arc<str>>,
    key: TargetKey,
}

impl Target {
    /// The targets of one scrape configuration; the same labels and URL only once.
    pub fn of_config(_config: &Arc<ScrapeConfig>) -> Vec<Arc<Target>> {
        unimplemented!()
    }

    /// Which target it is.
    pub fn key(&self) -> TargetKey {
        self.key
    }
}
