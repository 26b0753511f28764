//! SIGTERM while somebody on the other side does nothing: the program leaves all the same.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use vedette_tests::{GENEROUS, enrolled_pair, eventually, run_for, unix_ms};

use crate::continuity::await_whole;

#[test]
fn an_agent_leaves_though_its_aggregator_and_its_target_do_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, agent) = enrolled_pair(dir.path())?;
    // Accepts connections, by its backlog, and answers none.
    let target = TcpListener::bind("127.0.0.1:0")?;
    let yaml = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n  - job_name: silent\n    \
         scrape_interval: 30s\n    scrape_timeout: 30s\n    static_configs: [{{targets: ['{}']}}]\n",
        target.local_addr()?
    );
    let mut agent = agent.with_config(&yaml)?;
    agent.terminate()?;
    agent.run()?;
    let api = aggregator.api();
    eventually("the agent ships", GENEROUS, || api.value("node_load1", None))?;
    let (waiting, _) = target.accept()?;
    let start = unix_ms();
    aggregator.program()?.signal(Signal::STOP)?;
    run_for(Duration::from_secs(4));
    let end = unix_ms() - 1_000;
    let exit = agent.terminate()?;
    ensure!(exit.status.code() == Some(0), "{exit:?}: {}", agent.log());
    drop(waiting);
    aggregator.program()?.signal(Signal::CONT)?;
    agent.run()?;
    await_whole(&api, "node_boot_time_seconds", start, end)
}

#[test]
fn an_aggregator_leaves_though_its_callers_do_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut aggregator, mut agent) = enrolled_pair(dir.path())?;
    let api = aggregator.api();
    eventually("the agent ships", GENEROUS, || api.value("node_load1", None))?;
    let address = aggregator.url().trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&address)?;
    half.write_all(b"POST /api/v1/query HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nquery=")?;
    let mut deaf = TcpStream::connect(&address)?;
    for _ in 0..64 {
        deaf.write_all(b"GET /api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D HTTP/1.1\r\nHost: x\r\n\r\n")?;
    }
    let idle = TcpStream::connect(&address)?;
    agent.program()?.signal(Signal::STOP)?;
    let exit = aggregator.terminate()?;
    agent.program()?.signal(Signal::CONT)?;
    ensure!(exit.status.code() == Some(0), "{exit:?}: {}", aggregator.log());
    drop((half, deaf, idle));
    aggregator.run()?;
    eventually("the agent ships again", GENEROUS, || {
        Ok((api.own_metric("vedette_aggregator_sessions")? >= 1.0).then_some(()))
    })
}
