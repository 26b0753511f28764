//! From expressions to operators.

use vedette_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, compile_anchored};

use crate::ast::{
    Aggregate, Aggregation, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Grouping, MatrixSelector,
    RangeMode, Sign, Span, Subquery, ValueType, VectorMatching, VectorSelector,
};
use crate::error::QueryError;
use crate::eval::aggregate::{AggregateOperator, CountValuesOperator};
use crate::eval::aggregate_select::SelectOperator;
use crate::eval::annotations::Annotation;
use crate::eval::binary::{JoinState, Operation, VectorScalar, VectorVector, apply_scalar};
use crate::eval::column::{Grid, SeriesHead, is_present};
use crate::eval::context::Context;
use crate::eval::duration;
use crate::eval::extended::{ExtendedFunction, ExtendedWindow, SmoothedSelector};
use crate::eval::function::{self, Absent, Mapped, Mapping, go_max, go_min};
use crate::eval::histogram::{HistogramOperator, HistogramQuestion};
use crate::eval::label::{Relabel, Relabelled, split_replacement};
use crate::eval::merge::{Distinct, Merging};
use crate::eval::operator::{Collected, Computed, Empty, Node, Operator, Repeated};
use crate::eval::selector::{
    Clock, InstantSelector, SampleField, SampleStream, StoredSamples, SubquerySamples,
};
use crate::eval::set::SetOperator;
use crate::eval::sort::{SortKey, Sorted};
use crate::eval::window::{WindowFunction, WindowOperator, note_quantile, seconds};

type Built<T> = Result<T, QueryError>;

/// Samples to slide a window over, the times it ends at, and its length.
pub(crate) struct RangeVector<'a> {
    pub(crate) stream: Box<dyn SampleStream + 'a>,
    pub(crate) clock: Clock,
    pub(crate) range_ms: i64,
    pub(crate) mode: RangeMode,
    unique_without_name: bool,
}

/// Builds operators for one query.
#[derive(Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) context: &'a Context<'a>,
}

impl<'a> Builder<'a> {
    /// A vector at the steps of `grid`. What does not depend on the step is computed once.
    pub(crate) fn vector(self, expr: &'a Expr, grid: Grid) -> Built<Node<'a>> {
        let expr = unwrap(expr);
        if grid.count > 1 && is_step_invariant(expr) {
            let inner = self.vector_at(expr, Grid { count: 1, ..grid })?;
            let repeated = Repeated { inner: inner.operator, count: grid.count };
            return Ok(Node::new(repeated, inner.unique_without_name));
        }
        self.vector_at(expr, grid)
    }

    fn vector_at(self, expr: &'a Expr, grid: Grid) -> Built<Node<'a>> {
        if grid.count == 0 {
            return Ok(Node::new(Empty, true));
        }
        match &expr.kind {
            ExprKind::Vector(selector) => self.selector(selector, grid, SampleField::Value),
            ExprKind::Unary { op: Sign::Plus, operand } => self.vector(operand, grid),
            ExprKind::Unary { op: Sign::Minus, operand } => {
                let inner = self.vector(operand, grid)?;
                self.mapped(inner, Mapping::Negate)
            }
            ExprKind::Binary(binary) => self.binary(expr, binary, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, grid),
            ExprKind::Call(call) => self.call(expr, call, grid),
            _ => Err(wrong_type(expr)),
        }
    }

    /// A scalar: a value a step.
    pub(crate) fn scalar(self, expr: &'a Expr, grid: Grid) -> Built<Vec<f64>> {
        let expr = unwrap(expr);
        let constant = |value: f64| vec![value; grid.count];
        Ok(match &expr.kind {
            ExprKind::Number { value, .. } => constant(value.0),
            ExprKind::Unary { op, operand } => {
                let values = self.scalar(operand, grid)?;
                if *op == Sign::Plus { values } else { values.into_iter().map(|value| -value).collect() }
            }
            ExprKind::Binary(binary) => {
                let left = self.scalar(&binary.left, grid)?;
                let right = self.scalar(&binary.right, grid)?;
                let pairs = left.into_iter().zip(right);
                pairs.map(|(left, right)| apply_scalar(binary.op, left, right)).collect()
            }
            ExprKind::Call(call) => match call.function.name {
                "time" => (0..grid.count).map(|step| grid.time_ms(step) as f64 / 1000.0).collect(),
                "pi" => constant(std::f64::consts::PI),
                "start" => constant(self.context.start_ms as f64 / 1000.0),
                "end" => constant(self.context.end_ms as f64 / 1000.0),
                "range" => constant(seconds(self.context.end_ms.saturating_sub(self.context.start_ms))),
                "step" if self.context.start_ms == self.context.end_ms => constant(0.0),
                "step" => constant(seconds(self.context.step_ms)),
                "scalar" => self.scalar_of_vector(&call.arguments[0], grid)?,
                name @ ("min_of" | "max_of") => {
                    let left = self.scalar(&call.arguments[0], grid)?;
                    let right = self.scalar(&call.arguments[1], grid)?;
                    let pick = if name == "min_of" { go_min } else { go_max };
                    left.into_iter().zip(right).map(|(left, right)| pick(left, right)).collect()
                }
                _ => return Err(wrong_type(expr)),
            },
            _ => return Err(wrong_type(expr)),
        })
    }

    /// `scalar(x)`: the value where there is exactly one series, else NaN.
    fn scalar_of_vector(self, expr: &'a Expr, grid: Grid) -> Built<Vec<f64>> {
        let mut node = self.vector(expr, grid)?;
        let mut found = vec![0u8; grid.count];
        let mut values = vec![f64::NAN; grid.count];
        let mut column = Vec::new();
        while node.operator.next_into(&mut column)?.is_some() {
            for (step, value) in column.iter().enumerate().filter(|(_, value)| is_present(**value)) {
                found[step] = found[step].saturating_add(1);
                values[step] = if found[step] == 1 { *value } else { f64::NAN };
            }
        }
        Ok(values)
    }

    // Selectors.

    fn clock(self, modifiers: &crate::ast::Modifiers, grid: Grid) -> Built<Clock> {
        let offset_ms = duration::offset(self.context, modifiers)?;
        Ok(Clock { grid, at_ms: duration::at(self.context, modifiers), offset_ms })
    }

    fn selector(self, selector: &'a VectorSelector, grid: Grid, field: SampleField) -> Built<Node<'a>> {
        let clock = self.clock(&selector.modifiers, grid)?;
        let unique = has_one_name(&selector.matchers.0);
        if selector.modifiers.mode == RangeMode::Smoothed {
            return Ok(Node::new(SmoothedSelector::new(self.context, &selector.matchers.0, clock), unique));
        }
        Ok(Node::new(InstantSelector::new(self.context, &selector.matchers.0, clock, field), unique))
    }

    /// A range vector: of stored series or of a subquery.
    pub(crate) fn range_vector(self, expr: &'a Expr, grid: Grid) -> Built<RangeVector<'a>> {
        match &unwrap(expr).kind {
            ExprKind::Matrix(matrix) => self.matrix(matrix, grid),
            ExprKind::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(wrong_type(expr)),
        }
    }

    fn matrix(self, matrix: &'a MatrixSelector, grid: Grid) -> Built<RangeVector<'a>> {
        let selector = &matrix.selector;
        let clock = self.clock(&selector.modifiers, grid)?;
        let range_ms = duration::positive(self.context, &matrix.range)?;
        let mode = selector.modifiers.mode;
        let lookback_ms = self.context.lookback_ms();
        let before = if mode == RangeMode::Plain { 0 } else { lookback_ms };
        let after = if mode == RangeMode::Smoothed { lookback_ms } else { 0 };
        let matchers = &selector.matchers.0;
        let start_ms = clock.first_ms().saturating_sub(range_ms).saturating_sub(before).saturating_add(1);
        let end_ms = clock.last_ms().saturating_add(after);
        let stream = StoredSamples::new(self.context, matchers, start_ms, end_ms);
        let unique_without_name = has_one_name(matchers);
        Ok(RangeVector { stream: Box::new(stream), clock, range_ms, mode, unique_without_name })
    }

    fn subquery(self, subquery: &'a Subquery, grid: Grid) -> Built<RangeVector<'a>> {
        let clock = self.clock(&subquery.modifiers, grid)?;
        let range_ms = duration::positive(self.context, &subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => duration::positive(self.context, step)?,
            None => self.context.engine.subquery_step_ms,
        }
        .max(1);
        // The subquery's steps are multiples of its step, so that they are the same for every outer step.
        let after_ms = clock.first_ms().saturating_sub(range_ms);
        let mut start_ms = after_ms / step_ms * step_ms;
        if start_ms <= after_ms {
            start_ms = start_ms.saturating_add(step_ms);
        }
        let inner_grid = Grid::between(start_ms, clock.last_ms(), step_ms);
        // A column of so many steps must itself fit the budget.
        drop(self.context.hold(inner_grid.count)?);
        let inner = self.vector(&subquery.inner, inner_grid)?;
        let unique_without_name = inner.unique_without_name;
        let merging = Merging::new(self.context, inner.operator);
        let stream = SubquerySamples { inner: Box::new(merging), grid: inner_grid, column: Vec::new() };
        let mode = RangeMode::Plain;
        Ok(RangeVector { stream: Box::new(stream), clock, range_ms, mode, unique_without_name })
    }

    // Operators that drop the metric's name.

    /// Two series may now have the same labels, unless they could not differ in the name alone.
    fn renamed(self, operator: impl Operator + 'a, unique_before: bool) -> Built<Node<'a>> {
        if self.context.delays_names() {
            return Ok(Node::new(operator, false));
        }
        if unique_before {
            return Ok(Node::new(operator, true));
        }
        Ok(Node::new(Distinct::new(self.context, Box::new(operator))?, true))
    }

    fn mapped(self, inner: Node<'a>, mapping: Mapping) -> Built<Node<'a>> {
        let unique = inner.unique_without_name;
        self.renamed(Mapped { context: self.context, inner: inner.operator, mapping }, unique)
    }

    // Binary operators.

    fn binary(self, expr: &'a Expr, binary: &'a Binary, grid: Grid) -> Built<Node<'a>> {
        let operation = Operation { op: binary.op, returns_bool: binary.returns_bool, span: expr.span };
        let (left, right) = (&binary.left, &binary.right);
        match (value_type(left), value_type(right), &binary.matching) {
            (ValueType::Scalar, _, _) => self.vector_scalar(right, left, true, operation, grid),
            (_, ValueType::Scalar, _) => self.vector_scalar(left, right, false, operation, grid),
            (_, _, Some(matching)) if binary.op.is_set() => {
                let left = self.vector(left, grid)?;
                let right = self.vector(right, grid)?;
                let unique = binary.op != BinaryOp::Or && left.unique_without_name;
                let set = SetOperator::new(
                    self.context,
                    left.operator,
                    right.operator,
                    (binary.op, matching),
                    grid.count,
                )?;
                Ok(Node::new(set, unique))
            }
            (_, _, Some(matching)) => self.vector_vector((left, right), matching, operation, grid),
            (_, _, None) => Err(wrong_type(expr)),
        }
    }

    fn vector_scalar(
        self,
        vector: &'a Expr,
        scalar: &'a Expr,
        scalar_is_left: bool,
        operation: Operation,
        grid: Grid,
    ) -> Built<Node<'a>> {
        let scalar = self.scalar(scalar, grid)?;
        let inner = self.vector(vector, grid)?;
        let unique = inner.unique_without_name;
        let context = self.context;
        let operator = VectorScalar { context, inner: inner.operator, scalar, scalar_is_left, operation };
        if operation.drops_name() { self.renamed(operator, unique) } else { Ok(Node::new(operator, unique)) }
    }

    fn vector_vector(
        self,
        (left, right): (&'a Expr, &'a Expr),
        matching: &'a VectorMatching,
        operation: Operation,
        grid: Grid,
    ) -> Built<Node<'a>> {
        let (left, right) = (self.vector(left, grid)?, self.vector(right, grid)?);
        let (many, one) =
            if matching.cardinality == Cardinality::OneToMany { (right, left) } else { (left, right) };
        let all_labels = !matching.on && matching.labels.is_empty();
        let grouped = matching.cardinality != Cardinality::OneToOne;
        let unfilled = matching.fill == Default::default();
        let streams =
            unfilled && many.unique_without_name && matching.include.is_empty() && (grouped || all_labels);
        let unique = operation.drops_name() || many.unique_without_name;
        let operator = VectorVector {
            context: self.context,
            many: many.operator,
            one: one.operator,
            matching,
            operation,
            steps: grid.count,
            streams,
            state: JoinState::Waiting,
        };
        Ok(Node::new(operator, unique && !self.context.delays_names()))
    }

    // Aggregations.

    fn aggregate(self, aggregate: &'a Aggregate, grid: Grid) -> Built<Node<'a>> {
        let Aggregate { op, operand, parameter, grouping } = aggregate;
        let unique = match grouping {
            Grouping::By(labels) => !labels.iter().any(|label| label == METRIC_NAME),
            Grouping::Without(_) => true,
        };
        if *op == Aggregation::CountValues {
            let label = parameter.as_ref().map_or(Ok(""), string)?;
            if label.is_empty() || label.contains(char::REPLACEMENT_CHARACTER) {
                return Err(QueryError::Execution(format!("invalid label name {}", quote(label))));
            }
            let inner = self.vector(operand, grid)?.operator;
            let operator = Collected::new(CountValuesOperator::new(self.context, inner, label, grouping));
            return Ok(Node::new(operator, unique && label != METRIC_NAME));
        }
        let values = match parameter {
            Some(parameter) => self.scalar(parameter, grid)?,
            None => Vec::new(),
        };
        if let (Aggregation::Quantile, Some(parameter)) = (op, parameter) {
            self.note_quantiles(&values, parameter);
        }
        let inner = self.vector(operand, grid)?;
        Ok(match op {
            Aggregation::LimitRatio => {
                return Err(QueryError::Unsupported("limit_ratio".to_owned()));
            }
            Aggregation::Topk | Aggregation::Bottomk | Aggregation::Limitk => {
                let kept = inner.unique_without_name;
                Node::new(
                    Collected::new(SelectOperator::new(self.context, inner.operator, *op, grouping, values)),
                    kept,
                )
            }
            _ => Node::new(
                Collected::new(AggregateOperator::new(self.context, inner.operator, *op, grouping, values)),
                unique,
            ),
        })
    }

    /// As Prometheus does: NaN, the largest and the smallest of all steps.
    fn note_quantiles(self, values: &[f64], parameter: &Expr) {
        if values.iter().any(|value| value.is_nan()) {
            note_quantile(self.context, f64::NAN, parameter.span);
        }
        for wanted in [
            values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            values.iter().copied().fold(f64::INFINITY, f64::min),
        ] {
            let found = values.contains(&wanted);
            if found {
                note_quantile(self.context, wanted, parameter.span);
            }
        }
    }

    // Functions.

    fn call(self, expr: &'a Expr, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
        let name = call.function.name;
        let arguments = call.arguments.as_slice();
        if let Some(function) = function::date(name).filter(|_| arguments.is_empty()) {
            let times = (0..grid.count).map(|step| function(grid.time_ms(step).div_euclid(1000) as f64));
            return Ok(constant_series(times.collect()));
        }
        if let Some(function) = function::simple(name) {
            let inner = self.vector(&arguments[0], grid)?;
            return self.mapped(inner, Mapping::Simple(function));
        }
        if call.function.arguments.contains(&ValueType::Matrix) {
            return self.window_call(call, grid);
        }
        match name {
            "vector" => Ok(constant_series(self.scalar(&arguments[0], grid)?)),
            "clamp" | "clamp_min" | "clamp_max" | "round" => {
                let mapping = self.mapping(name, arguments, grid)?;
                let inner = self.vector(&arguments[0], grid)?;
                self.mapped(inner, mapping)
            }
            "timestamp" => self.timestamp(&arguments[0], grid),
            "absent" => {
                let inner = self.vector(&arguments[0], grid)?.operator;
                Ok(self.absent(inner, &arguments[0], grid))
            }
            "label_replace" | "label_join" => self.relabel(name, arguments, grid),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(expr, call, grid),
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => {
                self.histogram(name, arguments, grid)
            }
            // They look at native histograms and start timestamps only, which no source has yet.
            "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev"
            | "histogram_stdvar" | "start_timestamp" => Ok(Node::new(Empty, true)),
            _ => Err(QueryError::Unsupported(format!("function {name}"))),
        }
    }

    fn mapping(self, name: &str, arguments: &'a [Expr], grid: Grid) -> Built<Mapping> {
        let constant = |value: f64| vec![value; grid.count];
        let argument = |index: usize| self.scalar(&arguments[index], grid);
        Ok(match name {
            "clamp" => Mapping::Clamp { low: argument(1)?, high: argument(2)? },
            "clamp_min" => Mapping::Clamp { low: argument(1)?, high: constant(f64::INFINITY) },
            "clamp_max" => Mapping::Clamp { low: constant(f64::NEG_INFINITY), high: argument(1)? },
            _ if arguments.len() > 1 => Mapping::Round { to_nearest: argument(1)? },
            _ => Mapping::Round { to_nearest: constant(1.0) },
        })
    }

    fn timestamp(self, argument: &'a Expr, grid: Grid) -> Built<Node<'a>> {
        let argument = unwrap(argument);
        if let ExprKind::Vector(selector) = &argument.kind {
            let inner = self.selector(selector, grid, SampleField::Time)?;
            return self.mapped(inner, Mapping::Simple(|time| time));
        }
        let times = (0..grid.count).map(|step| grid.time_ms(step) as f64 / 1000.0).collect();
        let inner = self.vector(argument, grid)?;
        self.mapped(inner, Mapping::StepTime(times))
    }

    fn absent(self, inner: Box<dyn Operator + 'a>, argument: &Expr, grid: Grid) -> Node<'a> {
        let head = SeriesHead { labels: absent_labels(argument), drop_name: false };
        Node::new(Absent { inner, head: Some(head), steps: grid.count }, true)
    }

    fn relabel(self, name: &str, arguments: &'a [Expr], grid: Grid) -> Built<Node<'a>> {
        let text = |index: usize| string(&arguments[index]).map(str::to_owned);
        let destination = text(1)?;
        let checked = |label: String, which: &str| {
            if label.is_empty() || label.contains(char::REPLACEMENT_CHARACTER) {
                let text = format!("invalid {which} label name in {name}(): {label}");
                return Err(QueryError::Execution(text));
            }
            Ok(label)
        };
        let relabel = if name == "label_replace" {
            let pattern = text(4)?;
            let compiled = compile_anchored(&pattern).map_err(|_| {
                QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
            })?;
            let destination = checked(destination, "destination")?;
            let replacement = split_replacement(&text(2)?);
            Relabel::Replace { destination, replacement, source: text(3)?, pattern: compiled }
        } else {
            let sources = (3..arguments.len()).map(|index| checked(text(index)?, "source"));
            let sources = sources.collect::<Built<Vec<_>>>()?;
            Relabel::Join { destination: checked(destination, "destination")?, separator: text(2)?, sources }
        };
        let inner = self.vector(&arguments[0], grid)?.operator;
        let operator = Distinct::new(self.context, Box::new(Relabelled { inner, relabel }))?;
        Ok(Node::new(operator, false))
    }

    fn sort(self, expr: &'a Expr, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
        let inner = self.vector(&call.arguments[0], grid)?;
        if self.context.start_ms != self.context.end_ms {
            self.context.annotate(Annotation::SortInRangeQuery, expr.span);
        }
        if grid.count != 1 {
            return Ok(inner);
        }
        let name = call.function.name;
        let descending = name.ends_with("_desc");
        let key = if name.starts_with("sort_by_label") {
            let names = call.arguments[1..].iter().map(|name| string(name).map(str::to_owned));
            SortKey::Labels { names: names.collect::<Built<Vec<_>>>()?, descending }
        } else {
            SortKey::Value { descending }
        };
        Ok(Node::new(
            Collected::new(Sorted::new(self.context, inner.operator, key)),
            inner.unique_without_name,
        ))
    }

    fn histogram(self, name: &str, arguments: &'a [Expr], grid: Grid) -> Built<Node<'a>> {
        let (vector, question) = match name {
            "histogram_quantile" => {
                let wanted = self.scalar(&arguments[0], grid)?;
                self.note_each_quantile(&wanted, &arguments[0]);
                (&arguments[1], HistogramQuestion::Quantile(wanted))
            }
            "histogram_fraction" => {
                let lower = self.scalar(&arguments[0], grid)?;
                let upper = self.scalar(&arguments[1], grid)?;
                (&arguments[2], HistogramQuestion::Fraction { lower, upper })
            }
            _ => {
                let label = string(&arguments[1])?.to_owned();
                let mut wanted = Vec::new();
                for argument in &arguments[2..] {
                    let values = self.scalar(argument, grid)?;
                    self.note_each_quantile(&values, argument);
                    wanted.push(values);
                }
                (&arguments[0], HistogramQuestion::Quantiles { label, wanted })
            }
        };
        let inner = self.vector(vector, grid)?;
        let unique = inner.unique_without_name && name != "histogram_quantiles";
        let operator = Collected::new(HistogramOperator::new(
            self.context,
            inner.operator,
            question,
            (grid, unwrap(vector).span),
        ));
        self.renamed(operator, unique)
    }

    fn note_each_quantile(self, values: &[f64], argument: &Expr) {
        for wanted in values {
            note_quantile(self.context, *wanted, unwrap(argument).span);
        }
    }

    fn window_call(self, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
        let name = call.function.name;
        let arguments = call.arguments.as_slice();
        let matrix = call.function.arguments.iter().position(|kind| *kind == ValueType::Matrix).unwrap_or(0);
        let argument = unwrap(&arguments[matrix]);
        let scalar = |index: usize| self.scalar(&arguments[index], grid);
        let range = self.range_vector(argument, grid)?;
        if range.mode != RangeMode::Plain {
            return self.extended_call(name, range, argument);
        }
        let function = match name {
            "rate" => WindowFunction::Extrapolated { counter: true, per_second: true },
            "increase" => WindowFunction::Extrapolated { counter: true, per_second: false },
            "delta" => WindowFunction::Extrapolated { counter: false, per_second: false },
            "irate" => WindowFunction::Instant { counter: true },
            "idelta" => WindowFunction::Instant { counter: false },
            "avg_over_time" => WindowFunction::Avg,
            "min_over_time" => WindowFunction::Min,
            "max_over_time" => WindowFunction::Max,
            "sum_over_time" => WindowFunction::Sum,
            "count_over_time" => WindowFunction::Count,
            "first_over_time" => WindowFunction::First,
            "last_over_time" => WindowFunction::Last,
            "present_over_time" | "absent_over_time" => WindowFunction::Present,
            "stddev_over_time" => WindowFunction::Stddev,
            "stdvar_over_time" => WindowFunction::Stdvar,
            "mad_over_time" => WindowFunction::Mad,
            "changes" => WindowFunction::Changes,
            "resets" => WindowFunction::Resets,
            "deriv" => WindowFunction::Deriv,
            "predict_linear" => WindowFunction::PredictLinear(scalar(1)?),
            "quantile_over_time" => WindowFunction::Quantile(scalar(0)?),
            "double_exponential_smoothing" => {
                WindowFunction::DoubleExponentialSmoothing { smoothing: scalar(1)?, trend: scalar(2)? }
            }
            "ts_of_first_over_time" => WindowFunction::TimeOfFirst,
            "ts_of_last_over_time" => WindowFunction::TimeOfLast,
            "ts_of_min_over_time" => WindowFunction::TimeOfMin,
            "ts_of_max_over_time" => WindowFunction::TimeOfMax,
            _ => return Err(QueryError::Unsupported(format!("function {name}"))),
        };
        // Prometheus points at the first argument, whichever it is, and has forgotten where a subquery stood.
        let first = unwrap(&arguments[0]);
        let forgotten = matches!(first.kind, ExprKind::Subquery(_));
        let span = if forgotten { Span { line: 1, column: 1, ..Span::default() } } else { first.span };
        let keeps_name = matches!(function, WindowFunction::First | WindowFunction::Last);
        let times = (range.clock, range.range_ms);
        let unique = range.unique_without_name;
        let operator = WindowOperator::new(self.context, range.stream, times, function, span);
        if name == "absent_over_time" {
            return Ok(self.absent(Box::new(operator), argument, grid));
        }
        if keeps_name { Ok(Node::new(operator, unique)) } else { self.renamed(operator, unique) }
    }

    fn extended_call(self, name: &str, range: RangeVector<'a>, argument: &Expr) -> Built<Node<'a>> {
        let function = match (name, range.mode) {
            ("rate", _) => ExtendedFunction::Rate,
            ("increase", _) => ExtendedFunction::Increase,
            ("delta", _) => ExtendedFunction::Delta,
            ("changes", RangeMode::Anchored) => ExtendedFunction::Changes,
            ("resets", RangeMode::Anchored) => ExtendedFunction::Resets,
            (_, RangeMode::Anchored) => {
                return Err(QueryError::Execution(format!(
                    "anchored modifier can only be used with: changes, delta, increase, rate, resets - not with \
                     {name}"
                )));
            }
            _ => {
                return Err(QueryError::Execution(format!(
                    "smoothed modifier can only be used with: delta, increase, rate - not with {name}"
                )));
            }
        };
        let unique = range.unique_without_name;
        let operator = ExtendedWindow::new(self.context, range, function, argument.span);
        self.renamed(operator, unique)
    }
}

/// An expression without the parentheses around it.
pub(crate) fn unwrap(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The type of an expression that has been checked.
pub(crate) fn value_type(expr: &Expr) -> ValueType {
    match &expr.kind {
        ExprKind::Number { .. } => ValueType::Scalar,
        ExprKind::String(_) => ValueType::String,
        ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
        ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => value_type(inner),
        ExprKind::Binary(binary) => {
            let scalar = |side: &Expr| value_type(side) == ValueType::Scalar;
            if scalar(&binary.left) && scalar(&binary.right) { ValueType::Scalar } else { ValueType::Vector }
        }
        ExprKind::Call(call) => call.function.returns,
    }
}

/// An expression that the parser's type check does not let through.
fn wrong_type(expr: &Expr) -> QueryError {
    QueryError::Invalid(format!("unexpected type {} of expression {expr}", value_type(expr)))
}

fn string(expr: &Expr) -> Built<&str> {
    match &unwrap(expr).kind {
        ExprKind::String(text) => Ok(text),
        _ => Err(wrong_type(expr)),
    }
}

fn quote(text: &str) -> String {
    crate::syntax::printer::quote(text)
}

fn has_one_name(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty()
    })
}

/// One series without labels.
fn constant_series<'a>(column: Vec<f64>) -> Node<'a> {
    let head = SeriesHead { labels: Labels::empty(), drop_name: false };
    Node::new(Computed::new(vec![(head, column)]), true)
}

/// The labels that a selector fixes to one value: those of what is absent.
fn absent_labels(expr: &Expr) -> Labels {
    let matchers = match &unwrap(expr).kind {
        ExprKind::Vector(selector) => &selector.matchers.0,
        ExprKind::Matrix(matrix) => &matrix.selector.matchers.0,
        _ => return Labels::empty(),
    };
    let mut labels = LabelsBuilder::default();
    let mut seen = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            labels.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            labels.remove(matcher.name());
        }
    }
    labels.finish()
}

/// Whether an expression has the same value at every step.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.modifiers.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.modifiers.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.modifiers.at.is_some(),
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => is_step_invariant(inner),
        ExprKind::Binary(binary) => is_step_invariant(&binary.left) && is_step_invariant(&binary.right),
        // As in Prometheus a parameter is taken at the first step if the operand is invariant.
        ExprKind::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.operand)
                && aggregate.parameter.as_ref().is_none_or(is_step_invariant)
        }
        ExprKind::Call(call) => {
            let of_selector = |argument: &Expr| matches!(unwrap(argument).kind, ExprKind::Vector(_));
            match call.function.name {
                "timestamp" => {
                    call.arguments.iter().all(|argument| of_selector(argument) && is_step_invariant(argument))
                }
                "days_in_month" | "day_of_month" | "day_of_week" | "day_of_year" | "hour" | "minute"
                | "month" | "year" | "predict_linear" | "time" | "start" | "end" | "range" | "step" => false,
                _ => call.arguments.iter().all(is_step_invariant),
            }
        }
    }
}
