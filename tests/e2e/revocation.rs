//! Who is not a member any more: agents that are revoked, replicas that are removed, tokens that are used up.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedette_tests::{Agent, Aggregator, GENEROUS, eventually, now};

use crate::replicas::PROBE;

fn pair(dir: &std::path::Path) -> Result<(Aggregator, Aggregator)> {
    let first = Aggregator::start(&dir.join("first"))?;
    let mut second = Aggregator::prepare(&dir.join("second"), &dir.join("second/storage"))?;
    second.join(&first.token("replica")?)?;
    second.run()?;
    Ok((first, second))
}

fn refused(aggregator: &Aggregator) -> Result<f64> {
    aggregator.api().own_metric("vedette_aggregator_refusals_total{reason=\"revoked\"}")
}

#[test]
fn a_revoked_agent_is_refused_by_all_replicas_also_by_one_that_was_away() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut first, mut second) = pair(dir.path())?;
    let mut agent =
        Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?.with_config("name: web-1\n")?;
    let mut other =
        Agent::prepare(&dir.path().join("other"), &["--interval=1s"])?.with_config("name: web-2\n")?;
    for agent in [&mut agent, &mut other] {
        agent.enroll(&first.token("agent")?)?;
        agent.run()?;
    }
    let of = |name: &str| format!("{PROBE}{{instance=\"{name}\"}}");
    for api in [first.api(), second.api()] {
        for name in ["web-1", "web-2"] {
            eventually("the first sample", GENEROUS, || api.value(&of(name), None))?;
        }
    }
    let unknown = first.ask(&["agent", "revoke", "web-3"])?;
    ensure!(unknown.code == 1 && unknown.stderr.contains("agent list"), "{unknown:?}");

    second.kill_hard()?;
    let start = now();
    let revoked = first.ask(&["agent", "revoke", "web-1"])?;
    ensure!(revoked.code == 0, "{revoked:?}");
    let connected = |aggregator: &Aggregator, name: &str| -> Result<bool> {
        let ran = aggregator.ask(&["status", "--json"])?;
        let report: Value = serde_json::from_str(&ran.stdout).with_context(|| format!("{ran:?}"))?;
        let agents = report["agents"].as_array().context("agents")?;
        let agent = agents.iter().find(|agent| agent["name"] == name).context("the agent")?;
        Ok(agent["connected_from"].as_array().is_some_and(|from| !from.is_empty()))
    };
    eventually("its session is closed", GENEROUS, || Ok((!connected(&first, "web-1")?).then_some(())))?;
    println!("the session was closed {:?} after the revocation was asked for", start.elapsed());
    eventually("both sides say so", GENEROUS, || {
        let said = first.log().contains("the certificate of agent web-1 was revoked")
            && agent.log().contains("vedette-agent enroll --token-file token")
            && refused(&first)? >= 1.0;
        Ok(said.then_some(()))
    })?;
    let status = agent.ask(&["status"])?;
    ensure!(status.code == 1 && status.stdout.contains("was revoked; to come back"), "{status:?}");

    // The one that was away hears of it, and does not forget it.
    second.run()?;
    let await_refusal = |aggregator: &Aggregator| {
        eventually("it is refused", GENEROUS, || {
            Ok((refused(aggregator)? >= 1.0 && !connected(aggregator, "web-1")?).then_some(()))
        })
    };
    await_refusal(&second)?;
    // Nor does either forget it: each is started while nobody is there to tell it. An agent waits a minute between its
    // attempts, so it is started again as well.
    first.kill_hard()?;
    second.kill_hard()?;
    agent.terminate()?;
    second.run()?;
    agent.run()?;
    await_refusal(&second)?;
    second.kill_hard()?;
    agent.terminate()?;
    first.run()?;
    agent.run()?;
    await_refusal(&first)?;
    second.run()?;
    for aggregator in [&first, &second] {
        eventually("the other agent is not concerned", GENEROUS, || {
            Ok(connected(aggregator, "web-2")?.then_some(()))
        })?;
    }

    // A new token brings it back, with what it has kept meanwhile.
    agent.enroll(&first.token("agent")?)?;
    for aggregator in [&first, &second] {
        eventually("it is back", GENEROUS, || Ok(connected(aggregator, "web-1")?.then_some(())))?;
    }
    eventually("it is healthy", GENEROUS, || Ok((agent.ask(&["status"])?.code == 0).then_some(())))?;
    first.ask(&["agent", "revoke", "web-1"])?;
    eventually("and may be revoked again", GENEROUS, || Ok((!connected(&second, "web-1")?).then_some(())))
}

#[test]
fn a_removed_replica_is_not_called_any_more_and_takes_no_part() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (first, mut second) = pair(dir.path())?;
    let mut agent = Agent::prepare(&dir.path().join("agent"), &["--interval=1s"])?;
    agent.enroll(&first.token("agent")?)?;
    agent.run()?;
    let replicas = || -> Result<usize> {
        let report: Value = serde_json::from_str(&agent.ask(&["status", "--json"])?.stdout)?;
        Ok(report["replicas"].as_array().map_or(0, Vec::len))
    };
    eventually("the agent knows both", GENEROUS, || Ok((replicas()? == 2).then_some(())))?;
    let report: Value = serde_json::from_str(&second.ask(&["status", "--json"])?.stdout)?;
    let id = report["replica"].as_str().context("an id")?.to_owned();
    let own = second.ask(&["member", "remove", &id])?;
    ensure!(own.code == 1 && own.stderr.contains("on another one"), "{own:?}");
    second.kill_hard()?;
    let unknown = first.ask(&["member", "remove", "6ba7b810-9dad-11d1-80b4-00c04fd43001"])?;
    ensure!(unknown.code == 1 && unknown.stderr.contains("has no replica"), "{unknown:?}");
    let removed = first.ask(&["member", "remove", &id])?;
    ensure!(removed.code == 0, "{removed:?}");
    ensure!(first.api().own_metric("vedette_aggregator_members")? == 1.0, "one is left");
    eventually("the agent has forgotten it", GENEROUS, || Ok((replicas()? == 1).then_some(())))?;

    // Should it come back, nobody listens to it.
    second.run()?;
    eventually("it is refused", GENEROUS, || {
        Ok((refused(&first)? >= 1.0 && second.log().contains("was removed from the group")).then_some(()))
    })
    .with_context(|| second.log())?;
    ensure!(first.api().own_metric("vedette_aggregator_members")? == 1.0, "it has not put itself back");

    // Another takes its place.
    let mut third = Aggregator::prepare(&dir.path().join("third"), &dir.path().join("third/storage"))?;
    third.join(&first.token("replica")?)?;
    third.run()?;
    eventually("its data arrives at the new one", GENEROUS, || third.api().value(PROBE, None))?;
    Ok(())
}

#[test]
fn a_token_is_good_for_as_many_agents_as_it_says_across_restarts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut aggregator = Aggregator::start(&dir.path().join("aggregator"))?;
    for wrong in ["0", "10001", "many"] {
        let ran = aggregator.ask(&["token", "create", "--uses", wrong])?;
        ensure!(ran.code == 2, "{ran:?}");
    }
    let created = aggregator.ask(&["token", "create", "--uses", "3", "--ttl", "1h"])?;
    ensure!(created.code == 0, "{created:?}");
    let token = dir.path().join("token");
    std::fs::write(&token, &created.stdout)?;
    let enroll = |number: u32| -> Result<()> {
        Agent::prepare(&dir.path().join(number.to_string()), &[])?.enroll(&token)
    };
    enroll(1)?;
    enroll(2)?;
    aggregator.kill_hard()?;
    aggregator.run()?;
    enroll(3)?;
    let error = format!("{:?}", enroll(4).expect_err("three uses are used up"));
    ensure!(error.contains("used_token") && error.contains("token create"), "{error}");
    let used = aggregator.api().own_metric("vedette_aggregator_enrolments_total{outcome=\"used_token\"}")?;
    ensure!(used == 1.0, "counted by reason: {used}");
    Ok(())
}

#[test]
fn a_backup_starts_where_it_was_taken() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, mut agent) = vedette_tests::enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the first sample", GENEROUS, || api.value(PROBE, None))?;
    vedette_tests::run_for(Duration::from_secs(3));
    let target = dir.path().join("backup");
    let path = target.to_str().context("a path in UTF-8")?;
    let taken_at = vedette_tests::unix_ms() - 2_000;
    let made = aggregator.ask(&["backup", path])?;
    ensure!(made.code == 0, "{made:?}");
    let again = aggregator.ask(&["backup", path])?;
    ensure!(again.code == 1 && again.stderr.contains("not empty"), "{again:?}");
    ensure!(!aggregator.storage().join("backups").exists(), "nothing of it is left behind");
    ensure!(!target.join("ca/tokens.json").exists(), "tokens are not copied");
    let seen = crate::continuity::sample_times(&api, PROBE, 3600, taken_at)?;
    ensure!(!seen.is_empty(), "there is something to restore");

    // The disk is lost, with what came after the backup. The agent is not touched.
    aggregator.kill_hard()?;
    std::fs::remove_dir_all(aggregator.storage())?;
    let copied =
        std::process::Command::new("cp").arg("-a").arg(&target).arg(aggregator.storage()).status()?;
    ensure!(copied.success(), "cp -a");
    aggregator.run()?;
    let kept = crate::continuity::sample_times(&api, PROBE, 3600, taken_at)?;
    ensure!(
        seen.iter().all(|at| kept.contains(at)),
        "what was there at the backup is there: {seen:?} {kept:?}"
    );
    let restored = vedette_tests::unix_ms();
    eventually("the agent goes on without being enrolled again", GENEROUS, || {
        let times = crate::continuity::sample_times(&api, PROBE, 60, vedette_tests::unix_ms())?;
        Ok(times.iter().any(|at| *at > restored).then_some(()))
    })?;
    agent.program()?.check_alive()
}
