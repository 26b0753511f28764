use std::sync::Arc;

use regex::Regex;
use vedette_model::{Histogram, Labels, Timestamp};

use crate::parse_duration;
use crate::promqltest::series::{SequenceValue, parse_series};
use crate::promqltest::starts::parse_starts;

/// A script, ready to run.
#[derive(Debug)]
pub struct Script {
    pub(super) commands: Vec<Command>,
}

/// A line that is no script.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

#[derive(Debug)]
pub(super) enum Command {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

#[derive(Debug)]
pub(super) struct Load {
    pub(super) step_ms: i64,
    pub(super) series: Vec<LoadedSeries>,
    /// Classic histograms are also loaded as native ones.
    pub(super) with_native: bool,
}

/// A series to load.
#[derive(Debug)]
pub(super) struct LoadedSeries {
    pub(super) labels: Labels,
    pub(super) values: Vec<SequenceValue>,
    /// When each value began to count, in milliseconds from its own time. May be shorter.
    pub(super) starts_ms: Vec<Option<i64>>,
}

#[derive(Debug)]
pub(super) struct Eval {
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// `None`: an instant query.
    pub(super) step_ms: Option<i64>,
    /// Steps of the range vector that an instant query should give.
    pub(super) range_vector: Option<(Timestamp, Timestamp, i64)>,
    pub(super) ordered: bool,
    pub(super) fail: Option<Expected>,
    pub(super) warn: Vec<Expected>,
    pub(super) info: Vec<Expected>,
    pub(super) no_warn: bool,
    pub(super) no_info: bool,
    pub(super) string: Option<String>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<(Labels, Vec<SequenceValue>)>,
}

#[derive(Debug)]
pub(super) enum Expected {
    Anything,
    Text(String),
    Pattern(Regex),
}

impl Expected {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Text(wanted) => wanted == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let lines: Vec<&str> = text
            .lines()
            .map(|line| {
                let line = line.trim();
                if line.starts_with('#') { "" } else { line }
            })
            .collect();
        let mut commands = Vec::new();
        let mut next = 0;
        while next < lines.len() {
            let (line, number) = (lines[next], next + 1);
            next += 1;
            if line.is_empty() {
                continue;
            }
            let block = lines[next..].iter().take_while(|line| !line.is_empty()).count();
            let body = &lines[next..next + block];
            let failed = |message: String| ScriptError { line: number, message };
            let word = line.split([' ', '\t']).next().unwrap_or("").to_ascii_lowercase();
            if word == "clear" {
                commands.push(Command::Clear);
            } else if word.starts_with("load") {
                commands.push(Command::Load(parse_load(line, body).map_err(failed)?));
                next += block;
            } else if word.starts_with("eval") {
                let (eval, used) = parse_eval(line, body, number).map_err(failed)?;
                commands.push(Command::Eval(Box::new(eval)));
                next += used;
            } else {
                return Err(failed(format!("invalid command {line:?}")));
            }
        }
        Ok(Self { commands })
    }

    /// The same script with every expectation of a value made wrong: whatever passes now shows that the runner does
    /// not look.
    pub fn with_wrong_values(mut self) -> Self {
        self.evals().for_each(Eval::falsify_value);
        self
    }

    /// The same script with every expectation of a message made wrong: of a failure, a warning or an info, or of none.
    pub fn with_wrong_messages(mut self) -> Self {
        self.evals().for_each(Eval::falsify_messages);
        self
    }

    /// For each evaluation, whether it expects any message, or none.
    pub fn expects_messages(&self) -> Vec<bool> {
        let evals = self.commands.iter().filter_map(|command| match command {
            Command::Eval(eval) => Some(eval.expects_messages()),
            _ => None,
        });
        evals.collect()
    }

    fn evals(&mut self) -> impl Iterator<Item = &mut Eval> {
        self.commands.iter_mut().filter_map(|command| match command {
            Command::Eval(eval) => Some(eval.as_mut()),
            _ => None,
        })
    }

    /// How many evaluations it has.
    pub fn evaluations(&self) -> usize {
        self.commands.iter().filter(|command| matches!(command, Command::Eval(_))).count()
    }
}

fn parse_load(line: &str, body: &[&str]) -> Result<Load, String> {
    let (word, step) = line.split_once([' ', '\t']).ok_or("load without a step")?;
    let mut load = Load {
        step_ms: parse_duration(step.trim())?,
        series: Vec::new(),
        with_native: word.eq_ignore_ascii_case("load_with_nhcb"),
    };
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    for line in body {
        let metric_end = line.find([' ', '\t']).unwrap_or(line.len());
        if let Some(metric) = line[..metric_end].strip_suffix("@st") {
            starts = Some((parse_series(metric)?.0, parse_starts(&line[metric_end..])?));
            continue;
        }
        let (labels, values) = parse_series(line)?;
        let starts_ms = match starts.take() {
            Some((started, _)) if started != labels => {
                return Err(format!("starts of {started:?} are followed by {labels:?}"));
            }
            Some((_, starts_ms)) if starts_ms.len() != values.len() => {
                return Err(format!("{} starts for {} values", starts_ms.len(), values.len()));
            }
            starts => starts.map(|(_, starts_ms)| starts_ms).unwrap_or_default(),
        };
        load.series.push(LoadedSeries { labels, values, starts_ms });
    }
    match starts {
        Some((started, _)) => Err(format!("starts of {started:?} are followed by no values")),
        None => Ok(load),
    }
}

/// Reads an `eval` and gives how many lines of its body it takes.
fn parse_eval(line: &str, body: &[&str], number: usize) -> Result<(Eval, usize), String> {
    let instant = pattern(r"^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$")?;
    let range =
        pattern(r"^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$")?;
    let time = |text: &str| parse_duration(text).map(Timestamp::from_millis);
    let (mode, query, start, end, step_ms) = if let Some(parts) = instant.captures(line) {
        let at = time(parts.get(2).map_or("0", |at| at.as_str()))?;
        (parts.get(1), parts[3].to_owned(), at, at, None)
    } else if let Some(parts) = range.captures(line) {
        let step_ms = parse_duration(&parts[4])?;
        (parts.get(1), parts[5].to_owned(), time(&parts[2])?, time(&parts[3])?, Some(step_ms))
    } else {
        return Err(format!("invalid evaluation {line:?}"));
    };
    let mut eval = Eval {
        line: number,
        query,
        start,
        end,
        step_ms,
        range_vector: None,
        ordered: false,
        fail: None,
        warn: Vec::new(),
        info: Vec::new(),
        no_warn: false,
        no_info: false,
        string: None,
        scalar: None,
        series: Vec::new(),
    };
    if let Some(mode) = mode {
        eval.expect(mode.as_str(), Expected::Anything)?;
    }
    let mut used = 0;
    for line in body {
        used += 1;
        if !eval.parse_line(line)? {
            break;
        }
    }
    Ok((eval, used))
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| error.to_string())
}

impl Eval {
    fn falsify_value(&mut self) {
        if self.fail.take().is_some() {
            return;
        }
        if let Some(text) = &mut self.string {
            text.push('?');
        } else if let Some(value) = &mut self.scalar {
            *value = other(*value);
        } else if let Some(value) = self
            .series
            .iter_mut()
            .flat_map(|(_, values)| values)
            .rfind(|value| !matches!(value, SequenceValue::Omitted))
        {
            value.falsify();
        } else {
            let labels = Labels::from_pairs([("falsified", "yes")]);
            self.series.push((labels, vec![SequenceValue::Value(1.0)]));
        }
    }

    fn falsify_messages(&mut self) {
        if let Some(expected) = &mut self.fail {
            *expected = Expected::Text("no such failure".to_owned());
        }
        for (expected, none) in [(&mut self.warn, &mut self.no_warn), (&mut self.info, &mut self.no_info)] {
            match expected.last_mut() {
                // Where anything would do, nothing is expected.
                Some(Expected::Anything) => {
                    expected.clear();
                    *none = true;
                }
                Some(last) => *last = Expected::Text("no such message".to_owned()),
                None if *none => {
                    expected.push(Expected::Anything);
                    *none = false;
                }
                None => {}
            }
        }
    }

    fn expects_messages(&self) -> bool {
        let Self { fail, warn, info, no_warn, no_info, .. } = self;
        fail.is_some() || !warn.is_empty() || !info.is_empty() || *no_warn || *no_info
    }

    /// Reads a line of the body; whether there may be more.
    fn parse_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(rest) = line.strip_prefix("expect range vector") {
            let words: Vec<_> = rest.split_whitespace().collect();
            let ["from", from, "to", to, "step", step] = words[..] else {
                return Err(format!("invalid range vector definition {line:?}"));
            };
            let time = |text: &str| parse_duration(text).map(Timestamp::from_millis);
            self.range_vector = Some((time(from)?, time(to)?, parse_duration(step)?));
        } else if let Some(literal) = line.strip_prefix("expect string ") {
            match crate::parse(literal).map(|expr| expr.kind) {
                Ok(crate::ExprKind::String(value)) => self.string = Some(value.as_str().to_owned()),
                _ => return Err(format!("invalid string literal {literal:?}")),
            }
        } else if line.split(' ').next() == Some("expect") {
            self.parse_expect(line)?;
        } else if let Some(value) = number(line) {
            self.scalar = Some(value);
            return Ok(false);
        } else {
            self.series.push(parse_series(line)?);
        }
        Ok(true)
    }

    fn parse_expect(&mut self, line: &str) -> Result<(), String> {
        let form = pattern(r"^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$")?;
        let parts = form.captures(line).ok_or_else(|| format!("invalid expect statement {line:?}"))?;
        let text = parts.get(3).map_or("", |text| text.as_str()).trim();
        let expected = match parts.get(2).map(|kind| kind.as_str()) {
            Some("msg") => Expected::Text(text.to_owned()),
            Some(_) => Expected::Pattern(pattern(text)?),
            None => Expected::Anything,
        };
        self.expect(&parts[1], expected)
    }

    fn expect(&mut self, kind: &str, expected: Expected) -> Result<(), String> {
        match kind {
            "ordered" => self.ordered = true,
            "fail" if self.fail.is_some() => return Err("several expect fail lines".to_owned()),
            "fail" => self.fail = Some(expected),
            "warn" => self.warn.push(expected),
            "info" => self.info.push(expected),
            "no_warn" => self.no_warn = true,
            _ => self.no_info = true,
        }
        Ok(())
    }
}

/// A line that is a number alone expects a scalar.
fn number(line: &str) -> Option<f64> {
    let unsigned = line.strip_prefix(['+', '-']).unwrap_or(line);
    let value = crate::syntax::parse_number(unsigned)?;
    Some(if line.starts_with('-') { -value } else { value })
}

impl SequenceValue {
    /// Makes it another value of the same type.
    fn falsify(&mut self) {
        match self {
            Self::Omitted => {}
            Self::Value(value) => *value = other(*value),
            Self::Histogram { histogram, .. } => {
                let sum = other(histogram.sum);
                *histogram = Arc::new(Histogram { sum, ..Histogram::clone(histogram) });
            }
        }
    }
}

/// A value that is certainly another one.
fn other(value: f64) -> f64 {
    if value.is_finite() { value + 1.0 + value.abs() } else { 0.0 }
}
