//! Arithmetic and comparison.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use vedette_model::{Labels, LabelsBuilder};

use crate::ast::{BinaryOp, Cardinality, Span, VectorMatching};
use crate::error::QueryError;
use crate::eval::annotations::Annotation;
use crate::eval::column::{ABSENT, SeriesHead, StepSet, is_present, without_metric};
use crate::eval::context::{Context, Held};
use crate::eval::merge::same_labelset;
use crate::eval::operator::{Computed, Operator};
use crate::eval::signature::{KeyIndex, KeyLabels};

/// What an operator makes of two numbers: the value, and whether a filtering comparison keeps it.
#[inline]
pub(crate) fn apply(op: BinaryOp, left: f64, right: f64) -> (f64, bool) {
    match op {
        BinaryOp::Add => (left + right, true),
        BinaryOp::Sub => (left - right, true),
        BinaryOp::Mul => (left * right, true),
        BinaryOp::Div => (left / right, true),
        BinaryOp::Mod => (left % right, true),
        BinaryOp::Pow => (left.powf(right), true),
        BinaryOp::Atan2 => (left.atan2(right), true),
        BinaryOp::Equal => (left, left == right),
        BinaryOp::NotEqual => (left, left != right),
        BinaryOp::Less => (left, left < right),
        BinaryOp::LessEqual => (left, left <= right),
        BinaryOp::Greater => (left, left > right),
        BinaryOp::GreaterEqual => (left, left >= right),
        // Trims are for native histograms; set operators never come here.
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => {
            (0.0, false)
        }
    }
}

/// Between two scalars a comparison gives 0 or 1.
pub(crate) fn apply_scalar(op: BinaryOp, left: f64, right: f64) -> f64 {
    let (value, keeps) = apply(op, left, right);
    if op.is_comparison() { f64::from(u8::from(keeps)) } else { value }
}

const fn changes_metric(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Add
            | BinaryOp::Sub
            | BinaryOp::Mul
            | BinaryOp::Div
            | BinaryOp::Mod
            | BinaryOp::Pow
            | BinaryOp::Atan2
    )
}

/// Trims make nothing of floats.
fn note_trim(context: &Context<'_>, op: BinaryOp, span: Span) {
    if matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
        context.annotate(Annotation::IncompatibleTypes { operator: op.as_str() }, span);
    }
}

/// An operator's own part: which, whether `bool`, where.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) op: BinaryOp,
    pub(crate) returns_bool: bool,
    pub(crate) span: Span,
}

impl Operation {
    /// Whether its results are another metric than its operands.
    pub(crate) const fn drops_name(&self) -> bool {
        self.returns_bool || changes_metric(self.op)
    }
}

/// `x + 1`, `1 + x`
pub(crate) struct VectorScalar<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) inner: Box<dyn Operator + 'a>,
    /// One a step.
    pub(crate) scalar: Vec<f64>,
    pub(crate) scalar_is_left: bool,
    pub(crate) operation: Operation,
}

impl VectorScalar<'_> {
    fn value(&self, value: f64, scalar: f64) -> f64 {
        let Operation { op, returns_bool, .. } = self.operation;
        let (left, right) = if self.scalar_is_left { (scalar, value) } else { (value, scalar) };
        let (result, keeps) = apply(op, left, right);
        if returns_bool {
            f64::from(u8::from(keeps))
        } else if !keeps {
            ABSENT
        } else if op.is_comparison() {
            // The vector's value is kept, whichever side it is on.
            value
        } else {
            result
        }
    }
}

impl Operator for VectorScalar<'_> {
    fn next_into(&mut self, column: &mut Vec<f64>) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(mut head) = self.inner.next_into(column)? else { return Ok(None) };
            note_trim(self.context, self.operation.op, self.operation.span);
            let mut any = false;
            for (value, scalar) in column.iter_mut().zip(&self.scalar) {
                if is_present(*value) {
                    *value = self.value(*value, *scalar);
                    any |= is_present(*value);
                }
            }
            if !any {
                continue;
            }
            if self.operation.drops_name() {
                head.drop_name = true;
                if !self.context.delays_names() {
                    head.labels = without_metric(&head.labels);
                }
            }
            return Ok(Some(head));
        }
    }
}

/// `a + b`: the series of the "one" side are held by their key, those of the "many" side stream by.
///
/// One-to-one is the same with the left side as "many" and a check that each key has one only.
pub(crate) struct VectorVector<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) many: Box<dyn Operator + 'a>,
    pub(crate) one: Box<dyn Operator + 'a>,
    pub(crate) matching: &'a VectorMatching,
    pub(crate) operation: Operation,
    /// How many steps.
    pub(crate) steps: usize,
    /// No two series of the "many" side can give the same labels, so that results need not be held.
    pub(crate) streams: bool,
    pub(crate) state: JoinState<'a>,
}

/// What has been done of a join.
pub(crate) enum JoinState<'a> {
    Waiting,
    Streaming(OneSide<'a>),
    Giving(Computed, Held<'a>),
}

/// The "one" side: by key number, its series.
pub(crate) struct OneSide<'a> {
    keys: KeyIndex,
    groups: Vec<Vec<OneSeries>>,
    /// Steps at which a key has two series, which is wrong if the other side has anything there.
    conflicts: Vec<Option<(Labels, Labels)>>,
    held: Held<'a>,
}

struct OneSeries {
    head: SeriesHead,
    column: Vec<f64>,
    /// Steps at which it had a partner.
    matched: Option<StepSet>,
}

/// Results by their labels, with the steps that have been matched even where nothing was kept.
struct Results<'a> {
    index: HashMap<Labels, usize, FxBuildHasher>,
    series: Vec<(SeriesHead, Vec<f64>)>,
    /// For each key (one-to-one) or key and result (grouped).
    matched: HashMap<(usize, usize), StepSet, FxBuildHasher>,
    held: Held<'a>,
}

impl<'a> VectorVector<'a> {
    fn many_is_right(&self) -> bool {
        self.matching.cardinality == Cardinality::OneToMany
    }

    fn load_one_side(&mut self) -> Result<OneSide<'a>, QueryError> {
        let mut side = OneSide {
            keys: KeyIndex::new(KeyLabels::of_matching(self.matching)),
            groups: Vec::new(),
            conflicts: Vec::new(),
            held: self.context.hold(0)?,
        };
        let mut column = Vec::new();
        while let Some(head) = self.one.next_into(&mut column)? {
            side.held.grow(column.len())?;
            let number = side.keys.number(&head.labels);
            if number == side.groups.len() {
                side.groups.push(Vec::new());
            }
            for known in &side.groups[number] {
                note_conflicts(&mut side.conflicts, known, &head, &column);
            }
            let column = std::mem::take(&mut column);
            side.groups[number].push(OneSeries { head, column, matched: None });
        }
        Ok(side)
    }

    fn check_conflicts(&self, side: &OneSide<'_>, many: &[f64]) -> Result<(), QueryError> {
        for (conflict, value) in side.conflicts.iter().zip(many) {
            if let (Some((first, second)), true) = (conflict, is_present(*value)) {
                return Err(self.duplicate_error(&side.keys, first, second));
            }
        }
        Ok(())
    }

    fn duplicate_error(&self, keys: &KeyIndex, first: &Labels, second: &Labels) -> QueryError {
        let mut shown = [format!("{first:?}"), format!("{second:?}")];
        shown.sort_unstable();
        let side = if self.many_is_right() { "left" } else { "right" };
        let [first_shown, second_shown] = shown;
        QueryError::Execution(format!(
            "found duplicate series for the match group {:?} on the {side} hand-side of the operation: \
             [{first_shown}, {second_shown}];many-to-many matching not allowed: matching labels must be unique \
             on one side",
            keys.project(first),
        ))
    }

    fn result_head(&self, many: &Labels, one: &Labels) -> SeriesHead {
        let Operation { op, returns_bool, .. } = self.operation;
        let drops = (returns_bool && !self.context.delays_names()) || changes_metric(op);
        let mut labels = if drops { without_metric(many) } else { many.clone() };
        let matching = self.matching;
        if matching.cardinality == Cardinality::OneToOne && (matching.on || !matching.labels.is_empty()) {
            let listed = |name: &str| matching.labels.iter().any(|label| label == name);
            labels = labels.filtered(|name| listed(name) == matching.on);
        }
        if !matching.include.is_empty() {
            let mut builder: LabelsBuilder = labels.to_builder();
            for name in &matching.include {
                builder.set(name, one.get(name).unwrap_or(""));
            }
            labels = builder.finish();
        }
        // As in Prometheus, what the operands said of their names is forgotten.
        SeriesHead { labels, drop_name: returns_bool }
    }

    /// The result of one step, and whether it is kept.
    fn value(&self, many: f64, one: f64) -> (f64, bool) {
        let (left, right) = if self.many_is_right() { (one, many) } else { (many, one) };
        let (value, keeps) = apply(self.operation.op, left, right);
        if self.operation.returns_bool { (f64::from(u8::from(keeps)), true) } else { (value, keeps) }
    }

    /// What stands for a missing partner of the "many" side. As in Prometheus `group_right` swaps the sides but
    /// not their fill values.
    fn fill_for_one(&self) -> Option<f64> {
        self.matching.fill.right.map(|value| value.0)
    }

    fn fill_for_many(&self) -> Option<f64> {
        self.matching.fill.left.map(|value| value.0)
    }

    /// A step of the streaming join: each key has at most one partner, and no two results share labels.
    fn stream(
        &mut self,
        side: &mut OneSide<'a>,
        column: &mut Vec<f64>,
    ) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(many) = self.many.next_into(column)? else { return Ok(None) };
            self.check_conflicts(side, column)?;
            let Some(number) = side.keys.known(&many.labels) else { continue };
            note_trim(self.context, self.operation.op, self.operation.span);
            let mut any = false;
            for (step, value) in column.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                let partner =
                    side.groups[number].iter().map(|one| one.column[step]).find(|one| is_present(*one));
                let (result, keeps) = partner.map_or((ABSENT, false), |one| self.value(*value, one));
                *value = if keeps { result } else { ABSENT };
                any |= is_present(*value);
            }
            if any {
                return Ok(Some(self.result_head(&many.labels, &Labels::empty())));
            }
        }
    }

    /// The general join: results are held, because several pairs may give the same labels.
    fn join(&mut self, side: &mut OneSide<'a>) -> Result<Results<'a>, QueryError> {
        let mut results = Results {
            index: HashMap::default(),
            series: Vec::new(),
            matched: HashMap::default(),
            held: self.context.hold(0)?,
        };
        let mut column = Vec::new();
        while let Some(many) = self.many.next_into(&mut column)? {
            self.check_conflicts(side, &column)?;
            let number = match self.fill_for_one() {
                Some(_) => Some(side.keys.number(&many.labels)),
                None => side.keys.known(&many.labels),
            };
            let Some(number) = number else { continue };
            if number >= side.groups.len() {
                side.groups.resize_with(number + 1, Vec::new);
            }
            let mut rest = column.clone();
            for index in 0..side.groups[number].len() {
                let one = &side.groups[number][index];
                let pairs: Vec<_> = (0..rest.len())
                    .filter(|step| is_present(rest[*step]) && is_present(one.column[*step]))
                    .map(|step| (step, rest[step], one.column[step]))
                    .collect();
                pairs.iter().for_each(|(step, ..)| rest[*step] = ABSENT);
                let head = self.result_head(&many.labels, &one.head.labels);
                self.add_pairs(&mut results, number, head, &pairs)?;
                let one = &mut side.groups[number][index];
                let matched = one.matched.get_or_insert_with(|| StepSet::new(self.steps));
                for (step, ..) in &pairs {
                    matched.insert(*step);
                }
            }
            if let Some(fill) = self.fill_for_one() {
                let pairs: Vec<_> = (0..rest.len())
                    .filter(|step| is_present(rest[*step]))
                    .map(|step| (step, rest[step], fill))
                    .collect();
                let one = side.keys.project(&many.labels);
                let head = self.result_head(&many.labels, &one);
                self.add_pairs(&mut results, number, head, &pairs)?;
            }
        }
        if let Some(fill) = self.fill_for_many() {
            self.fill_unmatched(side, &mut results, fill)?;
        }
        Ok(results)
    }

    /// Series of the "one" side that found no partner meet `fill`.
    fn fill_unmatched(
        &self,
        side: &OneSide<'a>,
        results: &mut Results<'a>,
        fill: f64,
    ) -> Result<(), QueryError> {
        for (number, one) in side
            .groups
            .iter()
            .enumerate()
            .flat_map(|(number, group)| group.iter().map(move |one| (number, one)))
        {
            let unmatched = |step: usize| !one.matched.as_ref().is_some_and(|matched| matched.contains(step));
            let pairs: Vec<_> = (0..one.column.len())
                .filter(|step| is_present(one.column[*step]) && unmatched(*step))
                .map(|step| (step, fill, one.column[step]))
                .collect();
            let many = side.keys.project(&one.head.labels);
            let head = self.result_head(&many, &one.head.labels);
            self.add_pairs(results, number, head, &pairs)?;
        }
        Ok(())
    }

    /// Adds the results of pairs `(step, many, one)`, all with the same labels.
    fn add_pairs(
        &self,
        results: &mut Results<'a>,
        key: usize,
        head: SeriesHead,
        pairs: &[(usize, f64, f64)],
    ) -> Result<(), QueryError> {
        if pairs.is_empty() {
            return Ok(());
        }
        note_trim(self.context, self.operation.op, self.operation.span);
        let number = match results.index.get(&head.labels) {
            Some(number) => *number,
            None => {
                results.held.grow(self.steps)?;
                results.index.insert(head.labels.clone(), results.series.len());
                results.series.push((head, vec![ABSENT; self.steps]));
                results.series.len() - 1
            }
        };
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let matched_by = (key, if one_to_one { usize::MAX } else { number });
        let matched = results.matched.entry(matched_by).or_insert_with(|| StepSet::new(self.steps));
        for (step, many, one) in pairs {
            if !matched.insert(*step) {
                return Err(QueryError::Execution(if one_to_one {
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                        .to_owned()
                } else {
                    "multiple matches for labels: grouping labels must ensure unique matches".to_owned()
                }));
            }
            let (value, keeps) = self.value(*many, *one);
            if keeps {
                let slot = &mut results.series[number].1[*step];
                if is_present(*slot) {
                    return Err(same_labelset());
                }
                *slot = value;
            }
        }
        Ok(())
    }
}

fn note_conflicts(
    conflicts: &mut Vec<Option<(Labels, Labels)>>,
    known: &OneSeries,
    head: &SeriesHead,
    column: &[f64],
) {
    for (step, value) in column.iter().enumerate() {
        if is_present(*value) && is_present(known.column[step]) {
            if conflicts.is_empty() {
                conflicts.resize(column.len(), None);
            }
            let both = || (known.head.labels.clone(), head.labels.clone());
            conflicts[step].get_or_insert_with(both);
        }
    }
}

impl Operator for VectorVector<'_> {
    fn next_into(&mut self, column: &mut Vec<f64>) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            match std::mem::replace(&mut self.state, JoinState::Waiting) {
                JoinState::Waiting => {
                    let mut side = self.load_one_side()?;
                    if self.streams {
                        self.state = JoinState::Streaming(side);
                        continue;
                    }
                    let results = self.join(&mut side)?;
                    self.state = JoinState::Giving(Computed::new(results.series), results.held);
                }
                JoinState::Streaming(mut side) => {
                    let head = self.stream(&mut side, column)?;
                    self.state = JoinState::Streaming(side);
                    return Ok(head);
                }
                JoinState::Giving(mut computed, held) => {
                    let head = computed.next_into(column);
                    self.state = JoinState::Giving(computed, held);
                    return Ok(head);
                }
            }
        }
    }
}
