//! From function calls to operators.

use vedette_model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, compile_remembered};

use crate::ast::{Call, Expr, ExprKind, RangeMode, Span, ValueType};
use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::builder::{Builder, Built, RangeVector};
use crate::eval::column::{Grid, SeriesHead};
use crate::eval::expression::{string, unwrap, wrong_type};
use crate::eval::extended::{ExtendedFunction, ExtendedWindow};
use crate::eval::function::{self, Absent, Mapping};
use crate::eval::histogram::{HistogramOperator, HistogramQuestion};
use crate::eval::info::{InfoOperator, reference_time};
use crate::eval::label::{Relabel, Relabelled, split_replacement};
use crate::eval::merge::{Clash, Distinct};
use crate::eval::native::{self, HistogramMapped};
use crate::eval::operator::{Collected, Computed, Empty, Node, Operator};
use crate::eval::parameter::note_quantile;
use crate::eval::selector::{Clock, SampleField};
use crate::eval::sort::{FloatsOnly, SortKey, Sorted};
use crate::eval::window::{WindowFunction, WindowOperator};

impl<'a> Builder<'a> {
    pub(super) fn call(self, expr: &'a Expr, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
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
        if let Some(function) = native::of_histogram(name) {
            return self.of_histogram(function, call, grid);
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
            "start_timestamp" => self.start_timestamp(&arguments[0], grid),
            "info" => self.info(arguments, grid),
            _ => Err(wrong_type(expr)),
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
            let inner = self.selector(selector, argument.span, grid, SampleField::Time)?;
            return self.mapped(inner, Mapping::Simple(|time| time));
        }
        let times = (0..grid.count).map(|step| grid.time_ms(step) as f64 / 1000.0).collect();
        let inner = self.vector(argument, grid)?;
        self.mapped(inner, Mapping::StepTime(times))
    }

    /// Only of a selector is it known since when its samples count.
    fn start_timestamp(self, argument: &'a Expr, grid: Grid) -> Built<Node<'a>> {
        let argument = unwrap(argument);
        match &argument.kind {
            ExprKind::Vector(selector) if self.context.engine.use_start_timestamps => {
                let inner = self.selector(selector, argument.span, grid, SampleField::Start)?;
                self.mapped(inner, Mapping::Simple(|time| time))
            }
            _ => {
                let mut inner = self.vector(argument, grid)?.operator;
                while inner.next_into(&mut Default::default())?.is_some() {}
                Ok(Node::new(Empty, true))
            }
        }
    }

    fn of_histogram(self, function: native::OfHistogram, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
        let without_buckets =
            matches!(call.function.name, "histogram_count" | "histogram_sum" | "histogram_avg");
        let builder = if without_buckets { self.without_buckets() } else { self };
        let inner = builder.vector(&call.arguments[0], grid)?;
        let unique = inner.unique_without_name;
        self.renamed(HistogramMapped { context: self.context, inner: inner.operator, function }, unique)
    }

    fn info(self, arguments: &'a [Expr], grid: Grid) -> Built<Node<'a>> {
        let inner = self.vector(&arguments[0], grid)?.operator;
        let matchers = match arguments.get(1).map(|argument| &unwrap(argument).kind) {
            Some(ExprKind::Vector(selector)) => selector.matchers.0.as_slice(),
            _ => &[],
        };
        let (at_ms, offset_ms) = reference_time(self.context, &arguments[0])?.unwrap_or((None, 0));
        let clock = Clock { grid, at_ms, offset_ms };
        let operator = InfoOperator::new(self.context, inner, clock, matchers)?;
        Ok(Node::new(Collected::new(operator), false))
    }

    fn absent(self, inner: Box<dyn Operator + 'a>, argument: &Expr, grid: Grid) -> Node<'a> {
        let head = SeriesHead { labels: absent_labels(argument), drop_name: false };
        Node::new(Absent { inner, head: Some(head), steps: grid.count }, true)
    }

    fn relabel(self, name: &str, arguments: &'a [Expr], grid: Grid) -> Built<Node<'a>> {
        let text = |index: usize| string(&arguments[index]).map(|value| value.as_str().to_owned());
        let label = |index: usize, which: &str| {
            let label = string(&arguments[index])?;
            if label.as_str().is_empty() || !label.is_utf8() {
                let text = format!("invalid {which} label name in {name}(): {}", label.as_str());
                return Err(QueryError::Execution(text));
            }
            Ok(label.as_str().to_owned())
        };
        let relabel = if name == "label_replace" {
            let pattern = text(4)?;
            let compiled = compile_remembered(&pattern).map_err(|_| {
                QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}"))
            })?;
            let destination = label(1, "destination")?;
            let replacement = split_replacement(&text(2)?);
            Relabel::Replace { destination, replacement, source: text(3)?, pattern: compiled }
        } else {
            let sources = (3..arguments.len()).map(|index| label(index, "source"));
            let sources = sources.collect::<Built<Vec<_>>>()?;
            Relabel::Join { destination: label(1, "destination")?, separator: text(2)?, sources }
        };
        let inner = self.vector(&arguments[0], grid)?.operator;
        let operator = Distinct::new(self.context, Box::new(Relabelled { inner, relabel }), Clash::Step)?;
        Ok(Node::new(operator, false))
    }

    fn sort(self, expr: &'a Expr, call: &'a Call, grid: Grid) -> Built<Node<'a>> {
        let inner = self.vector(&call.arguments[0], grid)?;
        if self.context.start_ms != self.context.end_ms {
            self.context.annotate(Annotation::SortInRangeQuery, expr.span);
        }
        let name = call.function.name;
        let descending = name.ends_with("_desc");
        let unique = inner.unique_without_name;
        let key = if name.starts_with("sort_by_label") {
            let names = call.arguments[1..].iter().map(|name| Ok(string(name)?.as_str().to_owned()));
            SortKey::Labels { names: names.collect::<Built<Vec<_>>>()?, descending }
        } else {
            SortKey::Value { descending }
        };
        Ok(match (grid.count == 1, &key) {
            (true, _) => Node::new(Collected::new(Sorted::new(self.context, inner.operator, key)), unique),
            (false, SortKey::Value { .. }) => Node::new(FloatsOnly { inner: inner.operator }, unique),
            (false, SortKey::Labels { .. }) => inner,
        })
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
                let label = string(&arguments[1])?.as_str().to_owned();
                let mut wanted = Vec::new();
                for argument in &arguments[2..] {
                    let values = self.scalar(argument, grid)?;
                    self.note_each_quantile(&values, argument);
                    wanted.push(values);
                }
                (&arguments[0], HistogramQuestion::Quantiles { label, wanted })
            }
        };
        let inner = self.with_buckets().vector(vector, grid)?;
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
            _ => return Err(wrong_type(argument)),
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
        if keeps_name { Ok(Node::new(operator, unique)) } else { self.renamed_of_range(operator, unique) }
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
        self.renamed_of_range(operator, unique)
    }
}

/// One series without labels.
fn constant_series<'a>(column: Vec<f64>) -> Node<'a> {
    let head = SeriesHead { labels: Labels::empty(), drop_name: false };
    Node::new(Computed::new(vec![(head, column.into())]), true)
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
