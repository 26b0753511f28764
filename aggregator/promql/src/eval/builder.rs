//! From expressions to operators.

use vedette_model::METRIC_NAME;

use crate::ast::{
    Aggregate, Aggregation, Binary, BinaryOp, Cardinality, Expr, ExprKind, Grouping, MatrixSelector,
    RangeMode, Sign, Span, Subquery, ValueType, VectorMatching, VectorSelector,
};
use crate::error::QueryError;
use crate::eval::aggregate::{AggregateOperator, CountValuesOperator};
use crate::eval::aggregate_select::SelectOperator;
use crate::eval::arithmetic::{Operation, StepNotes, apply_scalar};
use crate::eval::binary::{JoinState, VectorVector};
use crate::eval::column::{Column, Grid, Place, is_present};
use crate::eval::context::Context;
use crate::eval::duration;
use crate::eval::expression::{has_one_name, is_step_invariant, string, unwrap, value_type, wrong_type};
use crate::eval::extrapolation::seconds;
use crate::eval::function::{Mapped, Mapping, go_max, go_min};
use crate::eval::limit::{Limit, Limited};
use crate::eval::merge::{Clash, Distinct, Merging};
use crate::eval::operator::{Collected, Empty, Node, Operator, Repeated};
use crate::eval::parameter::{check_count, check_ratio, note_quantiles};
use crate::eval::selector::{
    Clock, InstantSelector, SampleField, SampleStream, StoredSamples, SubquerySamples,
};
use crate::eval::set::SetOperator;
use crate::eval::smoothed::SmoothedSelector;
use crate::eval::vector_scalar::VectorScalar;
use crate::syntax::printer::quote_bytes;

pub(super) type Built<T> = Result<T, QueryError>;

/// Samples to slide a window over, the times it ends at, and its length.
pub(crate) struct RangeVector<'a> {
    pub(crate) stream: Box<dyn SampleStream + 'a>,
    pub(crate) clock: Clock,
    pub(crate) range_ms: i64,
    pub(crate) mode: RangeMode,
    pub(super) unique_without_name: bool,
}

/// Builds operators for one query.
#[derive(Clone, Copy)]
pub(crate) struct Builder<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(super) buckets: Buckets,
}

/// Whether the functions around an expression look into buckets of histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buckets {
    /// So far none does.
    Unasked,
    /// Only counts and sums are looked at.
    Unused,
    /// Some function does, or has to find counter resets in a subquery.
    Used,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(context: &'a Context<'a>) -> Self {
        Self { context, buckets: Buckets::Unasked }
    }

    /// For the operands of what needs buckets.
    pub(super) fn with_buckets(self) -> Self {
        Self { buckets: Buckets::Used, ..self }
    }

    /// For the operands of what needs no buckets, unless something further out does.
    pub(super) fn without_buckets(self) -> Self {
        let buckets = if self.buckets == Buckets::Used { Buckets::Used } else { Buckets::Unused };
        Self { buckets, ..self }
    }

    /// A vector at the steps of `grid`. What does not depend on the step is computed once.
    pub(crate) fn vector(self, expr: &'a Expr, grid: Grid) -> Built<Node<'a>> {
        let expr = unwrap(expr);
        if grid.count > 1 && is_step_invariant(expr) {
            let inner = self.vector_at(expr, grid.invariant())?;
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
            ExprKind::Vector(selector) => self.selector(selector, expr.span, grid, SampleField::Value),
            ExprKind::Unary { op: Sign::Plus, operand } => self.vector(operand, grid),
            ExprKind::Unary { op: Sign::Minus, operand } => {
                let inner = self.vector(operand, grid)?;
                self.mapped(inner, Mapping::Negate)
            }
            ExprKind::Binary(binary) => self.binary(expr, binary, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(expr, aggregate, grid),
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
        let mut column = Column::default();
        while node.operator.next_into(&mut column)?.is_some() {
            for (step, value) in column.floats.iter().enumerate().filter(|(_, value)| is_present(**value)) {
                found[step] = found[step].saturating_add(1);
                values[step] = if found[step] == 1 { *value } else { f64::NAN };
            }
        }
        Ok(values)
    }

    // Selectors.

    pub(super) fn clock(self, modifiers: &crate::ast::Modifiers, grid: Grid) -> Built<Clock> {
        let offset_ms = duration::offset(self.context, modifiers)?;
        Ok(Clock { grid, at_ms: duration::at(self.context, modifiers), offset_ms })
    }

    pub(super) fn selector(
        self,
        selector: &'a VectorSelector,
        span: Span,
        grid: Grid,
        field: SampleField,
    ) -> Built<Node<'a>> {
        let (context, clock) = (self.context, self.clock(&selector.modifiers, grid)?);
        let matchers = selector.matchers.0.as_slice();
        let unique = has_one_name(matchers);
        let unused = self.buckets == Buckets::Unused;
        if selector.modifiers.mode == RangeMode::Smoothed {
            let (start_ms, end_ms) = SmoothedSelector::times(context, clock);
            let stream = Box::new(StoredSamples::new(context, matchers, (start_ms, end_ms), unused));
            return Ok(Node::new(SmoothedSelector::new(context, stream, clock, span), unique));
        }
        let mut operator = InstantSelector::new(context, matchers, clock, field);
        operator.without_buckets = unused;
        Ok(Node::new(operator, unique))
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
        let unused = self.buckets == Buckets::Unused;
        let stream = StoredSamples::new(self.context, matchers, (start_ms, end_ms), unused);
        let unique_without_name = has_one_name(matchers);
        Ok(RangeVector { stream: Box::new(stream), clock, range_ms, mode, unique_without_name })
    }

    fn subquery(self, subquery: &'a Subquery, grid: Grid) -> Built<RangeVector<'a>> {
        let clock = self.clock(&subquery.modifiers, grid)?;
        let range_ms = duration::positive(self.context, &subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => duration::positive(self.context, step)?,
            None => self.context.engine.subquery_step_ms,
        };
        if step_ms < 1 {
            let text = "a subquery's step must be at least 1ms: write [5m:1m] instead of [5m:0.0001]";
            return Err(QueryError::Execution(text.to_owned()));
        }
        // The subquery's steps are multiples of its step, so that they are the same for every outer step.
        let after_ms = clock.first_ms().saturating_sub(range_ms);
        let mut start_ms = after_ms / step_ms * step_ms;
        if start_ms <= after_ms {
            start_ms = start_ms.saturating_add(step_ms);
        }
        // Up to the end of the query, though no window takes what follows its last step: Prometheus tells of it.
        let inner_grid = Grid { place: Place::Subquery, ..Grid::between(start_ms, clock.end_ms(), step_ms) };
        // A column of so many steps must itself fit the budget.
        drop(self.context.hold(inner_grid.count)?);
        let inner = self.with_buckets().vector(&subquery.inner, inner_grid)?;
        let unique_without_name = inner.unique_without_name;
        let merging = Merging::new(self.context, inner.operator);
        let stream =
            SubquerySamples { inner: Box::new(merging), grid: inner_grid, column: Column::default() };
        let mode = RangeMode::Plain;
        Ok(RangeVector { stream: Box::new(stream), clock, range_ms, mode, unique_without_name })
    }

    // Operators that drop the metric's name.

    /// Two series may now have the same labels, unless they could not differ in the name alone.
    pub(super) fn renamed(self, operator: impl Operator + 'a, unique_before: bool) -> Built<Node<'a>> {
        self.distinct(operator, unique_before, Clash::Step)
    }

    /// The same for a function of ranges.
    pub(super) fn renamed_of_range(
        self,
        operator: impl Operator + 'a,
        unique_before: bool,
    ) -> Built<Node<'a>> {
        self.distinct(operator, unique_before, Clash::Series)
    }

    fn distinct(self, operator: impl Operator + 'a, unique_before: bool, clash: Clash) -> Built<Node<'a>> {
        if self.context.delays_names() {
            return Ok(Node::new(operator, false));
        }
        if unique_before {
            return Ok(Node::new(operator, true));
        }
        Ok(Node::new(Distinct::new(self.context, Box::new(operator), clash)?, true))
    }

    pub(super) fn mapped(self, inner: Node<'a>, mapping: Mapping) -> Built<Node<'a>> {
        let unique = inner.unique_without_name;
        self.renamed(Mapped { context: self.context, inner: inner.operator, mapping }, unique)
    }

    // Binary operators.

    fn binary(self, expr: &'a Expr, binary: &'a Binary, grid: Grid) -> Built<Node<'a>> {
        let operation = Operation { op: binary.op, returns_bool: binary.returns_bool, span: expr.span };
        if !operation.is_plain() && self.buckets != Buckets::Used {
            return self.with_buckets().binary(expr, binary, grid);
        }
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
        let operator = VectorScalar::new(context, inner.operator, (scalar, scalar_is_left), operation);
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
            notes: StepNotes::default(),
        };
        Ok(Node::new(operator, unique && !self.context.delays_names()))
    }

    // Aggregations.

    fn aggregate(self, expr: &'a Expr, aggregate: &'a Aggregate, grid: Grid) -> Built<Node<'a>> {
        let Aggregate { op, operand, parameter, grouping } = aggregate;
        let unique = match grouping {
            Grouping::By(labels) => !labels.iter().any(|label| label == METRIC_NAME),
            Grouping::Without(_) => true,
        };
        if *op == Aggregation::CountValues {
            let Some(parameter) = parameter else { return Err(wrong_type(expr)) };
            let label = string(parameter)?;
            if label.as_str().is_empty() || !label.is_utf8() {
                let shown = quote_bytes(label.as_bytes());
                return Err(QueryError::Execution(format!("invalid label name {shown}")));
            }
            let label = label.as_str();
            let inner = self.vector(operand, grid)?.operator;
            let operator = Collected::new(CountValuesOperator::new(self.context, inner, label, grouping));
            return Ok(Node::new(operator, unique && label != METRIC_NAME));
        }
        let values = match parameter {
            Some(parameter) => self.scalar(parameter, grid)?,
            None => Vec::new(),
        };
        let inner = self.vector(operand, grid)?;
        if op.selects() {
            return self.selecting(expr, aggregate, inner, values);
        }
        if let (Aggregation::Quantile, Some(parameter)) = (op, parameter) {
            note_quantiles(self.context, &values, parameter.span);
        }
        let of_operand = (*op, unwrap(operand).span);
        let operator = AggregateOperator::new(self.context, inner.operator, of_operand, grouping, values);
        Ok(Node::new(Collected::new(operator), unique))
    }

    /// An aggregation that gives back some of its input's series. `values`: its parameter, one a step.
    fn selecting(
        self,
        expr: &'a Expr,
        aggregate: &'a Aggregate,
        mut inner: Node<'a>,
        values: Vec<f64>,
    ) -> Built<Node<'a>> {
        let Aggregate { op, parameter, grouping, .. } = aggregate;
        let context = self.context;
        let kept = inner.unique_without_name;
        let wants_any = match (op, parameter) {
            (Aggregation::LimitRatio, Some(parameter)) => check_ratio(context, &values, parameter.span)?,
            _ => check_count(&values)?,
        };
        if !wants_any {
            // What the operand warns of is wanted all the same.
            while inner.operator.next_into(&mut Column::default())?.is_some() {}
            return Ok(Node::new(Empty, true));
        }
        let limit = match op {
            Aggregation::LimitRatio => Limit::Ratio(values),
            Aggregation::Limitk => Limit::count(context, grouping, values)?,
            _ => {
                let which = (*op, expr.span);
                let operator = SelectOperator::new(context, inner.operator, which, grouping, values);
                return Ok(Node::new(Collected::new(operator), kept));
            }
        };
        Ok(Node::new(Limited { inner: inner.operator, limit }, kept))
    }
}
