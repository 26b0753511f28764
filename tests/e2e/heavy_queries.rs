//! Queries that would take more than they may: each ends with the limit's name, ingest goes on, memory stays bounded, and
//! who hangs up stops its query.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use vedette_tests::push::{PushClient, Pushed, PushedHistogram};
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, eventually, run_for, unix_ms};

const RUNNING: &str = "vedette_aggregator_queries_running";
const HELD: &str = "vedette_aggregator_queries_memory_bytes";
const APPENDED: &str = "vedette_aggregator_storage_samples_appended_total";
/// What all queries together may hold in these tests.
const MEMORY_MAX: u64 = 64 << 20;
/// The whole process, RocksDB's buffers and the head included.
const RESIDENT_MAX: f64 = 600e6;

struct Watched {
    aggregator: Aggregator,
    _agent: Agent,
}

fn watched(dir: &std::path::Path) -> Result<Watched> {
    let config = dir.join("aggregator.yml");
    std::fs::write(&config, format!("limits:\n  query_memory_max: {MEMORY_MAX}\n"))?;
    let mut aggregator = Aggregator::prepare(dir, &dir.join("storage"))?
        .with_argument(&format!("--config.file={}", config.display()));
    aggregator.run()?;
    let mut agent = Agent::prepare(&dir.join("agent"), &["--interval=1s"])?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let api = aggregator.api();
    eventually("there is something to read", GENEROUS, || {
        api.value("count_over_time(node_load1[1m]) > 2", None)
    })?;
    // A query is counted until a moment after its answer is out.
    eventually("that query has ended", GENEROUS, || Ok((api.own_metric(RUNNING)? == 0.0).then_some(())))?;
    Ok(Watched { aggregator, _agent: agent })
}

/// A query over three hours in seconds.
fn path(query: &str) -> String {
    let end = unix_ms() / 1000;
    format!("/api/v1/query_range?query={query}&start={}&end={end}&step=1", end - 10_800)
}

/// Every series at every step: some hundred megabytes.
fn large() -> String {
    path("%7B__name__%3D~%22node_.%2B%22%7D")
}

/// Hardly any memory, and no end, however little is stored: windows of a day in seconds, a second apart.
fn endless() -> String {
    path("sum(quantile_over_time(0.5,vector(time())%5B1d%3A1s%5D))")
}

#[test]
fn ten_heavy_queries_at_once_are_bounded() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let watched = watched(dir.path())?;
    let api = watched.aggregator.api();
    let before = api.own_metric(APPENDED)?;
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let (api, path) = (api.clone(), large());
            std::thread::spawn(move || api.get_any(&path))
        })
        .collect();
    let mut refused = 0;
    for asked in asking {
        let (status, body) = asked.join().expect("the thread ends")?;
        if status != 200 {
            ensure!(status == 503 && body.contains("limits.query_memory_max"), "{status}: {body}");
            refused += 1;
        }
    }
    ensure!(refused > 0, "ten times a hundred megabytes fit into {MEMORY_MAX}");
    eventually("what they held is given back", GENEROUS, || {
        Ok((api.own_metric(HELD)? == 0.0 && api.own_metric(RUNNING)? == 0.0).then_some(()))
    })?;
    eventually("ingest goes on", GENEROUS, || Ok((api.own_metric(APPENDED)? > before).then_some(())))?;
    let resident = api.own_metric("process_resident_memory_bytes")?;
    ensure!(resident < RESIDENT_MAX, "{resident} bytes are resident");
    Ok(())
}

/// An answer of tens of megabytes: its beginning is there while the rest waits to be written, so that it is never there as
/// a whole.
#[test]
fn a_large_answer_begins_before_it_is_whole() -> Result<()> {
    const SERIES: usize = 150;
    const POINTS: i64 = 10_800;
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(dir.path())?;
    let end = unix_ms() / 1000;
    let name = |index: usize| format!("{index:04}");
    let pushed = (0..SERIES).map(|index| {
        let labels = [("__name__", "wide"), ("n", &name(index))];
        Pushed::new(&labels, &[(1.5, (end - POINTS) * 1000), (2.5, end * 1000)])
    });
    PushClient::new(&aggregator.url()).push_all(&pushed.collect::<Vec<_>>(), usize::MAX)?;
    let api = aggregator.api();
    let host = api.url().trim_start_matches("http://").to_owned();
    let query = "last_over_time(wide%5B4h%5D)";
    let path = format!("/api/v1/query_range?query={query}&start={}&end={end}&step=1", end - POINTS + 1);
    let mut stream = TcpStream::connect(&host)?;
    stream.set_read_timeout(Some(GENEROUS))?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut begun = [0; 1024];
    stream.read_exact(&mut begun)?;
    ensure!(begun.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&begun));
    // As long as nobody reads on, nothing is written on.
    run_for(Duration::from_secs(2));
    let running = api.own_metric(RUNNING)?;
    ensure!(running == 1.0, "{running} answers are being written");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    ensure!(rest.len() > 25 << 20, "{} bytes", rest.len());
    ensure!(rest.ends_with(b"0\r\n\r\n"), "the last chunk says that it is the last");
    let points = rest.windows(6).filter(|bytes| *bytes == b",\"1.5\"" || *bytes == b",\"2.5\"").count();
    // A mark of a chunk may stand within a point.
    let expected = SERIES * POINTS as usize;
    ensure!(points <= expected && points > expected - rest.len() / 4096, "{points} of {expected} points");
    eventually("the query has ended", GENEROUS, || Ok((api.own_metric(RUNNING)? == 0.0).then_some(())))
}

/// What the server has in memory does not grow with what it has written for one who reads slowly: of some histograms, told
/// again at thousands of steps, the text is a hundred times what they take.
#[test]
fn a_slow_reader_does_not_fill_the_memory() -> Result<()> {
    const SERIES: usize = 4;
    const POINTS: i64 = 10_800;
    const ANSWER_BYTES: usize = 100 << 20;
    /// The samples of all steps are there, their text is not.
    const GROWTH_MAX: f64 = (ANSWER_BYTES / 2) as f64;
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(dir.path())?;
    let end = unix_ms() / 1000;
    let pushed = (0..SERIES).map(|index| {
        let at_ms = (end - POINTS) * 1000;
        let histogram = PushedHistogram { at_ms, schema: 8, buckets: vec![3; 100], ..Default::default() };
        let labels = [("__name__", "deep"), ("n", &index.to_string())];
        Pushed { histograms: vec![histogram], ..Pushed::new(&labels, &[]) }
    });
    PushClient::new(&aggregator.url()).push_all(&pushed.collect::<Vec<_>>(), usize::MAX)?;
    let api = aggregator.api();
    let resident = || api.own_metric("process_resident_memory_bytes");
    let before = resident()?;
    let host = api.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&host)?;
    stream.set_read_timeout(Some(GENEROUS))?;
    let (query, start) = ("last_over_time(deep%5B4h%5D)", end - POINTS + 1);
    let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=1");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut piece = vec![0; 4 << 20];
    let (mut read, mut most, mut last) = (0, before, Vec::new());
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match stream.read(&mut piece[filled..])? {
                0 => break,
                length => filled += length,
            }
        }
        // Meanwhile nobody reads.
        most = most.max(resident()?);
        read += filled;
        if filled > 0 {
            last = piece[filled.saturating_sub(5)..filled].to_vec();
        }
        if filled < piece.len() {
            break;
        }
    }
    println!("{read} bytes were read, {} were the most that was resident beside", most - before);
    ensure!(last == b"0\r\n\r\n", "the answer is whole: {last:?}");
    ensure!(read > ANSWER_BYTES, "{read} bytes");
    ensure!(most - before < GROWTH_MAX, "of {read} bytes, {} were resident", most - before);
    Ok(())
}

#[test]
fn one_too_large_query_names_its_limit() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::prepare(dir.path(), &dir.path().join("storage"))?
        .with_argument("--query.max-samples=100");
    aggregator.run()?;
    let (status, body) = aggregator.api().get_any(&path("vector(1)"))?;
    ensure!(status == 422 && body.contains(r#""errorType":"execution""#), "{status}: {body}");
    ensure!(body.contains("query processing would load too many samples into memory"), "{body}");
    ensure!(body.contains("limits.query_samples_max"), "{body}");
    Ok(())
}

#[test]
fn who_hangs_up_stops_the_query() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let watched = watched(dir.path())?;
    let api = watched.aggregator.api();
    let running = |api: &Api| api.own_metric(RUNNING);
    let host = api.url().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&host)?;
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", endless()).as_bytes())?;
    eventually("the query runs", GENEROUS, || Ok((running(&api)? >= 1.0).then_some(())))?;
    drop(stream);
    eventually("the query has ended", GENEROUS, || Ok((running(&api)? == 0.0).then_some(())))?;
    let abandoned = api.own_metric("vedette_aggregator_replies_abandoned_total")?;
    ensure!(abandoned >= 1.0, "{abandoned} answers were abandoned");
    Ok(())
}
