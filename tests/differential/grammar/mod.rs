//! Random queries, by PromQL's grammar and by breaking it.
//!
//! Left out is what has no one answer: `limitk` takes what storage happens to give first, and `topk` does of equal values.

mod binary;
mod broken;
mod calls;
pub(crate) mod words;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use words::{
    ARITHMETIC, CAPITALS, COMPARISON, LABELS, METRICS, NUMBER_FORMS, NUMBERS, OFFSETS, RANGES, REGEXES,
    STEPS, STRING_FORMS,
};

/// Makes queries. The same seed makes the same ones.
pub(crate) struct Grammar {
    random: StdRng,
}

impl Grammar {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    /// The next query: one in six is broken, or of the wrong type somewhere.
    pub(crate) fn query(&mut self) -> String {
        let depth = self.random.random_range(0..4);
        let query = match self.random.random_range(0..20) {
            0 => self.scalar(depth),
            1 => self.matrix(depth),
            _ => self.vector(depth),
        };
        let query = if self.one_in(6) { self.broken(query) } else { query };
        if self.one_in(12) { self.respelled(&query) } else { query }
    }

    /// The same in capitals, with other spaces, and with comments: not where it stands in quotes.
    fn respelled(&mut self, query: &str) -> String {
        let mut parts: Vec<String> = Vec::new();
        for (place, part) in query.split('"').enumerate() {
            if place % 2 == 1 || part.contains(['\'', '`']) {
                parts.push(part.to_owned());
                continue;
            }
            let words = part.split(' ').map(|word| match CAPITALS.iter().find(|small| **small == word) {
                Some(_) if self.one_in(2) => word.to_uppercase(),
                _ => word.to_owned(),
            });
            let words: Vec<_> = words.collect();
            let space = self.pick(&["  ", "\n", "\t", " # a comment: \"'`\n", "\r\n", " #\n "]);
            parts.push(words.join(space));
        }
        parts.join("\"")
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_ratio(1, count)
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn number(&mut self) -> String {
        let forms: &[&str] = if self.one_in(40) { &NUMBER_FORMS } else { &NUMBERS };
        self.pick(forms).to_owned()
    }

    fn scalar(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.number();
        }
        match self.random.random_range(0..7) {
            0 | 1 => self.number(),
            2 => "time()".to_owned(),
            3 => "pi()".to_owned(),
            4 => format!("scalar({})", self.vector(depth - 1)),
            5 => format!("-({})", self.scalar(depth - 1)),
            _ => {
                let (left, right) = (self.scalar(depth - 1), self.scalar(depth - 1));
                if self.one_in(3) {
                    format!("({left} {} bool {right})", self.pick(&COMPARISON))
                } else {
                    format!("({left} {} {right})", self.pick(&ARITHMETIC))
                }
            }
        }
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.instant_selector();
        }
        match self.random.random_range(0..17) {
            0 | 1 => self.instant_selector(),
            2..=4 => self.over_time(depth - 1),
            5..=7 => self.aggregation(depth - 1),
            8..=11 => self.binary(depth - 1),
            12..=14 => self.function(depth - 1),
            15 => format!("{}{}", self.pick(&["-", "+", "- -"]), self.vector(depth - 1)),
            _ => format!("({})", self.vector(depth - 1)),
        }
    }

    // Selectors.

    fn matcher(&mut self) -> String {
        match self.random.random_range(0..9) {
            0 => "a=\"1\"".to_owned(),
            1 => "a!=\"1\"".to_owned(),
            2 => format!("{}=~\"{}\"", self.pick(&LABELS), self.pick(&REGEXES[..11])),
            3 => format!("{}!~\"{}\"", self.pick(&LABELS), self.pick(&REGEXES[..11])),
            4 => format!("{}{}\"\"", self.pick(&LABELS), self.pick(&["=", "!=", "=~", "!~"])),
            5 => format!("\"{}\"=~\".+\"", self.pick(&["a", "x.y", "none"])),
            6 if self.one_in(4) => {
                format!("{}{}{}", self.pick(&LABELS), self.pick(&["=", "!="]), self.pick(&STRING_FORMS))
            }
            7 if self.one_in(4) => format!("b=~\"{}\"", self.pick(&REGEXES)),
            _ => "b!=\"y\"".to_owned(),
        }
    }

    fn selector(&mut self) -> String {
        let count = [0, 0, 0, 1, 1, 2][self.random.random_range(0..6)];
        let mut matchers: Vec<_> = (0..count).map(|_| self.matcher()).collect();
        // With two of one label `absent` depends on how Prometheus' storage has sorted them meanwhile.
        let label = |matcher: &str| matcher.split(['=', '!']).next().map(str::to_owned);
        if count == 2 && label(&matchers[0]) == label(&matchers[1]) && !matchers[1].contains('~') {
            matchers.pop();
        }
        let list = matchers.join(self.pick(&[",", ", ", " , "]));
        let more = if list.is_empty() { String::new() } else { format!(", {list}") };
        match self.random.random_range(0..34) {
            0 => format!("{{\"utf8.näme\"{more}}}"),
            1 => "{\"utf8.näme\", \"x.y\"!=\"\"}".to_owned(),
            2 => format!("{{__name__=~\"gauge|small\"{more}}}"),
            3 => format!("{{__name__=~\"lat_.+\", a=\"1\"{more}}}"),
            4 => format!("{{a=\"1\", b=\"x\"{more}}}"),
            5 => format!("{{\"{}\"{more},}}", self.pick(&METRICS)),
            6 => format!("{{__name__=\"{}\"{more}}}", self.pick(&METRICS)),
            7 => format!("{{{list}}}"),
            _ if list.is_empty() => self.pick(&METRICS).to_owned(),
            _ => format!("{}{{{list}}}", self.pick(&METRICS)),
        }
    }

    fn modifiers(&mut self) -> String {
        let at = match self.random.random_range(0..32) {
            0 => " @ start()",
            1 => " @ end()",
            2 => " @ 1795300000",
            3 => " @ 1.7953e9",
            4 => " @ -5",
            5 => " @ 1795300000.0005",
            6 => " @ 0x6b02bfe0",
            _ => "",
        };
        let offset = if self.one_in(5) { format!(" offset {}", self.pick(&OFFSETS)) } else { String::new() };
        if self.one_in(2) { format!("{at}{offset}") } else { format!("{offset}{at}") }
    }

    fn instant_selector(&mut self) -> String {
        format!("{}{}", self.selector(), self.modifiers())
    }

    fn matrix(&mut self, depth: u32) -> String {
        if depth == 0 || !self.one_in(4) {
            // What stands before the range is refused, but for a few forms.
            let early = if self.one_in(60) { self.modifiers() } else { String::new() };
            return format!("{}{early}[{}]{}", self.selector(), self.pick(&RANGES), self.modifiers());
        }
        let inner = if self.one_in(4) { self.scalar_vector(depth - 1) } else { self.vector(depth - 1) };
        let (range, step) = (self.pick(&["1m", "5m", "10m", "77s", "300", "7s"]), self.pick(&STEPS));
        format!("({inner})[{range}:{step}]{}", self.modifiers())
    }

    /// What changes from step to step.
    fn scalar_vector(&mut self, depth: u32) -> String {
        format!("vector({})", self.scalar(depth.max(1)))
    }
}
