use std::cell::RefCell;

use regex::Regex;
use vedette_model::{Labels, METRIC_NAME, Timestamp};

use crate::ast::{AtModifier, Expr, ExprKind, Modifiers};
use crate::engine::{Engine, ParseOptions, QueryOptions};
use crate::error::QueryError;
use crate::memory::MemorySource;
use crate::promqltest::script::{Command, Eval, Load, Script};
use crate::promqltest::series::SequenceValue;
use crate::value::{QueryResult, Value, VectorSample};

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
    /// Not as expected, and it needs what is not built yet: native histograms, start timestamps, or a function.
    NeedsMore(String),
}

/// What has been loaded.
#[derive(Default)]
struct Loaded {
    source: MemorySource,
    /// Series of which not everything could be stored.
    partial: Vec<Labels>,
}

/// An evaluation that is not as expected.
struct Failure {
    message: String,
    unsupported: bool,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, unsupported: false }
    }
}

impl Script {
    /// Runs all commands in order and says how each evaluation went.
    pub fn run(&self, engine: &Engine) -> Vec<Outcome> {
        let mut loaded = Loaded::default();
        let mut outcomes = Vec::new();
        for command in &self.commands {
            match command {
                Command::Clear => loaded = Loaded::default(),
                Command::Load(load) => loaded.load(load),
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
    fn load(&mut self, load: &Load) {
        self.partial.extend(load.started.iter().cloned());
        for (labels, values) in &load.series {
            if values.iter().any(|value| matches!(value, SequenceValue::Histogram)) {
                self.partial.push(labels.clone());
            }
            if load.with_native
                && let Some(native) = native_of_classic(labels)
            {
                self.partial.push(native);
            }
            for (index, value) in values.iter().enumerate() {
                let at = Timestamp::from_millis(load.step_ms * index as i64);
                if let SequenceValue::Value(value) = value {
                    self.source.push(labels, at, *value);
                }
            }
        }
    }

    fn verdict(&self, engine: &Engine, eval: &Eval) -> Verdict {
        let outcome = if eval.step_ms.is_some() {
            self.run_range(engine, eval)
        } else {
            self.run_instant(engine, eval)
        };
        match outcome {
            Ok(()) => Verdict::Passed,
            Err(failure) if failure.unsupported || self.needs_more(eval) => {
                Verdict::NeedsMore(failure.message)
            }
            Err(failure) => Verdict::Failed(failure.message),
        }
    }

    /// Whether an evaluation expects, or may select, what could not be stored.
    fn needs_more(&self, eval: &Eval) -> bool {
        let expects = eval
            .series
            .iter()
            .any(|(_, values)| values.iter().any(|value| matches!(value, SequenceValue::Histogram)));
        if expects {
            return true;
        }
        let Ok(expr) = crate::parse_with(&eval.query, &ParseOptions::ALL) else { return false };
        let touched = RefCell::new(false);
        let mut expr = expr;
        walk(&mut expr, false, &mut |expr, _| {
            let matchers = match &expr.kind {
                ExprKind::Vector(selector) => &selector.matchers.0,
                ExprKind::Matrix(matrix) => &matrix.selector.matchers.0,
                _ => return,
            };
            let selects = |labels: &Labels| {
                matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
            };
            if self.partial.iter().any(selects) {
                *touched.borrow_mut() = true;
            }
        });
        touched.into_inner()
    }

    fn run_range(&self, engine: &Engine, eval: &Eval) -> Result<(), Failure> {
        let Some(step_ms) = eval.step_ms else { return Ok(()) };
        let result = self.query(engine, &eval.query, (eval.start, eval.end), Some(step_ms));
        let Some(result) = check_failure(eval, result)? else { return Ok(()) };
        eval.check_annotations(&result)?;
        Ok(eval.check_value(&result.value)?)
    }

    fn run_instant(&self, engine: &Engine, eval: &Eval) -> Result<(), Failure> {
        let at = eval.range_vector.map_or(eval.start, |(_, end, _)| end);
        self.run_instant_at(engine, eval, &eval.query, eval.start)?;
        for (query, time) in fixed_variants(&eval.query, at)? {
            self.run_instant_at(engine, eval, &query, time).map_err(|failure| Failure {
                message: format!("as {query} at {time}: {}", failure.message),
                ..failure
            })?;
        }
        Ok(())
    }

    fn run_instant_at(
        &self,
        engine: &Engine,
        eval: &Eval,
        query: &str,
        time: Timestamp,
    ) -> Result<(), Failure> {
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
            .map_err(|failure| Failure { message: format!("in range mode: {}", failure.message), ..failure })
    }

    /// A range query must have the same values at the same time.
    fn run_as_middle_step(
        &self,
        engine: &Engine,
        eval: &Eval,
        query: &str,
        (time, value): (Timestamp, &Value),
    ) -> Result<(), Failure> {
        const MINUTE_MS: i64 = 60_000;
        let times = (time.minus_millis(MINUTE_MS), time.plus_millis(MINUTE_MS));
        let result = self.query(engine, query, times, Some(MINUTE_MS))?;
        let Value::Matrix(matrix) = result.value else {
            return Err("a range query gave no matrix".to_owned().into());
        };
        if eval.ordered {
            return Ok(());
        }
        let samples = matrix.into_iter().filter_map(|series| {
            let index = series.samples.at_ms.binary_search(&time.as_millis()).ok()?;
            Some(VectorSample { labels: series.labels, at: time, value: series.samples.values[index] })
        });
        let samples: Vec<_> = samples.collect();
        let middle = match (value, samples.first()) {
            (Value::Scalar { .. }, Some(sample)) => Value::Scalar { at: time, value: sample.value },
            _ => Value::Vector(samples),
        };
        Ok(eval.check_value(&middle)?)
    }

    fn query(
        &self,
        engine: &Engine,
        query: &str,
        (start, end): (Timestamp, Timestamp),
        step_ms: Option<i64>,
    ) -> Result<QueryResult, Failure> {
        let expr = crate::parse_with(query, &ParseOptions::ALL).map_err(|error| error.to_string())?;
        let options = QueryOptions::default();
        let result = match step_ms {
            Some(step_ms) => engine.range(&self.source, &expr, start, end, step_ms, &options),
            None => engine.instant(&self.source, &expr, start, &options),
        };
        result.map_err(|error| Failure {
            message: error.to_string(),
            unsupported: matches!(error, QueryError::Unsupported(_)),
        })
    }
}

/// Sorts out an expected failure: `None` where the query failed as it should.
fn check_failure(eval: &Eval, result: Result<QueryResult, Failure>) -> Result<Option<QueryResult>, Failure> {
    match (result, &eval.fail) {
        (Ok(result), None) => Ok(Some(result)),
        (Ok(_), Some(_)) => Err("expected an error but got none".to_owned().into()),
        (Err(failure), None) => Err(failure),
        (Err(failure), Some(expected)) if !failure.unsupported && expected.matches(&failure.message) => {
            Ok(None)
        }
        (Err(failure), Some(expected)) => Err(Failure {
            message: format!("expected error {expected:?}, got {}", failure.message),
            ..failure
        }),
    }
}

/// The native histogram that a series of a classic one becomes part of.
fn native_of_classic(labels: &Labels) -> Option<Labels> {
    let name = labels.metric_name()?;
    let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    let mut builder = labels.to_builder();
    builder.set(METRIC_NAME, base).remove("le");
    Some(builder.finish())
}

/// The query with `@ at` on every selector that has none, at times where that must not matter.
fn fixed_variants(query: &str, at: Timestamp) -> Result<Vec<(String, Timestamp)>, Failure> {
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
