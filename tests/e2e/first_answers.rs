//! A newcomer's first minute: this host's metrics are there, and they are true.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Aggregator, Api, GENEROUS, enrolled_pair, eventually, peer, unix_ms};

#[test]
fn this_hosts_metrics_are_there_and_true() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    let started = unix_ms();
    let first =
        eventually("the first sample", GENEROUS, || api.value("timestamp(node_boot_time_seconds)", None))?;
    let after_ms = (first * 1000.0) as i64 - started;
    ensure!(
        after_ms <= 2_000,
        "the first sample is of {after_ms} ms after the start: two intervals are 2000 ms"
    );

    agree(&api, "node_memory_MemTotal_bytes", meminfo("MemTotal")? * 1024.0, 0.0)?;
    agree(&api, "node_memory_SwapTotal_bytes", meminfo("SwapTotal")? * 1024.0, 0.0)?;
    agree(&api, "node_boot_time_seconds", proc_number("/proc/stat", "btime")?, 1.0)?;
    agree(&api, "node_time_seconds", unix_ms() as f64 / 1000.0, 5.0)?;
    agree(&api, "node_filefd_maximum", proc_first("/proc/sys/fs/file-max")?, 0.0)?;
    agree(&api, "count(node_cpu_seconds_total{mode=\"idle\"})", cpus()? as f64, 0.0)?;
    agree(&api, "sum(node_cpu_seconds_total{mode=\"idle\"})", idle_seconds()?, 10.0)?;
    agree(&api, "node_load1", proc_first("/proc/loadavg")?, 3.0)?;
    agree(&api, "up{job=\"node\"}", 1.0, 0.0)?;

    let names = api.data("/api/v1/label/__name__/values", &[])?;
    let count = names.as_array().map_or(0, Vec::len);
    ensure!(count > 150, "only {count} metric names");
    let metadata = api.data("/api/v1/metadata", &[("metric", "node_load1")])?;
    ensure!(metadata["node_load1"][0]["type"] == "gauge", "metadata of node_load1: {metadata}");

    let page = api.get("/")?;
    ensure!(page.contains("<html"), "the page at / is HTML");
    drop(agent);
    Ok(())
}

#[test]
fn promtool_queries_the_aggregator() -> Result<()> {
    let Some(promtool) = peer("promtool") else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let (aggregator, _agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("a rate", GENEROUS, || api.value("sum(rate(node_cpu_seconds_total[10s]))", None))?;

    let ask = |arguments: &[&str]| -> Result<String> {
        let output = Command::new(&promtool).arg("query").args(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
        Ok(text)
    };
    let url = aggregator.url();
    let instant = ask(&["instant", &url, "node_load1"])?;
    ensure!(instant.contains("node_load1{") && instant.contains("=>"), "instant: {instant}");
    eventually("a range", GENEROUS, || {
        let (start, end) = (unix_ms() / 1000 - 10, unix_ms() / 1000);
        let (start, end) = (start.to_string(), end.to_string());
        let expression = "rate(node_cpu_seconds_total[10s])";
        let text = ask(&["range", "--step=1s", "--start", &start, "--end", &end, &url, expression])?;
        Ok(text.contains("mode=\"idle\"").then_some(()))
    })?;
    ensure!(ask(&["series", "--match=node_load1", &url])?.contains("node_load1"), "series");
    ensure!(ask(&["labels", &url, "job"])?.contains("node"), "labels");
    Ok(())
}

#[test]
fn an_agent_that_is_gone_is_known_to_be_gone() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually(
        "up is 1",
        GENEROUS,
        || Ok((api.value("up{job=\"node\"}", None)? == Some(1.0)).then_some(())),
    )?;
    agent.kill_hard()?;
    eventually(
        "up is 0",
        GENEROUS,
        || Ok((api.value("up{job=\"node\"}", None)? == Some(0.0)).then_some(())),
    )?;
    eventually("its series are stale", GENEROUS, || {
        Ok(api.value("node_load1", None)?.is_none().then_some(()))
    })?;
    agent.run()?;
    eventually("it is back", GENEROUS, || {
        Ok((api.value("up{job=\"node\"}", None)? == Some(1.0)).then_some(()))
    })?;
    ensure!(api.value("node_load1", None)?.is_some(), "node_load1 is back with up");
    Ok(())
}

#[test]
fn sigterm_leaves_at_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("a sample", GENEROUS, || api.value("node_load1", None))?;
    for exit in [agent.terminate()?, aggregator.terminate()?] {
        ensure!(exit.status.code() == Some(0), "{:?}", exit.status);
    }
    let before = unix_ms();
    aggregator.run()?;
    let kept = aggregator.api().value("count_over_time(node_load1[5m])", Some(before))?;
    ensure!(kept.is_some_and(|kept| kept >= 1.0), "samples are there after a clean restart");
    Ok(())
}

/// The API's value of `expression` is within `tolerance` of what the kernel says.
fn agree(api: &Api, expression: &str, expected: f64, tolerance: f64) -> Result<()> {
    let found = api.value(expression, None)?.with_context(|| format!("{expression} has no value"))?;
    ensure!((found - expected).abs() <= tolerance, "{expression}: {found}, the kernel says {expected}");
    Ok(())
}

fn meminfo(key: &str) -> Result<f64> {
    proc_number("/proc/meminfo", &format!("{key}:"))
}

fn proc_number(path: &str, key: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines().map(str::split_whitespace);
    let words = lines.find_map(|mut words| (words.next() == Some(key)).then_some(words));
    let number = words.and_then(|mut words| words.next()).with_context(|| format!("{path} has no {key}"))?;
    Ok(number.parse()?)
}

fn proc_first(path: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.split_whitespace().next().context("a number")?.parse()?)
}

fn cpus() -> Result<usize> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    Ok(stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu ")).count())
}

fn idle_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let words: Vec<_> = stat.lines().next().context("a line")?.split_whitespace().collect();
    const TICKS_PER_SECOND: f64 = 100.0;
    Ok(words[4].parse::<f64>()? / TICKS_PER_SECOND)
}

#[test]
fn an_aggregator_alone_answers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let api = aggregator.api();
    ensure!(api.data("/api/v1/query", &[("query", "1+1")])?["result"][1] == "2", "1+1 is 2");
    ensure!(api.query("up", None)?.is_empty(), "there is no series");
    let (status, body) = api.get_any("/api/v1/query?query=sum(")?;
    ensure!(status == 400 && body.contains("\"errorType\":\"bad_data\""), "{status}: {body}");
    Ok(())
}
