//! Remote write: the answers of a real Prometheus, and what it ships, restarts included.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::push::{PushClient, Pushed, compress, encode, encode_metadata};
use vedette_tests::{Aggregator, Api, GENEROUS, Prometheus, eventually, run_for, unix_ms};

/// A request, and what both have to answer.
struct Case {
    name: &'static str,
    body: Vec<u8>,
    headers: Vec<(&'static str, &'static str)>,
    status: u16,
}

fn case(name: &'static str, status: u16, series: &[Pushed]) -> Result<Case> {
    Ok(Case { name, body: compress(&encode(series))?, headers: Vec::new(), status })
}

fn one(name: &str, value: f64, at_ms: i64) -> Pushed {
    Pushed::new(&[("__name__", name)], &[(value, at_ms)])
}

/// Requests of all kinds. A name that begins with `kept` has to be there afterwards, one that begins with `lost` not.
fn cases(now: i64) -> Result<Vec<Case>> {
    const MINUTE: i64 = 60_000;
    let invalid = Pushed {
        labels: vec![(b"__name__".to_vec(), b"lost_utf8".to_vec()), (b"x".to_vec(), vec![0xff])],
        samples: vec![(1.0, now)],
        histograms: Vec::new(),
    };
    let mut cases = vec![
        case("good", 204, &[one("kept_good", 1.0, now)])?,
        case("the same again", 204, &[one("kept_good", 1.0, now)])?,
        case("another value for its time", 400, &[one("kept_good", 2.0, now)])?,
        case(
            "two values for a time",
            204,
            &[Pushed::new(&[("__name__", "kept_twice")], &[(1.0, now), (2.0, now)])],
        )?,
        case("too new", 400, &[one("lost_new", 1.0, now + 11 * MINUTE)])?,
        case("not too new", 204, &[one("kept_new", 1.0, now + 9 * MINUTE)])?,
        case("older than retention", 400, &[one("lost_old", 1.0, now - 20 * 24 * 60 * MINUTE)])?,
        case(
            "no name",
            204,
            &[Pushed::new(&[("lost", "1")], &[(1.0, now)]), one("kept_beside_no_name", 1.0, now)],
        )?,
        case(
            "a label twice",
            204,
            &[Pushed::new(&[("__name__", "lost_twice"), ("x", "1"), ("x", "2")], &[(1.0, now)])],
        )?,
        case(
            "unsorted labels",
            204,
            &[Pushed::new(&[("x", "1"), ("__name__", "kept_unsorted")], &[(1.0, now)])],
        )?,
        case("empty value", 204, &[Pushed::new(&[("__name__", "kept_empty"), ("x", "")], &[(1.0, now)])])?,
        case(
            "empty label name",
            204,
            &[Pushed::new(&[("__name__", "lost_name"), ("", "1")], &[(1.0, now)])],
        )?,
        case("not UTF-8", 204, &[invalid, one("kept_beside_utf8", 1.0, now)])?,
        case("UTF-8", 204, &[Pushed::new(&[("__name__", "kept ä.b"), ("x y", "1")], &[(1.0, now)])])?,
        case("no samples", 204, &[Pushed::new(&[("__name__", "lost_no_samples")], &[])])?,
        case("nothing", 204, &[])?,
        Case { name: "no snappy", body: vec![0xff; 3], headers: Vec::new(), status: 400 },
        Case { name: "no protobuf", body: compress(&[0x0a, 0xff])?, headers: Vec::new(), status: 400 },
    ];
    let headers: [(&str, &str, &str, u16); 11] = [
        ("Content-Type", "application/json", "lost_json", 415),
        ("Content-Type", "", "kept_no_type", 204),
        ("Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest", "kept_proto", 204),
        ("Content-Type", "application/x-protobuf;proto=other", "lost_proto", 415),
        ("Content-Type", "application/x-protobuf; charset=utf-8", "kept_charset", 204),
        ("Content-Type", "Application/X-Protobuf", "lost_case", 415),
        ("Content-Encoding", "gzip", "", 415),
        ("Content-Encoding", "", "kept_no_encoding", 204),
        ("Content-Encoding", "Snappy", "kept_snappy", 204),
        ("X-Prometheus-Remote-Write-Version", "0.0.1", "kept_version", 204),
        ("X-Prometheus-Remote-Write-Version", "", "kept_no_version", 204),
    ];
    for (name, value, series, status) in headers {
        let series = if series.is_empty() { Vec::new() } else { vec![one(series, 1.0, now)] };
        cases.push(Case { headers: vec![(name, value)], ..case("headers", status, &series)? });
    }
    Ok(cases)
}

#[test]
fn answers_are_those_of_prometheus() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let arguments = ["--web.enable-remote-write-receiver"];
    let Some(prometheus) = Prometheus::start(&dir.path().join("prometheus"), "", &arguments)? else {
        return Ok(());
    };
    let aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let clients = [PushClient::new(&prometheus.url()), PushClient::new(&aggregator.url())];
    let cases = cases(unix_ms())?;
    ensure!(cases.len() == 29, "{} cases", cases.len());
    for Case { name, body, headers, status } in &cases {
        let [theirs, ours] = clients.each_ref().map(|client| client.send(body, headers));
        let (theirs, ours) = (theirs?, ours?);
        for reply in [&theirs, &ours] {
            ensure!(reply.status == *status, "{name} {headers:?}: {reply:?}, not {status}");
        }
        ensure!(theirs.extensions == ours.extensions, "{name} {headers:?}: {theirs:?} and {ours:?}");
    }
    let names = |api: &Api| -> Result<Vec<String>> {
        let names = api.data("/api/v1/label/__name__/values", &[])?;
        Ok(serde_json::from_value(names)?)
    };
    let (theirs, ours) = (names(&prometheus.api())?, names(&aggregator.api())?);
    ensure!(theirs == ours && ours.len() == 15, "Prometheus has {theirs:?}, Vedette {ours:?}");
    ensure!(ours.iter().all(|name| name.starts_with("kept")), "{ours:?}");
    for api in [prometheus.api(), aggregator.api()] {
        ensure!(api.value("kept_twice", None)? == Some(1.0), "of two values for a time the first stays");
    }
    Ok(())
}

#[test]
fn what_is_good_is_kept_beside_what_is_not() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let client = PushClient::new(&aggregator.url());
    let now = unix_ms();
    client.push_all(&[one("a", 1.0, now)], 10)?;
    let reply = client.push(&[one("a", 2.0, now), one("b", 3.0, now), one("c", 4.0, now + 1_000_000)])?;
    ensure!(reply.status == 400 && reply.text.starts_with("duplicate sample for timestamp"), "{reply:?}");
    // Out of order is nothing special.
    client.push_all(&[one("a", 5.0, now - 3_600_000), one("a", 6.0, now - 7_200_000)], 10)?;
    // RW 2.0 is refused so that its senders fall back.
    let two = [("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")];
    ensure!(client.send(&compress(&[])?, &two)?.status == 415, "remote write 2.0 is not spoken");
    let mut metadata = encode(&[]);
    encode_metadata(&mut metadata, "a", 1, "What a is.", "apples");
    ensure!(client.send(&compress(&metadata)?, &[])?.status == 204, "metadata alone");
    let long = client.send(&compress(&vec![0; (32 << 20) + 1])?, &[])?;
    ensure!(long.status == 413, "{long:?}");
    aggregator.kill_hard()?;
    aggregator.run()?;
    let api = aggregator.api();
    for (expression, expected) in [("a", Some(1.0)), ("b", Some(3.0)), ("c", None)] {
        ensure!(api.value(expression, Some(now))? == expected, "{expression} after a kill");
    }
    ensure!(api.value("a", Some(now - 3_600_000))? == Some(5.0), "an hour ago");
    ensure!(api.value("a", Some(now - 7_200_000))? == Some(6.0), "two hours ago");
    let known = api.data("/api/v1/metadata", &[])?;
    ensure!(known["a"][0]["type"] == "counter" && known["a"][0]["help"] == "What a is.", "{known}");
    ensure!(known.as_object().is_some_and(|known| known.len() == 1), "{known}");
    let agents = api.data("/api/v1/status/agents", &[])?;
    ensure!(agents.as_array().is_some_and(Vec::is_empty), "a push is no agent: {agents}");
    Ok(())
}

#[test]
fn a_real_prometheus_delivers_over_restarts_of_both() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    let yaml = format!(
        "global:\n  scrape_interval: 1s\n  external_labels: {{sender: prometheus}}\nremote_write:\n  - url: {}/api/v1/write\n    queue_config: {{batch_send_deadline: 1s, min_backoff: 30ms, max_backoff: 1s}}\n    metadata_config: {{send_interval: 1s}}\nscrape_configs:\n  - job_name: itself\n    static_configs:\n      - targets: ['{}']\n",
        aggregator.url(),
        aggregator.url().trim_start_matches("http://"),
    );
    let Some(mut prometheus) = Prometheus::start(&dir.path().join("prometheus"), &yaml, &[])? else {
        return Ok(());
    };
    let (ours, start) = (aggregator.api(), unix_ms());
    eventually("the first sample", GENEROUS, || ours.value("up{job=\"itself\"}", None))?;
    run_for(Duration::from_secs(3));
    aggregator.kill_hard()?;
    run_for(Duration::from_secs(3));
    aggregator.run()?;
    run_for(Duration::from_secs(3));
    prometheus.terminate()?;
    prometheus.run()?;
    eventually("it goes on after its restart", GENEROUS, || {
        let since = format!("{}ms", unix_ms() - start);
        let missed = ours.value(&format!("count_over_time(up{{job=\"itself\"}}[{since}])"), None)?;
        Ok(missed.filter(|count| *count >= 10.0))
    })?;
    let end = unix_ms();
    eventually("all that it has is here", GENEROUS, || compare(&prometheus.api(), &ours, start, end))?;
    let known = eventually("metadata", GENEROUS, || {
        let known = ours.data("/api/v1/metadata", &[("metric", "vedette_aggregator_push_samples_total")])?;
        Ok(known.get("vedette_aggregator_push_samples_total").cloned())
    })?;
    ensure!(known[0]["type"] == "counter", "{known}");
    Ok(())
}

#[test]
fn what_one_replica_is_given_all_have() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = Aggregator::start(&dir.path().join("first"))?;
    let mut second = Aggregator::prepare(&dir.path().join("second"), &dir.path().join("second/storage"))?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    let (now, client) = (unix_ms(), PushClient::new(&first.url()));
    let degraded = "vedette_aggregator_push_acks_degraded_total";
    // Once they are connected, what is answered is on both.
    let value = eventually("both have a push when it is answered", GENEROUS, || {
        let before = first.api().own_metric(degraded)?;
        let value = f64::from(rand::random::<u32>());
        client
            .push_all(&[Pushed::new(&[("__name__", "m"), ("n", &value.to_string())], &[(value, now)])], 10)?;
        Ok((first.api().own_metric(degraded)? == before).then_some(value))
    })?;
    let expression = format!("m{{n=\"{value}\"}}");
    ensure!(second.api().value(&expression, Some(now))? == Some(value), "the second has {expression}");
    // Who repeats a request to the other one, since an answer got lost, adds nothing.
    let body = compress(&encode(&[one("again", 1.0, now)]))?;
    for url in [first.url(), second.url()] {
        ensure!(PushClient::new(&url).send(&body, &[])?.status == 204, "{url}");
    }
    ensure!(second.api().own_metric("vedette_aggregator_push_requests_repeated_total")? == 1.0, "repeated");
    ensure!(
        second.api().own_metric("vedette_aggregator_push_logs_total")? == 0.0,
        "nothing was written twice"
    );
    // One that was away catches up, whoever was restarted in between.
    second.kill_hard()?;
    client.push_all(&[one("away", 2.0, now)], 10)?;
    first.kill_hard()?;
    first.run()?;
    client.push_all(&[one("back", 3.0, now)], 10)?;
    second.run()?;
    for (expression, expected) in [("away", 2.0), ("back", 3.0)] {
        eventually(expression, GENEROUS, || {
            Ok((second.api().value(expression, Some(now))? == Some(expected)).then_some(()))
        })?;
    }
    PushClient::new(&second.url()).push_all(&[one("other way", 4.0, now)], 10)?;
    eventually("the first has what the second was given", GENEROUS, || {
        Ok((first.api().value("{\"other way\"}", Some(now))? == Some(4.0)).then_some(()))
    })?;
    let agents = second.api().data("/api/v1/status/agents", &[])?;
    ensure!(agents.as_array().is_some_and(Vec::is_empty), "a replica is no agent: {agents}");
    Ok(())
}

/// Whether all raw samples of Prometheus are here with the same bits, and no others, but for its external labels.
fn compare(theirs: &Api, ours: &Api, start: i64, end: i64) -> Result<Option<()>> {
    let window = format!("{{job=\"itself\"}}[{}ms]", end - start);
    let expected = theirs.query(&window, Some(end))?;
    ensure!(expected.len() > 50, "Prometheus has only {} series", expected.len());
    let mut found = ours.query(&window, Some(end))?;
    for series in &mut found {
        series.labels.remove("sender").context("its external label")?;
    }
    let sorted = |mut series: Vec<vedette_tests::Answer>| {
        series.sort();
        series
    };
    Ok((sorted(expected) == sorted(found)).then_some(()))
}
