//! Remote read: message by message what Prometheus answers, and a Prometheus that reads from Vedette.

use anyhow::{Result, bail, ensure};
use vedette_exposition::protobuf::{Fields, Value};
use vedette_tests::compare::{Question, Times};
use vedette_tests::read::{ReadMatcher, ReadReply, ResponseType, remote_read};
use vedette_tests::{Api, Prometheus, unix_ms};

use crate::{Pair, data};

/// Without what differs in bytes alone: Prometheus leaves −0 out of a message, and what it knows of counter resets depends
/// on its chunks. By type: 0 equal, 1 not equal, 2 regular expression, 3 its opposite.
const SELECTIONS: [&[ReadMatcher<'_>]; 6] = [
    &[(0, "__name__", "gauge")],
    &[(2, "__name__", "gauge|small"), (1, "a", "1")],
    &[(0, "__name__", "utf8.näme"), (3, "x.y", "back.*")],
    &[(3, "__name__", "weird|native.*")],
    &[(0, "__name__", "no such thing")],
    &[(3, "__name__", "weird|native.*"), (0, "job", "fuzz"), (0, "a", "")],
];

/// Of `native` the series that has histograms alone: of one that has floats as well Prometheus' client gives another
/// answer than Prometheus itself. None with bounds of their own: its client forgets them, and panics.
const EXPRESSIONS: [&str; 9] = [
    "native{a=\"1\"}",
    "histogram_quantile(0.9, rate(native{a=\"1\"}[10m]))",
    "gauge",
    "weird",
    "sum by (a) (rate(counter_total[5m]))",
    "{__name__=~\".+\", a=\"1\", __name__!~\"native_.+\"}",
    "histogram_quantile(0.9, sum by (le) (rate(lat_bucket[10m])))",
    "count({job=\"fuzz\"})",
    "max_over_time(sparse[10m])",
];

#[test]
fn remote_read_answers_as_prometheus() -> Result<()> {
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let end = unix_ms() / data::INTERVAL_MS * data::INTERVAL_MS - 60_000;
    pair.push(&data::requests(end, 3))?;
    let start = end - data::STEPS * data::INTERVAL_MS;
    let urls = [pair.prometheus.url(), pair.aggregator.url()];
    for matchers in SELECTIONS {
        for range in [(start, end + 1000), (end - 600_000, end - 300_000)] {
            let [theirs, ours] =
                urls.each_ref().map(|url| remote_read(url, matchers, range, ResponseType::Samples));
            let (theirs, ours) = (theirs?, ours?);
            ensure!(theirs.status == 200 && theirs.content_type == "application/x-protobuf", "{theirs:?}");
            ensure!(theirs.content_type == ours.content_type, "{ours:?}");
            let (theirs, ours) = (series(&theirs)?, series(&ours)?);
            ensure!(theirs.len() == ours.len(), "{matchers:?}: {} and {} series", theirs.len(), ours.len());
            let same = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs == ours).count();
            ensure!(same == ours.len(), "{matchers:?}: only {same} of {} series are the same", ours.len());
            ensure!(ours.is_empty() == (matchers[0].2 == "no such thing"), "{matchers:?}: {}", ours.len());
        }
    }
    // Prometheus answers 500, as if it were its own fault.
    let wrong = remote_read(&urls[1], &[(2, "a", "(")], (start, end), ResponseType::Samples)?;
    ensure!(wrong.status == 400, "a matcher that is none: {}", wrong.status);
    read_through_prometheus(&pair, start, end)
}

/// The series of an answer of one query, as bytes, in an order: Prometheus has none there.
fn series(reply: &ReadReply) -> Result<Vec<Vec<u8>>> {
    let (mut series, mut results) = (Vec::new(), 0);
    for field in Fields::of(&reply.body) {
        let (1, Value::Bytes(result)) = field? else { bail!("an unknown field") };
        results += 1;
        for field in Fields::of(result) {
            let (1, Value::Bytes(one)) = field? else { bail!("an unknown field") };
            // Prometheus may give a series that has samples near the range, and none in it.
            if Fields::of(one).any(|field| matches!(field, Ok((2 | 4, _)))) {
                series.push(one.to_vec());
            }
        }
    }
    ensure!(results == 1, "{results} results");
    series.sort();
    Ok(series)
}

/// A Prometheus without data of its own answers over Vedette's, which it reads as a stream of chunks.
fn read_through_prometheus(pair: &Pair, start: i64, end: i64) -> Result<()> {
    let yaml =
        format!("remote_read:\n  - url: {}/api/v1/read\n    read_recent: true\n", pair.aggregator.url());
    let dir = tempfile::tempdir()?;
    let Some(reader) = Prometheus::start(dir.path(), &yaml, &[])? else { return Ok(()) };
    let (theirs, ours): (Api, Api) = (reader.api(), pair.aggregator.api());
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    for expression in EXPRESSIONS {
        for times in [
            Times::At(seconds(end - 60_000)),
            Times::Range { start: seconds(start), end: seconds(end), step: "15".to_owned() },
        ] {
            let question = Question::new(expression, times);
            let (theirs, ours) = (question.ask(&theirs)?, question.ask(&ours)?);
            ensure!(!ours.is_empty() && !ours.is_error(), "{question:?}: {:?}", ours.body);
            let difference = question.difference(&theirs, &ours);
            ensure!(difference.is_none(), "{question:?}: {}", difference.unwrap_or_default());
        }
    }
    let streamed =
        remote_read(&pair.aggregator.url(), SELECTIONS[3], (start, end), ResponseType::StreamedXorChunks)?;
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    ensure!(streamed.content_type == kind, "{}", streamed.content_type);
    Ok(())
}
