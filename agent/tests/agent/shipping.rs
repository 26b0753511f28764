//! Against replicas that come and go.

use rustix::process::Signal;

use crate::process::{Agent, eventually};
use crate::replica::{Group, Replica, members};

fn at_least(replica: &Replica, batches: usize) {
    eventually("batches arrive", || (replica.batches() >= batches).then_some(()));
}

#[test]
fn an_agent_ships_once_it_is_enrolled_and_outlives_kills_on_both_sides() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = Group::new();
    let mut replica = Replica::prepare(&group, 1);
    replica.start(members(&[&replica]));
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    eventually("a batch", || agent.metric("vedette_agent_batches_total").filter(|batches| *batches >= 2.0));
    // Enrolled while it runs: what was collected before arrives too.
    group.enroll(&folder.path().join("spool"), &[&replica]);
    at_least(&replica, 3);
    replica.check_whole();

    replica.stop();
    let had = replica.batches();
    let spooled = agent.metric("vedette_agent_batches_total").unwrap_or_default();
    eventually("more in the spool", || {
        agent.metric("vedette_agent_batches_total").filter(|batches| *batches >= spooled + 2.0)
    });
    replica.start(members(&[&replica]));
    at_least(&replica, had + 3);
    assert_eq!(replica.logs(), 1);

    agent.kill();
    let had = replica.batches();
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    at_least(&replica, had + 2);
    assert_eq!(replica.logs(), 2);
    replica.check_whole();
    eventually("the old log is freed", || {
        agent.metric("vedette_agent_spool_logs").filter(|logs| *logs == 1.0)
    });
    assert_eq!(agent.terminate(), Some(0));
}

#[test]
fn a_second_replica_is_told_of_and_gets_the_same() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = Group::new();
    let (mut first, mut second) = (Replica::prepare(&group, 1), Replica::prepare(&group, 2));
    let both = members(&[&first, &second]);
    first.start(both.clone());
    second.start(both);
    // The agent knows the first only; the membership is in its welcome.
    group.enroll(&folder.path().join("spool"), &[&first]);
    let _agent = Agent::start(folder.path(), &["--interval=1s"]);
    at_least(&first, 2);
    at_least(&second, 2);
    first.check_whole();
    second.check_whole();
}

#[test]
fn an_address_without_a_membership_is_enough() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = Group::new();
    let mut replica = Replica::prepare(&group, 1);
    replica.start(members(&[]));
    group.enroll(&folder.path().join("spool"), &[]);
    let aggregator = format!("--aggregator={}", replica.address);
    let agent = Agent::start(folder.path(), &["--interval=1s", &aggregator]);
    at_least(&replica, 2);
    // Nobody said who must have the data: nothing is freed.
    assert!(agent.metric("vedette_agent_spool_bytes").is_some_and(|bytes| bytes > 0.0));
}

#[test]
fn a_certificate_renews_itself_without_a_pause() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = Group::new();
    let mut replica = Replica::prepare(&group, 1);
    replica.start(members(&[&replica]));
    // Valid for 30 days, of which two thirds are over.
    group.enroll_before(&folder.path().join("spool"), &[&replica], 25);
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    let expiry = || agent.metric("vedette_agent_certificate_expiry_timestamp_seconds");
    let before = expiry().expect("enrolled");
    let after = eventually("a renewal", || expiry().filter(|at| *at > before));
    assert!((after - before - 25.0 * 86_400.0).abs() < 3600.0);
    agent.await_logged("certificate renewed");
    assert_eq!(agent.metric("vedette_agent_certificate_renewals_failed_total"), Some(0.0));
    let had = replica.batches();
    at_least(&replica, had + 2);
    replica.check_whole();
    // What was saved is found again.
    assert_eq!(agent.terminate(), Some(0));
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    assert_eq!(agent.metric("vedette_agent_certificate_expiry_timestamp_seconds"), Some(after));
}

#[test]
fn a_reload_may_change_the_name_and_is_told_that_the_certificate_has_another() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = Group::new();
    let mut replica = Replica::prepare(&group, 1);
    replica.start(members(&[&replica]));
    group.enroll(&folder.path().join("spool"), &[&replica]);
    let file = folder.path().join("agent.yml");
    std::fs::write(&file, "name: host-1\nglobal: {scrape_interval: 1s}\n").expect("written");
    let agent = Agent::start(folder.path(), &[&format!("--config.file={}", file.display())]);
    at_least(&replica, 1);
    assert!(!agent.log().contains("another name"), "{}", agent.log());
    std::fs::write(&file, "name: host-2\nglobal: {scrape_interval: 1s}\n").expect("written");
    agent.signal(Signal::HUP);
    agent.await_logged("the certificate is for another name");
    let had = replica.batches();
    at_least(&replica, had + 2);
    replica.check_whole();
}
