//! Real expositions: node_exporter's own golden output and recordings of hosts.

use std::collections::HashSet;
use std::io::Read;
use std::path::PathBuf;

use vedette_exposition::{Entry, Format, Parser, parse_float};
use vedette_model::SeriesId;

/// The bytes of a file of the shared data; `None` when there is no such data, which is an error in CI.
fn data(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("{name}: {error}"),
        Err(_) => {
            eprintln!("skipped: there is no {name}");
            None
        }
    }
}

struct Reading {
    samples: usize,
    families: usize,
    series: HashSet<SeriesId>,
}

/// Reads all of `body` and compares each value with what the standard library makes of the end of its line.
fn check(body: &[u8]) -> Reading {
    let mut parser = Parser::new(Format::Text, body);
    let mut read = Reading { samples: 0, families: 0, series: HashSet::new() };
    while let Some(entry) = parser.next_entry().expect("a well-formed exposition") {
        match entry {
            Entry::Sample(sample) => {
                let labels = parser.labels(&sample).expect("a well-formed series");
                read.series.insert(SeriesId::of(&labels));
                read.samples += 1;
            }
            Entry::Type { .. } => read.families += 1,
            Entry::Help { .. } | Entry::Unit { .. } => {}
        }
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && line[0] != b'#');
    assert_eq!(lines.count(), read.samples);
    read
}

fn check_file(name: &str, samples: usize, families: usize) {
    let Some(body) = data(name) else { return };
    let read = check(&body);
    assert_eq!((read.samples, read.families), (samples, families), "{name}");
    assert_eq!(read.series.len(), samples, "{name}: every series once");
}

#[test]
fn node_exporter() {
    check_file("node_exporter/node_exporter_default.prom", 523, 290);
    check_file("node_exporter/node_exporter_all.prom", 2414, 538);
    check_file("node_exporter/fixtures/e2e-output.txt", 3027, 1228);
}

fn check_recording(name: &str, scrapes: usize, series: usize) {
    let Some(packed) = data(name) else { return };
    let mut decoder = zstd::Decoder::new(&packed[..]).expect("zstd");
    decoder.window_log_max(27).expect("a long window");
    let mut recording = Vec::new();
    decoder.read_to_end(&mut recording).expect("zstd");

    let mut parser = Parser::new(Format::Text, &recording);
    let mut known = HashSet::new();
    let mut samples = 0;
    while let Some(entry) = parser.next_entry().expect("a well-formed exposition") {
        let Entry::Sample(sample) = entry else { continue };
        samples += 1;
        if !known.contains(sample.series) {
            parser.labels(&sample).expect("a well-formed series");
            known.insert(sample.series);
        }
        let end = sample.series.as_ptr() as usize - recording.as_ptr() as usize + sample.series.len();
        let line = recording[end..].split(|byte| *byte == b'\n').next().expect("a line").trim_ascii();
        let expected: f64 = std::str::from_utf8(line).expect("UTF-8").parse().expect("a number");
        assert_eq!(sample.value.to_bits(), expected.to_bits());
        assert_eq!(parse_float(line).map(f64::to_bits), Some(expected.to_bits()));
    }
    let marks = memchr::memmem::find_iter(&recording, b"# SCRAPE ").count();
    assert_eq!((marks, known.len()), (scrapes, series), "{name}");
    assert_eq!(samples, scrapes * series, "{name}");
}

#[test]
fn recordings() {
    check_recording("host_recording_light.prom.zst", 986, 523);
    check_recording("host_recording_busy.prom.zst", 277, 523);
}
