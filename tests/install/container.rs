//! A Debian that is booted by systemd-nspawn.

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use vedette_tests::{GENEROUS, eventually};

/// What systemd-nspawn ends with when what it runs is to be booted again.
const REBOOT: i32 = 133;

/// Where a container is.
pub(crate) struct Place {
    pub(crate) hostname: &'static str,
    /// A network namespace that there is; else it has a network of its own that leads nowhere.
    pub(crate) namespace: Option<String>,
    /// Further lines of its `/etc/hosts`.
    pub(crate) hosts: String,
}

pub(crate) struct Container {
    place: Place,
    root: PathBuf,
    console: PathBuf,
    nspawn: RefCell<Child>,
}

impl Container {
    /// Copies the image into `folder`, and boots the copy.
    pub(crate) fn boot(image: &Path, folder: &Path, place: Place) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (root, console) = (folder.join("root"), folder.join("console"));
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(image).arg(&root).status()?;
        ensure!(copied.success(), "{} could not be copied", image.display());
        let Place { hostname, hosts, .. } = &place;
        std::fs::write(
            root.join("etc/hosts"),
            format!("127.0.0.1 localhost\n127.0.1.1 {hostname}\n{hosts}"),
        )?;
        std::fs::write(root.join("etc/hostname"), format!("{hostname}\n"))?;
        // Nothing in there will ever be online.
        let waiting = root.join("etc/systemd/system/systemd-networkd-wait-online.service");
        std::os::unix::fs::symlink("/dev/null", waiting)?;
        let nspawn = RefCell::new(start(&place, &root, &console)?);
        let container = Self { place, root, console, nspawn };
        container.await_boot()?;
        Ok(container)
    }

    /// Its root, as seen from here.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Boots it again by `systemctl reboot`.
    pub(crate) fn reboot(&self) -> Result<()> {
        // Its answer may be lost on the way down.
        self.run(&["systemctl", "reboot"]).ok();
        let ended =
            eventually("the container is down", GENEROUS, || Ok(self.nspawn.borrow_mut().try_wait()?))?;
        ensure!(ended.code() == Some(REBOOT), "{ended}");
        *self.nspawn.borrow_mut() = start(&self.place, &self.root, &self.console)?;
        self.await_boot()
    }

    /// Switches it off for good.
    pub(crate) fn power_off(&self) -> Result<()> {
        self.run(&["systemctl", "poweroff"]).ok();
        eventually("the container is down", GENEROUS, || Ok(self.nspawn.borrow_mut().try_wait()?)).map(drop)
    }

    fn await_boot(&self) -> Result<()> {
        let booted = eventually("the container has booted", GENEROUS, || {
            let state = self.output(&["systemctl", "is-system-running"])?.0;
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        });
        booted.with_context(|| std::fs::read_to_string(&self.console).unwrap_or_default())
    }

    /// Its first process, as numbered here.
    fn leader(&self) -> Result<String> {
        let nspawn = self.nspawn.borrow().id();
        let children = std::fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children"))?;
        Ok(children.split_whitespace().next().context("the container has no process")?.to_owned())
    }

    /// Runs a command in it; fails when that fails.
    pub(crate) fn run(&self, command: &[&str]) -> Result<String> {
        let (output, succeeded) = self.output(command)?;
        if !succeeded {
            bail!("{command:?} failed:\n{output}");
        }
        Ok(output)
    }

    /// Runs a command in it, and gives all that it printed, and whether it succeeded.
    pub(crate) fn output(&self, command: &[&str]) -> Result<(String, bool)> {
        const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
        let output = Command::new("nsenter")
            .args(["--target", &self.leader()?, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["env", "--ignore-environment", "--chdir=/root", PATH, "DEBIAN_FRONTEND=noninteractive"])
            .args(command)
            .stdin(Stdio::null())
            .output()?;
        let printed = [output.stdout, output.stderr].concat();
        Ok((String::from_utf8_lossy(&printed).into_owned(), output.status.success()))
    }

    /// The body of a page that is served in it.
    pub(crate) fn get(&self, url: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.leader()?, "--net", "curl", "--silent", "--show-error", "--fail"]);
        command.args(["--max-time", "30", "--get", url]);
        for (name, value) in parameters {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = command.output()?;
        ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The result of an instant query to its aggregator.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let body = self.get("http://127.0.0.1:9090/api/v1/query", &[("query", expression)])?;
        let answer: Value = serde_json::from_str(&body)?;
        answer["data"]["result"].as_array().cloned().with_context(|| body.clone())
    }
}

fn start(place: &Place, root: &Path, console: &Path) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(console)?;
    let network = match &place.namespace {
        Some(name) => format!("--network-namespace-path=/run/netns/{name}"),
        None => "--private-network".to_owned(),
    };
    let hostname = place.hostname;
    Command::new("systemd-nspawn")
        .args(["--quiet", "--register=no", "--keep-unit", "--boot", &network])
        .args([format!("--hostname={hostname}"), format!("--machine={hostname}-{}", std::process::id())])
        .arg(format!("--directory={}", root.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("systemd-nspawn (package systemd-container)")
}

impl Drop for Container {
    fn drop(&mut self) {
        // All that runs in it goes with its first process, which outlives systemd-nspawn.
        if let Ok(leader) = self.leader() {
            Command::new("kill").args(["-9", &leader]).status().ok();
        }
        let nspawn = self.nspawn.get_mut();
        nspawn.kill().ok();
        nspawn.wait().ok();
    }
}
