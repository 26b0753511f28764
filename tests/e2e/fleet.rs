//! Enrolling many hosts by the script of `packaging/README.md`, as it stands there: each host is a network namespace of its
//! own, with its own name and folders, and `ssh` leads into it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Aggregator, GENEROUS, Network, eventually};

const HOSTS: usize = 4;

#[test]
fn a_fleet_is_enrolled_by_the_script_of_the_readme() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(network) = Network::lay(HOSTS)? else { return Ok(()) };
    let folder = dir.path().join("aggregator");
    let storage = folder.join("storage");
    let mut aggregator = Aggregator::prepare(&folder, &storage)?.listening_on(&network.address());
    aggregator.run()?;

    let bin = dir.path().join("bin");
    fs::create_dir(&bin)?;
    write_programs(dir.path(), &bin, &storage)?;
    let script = dir.path().join("enrol.sh");
    fs::write(&script, script_of_the_readme()?)?;
    let list = dir.path().join("hosts");
    let hosts: Vec<String> = (0..HOSTS).map(|number| network.host(number)).collect();
    // A comment, an empty line, one that fails in the middle, and no end of the last line.
    let (last, others) = hosts[..HOSTS].split_last().context("hosts")?;
    fs::write(&list, format!("# web\n\nvt-nowhere\n{}\n{last}", others.join("\n")))?;
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary)?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut enrol = Command::new("sh");
    enrol.arg(&script).arg(&list).env("PATH", path).env("TMPDIR", &temporary);
    let ran = enrol.output()?;
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    for host in &hosts {
        ensure!(said.contains(&format!("{host}: enrolled")), "{said}");
    }
    ensure!(said.lines().count() == HOSTS + 1, "more than the hosts of the list:\n{said}");
    ensure!(fs::read_dir(&temporary)?.next().is_none(), "the script leaves something behind");
    ensure!(said.contains("vt-nowhere: failed: ssh: no such host"), "{said}");
    ensure!(ran.status.code() == Some(1), "one has failed: {ran:?}");

    eventually("all of them are connected", GENEROUS, || {
        let listed = aggregator.ask(&["agent", "list", "--json"])?;
        let agents: Value = serde_json::from_str(&listed.stdout).with_context(|| format!("{listed:?}"))?;
        let connected = |host: &String| {
            agents.as_array().into_iter().flatten().any(|agent| {
                agent["name"] == host.as_str()
                    && agent["connected_from"].as_array().is_some_and(|from| !from.is_empty())
            })
        };
        Ok(hosts.iter().all(connected).then_some(()))
    })?;
    let up = format!("count(up{{instance=~\"{}-.*\"}} == 1)", network.name);
    eventually("their samples are there", GENEROUS, || {
        Ok((aggregator.api().value(&up, None)? == Some(HOSTS as f64)).then_some(()))
    })?;

    // Ended in the middle, it takes its token with it.
    let token_is_there = format!("#!/bin/sh\ntest -s {}/*/token && kill -TERM $PPID\n", temporary.display());
    fs::write(bin.join("ssh"), token_is_there)?;
    let ran = enrol.output()?;
    ensure!(ran.status.code() == Some(143) && ran.stdout.is_empty(), "{ran:?}");
    ensure!(fs::read_dir(&temporary)?.next().is_none(), "the token is left behind");
    Ok(())
}

/// The block behind the comment that names this file.
fn script_of_the_readme() -> Result<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/README.md");
    let text = fs::read_to_string(&readme)?;
    let (_, behind) =
        text.split_once("<!-- tests/e2e/fleet.rs runs this. -->").context("the mark is in the README")?;
    let (_, block) = behind.split_once("```sh\n").context("a block of shell")?;
    let (script, _) = block.split_once("```").context("the end of the block")?;
    Ok(script.to_owned())
}

/// What the script calls: `ssh` into a namespace, with folders and a name of the host's own; there, `systemctl`.
fn write_programs(dir: &Path, bin: &Path, storage: &Path) -> Result<()> {
    let binaries = vedette_tests::binary("vedette-agent")?;
    let binaries = binaries.parent().context("a folder")?.display().to_string();
    let (hosts, bin_shown) = (dir.join("hosts.d"), bin.display());
    let hosts = hosts.display();
    let ssh = format!(
        "#!/bin/sh\nwhile [ \"$1\" = -o ]; do shift 2; done\nhost=${{1#root@}}\n\
         [ -e \"/run/netns/$host\" ] || {{ echo \"ssh: no such host $host\" >&2; exit 255; }}\n\
         mkdir -p {hosts}/$host/lib {hosts}/$host/run\n\
         export host command=\"$2\" PATH={bin_shown}:$PATH\n\
         exec ip netns exec \"$host\" unshare --uts --mount sh -c '\n\
         hostname \"$host\" && mount --bind {hosts}/$host/lib /var/lib && mount --bind {hosts}/$host/run /run &&\n\
         exec sh -c \"$command\"'\n"
    );
    let systemctl = format!(
        "#!/bin/sh\n[ \"$*\" = 'enable --now vedette-agent' ] || exit 1\n\
         setsid vedette-agent --interval=1s >{hosts}/$host/log 2>&1 </dev/null &\necho $! >{hosts}/$host/pid\n"
    );
    let aggregator = format!(
        "#!/bin/sh\nexec {binaries}/vedette-aggregator --storage.path={} \"$@\"\n",
        storage.display()
    );
    let agent = format!("#!/bin/sh\nexec {binaries}/vedette-agent \"$@\"\n");
    let programs = [
        ("ssh", ssh),
        ("systemctl", systemctl),
        ("vedette-aggregator", aggregator),
        ("vedette-agent", agent),
    ];
    for (name, text) in programs {
        let path = bin.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
