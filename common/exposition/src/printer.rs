use vedette_model::{MetricKind, number};

use crate::scan::{label_name_end, metric_name_end};

/// A series without its value, with labels in the order given, as [`TextPrinter`] writes it.
pub fn series_key<'l>(name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) -> Vec<u8> {
    let mut key = Vec::new();
    TextPrinter::new(&mut key).series(name, labels);
    key
}

/// Writes the text format 0.0.4 into a buffer of the caller's. A name that is not of the classic form is quoted,
/// as Prometheus 3 reads it.
#[derive(Debug)]
pub struct TextPrinter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> TextPrinter<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Starts a family: its `# HELP` (left out when `help` is empty) and `# TYPE`.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> &mut Self {
        if !help.is_empty() {
            self.metadata(b"# HELP ", name);
            self.escaped(help, false);
            self.out.push(b'\n');
        }
        self.metadata(b"# TYPE ", name);
        self.out.extend_from_slice(kind_word(kind).as_bytes());
        self.out.push(b'\n');
        self
    }

    /// A sample of any name, with labels in the order given.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) -> &mut Self {
        self.series(name, labels.iter().copied());
        self.value(value)
    }

    /// A series of any name without its value, with labels in the order given.
    pub(crate) fn series<'l>(&mut self, name: &str, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        let mut labels = labels.peekable();
        let classic = is_classic_metric(name);
        if classic {
            self.out.extend_from_slice(name.as_bytes());
            if labels.peek().is_some() {
                self.label_set(labels);
            }
            return;
        }
        self.out.push(b'{');
        self.quoted(name);
        labels.for_each(|label| {
            self.out.push(b',');
            self.label(label);
        });
        self.out.push(b'}');
    }

    /// Labels in braces.
    pub(crate) fn label_set<'l>(&mut self, labels: impl Iterator<Item = (&'l str, &'l str)>) {
        self.out.push(b'{');
        for (index, label) in labels.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.label(label);
        }
        self.out.push(b'}');
    }

    fn label(&mut self, (name, value): (&str, &str)) {
        self.label_name(name);
        self.out.push(b'=');
        self.quoted(value);
    }

    /// A sample whose series is already in exposition form.
    pub fn raw_sample(&mut self, series: &[u8], value: f64) -> &mut Self {
        self.out.extend_from_slice(series);
        self.value(value)
    }

    fn value(&mut self, value: f64) -> &mut Self {
        self.out.push(b' ');
        self.out.extend_from_slice(number::format_exposition(value).as_bytes());
        self.out.push(b'\n');
        self
    }

    fn metadata(&mut self, start: &[u8], name: &str) {
        self.out.extend_from_slice(start);
        if is_classic_metric(name) {
            self.out.extend_from_slice(name.as_bytes());
        } else {
            self.quoted(name);
        }
        self.out.push(b' ');
    }

    fn label_name(&mut self, name: &str) {
        if !name.is_empty() && label_name_end(name.as_bytes(), 0) == name.len() {
            self.out.extend_from_slice(name.as_bytes());
        } else {
            self.quoted(name);
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push(b'"');
        self.escaped(text, true);
        self.out.push(b'"');
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        let mut rest = text.as_bytes();
        while let Some(at) = memchr::memchr3(b'\\', b'\n', b'"', rest) {
            self.out.extend_from_slice(&rest[..at]);
            match rest[at] {
                b'\\' => self.out.extend_from_slice(br"\\"),
                b'\n' => self.out.extend_from_slice(br"\n"),
                _ if quotes => self.out.extend_from_slice(br#"\""#),
                quote => self.out.push(quote),
            }
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
    }
}

fn is_classic_metric(name: &str) -> bool {
    !name.is_empty() && metric_name_end(name.as_bytes(), 0) == name.len()
}

/// The text format has fewer kinds than OpenMetrics; the others are written as the kind that they behave like.
fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge | MetricKind::Info | MetricKind::StateSet => "gauge",
        MetricKind::Histogram => "histogram",
        MetricKind::Summary => "summary",
        MetricKind::GaugeHistogram | MetricKind::Unknown => "untyped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_families_and_samples() {
        let mut out = Vec::new();
        TextPrinter::new(&mut out)
            .family("a_total", MetricKind::Counter, "Backslash \\ and\nline \"quoted\".")
            .sample("a_total", &[("path", "C:\\"), ("a.b", "x\ny\"")], 1e9)
            .sample("a_total", &[], f64::NAN)
            .family("b.c", MetricKind::Unknown, "")
            .sample("b.c", &[], 0.5)
            .sample("b.c", &[("d", "")], f64::NEG_INFINITY)
            .raw_sample(b"x{y=\"z\"}", 3.0);
        let expected = r#"# HELP a_total Backslash \\ and\nline "quoted".
# TYPE a_total counter
a_total{path="C:\\","a.b"="x\ny\""} 1e+09
a_total NaN
# TYPE "b.c" untyped
{"b.c"} 0.5
{"b.c",d=""} -Inf
x{y="z"} 3
"#;
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
