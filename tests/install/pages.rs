//! The pages for administrators, followed on hosts that are booted: what stands in their blocks is run as it stands there,
//! on the hosts that they name.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{GENEROUS, Network, eventually, now, unix_ms};

use crate::NEXT_VERSION;
use crate::container::{Container, Place};
use crate::packages::Debs;

type Step = fn(&Site) -> Result<()>;

/// As the page has it, for the id of the replica that is gone.
const ID_OF_THE_PAGE: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const STATUS: &str = "vedette-aggregator status";
const AGENT_STATUS: &str = "vedette-agent status";

/// Two replicas and a host that is watched, with the packages of this release and the next in `/root`.
pub(crate) struct Site {
    first: Container,
    second: Container,
    web: Container,
    _network: Network,
}

impl Site {
    /// None where there are no network namespaces.
    pub(crate) fn boot(image: &Path, folder: &Path) -> Result<Option<Self>> {
        const NAMES: [&str; 3] = ["first", "second", "web"];
        let Some(network) = Network::lay(NAMES.len())? else { return Ok(None) };
        let addresses: Vec<_> = (0..NAMES.len())
            .map(|number| format!("{} {}\n", network.address_of(number), NAMES[number]))
            .collect();
        let boot = |number: usize| {
            let (hostname, namespace) = (NAMES[number], Some(network.host(number)));
            Container::boot(
                image,
                &folder.join(hostname),
                Place { hostname, namespace, hosts: addresses.concat() },
            )
        };
        let (first, second, web) = (boot(0)?, boot(1)?, boot(2)?);
        Ok(Some(Self { first, second, web, _network: network }))
    }

    /// Lays a release's packages where its administrator has them.
    fn unpack(&self, debs: &Debs) -> Result<()> {
        for host in [&self.first, &self.second, &self.web] {
            for (program, deb) in [("agent", &debs.agent), ("aggregator", &debs.aggregator)] {
                let folder = host.root().join("root");
                for entry in fs::read_dir(&folder)? {
                    let path = entry?.path();
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    if name.starts_with(&format!("vedette-{program}_")) {
                        fs::remove_file(path)?;
                    }
                }
                fs::copy(deb, folder.join(deb.file_name().context("a file")?))?;
            }
        }
        Ok(())
    }

    /// Runs what stands under the headings, in an order that makes sense.
    pub(crate) fn follow(&self, debs: &Debs, next: &Debs) -> Result<()> {
        let steps: [(&str, Step); 6] = [
            ("first minute", Self::first_minute),
            ("data elsewhere", Self::data_elsewhere),
            ("backup", Self::backup),
            ("another replica", Self::another_replica),
            ("revocation", Self::revocation),
            ("a lost replica", Self::lost_replica),
        ];
        self.unpack(debs)?;
        for (name, step) in steps {
            let begin = now();
            step(self).context(name)?;
            println!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
        }
        self.unpack(next)?;
        self.upgrade().context("upgrading")
    }

    fn first_minute(&self) -> Result<()> {
        let install = Block::of("README.md", "### Packages", "apt install")?;
        sh(&self.first, &install.line("vedette-aggregator_")?)?;
        sh(&self.web, &install.line("vedette-agent_")?)?;
        fs::write(self.web.root().join("etc/vedette/agent.yml"), "global: {scrape_interval: 1s}\n")?;
        sh(&self.web, "systemctl reload vedette-agent")?;
        let page = "packaging/README.md";
        let before = eventually("the aggregator is up", GENEROUS, || Ok(sh(&self.first, STATUS).ok()))?;
        ensure!(before.contains("vedette-agent enroll --token-file token"), "no next step:\n{before}");
        Block::of(page, "## The first minute", "token create")?.run(&self.first)?;
        let mode = sh(&self.first, "stat --format=%a token")?;
        ensure!(mode.trim() == "600", "others can read the token: {mode}");
        hand_over(&self.first, &self.web)?;
        let enrol = Block::of(page, "## The first minute", "enroll")?;
        sh(&self.web, &enrol.line("enroll")?)?;
        eventually("the agent is well", GENEROUS, || Ok(sh(&self.web, &enrol.line("status")?).ok()))?;
        self.samples_arrive(&self.first)
    }

    fn data_elsewhere(&self) -> Result<()> {
        fs::write(
            self.web.root().join("etc/vedette/agent.yml"),
            "global: {scrape_interval: 1s}\nspool: {path: /srv/vedette}\n",
        )?;
        // A disk that is mounted already.
        sh(&self.web, "mkdir /srv/vedette && mount -t tmpfs disk /srv/vedette")?;
        Block::of("packaging/README.md", "# Installing and enrolling", "ReadWritePaths")?.run(&self.web)?;
        let said = eventually("the agent is well", GENEROUS, || Ok(sh(&self.web, AGENT_STATUS).ok()))?;
        ensure!(said.contains("/srv/vedette"), "{said}");
        self.samples_arrive(&self.first)
    }

    fn backup(&self) -> Result<()> {
        sh(&self.first, "mkdir /backup")?;
        // As where the data is a disk of its own.
        let disk = "/var/lib/vedette/aggregator";
        sh(&self.first, &format!("mount --bind {disk} {disk}"))?;
        let taken_at = newest(&self.first)?;
        Block::of("packaging/OPERATIONS.md", "## Backup", "vedette-aggregator backup")?.run(&self.first)?;
        Block::of("packaging/OPERATIONS.md", "## Backup", "cp -a")?.run(&self.first)?;
        self.samples_arrive(&self.first)?;
        let kept = self.first.query(&format!("timestamp(node_load1 @ {taken_at})"))?;
        ensure!(!kept.is_empty(), "the backup had nothing at {taken_at}");
        Ok(())
    }

    fn another_replica(&self) -> Result<()> {
        let long_ago = newest(&self.first)?;
        let install = Block::of("README.md", "### Packages", "apt install")?;
        sh(&self.second, &install.line("vedette-aggregator_")?)?;
        // As an rpm leaves it.
        sh(&self.second, "systemctl disable vedette-aggregator")?;
        let add = Block::of("packaging/OPERATIONS.md", "## Adding and replacing a replica", "join")?;
        sh(&self.first, &add.line("token create")?)?;
        hand_over(&self.first, &self.second)?;
        for line in add.lines.iter().filter(|line| !line.contains("token create")) {
            sh(&self.second, line)?;
        }
        sh(&self.second, "systemctl is-enabled vedette-aggregator")?;
        self.samples_arrive(&self.second)?;
        eventually("it has what was there before it", GENEROUS, || {
            Ok(self.second.query(&format!("node_load1 @ {long_ago}"))?.first().map(drop))
        })?;
        for replica in [&self.first, &self.second] {
            eventually("the group is well", GENEROUS, || {
                let status = sh(replica, STATUS)?;
                Ok((status.contains("2 replicas") && status.contains("nothing of it is lacking here"))
                    .then_some(()))
            })?;
        }
        Ok(())
    }

    fn revocation(&self) -> Result<()> {
        sh(&self.second, "vedette-aggregator agent revoke web")?;
        eventually("the agent says that it was revoked", GENEROUS, || {
            let (said, succeeded) = self.web.output(&["sh", "-c", AGENT_STATUS])?;
            Ok((!succeeded && said.contains("revoked")).then_some(()))
        })?;
        let listed = sh(&self.first, "vedette-aggregator agent list")?;
        ensure!(listed.contains("revoked once"), "{listed}");
        sh(&self.second, "vedette-aggregator token create >token")?;
        hand_over(&self.second, &self.web)?;
        sh(&self.web, "vedette-agent enroll --token-file token")?;
        eventually("it is taken again", GENEROUS, || Ok(sh(&self.web, AGENT_STATUS).ok()))?;
        self.samples_arrive(&self.first)?;
        self.samples_arrive(&self.second)
    }

    fn lost_replica(&self) -> Result<()> {
        self.first.power_off()?;
        let remove =
            Block::of("packaging/OPERATIONS.md", "## Adding and replacing a replica", "member remove")?;
        let gone = eventually("the one that is away is shown", GENEROUS, || {
            let shown = sh(&self.second, &remove.line("status")?)?;
            let line = shown.lines().find_map(|line| line.split_once("replica ")?.1.split_once(" is away"));
            Ok(line.map(|(id, _)| id.to_owned()))
        })?;
        sh(&self.second, &remove.line("member remove")?.replace(ID_OF_THE_PAGE, &gone))?;
        let status = sh(&self.second, STATUS)?;
        ensure!(status.contains("1 replica") && !status.contains(&gone), "{status}");
        eventually("the agent forgets it", GENEROUS, || {
            let said = sh(&self.web, AGENT_STATUS)?;
            Ok((!said.contains(&gone)).then_some(()))
        })?;
        self.samples_arrive(&self.second)
    }

    fn upgrade(&self) -> Result<()> {
        let upgrade = Block::of("packaging/OPERATIONS.md", "## Upgrading", "apt install")?;
        sh(&self.second, &upgrade.line("vedette-aggregator_")?)?;
        eventually("it is well", GENEROUS, || Ok(sh(&self.second, &upgrade.line("status")?).ok()))?;
        sh(&self.web, &upgrade.line("vedette-agent_")?)?;
        for (host, program) in [(&self.second, "aggregator"), (&self.web, "agent")] {
            let said = sh(host, &format!("dpkg-query --show vedette-{program}"))?;
            ensure!(said.contains(NEXT_VERSION), "{said}");
        }
        self.samples_arrive(&self.second)
    }

    /// What the agent collects from now on comes to that replica.
    fn samples_arrive(&self, replica: &Container) -> Result<()> {
        let since = unix_ms() / 1000;
        eventually("samples arrive", GENEROUS, || Ok((newest(replica)? > since).then_some(())))
    }
}

/// When the newest sample of the host was taken, in seconds since 1970.
fn newest(replica: &Container) -> Result<i64> {
    let result = replica.query(r#"timestamp(node_load1{instance=~"web.*"})"#)?;
    let value = result.first().context("no sample yet")?["value"][1].as_str().context("a number")?.to_owned();
    Ok(value.parse::<f64>()? as i64)
}

/// The file that the pages hand from host to host.
fn hand_over(from: &Container, to: &Container) -> Result<()> {
    let token = fs::read(from.root().join("root/token"))?;
    fs::write(to.root().join("root/token"), token)?;
    Ok(())
}

/// Runs a line of shell as root, in root's home.
fn sh(host: &Container, line: &str) -> Result<String> {
    host.run(&["sh", "-euc", line])
}

/// A block of shell on a page, its comments left out.
struct Block {
    lines: Vec<String>,
}

impl Block {
    /// The block under a heading that has the mark in it.
    fn of(page: &str, heading: &str, mark: &str) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let (_, section) = text
            .split_once(&format!("{heading}\n"))
            .with_context(|| format!("{page} has no heading {heading:?}"))?;
        let level = heading.split(' ').next().unwrap_or_default();
        // A heading of the page's own ends nothing: all that follows is below it.
        let section = if level == "#" {
            section
        } else {
            section.split(&format!("\n{level} ")).next().unwrap_or(section)
        };
        let block = section
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .find(|block| block.contains(mark))
            .with_context(|| format!("{page} has no block with {mark:?} under {heading:?}"))?;
        let lines = block.lines().filter_map(|line| {
            let line = line.split("  #").next()?.split(" # ").next()?.trim();
            (!line.is_empty() && !line.starts_with('#')).then(|| line.to_owned())
        });
        Ok(Self { lines: lines.collect() })
    }

    /// The only line with this mark.
    fn line(&self, mark: &str) -> Result<String> {
        let found: Vec<_> = self.lines.iter().filter(|line| line.contains(mark)).collect();
        ensure!(found.len() == 1, "{mark:?} is in {found:?} of {:?}", self.lines);
        Ok(found[0].clone())
    }

    fn run(&self, host: &Container) -> Result<()> {
        self.lines.iter().try_for_each(|line| sh(host, line).map(drop))
    }
}
