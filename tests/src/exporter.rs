//! A target as client libraries make them: protobuf with native histograms, exemplars and start times for who asks for
//! it first, plain text for who asks for that first, OpenMetrics text for all others. What it says stays the same.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;
use vedette_exposition::protobuf::{
    push_bytes, push_deltas, push_double, push_floats, push_integer, push_signed, push_spans, push_varint,
};
use vedette_model::Span;

/// Content that does not change, and when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Exporter {
    /// The time of its exemplars, in Unix milliseconds.
    pub at_ms: i64,
}

const COUNTER: i64 = 0;
const GAUGE: i64 = 1;
const SUMMARY: i64 = 2;
const UNTYPED: i64 = 3;
const HISTOGRAM: i64 = 4;
const GAUGE_HISTOGRAM: i64 = 5;

impl Exporter {
    /// Serves from a thread of its own; the address.
    pub fn serve(self) -> Result<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| drop(self.answer(stream)));
        });
        Ok(address)
    }

    fn answer(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut accepted = String::new();
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?.to_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("accept:") {
                accepted = value.trim().to_owned();
            }
        }
        let (kind, body) = match accepted.split([';', ',']).next().unwrap_or_default() {
            "application/vnd.google.protobuf" => (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                self.delimited(),
            ),
            "text/plain" => ("text/plain; version=0.0.4; charset=utf-8", plain_text().into_bytes()),
            _ => ("application/openmetrics-text; version=1.0.0; charset=utf-8", self.text().into_bytes()),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )?;
        stream.write_all(&body)
    }

    fn text(self) -> String {
        let at = self.at_ms as f64 / 1000.0;
        // Of histograms and what follows them Prometheus 3.5 loses such a series where it converts; later ones do not.
        let started = at - 60.0;
        format!(
            r#"# TYPE requests counter
# HELP requests What was asked.
requests_total{{path="/a"}} 5.0 # {{trace_id="one"}} 0.25 {at}
requests_created{{path="/a"}} {started}
# TYPE latency_seconds histogram
# UNIT latency_seconds seconds
latency_seconds_bucket{{path="/a",le="0.1"}} 4 # {{trace_id="two"}} 0.05 {at}
latency_seconds_bucket{{path="/a",le="1.0"}} 7 # {{trace_id="timeless"}} 0.5
latency_seconds_bucket{{path="/a",le="+Inf"}} 9
latency_seconds_count{{path="/a"}} 9
latency_seconds_sum{{path="/a"}} 4.5
latency_seconds_bucket{{path="/b",le="1.0"}} 1.5
latency_seconds_bucket{{path="/b",le="0.1"}} 0.5
latency_seconds_bucket{{path="/b",le="+Inf"}} 2
latency_seconds_sum{{path="/b"}} -1
# TYPE broken histogram
broken_bucket{{le="1"}} 5
broken_bucket{{le="+Inf"}} 3
broken_count 3
broken_sum 1
# TYPE rpc_seconds summary
rpc_seconds{{quantile="0.5"}} 0.2
rpc_seconds_count 3
rpc_seconds_sum 0.75
# TYPE bucket_count gauge
bucket_count 7
# EOF
"#
        )
    }

    /// Families, each with its length in front.
    pub fn delimited(self) -> Vec<u8> {
        let families = [
            family("requests_total", "What was asked.", COUNTER, &[self.counter()]),
            family("temperature", "", GAUGE, &[value(2, 1.5, &[("room", "ü \"x\"")])]),
            family("rpc_seconds", "How long.", SUMMARY, &[summary()]),
            family("latency_seconds", "", HISTOGRAM, &[self.classic()]),
            family("size_bytes", "How large.", HISTOGRAM, &[self.native("a"), self.native("b")]),
            family("depth", "", GAUGE_HISTOGRAM, &[gauge_histogram()]),
            family("some.thing", "Quoted \\ and\nbroken.", UNTYPED, &[value(5, -7.0, &[("x.y", "1")])]),
            family("empty", "No metrics.", GAUGE, &[]),
        ];
        let mut body = Vec::new();
        for family in families {
            push_varint(&mut body, family.len() as u64);
            body.extend(family);
        }
        body
    }

    fn counter(self) -> Vec<u8> {
        let mut counter = Vec::new();
        push_double(&mut counter, 1, 5.0);
        push_bytes(&mut counter, 2, &self.exemplar("one", 0.25, 0));
        push_bytes(&mut counter, 3, &time(self.at_ms - 60_000));
        metric(&[("path", "/a")], 3, &counter)
    }

    fn classic(self) -> Vec<u8> {
        let mut histogram = Vec::new();
        push_integer(&mut histogram, 1, 9);
        push_double(&mut histogram, 2, 4.5);
        for (count, bound, trace) in [(4, 0.1, Some("two")), (7, 1.0, None)] {
            push_bytes(&mut histogram, 3, &self.bucket(count, bound, trace));
        }
        metric(&[("path", "/a")], 7, &histogram)
    }

    /// Buckets of both kinds.
    fn native(self, side: &str) -> Vec<u8> {
        let mut histogram = Vec::new();
        push_integer(&mut histogram, 1, 12);
        push_double(&mut histogram, 2, 99.25);
        push_bytes(&mut histogram, 3, &self.bucket(6, 1.0, Some("of a bucket")));
        push_bytes(&mut histogram, 3, &self.bucket(12, f64::INFINITY, None));
        push_signed(&mut histogram, 5, 3);
        push_double(&mut histogram, 6, 2f64.powi(-128));
        push_integer(&mut histogram, 7, 2);
        push_spans(&mut histogram, 9, &[Span { offset: 1, length: 1 }]);
        push_deltas(&mut histogram, 10, &[1.0]);
        push_spans(&mut histogram, 12, &[Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }]);
        push_deltas(&mut histogram, 13, &[3.0, 5.0, 1.0]);
        push_bytes(&mut histogram, 15, &time(self.at_ms - 60_000));
        for (trace, later_ms) in [("three", 1), ("four", 2)] {
            push_bytes(&mut histogram, 16, &self.exemplar(&format!("{trace} {side}"), 1.5, later_ms));
        }
        metric(&[("side", side)], 7, &histogram)
    }

    fn bucket(self, count: i64, bound: f64, trace: Option<&str>) -> Vec<u8> {
        let mut bucket = Vec::new();
        push_integer(&mut bucket, 1, count);
        push_double(&mut bucket, 2, bound);
        if let Some(trace) = trace {
            push_bytes(&mut bucket, 3, &self.exemplar(trace, 0.05, 3));
        }
        bucket
    }

    fn exemplar(self, trace: &str, value: f64, later_ms: i64) -> Vec<u8> {
        let mut exemplar = Vec::new();
        push_bytes(&mut exemplar, 1, &label("trace_id", trace));
        push_double(&mut exemplar, 2, value);
        push_bytes(&mut exemplar, 3, &time(self.at_ms + later_ms));
        exemplar
    }
}

/// Histograms as the oldest format has them: with runs of empty buckets, without a sum, without a count, of another type.
fn plain_text() -> String {
    let bounds = |name: &str, counts: &[u32]| -> String {
        let lines = counts.iter().enumerate();
        lines.map(|(bound, count)| format!("{name}_bucket{{le=\"{bound}\",x=\"ü\"}} {count}\n")).collect()
    };
    let sparse = bounds("sparse", &[0, 1, 1, 1, 1, 1, 4, 4, 4, 6]);
    let countless = bounds("countless", &[1, 2]);
    let gauge = bounds("gauge", &[1, 2]);
    format!(
        "# HELP sparse With gaps.\n# TYPE sparse histogram\n{sparse}sparse_bucket{{le=\"+Inf\",x=\"ü\"}} 6\nsparse_sum{{x=\"ü\"}} 20\nsparse_count{{x=\"ü\"}} 6\n\
         # TYPE countless histogram\n{countless}# TYPE gauge gauge\n{gauge}untyped_bucket{{le=\"1\"}} 1\nuntyped_count 1\n\
         # TYPE bare histogram\nbare_count 5\n"
    )
}

fn summary() -> Vec<u8> {
    let mut summary = Vec::new();
    push_integer(&mut summary, 1, 3);
    push_double(&mut summary, 2, 0.75);
    for (quantile, value) in [(0.5, 0.2), (1.0, f64::NAN)] {
        let mut pair = Vec::new();
        push_double(&mut pair, 1, quantile);
        push_double(&mut pair, 2, value);
        push_bytes(&mut summary, 3, &pair);
    }
    metric(&[], 4, &summary)
}

/// With counts that are no whole numbers.
fn gauge_histogram() -> Vec<u8> {
    let mut histogram = Vec::new();
    push_double(&mut histogram, 4, 4.5);
    push_double(&mut histogram, 2, -3.0);
    push_double(&mut histogram, 6, 0.001);
    push_spans(&mut histogram, 12, &[Span { offset: 0, length: 2 }]);
    push_floats(&mut histogram, 14, &[1.5, 3.0]);
    metric(&[], 7, &histogram)
}

fn family(name: &str, help: &str, kind: i64, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut family = Vec::new();
    push_bytes(&mut family, 1, name.as_bytes());
    push_bytes(&mut family, 2, help.as_bytes());
    push_integer(&mut family, 3, kind);
    metrics.iter().for_each(|metric| push_bytes(&mut family, 4, metric));
    family
}

fn value(number: u32, value: f64, labels: &[(&str, &str)]) -> Vec<u8> {
    let mut message = Vec::new();
    push_double(&mut message, 1, value);
    metric(labels, number, &message)
}

fn metric(labels: &[(&str, &str)], number: u32, value: &[u8]) -> Vec<u8> {
    let mut metric = Vec::new();
    labels.iter().for_each(|(name, value)| push_bytes(&mut metric, 1, &label(name, value)));
    push_bytes(&mut metric, number, value);
    metric
}

fn label(name: &str, value: &str) -> Vec<u8> {
    let mut label = Vec::new();
    push_bytes(&mut label, 1, name.as_bytes());
    push_bytes(&mut label, 2, value.as_bytes());
    label
}

fn time(at_ms: i64) -> Vec<u8> {
    let mut time = Vec::new();
    push_integer(&mut time, 1, at_ms / 1000);
    push_integer(&mut time, 2, at_ms % 1000 * 1_000_000);
    time
}
