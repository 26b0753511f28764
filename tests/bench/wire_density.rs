//! Bytes and CPU time that a sample costs on the wire, over the recordings of a real host.
//!
//! ```text
//! cargo bench -p vedette-tests --bench wire_density -- [--data DIR] [--batches-max N]
//! ```
//!
//! `body`: the bodies of delta batches. `frame`: the same with their headers. `all`: everything, key batches
//! with their dictionaries included.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use vedette_exposition::parse_series;
use vedette_model::{MetricKind, Timestamp};
use vedette_wire::{
    BatchInput, BatchSeq, DecodeLimits, RowInput, RowValues, SegmentDecoder, SegmentEncoder, SegmentLimits,
    SeriesDescription, TargetTable,
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");

fn main() -> Result<()> {
    let options = Options::read()?;
    println!(
        "{:<8}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>11}{:>11}{:>11}",
        "",
        "rows/b",
        "samples",
        "body",
        "frame",
        "all",
        "key B",
        "frame B",
        "table µs",
        "encode µs",
        "decode µs"
    );
    for name in ["light", "busy"] {
        let recording = Recording::read(&options.data.join(format!("host_recording_{name}.prom.zst")))?;
        for rows_per_batch in [1, 10] {
            measure(name, &recording, rows_per_batch, options.limits)?;
        }
    }
    Ok(())
}

struct Options {
    data: PathBuf,
    limits: SegmentLimits,
}

impl Options {
    fn read() -> Result<Self> {
        let mut options = Self { data: DATA.into(), limits: SegmentLimits::default() };
        // Cargo adds `--bench`.
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{argument} takes a value"))?;
            match argument.as_str() {
                "--data" => options.data = value.into(),
                "--batches-max" => options.limits.batches_max = value.parse()?,
                _ => bail!("unknown argument {argument}"),
            }
        }
        Ok(options)
    }
}

/// The lines of one scrape: raw series and value.
type Lines = Vec<(Vec<u8>, f64)>;
/// A frame, and the rows that it was made of.
type Shipped = (Vec<u8>, Vec<(Timestamp, RowValues)>);

/// The scrapes of a host: their text as lines of series and value, and what its comments say.
struct Recording {
    families: Vec<(String, MetricKind, String)>,
    scrapes: Vec<(Timestamp, Lines)>,
}

impl Recording {
    fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut decoder = zstd::Decoder::new(BufReader::new(file))?;
        decoder.window_log_max(27)?;
        let mut text = String::new();
        decoder.read_to_string(&mut text)?;
        let mut recording = Self { families: Vec::new(), scrapes: Vec::new() };
        let mut help = String::new();
        for line in text.lines() {
            if let Some(millis) = line.strip_prefix("# SCRAPE ") {
                recording.scrapes.push((Timestamp::from_millis(millis.trim().parse()?), Vec::new()));
            } else if let Some(said) = line.strip_prefix("# HELP ") {
                help = said.split_once(' ').map_or("", |(_, help)| help).to_owned();
            } else if let Some(said) = line.strip_prefix("# TYPE ") {
                let (name, word) = said.split_once(' ').context("a TYPE line without a type")?;
                let kind = MetricKind::from_word(word).context("an unknown type")?;
                if recording.scrapes.len() == 1 {
                    recording.families.push((name.to_owned(), kind, help.clone()));
                }
            } else {
                let (series, value) = line.rsplit_once(' ').context("a line without a value")?;
                let (_, scrape) = recording.scrapes.last_mut().context("a line before the first scrape")?;
                scrape.push((series.as_bytes().to_vec(), value.parse()?));
            }
        }
        ensure!(recording.scrapes.len() > 100, "{} holds too little", path.display());
        Ok(recording)
    }

    /// The family of a series, by the longest name that its own starts with.
    fn family_of(&self, series: &str) -> String {
        let name = series.split('{').next().unwrap_or(series);
        let mut stems =
            ["", "_bucket", "_sum", "_count"].into_iter().filter_map(|suffix| name.strip_suffix(suffix));
        let found = stems.rfind(|stem| self.families.iter().any(|(family, ..)| family == stem));
        found.unwrap_or(name).to_owned()
    }

    fn fill(&self, table: &mut TargetTable, samples: &[(Vec<u8>, f64)]) -> Result<()> {
        for (name, kind, help) in &self.families {
            table.note_family(name, *kind, "", help);
        }
        table.begin_row();
        for (key, value) in samples {
            table.set::<anyhow::Error>(key, *value, || {
                let mut labels = parse_series(key)?.to_builder();
                labels.set("job", "node").set("instance", "host-1.example.org");
                let family = self.family_of(std::str::from_utf8(key)?);
                Ok(SeriesDescription { labels: labels.finish(), family })
            })?;
        }
        table.finish_row();
        Ok(())
    }
}

/// Bytes of frames of one kind.
#[derive(Default)]
struct Sizes {
    frames: usize,
    samples: usize,
    frame_bytes: usize,
    body_bytes: usize,
}

fn measure(name: &str, recording: &Recording, rows_per_batch: usize, limits: SegmentLimits) -> Result<()> {
    let mut table = TargetTable::new();
    let mut encoder = SegmentEncoder::new(limits);
    let mut keys = Sizes::default();
    let mut deltas = Sizes::default();
    let mut frames = Vec::new();
    let (mut table_time, mut encode_time) = (Duration::ZERO, Duration::ZERO);
    for (index, scrapes) in recording.scrapes.chunks(rows_per_batch).enumerate() {
        let start = now();
        let mut rows: Vec<(Timestamp, RowValues)> = Vec::with_capacity(scrapes.len());
        for (at, samples) in scrapes {
            recording.fill(&mut table, samples)?;
            rows.push((*at, table.row().clone()));
        }
        table_time += now() - start;
        let inputs: Vec<_> =
            rows.iter().map(|(at, values)| RowInput { target: 0, at: *at, table: &table, values }).collect();
        let through = rows.last().context("a batch has rows")?.0;
        let batch = BatchInput {
            seq: BatchSeq(index as u64 + 1),
            complete_from: through.minus_millis(1000 * rows_per_batch as i64),
            complete_through: through,
            rows: &inputs,
        };
        let start = now();
        let encoded = encoder.encode(&batch)?;
        encode_time += now() - start;
        let sizes = if encoded.is_key { &mut keys } else { &mut deltas };
        sizes.frames += 1;
        sizes.samples += rows.iter().map(|(_, values)| values.count_present()).sum::<usize>();
        sizes.frame_bytes += encoded.frame.len();
        sizes.body_bytes += encoded.frame.len() - header_len(&encoded.frame);
        frames.push((encoded.frame, rows));
    }
    let decode_time = check(&frames)?;
    let per_sample = |bytes: usize, samples: usize| bytes as f64 / samples as f64;
    let samples = keys.samples + deltas.samples;
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / recording.scrapes.len() as f64;
    println!(
        "{name:<8}{rows_per_batch:>9}{samples:>9}{:>9.4}{:>9.4}{:>9.4}{:>9}{:>10.1}{:>11.1}{:>11.1}{:>11.1}",
        per_sample(deltas.body_bytes, deltas.samples),
        per_sample(deltas.frame_bytes, deltas.samples),
        per_sample(keys.frame_bytes + deltas.frame_bytes, samples),
        keys.frame_bytes / keys.frames,
        deltas.frame_bytes as f64 / deltas.frames.max(1) as f64,
        micros(table_time),
        micros(encode_time),
        micros(decode_time),
    );
    Ok(())
}

/// The header as `FORMAT.md` of the wire has it: ten bytes, then numbers of seven bits a byte.
fn header_len(frame: &[u8]) -> usize {
    let numbers = if frame[1] == 1 { 2 } else { 3 };
    let ends = frame[10..].iter().enumerate().filter(|(_, byte)| **byte < 0x80);
    ends.take(numbers).last().map_or(0, |(index, _)| 10 + index + 1)
}

/// Decodes all frames and compares every bit. Returns the decoder's time.
fn check(frames: &[Shipped]) -> Result<Duration> {
    let mut decoder = SegmentDecoder::new(DecodeLimits::default());
    let mut time = Duration::ZERO;
    for (frame, rows) in frames {
        let start = now();
        let batch = decoder.decode(frame)?;
        time += now() - start;
        ensure!(batch.rows.len() == rows.len(), "rows were lost");
        for (decoded, (at, values)) in batch.rows.iter().zip(rows) {
            let same = decoded.values.iter_present().map(|(index, value)| (index, value.to_bits()));
            ensure!(decoded.at == *at, "a time changed");
            ensure!(
                same.eq(values.iter_present().map(|(index, value)| (index, value.to_bits()))),
                "a value changed"
            );
        }
    }
    Ok(time)
}

/// CPU time of this thread: other work on the machine does not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
