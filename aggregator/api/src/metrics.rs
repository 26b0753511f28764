use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// What the HTTP side tells of itself.
pub(crate) struct ApiMetrics {
    pub(crate) requests: IntCounterVec,
    pub(crate) request_duration: HistogramVec,
    pub(crate) queries_running: IntGauge,
    pub(crate) queries_waiting: IntGauge,
    pub(crate) queries_memory: IntGauge,
    pub(crate) query_duration: HistogramVec,
    pub(crate) query_samples: IntCounter,
    pub(crate) query_samples_peak: Histogram,
    pub(crate) query_failures: IntCounterVec,
    pub(crate) replies_abandoned: IntCounter,
}

impl ApiMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new("vedette_aggregator_http_requests_total", "HTTP requests answered."),
                &["handler", "code"],
            )?,
            request_duration: HistogramVec::new(
                HistogramOpts::new(
                    "vedette_aggregator_http_request_duration_seconds",
                    "Time until the head of a response was ready.",
                )
                .buckets(durations()),
                &["handler"],
            )?,
            queries_running: IntGauge::new("vedette_aggregator_queries_running", "Queries being evaluated.")?,
            queries_waiting: IntGauge::new(
                "vedette_aggregator_queries_waiting",
                "Queries that wait for others to end.",
            )?,
            queries_memory: IntGauge::new(
                "vedette_aggregator_queries_memory_bytes",
                "Memory of the samples and labels that queries hold.",
            )?,
            query_duration: HistogramVec::new(
                HistogramOpts::new(
                    "vedette_aggregator_query_duration_seconds",
                    "Time to evaluate a query and to write its answer.",
                )
                .buckets(durations()),
                &["kind"],
            )?,
            query_samples: IntCounter::new(
                "vedette_aggregator_query_samples_total",
                "Samples that queries have read.",
            )?,
            query_samples_peak: Histogram::with_opts(
                HistogramOpts::new(
                    "vedette_aggregator_query_peak_samples",
                    "The most samples that a query held at once.",
                )
                .buckets(vec![1e3, 1e4, 1e5, 1e6, 1e7, 5e7]),
            )?,
            query_failures: IntCounterVec::new(
                Opts::new("vedette_aggregator_query_failures_total", "Queries answered with an error."),
                &["kind", "reason"],
            )?,
            replies_abandoned: IntCounter::new(
                "vedette_aggregator_replies_abandoned_total",
                "Answers whose client had gone or did not read.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.request_duration.clone()))?;
        registry.register(Box::new(metrics.queries_running.clone()))?;
        registry.register(Box::new(metrics.queries_waiting.clone()))?;
        registry.register(Box::new(metrics.queries_memory.clone()))?;
        registry.register(Box::new(metrics.query_duration.clone()))?;
        registry.register(Box::new(metrics.query_samples.clone()))?;
        registry.register(Box::new(metrics.query_samples_peak.clone()))?;
        registry.register(Box::new(metrics.query_failures.clone()))?;
        registry.register(Box::new(metrics.replies_abandoned.clone()))?;
        Ok(metrics)
    }
}

fn durations() -> Vec<f64> {
    vec![0.001, 0.005, 0.02, 0.1, 0.4, 1.0, 3.0, 10.0, 30.0, 120.0]
}
