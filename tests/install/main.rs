//! The packages on a Debian 12 that is booted: from the installation to the purge, as an administrator does it.

mod container;
mod images;
mod packages;
mod pages;
mod restarts;
mod rpm;
mod steps;
mod target;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use vedette_tests::{now, skip};

use container::{Container, Place};
use packages::Debs;
use pages::Site;
use steps::Host;

type Step = fn(&Host) -> Result<()>;

/// The version that hosts are upgraded to.
const NEXT_VERSION: &str = "0.9.0";

#[test]
fn a_host_from_the_installation_to_the_purge() -> Result<()> {
    let Some(image) = image() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (debs, next) = (Debs::build(folder.path())?, Debs::build_version(folder.path(), NEXT_VERSION)?);
    let alone = Place { hostname: "vedette-test", namespace: None, hosts: String::new() };
    let container = Container::boot(&image, folder.path(), alone)?;
    let host = Host::new(container, &debs, &next)?;
    let before = host.files()?;
    let steps: [(&str, Step); 14] = [
        ("refuses an older systemd", Host::refuses_an_older_systemd),
        ("installs and enrols", Host::installs_and_enrols),
        ("units are hardened", Host::units_are_hardened),
        ("secrets are handed over", Host::secrets_are_handed_over),
        ("a missing right is named", Host::a_missing_right_is_named),
        ("is restarted after kills", Host::is_restarted_after_kills),
        ("failures before the program are paused", Host::failures_before_the_program_are_paused),
        ("a missing disk is named", Host::a_missing_disk_is_named),
        ("repairs take effect at once", Host::repairs_take_effect_at_once),
        ("the watchdog ends what hangs", Host::watchdog_ends_what_hangs),
        ("upgrades lose nothing", Host::upgrades_lose_nothing),
        ("survives a reboot", Host::survives_a_reboot),
        ("refuses a downgrade over newer data", Host::refuses_a_downgrade_over_newer_data),
        ("removing keeps data", Host::removing_keeps_data),
    ];
    for (name, step) in steps {
        let begin = now();
        step(&host).context(name)?;
        println!("{name}: {:.1} s", begin.elapsed().as_secs_f64());
    }
    host.purging_leaves_nothing(&before)
}

#[test]
fn the_pages_for_administrators_can_be_followed() -> Result<()> {
    let Some(image) = image() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let (debs, next) = (Debs::build(folder.path())?, Debs::repack(folder.path(), NEXT_VERSION)?);
    let Some(site) = Site::boot(&image, folder.path())? else { return Ok(()) };
    site.follow(&debs, &next)
}

#[test]
fn images_are_of_the_newest_package() -> Result<()> {
    let Some(image) = image() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    Debs::build(folder.path())?;
    Debs::repack(folder.path(), NEXT_VERSION)?;
    images::check(&image, folder.path())
}

#[test]
fn debs_are_reproducible_and_clean() -> Result<()> {
    if !packages::tools_are_there("lintian") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let first = Debs::build(&folder.path().join("first"))?;
    let second = Debs::build(&folder.path().join("second"))?;
    for (first, second) in [(&first.agent, &second.agent), (&first.aggregator, &second.aggregator)] {
        assert!(std::fs::read(first)? == std::fs::read(second)?, "two packages differ: {}", first.display());
        packages::lint_deb(first)?;
    }
    Ok(())
}

#[test]
fn rpms_install_verify_and_erase() -> Result<()> {
    let Some(image) = image() else { return Ok(()) };
    if !packages::tools_are_there("rpm") || !packages::tools_are_there("rpmlint") {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    rpm::check(&image, folder.path())
}

/// The folder of the Debian that is booted.
fn image() -> Option<PathBuf> {
    let image = std::env::var_os("VEDETTE_IMAGE").map(PathBuf::from).filter(|image| image.exists());
    if image.is_none() {
        skip("VEDETTE_IMAGE names no folder (tests/install/image.sh makes it)");
    }
    image.filter(|_| packages::tools_are_there("systemd-nspawn"))
}
