//! What an administrator sees at a glance: `status` of both programs, and `collect --once`, with their exit codes.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Agent, Aggregator, GENEROUS, Ran, enrolled_pair, eventually};

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
    let log = aggregator.log();
    for words in ["vedette-aggregator token create", "vedette-agent enroll --token-file", &aggregator.url()] {
        ensure!(status.stdout.contains(words), "{words}: {status:?}");
        ensure!(log.contains(words), "{words}: {log}");
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
        "of at most 1.1 GB",
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
