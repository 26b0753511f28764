//! Which counters make which metric. The default names are those of `/proc/net/dev`, whatever the counters come from:
//! some of them sum up several that netlink tells apart, as the kernel does for that file.

/// A family and the counters, by index, that are summed up in it.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) sum_of: &'static [usize],
}

macro_rules! metric {
    ($key:literal, $($at:literal),+) => {
        Metric {
            name: concat!("node_network_", $key, "_total"),
            help: concat!("Network device statistic ", $key, "."),
            sum_of: &[$($at),+],
        }
    };
}

/// Numbers of a line in `/proc/net/dev`.
pub(super) const PROCFS_COLUMNS: usize = 16;

/// Indices of `struct rtnl_link_stats64`.
pub(super) const NETLINK: &[Metric] = &[
    metric!("receive_bytes", 2),
    metric!("receive_packets", 0),
    metric!("receive_errs", 4),
    // Dropped and missed.
    metric!("receive_drop", 6, 15),
    metric!("receive_fifo", 14),
    // Frame, length, overrun, checksum.
    metric!("receive_frame", 13, 10, 11, 12),
    metric!("receive_compressed", 21),
    metric!("receive_multicast", 8),
    metric!("receive_nohandler", 23),
    metric!("transmit_bytes", 3),
    metric!("transmit_packets", 1),
    metric!("transmit_errs", 5),
    metric!("transmit_drop", 7),
    metric!("transmit_fifo", 18),
    metric!("transmit_colls", 9),
    // Carrier, aborted, heartbeat, window.
    metric!("transmit_carrier", 17, 16, 19, 20),
    metric!("transmit_compressed", 22),
];

/// The same, each for itself.
pub(super) const NETLINK_DETAILED: &[Metric] = &[
    metric!("receive_packets", 0),
    metric!("transmit_packets", 1),
    metric!("receive_bytes", 2),
    metric!("transmit_bytes", 3),
    metric!("receive_errors", 4),
    metric!("transmit_errors", 5),
    metric!("receive_dropped", 6),
    metric!("transmit_dropped", 7),
    metric!("multicast", 8),
    metric!("collisions", 9),
    metric!("receive_length_errors", 10),
    metric!("receive_over_errors", 11),
    metric!("receive_crc_errors", 12),
    metric!("receive_frame_errors", 13),
    metric!("receive_fifo_errors", 14),
    metric!("receive_missed_errors", 15),
    metric!("transmit_aborted_errors", 16),
    metric!("transmit_carrier_errors", 17),
    metric!("transmit_fifo_errors", 18),
    metric!("transmit_heartbeat_errors", 19),
    metric!("transmit_window_errors", 20),
    metric!("receive_compressed", 21),
    metric!("transmit_compressed", 22),
    metric!("receive_nohandler", 23),
];

/// Columns of `/proc/net/dev`.
pub(super) const PROCFS: &[Metric] = &[
    metric!("receive_bytes", 0),
    metric!("receive_packets", 1),
    metric!("receive_errs", 2),
    metric!("receive_drop", 3),
    metric!("receive_fifo", 4),
    metric!("receive_frame", 5),
    metric!("receive_compressed", 6),
    metric!("receive_multicast", 7),
    metric!("transmit_bytes", 8),
    metric!("transmit_packets", 9),
    metric!("transmit_errs", 10),
    metric!("transmit_drop", 11),
    metric!("transmit_fifo", 12),
    metric!("transmit_colls", 13),
    metric!("transmit_carrier", 14),
    metric!("transmit_compressed", 15),
];

/// The same under the detailed names that they have.
pub(super) const PROCFS_DETAILED: &[Metric] = &[
    metric!("receive_bytes", 0),
    metric!("receive_packets", 1),
    metric!("receive_errors", 2),
    metric!("receive_dropped", 3),
    metric!("receive_fifo", 4),
    metric!("receive_frame", 5),
    metric!("receive_compressed", 6),
    metric!("receive_multicast", 7),
    metric!("transmit_bytes", 8),
    metric!("transmit_packets", 9),
    metric!("transmit_errors", 10),
    metric!("transmit_dropped", 11),
    metric!("transmit_fifo", 12),
    metric!("transmit_colls", 13),
    metric!("transmit_carrier", 14),
    metric!("transmit_compressed", 15),
];
