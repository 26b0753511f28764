//! Lists of very many series: they count towards the memory that queries may take, end with its name, and leave the
//! server as it was.

use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Result, ensure};
use vedette_tests::push::{PushClient, Pushed, compress, encode_metadata};
use vedette_tests::{Aggregator, GENEROUS, eventually, unix_ms};

const SERIES: usize = 60_000;
/// With a help of some hundred bytes each.
const FAMILIES: usize = 20_000;
/// Some hundred bytes each.
const MEMORY_MAX: u64 = 4 << 20;
const HELD: &str = "vedette_aggregator_queries_memory_bytes";
const RUNNING: &str = "vedette_aggregator_queries_running";

fn series(index: usize, at_ms: i64) -> Pushed {
    let instance = format!("host-{index:06}.some.data.centre.example.org:9100");
    let labels = [("__name__", "up"), ("instance", instance.as_str()), ("job", "many")];
    Pushed::new(&labels, &[(1.0, at_ms)])
}

#[test]
fn lists_are_bounded_by_the_memory_of_queries() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = format!("limits:\n  query_memory_max: {MEMORY_MAX}\n");
    let mut aggregator =
        Aggregator::prepare(dir.path(), &dir.path().join("storage"))?.with_config(&config)?;
    aggregator.run()?;
    let client = PushClient::new(&aggregator.url());
    let all: Vec<_> = (0..SERIES).map(|index| series(index, unix_ms())).collect();
    all.chunks(10_000).try_for_each(|chunk| client.push_all(chunk, usize::MAX))?;
    push_families(&client)?;
    let api = aggregator.api();
    for path in [
        "/api/v1/series?match[]=up",
        "/api/v1/series?match[]=%7Bjob=%22many%22%7D&match[]=%7B__name__=%22up%22%7D",
        "/api/v1/label/instance/values",
        "/api/v1/label/instance/values?match[]=up",
        "/api/v1/metadata",
        "/api/v1/metadata?limit=1",
        "/api/v1/targets",
        "/api/v1/scrape_pools",
        "/api/v1/targets/metadata",
        "/api/v1/status/tsdb",
        "/federate?match[]=up",
    ] {
        let (status, body) = api.get_any(path)?;
        ensure!(status == 503 && body.contains("limits.query_memory_max"), "{path}: {status}: {body:.300}");
        ensure!(body.contains(r#""errorType":"unavailable""#), "{path}: {body:.300}");
    }
    let seconds = unix_ms() / 1000;
    // What is narrow enough is answered, however much there is beside it.
    for (path, count) in [
        ("/api/v1/labels".to_owned(), 3),
        ("/api/v1/label/job/values?match[]=up".to_owned(), 1),
        (format!("/api/v1/series?match[]=up%7Binstance=~%22host-0001.*%22%7D&start={}", seconds - 600), 100),
    ] {
        let found = api.data(&path, &[])?;
        ensure!(found.as_array().is_some_and(|all| all.len() == count), "{path}: {found:.300}");
    }
    let one = api.data("/api/v1/metadata?metric=family_00007", &[])?;
    ensure!(one["family_00007"][0]["help"].as_str().is_some_and(|help| help.starts_with("7 ")), "{one}");
    eventually("what they held is given back", GENEROUS, || {
        Ok((api.own_metric(HELD)? == 0.0 && api.own_metric(RUNNING)? == 0.0).then_some(()))
    })?;
    who_hangs_up_ends_the_list(&aggregator)
}

fn push_families(client: &PushClient) -> Result<()> {
    const GAUGE: u8 = 2;
    let names: Vec<_> = (0..FAMILIES).collect();
    for chunk in names.chunks(5_000) {
        let mut request = Vec::new();
        for index in chunk {
            let help = format!("{index} {}", "of many. ".repeat(30));
            encode_metadata(&mut request, &format!("family_{index:05}"), GAUGE, &help, "");
        }
        let reply = client.send(&compress(&request)?, &[])?;
        ensure!(reply.status == 204, "{reply:?}");
    }
    Ok(())
}

/// Many clients ask and leave at once: nothing of it goes on.
fn who_hangs_up_ends_the_list(aggregator: &Aggregator) -> Result<()> {
    let host = aggregator.url().trim_start_matches("http://").to_owned();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&host)?;
        write!(stream, "GET /api/v1/series?match[]=up HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    }
    let api = aggregator.api();
    eventually("no list is made any more", GENEROUS, || {
        Ok((api.own_metric(RUNNING)? == 0.0 && api.own_metric(HELD)? == 0.0).then_some(()))
    })
}
