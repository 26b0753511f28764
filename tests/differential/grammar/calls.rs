//! Functions and aggregations.

use rand::RngExt as _;

use super::Grammar;
use super::words::{
    AGGREGATIONS, BOUNDS, DATES, EXACT, HISTOGRAM, MATH, NUMBERED, OVER_TIME, QUANTILES, RANGES, REGEXES,
    REPLACEMENTS, TOP_COUNTS, UNEQUAL,
};

impl Grammar {
    pub(super) fn over_time(&mut self, depth: u32) -> String {
        let matrix = self.matrix(depth);
        match self.random.random_range(0..13) {
            0 => format!("quantile_over_time({}, {matrix})", self.parameter(depth, &QUANTILES)),
            1 => {
                format!(
                    "predict_linear({matrix}, {})",
                    self.parameter(depth, &["60", "-3600", "0", "1h", "time()", "NaN"])
                )
            }
            2 => format!(
                "double_exponential_smoothing({matrix}, {}, {})",
                self.pick(&["0.5", "0.1", "1", "NaN"]),
                self.pick(&["0.5", "0.9", "0"])
            ),
            3 => {
                format!("mad_over_time({}[{}]{})", self.pick(&NUMBERED), self.pick(&RANGES), self.modifiers())
            }
            4 => format!("{}(({matrix}))", self.pick(&OVER_TIME)),
            _ => format!("{}({matrix})", self.pick(&OVER_TIME)),
        }
    }

    fn grouping(&mut self) -> String {
        let labels = match self.random.random_range(0..12) {
            0 => "",
            1 => "a",
            2 => "b",
            3 => "a, b",
            4 => "le",
            5 => "\"x.y\", \"a\"",
            6 => "__name__",
            7 => "a, a,",
            8 => "by, on, sum",
            9 => "'ü', `b`",
            10 => "job, le, a, b",
            _ => "a, none",
        };
        match self.random.random_range(0..3) {
            0 => String::new(),
            1 => format!(" by ({labels})"),
            _ => format!(" without ({labels})"),
        }
    }

    pub(super) fn aggregation(&mut self, depth: u32) -> String {
        let (mut grouping, vector) = (self.grouping(), self.vector(depth));
        let (name, arguments) = match self.random.random_range(0..14) {
            0 | 1 => {
                let name = self.pick(&["topk", "bottomk"]);
                let count = self.parameter(depth, &TOP_COUNTS);
                (name, format!("{count}, {}{}", self.pick(&UNEQUAL), self.modifiers()))
            }
            2 => ("quantile", format!("{}, {vector}", self.parameter(depth, &QUANTILES))),
            3 => {
                let label = self.pick(&["v", "a", "le", "x.y", "", "__name__", "ü", "1 a"]);
                ("count_values", format!("\"{label}\", {}{}", self.pick(&EXACT), self.modifiers()))
            }
            4 => ("limitk", format!("{}, {vector}", self.pick(&["0", "1000", "-1", "1e30", "NaN"]))),
            5 => {
                let ratio =
                    self.parameter(depth, &["0.5", "-0.5", "1", "0", "-1", "0.1", "1.5", "-2", "NaN"]);
                ("limit_ratio", format!("{ratio}, {vector}"))
            }
            _ => match self.pick(&AGGREGATIONS) {
                // Their rounding depends on the order of series, which for Prometheus is that of a map unless they come
                // from storage, and shows where all are nearly equal.
                name @ ("stddev" | "stdvar") => {
                    (name, format!("{}{}", self.pick(&NUMBERED), self.modifiers()))
                }
                name => (name, vector),
            },
        };
        // The order of groups is nobody's.
        if self.one_in(4) && !grouping.is_empty() {
            return format!("{name} ({arguments}){grouping}");
        }
        grouping.push(' ');
        format!("{name}{grouping}({arguments})")
    }

    pub(super) fn function(&mut self, depth: u32) -> String {
        let vector = self.vector(depth);
        match self.random.random_range(0..20) {
            0 => format!("clamp({vector}, {}, {})", self.number(), self.scalar(depth.min(1))),
            1 => format!("clamp_min({vector}, {})", self.scalar(depth)),
            2 => format!("clamp_max({vector}, {})", self.scalar(depth)),
            3 => format!("histogram_quantile({}, {vector})", self.parameter(depth, &QUANTILES)),
            4 => format!(
                "label_replace({vector}, \"{}\", \"{}\", \"{}\", \"{}\")",
                self.pick(&["a", "b", "new", "__name__", "x.y", "le", "ü", ""]),
                self.pick(&REPLACEMENTS),
                self.pick(&["a", "b", "none", "__name__", "x.y", "a b"]),
                self.capture()
            ),
            5 => format!(
                "label_join({vector}, \"{}\", \"{}\"{})",
                self.pick(&["a", "new", "__name__", "x.y", "ü", ""]),
                self.pick(&["-", "", "ü", "\\n"]),
                self.pick(&[
                    ", \"a\", \"b\"",
                    ", \"a\"",
                    "",
                    ", \"none\", \"\"",
                    ", \"a\", \"a\", \"x.y\"",
                    ", \"__name__\", \"le\""
                ])
            ),
            6 => format!("vector({})", self.scalar(depth)),
            7 => format!("{}({})", self.pick(&DATES), if self.one_in(6) { "" } else { vector.as_str() }),
            8 => {
                let nearest = ["0.1", "5", "0", "-1", "NaN", "1e300", "1e-300"];
                format!("round({vector}, {})", self.parameter(depth, &nearest))
            }
            9 => format!("absent_over_time({})", self.matrix(depth)),
            10 => {
                let rate = self.pick(&["rate", "increase", "irate", "delta"]);
                format!(
                    "histogram_quantile(0.9, sum by (le, a) ({rate}(lat_bucket[{}])))",
                    self.pick(&RANGES)
                )
            }
            11 => {
                let metric =
                    self.pick(&["lat_bucket", "lat_bucket", "native", "native_custom", "native_gauge"]);
                format!("histogram_quantile({}, {metric}{})", self.pick(&QUANTILES), self.modifiers())
            }
            12 => format!("absent({vector})"),
            13 if self.one_in(3) => {
                // Not in the first bucket, where the releases differ.
                let bounds = ["-Inf", "0.1", "0.7", "1", "+Inf", "NaN", "100", "2.5"];
                let (lower, upper) = (self.pick(&bounds), self.pick(&bounds));
                format!("histogram_fraction({lower}, {upper}, lat_bucket{})", self.modifiers())
            }
            13 => format!("{}({vector})", self.pick(&HISTOGRAM)),
            14 => self.of_histogram(),
            15 => format!(
                "{}({}{}, \"b\"{})",
                self.pick(&["sort_by_label", "sort_by_label_desc"]),
                self.pick(&["gauge", "counter_total", "small"]),
                self.modifiers(),
                self.pick(&["", ", \"a\""])
            ),
            // Of other times newer releases take the information of these.
            16 => format!(
                "info({}{})",
                self.pick(&["gauge", "counter_total", "rate(counter_total[5m])", "sum by (job, a) (small)"]),
                self.pick(&[
                    "",
                    ", {version=\"1\"}",
                    ", {version=~\".+\"}",
                    ", {version=\"2\"}",
                    ", {a=\"1\"}"
                ])
            ),
            _ => match self.pick(&MATH) {
                "scalar_vector" => format!("vector(scalar({vector}))"),
                name => format!("{name}({vector})"),
            },
        }
    }

    /// One of these, or what changes from step to step.
    fn parameter(&mut self, depth: u32, words: &[&'static str]) -> String {
        if self.one_in(8) { self.scalar(depth) } else { self.pick(words).to_owned() }
    }

    /// What of a label is found again in its replacement.
    fn capture(&mut self) -> &'static str {
        if self.one_in(4) {
            return self.pick(&REGEXES);
        }
        self.pick(&[
            "(.*)",
            "(.)(.*)",
            "1",
            "x+",
            "(?P<n>.+)",
            "",
            "(",
            "(x)?(y)?",
            "(?:x|y)(.?)",
            "((a)|(x))+",
        ])
    }

    /// What is asked of native histograms.
    fn of_histogram(&mut self) -> String {
        let metric = self.pick(&["native", "native_gauge", "native_custom", "native_layouts"]);
        let (range, rate) =
            (self.pick(&["1m", "5m", "10m"]), self.pick(&["rate", "increase", "irate", "delta", "idelta"]));
        let vector = match self.random.random_range(0..5) {
            0 => metric.to_owned(),
            1 => format!("{rate}({metric}[{range}])"),
            2 => format!("sum{} ({rate}({metric}[{range}]))", self.grouping()),
            3 => format!("{}{} ({metric})", self.pick(&["sum", "avg"]), self.grouping()),
            _ => format!(
                "{}({metric}[{range}])",
                self.pick(&["sum_over_time", "avg_over_time", "last_over_time"])
            ),
        };
        match self.random.random_range(0..6) {
            0 | 1 => format!("histogram_quantile({}, {vector})", self.pick(&QUANTILES)),
            2 => {
                format!("histogram_fraction({}, {}, {vector})", self.pick(&BOUNDS), self.pick(&BOUNDS))
            }
            3 => format!("{}({vector})", self.pick(&HISTOGRAM)),
            4 => format!(
                "({vector} {} {})",
                self.pick(&["*", "/", "+", "-", "==", "!="]),
                self.pick(&["2", "0", "-1", metric])
            ),
            _ => vector,
        }
    }
}
