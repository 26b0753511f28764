//! How fast Vedette answers, beside Prometheus and VictoriaMetrics, in the same run over the same data.
//!
//! ```sh
//! cargo build --release --package vedette-aggregator
//! VEDETTE_PEERS=$(tests/peers.sh) cargo bench --package vedette-tests --bench query_speed -- --hosts 100 --hours 6
//! ```
//!
//! Data is made up: hosts with about 760 series each, a scrape every 15 s, give or take 3 ms, written by remote write 1.0 in the
//! order of time. Its last ten minutes come as Prometheus sends them (at most 2,000 samples a request, one of each
//! series), what is before in larger requests, so that loading takes less time. Then every query is put to all servers in
//! turn, `--repeat` times; the table has medians of wall time, and mean processor time. Answers are compared: those of
//! Vedette have to be Prometheus', to 1e-9 of each value, and none may be empty.
//!
//! `--folder DIR` keeps the data there; when it has some already, only queries are run. `--only TEXT` runs the queries that
//! contain it.

mod data;
mod load;
mod queries;
mod series;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use vedette_tests::compare::{Question, Times};

use load::{Cost, Extent};
use queries::{DASHBOARD, KINDS, Query, Span};
use servers::{Server, Taken, cpu_millis};

fn main() -> Result<()> {
    let options = Options::read()?;
    let temporary = tempfile::tempdir()?;
    let dir = options.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    std::fs::create_dir_all(&dir)?;
    let beside =
        std::env::current_exe()?.ancestors().nth(2).context("benchmarks run from target")?.to_path_buf();
    println!("Vedette is {}", beside.join("vedette-aggregator").display());
    let (known, mut servers) = (Extent::read(&dir)?, servers::start_all(&dir)?);
    let extent = match known {
        Some(extent) => extent,
        None => {
            let extent = Extent::ending_now(options.hosts, options.hours)?;
            println!("loading {} samples", extent.samples());
            let costs = load::load(&extent, &mut servers)?;
            println!("\nqueries while the last minutes are in memory");
            options.compare_all(&extent, &mut servers)?;
            for server in &mut servers {
                server.settle()?;
            }
            print_costs(&extent, &mut servers, &costs)?;
            extent.write(&dir)?;
            extent
        }
    };
    for server in &mut servers {
        server.settle()?;
    }
    println!(
        "\nqueries, {} hosts × {} h, all written to disk, {} times each",
        extent.hosts, extent.hours, options.repeat
    );
    options.compare_all(&extent, &mut servers)
}

struct Options {
    hosts: usize,
    hours: i64,
    repeat: usize,
    folder: Option<PathBuf>,
    only: String,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self { hosts: 100, hours: 6, repeat: 11, folder: None, only: String::new() };
        // Cargo adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{argument} takes a value"))?;
            match argument.as_str() {
                "--hosts" => options.hosts = value.parse()?,
                "--hours" => options.hours = value.parse()?,
                "--repeat" => options.repeat = value.parse()?,
                "--folder" => options.folder = Some(value.into()),
                "--only" => options.only = value,
                _ => bail!("unknown argument {argument}"),
            }
        }
        ensure!(
            (4..=1000).contains(&options.hosts),
            "--hosts: from 4 to 1000, since host number 3 is asked for"
        );
        ensure!((2..=24).contains(&options.hours), "--hours: from 2 to 24");
        ensure!(options.repeat > 0, "--repeat: at least 1");
        Ok(options)
    }

    /// Compares all queries, and says how the dashboard's go on the whole.
    fn compare_all(&self, extent: &Extent, servers: &mut [Server]) -> Result<()> {
        print_header(servers);
        self.compare(&KINDS, extent, servers)?;
        println!();
        let ratios = self.compare(&DASHBOARD, extent, servers)?;
        println!();
        for (place, server) in servers.iter().enumerate().skip(1) {
            let logs: f64 = ratios.iter().map(|ratios| ratios[place].ln()).sum();
            let mean = (logs / ratios.len().max(1) as f64).exp();
            println!(
                "{}: {mean:.2} times as fast as {} over {} queries, geometric mean",
                server.name,
                servers[0].name,
                ratios.len()
            );
        }
        Ok(())
    }

    /// Puts each query to all servers in turn, over and over; prints a line for each. Gives, of each, how many times as
    /// fast as the first server each server was.
    fn compare(&self, queries: &[Query], extent: &Extent, servers: &mut [Server]) -> Result<Vec<Vec<f64>>> {
        let mut all = Vec::new();
        for query in queries.iter().filter(|query| query.text.contains(&self.only)) {
            let question = question(query, extent);
            check_answers(&question, servers)?;
            let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); servers.len()];
            for _ in 0..self.repeat {
                for (server, taken) in servers.iter_mut().zip(&mut taken) {
                    taken.push(server.take(&question)?);
                }
            }
            let medians: Vec<f64> =
                taken.iter().map(|taken| median(taken.iter().map(|taken| millis(taken.wall)))).collect();
            for (wall, taken) in medians.iter().zip(&taken) {
                print!("{wall:>9.2} {:>9.2}  ", cpu_millis(taken));
            }
            let ratios: Vec<f64> = medians.iter().map(|median| medians[0] / median).collect();
            let mark = if ratios[1] < 1.0 { "SLOWER " } else { "" };
            let span = match query.span {
                Span::Instant => "now",
                Span::Hour => "1h",
                Span::All => "all",
            };
            println!("{:>7.2}  {span:<4}{mark}{}", ratios[1], query.text);
            all.push(ratios);
        }
        Ok(all)
    }
}

fn print_header(servers: &[Server]) {
    for server in servers {
        print!("{:>9} {:>9}  ", format!("{} ms", &server.name[..4.min(server.name.len())]), "CPU ms");
    }
    println!("{:>7}", "ratio");
}

fn print_costs(extent: &Extent, servers: &mut [Server], costs: &[Cost]) -> Result<()> {
    let series = extent.samples() / extent.scrapes() as u64;
    println!("\n{series} series, {} samples, remote write 1.0", extent.samples());
    println!(
        "{:<16} {:>22} {:>22} {:>10} {:>10} {:>12} {:>9}",
        "",
        "bulk, CPU s/M samples",
        "live, CPU s/M samples",
        "VmRSS MB",
        "VmHWM MB",
        "disk bytes",
        "B/sample"
    );
    for (server, cost) in servers.iter_mut().zip(costs) {
        let ([resident, highest], disk) = (server.memory()?, server.disk()?);
        println!(
            "{:<16} {:>22.3} {:>22.3} {resident:>10.0} {highest:>10.0} {disk:>12} {:>9.2}",
            server.name,
            cost.bulk,
            cost.live,
            disk as f64 / extent.samples() as f64
        );
    }
    Ok(())
}

fn question(query: &Query, extent: &Extent) -> Question {
    let seconds = |ms: i64| (ms / 1000).to_string();
    let range = |start_ms: i64, step: &str| Times::Range {
        start: seconds(start_ms),
        end: seconds(extent.end_ms),
        step: step.to_owned(),
    };
    let times = match query.span {
        Span::Instant => Times::At(seconds(extent.end_ms)),
        Span::Hour => range(extent.end_ms - 3_600_000, "15"),
        Span::All => range(extent.start_ms(), "60"),
    };
    Question { query: query.text.to_owned(), times, parameters: Vec::new(), by_url: false }
}

/// That Vedette answers what Prometheus answers, and something.
fn check_answers(question: &Question, servers: &[Server]) -> Result<()> {
    let (theirs, ours) = (servers[0].answer(question)?, servers[1].answer(question)?);
    ensure!(
        !theirs.is_empty() && !theirs.is_error(),
        "{}: no answer to compare: {}",
        question.query,
        theirs.body
    );
    match question.difference(&theirs, &ours) {
        Some(difference) => bail!("{}: {difference}", question.query),
        None => Ok(()),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
