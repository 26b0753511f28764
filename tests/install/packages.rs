//! Packages of the programs that the tests run, made by the scripts that make those which are released; or, with
//! VEDETTE_PACKAGES, those of that folder. What is upgraded to is always built here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::skip;

/// The Debian packages of both programs.
pub(crate) struct Debs {
    pub(crate) agent: PathBuf,
    pub(crate) aggregator: PathBuf,
}

impl Debs {
    /// Packs into `folder` the programs that the tests run.
    pub(crate) fn build(folder: &Path) -> Result<Self> {
        pack("build-deb.sh", folder, None)?;
        Self::of(folder, env!("CARGO_PKG_VERSION"))
    }

    /// Builds programs of another version, and packs them into `folder`.
    pub(crate) fn build_version(folder: &Path, version: &str) -> Result<Self> {
        let layer = folder.join("layer");
        for part in ["upper", "work"] {
            std::fs::create_dir_all(layer.join(part))?;
        }
        let mut command = Command::new("unshare");
        // What Cargo tells a test of its package: build scripts that see it run again.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        let output = command
            .args(["--mount", "bash", "-euc", BUILD_AND_PACK, "build"])
            .arg(&layer)
            .arg(version)
            .arg(folder)
            .env("CARGO_TARGET_DIR", target_folder()?)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .output()?;
        ensure!(output.status.success(), "building {version}:\n{}", String::from_utf8_lossy(&output.stderr));
        Self::of(folder, version)
    }

    /// Packs into `folder` the programs that the tests run, as another version.
    pub(crate) fn repack(folder: &Path, version: &str) -> Result<Self> {
        pack("build-deb.sh", folder, Some(version))?;
        Self::of(folder, version)
    }

    fn of(folder: &Path, version: &str) -> Result<Self> {
        let path = |program| only(folder, &format!("vedette-{program}_{version}-1_"));
        Ok(Self { agent: path("agent")?, aggregator: path("aggregator")? })
    }
}

/// Builds the programs under another version, and packs them, in a layer over the target folder at its own place: so
/// what other tests run stays as it is, and what does not know its version is not compiled again. What others pack meanwhile
/// changes below the layer, which must not be seen there: those folders are its own, made while nobody packs.
const BUILD_AND_PACK: &str = r#"
exec 8>"$CARGO_TARGET_DIR/package.lock"
flock 8
mount -t overlay overlay -o "lowerdir=$CARGO_TARGET_DIR,upperdir=$1/upper,workdir=$1/work" "$CARGO_TARGET_DIR"
for folder in manual debug/package; do
    rm -rf "$CARGO_TARGET_DIR/$folder"
    mkdir "$CARGO_TARGET_DIR/$folder"
done
exec 8>&-
VEDETTE_VERSION=$2 cargo build --quiet --locked --workspace --bins
exec packaging/build-deb.sh --profile dev --no-build --fast --version "$2" --output "$3"
"#;

/// Runs one of the scripts over what has been built in the profile of the tests; packages that are made already are
/// copied.
pub(crate) fn pack(script: &str, folder: &Path, version: Option<&str>) -> Result<()> {
    if let (Some(made), None) = (std::env::var_os("VEDETTE_PACKAGES"), version) {
        return copy_packages(Path::new(&made), folder);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = target_folder()?;
    let mut command = Command::new(root.join("packaging").join(script));
    command.args(["--profile", "dev", "--no-build", "--fast", "--output"]).arg(folder);
    command.env("CARGO_TARGET_DIR", target);
    if let Some(version) = version {
        command.args(["--version", version]);
    }
    let output = command.output().with_context(|| script.to_owned())?;
    ensure!(output.status.success(), "{script}:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn copy_packages(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn target_folder() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(3).context("tests run from target/<profile>/deps")?.to_owned())
}

/// The only file of a folder whose name begins so.
pub(crate) fn only(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    ensure!(found.len() == 1, "{prefix} in {}: {found:?}", folder.display());
    found.pop().context("there is one")
}

/// lintian has neither errors nor warnings.
pub(crate) fn lint_deb(deb: &Path) -> Result<()> {
    let output =
        Command::new("lintian").args(["--fail-on", "error,warning", "--allow-root"]).arg(deb).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && printed.trim().is_empty(), "lintian:\n{printed}");
    Ok(())
}

/// rpmlint has neither errors nor warnings but those that packaging/rpm/rpmlint.toml explains.
pub(crate) fn lint_rpm(rpm: &Path) -> Result<()> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/rpm/rpmlint.toml");
    let output = Command::new("rpmlint").arg("--config").arg(config).arg(rpm).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && printed.contains(" 0 errors, 0 warnings"), "rpmlint:\n{printed}");
    Ok(())
}

/// Whether packages can be made and tried here: as root, with the tools of packaging/setup.sh.
pub(crate) fn tools_are_there(tool: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_root || !found {
        skip(&format!("trying packages takes root, and {tool} (tests/run.sh installs it)"));
    }
    is_root && found
}
