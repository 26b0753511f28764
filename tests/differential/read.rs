//! Remote read: message by message what Prometheus answers, and a Prometheus that reads from Vedette.

use anyhow::{Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_exposition::protobuf::{Fields, Value, push_bytes, push_integer};
use vedette_tests::compare::{Question, Times};
use vedette_tests::push::{Pushed, PushedHistogram, compress};
use vedette_tests::read::{ReadMatcher, ReadReply, ResponseType, remote_read};
use vedette_tests::{Api, Prometheus, unix_ms};

use crate::{Pair, data};

/// Without what differs in bytes alone: Prometheus leaves −0 out of a message, and what it knows of counter resets depends
/// on its chunks. By type: 0 equal, 1 not equal, 2 regular expression, 3 its opposite.
const SELECTIONS: [&[ReadMatcher<'_>]; 6] = [
    &[(0, "__name__", "gauge")],
    &[(2, "__name__", "gauge|small"), (1, "a", "1")],
    &[(0, "__name__", "utf8.näme"), (3, "x.y", "back.*")],
    &[(3, "__name__", "weird|native.*|hist")],
    &[(0, "__name__", "no such thing")],
    &[(3, "__name__", "weird|native.*|hist"), (0, "job", "fuzz"), (0, "a", "")],
];

/// Some of `native` have floats between their histograms; `hist` has each kind of histograms.
const EXPRESSIONS: [&str; 16] = [
    "{__name__=~\"native.*\"}",
    "count_over_time(native[20m])",
    "hist",
    "hist{kind=\"gauge\"}",
    "resets(hist{kind!=\"gauge\"}[1h])",
    "sum by (kind) (histogram_count(hist))",
    "histogram_sum(hist)",
    "delta(hist{kind=\"gauge\"}[10m])",
    "gauge",
    "weird",
    "sum by (a) (rate(counter_total[5m]))",
    "{__name__=~\".+\", a=\"1\", __name__!~\"native_.+\"}",
    "histogram_quantile(0.9, sum by (le) (rate(lat_bucket[10m])))",
    "count({job=\"fuzz\"})",
    "max_over_time(sparse[10m])",
    "last_over_time(native[3m])",
];

/// Vedette ends the extrapolation of histograms at zero, as Prometheus does from 3.6 on: answered alike by the Prometheus
/// that reads and the one that has the data.
const EXTRAPOLATED: [&str; 5] = [
    "histogram_quantile(0.9, rate(native[10m]))",
    "rate(hist{kind!=\"gauge\"}[5m])",
    "histogram_quantile(0.3, rate(hist{kind!=\"gauge\"}[5m]))",
    "increase(hist{kind=\"wandering\"}[30m])",
    "sum(rate(hist{kind=~\"whole|float\"}[10m]))",
];

#[test]
fn remote_read_answers_as_prometheus() -> Result<()> {
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let end = unix_ms() / data::INTERVAL_MS * data::INTERVAL_MS - 60_000;
    // In one order of time: Prometheus takes nothing that is an hour older than what it has.
    let mut requests = data::requests(end, 3);
    requests.iter_mut().zip(histograms(end)).for_each(|(request, more)| request.extend(more));
    pair.push(&requests)?;
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
    read_through_prometheus(&pair, start, end)?;
    let apis = pair.apis();
    refusals([&apis.0, &apis.1])
}

/// What is no request, or an odd one: both answer with the same status and kind of content.
fn refusals(apis: [&Api; 2]) -> Result<()> {
    let compressed = |plain: &[u8]| compress(plain);
    let asking = |query: &[u8], accepted: &[u8]| {
        let mut request = Vec::new();
        push_bytes(&mut request, 1, query);
        accepted.iter().for_each(|kind| push_integer(&mut request, 2, i64::from(*kind)));
        if accepted.contains(&0) {
            request.extend([2 << 3, 0]);
        }
        compressed(&request)
    };
    let matching = |kind: i64, name: &[u8], value: &[u8]| {
        let (mut matcher, mut query) = (Vec::new(), Vec::new());
        push_integer(&mut matcher, 1, kind);
        push_bytes(&mut matcher, 2, name);
        push_bytes(&mut matcher, 3, value);
        push_bytes(&mut query, 3, &matcher);
        query
    };
    let (no_regex, good) = (matching(2, b"a", b"("), matching(0, b"__name__", b"gauge"));
    let cases = [
        ("no snappy", "POST", vec![0xff; 3], 400),
        ("nothing", "POST", Vec::new(), 400),
        ("no protobuf", "POST", compressed(&[0x0a, 0xff])?, 400),
        ("no queries", "POST", compressed(&[])?, 200),
        ("no regular expression", "POST", asking(&no_regex, &[])?, 500),
        ("the same as a stream", "POST", asking(&no_regex, &[1])?, 500),
        ("a matcher of no type", "POST", asking(&matching(9, b"a", b"b"), &[])?, 500),
        ("an answer of no type", "POST", asking(&good, &[7])?, 400),
        ("one of no type, one of a type", "POST", asking(&good, &[7, 1])?, 200),
        ("samples before a stream", "POST", asking(&good, &[0, 1])?, 200),
        ("no matchers", "POST", asking(&[], &[])?, 200),
        ("another method", "GET", Vec::new(), 405),
        ("another method", "PUT", asking(&good, &[])?, 405),
    ];
    let plain: [(&str, &str); 0] = [];
    let odd = [("Content-Type", "application/json"), ("X-Prometheus-Remote-Read-Version", "9.9")];
    for (name, method, body, status) in &cases {
        for headers in [&plain[..], &odd] {
            let answers = apis.map(|api| api.raw(method, "/api/v1/read", headers, body));
            let [theirs, ours] = answers.map(|answer| answer.map(|(status, headers, _)| (status, headers)));
            let (theirs, ours) = (theirs?, ours?);
            ensure!(
                theirs.0 == *status && ours.0 == *status,
                "{name}: {theirs:?} and {ours:?}, not {status}"
            );
            for header in ["content-type", "x-content-type-options", "allow"] {
                ensure!(theirs.1.get(header) == ours.1.get(header), "{name}: {theirs:?} and {ours:?}");
            }
        }
    }
    Ok(())
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
    let arguments = ["--enable-feature=native-histograms"];
    let Some(reader) = Prometheus::start(dir.path(), &yaml, &arguments)? else { return Ok(()) };
    let reading: Api = reader.api();
    let (local, ours) = pair.apis();
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    for expression in EXPRESSIONS.iter().chain(&EXTRAPOLATED) {
        for times in [
            Times::At(seconds(end - 60_000)),
            Times::Range { start: seconds(start), end: seconds(end), step: "15".to_owned() },
        ] {
            let question = Question::new(*expression, times);
            let read = question.ask(&reading)?;
            ensure!(!read.is_empty() && !read.is_error(), "{question:?}: {:?}", read.body);
            let others = [("Prometheus", &local), ("Vedette", &ours)];
            let count = if EXTRAPOLATED.contains(expression) { 1 } else { 2 };
            for (name, other) in &others[..count] {
                let difference = question.difference(&question.ask(other)?, &read);
                ensure!(difference.is_none(), "{question:?}, {name}: {}", difference.unwrap_or_default());
            }
        }
    }
    let streamed =
        remote_read(&pair.aggregator.url(), SELECTIONS[3], (start, end), ResponseType::StreamedXorChunks)?;
    let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
    ensure!(streamed.content_type == kind, "{}", streamed.content_type);
    Ok(())
}

/// Histograms of each kind, all under one name; requests in the order of time.
fn histograms(end_ms: i64) -> Vec<Vec<Pushed>> {
    let mut random = StdRng::seed_from_u64(11);
    let mut counts: Vec<[u64; 7]> = vec![[0; 7]; KINDS.len()];
    let times = (0..data::STEPS).map(|step| (step, end_ms - (data::STEPS - 1 - step) * data::INTERVAL_MS));
    let request = |(step, at_ms): (i64, i64)| {
        let series = KINDS.iter().zip(&mut counts).map(|(kind, counts)| {
            let is_reset = random.random_ratio(1, 70);
            for count in counts.iter_mut() {
                let observed = random.random_range(0..9);
                *count = match *kind {
                    "gauge" => observed,
                    _ if is_reset => 0,
                    _ => *count + observed,
                };
            }
            let labels = [("__name__", "hist"), ("job", "fuzz"), ("kind", kind)];
            Pushed { histograms: vec![histogram(kind, (step, at_ms), counts)], ..Pushed::new(&labels, &[]) }
        });
        series.collect()
    };
    times.map(request).collect()
}

const KINDS: [&str; 5] = ["whole", "float", "gauge", "custom", "wandering"];

fn histogram(kind: &str, (step, at_ms): (i64, i64), counts: &[u64; 7]) -> PushedHistogram {
    let sum = counts.iter().zip(1..).map(|(count, size)| (count * size) as f64 / 7.0).sum();
    let whole = PushedHistogram {
        at_ms,
        schema: 2,
        sum,
        zero_count: counts[0],
        offset: -3,
        buckets: counts[1..4].to_vec(),
        negative: counts[4..].to_vec(),
        ..PushedHistogram::default()
    };
    match kind {
        "float" => PushedHistogram { is_float: true, ..whole },
        "gauge" => PushedHistogram { is_gauge: true, ..whole },
        "custom" => PushedHistogram {
            schema: -53,
            zero_count: 0,
            offset: 0,
            buckets: counts[..4].to_vec(),
            negative: Vec::new(),
            custom_values: vec![-0.5, 0.25, 1e9],
            ..whole
        },
        // Buckets come and go, and resolution changes.
        "wandering" => PushedHistogram {
            schema: if step % 90 < 60 { 2 } else { 1 },
            buckets: counts[1..2 + (step as usize / 20 % 3)].to_vec(),
            ..whole
        },
        _ => whole,
    }
}
