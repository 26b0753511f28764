//! Files that are not what the kernel writes: the collector that reads one fails, alone, and nothing panics.

mod support;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use support::{Exposition, reference_data, unpack_fixtures};
use vedette_collector::{Gathered, Paths, Registry};

const CONFIG: &str = r#"
cpu: {info: true, info.bugs-include: ., info.flags-include: .}
netdev: {netlink: false, label-ifalias: true, enable-detailed-metrics: true}
netstat: {fields: ''}
vmstat: {fields: ''}
stat: {softirq: true}
"#;

/// Files, what they are replaced with, and the collectors that must fail then.
const CASES: [(&str, &str, &[&str]); 25] = [
    ("proc/stat", "garbage here\n", &["cpu", "stat"]),
    ("proc/stat", "cpu0 1 2 x\n", &["cpu", "stat"]),
    ("proc/stat", "", &["cpu", "stat"]),
    ("proc/cpuinfo", "garbage\n", &["cpu"]),
    ("sys/devices/system/cpu/isolated", "garbage\n", &["cpu"]),
    ("proc/meminfo", "MemTotal: x kB\n", &["meminfo"]),
    ("proc/meminfo", "MemTotal: 5 MB\n", &["meminfo"]),
    ("proc/meminfo", "", &["meminfo"]),
    ("proc/loadavg", "0.1 garbage 0.3\n", &["loadavg"]),
    ("proc/loadavg", "0.1 0.2\n", &["loadavg"]),
    ("proc/diskstats", "garbage\n", &["diskstats"]),
    ("proc/diskstats", "8 0 sda 1 2 x\n", &["diskstats"]),
    ("proc/net/dev", "a\nb\nno colon\n", &["netdev"]),
    ("proc/net/dev", "a\nb\neth0: 1 2 3\n", &["netdev"]),
    ("proc/net/netstat", "TcpExt: A B\nTcpExt: 1\n", &["netstat"]),
    ("proc/net/snmp", "garbage\n", &["netstat"]),
    ("proc/net/snmp6", "Ip6InOctets x\n", &["netstat"]),
    ("proc/net/sockstat", "TCP: inuse\n", &["sockstat"]),
    ("proc/net/sockstat6", "TCP6: inuse x\n", &["sockstat"]),
    ("proc/vmstat", "oom_kill\n", &["vmstat"]),
    ("proc/pressure/io", "some avg10=0.00 total=x\n", &["pressure"]),
    ("proc/sys/fs/file-nr", "1 2 3\n", &["filefd"]),
    ("proc/sys/kernel/random/entropy_avail", "many\n", &["entropy"]),
    ("proc/net/stat/nf_conntrack", "entries\n00 zz\n", &["conntrack"]),
    ("usr/lib/os-release", "nonsense\n", &["os"]),
];

/// Files beside those in [`CASES`] that some collector reads.
const MORE_FILES: [&str; 10] = [
    "proc/1/mountinfo",
    "proc/pressure/cpu",
    "proc/pressure/irq",
    "proc/pressure/memory",
    "proc/sys/kernel/random/poolsize",
    "proc/sys/net/netfilter/nf_conntrack_count",
    "proc/sys/net/netfilter/nf_conntrack_max",
    "sys/devices/system/clocksource/clocksource0/available_clocksource",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
    "udev/data/b8:0",
];

struct Host {
    folder: tempfile::TempDir,
    paths: Paths,
    registry: Registry,
}

impl Host {
    fn new() -> Option<Self> {
        let data = reference_data()?;
        let folder = tempfile::tempdir().expect("a folder");
        let paths = unpack_fixtures(&data, folder.path());
        let mountinfo = "1 0 8:1 / /usr rw shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n";
        fs::write(folder.path().join("proc/1/mountinfo"), mountinfo).expect("a writable file");
        // The fixtures have none, because node_exporter is tested with netlink.
        let netdev = "Inter-| Receive\n face |bytes\n  lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        fs::write(folder.path().join("proc/net/dev"), netdev).expect("a writable file");
        let registry = Registry::new(&support::config(CONFIG), paths.clone()).expect("a valid configuration");
        Some(Self { folder, paths, registry })
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    /// Names of the collectors that fail.
    fn failing(&mut self) -> Vec<String> {
        let exposition = Exposition::gather(&mut self.registry);
        let success = &exposition.0["node_scrape_collector_success"];
        let failing = success.samples.iter().filter(|(_, value)| *value == "0");
        failing.map(|(key, _)| key.split('"').nth(1).expect("a label").to_owned()).collect()
    }
}

#[test]
fn one_fails_alone_and_works_again() {
    let Some(mut host) = Host::new() else {
        return;
    };
    assert!(host.failing().is_empty());
    for (file, content, collectors) in CASES {
        let path = host.path(file);
        let good = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        // Isolation of CPUs is read only once.
        host.registry = Registry::new(&support::config(CONFIG), host.paths.clone()).unwrap();
        assert_eq!(host.failing(), collectors, "{file} is {content:?}");
        fs::write(&path, good).unwrap();
        assert!(host.failing().is_empty(), "{file} is as it was");
    }
}

#[test]
fn a_file_that_can_not_be_read_fails_alone() {
    let Some(mut host) = Host::new() else {
        return;
    };
    for (file, _, collectors) in CASES {
        let path = host.path(file);
        let good = fs::read(&path).unwrap();
        // As root no mode keeps a file from being read; a folder can not be read by anybody.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        host.registry = Registry::new(&support::config(CONFIG), host.paths.clone()).unwrap();
        assert_eq!(host.failing(), collectors, "{file} is a folder");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, good).unwrap();
        assert!(host.failing().is_empty(), "{file} is as it was");
    }
}

#[test]
fn an_empty_host_fails_everywhere_without_a_panic() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let paths = Paths {
        procfs: path("proc"),
        sysfs: path("sys"),
        rootfs: path("root"),
        udev: path("udev"),
        localtime: path("localtime"),
    };
    let mut registry = Registry::new(&support::config("{}"), paths).unwrap();
    let exposition = Exposition::gather(&mut registry);
    let success = &exposition.0["node_scrape_collector_success"].samples;
    let succeeding: Vec<_> = success.iter().filter(|(_, value)| *value == "1").map(|(key, _)| key).collect();
    // Over netlink, from the clock and from a system call; sockets are those of no version of IP.
    assert_eq!(succeeding.len(), 4, "{succeeding:?}");
}

#[test]
fn no_truncation_panics() {
    let Some(mut host) = Host::new() else {
        return;
    };
    let mut gathered = Gathered::new();
    let mut truncations = 0;
    for file in CASES.iter().map(|(file, ..)| *file).chain(MORE_FILES) {
        let path = host.path(file);
        let good = fs::read(&path).unwrap();
        // Every length of a short file, some of a long one.
        for len in (0..good.len()).step_by(good.len() / 50 + 1) {
            fs::write(&path, &good[..len]).unwrap();
            gathered.clear();
            host.registry.gather(&mut gathered);
            truncations += 1;
        }
        fs::write(&path, good).unwrap();
    }
    assert!(truncations > 1000, "{truncations}");
    assert!(host.failing().is_empty());
}

/// How a file is spoiled.
#[derive(Clone, Debug)]
enum Spoil {
    Truncate(prop::sample::Index),
    Replace(prop::sample::Index, Vec<u8>),
    Garbage(Vec<u8>),
    Repeat(usize),
    Remove,
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let bytes = || {
        prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"0159 \n\t:=-,x"[..])], 0..40)
    };
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Spoil::Truncate),
        (any::<prop::sample::Index>(), bytes()).prop_map(|(at, bytes)| Spoil::Replace(at, bytes)),
        bytes().prop_map(Spoil::Garbage),
        (2usize..5).prop_map(Spoil::Repeat),
        Just(Spoil::Remove),
    ]
}

fn apply(spoil: &Spoil, path: &Path, good: &[u8]) {
    let content = match spoil {
        Spoil::Truncate(at) => good[..at.index(good.len() + 1)].to_vec(),
        Spoil::Replace(at, bytes) => {
            let at = at.index(good.len() + 1);
            let end = (at + bytes.len()).min(good.len());
            [&good[..at], bytes, &good[end..]].concat()
        }
        Spoil::Garbage(bytes) => bytes.clone(),
        Spoil::Repeat(times) => good.repeat(*times),
        Spoil::Remove => return fs::remove_file(path).expect("it is there"),
    };
    fs::write(path, content).expect("a writable file");
}

#[test]
fn no_content_panics() {
    let Some(host) = Host::new() else {
        return;
    };
    let files: Vec<&str> = CASES.iter().map(|(file, ..)| *file).chain(MORE_FILES).collect();
    let good: Vec<Vec<u8>> = files.iter().map(|file| fs::read(host.path(file)).unwrap()).collect();
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let state = RefCell::new((host.registry, Gathered::new()));
    let gather = |registry: &mut Registry, gathered: &mut Gathered| {
        gathered.clear();
        registry.gather(gathered);
        let mut text = Vec::new();
        gathered.write_text(&mut text);
        // Whatever came of it, keys are unique and names are names.
        let exposition = Exposition::parse(&String::from_utf8(text).expect("valid UTF-8"));
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        prop_assert!(exposition.0.keys().all(is_name), "{:?}", exposition.0.keys());
        Ok(())
    };
    runner
        .run(&(0..files.len(), spoil()), |(at, spoil)| {
            let path = host.folder.path().join(files[at]);
            apply(&spoil, &path, &good[at]);
            let (registry, gathered) = &mut *state.borrow_mut();
            let result = gather(registry, gathered).and_then(|()| {
                // What is read only at the start is read anew by another one.
                let mut fresh = Registry::new(&support::config(CONFIG), host.paths.clone()).unwrap();
                gather(&mut fresh, gathered)
            });
            fs::write(&path, &good[at]).unwrap();
            result
        })
        .unwrap();
}
