// What must hold for any bytes; shared by the fuzz target and by the replay of its corpus.

use vedette_promql::{ParseOptions, parse_metric, parse_selector, parse_with};

/// Parsing never panics, and what is printed reads back as the same expression.
pub(crate) fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (parse_selector(text), parse_metric(text));
    let Ok(expr) = parse_with(text, &ParseOptions::ALL) else { return };
    let printed = expr.to_string();
    // As in Prometheus, infinity prints with a sign, which binds less than a power, and durations print in
    // milliseconds, of which a very short one has none.
    if printed.contains("Inf") || printed.contains("0s") {
        return;
    }
    match parse_with(&printed, &ParseOptions::ALL) {
        Ok(again) => assert_eq!(expr, again, "{text} prints as {printed}, which prints as {again}"),
        Err(error) => panic!("{text} prints as {printed}: {error}"),
    }
}
