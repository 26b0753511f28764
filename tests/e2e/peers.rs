//! Beside the programs that users have: promtool's lint, and a real Prometheus that scrapes the agent.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Agent, Api, GENEROUS, Program, eventually, free_port, peer};

#[test]
fn promtool_finds_nothing_that_node_exporters_own_output_lacks() -> Result<()> {
    let (Some(promtool), Some(exporter)) = (peer("promtool"), peer("prometheus-node-exporter")) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &[])?;
    agent.run()?;
    let port = free_port()?;
    let mut command = Command::new(exporter);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _exporter = Program::start(&mut command, &dir.path().join("exporter.log"))?;
    let theirs = Api::new(&format!("http://127.0.0.1:{port}"));
    let theirs = eventually("node_exporter answers", GENEROUS, || Ok(Some(theirs.get("/metrics")?)))?;
    let ours = agent.api().get("/metrics")?;

    let known = complaints(&promtool, &theirs)?;
    let new: Vec<_> =
        complaints(&promtool, &ours)?.into_iter().filter(|line| !known.contains(line)).collect();
    ensure!(new.is_empty(), "promtool check metrics: {new:#?}");
    Ok(())
}

fn complaints(promtool: &std::path::Path, metrics: &str) -> Result<Vec<String>> {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("its input")?.write_all(metrics.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8(text)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_real_prometheus_scrapes_the_agent() -> Result<()> {
    let Some(prometheus) = peer("prometheus") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &[])?;
    agent.run()?;
    let target = agent.url().trim_start_matches("http://").to_owned();
    let config = dir.path().join("prometheus.yml");
    let yaml = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['{target}']\n"
    );
    std::fs::write(&config, yaml)?;
    let port = free_port()?;
    let mut command = Command::new(prometheus);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Program::start(&mut command, &dir.path().join("prometheus.log"))?;
    let api = Api::new(&format!("http://127.0.0.1:{port}"));
    eventually("Prometheus has scraped", GENEROUS, || {
        Ok((api.value("up", None)? == Some(1.0)).then_some(()))
    })?;
    let count = api.value("count({__name__=~\"node_.+\"})", None)?.unwrap_or_default();
    ensure!(count > 300.0, "Prometheus got {count} series of the node");
    let metadata = api.data("/api/v1/metadata", &[("metric", "node_cpu_seconds_total")])?;
    ensure!(metadata["node_cpu_seconds_total"][0]["type"] == "counter", "{metadata}");
    Ok(())
}
