//! What `packaging/docker` runs in Debian to make an image, without Docker: in a copy of the image that hosts are booted from.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::NEXT_VERSION;

/// Of a folder with packages of several versions the newest is in the image, whose user can use it.
pub(crate) fn check(image: &Path, packages: &Path) -> Result<()> {
    let root = packages.join("root");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(image).arg(&root).status()?;
    ensure!(copied.success(), "{} could not be copied", image.display());
    fs::create_dir(root.join("packages"))?;
    for entry in fs::read_dir(packages)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".deb") {
            fs::copy(entry.path(), root.join("packages").join(entry.file_name()))?;
        }
    }
    let architecture = Command::new("dpkg").arg("--print-architecture").output()?.stdout;
    let architecture = String::from_utf8(architecture)?.trim().to_owned();
    for program in ["agent", "aggregator"] {
        let path = format!("../packaging/docker/{program}.Dockerfile");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))?;
        let script = script(&text)?;
        let made = run(&root, &[&format!("TARGETARCH={architecture}"), "sh", "-c", &script])?;
        ensure!(made.starts_with(&format!("vedette-{program} ")), "{made}");
        let changelog = format!("/usr/share/doc/vedette-{program}/changelog.Debian.gz");
        let version = run(&root, &["zcat", &changelog])?;
        ensure!(version.starts_with(&format!("vedette-{program} ({NEXT_VERSION}-1)")), "{version}");
        let data = format!("var/lib/vedette/{program}");
        let owned = run(&root, &["stat", "--format=%u:%g %a", &data])?;
        ensure!(owned.trim() == "10001:10001 700", "{data}: {owned}");
    }
    Ok(())
}

/// The only RUN of a Dockerfile, without what it mounts.
fn script(dockerfile: &str) -> Result<String> {
    let joined = dockerfile.replace("\\\n", " ");
    let line = joined.lines().find_map(|line| line.strip_prefix("RUN ")).context("RUN")?;
    let (mount, script) = line.split_once(' ').context("a mount and a script")?;
    ensure!(mount == "--mount=type=bind,from=packages,target=/packages", "{mount}");
    Ok(script.trim().to_owned())
}

fn run(root: &Path, command: &[&str]) -> Result<String> {
    let output = Command::new("chroot").arg(root).arg("env").args(command).output()?;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?}:\n{printed}");
    Ok(printed)
}
