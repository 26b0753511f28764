//! Running a whole query.

use vedette_model::{Samples, SeriesSource, Timestamp};

use crate::ast::{Expr, ExprKind, RangeMode, ValueType};
use crate::engine::{EngineOptions, QueryOptions};
use crate::error::QueryError;
use crate::eval::builder::Builder;
use crate::eval::column::{Column, Grid, SeriesHead, weight, without_metric};
use crate::eval::context::Context;
use crate::eval::expression::{unwrap, value_type};
use crate::eval::extended::extend;
use crate::eval::merge::Merged;
use crate::eval::mixed::Part;
use crate::eval::operator::Computed;
use crate::value::{QueryResult, Series, Value, VectorSample};

/// One query.
pub(crate) struct Run<'a> {
    pub(crate) source: &'a dyn SeriesSource,
    pub(crate) engine: &'a EngineOptions,
    pub(crate) options: QueryOptions<'a>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    /// `None`: an instant query.
    pub(crate) step_ms: Option<i64>,
}

/// Evaluates `expr`.
pub(crate) fn run(run: Run<'_>, expr: &Expr) -> Result<QueryResult, QueryError> {
    let times = (run.start_ms, run.end_ms, run.step_ms.unwrap_or(0));
    let context = Context::new(run.source, run.engine, run.options, times);
    context.check()?;
    let value = match run.step_ms {
        None => instant(&context, expr)?,
        Some(step_ms) => range(&context, expr, step_ms)?,
    };
    let (warnings, infos) = context.take_annotations();
    Ok(QueryResult { value, warnings, infos, statistics: context.statistics() })
}

fn instant<'a>(context: &'a Context<'a>, expr: &'a Expr) -> Result<Value, QueryError> {
    let grid = Grid::at(context.start_ms);
    let at = Timestamp::from_millis(context.start_ms);
    let builder = Builder::new(context);
    Ok(match value_type(expr) {
        ValueType::String => match &unwrap(expr).kind {
            ExprKind::String(value) => Value::String { at, value: value.as_str().to_owned() },
            _ => return Err(QueryError::Invalid(format!("{expr} is no string"))),
        },
        ValueType::Scalar => {
            let value = builder.scalar(expr, grid)?.first().copied().unwrap_or(f64::NAN);
            Value::Scalar { at, value }
        }
        ValueType::Vector => {
            let series = collect(context, expr, grid)?;
            let samples = series.into_iter().filter_map(|(head, column)| {
                Some(VectorSample { labels: head.labels, at, value: column.sample(0)? })
            });
            Value::Vector(samples.collect())
        }
        ValueType::Matrix => Value::Matrix(matrix(context, expr, grid)?),
    })
}

fn range<'a>(context: &'a Context<'a>, expr: &'a Expr, step_ms: i64) -> Result<Value, QueryError> {
    if step_ms <= 0 {
        let text = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(QueryError::Invalid(text.to_owned()));
    }
    let grid = Grid::between(context.start_ms, context.end_ms, step_ms);
    // A single column must itself fit the budget.
    drop(context.hold(grid.count)?);
    let series = match value_type(expr) {
        ValueType::Scalar => {
            let values = Builder::new(context).scalar(expr, grid)?;
            let head = SeriesHead { labels: vedette_model::Labels::empty(), drop_name: false };
            vec![(head, values.into())]
        }
        ValueType::Vector => collect(context, expr, grid)?,
        other => {
            let other = crate::syntax::printer::quote(other.documented());
            return Err(QueryError::Invalid(format!(
                "invalid expression type {other} for range query, must be Scalar or instant Vector"
            )));
        }
    };
    let mut matrix: Vec<_> = series
        .into_iter()
        .map(|(head, column)| {
            let mut samples = Samples::default();
            column.to_samples(grid, &mut samples);
            Series { labels: head.labels, samples }
        })
        .filter(|series| !series.samples.is_empty())
        .collect();
    matrix.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(Value::Matrix(matrix))
}

/// All series of a vector, each label set once, names dropped where that was put off.
fn collect<'a>(
    context: &'a Context<'a>,
    expr: &'a Expr,
    grid: Grid,
) -> Result<Vec<(SeriesHead, Column)>, QueryError> {
    let mut node = Builder::new(context).vector(expr, grid)?;
    let mut series = Merged::collect(context, node.operator.as_mut())?.into_series();
    if series.iter().any(|(head, _)| head.drop_name) && context.delays_names() {
        for (head, _) in series.iter_mut().filter(|(head, _)| head.drop_name) {
            head.labels = without_metric(&head.labels);
        }
        series = Merged::collect(context, &mut Computed::new(series))?.into_series();
    }
    Ok(series)
}

/// A range vector as it is, at a single time.
fn matrix<'a>(context: &'a Context<'a>, expr: &'a Expr, grid: Grid) -> Result<Vec<Series>, QueryError> {
    let mut range = Builder::new(context).range_vector(expr, grid)?;
    let end_ms = range.clock.last_ms();
    let start_ms = end_ms.saturating_sub(range.range_ms);
    let mut matrix = Vec::new();
    let mut held = context.hold(0)?;
    let mut samples = Samples::default();
    while let Some(head) = range.stream.next_into(&mut samples)? {
        let inside = if range.mode == RangeMode::Plain {
            let from = samples.at_ms.partition_point(|at_ms| *at_ms <= start_ms);
            let to = samples.at_ms.partition_point(|at_ms| *at_ms <= end_ms);
            Samples {
                at_ms: samples.at_ms[from..to].to_vec(),
                values: samples.values[from..to].to_vec(),
                starts_ms: Vec::new(),
                histograms: samples.histograms[Part::between(&samples, start_ms, end_ms).histograms].to_vec(),
            }
        } else {
            extend(&samples, start_ms, end_ms, range.mode)
        };
        held.grow(weight(&inside))?;
        context.count_queryable(grid, weight(&inside), |count| count(0, weight(&inside)));
        if !inside.is_empty() {
            let labels = if head.drop_name { without_metric(&head.labels) } else { head.labels };
            matrix.push(Series { labels, samples: inside });
        }
    }
    matrix.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(matrix)
}
