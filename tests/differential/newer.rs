//! Where Vedette is to answer otherwise than Prometheus 3.5: what newer releases changed, whose scripts are the reference
//! of the language. Each is as narrow as can be, and checked rather than passed over.

use anyhow::Result;
use vedette_tests::Api;
use vedette_tests::compare::{Question, Reply};

/// Functions that came after 3.5, or words that became some.
const FUNCTIONS: [&str; 6] = ["start", "end", "step", "range", "first_over_time", "start_timestamp"];

/// Why the replies to a question may differ; `None` when they may not.
pub(crate) fn reason(
    question: &Question,
    theirs: &Reply,
    ours: &Reply,
    prometheus: &Api,
) -> Result<Option<&'static str>> {
    let told =
        |reply: &Reply, text: &str| reply.body["error"].as_str().is_some_and(|error| error.contains(text));
    if theirs.status == 400 && is_newer_language(&question.query) {
        return Ok(Some("the language has grown"));
    }
    if theirs.status == 400 && told(theirs, "experimental duration expression is not enabled") {
        return Ok(Some("durations may be computed"));
    }
    let wrong_parameter = ["Parameter value is NaN", "Ratio value is NaN", "flows int64"];
    if !theirs.is_error() && ours.status == 422 && wrong_parameter.iter().any(|text| told(ours, text)) {
        return Ok(Some("a wrong parameter is refused even where nothing is aggregated"));
    }
    let resets =
        |reply: &Reply| reply.body["warnings"].to_string().contains("conflicting counter resets during");
    if resets(ours) && !resets(theirs) {
        return Ok(Some("histograms whose counter resets collide are told of"));
    }
    let layouts = "mix of histograms with exponential and custom buckets";
    let warns = |reply: &Reply| reply.body["warnings"].to_string().contains(layouts);
    let of_sums = ["histogram_count", "histogram_sum", "histogram_avg"];
    if warns(ours) && !warns(theirs) && of_sums.iter().any(|name| question.query.contains(name)) {
        return Ok(Some(
            "histograms whose buckets do not fit are not added up, even where only their sums are asked for",
        ));
    }
    let not_counter = |reply: &Reply| {
        reply.body["warnings"].to_string().contains("this native histogram metric is not a counter")
    };
    if not_counter(ours) && not_counter(theirs) && of_sums.iter().any(|name| question.query.contains(name)) {
        return Ok(Some(
            "resets of what is no counter are looked for in counts, where only sums are asked for",
        ));
    }
    if not_counter(ours)
        && !not_counter(theirs)
        && question.query.contains('-')
        && question.query.contains(':')
    {
        return Ok(Some("a negative histogram is no counter"));
    }
    if is_hidden_duplicate(question, theirs, ours, prometheus)? {
        return Ok(Some("a comparison finds two partners even where it filters both"));
    }
    Ok(None)
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

/// Two series of one side have the same partner, and the comparison leaves no two of them: only newer releases see it. 3.5
/// does see it where comparisons give 0 and 1 instead of leaving any out.
fn is_hidden_duplicate(question: &Question, theirs: &Reply, ours: &Reply, prometheus: &Api) -> Result<bool> {
    let told = |reply: &Reply| {
        reply.body["error"].as_str().is_some_and(|error| error.contains("multiple matches for labels"))
    };
    if theirs.is_error() || ours.status != 422 || !told(ours) {
        return Ok(false);
    }
    let mut counting = question.clone();
    for operator in ["==", "!=", "<=", ">=", "<", ">"] {
        counting.query = counting.query.replace(&format!(" {operator} "), &format!(" {operator} bool "));
    }
    counting.query = counting.query.replace("bool bool", "bool");
    Ok(told(&counting.ask(prometheus)?))
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
