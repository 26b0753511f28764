//! Before enrolment, and the command line.

use std::io::Read as _;

use rustix::process::Signal;

use crate::process::{Agent, command, eventually};

#[test]
fn an_agent_that_is_not_enrolled_collects_keeps_and_serves() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    agent.await_logged("not enrolled");
    agent.await_logged("vedette-agent enroll");
    eventually("batches", || agent.metric("vedette_agent_batches_total").filter(|batches| *batches >= 2.0));
    assert!(agent.metric("node_load1").is_some());
    assert_eq!(agent.metric("vedette_agent_enrolled"), Some(0.0));
    let (status, text) = agent.get("/metrics").expect("served");
    assert_eq!(status, 200);
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(agent.get("/nowhere").expect("served").0, 404);
    assert_eq!(agent.terminate(), Some(0));
    // What was collected is found again.
    let agent = Agent::start(folder.path(), &["--interval=1s"]);
    agent.await_logged("found batches of earlier starts");
}

#[test]
fn http_is_bounded_and_speaks_gzip() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let agent = Agent::start(folder.path(), &[]);
    let compressed = agent.request("GET", "/metrics", "Accept-Encoding: gzip\r\n").expect("served");
    let split = compressed.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&compressed[..split]).into_owned();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&compressed[split..]).read_to_string(&mut text).expect("gzip");
    assert!(text.contains("\nnode_load1 ") && text.contains("\nvedette_agent_build_info{"));

    let head = String::from_utf8(agent.request("HEAD", "/metrics", "").expect("served")).expect("no body");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let refused = agent.request("POST", "/metrics", "Content-Length: 0\r\n").expect("served");
    assert!(refused.starts_with(b"HTTP/1.1 405"));

    // Whoever only opens connections does not open ever more of them.
    let idle: Vec<_> = (0..100).map(|_| agent.connect().expect("connects")).collect();
    let closed = idle.iter().rev().take(36).filter(|stream| {
        stream.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("set");
        matches!((*stream).take(1).read(&mut [0]), Ok(0))
    });
    assert_eq!(closed.count(), 36);
    drop(idle);
    let refused = || agent.metric("vedette_agent_http_connections_refused_total");
    eventually("an answer again", || refused().filter(|refused| *refused >= 36.0));
}

#[test]
fn a_spool_has_one_agent() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let _agent = Agent::start(folder.path(), &[]);
    let spool = format!("--spool.path={}", folder.path().join("spool").display());
    let output = command(&[&spool, "--web.listen-address=127.0.0.1:0"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("in use by another process"), "{said}");
}

#[test]
fn a_reload_takes_the_new_configuration_or_keeps_the_old() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("agent.yml");
    std::fs::write(&file, "global: {scrape_interval: 1s}\n").expect("written");
    let config = format!("--config.file={}", file.display());
    let agent = Agent::start(folder.path(), &[&config]);
    let succeeded = || agent.metric("vedette_agent_config_last_reload_successful");
    assert!(agent.metric("node_load1").is_some());

    std::fs::write(&file, "global: {scrape_interval: 1s}\nweb: {port: 1}\n").expect("written");
    agent.signal(Signal::HUP);
    eventually("the refusal", || succeeded().filter(|value| *value == 0.0));
    agent.await_logged("agent.yml:2");

    std::fs::write(&file, "global: {scrape_interval: 1s}\ncollectors: {loadavg: false}\n").expect("written");
    agent.signal(Signal::HUP);
    eventually("the reload", || succeeded().filter(|value| *value == 1.0));
    eventually("one collector less", || agent.metric("node_load1").is_none().then_some(()));
    assert!(agent.metric("node_boot_time_seconds").is_some());
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("agent.yml");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let output = command(&["check", &file.display().to_string()]).output().expect("runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    assert_eq!(check("global: {scrape_interval: 1s}\n").0, Some(0));
    let (code, said) = check("spool:\n  sync: sometimes\n");
    assert!(code == Some(2) && said.contains("agent.yml:2: spool.sync: "), "{code:?} {said}");
    let output = command(&["--no-such-flag"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}
