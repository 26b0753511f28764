//! What an administrator does with a host, and what has to be so after each step.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{GENEROUS, eventually};

use crate::NEXT_VERSION;
use crate::container::Container;
use crate::packages::Debs;
use crate::target;

pub(crate) const AGENT: &str = "vedette-agent.service";
const AGGREGATOR: &str = "vedette-aggregator.service";

/// A sample a second, and something to scrape.
pub(crate) const AGENT_CONFIG: &str = "\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: served
    static_configs: [{targets: ['127.0.0.1:8080']}]
";

/// What changes on any host that is booted, and what dpkg notes about packages that are gone.
const CHANGES_ANYWAY: [&str; 9] = [
    "/etc/.pwd.lock",
    "/root/",
    "/tmp/",
    "/var/cache/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/catalog/",
    "/var/lib/systemd/random-seed",
    "/var/log/",
    "/var/tmp/",
];

pub(crate) struct Host {
    container: Container,
}

impl Host {
    /// A host that has the packages' files, and nothing installed.
    pub(crate) fn new(container: Container, debs: &Debs, next: &Debs) -> Result<Self> {
        for (name, debs) in [("first", debs), ("next", next)] {
            for (program, deb) in [("agent", &debs.agent), ("aggregator", &debs.aggregator)] {
                fs::copy(deb, container.root().join(format!("root/{name}-{program}.deb")))?;
            }
        }
        Ok(Self { container })
    }

    /// Its root, as seen from here.
    pub(crate) fn root(&self) -> &Path {
        self.container.root()
    }

    /// systemd before 251 can not load the folder of secrets.
    pub(crate) fn refuses_an_older_systemd(&self) -> Result<()> {
        let older = "cp -a /var/lib/dpkg /root/older && \
             sed -i '/^Package: systemd$/,/^$/s/^Version: .*/Version: 249.11-0ubuntu3/' /root/older/status";
        self.run(&["sh", "-euc", older])?;
        for program in ["agent", "aggregator"] {
            let deb = format!("first-{program}.deb");
            for (admin, takes) in [("/root/older", false), ("/var/lib/dpkg", true)] {
                let command = ["dpkg", "--admindir", admin, "--simulate", "--install", &deb];
                let (said, succeeded) = self.container.output(&command)?;
                ensure!(succeeded == takes && said.contains("systemd (<< 251~)") != takes, "{said}");
            }
        }
        self.run(&["rm", "--recursive", "/root/older"])?;
        Ok(())
    }

    pub(crate) fn installs_and_enrols(&self) -> Result<()> {
        self.run(&["dpkg", "--install", "first-aggregator.deb", "first-agent.deb"])?;
        self.await_active(AGGREGATOR)?;
        self.await_active(AGENT)?;
        self.run(&["sh", "-c", "umask 077; vedette-aggregator token create >token"])?;
        self.run(&["vedette-agent", "enroll", "--token-file", "token"])?;
        let owners = self.run(&["find", "/var/lib/vedette/agent/identity", "-printf", "%u "])?;
        ensure!(owners.split_whitespace().all(|owner| owner == "vedette-agent"), "{owners}");
        ensure!(owners.contains("vedette-agent"), "the identity is not there");

        fs::write(self.container.root().join("etc/vedette/agent.yml"), AGENT_CONFIG)?;
        target::start(&self.container)?;
        self.run(&["systemctl", "reload", AGENT])?;
        target::await_stored(&self.container, 3)?;
        eventually("all collectors work under the unit's sandbox", GENEROUS, || {
            let total = self.container.query("count(node_scrape_collector_success)")?;
            let fine = self.container.query("count(node_scrape_collector_success == 1)")?;
            Ok((!total.is_empty() && total[0]["value"][1] == fine[0]["value"][1]).then_some(()))
        })?;
        for program in ["vedette-agent", "vedette-aggregator"] {
            eventually("its status is healthy", GENEROUS, || {
                Ok(self.run(&[program, "status"]).ok().map(drop))
            })?;
        }
        let collected = self.run(&["vedette-agent", "collect", "--once"])?;
        ensure!(collected.contains("node_load1 "), "{collected}");
        let name = self.container.query("node_uname_info")?;
        ensure!(name[0]["metric"]["nodename"] == "vedette-test", "{name:?}");
        Ok(())
    }

    pub(crate) fn units_are_hardened(&self) -> Result<()> {
        for (unit, exposure_max) in [(AGENT, "20"), (AGGREGATOR, "15")] {
            let path = format!("/usr/lib/systemd/system/{unit}");
            let threshold = format!("--threshold={exposure_max}");
            self.run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &threshold, &path])?;
            let complaints = self.run(&["systemd-analyze", "verify", "--man=no", &path])?;
            ensure!(complaints.trim().is_empty(), "{complaints}");
            let rights = self.property(unit, "CapabilityBoundingSet")?;
            ensure!(rights.is_empty(), "{unit} has rights: {rights}");
        }
        for file in ["var/lib/vedette/agent", "var/lib/vedette/aggregator", "etc/vedette/agent.secrets"] {
            let mode = self.run(&["stat", "--format=%a", &format!("/{file}")])?;
            ensure!(mode.trim() == "700", "{file} has mode {mode}");
        }
        Ok(())
    }

    /// A file that root alone can read is there for the service, and for nobody else.
    pub(crate) fn secrets_are_handed_over(&self) -> Result<()> {
        // Every kind of character that the page names.
        self.run(&["sh", "-c", "umask 077; echo hidden >/etc/vedette/agent.secrets/App-1.2_x"])?;
        self.run(&["systemctl", "restart", AGENT])?;
        self.await_active(AGENT)?;
        let secret = "/run/credentials/vedette-agent.service/secret_App-1.2_x";
        for (user, may_read) in [("vedette-agent", true), ("vedette-aggregator", false)] {
            let (said, succeeded) =
                self.container.output(&["runuser", "--user", user, "--", "cat", secret])?;
            ensure!(succeeded == may_read && (said == "hidden\n") == may_read, "{user}: {said}");
        }
        Ok(())
    }

    /// A mount below a folder of root's can not be looked at: one message says what grants it, and all else works.
    pub(crate) fn a_missing_right_is_named(&self) -> Result<()> {
        self.run(&["sh", "-c", "mkdir -m 700 -p /srv/hidden/disk && mount -t tmpfs hidden /srv/hidden/disk && chmod 700 /srv/hidden"])?;
        eventually("the mount is told of with its error", GENEROUS, || {
            let error = r#"node_filesystem_device_error{mountpoint="/srv/hidden/disk",device_error="permission denied"}"#;
            Ok(self.container.query(error)?.first().map(drop))
        })?;
        let log = self.run(&["journalctl", "--no-pager", "--priority=warning", "--unit", AGENT])?;
        ensure!(!log.contains("level=info"), "information has the priority of warnings:\n{log}");
        let said = log.lines().filter(|line| line.contains("/srv/hidden/disk")).collect::<Vec<_>>();
        ensure!(said.len() == 1 && said[0].contains("CAP_DAC_READ_SEARCH"), "{said:?}");
        let works = r#"node_scrape_collector_success{collector="filesystem"} == 1"#;
        ensure!(!self.container.query(works)?.is_empty(), "the collector failed as a whole");
        self.run(&[
            "sh",
            "-c",
            "umount /srv/hidden/disk && rmdir -p /srv/hidden/disk || [ ! -e /srv/hidden ]",
        ])?;
        Ok(())
    }

    pub(crate) fn is_restarted_after_kills(&self) -> Result<()> {
        for unit in [AGGREGATOR, AGENT] {
            let before = self.property(unit, "MainPID")?;
            self.run(&["systemctl", "kill", "--signal=KILL", "--kill-who=main", unit])?;
            eventually("it was started again", GENEROUS, || {
                let now = self.property(unit, "MainPID")?;
                Ok((now != "0" && now != before && self.is_active(unit)?).then_some(()))
            })?;
            target::await_stored(&self.container, 3)?;
        }
        Ok(())
    }

    pub(crate) fn watchdog_ends_what_hangs(&self) -> Result<()> {
        for unit in [AGGREGATOR, AGENT] {
            let folder = self.container.root().join(format!("etc/systemd/system/{unit}.d"));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("watchdog.conf"), "[Service]\nWatchdogSec=4s\n")?;
            self.run(&["systemctl", "daemon-reload"])?;
            self.run(&["systemctl", "restart", unit])?;
            self.await_active(unit)?;
            let pid = self.property(unit, "MainPID")?;
            // Longer than it may be silent.
            target::await_stored(&self.container, 8)?;
            ensure!(
                self.property(unit, "MainPID")? == pid,
                "{unit} did not tell the watchdog that it is well"
            );
            self.run(&["systemctl", "kill", "--signal=STOP", "--kill-who=main", unit])?;
            eventually("the watchdog ended it, and it was started again", GENEROUS, || {
                let now = self.property(unit, "MainPID")?;
                Ok((now != "0" && now != pid && self.is_active(unit)?).then_some(()))
            })?;
            let log = self.run(&["journalctl", "--no-pager", "--unit", unit])?;
            ensure!(log.contains("Watchdog timeout"), "systemd saw no watchdog:\n{log}");
            fs::remove_dir_all(&folder)?;
            self.run(&["systemctl", "daemon-reload"])?;
            self.run(&["systemctl", "restart", unit])?;
        }
        Ok(())
    }

    /// What was scraped while either was upgraded is there, each once and, while the aggregator was, without a pause.
    /// The newer agent finds what the older one has left in its spool, as no aggregator takes it meanwhile.
    pub(crate) fn upgrades_lose_nothing(&self) -> Result<()> {
        target::await_stored(&self.container, 3)?;
        let first = target::served(&self.container)?.last().copied().context("served something")?;
        self.upgrade("aggregator", AGGREGATOR)?;
        target::await_stored(&self.container, 5)?;
        let last = target::served(&self.container)?.last().copied().context("served something")?;
        let meanwhile = self.stored_between(first, last)?;
        for pair in meanwhile.windows(2) {
            ensure!(pair[1].0 - pair[0].0 < 2000, "a pause of more than a second: {pair:?}");
        }

        self.run(&["systemctl", "stop", AGGREGATOR])?;
        target::await_served(&self.container, 3)?;
        self.upgrade("agent", AGENT)?;
        target::await_served(&self.container, 3)?;
        self.run(&["systemctl", "start", AGGREGATOR])?;
        target::await_stored(&self.container, 5)?;
        let last = target::served(&self.container)?.last().copied().context("served something")?;
        self.stored_between(first, last)?;
        let config = fs::read_to_string(self.container.root().join("etc/vedette/agent.yml"))?;
        ensure!(config == AGENT_CONFIG, "the configuration was not kept");
        Ok(())
    }

    fn upgrade(&self, program: &str, unit: &str) -> Result<()> {
        let before = self.property(unit, "MainPID")?;
        let was = self.running_version(program)?;
        ensure!(was == env!("CARGO_PKG_VERSION"), "before the upgrade {program} has version {was}");
        self.run(&["dpkg", "--install", &format!("next-{program}.deb")])?;
        self.await_active(unit)?;
        ensure!(self.property(unit, "MainPID")? != before, "{unit} was not restarted");
        let version =
            self.run(&["dpkg-query", "--show", "--showformat=${Version}", &format!("vedette-{program}")])?;
        ensure!(version.starts_with(NEXT_VERSION), "{version}");
        let is = self.running_version(program)?;
        ensure!(is == NEXT_VERSION, "after the upgrade {program} has version {is}");
        let said = self.run(&[&format!("vedette-{program}"), "--version"])?;
        ensure!(said.trim() == format!("vedette-{program} {NEXT_VERSION}"), "{said}");
        Ok(())
    }

    /// What the running program says that it is.
    fn running_version(&self, program: &str) -> Result<String> {
        // Whether it is healthy is not asked here.
        let (status, _) = self.container.output(&[&format!("vedette-{program}"), "status", "--json"])?;
        let status: serde_json::Value = serde_json::from_str(&status).with_context(|| status.clone())?;
        Ok(status["version"].as_str().with_context(|| status.to_string())?.to_owned())
    }

    /// What is stored of these numbers: all, each once.
    fn stored_between(&self, first: u64, last: u64) -> Result<Vec<(i64, u64)>> {
        let stored = target::stored(&self.container)?;
        let stored: Vec<_> =
            stored.into_iter().filter(|(_, number)| (first..=last).contains(number)).collect();
        let numbers: BTreeSet<u64> = stored.iter().map(|(_, number)| *number).collect();
        ensure!(numbers.len() == stored.len(), "some were stored twice: {stored:?}");
        let missing: Vec<u64> = target::served(&self.container)?
            .range(first..=last)
            .filter(|number| !numbers.contains(number))
            .copied()
            .collect();
        ensure!(missing.is_empty(), "{missing:?} of {first}..={last} were lost");
        Ok(stored)
    }

    pub(crate) fn survives_a_reboot(&self) -> Result<()> {
        let before = target::stored(&self.container)?;
        let newest = before.last().context("something was stored")?.0;
        self.container.reboot()?;
        self.await_active(AGGREGATOR)?;
        self.await_active(AGENT)?;
        eventually("the host's metrics go on", GENEROUS, || {
            let result = self.container.query("timestamp(node_time_seconds)")?;
            let at = result.first().and_then(|series| series["value"][1].as_str()?.parse::<f64>().ok());
            Ok(at.filter(|at| at * 1000.0 > newest as f64).map(drop))
        })?;
        let after = target::stored(&self.container)?;
        ensure!(before.iter().all(|sample| after.contains(sample)), "the reboot lost samples");
        Ok(())
    }

    /// Neither the package nor the program of an older release takes the data, and both leave all as it is.
    pub(crate) fn refuses_a_downgrade_over_newer_data(&self) -> Result<()> {
        for program in ["agent", "aggregator"] {
            let format = self.container.root().join(format!("var/lib/vedette/{program}/data-format"));
            let own = fs::read_to_string(&format).with_context(|| format.display().to_string())?;
            let unit = format!("vedette-{program}.service");
            self.await_active(&unit)?;
            let running = self.property(&unit, "MainPID")?;
            let newer = format!("a newer release has written the data in /var/lib/vedette/{program}");
            let malformed = format!("/var/lib/vedette/{program}/data-format does not hold a number");
            for (found, expected) in
                [("", &malformed), ("1x", &malformed), ("99999999999999999999", &malformed), ("2", &newer)]
            {
                fs::write(&format, format!("{found}\n"))?;
                let (said, succeeded) =
                    self.container.output(&["dpkg", "--install", &format!("first-{program}.deb")])?;
                let refused = !succeeded && said.contains(expected) && said.contains("Nothing was changed");
                ensure!(refused, "{found:?}: {said}");
                ensure!(self.property(&unit, "MainPID")? == running, "the refusal has restarted {unit}");
            }
            self.refuses_to_run_older(program)?;
            fs::write(&format, own)?;
            self.run(&["systemctl", "start", &unit])?;
            self.await_active(&unit)?;
            let version = self.run(&[
                "dpkg-query",
                "--show",
                "--showformat=${Version} ${db:Status-Status}",
                &format!("vedette-{program}"),
            ])?;
            ensure!(version == format!("{NEXT_VERSION}-1 installed"), "{version}");
        }
        Ok(())
    }

    /// The older release's program, unpacked by hand.
    fn refuses_to_run_older(&self, program: &str) -> Result<()> {
        let (unit, user) = (format!("vedette-{program}.service"), format!("vedette-{program}"));
        let (deb, older) = (format!("first-{program}.deb"), format!("/opt/older-{program}"));
        self.run(&["dpkg-deb", "--extract", &deb, &older])?;
        self.run(&["systemctl", "stop", &unit])?;
        let data = format!("/var/lib/vedette/{program}");
        let list = ["find", &data, "-printf", "%p %s %T@\n"];
        let before = self.run(&list)?;
        let binary = format!("{older}/usr/bin/vedette-{program}");
        let config = format!("--config.file=/etc/vedette/{program}.yml");
        let (said, succeeded) =
            self.container.output(&["runuser", "--user", &user, "--", &binary, &config])?;
        let expected = format!("a newer release has written the data in {data} (format 2)");
        ensure!(!succeeded && said.contains(&expected), "{said}");
        let after = self.run(&list)?;
        ensure!(before == after, "the older program has changed the data:\n{before}\n{after}");
        self.run(&["rm", "--recursive", &older])?;
        Ok(())
    }

    pub(crate) fn removing_keeps_data(&self) -> Result<()> {
        self.run(&["dpkg", "--remove", "vedette-agent", "vedette-aggregator"])?;
        for unit in [AGENT, AGGREGATOR] {
            ensure!(!self.is_active(unit)?, "{unit} still runs");
        }
        let kept = self.files()?;
        for path in [
            "/etc/vedette/agent.yml",
            "/etc/vedette/aggregator.yml",
            "/var/lib/vedette/agent/identity",
            "/var/lib/vedette/aggregator/control",
        ] {
            ensure!(kept.contains(path), "{path} is gone after the removal");
        }
        ensure!(!kept.contains("/usr/bin/vedette-agent"), "the program is still there");
        Ok(())
    }

    /// The files that there were before, and no others. A disk of its own is emptied, one that is mounted below is left alone.
    pub(crate) fn purging_leaves_nothing(&self, before: &BTreeSet<String>) -> Result<()> {
        let (disk, other) = ("/var/lib/vedette/aggregator", "/var/lib/vedette/agent/other");
        self.run(&["mount", "--bind", disk, disk])?;
        self.run(&["mkdir", other])?;
        self.run(&["mount", "--types", "tmpfs", "other", other])?;
        self.run(&["touch", &format!("{other}/kept")])?;
        self.run(&["dpkg", "--purge", "vedette-agent", "vedette-aggregator"])?;
        let states = self.run(&["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"])?;
        ensure!(!states.contains("vedette"), "not purged:\n{states}");
        let left = self.run(&["find", "/var/lib/vedette", "-printf", "%p\n"])?;
        let expected = ["/var/lib/vedette", "/var/lib/vedette/agent", disk, other, &format!("{other}/kept")]
            .map(str::to_owned);
        ensure!(left.lines().map(str::to_owned).collect::<BTreeSet<_>>() == expected.into(), "{left}");
        self.run(&["umount", disk, other])?;
        self.run(&["rmdir", other, "/var/lib/vedette/agent", disk, "/var/lib/vedette"])?;
        let after = self.files()?;
        let left: Vec<_> = after.difference(before).collect();
        let lost: Vec<_> = before.difference(&after).collect();
        ensure!(left.is_empty() && lost.is_empty(), "left behind: {left:#?}; gone: {lost:#?}");
        Ok(())
    }

    /// All files of the host but those that change on any.
    pub(crate) fn files(&self) -> Result<BTreeSet<String>> {
        let root = self.container.root();
        let listed = Command::new("find").arg(root).args(["-xdev", "-printf", "/%P\\n"]).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(
            Path::new(root).exists() && listed.lines().count() > 1000,
            "only {} files",
            listed.lines().count()
        );
        let is_told = |path: &&str| {
            !CHANGES_ANYWAY.iter().any(|start| path.starts_with(start))
                // Copies that are made of the lists of users.
                && !matches!(*path, "/etc/passwd-" | "/etc/group-" | "/etc/shadow-" | "/etc/gshadow-")
        };
        Ok(listed.lines().filter(is_told).map(str::to_owned).collect())
    }

    pub(crate) fn run(&self, command: &[&str]) -> Result<String> {
        self.container.run(command)
    }

    pub(crate) fn property(&self, unit: &str, name: &str) -> Result<String> {
        let value = self.run(&["systemctl", "show", "--value", "--property", name, unit])?;
        Ok(value.trim().to_owned())
    }

    fn is_active(&self, unit: &str) -> Result<bool> {
        Ok(self.property(unit, "ActiveState")? == "active")
    }

    pub(crate) fn await_active(&self, unit: &str) -> Result<()> {
        let active = eventually("the service is up", GENEROUS, || Ok(self.is_active(unit)?.then_some(())));
        active.with_context(|| {
            self.run(&["journalctl", "--no-pager", "--lines=30", "--unit", unit]).unwrap_or_default()
        })
    }
}
