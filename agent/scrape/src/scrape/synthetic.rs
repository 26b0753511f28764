use std::convert::Infallible;
use std::time::Duration;

use vedette_model::{Labels, METRIC_NAME, MetricKind};
use vedette_wire::{SeriesDescription, TargetTable};

use crate::scrape::labels::with_external;
use crate::target::Target;

/// The series about the scrape itself, which every scrape has, failed or not.
pub(crate) struct Report {
    pub(crate) up: bool,
    pub(crate) duration: Duration,
    pub(crate) samples: usize,
    pub(crate) samples_kept: usize,
    pub(crate) series_added: usize,
}

impl Report {
    pub(crate) fn write(&self, target: &Target, external_labels: &Labels, table: &mut TargetTable) {
        let series = [
            (
                "up",
                "Whether the target was scraped (1) or the scrape failed (0).",
                "",
                f64::from(u8::from(self.up)),
            ),
            ("scrape_duration_seconds", "How long the scrape took.", "seconds", self.duration.as_secs_f64()),
            ("scrape_samples_scraped", "Samples that the target exposed.", "", self.samples as f64),
            (
                "scrape_samples_post_metric_relabeling",
                "Samples left after relabelling.",
                "",
                self.samples_kept as f64,
            ),
            (
                "scrape_series_added",
                "Series that the scrape before did not have.",
                "",
                self.series_added as f64,
            ),
        ];
        for (name, help, unit, value) in series {
            table.note_family(name, MetricKind::Gauge, unit, help);
            // No exposed series can start with this byte.
            let key = [b"\xff", name.as_bytes()].concat();
            let described = table.set(&key, value, || {
                let mut builder = target.labels.to_builder();
                let labels = with_external(&builder.set(METRIC_NAME, name).finish(), external_labels);
                Ok::<_, Infallible>(SeriesDescription { labels, family: name.to_owned() })
            });
            match described {
                // A full table has no room for them; the scrape has failed by that already.
                Ok(_) => {}
                Err(never) => match never {},
            }
        }
    }
}
