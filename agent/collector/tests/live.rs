//! This host, told by us and by the real node_exporter at the same time.

mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{Exposition, config, found};
use vedette_collector::{Paths, Registry};

const VERSION: &str = "1.11.1";
/// The peer is Debian's build, which has another default here.
const UPSTREAM_DEFAULT: &str = "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";

const DEADLINE: Duration = Duration::from_secs(60);

/// Values that may differ, and why.
const EXCEPTIONS: [(&str, &str); 2] = [
    ("node_scrape_collector_duration_seconds", "how long each took"),
    ("node_filesystem_readonly", "1.11.1 overlooks `ro` among other options; mended in 1.12"),
];

/// Families that only we have, and why.
const OURS_ONLY: [(&str, &str); 1] = [(
    "node_cpu_frequency_hertz",
    "node_exporter's `cpu` has it only while its `cpufreq` is on, which is off here",
)];

/// A label that 1.11.1 gets wrong: where the kernel lacks any of the other attributes of a block device's queue, it
/// says that the disk does not rotate. Mended in 1.12.
const ROTATIONAL: &str = "rotational=\"1\"";

struct NodeExporter {
    child: Child,
    address: SocketAddr,
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it was running");
    }
}

impl NodeExporter {
    /// With only the collectors `names` on, and `flags`.
    fn start(binary: &PathBuf, names: &[&str], flags: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let mut command = Command::new(binary);
        command.arg("--collector.disable-defaults").arg(format!("--web.listen-address={address}"));
        command.args(names.iter().map(|name| format!("--collector.{name}"))).args(flags);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let exporter = Self { child, address };
        poll("it listens", || TcpStream::connect(address).is_ok());
        exporter
    }

    fn scrape(&self) -> Exposition {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers in UTF-8");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200"), "{head}\n{body}");
        let mut exposition = Exposition::parse(body);
        exposition.0.retain(|name, _| name.starts_with("node_") && name != "node_exporter_build_info");
        exposition
    }
}

#[expect(clippy::disallowed_methods, reason = "driver: a test's deadline")]
fn poll(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "not in time: {what}");
        thread::yield_now();
    }
}

/// What we tell, as 1.11.1 would.
fn gather(registry: &mut Registry) -> Exposition {
    let mut ours = Exposition::gather(registry);
    if let Some(info) = ours.0.get_mut("node_disk_info") {
        let samples = std::mem::take(&mut info.samples);
        let as_theirs = |(key, value): (String, String)| (key.replace(ROTATIONAL, "rotational=\"0\""), value);
        info.samples = samples.into_iter().map(as_theirs).collect();
    }
    ours
}

/// Gathers with `yaml` and with `flags` until everything agrees.
fn check(yaml: &str, flags: &[&str]) {
    let peers = std::env::var_os("VEDETTE_PEERS").map(PathBuf::from).unwrap_or_default();
    let binary = peers.join("prometheus-node-exporter");
    if !found(binary.is_file(), "prometheus-node-exporter in VEDETTE_PEERS") {
        return;
    }
    let version = Command::new(&binary).arg("--version").output().expect("it runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    assert!(version.contains(VERSION), "{version}");
    let mut registry = Registry::new(&config(yaml), Paths::default()).expect("a valid configuration");
    let names: Vec<&str> = registry.names().collect();
    let exporter = NodeExporter::start(&binary, &names, flags);
    // A sample agrees when it has once been between what we told before and after.
    let mut open: BTreeSet<String> = BTreeSet::new();
    let mut agreed: BTreeSet<String> = BTreeSet::new();
    let mut rounds = 0;
    poll("every value agrees", || {
        // They see the connection that they are scraped by; so let there be one when we look, too.
        let idle = TcpStream::connect(exporter.address).expect("it listens");
        let before = gather(&mut registry);
        drop(idle);
        let theirs = exporter.scrape();
        let _idle = TcpStream::connect(exporter.address).expect("it listens");
        let after = gather(&mut registry);
        same_families(&theirs, &after);
        open.clear();
        for (name, family) in &theirs.0 {
            for (key, value) in &family.samples {
                let is_exempt = EXCEPTIONS.iter().any(|(exempt, _)| exempt == name);
                let ours = [&before, &after].map(|ours| ours.0[name].samples.get(key).cloned());
                if is_exempt || is_between(value, &ours) {
                    agreed.insert(key.clone());
                } else if !agreed.contains(key) {
                    open.insert(format!("{key} {value}, ours {ours:?}"));
                }
            }
        }
        rounds += 1;
        if rounds == 100 && !open.is_empty() {
            println!("still open: {open:#?}");
        }
        open.is_empty()
    });
    assert!(agreed.len() > 200, "only {} samples", agreed.len());
    println!("{} samples agree after {rounds} rounds", agreed.len());
}

fn same_families(theirs: &Exposition, ours: &Exposition) {
    let is_shared = |name: &&String| !OURS_ONLY.iter().any(|(only, _)| only == name);
    let names =
        |exposition: &Exposition| exposition.0.keys().filter(is_shared).cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(theirs), names(ours));
    for (name, family) in &theirs.0 {
        let other = &ours.0[name];
        assert_eq!((&family.help, &family.kind), (&other.help, &other.kind), "{name}");
        let keys = |family: &support::Family| family.samples.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(family), keys(other), "{name}");
    }
}

/// Equal as text to one of ours, or between them.
fn is_between(theirs: &String, ours: &[Option<String>; 2]) -> bool {
    let [Some(before), Some(after)] = ours else {
        return false;
    };
    if theirs == before || theirs == after {
        return true;
    }
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    let (theirs, before, after) = (number(theirs), number(before), number(after));
    (before.min(after)..=before.max(after)).contains(&theirs)
}

#[test]
fn defaults_agree() {
    check("{}", &[UPSTREAM_DEFAULT]);
}

#[test]
fn parameters_mean_the_same() {
    check(
        "
        cpu: {info: true, info.flags-include: ^s, info.bugs-include: spectre, guest: false}
        diskstats: {device-exclude: ''}
        filesystem: {mount-points-exclude: ^/sys, fs-types-exclude: ^(proc|cgroup2?)$}
        netdev: {address-info: true, enable-detailed-metrics: true, label-ifalias: true}
        netstat: {fields: ^Tcp}
        stat: {softirq: true}
        vmstat: {fields: nr_}
        ",
        &[
            "--collector.cpu.info",
            "--collector.cpu.info.flags-include=^s",
            "--collector.cpu.info.bugs-include=spectre",
            "--no-collector.cpu.guest",
            "--collector.diskstats.device-exclude=",
            "--collector.filesystem.mount-points-exclude=^/sys",
            "--collector.filesystem.fs-types-exclude=^(proc|cgroup2?)$",
            "--collector.netdev.address-info",
            "--collector.netdev.enable-detailed-metrics",
            "--collector.netdev.label-ifalias",
            "--collector.netstat.fields=^Tcp",
            "--collector.stat.softirq",
            "--collector.vmstat.fields=nr_",
        ],
    );
}

#[test]
fn procfs_counts_what_netlink_does() {
    check(
        "netdev: {netlink: false, device-exclude: ^x}",
        &[UPSTREAM_DEFAULT, "--no-collector.netdev.netlink", "--collector.netdev.device-exclude=^x"],
    );
}
