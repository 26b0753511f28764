//! Numbers and lines for people, as `status` prints them.

use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use vedette_model::Timestamp;

/// Where the second column begins.
const COLUMN: usize = 14;

/// Prints on standard output. Whoever stops reading, as `head` does, has had enough: no error.
pub fn say(text: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Lines of a word and what there is to say of it, one column under the other.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// A line with a word in front.
    pub fn line(&mut self, word: &str, text: impl AsRef<str>) {
        let text = text.as_ref();
        let padding = COLUMN.saturating_sub(word.chars().count()).max(2);
        self.0.push_str(word);
        if !text.is_empty() {
            self.0.extend(std::iter::repeat_n(' ', padding));
            self.0.push_str(text);
        }
        self.0.push('\n');
    }

    /// Lines below the last word: of each the first text is a name, and what follows is in one column.
    pub fn list<'a>(&mut self, items: impl IntoIterator<Item = (&'a str, String)>) {
        let items: Vec<_> = items.into_iter().collect();
        let width = items.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, text) in items {
            let padding = width - name.chars().count() + 2;
            self.0.push_str("  ");
            self.0.push_str(name);
            self.0.extend(std::iter::repeat_n(' ', padding));
            self.0.push_str(&text);
            self.0.push('\n');
        }
    }

    /// How a program is: whether it is well, what keeps it from that, and what is worth a look.
    pub fn health(&mut self, healthy: bool, problems: &[String], notes: &[String]) {
        self.line("health", if healthy { "healthy" } else { "not healthy" });
        self.list(problems.iter().map(|problem| ("problem", problem.clone())));
        self.list(notes.iter().map(|note| ("note", note.clone())));
    }

    /// All lines; nothing at their ends.
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.0.lines().map(str::trim_end).collect();
        lines.join("\n")
    }
}

/// `12.3 MiB`: powers of 1024, which a configuration's `MB` means as well.
pub fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1023.5 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// `1 agent`, `2 agents`.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if thing.ends_with('h') { "es" } else { "s" };
    format!("{number} {thing}{}", if number == 1 { "" } else { plural })
}

/// `350 ms`, `3.2 s`, `5 min`, `2 h`, `29 days`: rounded down.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..=9 => format!("{:.1} s", (span.as_millis() / 100) as f64 / 10.0),
        10..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of seconds as a span; what is no span is none at all.
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// `2026-11-22 14:03 UTC (in 29 days)`, or `(5 min ago)`.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let away = at.millis_since(now);
    let far = span(Duration::from_millis(away.unsigned_abs()));
    let how_far = if away >= 0 { format!("in {far}") } else { format!("{far} ago") };
    format!("{} ({how_far})", date(at))
}

/// `2026-11-22 14:03 UTC`.
///
/// By hand, as that is all that the agent writes of calendars: a library of them would cost it more memory than this.
pub fn date(at: Timestamp) -> String {
    let minutes = at.as_millis().div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    // Years begin in March here, so that the day that not all have is the last; they repeat after 400.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carried) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carried;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut page = Page::default();
        page.line("agent", "web-1");
        page.line("collectors", "2 of 3 work");
        page.list([("cpu", "ok".to_owned()), ("filesystem", String::new())]);
        page.line("a word that is long", "text");
        page.line("", "text");
        let expected = "agent         web-1\ncollectors    2 of 3 work\n  cpu         ok\n  filesystem\n\
                        a word that is long  text\n              text";
        assert_eq!(page.text(), expected);
    }

    #[test]
    fn numbers_are_rounded_to_what_people_read() {
        assert_eq!(
            [0, 1023, 1024, 3 << 19, (1 << 30) - 1, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 GiB", "16384.0 PiB"]
        );
        let spans = [1, 3_250, 59_999, 120_000, 7_200_000, 172_800_000];
        assert_eq!(
            spans.map(|millis| span(Duration::from_millis(millis))),
            ["1 ms", "3.2 s", "59 s", "2 min", "2 h", "2 days"]
        );
        assert_eq!(
            [count(1, "batch"), count(2, "batch"), count(0, "agent")],
            ["1 batch", "2 batches", "0 agents"]
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_795_345_401, "2026-11-22 11:03 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(Timestamp::from_millis(seconds * 1000)), expected);
        }
        let now = Timestamp::from_millis(1_000_000);
        assert_eq!(moment(now.plus_millis(240_000), now), "1970-01-01 00:20 UTC (in 4 min)");
        assert_eq!(moment(now.minus_millis(3_000), now), "1970-01-01 00:16 UTC (3.0 s ago)");
    }
}
