//! `stats=all`: how many samples a query took, at each step.

use anyhow::{Result, ensure};
use vedette_tests::unix_ms;

use crate::{Pair, data};

const QUERIES: [&str; 17] = [
    "tiny",
    "counter_total",
    "counter_total + 1",
    "sum by (a) (counter_total) / on (a) group_right () counter_total",
    "counter_total offset 2m",
    "counter_total @ end()",
    "counter_total - counter_total @ start()",
    "sum(counter_total @ end()) + on () count(gauge)",
    "rate(counter_total[5m])",
    "rate(counter_total[5m] @ end())",
    "gauge > 0 and rate(counter_total[3m]) > 0",
    "max_over_time(gauge[3m:1m])",
    "absent(counter_total)",
    "topk(2, gauge)",
    "native",
    "rate(native[5m])",
    "histogram_count(native) + on (a) group_left () sum by (a) (gauge)",
];

#[test]
fn samples_are_counted_as_in_prometheus() -> Result<()> {
    let Some(pair) = Pair::with_features("promql-experimental-functions,promql-per-step-stats")? else {
        return Ok(());
    };
    let end_ms = unix_ms() / 60_000 * 60_000;
    pair.push(&data::requests(end_ms, 1))?;
    let (prometheus, vedette) = pair.apis();
    let (start, end) = ((end_ms - 1_200_000) / 1000, end_ms / 1000);
    let (start, end) = (start.to_string(), end.to_string());
    let mut counted = 0;
    for query in QUERIES {
        let instant = [("query", query), ("time", end.as_str()), ("stats", "all")];
        let range = [("query", query), ("start", &start), ("end", &end), ("step", "67"), ("stats", "all")];
        let totals = [("query", query), ("start", &start), ("end", &end), ("step", "67"), ("stats", "x")];
        for (path, parameters) in
            [("query", &instant[..]), ("query_range", &range[..]), ("query_range", &totals[..])]
        {
            let path = format!("/api/v1/{path}");
            let mut theirs = prometheus.data(&path, parameters)?["stats"]["samples"].take();
            let mut ours = vedette.data(&path, parameters)?["stats"]["samples"].take();
            // How many are held at once is each engine's own affair.
            for samples in [&mut theirs, &mut ours] {
                let peak = samples.as_object_mut().and_then(|samples| samples.remove("peakSamples"));
                ensure!(peak.is_some(), "{query}: no peak in {samples}");
            }
            ensure!(theirs == ours, "{query} {path}:\nPrometheus {theirs}\nVedette    {ours}");
            counted += theirs["totalQueryableSamples"].as_u64().unwrap_or(0);
        }
    }
    ensure!(counted > 10_000, "the data are not there: {counted} samples");
    Ok(())
}
