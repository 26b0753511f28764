//! Which series a host has: as node_exporter names them, and some of programs.

use crate::data::{Series, Shape};

/// The series of a host, all at zero.
pub(crate) fn series_of_host(number: usize) -> Vec<Series> {
    let mut list = List { instance: format!("host-{number:03}"), series: Vec::new() };
    list.add_processors();
    list.add_interrupts();
    list.add_memory();
    list.add_filesystems(number);
    list.add_disks();
    list.add_networks();
    list.add_kernel();
    list.add_network_stack();
    list.add_clocks_and_sensors();
    list.add_identity(number);
    list.add_programs();
    list.series
}

/// The series of a host as they are thought of.
struct List {
    instance: String,
    series: Vec<Series>,
}

impl List {
    fn add(&mut self, name: &str, labels: &[(&str, &str)], shape: Shape) {
        let own = [("__name__", name), ("instance", self.instance.as_str()), ("job", "node")];
        let mut labels: Vec<_> =
            own.iter().chain(labels).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        self.series.push(Series { labels, shape, value: 0.0 });
    }

    fn add_processors(&mut self) {
        for cpu in ["0", "1"] {
            let modes = [
                ("idle", Shape::Centiseconds(1480)),
                ("iowait", Shape::Centiseconds(6)),
                ("irq", Shape::Constant(0.0)),
                ("nice", Shape::Centiseconds(1)),
                ("softirq", Shape::Centiseconds(4)),
                ("steal", Shape::Constant(0.0)),
                ("system", Shape::Centiseconds(60)),
                ("user", Shape::Centiseconds(160)),
            ];
            for (mode, shape) in modes {
                self.add("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)], shape);
            }
            for mode in ["nice", "user"] {
                self.add(
                    "node_cpu_guest_seconds_total",
                    &[("cpu", cpu), ("mode", mode)],
                    Shape::Constant(0.0),
                );
            }
            for name in ["frequency_max_hertz", "frequency_min_hertz", "frequency_hertz"] {
                self.add(&format!("node_cpu_scaling_{name}"), &[("cpu", cpu)], Shape::Constant(2.4e9));
            }
            self.add("node_schedstat_running_seconds_total", &[("cpu", cpu)], Shape::Seconds(4.0));
            self.add("node_schedstat_waiting_seconds_total", &[("cpu", cpu)], Shape::Seconds(0.4));
            self.add("node_schedstat_timeslices_total", &[("cpu", cpu)], Shape::Events(30_000));
            for (name, growth) in [("processed", 9000), ("dropped", 0), ("times_squeezed", 1)] {
                self.add(&format!("node_softnet_{name}_total"), &[("cpu", cpu)], Shape::Events(growth));
            }
        }
    }

    /// 66 of one name, as many as a host with 32 processors has of idle and busy time.
    fn add_interrupts(&mut self) {
        for line in 0..33 {
            for cpu in ["0", "1"] {
                let labels =
                    [("cpu", cpu), ("devices", &format!("virtio{line}")), ("type", &line.to_string())];
                let labels = labels.map(|(name, value): (&str, &str)| (name, value));
                self.add("node_interrupts_total", &labels, Shape::Events(400 * (line % 4)));
            }
        }
    }

    fn add_memory(&mut self) {
        const GIB: f64 = (1u64 << 30) as f64;
        self.add("node_memory_MemTotal_bytes", &[], Shape::Constant(16.0 * GIB));
        for (name, low, high) in [
            ("MemFree", 0.5, 3.0),
            ("MemAvailable", 4.0, 11.0),
            ("Buffers", 0.1, 0.4),
            ("Cached", 3.0, 7.0),
            ("SReclaimable", 0.3, 0.8),
            ("Active", 4.0, 8.0),
            ("Inactive", 2.0, 5.0),
            ("AnonPages", 2.0, 6.0),
            ("Mapped", 0.2, 0.9),
            ("Slab", 0.4, 1.0),
            ("Committed_AS", 6.0, 12.0),
            ("Dirty", 0.0, 0.2),
            ("PageTables", 0.02, 0.09),
            ("KernelStack", 0.01, 0.03),
            ("Shmem", 0.1, 0.3),
        ] {
            self.add(&format!("node_memory_{name}_bytes"), &[], Shape::Pages(low * GIB, high * GIB));
        }
        for name in [
            "SwapTotal",
            "SwapFree",
            "SwapCached",
            "Writeback",
            "WritebackTmp",
            "Bounce",
            "NFS_Unstable",
            "CommitLimit",
            "VmallocTotal",
            "VmallocUsed",
            "VmallocChunk",
            "HardwareCorrupted",
            "AnonHugePages",
            "ShmemHugePages",
            "ShmemPmdMapped",
            "FileHugePages",
            "FilePmdMapped",
            "CmaTotal",
            "CmaFree",
            "HugePages_Total",
            "HugePages_Free",
            "HugePages_Rsvd",
            "HugePages_Surp",
            "Hugepagesize",
            "Hugetlb",
            "DirectMap4k",
            "DirectMap2M",
            "DirectMap1G",
            "Mlocked",
            "Unevictable",
            "Percpu",
            "SUnreclaim",
        ] {
            self.add(&format!("node_memory_{name}_bytes"), &[], Shape::Constant(2_097_152.0));
        }
    }

    fn add_filesystems(&mut self, number: usize) {
        const GIB: f64 = (1u64 << 30) as f64;
        let mounts = [
            ("/dev/vda1", "ext4", "/", 40.0),
            ("/dev/vda15", "vfat", "/boot/efi", 0.5),
            ("/dev/vdb", "xfs", "/var/lib/data", 500.0),
            ("/dev/vdc", "ext4", "/home", 100.0),
            ("tmpfs", "tmpfs", "/run", 1.6),
            ("tmpfs", "tmpfs", "/run/lock", 0.01),
        ];
        for (device, kind, mount, size) in mounts {
            let labels = [("device", device), ("fstype", kind), ("mountpoint", mount)];
            // Every seventh host is short of room for its data.
            let (low, high) =
                if number % 7 == 3 && mount == "/var/lib/data" { (0.02, 0.09) } else { (0.3, 0.8) };
            let room = Shape::Pages(low * size * GIB, high * size * GIB);
            for (name, shape) in [
                ("size_bytes", Shape::Constant(size * GIB)),
                ("avail_bytes", room),
                ("free_bytes", room),
                ("files", Shape::Constant(size * 65_536.0)),
                ("files_free", Shape::Pages(low * size * 65_536.0, high * size * 65_536.0)),
                ("readonly", Shape::Constant(0.0)),
                ("device_error", Shape::Constant(0.0)),
            ] {
                self.add(&format!("node_filesystem_{name}"), &labels, shape);
            }
        }
    }

    fn add_disks(&mut self) {
        for device in ["vda", "vdb", "vdc", "sr0"] {
            let busy = device != "sr0";
            let when_busy = |shape| if busy { shape } else { Shape::Constant(0.0) };
            for (name, shape) in [
                ("reads_completed_total", Shape::Events(60)),
                ("reads_merged_total", Shape::Events(4)),
                ("read_bytes_total", Shape::Events(4_000_000)),
                ("read_time_seconds_total", Shape::Centiseconds(9)),
                ("writes_completed_total", Shape::Events(300)),
                ("writes_merged_total", Shape::Events(80)),
                ("written_bytes_total", Shape::Events(9_000_000)),
                ("write_time_seconds_total", Shape::Centiseconds(40)),
                ("io_time_seconds_total", Shape::Centiseconds(30)),
                ("io_time_weighted_seconds_total", Shape::Centiseconds(50)),
                ("flush_requests_total", Shape::Events(20)),
                ("flush_requests_time_seconds_total", Shape::Centiseconds(3)),
                ("io_now", Shape::Constant(0.0)),
                ("discards_completed_total", Shape::Constant(0.0)),
                ("discards_merged_total", Shape::Constant(0.0)),
                ("discarded_sectors_total", Shape::Constant(0.0)),
                ("discard_time_seconds_total", Shape::Constant(0.0)),
            ] {
                self.add(&format!("node_disk_{name}"), &[("device", device)], when_busy(shape));
            }
            self.add(
                "node_disk_info",
                &[("device", device), ("major", "254"), ("path", "pci-0000")],
                Shape::Constant(1.0),
            );
        }
    }

    fn add_networks(&mut self) {
        for device in ["lo", "eth0", "eth1", "docker0", "veth1"] {
            let busy = matches!(device, "lo" | "eth0");
            for direction in ["receive", "transmit"] {
                for (name, growth) in [
                    ("bytes", 3_000_000),
                    ("packets", 9000),
                    ("drop", 1),
                    ("errs", 0),
                    ("fifo", 0),
                    ("frame", 0),
                    ("compressed", 0),
                    ("multicast", 0),
                ] {
                    let shape = if busy && growth > 0 { Shape::Events(growth) } else { Shape::Constant(0.0) };
                    self.add(&format!("node_network_{direction}_{name}_total"), &[("device", device)], shape);
                }
            }
            for name in [
                "up",
                "mtu_bytes",
                "speed_bytes",
                "carrier",
                "carrier_changes_total",
                "carrier_up_changes_total",
                "carrier_down_changes_total",
                "device_id",
                "dormant",
                "flags",
                "iface_id",
                "iface_link",
                "iface_link_mode",
                "name_assign_type",
                "net_dev_group",
                "protocol_type",
                "transmit_queue_length",
            ] {
                self.add(&format!("node_network_{name}"), &[("device", device)], Shape::Constant(1.0));
            }
            self.add(
                "node_network_info",
                &[("address", "02:42:ac:11:00:02"), ("device", device), ("operstate", "up")],
                Shape::Constant(1.0),
            );
        }
    }

    fn add_kernel(&mut self) {
        for (name, shape) in [
            ("node_load1", Shape::Decimals(4.0)),
            ("node_load5", Shape::Decimals(3.0)),
            ("node_load15", Shape::Decimals(2.0)),
            ("node_context_switches_total", Shape::Events(90_000)),
            ("node_intr_total", Shape::Events(60_000)),
            ("node_forks_total", Shape::Events(150)),
            ("node_boot_time_seconds", Shape::Constant(1_790_000_000.0)),
            ("node_time_seconds", Shape::Clock),
            ("node_procs_running", Shape::Constant(1.0)),
            ("node_procs_blocked", Shape::Constant(0.0)),
            ("node_filefd_allocated", Shape::Pages(4_194_304.0, 8_388_608.0)),
            ("node_filefd_maximum", Shape::Constant(9_223_372_036_854_776_000.0)),
            ("node_entropy_available_bits", Shape::Constant(256.0)),
            ("node_entropy_pool_size_bits", Shape::Constant(256.0)),
            ("node_vmstat_pgpgin", Shape::Events(4000)),
            ("node_vmstat_pgpgout", Shape::Events(9000)),
            ("node_vmstat_pgfault", Shape::Events(90_000)),
            ("node_vmstat_pgmajfault", Shape::Events(4)),
            ("node_vmstat_pswpin", Shape::Constant(0.0)),
            ("node_vmstat_pswpout", Shape::Constant(0.0)),
            ("node_vmstat_oom_kill", Shape::Constant(0.0)),
            ("node_pressure_cpu_waiting_seconds_total", Shape::Seconds(0.3)),
            ("node_pressure_io_stalled_seconds_total", Shape::Seconds(0.1)),
            ("node_pressure_io_waiting_seconds_total", Shape::Seconds(0.2)),
            ("node_pressure_memory_stalled_seconds_total", Shape::Constant(0.0)),
            ("node_pressure_memory_waiting_seconds_total", Shape::Constant(0.0)),
        ] {
            self.add(name, &[], shape);
        }
    }

    fn add_network_stack(&mut self) {
        for (number, name) in [
            "ActiveOpens",
            "CurrEstab",
            "InErrs",
            "InSegs",
            "OutRsts",
            "OutSegs",
            "PassiveOpens",
            "RetransSegs",
        ]
        .into_iter()
        .enumerate()
        {
            let shape = if number % 2 == 0 { Shape::Events(40) } else { Shape::Events(9000) };
            self.add(&format!("node_netstat_Tcp_{name}"), &[], shape);
        }
        for family in ["Icmp", "Icmp6", "Ip", "Ip6", "IpExt", "TcpExt", "Udp", "Udp6", "UdpLite"] {
            for name in ["InErrors", "InDatagrams", "OutDatagrams", "NoPorts"] {
                self.add(&format!("node_netstat_{family}_{name}"), &[], Shape::Constant(0.0));
            }
        }
        self.add("node_sockstat_TCP_alloc", &[], Shape::Pages(409_600.0, 819_200.0));
        self.add("node_sockstat_TCP_inuse", &[], Shape::Pages(204_800.0, 409_600.0));
        for name in [
            "FRAG6_inuse",
            "FRAG6_memory",
            "FRAG_inuse",
            "FRAG_memory",
            "RAW6_inuse",
            "RAW_inuse",
            "TCP6_inuse",
            "TCP_mem",
            "TCP_mem_bytes",
            "TCP_orphan",
            "TCP_tw",
            "UDP6_inuse",
            "UDPLITE6_inuse",
            "UDPLITE_inuse",
            "UDP_inuse",
            "UDP_mem",
            "UDP_mem_bytes",
            "sockets_used",
        ] {
            self.add(&format!("node_sockstat_{name}"), &[], Shape::Constant(7.0));
        }
    }

    fn add_clocks_and_sensors(&mut self) {
        for name in [
            "offset_seconds",
            "maxerror_seconds",
            "frequency_adjustment_ratio",
            "estimated_error_seconds",
            "loop_time_constant",
            "pps_calibration_total",
            "pps_error_total",
            "pps_frequency_hertz",
            "pps_jitter_seconds",
            "pps_jitter_total",
            "pps_shift_seconds",
            "pps_stability_exceeded_total",
            "pps_stability_hertz",
            "status",
            "sync_status",
            "tai_offset_seconds",
            "tick_seconds",
        ] {
            let shape = if name.starts_with("offset") || name.starts_with("maxerror") {
                Shape::Decimals(0.5)
            } else {
                Shape::Constant(0.0)
            };
            self.add(&format!("node_timex_{name}"), &[], shape);
        }
        for zone in 0..20 {
            let labels = [("chip", "platform_coretemp_0"), ("sensor", &format!("temp{zone}"))];
            let labels = labels.map(|(name, value): (&str, &str)| (name, value));
            self.add("node_hwmon_temp_celsius", &labels, Shape::Decimals(60.0));
            self.add("node_hwmon_temp_crit_celsius", &labels, Shape::Constant(100.0));
            self.add("node_hwmon_temp_max_celsius", &labels, Shape::Constant(90.0));
        }
        for type_ in
            ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"]
        {
            for cpu in ["0", "1"] {
                self.add("node_softirqs_total", &[("cpu", cpu), ("type", type_)], Shape::Events(3000));
            }
        }
    }

    fn add_identity(&mut self, number: usize) {
        let release = if number.is_multiple_of(3) { "6.1.0-28-amd64" } else { "6.12.0-9-amd64" };
        let nodename = format!("node{number}.example.org");
        self.add(
            "node_uname_info",
            &[
                ("domainname", "(none)"),
                ("machine", "x86_64"),
                ("nodename", &nodename),
                ("release", release),
                ("sysname", "Linux"),
            ],
            Shape::Constant(1.0),
        );
        self.add(
            "node_os_info",
            &[("id", "debian"), ("pretty_name", "Debian GNU/Linux 12 (bookworm)")],
            Shape::Constant(1.0),
        );
        self.add("node_os_version", &[("id", "debian")], Shape::Constant(12.0));
        self.add("node_dmi_info", &[("system_vendor", "QEMU")], Shape::Constant(1.0));
        self.add("up", &[], Shape::Constant(1.0));
        self.add("scrape_duration_seconds", &[], Shape::Seconds(1e-9));
        for name in ["samples_scraped", "samples_post_metric_relabeling", "series_added"] {
            self.add(&format!("scrape_{name}"), &[], Shape::Constant(800.0));
        }
        for collector in [
            "arp",
            "bonding",
            "conntrack",
            "cpu",
            "diskstats",
            "dmi",
            "entropy",
            "filefd",
            "filesystem",
            "hwmon",
            "loadavg",
            "meminfo",
            "netclass",
            "netdev",
            "netstat",
            "os",
            "pressure",
            "schedstat",
            "sockstat",
            "softnet",
            "stat",
            "time",
            "timex",
            "uname",
            "vmstat",
        ] {
            let labels = [("collector", collector)];
            self.add("node_scrape_collector_duration_seconds", &labels, Shape::Seconds(1e-9));
            self.add("node_scrape_collector_success", &labels, Shape::Constant(1.0));
        }
    }

    fn add_programs(&mut self) {
        for handler in ["/api", "/static"] {
            let mut growth = 2;
            for le in ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
            {
                growth += 3;
                let labels = [("handler", handler), ("le", le)];
                self.add("http_request_duration_seconds_bucket", &labels, Shape::Steady(growth));
            }
            self.add("http_request_duration_seconds_count", &[("handler", handler)], Shape::Steady(38));
            self.add("http_request_duration_seconds_sum", &[("handler", handler)], Shape::Seconds(3.0));
        }
        for quantile in ["0", "0.25", "0.5", "0.75", "1"] {
            self.add("go_gc_duration_seconds", &[("quantile", quantile)], Shape::Constant(2.7e-5));
        }
        for (name, shape) in [
            ("go_goroutines", Shape::Constant(8.0)),
            ("go_memstats_alloc_bytes", Shape::Pages(2e6, 4e6)),
            ("go_memstats_alloc_bytes_total", Shape::Events(400_000)),
            ("go_memstats_heap_inuse_bytes", Shape::Pages(2e6, 4e6)),
            ("go_memstats_mallocs_total", Shape::Events(4000)),
            ("go_threads", Shape::Constant(9.0)),
            ("process_cpu_seconds_total", Shape::Centiseconds(4)),
            ("process_max_fds", Shape::Constant(1_048_576.0)),
            ("process_open_fds", Shape::Constant(10.0)),
            ("process_resident_memory_bytes", Shape::Pages(1.8e7, 2.4e7)),
            ("process_start_time_seconds", Shape::Constant(1_790_000_100.5)),
            ("process_virtual_memory_bytes", Shape::Constant(1.26e9)),
        ] {
            self.add(name, &[], shape);
        }
        for name in 0..30 {
            self.add(&format!("go_memstats_other{name}_bytes"), &[], Shape::Constant(16_384.0));
        }
    }
}
