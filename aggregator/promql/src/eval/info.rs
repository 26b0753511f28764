//! `info(x)`: adds labels of info metrics, which describe the target that a series is of.
//!
//! Series and info series meet in the labels that identify a target. Info metrics may change over time, so which one
//! a series meets is found step by step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rustc_hash::FxBuildHasher;
use vedette_model::{INSTANCE_LABEL, JOB_LABEL, Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher};

use crate::ast::{Expr, ExprKind};
use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead, is_present};
use crate::eval::context::{Context, Held};
use crate::eval::duration;
use crate::eval::merge::Merged;
use crate::eval::operator::{Computed, Operator, TakesAll};
use crate::eval::selector::{Clock, InstantSelector, SampleField};

/// The labels that identify a target.
const IDENTIFYING: [&str; 2] = [INSTANCE_LABEL, JOB_LABEL];

/// The info metric that is meant when none is named.
const TARGET_INFO: &str = "target_info";

/// A series as read.
type Read = (SeriesHead, Column);

/// Which target: the values of the identifying labels.
type Target = [String; 2];

fn target(labels: &Labels) -> Target {
    IDENTIFYING.map(|name| labels.get(name).unwrap_or("").to_owned())
}

/// Info series of one metric and one target.
#[derive(Default)]
struct Info {
    series: Vec<usize>,
}

/// `info(x, {…})`
pub(crate) struct InfoOperator<'a> {
    context: &'a Context<'a>,
    inner: Box<dyn Operator + 'a>,
    /// The time at which info series are looked at.
    clock: Clock,
    /// Which info metrics.
    name_matchers: Vec<Matcher>,
    /// Which labels are added, and what they must match. Without any, all labels are.
    label_matchers: Vec<Matcher>,
}

impl<'a> InfoOperator<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        inner: Box<dyn Operator + 'a>,
        clock: Clock,
        matchers: &[Matcher],
    ) -> Result<Self, QueryError> {
        let (name_matchers, label_matchers): (Vec<_>, Vec<_>) =
            matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let name_matchers = effective_names(name_matchers)?;
        Ok(Self { context, inner, clock, name_matchers, label_matchers })
    }

    /// Info series themselves are passed on as they are.
    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name().unwrap_or("");
        self.name_matchers.iter().all(|matcher| matcher.matches(name))
    }

    /// The info series of all targets that `base` has; their values are the times of their samples.
    fn read_infos(&self, base: &[Read], held: &mut Held<'a>) -> Result<Vec<Read>, QueryError> {
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (head, _) in base.iter().filter(|(head, _)| !self.is_info(&head.labels)) {
            for name in IDENTIFYING {
                if let Some(value) = head.labels.get(name) {
                    wanted.entry(name).or_default().insert(value);
                }
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut matchers = self.name_matchers.clone();
        matchers.extend(self.label_matchers.iter().cloned());
        for (name, values) in wanted {
            let values: Vec<_> = values.into_iter().map(regex::escape).collect();
            matchers.push(matcher(name, MatchOp::Regex, &values.join("|"))?);
        }
        let mut infos = Vec::new();
        let mut column = Column::default();
        let mut times = InstantSelector::new(self.context, &matchers, self.clock, SampleField::FloatTime);
        while let Some(head) = times.next_into(&mut column)? {
            if column.has_histograms() {
                let text = format!("this should be an info metric, with float samples: {:?}", head.labels);
                return Err(QueryError::Execution(text));
            }
            held.grow(column.weight())?;
            infos.push((head, std::mem::take(&mut column)));
        }
        Ok(infos)
    }

    /// The labels that the info series `found` add to `base`. They must agree.
    fn labels_of(&self, base: &Labels, found: &[&Labels]) -> Result<LabelsBuilder, QueryError> {
        let mut added = LabelsBuilder::default();
        let chosen = |name: &str| {
            self.label_matchers.is_empty() || self.label_matchers.iter().any(|matcher| matcher.name() == name)
        };
        let pairs = found.iter().flat_map(|labels| labels.iter());
        for (name, value) in pairs.filter(|(name, _)| *name != METRIC_NAME && chosen(name)) {
            match added.get(name) {
                Some(known) if known != value => {
                    return Err(QueryError::Execution(format!("conflicting label: {name}")));
                }
                _ if base.get(name).is_some() => {}
                _ => {
                    added.set(name, value);
                }
            }
        }
        Ok(added)
    }

    /// A series with the labels of the info series that it meets, which may be others at each step.
    fn enrich(&self, read: Read, infos: &Infos, output: &mut Merged<'a>) -> Result<(), QueryError> {
        let (head, mut column) = read;
        if self.is_info(&head.labels) {
            return output.add(head, &mut column);
        }
        let candidates = infos.of(&head.labels);
        let without_info_matches = self.label_matchers.iter().all(|matcher| matcher.matches(""));
        let mut columns: HashMap<Vec<usize>, Column, FxBuildHasher> = HashMap::default();
        let mut order: Vec<Vec<usize>> = Vec::new();
        for (step, sample) in column.samples() {
            let found: Vec<_> = candidates.iter().filter_map(|info| infos.newest(info, step)).collect();
            if found.is_empty() && !without_info_matches {
                continue;
            }
            if !columns.contains_key(&found) {
                order.push(found.clone());
            }
            let column = columns.entry(found).or_insert_with(|| Column::absent(column.steps()));
            column.set(step, Some(sample));
        }
        for found in order {
            let Some(mut column) = columns.remove(&found) else { continue };
            let found: Vec<_> = found.iter().map(|info| &infos.series[*info].0.labels).collect();
            let added = self.labels_of(&head.labels, &found)?.finish();
            let mut labels = head.labels.to_builder();
            for (name, value) in &added {
                labels.set(name, value);
            }
            output.add(SeriesHead { labels: labels.finish(), ..head.clone() }, &mut column)?;
        }
        Ok(())
    }
}

impl<'a> TakesAll<'a> for InfoOperator<'a> {
    fn consume(&mut self) -> Result<(Computed, Held<'a>), QueryError> {
        let mut held = self.context.hold(0)?;
        let mut base = Vec::new();
        let mut column = Column::default();
        while let Some(head) = self.inner.next_into(&mut column)? {
            held.grow(column.weight())?;
            base.push((head, std::mem::take(&mut column)));
        }
        let infos = Infos::new(self.read_infos(&base, &mut held)?);
        infos.check_distinct(|step| base.iter().any(|(_, column)| column.is_present(step)))?;
        let mut output = Merged::new(self.context)?;
        for read in base {
            self.enrich(read, &infos, &mut output)?;
        }
        Ok(output.into_computed())
    }
}

/// All info series that were read.
struct Infos {
    series: Vec<Read>,
    /// By metric, then by target.
    by_metric: BTreeMap<String, HashMap<Target, Info, FxBuildHasher>>,
}

impl Infos {
    fn new(series: Vec<Read>) -> Self {
        let mut by_metric: BTreeMap<String, HashMap<Target, Info, FxBuildHasher>> = BTreeMap::new();
        for (number, (head, _)) in series.iter().enumerate() {
            let name = head.labels.metric_name().unwrap_or("").to_owned();
            let of_metric = by_metric.entry(name).or_default();
            of_metric.entry(target(&head.labels)).or_default().series.push(number);
        }
        Self { series, by_metric }
    }

    /// Those of the target that a series is of.
    fn of(&self, labels: &Labels) -> Vec<&Info> {
        let target = target(labels);
        self.by_metric.values().filter_map(|by_target| by_target.get(&target)).collect()
    }

    /// The one whose sample is the newest, and when that was.
    fn newest(&self, info: &Info, step: usize) -> Option<usize> {
        let times = info.series.iter().map(|number| (*number, self.series[*number].1.floats[step]));
        let present = times.filter(|(_, time)| is_present(*time));
        present.max_by(|left, right| left.1.total_cmp(&right.1)).map(|(number, _)| number)
    }

    /// Of two series that describe the same target at the same time none is right.
    fn check_distinct(&self, matters: impl Fn(usize) -> bool) -> Result<(), QueryError> {
        let infos = self.by_metric.values().flat_map(HashMap::values);
        for info in infos.filter(|info| info.series.len() > 1) {
            let steps = self.series[info.series[0]].1.steps();
            for step in (0..steps).filter(|step| matters(*step)) {
                let mut newest: Option<(usize, f64)> = None;
                for number in &info.series {
                    let time = self.series[*number].1.floats[step];
                    match newest {
                        _ if !is_present(time) => {}
                        Some((known, known_time)) if known_time == time => {
                            return Err(self.duplicate_error(known, *number, time));
                        }
                        Some((_, known_time)) if known_time > time => {}
                        _ => newest = Some((*number, time)),
                    }
                }
            }
        }
        Ok(())
    }

    fn duplicate_error(&self, known: usize, number: usize, time: f64) -> QueryError {
        let at_ms = (time * 1000.0).round() as i64;
        let [known, number] = [known, number].map(|number| &self.series[number].0.labels);
        QueryError::Execution(format!(
            "found duplicate series for info metric: existing {known:?} @ {at_ms}, new {number:?} @ {at_ms}"
        ))
    }
}

/// Names of info metrics: where no matcher says which, they end in `_info`; without matchers there is one.
fn effective_names(mut matchers: Vec<Matcher>) -> Result<Vec<Matcher>, QueryError> {
    if matchers.is_empty() {
        return Ok(vec![matcher(METRIC_NAME, MatchOp::Equal, TARGET_INFO)?]);
    }
    let says_which = |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
    if !matchers.iter().any(says_which) {
        matchers.insert(0, matcher(METRIC_NAME, MatchOp::Regex, ".+_info")?);
    }
    Ok(matchers)
}

fn matcher(name: &str, op: MatchOp, value: &str) -> Result<Matcher, QueryError> {
    Matcher::new(op, name, value).map_err(|error| QueryError::Execution(error.to_string()))
}

/// The time at which the first selector in `expr` looks: `@` and `offset` of its own and of the subqueries around it,
/// up to the first that fixes the time.
pub(crate) fn reference_time(
    context: &Context<'_>,
    expr: &Expr,
) -> Result<Option<(Option<i64>, i64)>, QueryError> {
    let first_of = |parts: &[&Expr]| {
        let found = parts.iter().map(|part| reference_time(context, part));
        found.into_iter().find(|found| !matches!(found, Ok(None))).unwrap_or(Ok(None))
    };
    match &expr.kind {
        ExprKind::Vector(selector) => {
            let modifiers = &selector.modifiers;
            Ok(Some((duration::at(context, modifiers), duration::offset(context, modifiers)?)))
        }
        ExprKind::Matrix(matrix) => {
            let modifiers = &matrix.selector.modifiers;
            Ok(Some((duration::at(context, modifiers), duration::offset(context, modifiers)?)))
        }
        ExprKind::Subquery(subquery) => match reference_time(context, &subquery.inner)? {
            Some((None, offset_ms)) => {
                let offset_ms = offset_ms.saturating_add(duration::offset(context, &subquery.modifiers)?);
                Ok(Some((duration::at(context, &subquery.modifiers), offset_ms)))
            }
            found => Ok(found),
        },
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => reference_time(context, inner),
        ExprKind::Binary(binary) => first_of(&[&binary.left, &binary.right]),
        ExprKind::Aggregate(aggregate) => {
            let parts: Vec<_> =
                [Some(&aggregate.operand), aggregate.parameter.as_ref()].into_iter().flatten().collect();
            first_of(&parts)
        }
        ExprKind::Call(call) => first_of(&call.arguments.iter().collect::<Vec<_>>()),
        ExprKind::Number { .. } | ExprKind::String(_) => Ok(None),
    }
}
