//! How fast an exposition is read: gigabytes a second over a host's recorded scrapes, one core.
//!
//! ```sh
//! cargo bench --package vedette-tests --bench exposition
//! ```
//!
//! *known* is what a scrape of a target costs from the second time on: lines, values and the raw bytes of each series,
//! which are compared with the last scrape's. *labels* builds the label set of every series, as the first scrape does.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use vedette_exposition::{Entry, Format, Parser};

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/host_recording_light.prom.zst");
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    if !Path::new(RECORDING).exists() {
        ensure!(std::env::var("CI").is_err(), "there is no {RECORDING}");
        println!("skipped: there is no {RECORDING}");
        return Ok(());
    }
    let mut decoder = zstd::Decoder::new(std::fs::File::open(RECORDING)?)?;
    decoder.window_log_max(27)?;
    let mut recording = Vec::new();
    decoder.read_to_end(&mut recording).context("decompressing the recording")?;

    let (samples, known) = best_of(|| known_series(&recording))?;
    report("known", &recording, samples, known);
    let (samples, labels) = best_of(|| all_labels(&recording))?;
    report("labels", &recording, samples, labels);
    Ok(())
}

/// The series of the scrape before are remembered by place, as the agent's table does.
fn known_series(recording: &[u8]) -> Result<usize> {
    let mut last: Vec<&[u8]> = Vec::new();
    let (mut place, mut samples, mut same) = (0, 0, 0);
    let mut parser = Parser::new(Format::Text, recording);
    while let Some(entry) = parser.next_entry()? {
        let Entry::Sample(sample) = entry else { continue };
        samples += 1;
        std::hint::black_box(sample.value);
        if last.get(place).is_some_and(|key| *key == sample.series) {
            same += 1;
        } else if last.first() == Some(&sample.series) {
            place = 0;
        } else {
            last.truncate(place);
            last.push(sample.series);
        }
        place += 1;
    }
    ensure!(same > samples / 2, "the recording does not repeat: {same} of {samples}");
    Ok(samples)
}

fn all_labels(recording: &[u8]) -> Result<usize> {
    let mut samples = 0;
    let mut parser = Parser::new(Format::Text, recording);
    while let Some(entry) = parser.next_entry()? {
        let Entry::Sample(sample) = entry else { continue };
        samples += 1;
        std::hint::black_box(parser.labels(&sample)?);
    }
    Ok(samples)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn best_of(run: impl Fn() -> Result<usize>) -> Result<(usize, Duration)> {
    let mut best = Duration::MAX;
    let mut samples = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        samples = run()?;
        best = best.min(start.elapsed());
    }
    Ok((samples, best))
}

fn report(what: &str, recording: &[u8], samples: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "exposition {what}: {:.2} GB/s, {:.1} M samples/s, {:.1} ns a sample",
        recording.len() as f64 / seconds / 1e9,
        samples as f64 / seconds / 1e6,
        seconds * 1e9 / samples as f64
    );
}
