//! What watching one host costs: Vedette's agent beside node_exporter + vmagent, on the same machine, in the same run,
//! with the same collectors, both shipping a scrape a second to a server that is not counted.
//!
//! ```sh
//! cargo build --profile agent --package vedette-agent && cargo build --package vedette-aggregator
//! VEDETTE_PEERS=$(tests/peers.sh) cargo bench --package vedette-tests --bench agent_cost -- --seconds 600
//! ```
//!
//! Prints CPU milliseconds a second (user and system, all threads) after a warm-up, `VmRSS` and `VmHWM` at the end, and bytes shipped
//! where the program counts them. Wall times are not measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use vedette_tests::{Api, GENEROUS, Program, eventually, free_port, peer, run_for};

/// The collectors that both sides have.
const COLLECTORS: [&str; 17] = [
    "conntrack",
    "cpu",
    "diskstats",
    "entropy",
    "filefd",
    "filesystem",
    "loadavg",
    "meminfo",
    "netdev",
    "netstat",
    "os",
    "pressure",
    "sockstat",
    "stat",
    "time",
    "uname",
    "vmstat",
];

const WARM_UP: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    let seconds = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = seconds.and_then(|index| arguments.get(index + 1)?.parse().ok()).unwrap_or(600);
    let target = std::env::current_exe()?;
    let target = target.ancestors().nth(3).context("benchmarks run from target/release/deps")?.to_path_buf();
    let dir = tempfile::tempdir()?;

    let ours = start_vedette(dir.path(), &target)?;
    let theirs = start_peers(dir.path())?;
    run_for(WARM_UP);
    let processes: Vec<_> = ours.counted.iter().chain(&theirs.counted).collect();
    let before: Vec<_> = processes.iter().map(|(_, program)| cpu_ms(program.pid())).collect::<Result<_>>()?;
    run_for(Duration::from_secs(seconds));
    println!("{seconds} s at one scrape a second, {} collectors on both sides", COLLECTORS.len());
    println!("{:<28} {:>12} {:>12} {:>12}", "process", "CPU ms/s", "VmRSS MB", "VmHWM MB");
    for ((name, program), before) in processes.iter().zip(before) {
        let cpu = (cpu_ms(program.pid())? - before) / seconds as f64;
        let memory = |key| status_mb(program.pid(), key);
        println!("{name:<28} {cpu:>12.3} {:>12.1} {:>12.1}", memory("VmRSS")?, memory("VmHWM")?);
    }
    println!("series: vedette {}, peers {}", ours.series()?, theirs.series()?);
    Ok(())
}

/// One side of the comparison.
struct Side {
    /// What is measured.
    counted: Vec<(&'static str, Program)>,
    /// Where it ships to, which is not.
    _server: Program,
    exposition: Api,
}

impl Side {
    fn series(&self) -> Result<usize> {
        let text = self.exposition.get("/metrics")?;
        Ok(text.lines().filter(|line| line.starts_with("node_")).count())
    }
}

fn start_vedette(dir: &Path, target: &Path) -> Result<Side> {
    let agent = target.join("agent/vedette-agent");
    let aggregator = target.join("debug/vedette-aggregator");
    for binary in [&agent, &aggregator] {
        if !binary.exists() {
            bail!("{} is missing; the head of this file says how to build it", binary.display());
        }
    }
    let (http, quic, web) = (free_port()?, free_port()?, free_port()?);
    let storage = format!("--storage.path={}", dir.join("aggregator").display());
    let mut command = Command::new(&aggregator);
    command
        .arg(&storage)
        .arg(format!("--web.listen-address=127.0.0.1:{http}"))
        .arg(format!("--quic.listen-address=127.0.0.1:{quic}"));
    let server = Program::start(&mut command, &dir.join("aggregator.log"))?;
    await_ready(http)?;
    let token = Command::new(&aggregator).arg(&storage).args(["token", "create"]).output()?;
    let token_file = dir.join("token");
    std::fs::write(&token_file, token.stdout)?;
    let spool = format!("--spool.path={}", dir.join("agent").display());
    let enrolled = Command::new(&agent).args([&spool, "enroll", "--token-file"]).arg(&token_file).status()?;
    if !enrolled.success() {
        bail!("enrolment failed");
    }
    let mut command = Command::new(&agent);
    command.arg(&spool).arg("--interval=1s").arg(format!("--web.listen-address=127.0.0.1:{web}"));
    let agent = Program::start(&mut command, &dir.join("agent.log"))?;
    await_ready(web)?;
    let exposition = Api::new(&format!("http://127.0.0.1:{web}"));
    Ok(Side { counted: vec![("vedette-agent", agent)], _server: server, exposition })
}

fn start_peers(dir: &Path) -> Result<Side> {
    let find = |name: &str| -> Result<PathBuf> { peer(name).with_context(|| format!("no {name}")) };
    let (exporter_port, agent_port, server_port) = (free_port()?, free_port()?, free_port()?);
    let mut command = Command::new(find("prometheus-node-exporter")?);
    command
        .arg("--collector.disable-defaults")
        .arg(format!("--web.listen-address=127.0.0.1:{exporter_port}"));
    command.args(COLLECTORS.map(|name| format!("--collector.{name}")));
    let exporter = Program::start(&mut command, &dir.join("node_exporter.log"))?;

    let mut command = Command::new(find("victoria-metrics")?);
    command
        .arg(format!("-storageDataPath={}", dir.join("victoria").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{server_port}"));
    let server = Program::start(&mut command, &dir.join("victoria.log"))?;

    let config = dir.join("vmagent.yml");
    let yaml = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['127.0.0.1:{exporter_port}']\n"
    );
    std::fs::write(&config, yaml)?;
    let mut command = Command::new(find("vmagent")?);
    command
        .arg(format!("-promscrape.config={}", config.display()))
        .arg(format!("-remoteWrite.url=http://127.0.0.1:{server_port}/api/v1/write"))
        .arg(format!("-remoteWrite.tmpDataPath={}", dir.join("vmagent").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{agent_port}"));
    let agent = Program::start(&mut command, &dir.join("vmagent.log"))?;
    let exposition = Api::new(&format!("http://127.0.0.1:{exporter_port}"));
    eventually("node_exporter answers", GENEROUS, || exposition.get("/metrics").map(Some))?;
    Ok(Side { counted: vec![("node_exporter", exporter), ("vmagent", agent)], _server: server, exposition })
}

fn await_ready(port: u16) -> Result<()> {
    let api = Api::new(&format!("http://127.0.0.1:{port}"));
    eventually("ready", GENEROUS, || api.get("/-/ready").map(Some)).map(drop)
}

/// User and system time of all threads so far.
fn cpu_ms(pid: u32) -> Result<f64> {
    const MS_PER_TICK: f64 = 10.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(") ").next().context("a command in parentheses")?;
    let words: Vec<_> = after_name.split_whitespace().collect();
    let ticks: f64 = words[11].parse::<f64>()? + words[12].parse::<f64>()?;
    Ok(ticks * MS_PER_TICK)
}

fn status_mb(pid: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key}"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kilobytes / 1000.0)
}
