use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::log::{Appended, Rejection};

/// What the side of pushes tells of itself.
pub(crate) struct PushMetrics {
    pub(super) requests: IntCounterVec,
    samples: IntCounter,
    rejected: IntCounterVec,
    series: IntGauge,
    pub(super) logs: IntCounter,
    pub(super) logs_given_up: IntCounter,
    pub(super) acks_degraded: IntCounter,
    pub(super) repeated: IntCounter,
}

impl PushMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_push_requests_total",
                    "Requests of remote write that were answered.",
                ),
                &["outcome"],
            )?,
            samples: IntCounter::new(
                "vedette_aggregator_push_samples_total",
                "Samples taken from requests of remote write.",
            )?,
            rejected: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_push_samples_rejected_total",
                    "Samples of requests of remote write that were not taken.",
                ),
                &["reason"],
            )?,
            series: IntGauge::new(
                "vedette_aggregator_push_series",
                "Series in the log that pushes are written to.",
            )?,
            logs: IntCounter::new(
                "vedette_aggregator_push_logs_total",
                "Logs begun for pushes: at the start, when one is full, and after one was given up.",
            )?,
            logs_given_up: IntCounter::new(
                "vedette_aggregator_push_logs_given_up_total",
                "Logs of pushes that ended because storage could not take a batch.",
            )?,
            acks_degraded: IntCounter::new(
                "vedette_aggregator_push_acks_degraded_total",
                "Requests of remote write that were answered before a peer had them, though there are peers.",
            )?,
            repeated: IntCounter::new(
                "vedette_aggregator_push_requests_repeated_total",
                "Requests of remote write that were here already, maybe by way of another replica.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.rejected.clone()))?;
        registry.register(Box::new(metrics.series.clone()))?;
        registry.register(Box::new(metrics.logs.clone()))?;
        registry.register(Box::new(metrics.logs_given_up.clone()))?;
        registry.register(Box::new(metrics.acks_degraded.clone()))?;
        registry.register(Box::new(metrics.repeated.clone()))?;
        for reason in Rejection::REASONS {
            metrics.rejected.with_label_values(&[reason]).inc_by(0);
        }
        Ok(metrics)
    }

    pub(super) fn count(&self, appended: &Appended, series: usize) {
        self.samples.inc_by(appended.samples);
        self.series.set(series as i64);
        let unsaid = [("invalid_labels", appended.invalid_labels), ("same_request", appended.same_request)];
        let said = appended.rejected.iter().map(|(rejection, count)| (rejection.reason(), *count));
        for (reason, count) in said.chain(unsaid) {
            self.rejected.with_label_values(&[reason]).inc_by(count);
        }
    }
}
