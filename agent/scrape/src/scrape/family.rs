use std::borrow::Cow;

use vedette_exposition::{Entry, Escaped};
use vedette_model::MetricKind;
use vedette_wire::TargetTable;

/// The family that the last metadata lines named: borrowed from the body, as it hardly ever changes.
#[derive(Debug, Default)]
pub(crate) struct CurrentFamily<'a> {
    name: &'a [u8],
    kind: MetricKind,
    help: Option<Help<'a>>,
    unit: &'a str,
    /// Whether the name stands for itself, without escapes.
    is_plain: bool,
    is_published: bool,
}

#[derive(Debug)]
enum Help<'a> {
    Plain(&'a str),
    Escaped(Escaped<'a>),
}

impl<'a> CurrentFamily<'a> {
    /// A family that is told of in one piece, without escapes.
    pub(crate) fn plain(name: &'a str, kind: MetricKind, help: &'a str, unit: &'a str) -> Self {
        Self {
            name: name.as_bytes(),
            kind,
            help: Some(Help::Plain(help)),
            unit,
            is_plain: true,
            is_published: false,
        }
    }

    /// Takes a metadata line.
    pub(crate) fn note(&mut self, entry: Entry<'a>) {
        match entry {
            Entry::Type { name, kind } => self.named(name).kind = kind,
            Entry::Help { name, help } => self.named(name).help = Some(Help::Escaped(help)),
            Entry::Unit { name, unit } => self.named(name).unit = unit,
            Entry::Sample(_) => {}
        }
    }

    fn named(&mut self, name: &'a [u8]) -> &mut Self {
        if self.name != name {
            *self = Self { name, ..Self::default() };
        }
        self.is_published = false;
        self
    }

    /// Tells the table, at the first sample of the family.
    pub(crate) fn publish(&mut self, series: &[u8], table: &mut TargetTable) {
        if self.is_published || !(series.starts_with(self.name) || series.starts_with(b"{")) {
            return;
        }
        self.is_published = true;
        if let Some(name) = self.name() {
            let help = match &self.help {
                None => Cow::Borrowed(""),
                Some(Help::Plain(text)) => Cow::Borrowed(*text),
                Some(Help::Escaped(text)) => text.unescape(),
            };
            table.note_family(&name, self.kind, self.unit, &help);
        }
    }

    /// The family of a metric: this one if the metric is part of it, else the metric is a family of its own.
    pub(crate) fn of<'m>(&self, metric: &'m str) -> Cow<'m, str> {
        match self.name() {
            Some(name) if self.has(&name, metric) => Cow::Owned(name.into_owned()),
            _ => Cow::Borrowed(metric),
        }
    }

    fn name(&self) -> Option<Cow<'a, str>> {
        let name = std::str::from_utf8(self.name).ok().filter(|name| !name.is_empty())?;
        Some(if name.contains('\\') && !self.is_plain {
            Cow::Owned(name.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\"))
        } else {
            Cow::Borrowed(name)
        })
    }

    fn has(&self, family: &str, metric: &str) -> bool {
        let Some(suffix) = metric.strip_prefix(family) else { return false };
        let allowed: &[&str] = match self.kind {
            MetricKind::Counter => &["_total", "_created"],
            MetricKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
            MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            MetricKind::Summary => &["_sum", "_count", "_created"],
            MetricKind::Info => &["_info"],
            MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[],
        };
        suffix.is_empty() || allowed.contains(&suffix)
    }
}
