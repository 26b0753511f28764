//! Log lines as Prometheus writes them: `time=… level=info msg="…" key=value`, or the same as JSON.
//!
//! Where the journal reads them, its priority stands in front (`<4>`, sd-daemon(3)), which it takes off: so
//! `journalctl --priority=warning` shows what it should.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, reload};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time=… level=info msg=…`.
    Logfmt,
    /// The same as an object a line.
    Json,
}

/// Sets the level of a running program.
#[derive(Clone)]
pub struct LogLevel(reload::Handle<LevelFilter, Registry>);

impl LogLevel {
    /// Lines less urgent than `level` are left out from now on.
    pub fn set(&self, level: Level) {
        if let Err(error) = self.0.reload(LevelFilter::from_level(level)) {
            tracing::warn!(%error, "can not change the level of the log");
        }
    }
}

/// Sends log lines to standard error from now on.
pub fn start(format: LogFormat, level: Level) -> LogLevel {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let layer = tracing_subscriber::fmt::layer()
        .event_format(Lines { format, is_journal: is_journal() })
        .with_writer(std::io::stderr)
        .with_filter(tracing_subscriber::filter::filter_fn(is_wanted));
    // Fails only where a subscriber is set already.
    tracing_subscriber::registry().with(filter).with(layer).try_init().ok();
    LogLevel(handle)
}

/// Says why a command fails: `error: …` on standard error.
pub fn complain(problem: impl fmt::Display) {
    let priority = if is_journal() { priority(Level::ERROR) } else { "" };
    // There is nobody left to tell.
    writeln!(std::io::stderr(), "{priority}error: {problem}").ok();
}

/// Whether standard error is what the service manager has connected to the journal.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(file) = rustix::fs::fstat(std::io::stderr()) else { return false };
    stream == format!("{}:{}", file.st_dev, file.st_ino)
}

/// As syslog(3) counts them.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Libraries speak up only when something is wrong.
fn is_wanted(metadata: &tracing::Metadata<'_>) -> bool {
    is_own(metadata.target()) || *metadata.level() <= Level::WARN
}

fn is_own(target: &str) -> bool {
    target.starts_with("vedette")
}

struct Lines {
    format: LogFormat,
    is_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let head = [("time", time.as_str()), ("level", level), ("msg", fields.message.as_str())];
        let rest = fields.others.iter().map(|(name, value)| (*name, value.as_str()));
        let target = event.metadata().target();
        let library = (!is_own(target)).then_some(("library", target));
        let line = print(self.format, head.into_iter().chain(rest).chain(library));
        let priority = if self.is_journal { priority(*event.metadata().level()) } else { "" };
        writeln!(writer, "{priority}{line}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.push((field.name(), value.to_owned()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn print<'a>(format: LogFormat, fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut line = String::with_capacity(128);
    for (index, (name, value)) in fields.enumerate() {
        match format {
            LogFormat::Logfmt => {
                line.push_str(if index == 0 { "" } else { " " });
                line.push_str(name);
                line.push('=');
                let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
                if !value.is_empty() && value.bytes().all(is_plain) {
                    line.push_str(value);
                } else {
                    push_quoted(&mut line, value);
                }
            }
            LogFormat::Json => {
                line.push(if index == 0 { '{' } else { ',' });
                push_quoted(&mut line, name);
                line.push(':');
                push_quoted(&mut line, value);
            }
        }
    }
    if format == LogFormat::Json {
        line.push('}');
    }
    line
}

/// As JSON has it, which logfmt readers take as well.
fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            // Writing to a string does not fail.
            control if control.is_control() => {
                write!(line, "\\u{:04x}", u32::from(control)).unwrap_or_default()
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_where_they_must_be() {
        let fields =
            || [("time", "2026-01-01T00:00:00Z"), ("msg", "a \"b\"\n"), ("x", "1"), ("e", "")].into_iter();
        let logfmt = "time=2026-01-01T00:00:00Z msg=\"a \\\"b\\\"\\n\" x=1 e=\"\"";
        assert_eq!(print(LogFormat::Logfmt, fields()), logfmt);
        let json = r#"{"time":"2026-01-01T00:00:00Z","msg":"a \"b\"\n","x":"1","e":""}"#;
        assert_eq!(print(LogFormat::Json, fields()), json);
    }
}
