//! All collectors over node_exporter's fixtures, against the exposition that it is tested with itself.

mod support;

use std::collections::BTreeSet;

use support::{Exposition, config, families_by_collector, found, reference_data, unpack_fixtures};
use vedette_collector::Registry;

/// node_exporter's end-to-end test runs with these flags.
const CONFIG: &str = r#"
cpu:
  info: true
  info.bugs-include: ^(cpu_meltdown|spectre_.*|mds)$
  info.flags-include: ^(aes|avx.?|constant_tsc)$
netdev: {device-include: lo}
stat: {softirq: true}
filesystem: false
uname: false
"#;

/// Families whose samples depend on the machine, so that the golden output has been cleared of them: the clock and
/// the traffic of the loopback interface, which is read over netlink and not from the fixtures.
const WITHOUT_SAMPLES: [&str; 6] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_time_seconds",
    "node_time_zone_offset_seconds",
];

/// Not made by one collector: each collector has a sample in it.
const SUCCESS: &str = "node_scrape_collector_success";

/// As many as the inventory has for these collectors in the fixtures.
const FAMILIES: usize = 195;
const SAMPLES: usize = 498;

/// What one run over the fixtures is compared with.
struct Case {
    golden: Exposition,
    ours: Exposition,
    /// Families of the collectors that are on.
    families: BTreeSet<String>,
    collectors: BTreeSet<&'static str>,
}

impl Case {
    /// None where it can not be run here.
    fn run() -> Option<Self> {
        // In the golden output pages of memory are 4 KiB, and CPUs are described as those of x86-64 are.
        if !found(cfg!(target_arch = "x86_64"), "an x86-64 machine") {
            return None;
        }
        let data = reference_data()?;
        let folder = tempfile::tempdir().expect("a folder");
        let paths = unpack_fixtures(&data, folder.path());
        let mut registry = Registry::new(&config(CONFIG), paths).expect("a valid configuration");
        let collectors: BTreeSet<&str> = registry.names().collect();
        let golden = std::fs::read_to_string(data.join("fixtures/e2e-output.txt")).expect("a readable file");
        let mut families = families_by_collector(&data);
        families.retain(|_, collector| collectors.contains(collector.as_str()));
        // The second gather is the one with everything cached.
        let first = Exposition::gather(&mut registry);
        let ours = Exposition::gather(&mut registry);
        assert_eq!(first.0.keys().collect::<Vec<_>>(), ours.0.keys().collect::<Vec<_>>());
        Some(Self {
            golden: Exposition::parse(&golden),
            ours,
            families: families.into_keys().collect(),
            collectors,
        })
    }

    /// How many families and samples are the same, or the first that is not.
    fn check(&self) -> Result<(usize, usize), String> {
        let (mut families, mut samples) = (0, 0);
        for (name, expected) in self.golden.0.iter().filter(|(name, _)| self.families.contains(*name)) {
            let family = self.ours.0.get(name).ok_or_else(|| format!("{name} is missing"))?;
            if (&family.help, &family.kind) != (&expected.help, &expected.kind) {
                return Err(format!("{name} is described as {family:?}, not {expected:?}"));
            }
            families += 1;
            if WITHOUT_SAMPLES.contains(&name.as_str()) {
                continue;
            }
            if family.samples != expected.samples {
                return Err(format!("{name} is {:?}, not {:?}", family.samples, expected.samples));
            }
            samples += expected.samples.len();
        }
        if let Some(name) = self.ours.0.keys().find(|name| !self.golden.0.contains_key(*name)) {
            return Err(format!("{name} is not in the golden output"));
        }
        Ok((families, samples))
    }
}

#[test]
fn fixtures_give_the_golden_output() {
    let Some(case) = Case::run() else {
        return;
    };
    assert_eq!(case.check(), Ok((FAMILIES, SAMPLES)));
    for collector in &case.collectors {
        let key = format!("{SUCCESS}{{collector=\"{collector}\"}}");
        let succeeded = |exposition: &Exposition| exposition.0[SUCCESS].samples.get(&key).cloned();
        assert_eq!(succeeded(&case.ours), succeeded(&case.golden), "{collector}");
    }
}

/// The comparison is worth something only if it can fail.
#[test]
fn every_mutation_is_caught() {
    let Some(mut case) = Case::run() else {
        return;
    };
    let mut mutations = 0;
    let mut expect_caught = |case: &Case, what: &str| {
        assert!(case.check().is_err(), "{what} is not noticed");
        mutations += 1;
    };
    for (name, original) in case.golden.0.clone() {
        if !case.families.contains(&name) {
            continue;
        }
        let mut with = |change: &dyn Fn(&mut support::Family), what: &str| {
            change(case.golden.0.get_mut(&name).expect("the family"));
            expect_caught(&case, &format!("{what} of {name}"));
            case.golden.0.insert(name.clone(), original.clone());
        };
        with(&|family| family.help.push('.'), "another help");
        with(&|family| family.kind = "summary".to_owned(), "another type");
        if WITHOUT_SAMPLES.contains(&name.as_str()) {
            continue;
        }
        for key in original.samples.keys() {
            with(&|family| family.samples.get_mut(key).expect("a sample").push('1'), "another value");
            with(&|family| drop(family.samples.remove(key)), "one more sample");
        }
        with(&|family| drop(family.samples.insert("node_x".to_owned(), "1".to_owned())), "a missing sample");
    }
    assert_eq!(mutations, 2 * FAMILIES + 2 * SAMPLES + FAMILIES - WITHOUT_SAMPLES.len());
}
