//! What is accepted, what is refused and which series come out, against what real Prometheus did with the same
//! bodies.

use std::collections::BTreeSet;

use vedette_exposition::{Entry, Format, ParseError, Parser};
use vedette_model::Labels;

const VERDICTS: &str = include_str!("prometheus_verdicts.tsv");
const CASES: usize = 317;

/// Bodies where we differ from 3.5.3 on purpose, and how.
const DIFFERENCES: [(&str, &str); 5] = [
    // Blanks before a name become part of it there.
    ("  foo 1\\n", "accept foo"),
    ("\\tfoo\\t1\\t\\n", "accept foo"),
    // A name without quotes in braces loses its first and last letter there; later releases refuse it.
    ("{foo} 1\\n", "reject"),
    ("{foo} 1\\n# EOF\\n", "reject"),
    // A NUL right behind `#` ends the input there.
    ("#\\0\\nfoo 1\\n", "accept foo"),
];

fn check(format: Format, body: &[u8]) -> Result<BTreeSet<Labels>, ParseError> {
    let mut parser = Parser::new(format, body);
    let mut series = BTreeSet::new();
    while let Some(entry) = parser.next_entry()? {
        if let Entry::Sample(sample) = entry {
            let labels = parser.labels(&sample)?;
            if sample.timestamp.is_none() {
                series.insert(labels);
            }
        }
    }
    Ok(series)
}

#[test]
fn as_prometheus() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for line in VERDICTS.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [format, verdict, body, series] = columns[..] else { panic!("{line}") };
        let difference = DIFFERENCES.iter().find(|(known, _)| *known == body).map(|(_, ours)| *ours);
        let (verdict, expected) = match difference {
            Some("reject") => ("reject", BTreeSet::new()),
            Some(_) => ("accept", BTreeSet::from([Labels::from_pairs([("__name__", "foo")])])),
            None => (verdict, series.split(';').filter(|text| !text.is_empty()).map(labels).collect()),
        };
        let format = if format == "text" { Format::Text } else { Format::OpenMetrics };
        // An empty body is an empty scrape whatever its format.
        if body.is_empty() {
            continue;
        }
        cases += 1;
        let ours = check(format, &unescape(body));
        let agrees = match &ours {
            Ok(series) => verdict == "accept" && *series == expected,
            Err(_) => verdict == "reject",
        };
        if !agrees {
            wrong.push(format!("{format:?} {body}: expected {verdict} {expected:?}, got {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases, CASES - 2);
}

fn labels(text: &str) -> Labels {
    let text_of = |part: &str| String::from_utf8(unescape(part)).expect("UTF-8");
    Labels::from_pairs(
        text.split(',').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (text_of(n), text_of(v))),
    )
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next().expect("escape") {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'0' => 0,
                b'x' => {
                    let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
                }
                other => other,
            },
            byte => byte,
        });
    }
    out
}
