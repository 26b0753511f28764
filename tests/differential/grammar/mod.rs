//! Random queries, by PromQL's grammar and by breaking it.
//!
//! Left out is what has no one answer: `limitk` takes what storage happens to give first; `sort_by_label` has no order
//! where a label is missing, and warns of ranges only in releases after 3.5.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Makes queries. The same seed makes the same ones.
pub(crate) struct Grammar {
    random: StdRng,
}

const METRICS: [&str; 11] = [
    "native",
    "native",
    "gauge",
    "counter_total",
    "small",
    "sparse",
    "weird",
    "lat_bucket",
    "lat_sum",
    "lat_count",
    "absent_one",
];
const LABELS: [&str; 5] = ["a", "b", "le", "job", "none"];
const RANGES: [&str; 7] = ["15s", "1m", "90s", "5m", "10m", "1h", "1s"];
const OFFSETS: [&str; 5] = ["30s", "1m", "-1m", "7m", "1h"];
const NUMBERS: [&str; 14] =
    ["0", "1", "2", "-1", "0.5", "3.7", "1e9", "-2.5", "NaN", "Inf", "-Inf", "100", "0x1F", "1m"];
const OVER_TIME: [&str; 27] = [
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
    "changes",
    "resets",
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "mad_over_time",
    "rate",
    "increase",
    "delta",
    "avg_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "sum_over_time",
];
const MATH: [&str; 29] = [
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "sin",
    "sinh",
    "tan",
    "tanh",
    "deg",
    "rad",
    "round",
    "timestamp",
    "absent",
    "sort",
    "sort_desc",
    "scalar_vector",
];
const DATES: [&str; 8] =
    ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];
const AGGREGATIONS: [&str; 8] = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISON: [&str; 6] = ["==", "!=", "<", ">", "<=", ">="];
const SETS: [&str; 3] = ["and", "or", "unless"];

impl Grammar {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed) }
    }

    /// The next query: one in eight is broken, or of the wrong type somewhere.
    pub(crate) fn query(&mut self) -> String {
        let depth = self.random.random_range(0..4);
        let query = match self.random.random_range(0..20) {
            0 => self.scalar(depth),
            1 => self.matrix(depth),
            _ => self.vector(depth),
        };
        if self.one_in(8) { self.broken(query) } else { query }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_ratio(1, count)
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words.choose(&mut self.random).copied().unwrap_or_default()
    }

    fn number(&mut self) -> String {
        self.pick(&NUMBERS).to_owned()
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
        match self.random.random_range(0..16) {
            0 | 1 => self.instant_selector(),
            2..=4 => self.over_time(depth - 1),
            5..=7 => self.aggregation(depth - 1),
            8..=11 => self.binary(depth - 1),
            12 | 13 => self.function(depth - 1),
            14 => format!("-{}", self.instant_selector()),
            _ => format!("({})", self.vector(depth - 1)),
        }
    }

    fn selector(&mut self) -> String {
        let matchers = match self.random.random_range(0..8) {
            0 => "{a=\"1\"}".to_owned(),
            1 => "{a!=\"1\"}".to_owned(),
            2 => format!(
                "{{{}=~\"{}\"}}",
                self.pick(&LABELS),
                self.pick(&["1|2", ".+", ".*", "", "[12]", "x.*", "(?i:X)"])
            ),
            3 => format!("{{{}!~\"{}\"}}", self.pick(&LABELS), self.pick(&["1|2", ".+", ".*", "", "[12]"])),
            4 => "{a=~\"[0-2]\", b!=\"y\"}".to_owned(),
            _ => String::new(),
        };
        match self.random.random_range(0..30) {
            0 => "{\"utf8.näme\"}".to_owned(),
            1 => "{\"utf8.näme\", \"x.y\"!=\"\"}".to_owned(),
            2 => "{__name__=~\"gauge|small\"}".to_owned(),
            3 => "{__name__=~\"lat_.+\", a=\"1\"}".to_owned(),
            4 => "{a=\"1\", b=\"x\"}".to_owned(),
            _ => format!("{}{matchers}", self.pick(&METRICS)),
        }
    }

    fn modifiers(&mut self) -> String {
        let at = match self.random.random_range(0..24) {
            0 => " @ start()",
            1 => " @ end()",
            2 => " @ 1795300000",
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
            return format!("{}[{}]{}", self.selector(), self.pick(&RANGES), self.modifiers());
        }
        let inner = self.vector(depth - 1);
        let step = self.pick(&["", "15s", "1m", "7s"]);
        format!("({inner})[{}:{step}]{}", self.pick(&["1m", "5m", "10m"]), self.modifiers())
    }

    fn over_time(&mut self, depth: u32) -> String {
        let matrix = self.matrix(depth);
        match self.random.random_range(0..12) {
            0 => format!(
                "quantile_over_time({}, {matrix})",
                self.pick(&["0.5", "0.9", "-1", "2", "NaN", "0", "1"])
            ),
            1 => format!("predict_linear({matrix}, {})", self.pick(&["60", "-3600", "0"])),
            2 => format!(
                "double_exponential_smoothing({matrix}, {}, {})",
                self.pick(&["0.5", "0.1"]),
                self.pick(&["0.5", "0.9"])
            ),
            _ => format!("{}({matrix})", self.pick(&OVER_TIME)),
        }
    }

    fn grouping(&mut self) -> String {
        let labels = match self.random.random_range(0..6) {
            0 => "",
            1 => "a",
            2 => "b",
            3 => "a, b",
            4 => "le",
            _ => "a, none",
        };
        match self.random.random_range(0..3) {
            0 => String::new(),
            1 => format!(" by ({labels})"),
            _ => format!(" without ({labels})"),
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let (grouping, vector) = (self.grouping(), self.vector(depth));
        match self.random.random_range(0..14) {
            0 | 1 => {
                let name = self.pick(&["topk", "bottomk"]);
                let (count, modifiers) = (self.pick(&["1", "2", "3", "0", "-1", "100"]), self.modifiers());
                format!("{name}{grouping} ({count}, gauge{modifiers})")
            }
            2 => format!("quantile{grouping} ({}, {vector})", self.pick(&["0.5", "0.9", "-1", "2", "NaN"])),
            3 => format!("count_values{grouping} (\"{}\", {vector})", self.pick(&["v", "a", "le"])),
            4 => format!("limitk{grouping} ({}, {vector})", self.pick(&["0", "1000"])),
            5 => format!("limit_ratio{grouping} ({}, {vector})", self.pick(&["0.5", "-0.5", "1"])),
            _ => format!("{}{grouping} ({vector})", self.pick(&AGGREGATIONS)),
        }
    }

    fn matching(&mut self) -> String {
        let labels = self.pick(&["a", "b", "a, b", "job", "", "none"]);
        let on = match self.random.random_range(0..5) {
            0 => format!(" on ({labels})"),
            1 => format!(" ignoring ({labels})"),
            _ => return String::new(),
        };
        match self.random.random_range(0..6) {
            0 => format!("{on} group_left ({})", self.pick(&["", "b", "job"])),
            1 => format!("{on} group_right ({})", self.pick(&["", "b", "job"])),
            _ => on,
        }
    }

    fn binary(&mut self, depth: u32) -> String {
        let left = self.vector(depth);
        match self.random.random_range(0..8) {
            0 => {
                let on = self.pick(&["", " on (a)", " ignoring (b)", " on ()", " on (a, b)"]);
                format!("({left} {}{on} {})", self.pick(&SETS), self.vector(depth))
            }
            1 => format!("({left} {}{} {})", self.pick(&ARITHMETIC), self.matching(), self.vector(depth)),
            2 => {
                format!("({left} {} bool{} {})", self.pick(&COMPARISON), self.matching(), self.vector(depth))
            }
            3 => format!("({left} {}{} {left})", self.pick(&COMPARISON), self.matching()),
            4 => format!("({left} {} {left})", self.pick(&ARITHMETIC)),
            5 => format!("({left} {} {})", self.pick(&ARITHMETIC), self.scalar(depth)),
            6 => format!("({} {} {left})", self.scalar(depth), self.pick(&COMPARISON)),
            _ => format!("({left} {} {})", self.pick(&COMPARISON), self.scalar(depth)),
        }
    }

    fn function(&mut self, depth: u32) -> String {
        let vector = self.vector(depth);
        match self.random.random_range(0..16) {
            0 => format!("clamp({vector}, {}, {})", self.number(), self.number()),
            1 => format!("clamp_min({vector}, {})", self.scalar(depth)),
            2 => format!("clamp_max({vector}, {})", self.scalar(depth)),
            3 => format!("histogram_quantile({}, {vector})", self.pick(&["0.5", "0.99", "-1", "2", "NaN"])),
            4 => format!(
                "label_replace({vector}, \"{}\", \"{}\", \"{}\", \"{}\")",
                self.pick(&["a", "new", "__name__", "x.y"]),
                self.pick(&["$1-x", "", "v", "${1}$2"]),
                self.pick(&["a", "b", "none", "__name__"]),
                self.pick(&["(.*)", "(.)(.*)", "1", "x+"])
            ),
            5 => format!(
                "label_join({vector}, \"{}\", \"{}\", \"a\", \"b\")",
                self.pick(&["a", "new", "__name__"]),
                self.pick(&["-", ""])
            ),
            6 => format!("vector({})", self.scalar(depth)),
            7 => format!("{}({vector})", self.pick(&DATES)),
            8 => format!("round({vector}, {})", self.pick(&["0.1", "5", "0", "-1", "NaN"])),
            9 => format!("absent_over_time({})", self.matrix(depth)),
            10 => {
                format!("histogram_quantile(0.9, sum by (le, a) (rate(lat_bucket[{}])))", self.pick(&RANGES))
            }
            11 => format!(
                "histogram_quantile({}, lat_bucket{})",
                self.pick(&["0.1", "0.5", "1"]),
                self.modifiers()
            ),
            12 => format!("absent({vector})"),
            13 => format!(
                "{}({vector})",
                self.pick(&[
                    "histogram_count",
                    "histogram_sum",
                    "histogram_avg",
                    "histogram_stddev",
                    "histogram_stdvar"
                ])
            ),
            _ => match self.pick(&MATH) {
                "scalar_vector" => format!("vector(scalar({vector}))"),
                name => format!("{name}({vector})"),
            },
        }
    }

    /// A query with something wrong in it, most of the time.
    fn broken(&mut self, query: String) -> String {
        let characters: Vec<char> = query.chars().collect();
        let place = self.random.random_range(0..characters.len().max(1));
        let (before, after) = characters.split_at(place.min(characters.len()));
        let text = |characters: &[char]| characters.iter().collect::<String>();
        match self.random.random_range(0..6) {
            0 => text(before),
            1 => format!("{}{}", text(before), text(after.get(1..).unwrap_or_default())),
            2 => {
                let odd = self.pick(&[
                    "(", ")", "[", "]", "{", "}", ",", "by", "\"", "==", "@", "offset", "#", "5m", "é",
                    "bool", "\\", ":",
                ]);
                format!("{}{odd}{}", text(before), text(after))
            }
            3 => format!("rate({query})"),
            4 => format!("({query}) and 1"),
            _ => format!("{query}[5m]"),
        }
    }
}
