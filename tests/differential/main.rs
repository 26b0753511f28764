//! Vedette beside a real Prometheus: the same data written to both, the same questions put to both.

mod compliance;
mod data;
mod demo;
mod forms;
mod grammar;
mod mutations;
mod newer;
mod printed;
mod random;
mod read;
mod statistics;
mod times;

use anyhow::Result;
use tempfile::TempDir;
use vedette_tests::push::{PushClient, Pushed};
use vedette_tests::{Aggregator, Api, Prometheus};

/// Both, with their data.
pub(crate) struct Pair {
    _dir: TempDir,
    prometheus: Prometheus,
    aggregator: Aggregator,
}

impl Pair {
    /// Starts both; `None` when there is no Prometheus here.
    pub(crate) fn start() -> Result<Option<Self>> {
        Self::with_features("promql-experimental-functions")
    }

    /// The same with these features of the language.
    pub(crate) fn with_features(features: &str) -> Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        let native = format!("--enable-feature=native-histograms,{features}");
        let arguments = ["--web.enable-remote-write-receiver", native.as_str()];
        let prometheus = Prometheus::start(&dir.path().join("prometheus"), "", &arguments)?;
        let Some(prometheus) = prometheus else { return Ok(None) };
        let folder = dir.path().join("aggregator");
        let mut aggregator = Aggregator::prepare(&folder, &folder.join("storage"))?;
        if !features.is_empty() {
            aggregator = aggregator.with_argument(&format!("--enable-feature={features}"));
        }
        aggregator.run()?;
        Ok(Some(Self { _dir: dir, prometheus, aggregator }))
    }

    /// Writes to both.
    pub(crate) fn push(&self, requests: &[Vec<Pushed>]) -> Result<()> {
        for url in [self.prometheus.url(), self.aggregator.url()] {
            let client = PushClient::new(&url);
            for request in requests {
                client.push_all(request, usize::MAX)?;
            }
        }
        Ok(())
    }

    /// Prometheus, then Vedette.
    pub(crate) fn apis(&self) -> (Api, Api) {
        (self.prometheus.api(), self.aggregator.api())
    }
}
