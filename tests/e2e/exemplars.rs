//! Exemplars of a target's OpenMetrics text come out of the API, each once, over a restart of the aggregator.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use serde_json::Value;
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, eventually, unix_ms};

/// Serves a counter with an exemplar. The trace's number is `trace`, for as long as it stays.
fn serve(trace: Arc<AtomicU32>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|stream| drop(answer(stream, trace.load(Ordering::Relaxed))));
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, trace: u32) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let body = format!(
        "# TYPE requests counter\nrequests_total {trace} # {{trace_id=\"{trace:032x}\"}} 0.25\n# EOF\n"
    );
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// The traces' numbers, oldest first.
fn traces(api: &Api) -> Result<Vec<u32>> {
    let end = (unix_ms() / 1000 + 60).to_string();
    let parameters =
        [("query", "rate(requests_total{job=\"app\"}[1m])"), ("start", "0"), ("end", end.as_str())];
    let series = api.data("/api/v1/query_exemplars", &parameters)?;
    let Some([one]) = series.as_array().map(Vec::as_slice) else { return Ok(Vec::new()) };
    ensure!(one["seriesLabels"]["__name__"] == "requests_total", "{one}");
    let all = one["exemplars"].as_array().into_iter().flatten();
    all.map(number).collect()
}

fn number(exemplar: &Value) -> Result<u32> {
    ensure!(exemplar["value"] == "0.25", "{exemplar}");
    ensure!(exemplar["timestamp"].as_f64().is_some_and(|at| at > 1e9), "{exemplar}");
    Ok(u32::from_str_radix(exemplar["labels"]["trace_id"].as_str().unwrap_or_default(), 16)?)
}

#[test]
fn exemplars_of_a_target_are_answered() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let trace = Arc::new(AtomicU32::new(1));
    let target = serve(Arc::clone(&trace))?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: app\n    static_configs:\n      - targets: ['{target}']\n"
    );
    let mut agent = Agent::prepare(&dir.path().join("agent"), &[])?.with_config(&config)?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let mut expected = Vec::new();
    for number in 1..=4 {
        trace.store(number, Ordering::Relaxed);
        expected.push(number);
        if number == 3 {
            aggregator.kill_hard()?;
            aggregator.run()?;
        }
        eventually("the newest exemplar, after those before", GENEROUS, || {
            let found = traces(&aggregator.api())?;
            ensure!(found == expected, "{found:?}, expected {expected:?}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}
