//! The rpm packages in a folder: scriptlets and all, as far as a system goes that is not booted.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::NEXT_VERSION;
use crate::packages::{lint_rpm, only, pack};

/// What is left in the root after both packages were erased: the configuration that was changed, and data.
const STAYS: [&str; 8] = [
    "/etc/vedette",
    "/etc/vedette/agent.yml.rpmsave",
    "/etc/vedette/aggregator.yml.rpmsave",
    "/var/lib/vedette",
    "/var/lib/vedette/agent",
    "/var/lib/vedette/agent/data-format",
    "/var/lib/vedette/aggregator",
    "/var/lib/vedette/aggregator/data-format",
];

/// Installs, verifies, upgrades, refuses to go back over newer data, and erases, in a copy of the image.
pub(crate) fn check(image: &Path, folder: &Path) -> Result<()> {
    let root = folder.join("root");
    let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(image).arg(&root).status()?;
    ensure!(copied.success(), "{} could not be copied", image.display());
    pack("build-rpm.sh", folder, None)?;
    pack("build-rpm.sh", folder, Some(NEXT_VERSION))?;
    let again = folder.join("again");
    pack("build-rpm.sh", &again, None)?;
    // As Fedora and RHEL have it.
    let presets = root.join("usr/lib/systemd/system-preset");
    std::fs::create_dir_all(&presets)?;
    std::fs::write(presets.join("00-disable.preset"), "disable *\n")?;
    // Fedora's package `filesystem` has these.
    for folder in ["fish/vendor_completions.d", "licenses", "zsh/site-functions"] {
        std::fs::create_dir_all(root.join("usr/share").join(folder))?;
    }
    let before = files(&root)?;
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
        // Nothing here is known to rpm, systemd included.
        let lacking = rpm(&root, &["--install", "--test", &first]).err().context("it needs nothing")?;
        ensure!(lacking.to_string().contains("systemd >= 251 is needed"), "{lacking}");

        rpm(&root, &["--install", "--nodeps", &first])?;
        let users = std::fs::read_to_string(root.join("etc/passwd"))?;
        ensure!(users.contains(&format!("{name}:x:")), "there is no user:\n{users}");
        ensure!(root.join(format!("var/lib/vedette/{program}")).is_dir(), "there is no data folder");
        let wanted = root.join(format!("etc/systemd/system/multi-user.target.wants/{name}.service"));
        ensure!(!wanted.is_symlink(), "the preset is not followed");
        // What the pages say then.
        let enabled = Command::new("systemctl").arg("--root").arg(&root).args(["enable", &name]).status()?;
        ensure!(enabled.success() && wanted.is_symlink(), "the service can not be enabled");
        lists_its_files(&root, program)?;
        rpm(&root, &["--verify", "--nodeps", &name])?;

        let config = root.join(format!("etc/vedette/{program}.yml"));
        std::fs::write(&config, "# mine\n")?;
        rpm(&root, &["--upgrade", "--nodeps", &next])?;
        ensure!(std::fs::read_to_string(&config)? == "# mine\n", "the configuration was not kept");
        ensure!(wanted.is_symlink(), "the upgrade has disabled the service");
        for (found, expected) in
            [("x", "does not hold a number"), ("2", "a newer release has written the data")]
        {
            std::fs::write(root.join(format!("var/lib/vedette/{program}/data-format")), found)?;
            let refused = rpm(&root, &["--upgrade", "--oldpackage", "--nodeps", &first]);
            let said = refused.err().context("a downgrade over newer data was not refused")?.to_string();
            ensure!(said.contains(expected), "{said}");
        }
        ensure!(rpm(&root, &["--query", &name])?.contains(NEXT_VERSION), "the refusal changed the package");

        rpm(&root, &["--erase", "--nodeps", &name])?;
        ensure!(!root.join(format!("usr/bin/{name}")).exists(), "the program is still there");
        ensure!(!wanted.is_symlink(), "the service is still enabled");
        ensure!(root.join(format!("var/lib/vedette/{program}/data-format")).exists(), "the data is gone");
    }
    let left: BTreeSet<_> = files(&root)?.difference(&before).cloned().collect();
    let expected: BTreeSet<_> = STAYS.into_iter().map(str::to_owned).collect();
    ensure!(left == expected, "left behind: {left:#?}");
    Ok(())
}

/// All that is in the root but rpm's notes, and the copies that are made of the lists of users.
fn files(root: &Path) -> Result<BTreeSet<String>> {
    let listed = Command::new("find").arg(root).args(["-xdev", "-printf", "/%P\n"]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    let is_told = |path: &&str| {
        !path.starts_with("/root/.rpmdb")
            && !matches!(
                *path,
                "/etc/.pwd.lock" | "/etc/passwd-" | "/etc/group-" | "/etc/shadow-" | "/etc/gshadow-"
            )
    };
    Ok(listed.lines().filter(is_told).map(str::to_owned).collect())
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
