use regex::Regex;
use vedette_model::Timestamp;

use crate::ast::{AtModifier, Expr, ExprKind, Modifiers};
use crate::engine::{Engine, ParseOptions, QueryOptions};
use crate::memory::MemorySource;
use crate::promqltest::script::{Command, Eval, Script};
use crate::value::{QueryResult, SampleValue, Series, Value, VectorSample};

/// What became of one evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The line of its `eval`.
    pub line: usize,
    /// The query.
    pub query: String,
    /// How it went.
    pub verdict: Verdict,
}

/// How an evaluation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed(String),
}

/// What has been loaded.
#[derive(Default)]
struct Loaded {
    source: MemorySource,
}

impl Script {
    /// Runs all commands in order and says how each evaluation went.
    pub fn run(&self, engine: &Engine) -> Vec<Outcome> {
        let mut loaded = Loaded::default();
        let mut outcomes = Vec::new();
        for command in &self.commands {
            match command {
                Command::Clear => loaded = Loaded::default(),
                Command::Load(load) => load.apply(&mut loaded.source),
                Command::Eval(eval) => {
                    let verdict = loaded.verdict(engine, eval);
                    outcomes.push(Outcome { line: eval.line, query: eval.query.clone(), verdict });
                }
            }
        }
        outcomes
    }
}

impl Loaded {
    fn verdict(&self, engine: &Engine, eval: &Eval) -> Verdict {
        let outcome = if eval.step_ms.is_some() {
            self.run_range(engine, eval)
        } else {
            self.run_instant(engine, eval)
        };
        outcome.map_or_else(Verdict::Failed, |()| Verdict::Passed)
    }

    fn run_range(&self, engine: &Engine, eval: &Eval) -> Result<(), String> {
        let Some(step_ms) = eval.step_ms else { return Ok(()) };
        let result = self.query(engine, &eval.query, (eval.start, eval.end), Some(step_ms));
        let Some(result) = check_failure(eval, result)? else { return Ok(()) };
        eval.check_annotations(&result)?;
        eval.check_value(&result.value)
    }

    fn run_instant(&self, engine: &Engine, eval: &Eval) -> Result<(), String> {
        let at = eval.range_vector.map_or(eval.start, |(_, end, _)| end);
        self.run_instant_at(engine, eval, &eval.query, eval.start)?;
        for (query, time) in fixed_variants(&eval.query, at)? {
            self.run_instant_at(engine, eval, &query, time)
                .map_err(|message| format!("as {query} at {time}: {message}"))?;
        }
        Ok(())
    }

    fn run_instant_at(
        &self,
        engine: &Engine,
        eval: &Eval,
        query: &str,
        time: Timestamp,
    ) -> Result<(), String> {
        let result = self.query(engine, query, (time, time), None);
        let Some(result) = check_failure(eval, result)? else { return Ok(()) };
        eval.check_annotations(&result)?;
        eval.check_value(&result.value)?;
        let context_functions =
            Regex::new(r"(start|end|range|step)\(\)").map_err(|error| error.to_string())?;
        let instant_only = eval.range_vector.is_some() || eval.string.is_some();
        if instant_only || context_functions.is_match(query) {
            return Ok(());
        }
        self.run_as_middle_step(engine, eval, query, (time, &result.value))
            .map_err(|message| format!("in range mode: {message}"))
    }

    /// A range query must have the same values at the same time.
    fn run_as_middle_step(
        &self,
        engine: &Engine,
        eval: &Eval,
        query: &str,
        (time, value): (Timestamp, &Value),
    ) -> Result<(), String> {
        const MINUTE_MS: i64 = 60_000;
        let times = (time.minus_millis(MINUTE_MS), time.plus_millis(MINUTE_MS));
        let result = self.query(engine, query, times, Some(MINUTE_MS))?;
        let Value::Matrix(matrix) = result.value else {
            return Err("a range query gave no matrix".to_owned());
        };
        if eval.ordered {
            return Ok(());
        }
        let samples = matrix.into_iter().filter_map(|Series { labels, samples }| {
            let float = samples.at_ms.binary_search(&time.as_millis()).ok();
            let histogram = samples.histograms.iter().find(|sample| sample.at_ms == time.as_millis());
            let value = match (float, histogram) {
                (Some(index), _) => SampleValue::Float(samples.values[index]),
                (None, histogram) => SampleValue::Histogram(histogram?.histogram.clone()),
            };
            Some(VectorSample { labels, at: time, value })
        });
        let samples: Vec<_> = samples.collect();
        let middle = match (value, samples.first().map(|sample| &sample.value)) {
            (Value::Scalar { .. }, Some(SampleValue::Float(value))) => {
                Value::Scalar { at: time, value: *value }
            }
            _ => Value::Vector(samples),
        };
        eval.check_value(&middle)
    }

    fn query(
        &self,
        engine: &Engine,
        query: &str,
        (start, end): (Timestamp, Timestamp),
        step_ms: Option<i64>,
    ) -> Result<QueryResult, String> {
        let expr = crate::parse_with(query, &ParseOptions::ALL).map_err(|error| error.to_string())?;
        let options = QueryOptions::default();
        let result = match step_ms {
            Some(step_ms) => engine.range(&self.source, &expr, start, end, step_ms, &options),
            None => engine.instant(&self.source, &expr, start, &options),
        };
        result.map_err(|error| error.to_string())
    }
}

/// Sorts out an expected failure: `None` where the query failed as it should.
fn check_failure(eval: &Eval, result: Result<QueryResult, String>) -> Result<Option<QueryResult>, String> {
    match (result, &eval.fail) {
        (Ok(result), None) => Ok(Some(result)),
        (Ok(_), Some(_)) => Err("expected an error but got none".to_owned()),
        (Err(message), None) => Err(message),
        (Err(message), Some(expected)) if expected.matches(&message) => Ok(None),
        (Err(message), Some(expected)) => Err(format!("expected failure {expected:?}, got {message:?}")),
    }
}

/// The query with `@ at` on every selector that has none, at times where that must not matter.
fn fixed_variants(query: &str, at: Timestamp) -> Result<Vec<(String, Timestamp)>, String> {
    let mut expr = crate::parse_with(query, &ParseOptions::ALL).map_err(|error| error.to_string())?;
    let mut depends_on_time = false;
    walk(&mut expr, false, &mut |expr, fixed| {
        if let ExprKind::Call(call) = &expr.kind {
            depends_on_time |= DEPENDS_ON_TIME.contains(&call.function.name);
        }
        if fixed {
            return;
        }
        let modifiers: &mut Modifiers = match &mut expr.kind {
            ExprKind::Vector(selector) => &mut selector.modifiers,
            ExprKind::Matrix(matrix) => &mut matrix.selector.modifiers,
            ExprKind::Subquery(subquery) => &mut subquery.modifiers,
            _ => return,
        };
        if !matches!(modifiers.at, Some(AtModifier::Time(_))) {
            modifiers.at = Some(AtModifier::Time(at));
        }
    });
    if depends_on_time {
        return Ok(Vec::new());
    }
    let query = expr.to_string();
    let at_ms = at.as_millis();
    let times = match at_ms {
        0 => vec![-1000, 0, 1000],
        _ => vec![-10 * at_ms, 0, at_ms / 5, at_ms, 10 * at_ms],
    };
    Ok(times.into_iter().map(|time_ms| (query.clone(), Timestamp::from_millis(time_ms))).collect())
}

/// Functions whose value changes with the time of evaluation even where their arguments do not.
const DEPENDS_ON_TIME: [&str; 15] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "end",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "range",
    "start",
    "step",
    "time",
    "timestamp",
];

/// Visits an expression and its parts, outside first; `fixed`: inside a subquery that has a time already.
fn walk(expr: &mut Expr, fixed: bool, visit: &mut impl FnMut(&mut Expr, bool)) {
    visit(expr, fixed);
    match &mut expr.kind {
        ExprKind::Subquery(subquery) => {
            let fixed = fixed || matches!(subquery.modifiers.at, Some(AtModifier::Time(_)));
            walk(&mut subquery.inner, fixed, visit);
        }
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => walk(inner, fixed, visit),
        ExprKind::Binary(binary) => {
            walk(&mut binary.left, fixed, visit);
            walk(&mut binary.right, fixed, visit);
        }
        ExprKind::Aggregate(aggregate) => {
            walk(&mut aggregate.operand, fixed, visit);
            if let Some(parameter) = &mut aggregate.parameter {
                walk(parameter, fixed, visit);
            }
        }
        ExprKind::Call(call) => {
            call.arguments.iter_mut().for_each(|argument| walk(argument, fixed, visit));
        }
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {}
    }
}
