use vedette_model::{MetricKind, number};

/// The families of one gather: name, type, help and samples, in the order in which they were written.
///
/// Its memory is reused: after the first gathers nothing is allocated any more. A sample's key is exactly what the
/// text exposition has before the value, `name{a="b",c="d"}` with escaped values, and comes in the same order every
/// time as long as the host does not change.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Names, help texts and keys, one after the other.
    text: String,
    families: Vec<FamilyEntry>,
    samples: Vec<SampleEntry>,
}

#[derive(Clone, Copy, Debug)]
struct FamilyEntry {
    name_start: usize,
    name_end: usize,
    help_end: usize,
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
        self.text.clear();
        self.families.clear();
        self.samples.clear();
    }

    /// Begins a family. One to which no sample is written is as if it had not been begun.
    pub fn family(&mut self, name: &str, kind: MetricKind, help: &str) -> FamilyWriter<'_> {
        if self.families.last().is_some_and(|last| last.samples_start == self.samples.len()) {
            self.families.pop();
        }
        let name_start = self.text.len();
        self.text.push_str(name);
        let name_end = self.text.len();
        self.text.push_str(help);
        let help_end = self.text.len();
        let samples_start = self.samples.len();
        self.families.push(FamilyEntry { name_start, name_end, help_end, kind, samples_start });
        FamilyWriter { gathered: self, name_start, name_end }
    }

    /// All families that have samples.
    pub fn families(&self) -> impl Iterator<Item = GatheredFamily<'_>> {
        self.families.iter().enumerate().filter_map(|(index, entry)| {
            let samples_end =
                self.families.get(index + 1).map_or(self.samples.len(), |next| next.samples_start);
            let samples = &self.samples[entry.samples_start..samples_end];
            (!samples.is_empty()).then(|| GatheredFamily {
                name: &self.text[entry.name_start..entry.name_end],
                kind: entry.kind,
                help: &self.text[entry.name_end..entry.help_end],
                text: &self.text,
                samples,
            })
        })
    }

    /// How many samples there are in all families.
    pub fn samples_len(&self) -> usize {
        self.samples.len()
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
}

/// Writes the samples of one family.
#[derive(Debug)]
pub struct FamilyWriter<'a> {
    gathered: &'a mut Gathered,
    name_start: usize,
    name_end: usize,
}

impl FamilyWriter<'_> {
    /// One sample. Labels are written as they come; node_exporter's are sorted by name, so sort them.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        debug_assert!(labels.is_sorted_by(|one, next| one.0 < next.0), "labels not sorted: {labels:?}");
        let text = &mut self.gathered.text;
        let key_start = text.len();
        text.extend_from_within(self.name_start..self.name_end);
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
        let key_end = text.len();
        self.gathered.samples.push(SampleEntry { key_start, key_end, value });
    }

    /// The only sample of a family without labels.
    pub fn value(&mut self, value: f64) {
        self.sample(&[], value);
    }
}

/// A label value as the text format has it. Almost none has anything to escape.
fn push_escaped(text: &mut String, value: &str) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
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
