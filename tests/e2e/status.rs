//! What an administrator sees at a glance: `status` of both programs, and `collect --once`, with their exit codes.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Agent, Aggregator, GENEROUS, Program, Ran, binary, enrolled_pair, eventually, skip};

fn json(ran: &Ran) -> Result<Value> {
    serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))
}

#[test]
fn a_new_aggregator_says_what_to_do_next_in_its_log_and_its_status() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::prepare(&dir.path().join("aggregator"), &dir.path().join("data"))?;
    let silent = aggregator.ask(&["status"])?;
    ensure!(silent.code == 1, "{silent:?}");
    ensure!(silent.stderr.contains("systemctl start vedette-aggregator"), "{silent:?}");

    aggregator.run()?;
    let status = aggregator.ask(&["status"])?;
    ensure!(status.code == 0, "{status:?}");
    for words in ["vedette-aggregator token create", "vedette-agent enroll --token-file", &aggregator.url()] {
        ensure!(status.stdout.contains(words), "{words}: {status:?}");
        aggregator.await_logged(&["next", words])?;
    }
    let report = json(&aggregator.ask(&["status", "--json"])?)?;
    ensure!(report["healthy"] == true && report["agents"] == Value::Array(Vec::new()), "{report}");
    ensure!(report["storage"]["retention_seconds"] == 15.0 * 86_400.0, "{report}");
    ensure!(report["storage"]["disk_free_bytes"].as_u64() > Some(0), "{report}");
    let left = |key: &str| report[key].as_i64().unwrap_or(0) - report["now_ms"].as_i64().unwrap_or(0);
    let day_ms = 86_400_000;
    ensure!((29 * day_ms..=30 * day_ms).contains(&left("certificate_expires_at_ms")), "{report}");
    ensure!(left("authority_expires_at_ms") > 19 * 365 * day_ms, "{report}");

    // An agent is enrolled: nothing is left to be said.
    let agent = Agent::prepare(&dir.path().join("agent"), &[])?;
    agent.enroll(&aggregator.token("agent")?)?;
    ensure!(
        json(&aggregator.ask(&["status", "--json"])?)?["next_steps"] == Value::Array(Vec::new()),
        "said again"
    );
    aggregator.terminate()?;
    let said = aggregator.log().matches("no agent is enrolled yet").count();
    aggregator.run()?;
    ensure!(
        aggregator.log().matches("no agent is enrolled yet").count() == said,
        "said again after a restart"
    );
    Ok(())
}

#[test]
fn the_aggregator_shows_agents_that_are_absent_and_peers_that_are_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, mut agent) = enrolled_pair(dir.path())?;
    let mut second = Aggregator::prepare(&dir.path().join("second"), &dir.path().join("second/storage"))?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    let report = || json(&first.ask(&["status", "--json"])?);
    let peer = |report: &Value| {
        let members = report["members"].as_array().cloned().unwrap_or_default();
        members.into_iter().find(|member| member["own"] == false).unwrap_or_default()
    };
    eventually("the peer is reached, the agent connected", GENEROUS, || {
        let report = report()?;
        let connected = report["agents"][0]["connected_from"].as_array().is_some_and(|from| !from.is_empty());
        let peer = peer(&report);
        Ok((connected && peer["reached_seconds_ago"].is_number() && peer["unshipped_batches"] == 0)
            .then_some(()))
    })?;
    agent.kill_hard()?;
    second.kill_hard()?;
    eventually("both are missed", GENEROUS, || {
        let report = report()?;
        let absent = report["agents"][0]["connected_from"].as_array().is_some_and(Vec::is_empty);
        Ok((absent && peer(&report)["error"].is_string()).then_some(()))
    })?;
    let text = first.ask(&["status"])?;
    ensure!(text.code == 0, "one of two is enough: {text:?}");
    ensure!(text.stdout.contains("0 connected, 1 absent") && text.stdout.contains("away"), "{text:?}");
    let list = first.ask(&["agent", "list"])?;
    ensure!(list.code == 0 && list.stdout.contains("absent"), "{list:?}");
    Ok(())
}

#[test]
fn the_agent_says_how_it_is_and_what_to_do() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let yaml = "scrape_configs:\n  - job_name: app\n    scrape_interval: 1s\n    static_configs: [{targets: ['127.0.0.1:1']}]\n";
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?.with_config(yaml)?;
    let silent = agent.ask(&["status"])?;
    ensure!(silent.code == 1 && silent.stderr.contains("systemctl start vedette-agent"), "{silent:?}");

    agent.run()?;
    let fresh = agent.ask(&["status"])?;
    ensure!(fresh.code == 1 && fresh.stdout.contains("vedette-agent enroll --token-file token"), "{fresh:?}");

    agent.enroll(&aggregator.token("agent")?)?;
    let healthy = eventually("it is healthy, and the target known to be down", GENEROUS, || {
        let ran = agent.ask(&["status", "--json"])?;
        let report = json(&ran)?;
        let ready = ran.code == 0
            && report["targets"][0]["health"] == "down"
            && report["replicas"][0]["last_ack_seconds_ago"].is_number();
        Ok(ready.then_some(report))
    })?;
    let collectors = healthy["collectors"].as_array().context("collectors")?;
    ensure!(collectors.len() == 17, "{healthy}");
    ensure!(
        collectors.iter().any(|collector| collector["name"] == "cpu" && collector["state"] == "ok"),
        "{healthy}"
    );
    ensure!(healthy["spool"]["bytes_max"] == 1 << 30 && healthy["spool"]["disk_ok"] == true, "{healthy}");
    ensure!(healthy["replicas"][0]["connected"] == true, "{healthy}");
    let text = agent.ask(&["status"])?.stdout;
    for words in [
        "health        healthy",
        "17: ",
        "0 of 1 up",
        "1 of 1 connected",
        "of at most 1.0 GiB",
        "renews itself",
    ] {
        ensure!(text.contains(words), "{words}: {text}");
    }

    aggregator.kill_hard()?;
    eventually("it is not healthy without an aggregator", GENEROUS, || {
        let ran = agent.ask(&["status"])?;
        Ok((ran.code == 1 && ran.stdout.contains("no aggregator is connected")).then_some(()))
    })
}

/// The service's user.
const USER: u32 = 65_534;

/// `command` as another user.
fn as_user(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()])
        .arg(program);
    command
}

#[test]
fn root_enrols_and_asks_a_service_that_runs_as_another_user() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can run programs as other users");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    // Where everybody can run it.
    let program = dir.path().join("vedette-agent");
    std::fs::copy(binary("vedette-agent")?, &program)?;
    let spool = dir.path().join("spool");
    std::fs::create_dir(&spool)?;
    chown(&spool, Some(USER), Some(USER))?;
    let path = format!("--spool.path={}", spool.display());
    let web = "--web.listen-address=127.0.0.1:0";
    let mut service = Program::start(
        as_user(USER, &program).args([&path, web, "--interval=1s"]),
        &dir.path().join("agent.log"),
    )?;
    let status = |mut command: Command| command.args([&path, "status"]).output();
    eventually("root is told how it is", GENEROUS, || {
        service.check_alive()?;
        let ran = status(Command::new(&program))?;
        Ok(String::from_utf8_lossy(&ran.stdout).contains("not enrolled, nothing is shipped").then_some(()))
    })?;
    let token = aggregator.token("agent")?;
    let enrolled = Command::new(&program).args([&path, "enroll", "--token-file"]).arg(&token).output()?;
    ensure!(enrolled.status.success(), "{enrolled:?}");
    eventually("the service has taken up what root has written", GENEROUS, || {
        service.check_alive()?;
        Ok((status(Command::new(&program))?.status.code() == Some(0)).then_some(()))
    })?;
    let stranger = status(as_user(USER - 1, &program))?;
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    ensure!(stranger.status.code() == Some(1) && said.contains("permission denied: ask as root"), "{said}");
    Ok(())
}

#[test]
fn collect_prints_what_the_daemon_would_serve() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let agent = Agent::prepare(&dir.path().join("agent"), &[])?;
    let all = agent.ask(&["collect", "--once"])?;
    ensure!(all.code == 0, "{all:?}");
    for metric in
        ["node_load1 ", "node_cpu_seconds_total{", "node_scrape_collector_success{collector=\"cpu\"} 1"]
    {
        ensure!(all.stdout.contains(metric), "{metric}");
    }
    let some = agent.ask(&["collect", "--once", "--collector=loadavg", "--collector=uname"])?;
    ensure!(some.code == 0 && some.stdout.contains("node_load1 "), "{some:?}");
    ensure!(!some.stdout.contains("node_cpu_seconds_total"), "{some:?}");
    ensure!(some.stdout.matches("node_scrape_collector_success{").count() == 2, "{some:?}");
    let unknown = agent.ask(&["collect", "--once", "--collector=cpuu"])?;
    ensure!(unknown.code == 2 && unknown.stderr.contains("cpuu"), "{unknown:?}");
    let broken = agent.ask(&["--path.procfs=/nowhere", "collect", "--once", "--collector=loadavg"])?;
    ensure!(broken.code == 1 && broken.stderr.contains("loadavg"), "{broken:?}");
    ensure!(!agent.spool().exists(), "nothing is written");
    Ok(())
}
