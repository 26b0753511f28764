//! A target with far too many series: its agent keeps the others, both sides say so, and a higher limit ends it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use anyhow::{Result, ensure};
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, eventually, unix_ms};

/// More than a host has of its own, and less than the target.
const LIMIT: usize = 2500;
const TARGET_SERIES: usize = 4000;

#[test]
fn a_target_with_too_many_series_does_not_cost_the_others() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().join("aggregator");
    let mut aggregator = Aggregator::prepare(&folder, &folder.join("storage"))?;
    aggregator.configure(&format!("limits:\n  series_per_agent_max: {LIMIT}\n"))?;
    aggregator.run()?;
    let target = serve_exposition(exposition(TARGET_SERIES))?;
    let scrape =
        format!("scrape_configs:\n  - job_name: big\n    static_configs:\n      - targets: [\"{target}\"]\n");
    let agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    let mut agent = agent.with_config(&format!("name: greedy\n{scrape}"))?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let api = aggregator.api();

    let stored = eventually("a part of the target is stored", GENEROUS, || {
        api.value("count({job=\"big\",__name__=\"big\"})", None)
    })?;
    ensure!(stored < TARGET_SERIES as f64, "all {stored} series of the target are stored");
    let own = |api: &Api| api.value("count({job=\"node\"})", None);
    let host = eventually("the host's own series", GENEROUS, || own(&api))?;
    ensure!(host > 150.0 && stored + host <= LIMIT as f64, "{host} of the host, {stored} of the target");
    eventually("both sides say so", GENEROUS, || {
        let (told, heard) = (aggregator.log(), agent.log());
        let told = told.contains("limits.series_per_agent_max is 2500") && told.contains("greedy");
        Ok((told && heard.contains("does not store all series")).then_some(()))
    })?;
    ensure!(
        api.get("/metrics")?.lines().any(|line| line
            .strip_prefix("vedette_aggregator_refusals_total{reason=\"series_limit\"} ")
            .is_some_and(|count| count.parse::<f64>().is_ok_and(|count| count >= 1.0))),
        "the refusal is counted by its reason"
    );
    ensure!(api.own_metric("vedette_aggregator_storage_samples_masked_total")? > 0.0, "samples are counted");
    let series = api.own_metric("vedette_aggregator_agent_series")?;
    let masked = api.own_metric("vedette_aggregator_agent_series_masked")?;
    ensure!(series > TARGET_SERIES as f64 && masked >= series - LIMIT as f64, "{masked} of {series}");
    let status = api.data("/api/v1/status/agents", &[])?;
    ensure!(status[0]["seriesMasked"].as_f64() > Some(0.0), "{status}");

    // Another limit: what was stored stays as it was, and the next segments are whole.
    eventually("some seconds of it", GENEROUS, || {
        let count = api.value("count_over_time(big{number=\"00000\"}[1m])", None)?;
        Ok(count.filter(|count| *count >= 5.0))
    })?;
    let asked_at = unix_ms() - 2000;
    let answers = api.query("{job=\"big\"}[10s]", Some(asked_at))?;
    ensure!(!answers.is_empty(), "there is something to compare");
    ensure!(aggregator.terminate()?.status.success(), "it leaves");
    aggregator.configure("limits:\n  series_per_agent_max: 100000\n")?;
    aggregator.run()?;
    ensure!(api.query("{job=\"big\"}[10s]", Some(asked_at))? == answers, "the past is as it was");
    eventually("the whole target is stored", GENEROUS, || {
        let count = api.value("count({job=\"big\",__name__=\"big\"})", None)?;
        let masked = api.own_metric("vedette_aggregator_agent_series_masked")?;
        Ok((count == Some(TARGET_SERIES as f64) && masked == 0.0).then_some(()))
    })
}

fn exposition(series: usize) -> String {
    (0..series).map(|number| format!("big{{number=\"{number:05}\"}} {number}\n")).collect()
}

/// Answers every request with `text` until the test ends; gives the address.
fn serve_exposition(text: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n";
            // Who asked may have gone.
            write!(&stream, "{head}content-length: {}\r\n\r\n{text}", text.len()).ok();
        }
    });
    Ok(address)
}
