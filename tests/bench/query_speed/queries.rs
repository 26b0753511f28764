//! What is asked: the kinds that dashboards and alerts are made of.

/// Over which times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// At the end of the data.
    Instant,
    /// The last hour, a point every 15 s.
    Hour,
    /// All of the data, a point a minute.
    All,
}

pub(crate) struct Query {
    pub(crate) text: &'static str,
    pub(crate) span: Span,
}

const fn instant(text: &'static str) -> Query {
    Query { text, span: Span::Instant }
}

const fn hour(text: &'static str) -> Query {
    Query { text, span: Span::Hour }
}

const fn all(text: &'static str) -> Query {
    Query { text, span: Span::All }
}

/// The kinds that have targets of their own.
pub(crate) const KINDS: [Query; 5] = [
    all("sum by(mode)(rate(node_cpu_seconds_total[5m]))"),
    all("sum(rate(node_interrupts_total[5m]))"),
    hour(r#"sum by(mode)(irate(node_cpu_seconds_total{instance="host-003"}[1m]))"#),
    instant(
        r#"(node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs"} / node_filesystem_size_bytes{fstype!~"tmpfs|ramfs"} < 0.15) and node_filesystem_readonly == 0"#,
    ),
    instant(r#"count by(__name__)({job="node"})"#),
];

/// Panels of one host and of the fleet, in the manner of public dashboards.
pub(crate) const DASHBOARD: [Query; 37] = [
    all(r#"100 * (1 - avg(rate(node_cpu_seconds_total{mode="idle",instance="host-003"}[5m])))"#),
    hour(
        r#"sum by(instance)(irate(node_cpu_seconds_total{mode="system",instance="host-003"}[1m])) / on(instance) group_left sum by(instance)(irate(node_cpu_seconds_total{instance="host-003"}[1m])) * 100"#,
    ),
    all(r#"1 - avg by(instance)(rate(node_cpu_seconds_total{mode="idle"}[5m]))"#),
    all(
        r#"node_memory_MemTotal_bytes{instance="host-003"} - node_memory_MemFree_bytes{instance="host-003"} - (node_memory_Cached_bytes{instance="host-003"} + node_memory_Buffers_bytes{instance="host-003"} + node_memory_SReclaimable_bytes{instance="host-003"})"#,
    ),
    all("(1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes) * 100"),
    instant("topk(5, 1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)"),
    all(r#"node_load1{instance="host-003",job="node"}"#),
    all(
        r#"avg(node_load5{instance="host-003"}) / count(count by(cpu)(node_cpu_seconds_total{instance="host-003"})) * 100"#,
    ),
    instant(
        r#"max by(instance)(node_load15) / on(instance) count by(instance)(node_cpu_seconds_total{mode="idle"})"#,
    ),
    all(r#"rate(node_disk_read_bytes_total{instance="host-003",device=~"sd.+|vd.+|nvme.+|dm-.+"}[5m])"#),
    all(r#"rate(node_disk_io_time_seconds_total{instance="host-003"}[5m])"#),
    all("sum by(instance)(rate(node_disk_written_bytes_total[5m]))"),
    all(
        r#"rate(node_disk_write_time_seconds_total{instance="host-003"}[5m]) / rate(node_disk_writes_completed_total{instance="host-003"}[5m])"#,
    ),
    all(r#"rate(node_network_receive_bytes_total{instance="host-003"}[5m]) * 8"#),
    all(r#"sum(rate(node_network_transmit_bytes_total{device!~"lo|veth.*|docker.*"}[5m])) * 8"#),
    instant(r#"topk(5, sum by(instance)(rate(node_network_receive_bytes_total{device!="lo"}[5m])))"#),
    all(
        r#"100 - node_filesystem_avail_bytes{instance="host-003",device!~"rootfs"} * 100 / node_filesystem_size_bytes{instance="host-003",device!~"rootfs"}"#,
    ),
    all("min by(mountpoint)(node_filesystem_avail_bytes / node_filesystem_size_bytes)"),
    instant(r#"predict_linear(node_filesystem_avail_bytes{fstype!~"tmpfs"}[1h], 4 * 3600)"#),
    all(r#"quantile(0.95, 1 - avg by(instance)(rate(node_cpu_seconds_total{mode="idle"}[5m])))"#),
    all("histogram_quantile(0.99, sum by(le)(rate(http_request_duration_seconds_bucket[5m])))"),
    all(r#"histogram_quantile(0.9, rate(http_request_duration_seconds_bucket{instance="host-003"}[5m]))"#),
    instant("avg_over_time(node_load1[1h])"),
    all(r#"max_over_time(node_memory_Committed_AS_bytes{instance="host-003"}[30m])"#),
    instant("node_time_seconds - node_boot_time_seconds"),
    hour("node_load1 * on(instance) group_left(nodename, release) node_uname_info"),
    instant("max_over_time(sum by(instance)(rate(node_context_switches_total[1m]))[30m:1m])"),
    all(r#"rate(node_vmstat_pgfault{instance="host-003"}[5m])"#),
    all(r#"{__name__=~"node_netstat_Tcp_.+",instance="host-003"}"#),
    instant(r#"sum by(__name__)({__name__=~"node_network_(receive|transmit)_(errs|drop)_total"})"#),
    instant("count(up == 1)"),
    all("sum by(instance)(increase(node_intr_total[1h]))"),
    all(r#"node_sockstat_TCP_alloc{instance="host-003"}"#),
    all(r#"stddev_over_time(node_load5{instance="host-003"}[1h])"#),
    hour(r#"irate(node_schedstat_waiting_seconds_total{instance="host-003"}[5m])"#),
    instant(r#"label_replace(node_os_info, "os", "$1", "pretty_name", "(\\w+).*")"#),
    all(
        r#"bottomk(3, node_filesystem_avail_bytes{fstype!="tmpfs"} / node_filesystem_size_bytes{fstype!="tmpfs"})"#,
    ),
];
