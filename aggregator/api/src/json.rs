//! JSON as Prometheus' HTTP API writes it, appended to a buffer: no tree is built.

use std::io::Write as _;
use std::ops::Range;

use vedette_model::{Histogram, Labels, Timestamp, number};

/// Where the shortest digits are written without an exponent, here as there.
const PLAIN: Range<f64> = 1e-5..1e15;

/// Appends JSON to a buffer. The caller writes brackets, commas and keys; this escapes strings and prints numbers.
#[derive(Default)]
pub(crate) struct JsonWriter {
    buffer: Vec<u8>,
}

impl JsonWriter {
    /// Text that is JSON already.
    pub(crate) fn raw(&mut self, json: &str) {
        self.buffer.extend_from_slice(json.as_bytes());
    }

    /// What is not JSON at all.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// A string as it is within results.
    pub(crate) fn string(&mut self, text: &str) {
        self.quote(text, false);
    }

    /// A string outside results. Go's encoder makes these safe inside HTML, so `<` is spelt `\u003c`.
    pub(crate) fn escaped_string(&mut self, text: &str) {
        self.quote(text, true);
    }

    fn quote(&mut self, text: &str, html_safe: bool) {
        self.buffer.push(b'"');
        let mut copied = 0;
        for (index, character) in text.char_indices() {
            let Some(escape) = escape_of(character, html_safe) else { continue };
            self.buffer.extend_from_slice(&text.as_bytes()[copied..index]);
            self.buffer.extend_from_slice(escape.as_bytes());
            copied = index + character.len_utf8();
        }
        self.buffer.extend_from_slice(&text.as_bytes()[copied..]);
        self.buffer.push(b'"');
    }

    /// A list of strings.
    pub(crate) fn strings<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        self.raw("[");
        for (index, text) in texts.into_iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.escaped_string(text);
        }
        self.raw("]");
    }

    /// Labels as an object, in the order of their names.
    pub(crate) fn labels(&mut self, labels: &Labels) {
        self.raw("{");
        for (index, (name, value)) in labels.iter().enumerate() {
            if index > 0 {
                self.raw(",");
            }
            self.string(name);
            self.raw(":");
            self.string(value);
        }
        self.raw("}");
    }

    /// `[time,"value"]` within a vector or a matrix.
    pub(crate) fn point(&mut self, at_ms: i64, value: f64) {
        self.raw("[");
        self.timestamp(at_ms);
        self.raw(",\"");
        self.value(value);
        self.raw("\"]");
    }

    /// `[time,{"count":"3","sum":"4.5","buckets":[[0,"1","2","3"]]}]` within a vector or a matrix. Each bucket begins
    /// with which of its bounds belong to it: 0 the upper, 1 the lower, 2 none, 3 both. Empty ones are left out.
    pub(crate) fn histogram_point(&mut self, at_ms: i64, histogram: &Histogram) {
        self.raw("[");
        self.timestamp(at_ms);
        self.raw(",{\"count\":\"");
        self.value(histogram.count);
        self.raw("\",\"sum\":\"");
        self.value(histogram.sum);
        self.raw("\"");
        let filled = histogram.all_buckets().filter(|bucket| bucket.count != 0.0);
        for (index, bucket) in filled.enumerate() {
            self.raw(if index == 0 { ",\"buckets\":[[" } else { "],[" });
            self.raw(match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => "0",
                (true, false) => "1",
                (false, false) => "2",
                (true, true) => "3",
            });
            for value in [bucket.lower, bucket.upper, bucket.count] {
                self.raw(",\"");
                self.value(value);
                self.raw("\"");
            }
        }
        let any = histogram.all_buckets().any(|bucket| bucket.count != 0.0);
        self.raw(if any { "]]}]" } else { "}]" });
    }

    /// Seconds; the milliseconds with all three digits, or none at all.
    pub(crate) fn timestamp(&mut self, at_ms: i64) {
        if at_ms < 0 {
            self.raw("-");
        }
        let at_ms = at_ms.unsigned_abs();
        self.integer(at_ms / 1000);
        if !at_ms.is_multiple_of(1000) {
            append(&mut self.buffer, format_args!(".{:03}", at_ms % 1000));
        }
    }

    /// A sample's value: with an exponent below 1e-6 and from 1e21 on, as `util/jsonutil` of Prometheus has it.
    pub(crate) fn value(&mut self, value: f64) {
        let size = value.abs();
        // Whole numbers are most of what is asked for; negative zero keeps its sign below.
        if size < 9e15 && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
            if value < 0.0 {
                self.raw("-");
            }
            self.integer(size as u64);
        } else if PLAIN.contains(&size) {
            // Most of the time that an answer takes to write goes into digits.
            self.raw(zmij::Buffer::new().format_finite(value));
        } else if value.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
            self.raw(&number::format_scientific(value));
        } else if value.is_finite() && !number::takes_even_digit(value) {
            append(&mut self.buffer, format_args!("{value}"));
        } else {
            self.raw(&number::format_plain(value));
        }
    }

    /// `[time,"text"]` of a scalar or a string, which Prometheus prints by another encoder than samples.
    pub(crate) fn lone_point(&mut self, at_ms: i64, text: &str) {
        append(&mut self.buffer, format_args!("[{},", at_ms as f64 / 1000.0));
        self.escaped_string(text);
        self.raw("]");
    }

    /// A plain number.
    pub(crate) fn number(&mut self, value: f64) {
        append(&mut self.buffer, format_args!("{value}"));
    }

    /// A whole number that may be negative.
    pub(crate) fn signed(&mut self, value: i64) {
        if value < 0 {
            self.raw("-");
        }
        self.integer(value.unsigned_abs());
    }

    /// Yes or no.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    /// A time as RFC 3339 has it; what is before its calendar is Go's time of nothing.
    pub(crate) fn rfc3339(&mut self, at: Timestamp) {
        let text = jiff::Timestamp::from_millisecond(at.as_millis()).map(|at| at.to_string());
        self.escaped_string(text.as_deref().unwrap_or("0001-01-01T00:00:00Z"));
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[start..]);
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// What was written since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

fn append(buffer: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    buffer.write_fmt(text).expect("a Vec takes every byte");
}

fn escape_of(character: char, html_safe: bool) -> Option<&'static str> {
    const CONTROL: [&str; 32] = [
        "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\u0008",
        "\\t", "\\n", "\\u000b", "\\u000c", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012",
        "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b",
        "\\u001c", "\\u001d", "\\u001e", "\\u001f",
    ];
    Some(match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0'..='\u{1f}' => CONTROL[character as usize],
        '<' if html_safe => "\\u003c",
        '>' if html_safe => "\\u003e",
        '&' if html_safe => "\\u0026",
        '\u{2028}' if html_safe => "\\u2028",
        '\u{2029}' if html_safe => "\\u2029",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use vedette_model::Span;

    use super::*;

    fn check(write: impl FnOnce(&mut JsonWriter), expected: &str) {
        let mut json = JsonWriter::default();
        write(&mut json);
        assert_eq!(String::from_utf8(json.take()).unwrap(), expected);
    }

    // Each expectation was taken from the answers of Prometheus 3.5.3.
    #[test]
    fn prints_samples_as_prometheus_does() {
        for (value, expected) in [
            (1e-7, "1e-07"),
            (-1e-6, "-0.000001"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (-0.0, "-0"),
            (0.0, "0"),
            (-12.0, "-12"),
            (9e15, "9000000000000000"),
            (0.6688162367526495, "0.6688162367526495"),
            (1.5e-300, "1.5e-300"),
            (1_351_079_888_211_149.0 + 0.25, "1351079888211149.2"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            check(|json| json.point(1_500, value), &format!("[1.500,\"{expected}\"]"));
        }
        check(|json| json.point(-1_005, 1.0), "[-1.005,\"1\"]");
        check(|json| json.point(5_000, 1.0), "[5,\"1\"]");
        check(|json| json.lone_point(1_500, "1"), "[1.5,\"1\"]");
        check(|json| json.rfc3339(Timestamp::from_millis(1_795_345_390_121)), "\"2026-11-22T11:03:10.121Z\"");
        check(|json| json.rfc3339(Timestamp::MIN), "\"0001-01-01T00:00:00Z\"");
        check(|json| json.lone_point(-6795364579679, "1"), "[-6795364579.679,\"1\"]");
    }

    #[test]
    fn fractions_have_the_fewest_digits_that_stand_for_them() {
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..100_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            // Exponents around those at which the way of writing changes.
            let value = f64::from_bits(bits & 0x800f_ffff_ffff_ffff | (0x3e8 + bits % 0x60) << 52);
            if (1e-6..1e21).contains(&value.abs()) && value.fract() != 0.0 {
                let mut json = JsonWriter::default();
                json.value(value);
                let written = String::from_utf8(json.take()).unwrap();
                assert_eq!(written.parse(), Ok(value));
                assert_eq!(written.len(), value.to_string().len(), "{written}");
            }
        }
        check(|json| json.value(1e-5), "0.00001");
        check(|json| json.value(0.1 + 0.2), "0.30000000000000004");
        // Of two as close, Go takes the even one.
        check(|json| json.value(4_132_212_325_766.5 + 0.031_25), "4132212325766.5312");
    }

    #[test]
    fn histograms_show_their_filled_buckets() {
        let histogram = Histogram {
            count: 6.0,
            sum: -0.5,
            zero_count: 1.0,
            zero_threshold: 0.25,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![1.0, 0.0, 2.0],
            negative_spans: vec![Span { offset: 1, length: 1 }],
            negative_buckets: vec![2.0],
            ..Histogram::default()
        };
        check(
            |json| json.histogram_point(1_500, &histogram),
            r#"[1.500,{"count":"6","sum":"-0.5","buckets":[[1,"-2","-1","2"],[3,"-0.25","0.25","1"],[0,"0.5","1","1"],[0,"2","4","2"]]}]"#,
        );
        let empty = r#"[1,{"count":"0","sum":"0"}]"#;
        check(|json| json.histogram_point(1_000, &Histogram::default()), empty);
    }

    #[test]
    fn escapes_as_prometheus_does() {
        check(|json| json.string("a<b\u{1}\u{2028}é\"\\\n"), "\"a<b\\u0001\u{2028}é\\\"\\\\\\n\"");
        check(|json| json.escaped_string("a<b>&\u{2028}"), r#""a\u003cb\u003e\u0026\u2028""#);
    }
}
