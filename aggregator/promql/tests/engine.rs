//! The evaluator where the conformance scripts do not look: budgets, interruption, ways to join, bit equality.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vedette_model::{Histogram, HistogramSample, Labels, STALE_NAN, Span, Timestamp};
use vedette_promql::memory::MemorySource;
use vedette_promql::{Engine, EngineOptions, Interrupt, QueryError, QueryOptions, QueryResult, Value, parse};

const MINUTE_MS: i64 = 60_000;

/// `series` counters and gauges for ten minutes, a sample a minute.
fn source(series: usize) -> MemorySource {
    let mut source = MemorySource::default();
    for number in 0..series {
        for name in ["a_total", "b_total", "gauge"] {
            let labels = Labels::from_pairs([("__name__", name), ("n", &number.to_string()), ("job", "x")]);
            for minute in 0..=10 {
                source.push(&labels, at(minute), (minute as usize * (number + 1)) as f64);
            }
        }
    }
    source
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * MINUTE_MS)
}

fn range_with(
    engine: &Engine,
    source: &MemorySource,
    query: &str,
    options: &QueryOptions<'_>,
) -> Result<QueryResult, QueryError> {
    let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    engine.range(source, &expr, at(0), at(10), MINUTE_MS, options)
}

/// The matrix that a query gives over all ten minutes.
fn matrix(source: &MemorySource, query: &str) -> Vec<(String, Vec<i64>, Vec<f64>)> {
    let result = range_with(&Engine::default(), source, query, &QueryOptions::default());
    match result.unwrap_or_else(|error| panic!("{query}: {error}")).value {
        Value::Matrix(series) => series
            .into_iter()
            .map(|series| (format!("{:?}", series.labels), series.samples.at_ms, series.samples.values))
            .collect(),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn the_budget_bounds_what_is_held() {
    let source = source(20);
    let engine = Engine::new(EngineOptions { samples_max: 100, ..EngineOptions::default() });
    let run = |query| range_with(&engine, &source, query, &QueryOptions::default());
    // Twenty series of eleven samples do not fit; one group of them does.
    assert!(matches!(run("gauge"), Err(QueryError::TooManySamples)));
    assert!(matches!(run("sort(gauge)"), Err(QueryError::TooManySamples)));
    let sum = run("sum(gauge)").unwrap_or_else(|error| panic!("{error}"));
    assert!(sum.statistics.samples_peak <= 100 && sum.statistics.samples == 220, "{:?}", sum.statistics);
    // So many steps alone are too many, whatever they select.
    let expr = parse("vector(1)").unwrap_or_else(|error| panic!("{error}"));
    let all = (Timestamp::from_millis(0), Timestamp::from_millis(i64::MAX / 2));
    let result = engine.range(&source, &expr, all.0, all.1, 1, &QueryOptions::default());
    assert!(matches!(result, Err(QueryError::TooManySamples)));
}

// As Prometheus 3.5.3 counts with `stats`.
#[test]
fn samples_are_counted_step_by_step() {
    let source = source(2);
    for (query, expected) in [
        ("gauge", 22),
        ("sum(gauge) + on() group_right() gauge", 44),
        ("rate(gauge[2m])", 42),
        ("max_over_time(gauge[2m:1m])", 42),
        ("vector(1)", 0),
        ("gauge @ 300", 22),
        ("gauge + on(n) rate(gauge[2m] @ 300)", 66),
    ] {
        let options = QueryOptions { count_per_step: true, ..QueryOptions::default() };
        let result = range_with(&Engine::default(), &source, query, &options);
        let statistics = result.unwrap_or_else(|error| panic!("{query}: {error}")).statistics;
        assert_eq!(statistics.samples_queryable, expected, "{query}");
        let steps = statistics.queryable_per_step.unwrap_or_default();
        assert_eq!((steps.len(), steps.iter().sum()), (11, expected), "{query}: {steps:?}");
    }
}

#[test]
fn a_budget_of_all_queries_ends_one() {
    let source = source(20);
    let held = AtomicU64::new(0);
    let below = |max: u64| {
        let held = &held;
        move |samples: u64| {
            held.store(samples, Ordering::Relaxed);
            samples <= max
        }
    };
    let run = |max| {
        let budget = below(max);
        let options = QueryOptions { budget: Some(&budget), ..QueryOptions::default() };
        range_with(&Engine::default(), &source, "gauge", &options)
    };
    assert!(matches!(run(100), Err(QueryError::NoBudget)));
    assert_eq!(held.load(Ordering::Relaxed), 0, "all is given back");
    assert!(run(1000).is_ok());
}

#[test]
fn a_histogram_counts_for_as_many_samples_as_fit_into_it() {
    let labels = Labels::from_pairs([("__name__", "h")]);
    let histogram = Histogram {
        positive_spans: vec![Span { offset: 0, length: 100 }],
        positive_buckets: vec![1.0; 100],
        count: 100.0,
        ..Histogram::default()
    };
    let mut source = MemorySource::default();
    let at_ms = at(1).as_millis();
    source.push_histogram(&labels, HistogramSample { at_ms, start_ms: 0, histogram: Arc::new(histogram) });
    // 176 bytes with its time, a span and a hundred buckets of 8 bytes each, in samples of 16 bytes.
    for (samples_max, fits) in [(60, false), (200, true)] {
        let engine = Engine::new(EngineOptions { samples_max, ..EngineOptions::default() });
        let expr = parse("h").unwrap_or_else(|error| panic!("{error}"));
        let result = engine.instant(&source, &expr, at(1), &QueryOptions::default());
        assert_eq!(result.is_ok(), fits, "{result:?}");
    }
}

#[test]
fn a_query_stops_when_it_is_told_to() {
    let source = source(50);
    for (interrupt, wanted) in [
        (Interrupt::Timeout, "query timed out in expression evaluation"),
        (Interrupt::Cancelled, "query was canceled in expression evaluation"),
    ] {
        let asked = AtomicU64::new(0);
        let after_ten = || (asked.fetch_add(1, Ordering::Relaxed) >= 10).then_some(interrupt);
        let options = QueryOptions { interrupt: Some(&after_ten), ..QueryOptions::default() };
        let error = range_with(&Engine::default(), &source, "sum(rate(a_total[5m]))", &options)
            .expect_err("it was interrupted");
        assert_eq!(error.to_string(), wanted);
        assert!(asked.into_inner() < 20);
    }
}

#[test]
fn joins_that_stream_give_what_joins_that_hold_give() {
    let source = source(5);
    for (streams, holds) in [
        ("a_total / gauge", "a_total / on(n, job) gauge"),
        ("a_total > gauge * 0.5", "a_total > ignoring(other) gauge * 0.5"),
        ("a_total * on(n) group_left gauge", "a_total * on(n) group_left(job) gauge"),
    ] {
        let without_name = |query| {
            let mut series = matrix(&source, query);
            for (labels, ..) in &mut series {
                *labels = labels.replace("__name__=\"a_total\", ", "");
            }
            // As text, in which NaN equals itself.
            format!("{series:?}")
        };
        assert_eq!(without_name(streams), without_name(holds), "{streams}");
        assert!(!matrix(&source, streams).is_empty());
    }
}

#[test]
fn what_does_not_depend_on_the_step_is_the_same_at_all() {
    let source = source(3);
    let fixed = matrix(&source, "sum(a_total @ 300)");
    assert_eq!(fixed, [("{}".to_owned(), (0..=10).map(|n| n * MINUTE_MS).collect(), vec![30.0; 11])]);
    assert_eq!(matrix(&source, "sum(a_total @ 300) + time() * 0"), fixed);
    assert_eq!(matrix(&source, "sum(a_total @ start() offset -5m)"), fixed);
}

#[test]
fn series_that_follow_each_other_become_one() {
    let mut source = MemorySource::default();
    for minute in 0..=10 {
        let name = if minute < 5 { "old" } else { "new" };
        let labels = Labels::from_pairs([("__name__", name), ("x", "1")]);
        source.push(&labels, at(minute), minute as f64);
    }
    let old = Labels::from_pairs([("__name__", "old"), ("x", "1")]);
    source.push(&old, at(5), STALE_NAN);
    let merged = matrix(&source, "{__name__=~\"old|new\"} * 2");
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].2, (0..=10).map(|minute| f64::from(minute) * 2.0).collect::<Vec<_>>());
    assert_eq!(matrix(&source, "sum_over_time((-{x=\"1\"})[10m:1m])")[0].2.last(), Some(&-55.0));
    assert_eq!(matrix(&source, "count({x=\"1\"})")[0].2, vec![1.0; 11]);
}

#[test]
fn values_come_through_bit_by_bit() {
    let mut source = MemorySource::default();
    let labels = Labels::from_pairs([("__name__", "odd")]);
    let odd = [-0.0, f64::MIN_POSITIVE / 4.0, f64::INFINITY, f64::from_bits(0x7ff8_0000_dead_beef), 1e-300];
    for (minute, value) in odd.iter().enumerate() {
        source.push(&labels, at(minute as i64), *value);
    }
    for query in ["odd", "last_over_time(odd[1m])", "odd or odd", "topk(1, odd)"] {
        let bits: Vec<_> = matrix(&source, query)[0].2.iter().take(5).map(|value| value.to_bits()).collect();
        assert_eq!(bits, odd.map(f64::to_bits), "{query}");
    }
}

#[test]
fn annotations_say_where() {
    let source = source(1);
    let result = range_with(
        &Engine::default(),
        &source,
        "rate(gauge[5m]) +\n  quantile(2, gauge)",
        &QueryOptions::default(),
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let not_counter = "PromQL info: metric might not be a counter, name does not end in \
        _total/_sum/_count/_bucket: \"gauge\" (1:6)";
    assert_eq!(result.infos, [not_counter]);
    assert_eq!(result.warnings, ["PromQL warning: quantile value should be between 0 and 1, got 2 (2:12)"]);
}

#[test]
fn the_deepest_expression_fits_a_small_stack() {
    const STACK_BYTES: usize = 1024 * 1024;
    let deepest = |first: &str, more: &str, last: &str| {
        let text = |depth: usize| first.repeat(depth) + "gauge" + &more.repeat(depth) + &last.repeat(depth);
        let depth = (1..1_000).take_while(|depth| parse(&text(*depth)).is_ok()).last();
        text(depth.unwrap_or(1))
    };
    let queries = [
        deepest("", " + gauge", ""),
        deepest("", " or gauge", ""),
        deepest("abs(", "", ")"),
        deepest("sum(", "", ")"),
        deepest("-(", "", ")"),
        deepest("max_over_time(", "", "[2m:1m])"),
    ];
    let run = move || {
        for query in &queries {
            let source = source(1);
            let expr = parse(query).unwrap_or_else(|error| panic!("{error}"));
            let result = Engine::default().instant(&source, &expr, at(5), &QueryOptions::default());
            assert!(result.is_ok(), "{query}: {result:?}");
            assert!(!expr.to_string().is_empty());
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run);
    thread.expect("a thread starts").join().expect("the stack holds");
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let source = source(2);
    for query in [
        "gauge @ -9223372036854775",
        "gauge offset -9223372036s",
        "rate(a_total[290y])",
        "predict_linear(gauge[5m] @ 9223372036854774, 1)",
        "max_over_time(gauge[290y:1y] offset 290y)",
        "timestamp(gauge @ 9223372036854774)",
        "hour() + day_of_year(vector(-Inf))",
    ] {
        let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
        for time in [Timestamp::MIN, at(5), Timestamp::MAX] {
            let result = Engine::default().instant(&source, &expr, time, &QueryOptions::default());
            assert!(result.is_ok(), "{query} at {time}: {result:?}");
            let ends = (time.minus_millis(MINUTE_MS), time.plus_millis(MINUTE_MS));
            let options = QueryOptions::default();
            let result = Engine::default().range(&source, &expr, ends.0, ends.1, MINUTE_MS, &options);
            assert!(result.is_ok(), "{query} around {time}: {result:?}");
        }
    }
    let expr = parse("1").unwrap_or_else(|error| panic!("{error}"));
    let run = |start, end, step_ms| {
        Engine::default().range(&source, &expr, start, end, step_ms, &QueryOptions::default())
    };
    assert!(matches!(run(at(0), at(1), 0), Err(QueryError::Invalid(_))));
    assert!(
        matches!(run(at(1), at(0), 1).map(|result| result.value), Ok(Value::Matrix(all)) if all.is_empty())
    );
}
