//! Every form of a literal, and every function and operator over every odd number: all of them, not some at random.
//! `VEDETTE_QUERIES=1` asks for all pairs of numbers as well, of which CI takes some.

use anyhow::{Result, ensure};
use vedette_tests::compare::{Question, Times};
use vedette_tests::unix_ms;

use crate::grammar::words::{
    ARITHMETIC, COMPARISON, DATES, DURATION_FORMS, KEYWORDS, MATH, NUMBER_FORMS, REGEXES, STRING_FORMS,
};
use crate::{Pair, newer};

/// Of the pairs of numbers CI asks for one in so many.
const PAIRS_EVERY: usize = 7;
/// Numbers at which functions change their ways.
const NUMBERS: [f64; 48] = [
    0.0,
    -0.0,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    1e-310,
    1e-300,
    1e-9,
    -1e-9,
    1e-5,
    0.1,
    0.3,
    0.5,
    -0.5,
    0.9999999,
    1.0,
    -1.0,
    1.0000001,
    1.5,
    -1.5,
    2.0,
    2.5,
    -2.5,
    3.0,
    10.0,
    21.5,
    100.0,
    709.4,
    709.5,
    709.7,
    710.2,
    711.0,
    -709.4,
    -745.2,
    1000.0,
    1e9,
    -1e9,
    4_503_599_627_370_497.5,
    9.3e18,
    1e22,
    1e155,
    1e300,
    -1e300,
];

/// One in so many pairs of numbers.
fn pairs(every: usize) -> impl Iterator<Item = (&'static f64, &'static f64)> {
    NUMBERS.iter().flat_map(|left| NUMBERS.iter().map(move |right| (left, right))).step_by(every)
}

/// All of them, but for some pairs of numbers.
fn questions(pairs_every: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let vector = |number: &f64| format!("vector({number:?})").replace("inf", "Inf");
    // Scalars have another formula at times, and no limit on how many.
    for name in MATH.iter().chain(&DATES).filter(|name| **name != "scalar_vector") {
        all.extend(NUMBERS.iter().map(|number| format!("{name}({})", vector(number))));
    }
    for (left, right) in pairs(pairs_every) {
        for operator in ARITHMETIC.iter().chain(&COMPARISON[..3]) {
            all.push(format!("{} {operator} {}", vector(left), vector(right)));
        }
        all.push(format!("round({}, {right:?})", vector(left)).replace("inf", "Inf"));
        all.push(format!("clamp_min({}, {right:?})", vector(left)).replace("inf", "Inf"));
        all.push(format!("clamp_max({}, {right:?})", vector(left)).replace("inf", "Inf"));
    }
    for form in NUMBER_FORMS {
        all.extend([form.to_owned(), format!("-{form}"), format!("x @ {form}"), format!("x[{form}]")]);
    }
    for form in DURATION_FORMS {
        all.extend([
            format!("x[{form}]"),
            format!("x[{form}:]"),
            format!("x[5m:{form}]"),
            format!("rate(x[5m:{form}])"),
            format!("x offset {form}"),
            format!("x offset -{form}"),
            format!("vector({form})"),
        ]);
    }
    for form in STRING_FORMS {
        all.extend([
            form.to_owned(),
            format!("x{{a={form}}}"),
            format!("x{{a=~{form}}}"),
            format!("{{{form}}}"),
            format!("x{{{form}=\"1\"}}"),
            format!("sum by ({form}) (x)"),
            format!("label_replace(vector(1), {form}, \"v\", \"\", \"\")"),
            format!("label_replace(vector(1), \"l\", {form}, \"\", \"\")"),
            format!("label_join(vector(1), \"l\", {form}, {form}, {form})"),
            format!("count_values({form}, vector(1))"),
        ]);
    }
    all.extend(deep());
    for regex in REGEXES {
        all.extend([
            format!("x{{a=~\"{regex}\"}}"),
            format!("x{{a!~\"{regex}\"}}"),
            format!("label_replace(vector(1), \"l\", \"v\", \"\", \"{regex}\")"),
        ]);
    }
    for word in KEYWORDS {
        all.extend([
            word.to_owned(),
            format!("{word}()"),
            format!("{word}{{a=\"1\"}}"),
            format!("{word}[5m]"),
            format!("{word} + {word}"),
            format!("x{{{word}=\"1\"}}"),
            format!("sum by ({word}) (x)"),
            format!("x + on ({word}) x"),
            format!("x + on (a) group_left ({word}) x"),
            format!("x {word} x"),
            format!("{word} (x)"),
        ]);
    }
    all
}

/// Queries of many levels.
fn deep() -> Vec<String> {
    let around =
        |open: &str, inner: &str, count: usize| format!("{}{inner}{}", open.repeat(count), ")".repeat(count));
    let row = |operator: &str, count: usize| vec!["vector(2)"; count].join(operator);
    vec![
        around("(", "1", 150),
        around("abs(", "vector(-1)", 100),
        around("sum(", "vector(1)", 100),
        format!("{}1", "-".repeat(100)),
        format!("{}vector(1)", "- ".repeat(99)),
        row(" + ", 200),
        row(" or ", 200),
        row(" == bool ", 50),
        vec!["0.99"; 100].join(" ^ "),
        format!("vector(1){}", "[5m:1m]".repeat(2)),
        format!("x{{{}}}", vec!["a!=\"1\""; 200].join(",")),
    ]
}

#[test]
fn every_form_is_answered_as_by_prometheus() -> Result<()> {
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let (theirs, ours) = pair.apis();
    let time = format!("{}", unix_ms() / 1000);
    let (mut different, mut newer_answers, mut failed) = (Vec::new(), 0, 0);
    let questions = questions(if std::env::var_os("VEDETTE_QUERIES").is_some() { 1 } else { PAIRS_EVERY });
    for query in &questions {
        let question = Question::new(query, Times::At(time.clone()));
        let replies = (question.ask(&theirs)?, question.ask(&ours)?);
        failed += usize::from(replies.0.is_error());
        if let Some(what) = question.difference(&replies.0, &replies.1) {
            match newer::reason(&question, &replies.0, &replies.1, &theirs)? {
                Some(_) => newer_answers += 1,
                None => different.push(format!("{query}\n    {what}")),
            }
        }
    }
    println!("{} forms: {failed} errors, {newer_answers} newer, {} differ", questions.len(), different.len());
    ensure!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        questions.len(),
        different.join("\n")
    );
    ensure!(failed > 400 && failed * 5 < questions.len(), "{failed} errors of {}", questions.len());
    ensure!(newer_answers < 40, "{newer_answers} answers as by newer releases");
    Ok(())
}
