use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// What the side of agents and peers tells of itself.
pub(crate) struct IngestMetrics {
    pub(crate) sessions: IntGauge,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) refusals: IntCounterVec,
    pub(crate) enrolments: IntCounterVec,
    pub(crate) frames: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) acks: IntCounter,
    pub(crate) durable_duration: Histogram,
    pub(crate) storage_waits: IntCounter,
    pub(crate) identity_conflict: IntGaugeVec,
    pub(crate) peer_exchanges: IntCounterVec,
    pub(crate) gap_batches_recovered: IntCounter,
    pub(crate) catch_up: CatchUpMetrics,
}

/// What is copied from and for peers.
pub(crate) struct CatchUpMetrics {
    pub(crate) running: IntGauge,
    pub(crate) lacking_batches: IntGauge,
    pub(crate) parts: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) samples: IntCounter,
    pub(crate) batches: IntCounter,
    pub(crate) failures: IntCounterVec,
    pub(crate) bytes_sent: IntCounter,
}

impl IngestMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sessions: IntGauge::new("vedette_aggregator_sessions", "Live sessions of agents.")?,
            handshakes: IntCounterVec::new(
                Opts::new("vedette_aggregator_handshakes_total", "Calls that were accepted."),
                &["protocol"],
            )?,
            refusals: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_refusals_total",
                    "What agents, peers and newcomers were refused.",
                ),
                &["reason"],
            )?,
            enrolments: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_enrolments_total",
                    "Requests for certificates that were answered.",
                ),
                &["outcome"],
            )?,
            frames: IntCounter::new(
                "vedette_aggregator_frames_received_total",
                "Frames that agents have sent.",
            )?,
            bytes: IntCounter::new(
                "vedette_aggregator_frame_bytes_received_total",
                "Bytes of those frames.",
            )?,
            acks: IntCounter::new("vedette_aggregator_acks_sent_total", "Acknowledgements sent to agents.")?,
            durable_duration: Histogram::with_opts(
                HistogramOpts::new(
                    "vedette_aggregator_durable_duration_seconds",
                    "Time from a frame's arrival until it is synced to disk and can be acknowledged.",
                )
                .buckets(vec![0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            )?,
            storage_waits: IntCounter::new(
                "vedette_aggregator_storage_waits_total",
                "Times a session stopped reading because storage's queue was full.",
            )?,
            identity_conflict: IntGaugeVec::new(
                Opts::new(
                    "vedette_aggregator_identity_conflict",
                    "Agents' names that several agents use at once.",
                ),
                &["agent"],
            )?,
            peer_exchanges: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_peer_exchanges_total",
                    "Exchanges of membership with other replicas.",
                ),
                &["outcome"],
            )?,
            gap_batches_recovered: IntCounter::new(
                "vedette_aggregator_gap_batches_recovered_total",
                "Batches that an agent no longer had and a peer did.",
            )?,
            catch_up: CatchUpMetrics::register(registry)?,
        };
        registry.register(Box::new(metrics.sessions.clone()))?;
        registry.register(Box::new(metrics.handshakes.clone()))?;
        registry.register(Box::new(metrics.refusals.clone()))?;
        registry.register(Box::new(metrics.enrolments.clone()))?;
        registry.register(Box::new(metrics.frames.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.acks.clone()))?;
        registry.register(Box::new(metrics.durable_duration.clone()))?;
        registry.register(Box::new(metrics.storage_waits.clone()))?;
        registry.register(Box::new(metrics.identity_conflict.clone()))?;
        registry.register(Box::new(metrics.peer_exchanges.clone()))?;
        registry.register(Box::new(metrics.gap_batches_recovered.clone()))?;
        Ok(metrics)
    }
}

impl CatchUpMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            running: IntGauge::new(
                "vedette_aggregator_catch_up_running",
                "Whether parts are being copied from a peer.",
            )?,
            lacking_batches: IntGauge::new(
                "vedette_aggregator_catch_up_lacking_batches",
                "Batches that a peer had and this replica had not, when it last looked; agents may still bring them.",
            )?,
            parts: IntCounter::new(
                "vedette_aggregator_catch_up_parts_copied_total",
                "Parts copied from peers.",
            )?,
            bytes: IntCounter::new("vedette_aggregator_catch_up_bytes_copied_total", "Their bytes.")?,
            samples: IntCounter::new(
                "vedette_aggregator_catch_up_samples_copied_total",
                "Their samples, those that were here already included.",
            )?,
            batches: IntCounter::new(
                "vedette_aggregator_catch_up_batches_copied_total",
                "Batches that this replica lacked and has by copying parts.",
            )?,
            failures: IntCounterVec::new(
                Opts::new(
                    "vedette_aggregator_catch_up_failures_total",
                    "Looks at peers, and copies, that did not work.",
                ),
                &["reason"],
            )?,
            bytes_sent: IntCounter::new(
                "vedette_aggregator_catch_up_bytes_sent_total",
                "Bytes of parts that peers have copied.",
            )?,
        };
        registry.register(Box::new(metrics.running.clone()))?;
        registry.register(Box::new(metrics.lacking_batches.clone()))?;
        registry.register(Box::new(metrics.parts.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.samples.clone()))?;
        registry.register(Box::new(metrics.batches.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.bytes_sent.clone()))?;
        Ok(metrics)
    }
}
