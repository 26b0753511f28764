//! `packaging/compose` without Docker: the file's services run as it says, each in a network namespace with a root of its own
//! that it can not write, as the user of its image, with its capabilities and volumes; images and their start are not tested.
//! nginx and Docker Compose, which reads the file, are the real ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use vedette_tests::{Api, GENEROUS, Network, Program, binary, eventually, peer};

use crate::replicas::PROBE;

/// The user of both images.
const USER: u32 = 10_001;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/compose")
}

fn compose() -> Result<Value> {
    let text = fs::read_to_string(folder().join("compose.yml"))?;
    Ok(serde_saphyr::from_str(&text)?)
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_service_is_hardened_and_what_it_names_is_there() -> Result<()> {
    let compose = compose()?;
    let services = compose["services"].as_object().context("services")?;
    ensure!(services.len() == 7, "{:?}", services.keys());
    for (name, service) in services {
        ensure!(service["read_only"] == true, "{name}: its root can be written");
        ensure!(strings(&service["cap_drop"]) == ["ALL"], "{name}: it has capabilities");
        ensure!(
            strings(&service["security_opt"]) == ["no-new-privileges:true"],
            "{name}: it may gain privileges"
        );
        for volume in strings(&service["volumes"]) {
            let (source, _) = volume.split_once(':').context("source:target")?;
            let is_there = match source.strip_prefix("./") {
                Some(file) => folder().join(file).is_file(),
                None => source.starts_with('/') || compose["volumes"].get(source).is_some(),
            };
            ensure!(is_there, "{name}: {source} is not there");
        }
        for (needed, _) in service["depends_on"].as_object().into_iter().flatten() {
            ensure!(services.contains_key(needed), "{name} depends on {needed}");
        }
        for port in strings(&service["ports"]) {
            ensure!(port.starts_with("127.0.0.1:"), "{name}: {port} is open to the network");
        }
        if let Some(dockerfile) = service["build"]["dockerfile"].as_str() {
            let text = fs::read_to_string(folder().join("../docker").join(dockerfile))?;
            ensure!(text.contains(&format!("USER {USER}:{USER}")), "{dockerfile} runs as root");
            ensure!(text.contains("HEALTHCHECK"), "{dockerfile} has no health check");
        } else if service["restart"] != "no" {
            ensure!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
        }
    }
    let sources: Value =
        serde_saphyr::from_str(&fs::read_to_string(folder().join("grafana-datasources.yml"))?)?;
    let kinds: Vec<_> = sources["datasources"].as_array().context("data sources")?.iter().collect();
    ensure!(
        kinds.iter().any(|source| source["type"] == "prometheus" && source["isDefault"] == true),
        "{sources}"
    );
    ensure!(kinds.iter().any(|source| source["type"] == "alertmanager"), "{sources}");
    for (program, file) in [
        ("vedette-aggregator", "aggregator-1.yml"),
        ("vedette-aggregator", "aggregator-2.yml"),
        ("vedette-agent", "agent.yml"),
    ] {
        let checked = Command::new(binary(program)?).arg("check").arg(folder().join(file)).output()?;
        ensure!(checked.status.success(), "{file}: {checked:?}");
    }
    Ok(())
}

/// Docker Compose itself, which needs no daemon for this, finds nothing wrong with the file.
#[test]
fn docker_compose_takes_the_file() -> Result<()> {
    let Some(docker_compose) = peer("docker-compose") else { return Ok(()) };
    let config = |file: &Path| {
        let mut command = Command::new(&docker_compose);
        command.arg("-f").arg(file).args(["config", "--quiet"]).env("PACKAGES", "/srv").output()
    };
    let ran = config(&folder().join("compose.yml"))?;
    ensure!(ran.status.success() && ran.stderr.is_empty(), "docker-compose config: {}", text(&ran));
    // Packages are looked for where the page has them made.
    let page = fs::read_to_string(folder().join("../README.md"))?;
    ensure!(page.contains("packaging/build-deb.sh --output target/packages\n"), "the page has changed");
    let mut command = Command::new(&docker_compose);
    command.arg("-f").arg(folder().join("compose.yml")).args(["config", "--format=json"]);
    let ran = command.env_remove("PACKAGES").output()?;
    let taken: Value = serde_json::from_slice(&ran.stdout).with_context(|| text(&ran))?;
    let checkout = folder().join("../..").canonicalize()?;
    for service in ["aggregator-1", "agent"] {
        let packages = &taken["services"][service]["build"]["additional_contexts"]["packages"];
        let made = checkout.join("target/packages");
        ensure!(packages.as_str().map(Path::new) == Some(made.as_path()), "{service}: {packages}");
    }
    // It would have said so.
    let broken = tempfile::NamedTempFile::with_suffix(".yml")?;
    let misspelt = fs::read_to_string(folder().join("compose.yml"))?.replacen("read_only:", "readonly:", 1);
    fs::write(broken.path(), misspelt)?;
    ensure!(!config(broken.path())?.status.success(), "docker-compose takes a key that there is not");
    Ok(())
}

#[test]
fn the_services_find_each_other_and_one_aggregator_is_enough() -> Result<()> {
    let Some(nginx) = peer("nginx") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let compose = compose()?;
    let names: Vec<String> = compose["services"].as_object().context("services")?.keys().cloned().collect();
    let Some(network) = Network::lay(names.len())? else { return Ok(()) };
    let machine = Machine { compose, names, network, nginx, dir: dir.path().to_path_buf() };
    for volume in machine.compose["volumes"].as_object().context("volumes")?.keys() {
        let path = machine.volume(volume);
        fs::create_dir_all(&path)?;
        if volume != "tokens" {
            // As Docker fills a new volume from the image.
            chown(&path, Some(USER), Some(USER))?;
        }
    }
    machine.complete("tokens")?;
    let mut first = machine.start("aggregator-1")?;
    machine.await_health("aggregator-1", &mut first)?;
    machine.complete("enrol")?;
    let mut second = machine.start("aggregator-2")?;
    let mut agent = machine.start("agent")?;
    machine.await_health("aggregator-2", &mut second)?;
    machine.await_health("agent", &mut agent)?;
    let mut balancer = machine.start("load-balancer")?;

    let api = |service: &str| -> Result<Api> {
        Ok(Api::new(&format!("http://{}:9090", machine.address(service)?)))
    };
    let probe = format!("{PROBE}{{instance=\"docker-host\"}}");
    for service in ["aggregator-1", "aggregator-2", "load-balancer"] {
        let api = api(service)?;
        eventually("the agent's samples are there", GENEROUS, || {
            balancer.check_alive()?;
            api.value(&probe, None)
        })?;
    }

    // As a form, as Grafana asks.
    let balanced = api("load-balancer")?;
    let ask = || -> Result<()> {
        let (status, body) = balanced.ask("/api/v1/query", &[("query", &probe)])?;
        ensure!(status == 200 && body["data"]["result"][0]["value"].is_array(), "{status}: {body}");
        Ok(())
    };
    for _ in 0..10 {
        ask()?;
    }
    first.kill_hard()?;
    for _ in 0..50 {
        ask().context("with one aggregator killed")?;
    }
    let mut first = machine.start("aggregator-1")?;
    machine.await_health("aggregator-1", &mut first)?;
    second.kill_hard()?;
    // The first is left out for five seconds after it was missed.
    eventually("the first is asked again", GENEROUS, || ask().map(Some))?;
    for _ in 0..50 {
        ask().context("with the other killed")?;
    }

    // `up` once more: nothing is enrolled twice.
    machine.complete("tokens")?;
    machine.complete("enrol")?;
    let mut second = machine.start("aggregator-2")?;
    machine.await_health("aggregator-2", &mut second)?;
    let members = api("aggregator-1")?.own_metric("vedette_aggregator_members")?;
    ensure!(members == 2.0, "{members} replicas");
    Ok(())
}

/// Runs the services of the file.
struct Machine {
    compose: Value,
    names: Vec<String>,
    network: Network,
    nginx: PathBuf,
    dir: PathBuf,
}

impl Machine {
    fn volume(&self, name: &str) -> PathBuf {
        self.dir.join("volumes").join(name)
    }

    fn number(&self, service: &str) -> Result<usize> {
        self.names.iter().position(|name| name == service).with_context(|| format!("no service {service}"))
    }

    fn address(&self, service: &str) -> Result<String> {
        Ok(self.network.address_of(self.number(service)?))
    }

    fn start(&self, service: &str) -> Result<Program> {
        let log = self.dir.join(format!("{service}.log"));
        Program::start(&mut self.command(service, &self.arguments(service)?)?, &log)
    }

    /// Runs a service that ends.
    fn complete(&self, service: &str) -> Result<()> {
        let ran = self.command(service, &self.arguments(service)?)?.output()?;
        ensure!(ran.status.success(), "{service}: {}", text(&ran));
        Ok(())
    }

    /// Waits until the health check of the service's image succeeds, run within the service.
    fn await_health(&self, service: &str, program: &mut Program) -> Result<()> {
        let dockerfile = self.dockerfile(service)?;
        let (_, check) = dockerfile.split_once("HEALTHCHECK").context("a health check")?;
        let (_, check) = check.split_once("CMD ").context("its command")?;
        let check: Vec<String> = serde_json::from_str(check.lines().next().unwrap_or_default())?;
        eventually(&format!("{service} is healthy"), GENEROUS, || {
            program.check_alive()?;
            let ran = self.command(service, &check)?.output()?;
            ensure!(ran.status.success(), "{}", text(&ran));
            Ok(Some(()))
        })
    }

    fn dockerfile(&self, service: &str) -> Result<String> {
        let name =
            self.compose["services"][service]["build"]["dockerfile"].as_str().context("an image of ours")?;
        Ok(fs::read_to_string(folder().join("../docker").join(name))?)
    }

    /// What Docker would run, as the file and the image say.
    fn arguments(&self, service: &str) -> Result<Vec<String>> {
        let settings = &self.compose["services"][service];
        let mut arguments: Vec<String> =
            strings(&settings["entrypoint"]).into_iter().map(str::to_owned).collect();
        if arguments.is_empty() && settings["build"].is_object() {
            let dockerfile = self.dockerfile(service)?;
            let line =
                dockerfile.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).context("ENTRYPOINT")?;
            arguments = serde_json::from_str(line)?;
        }
        // Compose's own escape.
        arguments
            .extend(strings(&settings["command"]).into_iter().map(|argument| argument.replace("$$", "$")));
        Ok(arguments)
    }

    fn command(&self, service: &str, arguments: &[String]) -> Result<Command> {
        let settings = &self.compose["services"][service];
        let root = self.root(service)?;
        let mut mounts = BTreeMap::from([
            ("usr".to_owned(), PathBuf::from("/usr")),
            ("proc".to_owned(), PathBuf::from("/proc")),
            ("dev".to_owned(), PathBuf::from("/dev")),
            ("opt/bin".to_owned(), binary("vedette-agent")?.parent().context("a folder")?.to_path_buf()),
            ("opt/sbin/nginx".to_owned(), self.nginx.clone()),
        ]);
        if !settings["tmpfs"].is_null() {
            mounts.insert("tmp".to_owned(), self.volume(&format!("{service}-tmp")));
            fs::create_dir_all(self.volume(&format!("{service}-tmp")))?;
            fs::set_permissions(self.volume(&format!("{service}-tmp")), fs::Permissions::from_mode(0o777))?;
        }
        for volume in strings(&settings["volumes"]) {
            let mut parts = volume.split(':');
            let (Some(source), Some(target)) = (parts.next(), parts.next()) else { bail!("{volume}") };
            let source = match source.strip_prefix("./") {
                Some(file) => folder().join(file).canonicalize()?,
                None if source.starts_with('/') => PathBuf::from(source),
                None => self.volume(source),
            };
            mounts.insert(target.trim_start_matches('/').to_owned(), source);
        }
        let mut script = format!("set -e\nhostname {service}\nmount --bind {0} {0}\n", root.display());
        for (target, source) in &mounts {
            let target = root.join(target);
            if source.is_dir() {
                fs::create_dir_all(&target)?;
            } else if !target.exists() {
                fs::create_dir_all(target.parent().context("a folder")?)?;
                fs::write(&target, "")?;
            }
            script += &format!("mount --bind {} {}\n", source.display(), target.display());
        }
        script += &format!("mount -o remount,bind,ro {}\n", root.display());
        let user = if settings["image"] == "debian:12-slim" { 0 } else { USER };
        let kept: String =
            strings(&settings["cap_add"]).iter().map(|name| format!(",+{}", name.to_lowercase())).collect();
        script += &format!(
            "cd /\nexec chroot {} setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs \
             --bounding-set=-all{kept} --inh-caps=-all -- \"$@\"\n",
            root.display()
        );
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.network.host(self.number(service)?)])
            .args(["unshare", "--uts", "--mount", "sh", "-c", &script, "sh"])
            .args(arguments)
            .env_clear()
            .env("PATH", "/opt/bin:/opt/sbin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command)
    }

    /// A root file system with nothing of its own.
    fn root(&self, service: &str) -> Result<PathBuf> {
        let root = self.dir.join("roots").join(service);
        if root.exists() {
            return Ok(root);
        }
        for folder in ["etc", "tmp", "var/lib"] {
            fs::create_dir_all(root.join(folder))?;
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{link}"), root.join(link))?;
        }
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for name in &self.names {
            hosts += &format!("{} {name}\n", self.address(name)?);
        }
        fs::write(root.join("etc/hosts"), hosts)?;
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        Ok(root)
    }
}

fn text(ran: &Output) -> String {
    format!(
        "{}\n{}{}",
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    )
}
