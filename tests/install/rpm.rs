//! The rpm packages in a folder: scriptlets and all, as far as a system goes that is not booted.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::NEXT_VERSION;
use crate::packages::{lint_rpm, only, pack};

/// Installs, verifies, upgrades, refuses to go back over newer data, and erases, in a copy of the image.
pub(crate) fn check(image: &Path, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(image).arg(&root).status()?;
    ensure!(copied.success(), "{} could not be copied", image.display());
    pack("build-rpm.sh", folder, None)?;
    pack("build-rpm.sh", folder, Some(NEXT_VERSION))?;
    let again = folder.join("again");
    pack("build-rpm.sh", &again, None)?;
    for program in ["agent", "aggregator"] {
        let name = format!("vedette-{program}");
        let package = |version: &str| -> Result<String> {
            let path = only(folder, &format!("{name}-{version}-"))?;
            Ok(path.to_str().context("a path in UTF-8")?.to_owned())
        };
        let (first, next) = (package(env!("CARGO_PKG_VERSION"))?, package(NEXT_VERSION)?);

        let again = only(&again, &format!("{name}-"))?;
        ensure!(std::fs::read(&first)? == std::fs::read(again)?, "two packages differ: {first}");
        let times = rpm(&root, &["--query", "--queryformat", "[%{FILEMTIMES}\\n]", "--package", &first])?;
        ensure!(
            times.lines().collect::<BTreeSet<_>>().len() == 1,
            "times that are not the commit's:\n{times}"
        );
        lint_rpm(Path::new(&first))?;

        rpm(&root, &["--install", "--nodeps", &first])?;
        let users = std::fs::read_to_string(root.join("etc/passwd"))?;
        ensure!(users.contains(&format!("{name}:x:")), "there is no user:\n{users}");
        ensure!(root.join(format!("var/lib/vedette/{program}")).is_dir(), "there is no data folder");
        let wanted = root.join(format!("etc/systemd/system/multi-user.target.wants/{name}.service"));
        ensure!(wanted.is_symlink(), "the service is not enabled");
        lists_its_files(&root, program)?;
        rpm(&root, &["--verify", "--nodeps", &name])?;

        let config = root.join(format!("etc/vedette/{program}.yml"));
        std::fs::write(&config, "# mine\n")?;
        rpm(&root, &["--upgrade", "--nodeps", &next])?;
        ensure!(std::fs::read_to_string(&config)? == "# mine\n", "the configuration was not kept");
        ensure!(wanted.is_symlink(), "the upgrade has disabled the service");
        std::fs::write(root.join(format!("var/lib/vedette/{program}/data-format")), "2\n")?;
        let refused = rpm(&root, &["--upgrade", "--oldpackage", "--nodeps", &first]);
        let said = refused.err().context("a downgrade over newer data was not refused")?.to_string();
        ensure!(said.contains("a newer release has written the data"), "{said}");
        ensure!(rpm(&root, &["--query", &name])?.contains(NEXT_VERSION), "the refusal changed the package");

        rpm(&root, &["--erase", "--nodeps", &name])?;
        ensure!(!root.join(format!("usr/bin/{name}")).exists(), "the program is still there");
        ensure!(!wanted.is_symlink(), "the service is still enabled");
        ensure!(root.join(format!("var/lib/vedette/{program}/data-format")).exists(), "the data is gone");
    }
    Ok(())
}

/// What a package has, and where.
fn lists_its_files(root: &Path, program: &str) -> Result<()> {
    let listed = rpm(root, &["--query", "--list", &format!("vedette-{program}")])?;
    let listed: BTreeSet<&str> = listed.lines().collect();
    for path in [
        format!("/etc/vedette/{program}.yml"),
        format!("/usr/bin/vedette-{program}"),
        format!("/usr/lib/systemd/system/vedette-{program}.service"),
        format!("/usr/lib/sysusers.d/vedette-{program}.conf"),
        format!("/usr/lib/tmpfiles.d/vedette-{program}.conf"),
        format!("/usr/libexec/vedette-{program}/restart-backoff"),
        format!("/usr/share/man/man1/vedette-{program}.1.gz"),
        format!("/usr/share/licenses/vedette-{program}/LICENSE"),
    ] {
        ensure!(listed.contains(path.as_str()), "{path} is not in {listed:?}");
    }
    Ok(())
}

/// Runs rpm over the folder, with a /proc for its scriptlets, in a mount namespace that ends with it.
fn rpm(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", r#"mount -t proc proc "$1/proc" && exec rpm --root "$@""#, "rpm"])
        .arg(root)
        .args(arguments)
        .output()?;
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "rpm {arguments:?}:\n{printed}");
    Ok(printed)
}
