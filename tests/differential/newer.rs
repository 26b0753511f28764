//! Where Vedette is to answer otherwise than Prometheus 3.5: what newer releases changed, whose scripts are the reference
//! of the language. Each is as narrow as can be, and checked rather than passed over.

use anyhow::{Result, ensure};
use serde_json::Value;
use vedette_tests::Api;
use vedette_tests::compare::{Question, Reply, Times};

/// Functions that came after 3.5, or words that became some.
const FUNCTIONS: [&str; 6] = ["start", "end", "step", "range", "first_over_time", "start_timestamp"];
/// For these buckets of histograms are not read. 3.5 then knows no layout, and does so only for the first selector, and not
/// where the function is the outermost.
const OF_SUMS: [&str; 3] = ["histogram_count", "histogram_sum", "histogram_avg"];

/// A question with its two replies.
pub(crate) struct Asked<'a> {
    pub(crate) question: &'a Question,
    pub(crate) theirs: &'a Reply,
    pub(crate) ours: &'a Reply,
}

type Test = fn(&Asked<'_>) -> bool;

/// Changes, and how to tell them.
const CHANGES: [(&str, Test); 13] = [
    ("the language has grown", |asked| {
        asked.theirs.status == 400 && is_newer_language(&asked.question.query)
    }),
    // No change: to Prometheus' storage every series has a label without a name, to its matchers none has.
    ("no label is without a name", |asked| asked.asks_any(&["\"\"=~"]) && !asked.theirs.is_error()),
    ("durations may be computed", |asked| {
        asked.theirs.status == 400 && told(asked.theirs, "experimental duration expression is not enabled")
    }),
    ("a letter in brackets is no colon", |asked| {
        !asked.theirs.is_error()
            && asked.question.query.contains('[')
            && told(asked.ours, "unexpected character in duration")
    }),
    ("series that become one are one where they are not there at the same step", |asked| {
        let has_steps =
            matches!(asked.question.times, Times::Range { .. }) || asked.question.query.contains(':');
        has_steps
            && told(asked.theirs, "cannot contain metrics with the same labelset")
            && !asked.ours.is_error()
    }),
    ("a wrong parameter is refused even where nothing is aggregated", |asked| {
        let wrong = ["Parameter value is NaN", "Ratio value is NaN", "flows int64"];
        let ratio = "ratio value should be between -1 and 1";
        (warned(asked.ours, ratio) && !warned(asked.theirs, ratio))
            || !asked.theirs.is_error()
                && asked.ours.status == 422
                && wrong.iter().any(|text| told(asked.ours, text))
    }),
    ("histograms whose counter resets collide are told of", |asked| {
        let text = "conflicting counter resets during";
        warned(asked.ours, text) && !warned(asked.theirs, text)
    }),
    (
        "histograms whose buckets do not fit are not added up, even where only their sums are asked for",
        |asked| {
            let text = "mix of histograms with exponential and custom buckets";
            warned(asked.ours, text) && !warned(asked.theirs, text) && asked.asks_any(&OF_SUMS)
        },
    ),
    ("both sides of a comparison have their buckets, or neither has", |asked| {
        asked.asks_any(&OF_SUMS) && asked.asks_any(&["==", "!="]) && asked.asks_any(&["native"])
    }),
    ("resets of what is no counter are looked for in counts, where only sums are asked for", |asked| {
        let text = "this native histogram metric is not a counter";
        warned(asked.ours, text) && warned(asked.theirs, text) && asked.asks_any(&OF_SUMS)
    }),
    ("a name that is taken over from the other side stays", |asked| {
        let takes_over = ["group_left (__name__)", "group_right (__name__)"];
        asked.asks_any(&["bool"]) && asked.asks_any(&takes_over) && !asked.ours.is_error()
    }),
    ("what lies in a first bucket without a lower end is a number", |asked| {
        asked.asks_any(&["histogram_fraction"]) && asked.has_numbers_for_nan()
    }),
    ("a negative histogram is a gauge", |asked| {
        let is_negated = asked.asks_any(&["-"]) && asked.asks_any(&[":"]);
        let tells = |one: &Reply, other: &Reply, text: &str| warned(one, text) && !warned(other, text);
        is_negated
            && (tells(asked.ours, asked.theirs, "this native histogram metric is not a counter")
                || tells(asked.theirs, asked.ours, "this native histogram metric is not a gauge"))
    }),
];

/// Why the replies to a question may differ; `None` when they may not.
pub(crate) fn reason(
    question: &Question,
    theirs: &Reply,
    ours: &Reply,
    prometheus: &Api,
) -> Result<Option<&'static str>> {
    let asked = Asked { question, theirs, ours };
    if let Some(change) = change(&asked) {
        return Ok(Some(change));
    }
    if asked.is_overwritten(prometheus)? {
        return Ok(Some("histograms of a subquery are copied, and no later query writes over what it reads"));
    }
    if asked.is_name_kept() {
        return Ok(Some("a name that was to be removed at the end stays to be removed"));
    }
    if asked.is_hidden_duplicate(prometheus)? {
        return Ok(Some("a comparison finds two partners even where it filters both"));
    }
    Ok(None)
}

/// Which of [`CHANGES`] it is.
pub(crate) fn change(asked: &Asked<'_>) -> Option<&'static str> {
    CHANGES.iter().find(|(_, is_it)| is_it(asked)).map(|(change, _)| *change)
}

fn told(reply: &Reply, text: &str) -> bool {
    reply.body["error"].as_str().is_some_and(|error| error.contains(text))
}

fn warned(reply: &Reply, text: &str) -> bool {
    reply.body["warnings"].to_string().contains(text)
}

/// Whether it calls a function, or has an operator, that came after 3.5.
fn is_newer_language(query: &str) -> bool {
    let calls = |name: &&str| {
        query.match_indices(*name).any(|(at, _)| {
            let (before, after) = (query[..at].trim_end(), query[at + name.len()..].trim_start());
            after.starts_with('(')
                && !before.ends_with('@')
                && !query[..at].ends_with(|character: char| character.is_alphanumeric() || character == '_')
        })
    };
    FUNCTIONS.iter().any(calls) || query.contains("</") || query.contains(">/")
}

impl Asked<'_> {
    fn asks_any(&self, words: &[&str]) -> bool {
        let query = self.question.query.to_lowercase();
        let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
        words.iter().any(|word| query.contains(word))
    }

    /// Whether the replies differ in nothing but that Vedette has numbers where Prometheus has NaN.
    fn has_numbers_for_nan(&self) -> bool {
        let mut ours = self.ours.clone();
        let theirs = self.theirs.body["data"]["result"].as_array();
        let result = ours.body.pointer_mut("/data/result");
        for series in result.and_then(Value::as_array_mut).into_iter().flatten() {
            let other = theirs.into_iter().flatten().find(|other| other["metric"] == series["metric"]);
            let Some(other) = other else { return false };
            let count = other["values"].as_array().map_or(0, Vec::len);
            for place in (0..count).map(|at| format!("/values/{at}/1")).chain(["/value/1".to_owned()]) {
                if other.pointer(&place).is_some_and(|value| value == "NaN")
                    && let Some(value) = series.pointer_mut(&place)
                {
                    *value = "NaN".into();
                }
            }
        }
        self.question.difference(self.theirs, &ours).is_none()
    }

    /// With names that are removed at the end: 3.5 forgets inside of these functions that one was to be.
    fn is_name_kept(&self) -> bool {
        let unnamed = |reply: &Reply| {
            let mut reply = reply.clone();
            for series in reply.body["data"]["result"].as_array_mut().into_iter().flatten() {
                series["metric"].as_object_mut().map(|labels| labels.remove("__name__"));
            }
            reply
        };
        self.asks_any(&["info(", "last_over_time("])
            && self.question.difference(&unnamed(self.theirs), &unnamed(self.ours)).is_none()
    }

    /// 3.5 gives memory back that two histograms of a subquery share, so that a later query which gets it reads one and
    /// writes over the other (3.6 copies them, #16879). With nothing to get, the same Prometheus answers as Vedette: two
    /// collections of garbage empty its pools.
    fn is_overwritten(&self, prometheus: &Api) -> Result<bool> {
        for _ in 0..2 {
            let (status, ..) = prometheus.raw("GET", "/debug/pprof/heap?gc=1", &[], &[])?;
            ensure!(status == 200, "no garbage was collected: {status}");
        }
        Ok(self.question.difference(&self.question.ask(prometheus)?, self.ours).is_none())
    }

    /// Two series of one side have the same partner, and the comparison leaves no two of them: only newer releases see it.
    /// 3.5 does see it where comparisons give 0 and 1 instead of leaving any out.
    fn is_hidden_duplicate(&self, prometheus: &Api) -> Result<bool> {
        let multiple = "multiple matches for labels";
        if self.theirs.is_error() || self.ours.status != 422 || !told(self.ours, multiple) {
            return Ok(false);
        }
        let counting = Question { query: counting(&self.question.query), ..self.question.clone() };
        Ok(told(&counting.ask(prometheus)?, multiple))
    }
}

/// The query with comparisons that give 0 and 1.
fn counting(query: &str) -> String {
    let mut counting = String::new();
    let mut rest = query;
    while let Some(at) = rest.find(['=', '!', '<', '>']) {
        let length = rest[at..].find(|character| !"=!<>".contains(character)).unwrap_or(rest.len() - at);
        let (before, after) = rest.split_at(at + length);
        counting.push_str(before);
        rest = after;
        let is_comparison = ["==", "!=", "<=", ">=", "<", ">"].contains(&&before[at..]);
        // A matcher has no space before its value.
        if is_comparison && rest.starts_with(char::is_whitespace) && !starts_with_bool(rest) {
            counting.push_str(" bool");
        }
    }
    counting.push_str(rest);
    counting
}

/// After spaces and comments.
fn starts_with_bool(text: &str) -> bool {
    let text = text.trim_start();
    match text.strip_prefix('#').and_then(|comment| comment.split_once('\n')) {
        Some((_, text)) => starts_with_bool(text),
        None => text.to_lowercase().starts_with("bool"),
    }
}

#[test]
fn comparisons_become_counting_ones() {
    assert_eq!(counting("a{b!=\"1\"} <= b\n>\nbool c"), "a{b!=\"1\"} <= bool b\n>\nbool c");
    assert_eq!(counting("a != on (b) 1 == # <\n BOOL 2"), "a != bool on (b) 1 == # <\n BOOL 2");
}

#[test]
fn only_what_is_newer_is_newer() {
    for query in
        ["start()", "1 + end ()", "sum(first_over_time(a[5m]))", "native </ 1", "start_timestamp(up)"]
    {
        assert!(is_newer_language(query), "{query}");
    }
    for query in ["up @ start()", "up @  end ()", "start", "my_range(a)", "start_of(a)", "step + 1", "a < 1"]
    {
        assert!(!is_newer_language(query), "{query}");
    }
}
