use vedette_model::{MetricKind, number};

/// The families of one gather: name, type, help and samples, in the order in which they were written.
///
/// A sample's key is exactly what the text exposition has before the value, `name{a="b",c="d"}` with escaped values.
/// Hosts say the same every time, but for the values. So what the gather before wrote is not thrown away but compared
/// with what comes, and written anew only from where it differs: nothing is allocated, a few kilobytes are touched, and
/// who takes the samples is told when all keys are those it had before ([`Gathered::keys_version`]).
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Names, help texts and keys, one after the other.
    text: String,
    families: Vec<FamilyEntry>,
    samples: Vec<SampleEntry>,
    /// How far this gather has come. What is beyond is of the gather before, and expected to come again.
    at: Position,
    keys_version: u64,
}

/// The end of what a gather has written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    text: usize,
    families: usize,
    samples: usize,
}

#[derive(Clone, Copy, Debug)]
struct FamilyEntry {
    name_start: usize,
    name_end: usize,
    help_end: usize,
    /// Where the help text was taken from.
    help_at: usize,
    kind: MetricKind,
    samples_start: usize,
}

#[derive(Clone, Copy, Debug)]
struct SampleEntry {
    key_start: usize,
    key_end: usize,
    value: f64,
}

impl Gathered {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all families, keeps the memory.
    pub fn clear(&mut self) {
        self.forget_rest();
        self.at = Position::default();
    }

    /// Begins a family. One to which no sample is written is as if it had not been begun.
    ///
    /// A family's help belongs to its name: another text at the same place of memory would not be noticed.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: MetricKind, help: &'a str) -> FamilyWriter<'a> {
        FamilyWriter { gathered: self, name, kind, help, is_begun: false }
    }

    /// All families that have samples.
    pub fn families(&self) -> impl Iterator<Item = GatheredFamily<'_>> {
        let families = &self.families[..self.at.families];
        families.iter().enumerate().map(|(index, entry)| {
            let samples_end = families.get(index + 1).map_or(self.at.samples, |next| next.samples_start);
            GatheredFamily {
                name: &self.text[entry.name_start..entry.name_end],
                kind: entry.kind,
                help: &self.text[entry.name_end..entry.help_end],
                text: &self.text,
                samples: &self.samples[entry.samples_start..samples_end],
            }
        })
    }

    /// The values of all samples, in order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = f64> {
        self.samples[..self.at.samples].iter().map(|sample| sample.value)
    }

    /// Stands for all that was gathered but the values: as long as it stays the same, the families and their samples'
    /// keys are the same in the same order. To be asked when the gather is over.
    pub fn keys_version(&mut self) -> u64 {
        self.forget_rest();
        self.keys_version
    }

    /// How many samples there are in all families.
    pub fn samples_len(&self) -> usize {
        self.at.samples
    }

    /// Appends the text exposition format 0.0.4.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        for family in self.families() {
            out.extend_from_slice(b"# HELP ");
            out.extend_from_slice(family.name.as_bytes());
            out.push(b' ');
            for byte in family.help.bytes() {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    other => out.push(other),
                }
            }
            out.extend_from_slice(b"\n# TYPE ");
            out.extend_from_slice(family.name.as_bytes());
            out.push(b' ');
            out.extend_from_slice(match family.kind {
                MetricKind::Unknown => b"untyped",
                kind => kind.as_str().as_bytes(),
            });
            out.push(b'\n');
            for (key, value) in family.samples() {
                out.extend_from_slice(key);
                out.push(b' ');
                out.extend_from_slice(number::format_exposition(value).as_bytes());
                out.push(b'\n');
            }
        }
    }

    fn begin_family(&mut self, name: &str, kind: MetricKind, help: &str) {
        let help_at = help.as_ptr().addr();
        if let Some(entry) = self.families.get(self.at.families)
            && (entry.name_start, entry.samples_start) == (self.at.text, self.at.samples)
            && self.text[entry.name_start..entry.name_end] == *name
            && (entry.kind, entry.help_at, entry.help_end - entry.name_end) == (kind, help_at, help.len())
        {
            self.at.text = entry.help_end;
            self.at.families += 1;
            return;
        }
        self.forget_rest();
        let name_start = self.text.len();
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(help);
        let help_end = self.text.len();
        let samples_start = self.samples.len();
        self.families.push(FamilyEntry { name_start, name_end, help_end, help_at, kind, samples_start });
        self.wrote();
    }

    fn push_sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        if let Some(entry) = self.samples.get_mut(self.at.samples)
            && entry.key_start == self.at.text
            // The family is the same, so the name is.
            && has_labels(&self.text[entry.key_start + name.len()..entry.key_end], labels)
        {
            entry.value = value;
            self.at.text = entry.key_end;
            self.at.samples += 1;
            return;
        }
        self.forget_rest();
        let key_start = self.text.len();
        self.text.push_str(name);
        push_labels(&mut self.text, labels);
        self.samples.push(SampleEntry { key_start, key_end: self.text.len(), value });
        self.wrote();
    }

    /// Drops what the gather before had and this one has not, or not here.
    fn forget_rest(&mut self) {
        if self.at != self.end() {
            self.text.truncate(self.at.text);
            self.families.truncate(self.at.families);
            self.samples.truncate(self.at.samples);
            self.keys_version += 1;
        }
    }

    /// Something new is at the end.
    fn wrote(&mut self) {
        self.at = self.end();
        self.keys_version += 1;
    }

    fn end(&self) -> Position {
        Position { text: self.text.len(), families: self.families.len(), samples: self.samples.len() }
    }
}

/// Writes the samples of one family.
#[derive(Debug)]
pub struct FamilyWriter<'a> {
    gathered: &'a mut Gathered,
    name: &'a str,
    kind: MetricKind,
    help: &'a str,
    is_begun: bool,
}

impl FamilyWriter<'_> {
    /// One sample. Labels are written as they come; node_exporter's are sorted by name, so sort them.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        debug_assert!(labels.is_sorted_by(|one, next| one.0 < next.0), "labels not sorted: {labels:?}");
        if !std::mem::replace(&mut self.is_begun, true) {
            self.gathered.begin_family(self.name, self.kind, self.help);
        }
        self.gathered.push_sample(self.name, labels, value);
    }

    /// The only sample of a family without labels.
    pub fn value(&mut self, value: f64) {
        self.sample(&[], value);
    }
}

fn push_labels(text: &mut String, labels: &[(&str, &str)]) {
    let mut separator = '{';
    for (name, value) in labels {
        text.push(separator);
        text.push_str(name);
        text.push_str("=\"");
        push_escaped(text, value);
        text.push('"');
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
}

/// Whether `text` is what [`push_labels`] would write.
fn has_labels(text: &str, labels: &[(&str, &str)]) -> bool {
    if labels.is_empty() {
        return text.is_empty();
    }
    let mut rest = text.as_bytes();
    let mut take = |piece: &[u8]| match rest.split_at_checked(piece.len()) {
        Some((start, after)) if start == piece => {
            rest = after;
            true
        }
        _ => false,
    };
    let mut separator = b"{";
    let mut escaped = String::new();
    for (name, value) in labels {
        let value = if needs_escape(value) {
            escaped.clear();
            push_escaped(&mut escaped, value);
            &escaped
        } else {
            *value
        };
        let is_same =
            take(separator) && take(name.as_bytes()) && take(b"=\"") && take(value.as_bytes()) && take(b"\"");
        if !is_same {
            return false;
        }
        separator = b",";
    }
    rest == b"}"
}

fn needs_escape(value: &str) -> bool {
    value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n'))
}

/// A label value as the text format has it. Almost none has anything to escape.
fn push_escaped(text: &mut String, value: &str) {
    if !needs_escape(value) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// One family of a [`Gathered`].
#[derive(Clone, Copy, Debug)]
pub struct GatheredFamily<'a> {
    /// Its name, as in every sample's key.
    pub name: &'a str,
    /// Its type.
    pub kind: MetricKind,
    /// Its help text, unescaped.
    pub help: &'a str,
    text: &'a str,
    samples: &'a [SampleEntry],
}

impl<'a> GatheredFamily<'a> {
    /// Key bytes and value of each sample.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = (&'a [u8], f64)> + use<'a> {
        let text = self.text;
        self.samples
            .iter()
            .map(move |sample| (&text.as_bytes()[sample.key_start..sample.key_end], sample.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fill: impl Fn(&mut Gathered), text: &str) {
        let mut gathered = Gathered::new();
        // Twice: what was there before must not show.
        for _ in 0..2 {
            gathered.clear();
            fill(&mut gathered);
            let mut out = Vec::new();
            gathered.write_text(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn writes_the_text_format() {
        check(
            |gathered| {
                gathered.family("a_total", MetricKind::Counter, "Of \\ two\nlines.").value(1e6);
                let mut family = gathered.family("b", MetricKind::Unknown, "B.");
                family.sample(&[("x", "q\"u\\o\nte"), ("y", "")], -0.0);
                family.sample(&[("x", "ü")], f64::INFINITY);
            },
            "# HELP a_total Of \\\\ two\\nlines.\n# TYPE a_total counter\na_total 1e+06\n\
             # HELP b B.\n# TYPE b untyped\nb{x=\"q\\\"u\\\\o\\nte\",y=\"\"} -0\nb{x=\"ü\"} +Inf\n",
        );
    }

    /// Rounds of families, each of a name and the label values of its samples.
    type Rounds<'a> = &'a [&'a [(&'a str, &'a [&'a str])]];

    /// What is gathered over what another gather left must be what is gathered afresh; the version must tell whether
    /// anything but the values is new.
    fn check_rounds(rounds: Rounds<'_>) -> Vec<bool> {
        let mut reused = Gathered::new();
        let mut before = None;
        let mut repeats = Vec::new();
        for (number, round) in rounds.iter().enumerate() {
            let fill = |gathered: &mut Gathered| {
                for (name, values) in *round {
                    let mut family = gathered.family(name, MetricKind::Gauge, "Help.");
                    for (index, value) in values.iter().enumerate() {
                        family.sample(&[("a", value), ("b", "")], (number * 100 + index) as f64);
                    }
                }
            };
            let text = |gathered: &Gathered| {
                let mut text = Vec::new();
                gathered.write_text(&mut text);
                String::from_utf8(text).unwrap()
            };
            reused.clear();
            fill(&mut reused);
            let mut fresh = Gathered::new();
            fill(&mut fresh);
            assert_eq!(text(&reused), text(&fresh), "round {number}");
            assert_eq!(reused.values().collect::<Vec<_>>(), fresh.values().collect::<Vec<_>>());
            assert_eq!(reused.samples_len(), fresh.samples_len());
            let version = reused.keys_version();
            repeats.push(before == Some(version));
            before = Some(version);
        }
        repeats
    }

    #[test]
    fn what_was_there_before_does_not_show() {
        let both: &[_] = &[("x", &["1", "2\n"][..]), ("none", &[]), ("y", &["1"])];
        let rounds: Rounds<'_> = &[
            both,
            both,
            &[("none", &[]), ("x", &["1", "2\n"]), ("y", &["1"])],
            &[("x", &["1", "2\n"])],
            both,
            &[("x", &["1"]), ("y", &["1"])],
            &[("x", &["1"]), ("y", &["1", "3"])],
            &[("x", &["1"]), ("z", &["1", "3"])],
            &[("w", &["1"]), ("x", &["1"]), ("z", &["1", "3"])],
            &[("w", &["1"]), ("x", &["10"]), ("z", &["1", "3"])],
            &[],
            &[],
            both,
        ];
        let repeats = check_rounds(rounds);
        let expected = [1, 2, 11];
        assert!(repeats.iter().enumerate().all(|(at, is)| *is == expected.contains(&at)), "{repeats:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_rounds_are_as_if_gathered_afresh(
            rounds in proptest::collection::vec(
                proptest::collection::vec(("[a-c]", proptest::collection::vec("[x\\\\\"]{0,2}", 0..3)), 0..4),
                1..6,
            )
        ) {
            let rounds: Vec<Vec<(String, Vec<String>)>> = rounds;
            let values: Vec<Vec<Vec<&str>>> = rounds
                .iter()
                .map(|round| {
                    round.iter().map(|(_, values)| values.iter().map(String::as_str).collect()).collect()
                })
                .collect();
            let rounds: Vec<Vec<(&str, &[&str])>> = rounds
                .iter()
                .zip(&values)
                .map(|(round, values)| {
                    round.iter().zip(values).map(|((name, _), values)| (name.as_str(), values.as_slice())).collect()
                })
                .collect();
            let rounds: Vec<&[(&str, &[&str])]> = rounds.iter().map(Vec::as_slice).collect();
            let repeats = check_rounds(&rounds);
            for (pair, repeat) in rounds.windows(2).zip(&repeats[1..]) {
                let shown = |round: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
                    let told = round.iter().filter(|(_, values)| !values.is_empty());
                    told.map(|(name, values)| {
                        ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
                    })
                    .collect()
                };
                proptest::prop_assert_eq!(*repeat, shown(pair[0]) == shown(pair[1]));
            }
        }
    }

    #[test]
    fn an_empty_family_does_not_show() {
        check(
            |gathered| {
                gathered.family("none", MetricKind::Gauge, "None.");
                gathered.family("one", MetricKind::Gauge, "One.").value(1.0);
                gathered.family("nothing", MetricKind::Gauge, "Nothing.");
            },
            "# HELP one One.\n# TYPE one gauge\none 1\n",
        );
    }
}
