//! The programs that are compared, and what they cost: processor time, memory, disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use vedette_tests::compare::{Question, Reply, Times};
use vedette_tests::push::PushClient;
use vedette_tests::{Aggregator, Api, GENEROUS, Program, Prometheus, eventually, free_port, now, peer};

/// How long a server may go on working by itself after data has come.
const SETTLE_MAX: Duration = Duration::from_secs(1800);

/// Of `/proc/PID/stat`.
const TICK: Duration = Duration::from_millis(10);

/// One of the programs.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    process: Process,
    folder: PathBuf,
    url: String,
    client: ureq::Agent,
}

enum Process {
    Prometheus(Prometheus),
    Vedette(Box<Aggregator>),
    Victoria(Program),
}

/// Starts all that are on this machine, with their data under `dir`.
pub(crate) fn start_all(dir: &Path) -> Result<Vec<Server>> {
    let mut servers = vec![start_prometheus(&dir.join("prometheus"))?, start_vedette(&dir.join("vedette"))?];
    servers.extend(start_victoria(&dir.join("victoria"))?);
    Ok(servers)
}

fn start_prometheus(dir: &Path) -> Result<Server> {
    let arguments = ["--web.enable-remote-write-receiver"];
    let prometheus =
        Prometheus::start(dir, "", &arguments)?.context("there is no Prometheus to compare with")?;
    let url = prometheus.url();
    Ok(Server::new("Prometheus", Process::Prometheus(prometheus), dir.join("tsdb"), url))
}

fn start_vedette(dir: &Path) -> Result<Server> {
    let storage = dir.join("storage");
    let mut aggregator = Aggregator::prepare(dir, &storage)?;
    aggregator.run()?;
    let url = aggregator.url();
    Ok(Server::new("Vedette", Process::Vedette(Box::new(aggregator)), storage, url))
}

fn start_victoria(dir: &Path) -> Result<Option<Server>> {
    let Some(binary) = peer("victoria-metrics") else { return Ok(None) };
    std::fs::create_dir_all(dir)?;
    let (port, folder) = (free_port()?, dir.join("data"));
    let mut command = Command::new(binary);
    command
        .arg(format!("-storageDataPath={}", folder.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"));
    let program = Program::start(&mut command, &dir.join("victoria.log"))?;
    let url = format!("http://127.0.0.1:{port}");
    let api = Api::new(&url);
    eventually("VictoriaMetrics answers", GENEROUS, || api.get("/health").map(Some))?;
    Ok(Some(Server::new("VictoriaMetrics", Process::Victoria(program), folder, url)))
}

/// What an answer took.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) wall: Duration,
    /// Of the threads that were there at the end, to the nanosecond.
    pub(crate) threads: Duration,
    /// Of the whole process, to the tick of its clock.
    pub(crate) process: Duration,
}

/// Processor time of one answer of several, in milliseconds. The clock of the process is coarse, and threads that have
/// ended are missing in the other.
pub(crate) fn cpu_millis(taken: &[Taken]) -> f64 {
    let threads: Duration = taken.iter().map(|taken| taken.threads).sum();
    let process: Duration = taken.iter().map(|taken| taken.process).sum();
    let all = if process >= 5 * TICK { process.max(threads) } else { threads };
    all.as_secs_f64() * 1000.0 / taken.len() as f64
}

impl Server {
    fn new(name: &'static str, process: Process, folder: PathBuf, url: String) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(120)))
            .http_status_as_error(false);
        Self { name, process, folder, url, client: config.build().into() }
    }

    fn pid(&mut self) -> Result<u32> {
        Ok(match &mut self.process {
            Process::Prometheus(prometheus) => prometheus.program()?.pid(),
            Process::Vedette(aggregator) => aggregator.program()?.pid(),
            Process::Victoria(program) => program.pid(),
        })
    }

    pub(crate) fn push_client(&self) -> PushClient {
        PushClient::new(&self.url)
    }

    /// Puts a question and reads the answer to its end, without looking into it.
    pub(crate) fn take(&mut self, question: &Question) -> Result<Taken> {
        let (path, times) = match &question.times {
            Times::At(time) => ("/api/v1/query", vec![("time", time)]),
            Times::Range { start, end, step } => {
                ("/api/v1/query_range", vec![("start", start), ("end", end), ("step", step)])
            }
        };
        let mut request = self.client.get(format!("{}{path}", self.url)).query("query", &question.query);
        for (name, value) in times {
            request = request.query(name, value);
        }
        if let Process::Victoria(_) = self.process {
            // It would keep answers, and give them again.
            request = request.query("nocache", "1");
        }
        let pid = self.pid()?;
        let (before, process) = (cpu_by_thread(pid)?, self.cpu()?);
        let begin = now();
        let mut response = request.call()?;
        let body = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        let wall = begin.elapsed();
        ensure!(
            response.status() == 200,
            "{}: {}: {}",
            self.name,
            question.query,
            String::from_utf8_lossy(&body)
        );
        Ok(Taken { wall, threads: cpu_since(pid, &before)?, process: self.cpu()? - process })
    }

    pub(crate) fn answer(&self, question: &Question) -> Result<Reply> {
        question.ask(&Api::new(&self.url))
    }

    /// Processor time of all threads so far, user and system.
    pub(crate) fn cpu(&mut self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let after_name = stat.rsplit(") ").next().context("a command in parentheses")?;
        let words: Vec<_> = after_name.split_whitespace().collect();
        Ok(TICK * (words[11].parse::<u32>()? + words[12].parse::<u32>()?))
    }

    /// Waits until it no longer works by itself: merging, compacting, writing its head.
    pub(crate) fn settle(&mut self) -> Result<()> {
        const QUIET: Duration = Duration::from_secs(3);
        if let Process::Vedette(aggregator) = &self.process {
            let api = aggregator.api();
            eventually("the head is written to parts", SETTLE_MAX, || {
                let samples = api.own_metric("vedette_aggregator_storage_head_samples")?;
                Ok((samples == 0.0).then_some(()))
            })?;
        }
        eventually(self.name, SETTLE_MAX, || {
            let before = self.cpu()?;
            vedette_tests::run_for(QUIET);
            Ok((self.cpu()? - before < QUIET / 20).then_some(()))
        })
    }

    /// `VmRSS` and `VmHWM` in megabytes.
    pub(crate) fn memory(&mut self) -> Result<[f64; 2]> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let of = |key: &str| -> Result<f64> {
            let line =
                status.lines().find(|line| line.starts_with(key)).with_context(|| format!("no {key}"))?;
            let kilobytes: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
            Ok(kilobytes / 1000.0)
        };
        Ok([of("VmRSS")?, of("VmHWM")?])
    }

    /// Bytes that its folder takes on the disk.
    pub(crate) fn disk(&self) -> Result<u64> {
        let output = Command::new("du").args(["-s", "-B1"]).arg(&self.folder).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().next().context("du prints a number")?.parse()?)
    }
}

/// Processor time by thread, to the nanosecond.
fn cpu_by_thread(pid: u32) -> Result<HashMap<String, u64>> {
    let mut times = HashMap::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        // A thread may end while it is looked at.
        let Ok(text) = std::fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let nanos = text.split_whitespace().next().context("a number")?.parse()?;
        times.insert(entry.file_name().to_string_lossy().into_owned(), nanos);
    }
    Ok(times)
}

fn cpu_since(pid: u32, before: &HashMap<String, u64>) -> Result<Duration> {
    let after = cpu_by_thread(pid)?;
    let spent =
        after.iter().map(|(thread, nanos)| nanos - before.get(thread).copied().unwrap_or(0).min(*nanos));
    Ok(Duration::from_nanos(spent.sum()))
}
