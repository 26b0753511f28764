//! The parser and the printer.

use proptest::prelude::*;
use vedette_promql::{ParseOptions, parse, parse_metric, parse_selector, parse_with};

#[path = "../fuzz/check.rs"]
mod check;

/// What `text` prints as.
fn printed(text: &str) -> String {
    match parse_with(text, &ParseOptions::ALL) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The error that `text` gives with Prometheus' default features.
fn refused(text: &str) -> String {
    match parse(text) {
        Ok(expr) => panic!("{text} was taken as {expr:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn prints_as_prometheus() {
    for (text, wanted) in [
        ("SUM(x)BY(a)", "sum by (a) (x)"),
        ("sum without() (x)", "sum without () (x)"),
        ("-2^3", "-2 ^ 3"),
        ("a+b*c", "a + b * c"),
        (
            "x{a='\u{0}\u{7f}é❤\u{fe0f}e\u{301}\u{200d}\u{a0}😀'}",
            "x{a=\"\\x00\\x7fé❤\u{fe0f}e\u{301}\\u200d\\u00a0😀\"}",
        ),
        ("1s1ms * 5ms", "1s * 5ms"),
        ("x{b='2',a=\"1\"}[300s] offset 5m", "x{a=\"1\",b=\"2\"}[5m] offset 5m"),
        ("x offset -60m", "x offset -1h"),
        ("x @ 1.5", "x @ 1.500"),
        ("x[1h:] @ end() offset 1s", "x[1h:] @ end() offset 1s"),
        ("a/on(x)group_left b", "a / on (x) group_left () b"),
        ("a == bool 0x10", "a == bool 16"),
        ("{\"a.b\", \"c d\"=~\".+\"}", "{\"c d\"=~\".+\",__name__=\"a.b\"}"),
        ("sum by(\"a.b\", c) (x)", "sum by (\"a.b\", c) (x)"),
        ("1_000 + 010 + 1e3 + 5m", "1000 + 8 + 1000 + 5m"),
        ("0x_1F + 0_7 + 0_8", "31 + 7 + 8"),
        ("x @ start() [5m] offset 1m", "x[5m] @ start() offset 1m"),
        ("x offset 0s @ end()[5m]", "x[5m] @ end()"),
        ("x offset --1m", "x offset 1m"),
        ("x[5m # why\n: 1m]", "x[5m:1m]"),
        ("x offset -+-+-1m @ 1", "x @ 1.000 offset -1m"),
        ("`a\\n`", "\"a\\\\n\""),
        ("rate(x[5m]) # why", "rate(x[5m])"),
        ("sum + by + step + on_x:y", "sum + by + step + on_x:y"),
    ] {
        assert_eq!(printed(text), wanted, "{text}");
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, same) in [
        ("-a ^ b", "-(a ^ b)"),
        ("a ^ b ^ c", "a ^ (b ^ c)"),
        ("a - b - c", "(a - b) - c"),
        ("-a * b", "(-a) * b"),
        ("a or b and c unless d", "a or ((b and c) unless d)"),
        ("a + b > c - d", "(a + b) > (c - d)"),
        ("a * b atan2 c % d", "((a * b) atan2 c) % d"),
        ("a == b < c", "(a == b) < c"),
    ] {
        let depth = |text: &str| parse(text).map(|expr| shape(&expr));
        assert_eq!(depth(text), depth(same), "{text}");
    }
}

/// An expression with parentheses around every operator and none elsewhere.
fn shape(expr: &vedette_promql::Expr) -> String {
    use vedette_promql::ExprKind;
    match &expr.kind {
        ExprKind::Paren(inner) => shape(inner),
        ExprKind::Unary { op, operand } => format!("({op:?} {})", shape(operand)),
        ExprKind::Binary(binary) => {
            format!("({} {} {})", shape(&binary.left), binary.op.as_str(), shape(&binary.right))
        }
        _ => expr.to_string(),
    }
}

#[test]
fn errors_say_where_and_what() {
    for (text, wanted) in [
        ("", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo bar", "1:5: parse error: unexpected identifier \"bar\""),
        ("sum(foo", "1:8: parse error: unclosed left parenthesis"),
        ("foo)", "1:4: parse error: unexpected right parenthesis ')'"),
        ("foo{a=1}", "1:7: parse error: unexpected character inside braces: '1'"),
        ("foo{a}", "1:6: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("\n  nope(x)", "2:3: parse error: unknown function with name \"nope\""),
        (
            "rate(x)",
            "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
        ),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("x + bool y", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("x[5m] offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        (
            "sum(x) offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("x[0s]", "1:3: parse error: duration must be greater than 0"),
        ("rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0"),
        ("a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"),
        (
            "topk(x)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("sum by (without) (x)", "1:9: parse error: unexpected <without> in grouping opts, expected label"),
        ("sum by (\"\\xff\") (x)", "1:9: parse error: invalid label name for grouping: \"\\xff\""),
        ("x[# no\n5m]", "1:3: parse error: unexpected character in duration expression: '#'"),
        (
            "1_ + 1",
            "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1_\": invalid syntax",
        ),
        ("x @ 5 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
        ("\"a", "1:1: parse error: unterminated quoted string"),
        // What bytes that are no UTF-8 are read as.
        ("\"a\u{FFFD}b\"", "1:1: parse error: invalid UTF-8 rune"),
        ("a{b=`\u{FFFD}", "1:5: parse error: invalid UTF-8 rune"),
        ("x smoothed", "1:1: parse error: smoothed modifier is experimental and not enabled"),
        ("mad_over_time(x[5m])", "1:1: parse error: function \"mad_over_time\" is not enabled"),
    ] {
        assert_eq!(refused(text), wanted, "{text}");
    }
}

#[test]
fn selectors_and_metrics_stand_alone() {
    let matchers = parse_selector("up{job=\"a\"}").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(matchers.len(), 2);
    assert!(parse_selector("up[5m]").is_err() && parse_selector("sum(up)").is_err());
    let labels = parse_metric("up{job=\"a\", \"b.c\"='d'}").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{labels:?}"), "{__name__=\"up\", b.c=\"d\", job=\"a\"}");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(refused(&deep).contains("nests deeper"));
    assert!(refused(&"1+".repeat(5_000)).contains("nests deeper"));
    assert!(refused(&"-".repeat(5_000)).contains("nests deeper"));
}

#[test]
fn the_corpus_holds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/parse");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is in the repository") {
        let path = entry.expect("the corpus can be read").path();
        check::parse(&std::fs::read(&path).expect("the corpus can be read"));
        count += 1;
    }
    assert!(count >= 17, "{count} files");
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        (0u32..1000).prop_map(|number| number.to_string()),
        (0.0f64..1e6).prop_map(|number| number.to_string()),
        Just("NaN".to_owned()),
        Just("5m".to_owned()),
        Just("0x1f".to_owned()),
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{1,6}", Just("by".to_owned()), Just("\"a.b\"".to_owned())]
}

fn selector() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[a-z]{1,3}_[a-z:]{1,5}", Just("sum".to_owned()), Just("start".to_owned())];
    let op = prop_oneof![Just("="), Just("!="), Just("=~"), Just("!~")];
    let matcher =
        ("[a-z_]{1,6}", op, "[a-z |.é\\n]{0,6}").prop_map(|(name, op, value)| format!("{name}{op}{value:?}"));
    (name, proptest::collection::vec(matcher, 0..3))
        .prop_map(|(name, matchers)| format!("{name}{{{}}}", matchers.join(",")))
}

fn modifiers() -> impl Strategy<Value = String> {
    let duration =
        prop_oneof![Just("5m"), Just("-1h30m"), Just("90"), Just("(step() + 5m)"), Just("-step()")];
    prop_oneof![
        Just(String::new()),
        duration.prop_map(|duration| format!(" offset {duration}")),
        (0u32..100_000).prop_map(|at| format!(" @ {at}.25 offset 1d")),
        Just(" @ start()".to_owned()),
    ]
}

fn vector() -> impl Strategy<Value = String> {
    let leaf = (selector(), modifiers()).prop_map(|(selector, modifiers)| selector + &modifiers);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("^"),
            Just("atan2"),
            Just("=="),
            Just("> bool"),
            Just("and"),
            Just("or"),
            Just("unless on(a)"),
            Just("* on(a) group_left(b)"),
            Just("+ ignoring(a, b)"),
            Just("- fill(1)"),
        ];
        let aggregation = prop_oneof![Just("sum"), Just("avg"), Just("COUNT"), Just("stddev")];
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("abs({inner})")),
            (inner.clone(), number()).prop_map(|(inner, number)| format!("clamp_min({inner}, {number})")),
            (inner.clone(), number()).prop_map(|(inner, number)| format!("{inner} * {number}")),
            (number(), inner.clone()).prop_map(|(number, inner)| format!("{number} ^ {inner}")),
            (selector(), modifiers()).prop_map(|(selector, rest)| format!("rate({selector}[5m]{rest})")),
            (inner.clone(), modifiers())
                .prop_map(|(inner, rest)| format!("max_over_time(({inner})[1h:30s]{rest})")),
            (aggregation, inner.clone(), proptest::collection::vec(label(), 0..3)).prop_map(
                |(aggregation, inner, labels)| format!("{aggregation} by({}) ({inner})", labels.join(", "))
            ),
            (inner, number()).prop_map(|(inner, number)| format!("topk({number}, {inner})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back(text in vector()) {
        let expr = parse_with(&text, &ParseOptions::ALL)
            .map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
        let printed = expr.to_string();
        let again = parse_with(&printed, &ParseOptions::ALL)
            .map_err(|error| TestCaseError::fail(format!("{text} prints as {printed}: {error}")))?;
        prop_assert_eq!(&expr, &again);
        prop_assert_eq!(printed, again.to_string());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z0-9{}()\\[\\]\"'`=~!<>@:,.^+*/% \\\\\n-]{0,60}") {
        check::parse(text.as_bytes());
    }
}
