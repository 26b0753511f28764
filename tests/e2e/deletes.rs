//! Deleting series, over replicas and restarts; and a snapshot that another aggregator opens.

use anyhow::{Context as _, Result, ensure};
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, eventually, unix_ms};

const SERIES: &str = "node_load1";
const OTHER: &str = "node_load5";

fn admin(api: &Api, path: &str) -> Result<(u16, String)> {
    let (status, _, body) = api.raw("POST", &format!("/api/v1/admin/tsdb/{path}"), &[], b"")?;
    Ok((status, String::from_utf8(body)?))
}

/// How many samples of a series there are up to `at`.
fn count(api: &Api, series: &str, at: i64) -> Result<f64> {
    Ok(api.value(&format!("count_over_time({series}[1h])"), Some(at))?.unwrap_or_default())
}

fn gone(api: &Api, at: i64) -> Result<()> {
    eventually("what was deleted is gone", GENEROUS, || {
        ensure!(count(api, OTHER, at)? >= 3.0, "the other series is there");
        Ok((count(api, SERIES, at)? == 0.0).then_some(()))
    })
}

#[test]
fn a_deletion_reaches_every_replica_and_stays() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let prepare = |name: &str| -> Result<Aggregator> {
        let home = dir.path().join(name);
        Ok(Aggregator::prepare(&home, &home.join("storage"))?.with_argument("--web.enable-admin-api"))
    };
    let mut first = prepare("first")?;
    first.run()?;
    let mut second = prepare("second")?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    agent.enroll(&first.token("agent")?)?;
    agent.run()?;
    for api in [first.api(), second.api()] {
        eventually("three samples", GENEROUS, || Ok((count(&api, SERIES, unix_ms())? >= 3.0).then_some(())))?;
    }

    let at = unix_ms();
    let (status, body) = admin(&first.api(), &format!("delete_series?match[]={SERIES}"))?;
    ensure!((status, body.as_str()) == (204, ""), "{status} {body}");
    gone(&first.api(), at)?;
    gone(&second.api(), at)?;
    // What is younger is there.
    eventually("the series goes on", GENEROUS, || {
        Ok((count(&first.api(), SERIES, unix_ms())? >= 1.0).then_some(()))
    })?;

    second.kill_hard()?;
    second.run()?;
    gone(&second.api(), at)?;
    let (status, body) = admin(&second.api(), "clean_tombstones")?;
    ensure!((status, body.as_str()) == (204, ""), "{status} {body}");
    gone(&second.api(), at)
}

#[test]
fn a_snapshot_is_a_data_folder() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let home = dir.path().join("aggregator");
    let mut aggregator =
        Aggregator::prepare(&home, &home.join("storage"))?.with_argument("--web.enable-admin-api");
    aggregator.run()?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    agent.enroll(&aggregator.token("agent")?)?;
    agent.run()?;
    let api = aggregator.api();
    eventually("three samples", GENEROUS, || Ok((count(&api, SERIES, unix_ms())? >= 3.0).then_some(())))?;
    let at = unix_ms();
    let before = count(&api, SERIES, at)?;
    let (status, body) = admin(&api, "snapshot")?;
    ensure!(status == 200, "{status} {body}");
    let answer: serde_json::Value = serde_json::from_str(&body)?;
    let name = answer["data"]["name"].as_str().context("a name")?;

    let copy = aggregator.storage().join("snapshots").join(name);
    let mut other = Aggregator::prepare(&dir.path().join("other"), &copy)?;
    other.run()?;
    ensure!(count(&other.api(), SERIES, at)? >= before, "the copy has less");
    Ok(())
}

#[test]
fn the_admin_api_is_off_unless_switched_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let aggregator = Aggregator::start(dir.path())?;
    for path in ["snapshot", "clean_tombstones", "delete_series?match[]=up"] {
        let (status, body) = admin(&aggregator.api(), path)?;
        let expected = r#"{"status":"error","errorType":"unavailable","error":"admin APIs disabled"}"#;
        ensure!((status, body.as_str()) == (500, expected), "{path}: {status} {body}");
    }
    Ok(())
}
