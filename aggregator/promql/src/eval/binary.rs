//! Arithmetic and comparison between two vectors.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;
use vedette_model::{Labels, LabelsBuilder};

use crate::ast::{Cardinality, VectorMatching};
use crate::error::QueryError;
use crate::eval::arithmetic::{Combined, Operation, StepNotes, apply, changes_metric, combine, truth};
use crate::eval::column::{ABSENT, Column, SeriesHead, StepSet, is_present, without_metric};
use crate::eval::context::{Context, Held};
use crate::eval::merge::same_labelset;
use crate::eval::operator::{Computed, Operator};
use crate::eval::signature::{KeyIndex, KeyLabels};
use crate::value::SampleValue;

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
    pub(crate) notes: StepNotes,
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
    column: Column,
    /// Steps at which it had a partner.
    matched: Option<StepSet>,
}

/// Results by their labels, with the steps that have been matched even where nothing was kept.
struct Results<'a> {
    index: HashMap<Labels, usize, FxBuildHasher>,
    series: Vec<(SeriesHead, Column)>,
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
        let mut column = Column::default();
        while let Some(head) = self.one.next_into(&mut column)? {
            side.held.grow(column.weight())?;
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

    fn check_conflicts(&self, side: &OneSide<'_>, many: &Column) -> Result<(), QueryError> {
        for (step, conflict) in side.conflicts.iter().enumerate() {
            if let (Some((first, second)), true) = (conflict, many.is_present(step)) {
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

    /// The result of two floats, and whether it is kept.
    fn float(&self, many: f64, one: f64) -> (f64, bool) {
        let (left, right) = if self.many_is_right() { (one, many) } else { (many, one) };
        let (value, keeps) = apply(self.operation.op, left, right);
        if self.operation.returns_bool { (truth(keeps), true) } else { (value, keeps) }
    }

    /// The result of two samples of any type, and whether it is kept. `None` where they do not fit.
    fn sample(&mut self, step: usize, many: &SampleValue, one: &SampleValue) -> Option<(SampleValue, bool)> {
        if let (SampleValue::Float(many), SampleValue::Float(one), true) =
            (many, one, self.operation.is_plain())
        {
            let (value, keeps) = self.float(*many, *one);
            return Some((SampleValue::Float(value), keeps));
        }
        let (left, right) = if self.many_is_right() { (one, many) } else { (many, one) };
        let Combined { result, note } = combine(self.operation.op, left, right);
        if let Some(note) = note {
            self.notes.note(step, note);
        }
        let (value, keeps) = result?;
        Some(if self.operation.returns_bool {
            (SampleValue::Float(truth(keeps)), true)
        } else {
            (value, keeps)
        })
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
        column: &mut Column,
    ) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            let Some(many) = self.many.next_into(column)? else { return Ok(None) };
            self.check_conflicts(side, column)?;
            let Some(number) = side.keys.known(&many.labels) else { continue };
            let group = &side.groups[number];
            let floats = self.operation.is_plain()
                && !column.has_histograms()
                && !group.iter().any(|one| one.column.has_histograms());
            if floats {
                for (step, value) in column.floats.iter_mut().enumerate() {
                    if is_present(*value) {
                        let mut partners = group.iter().map(|one| one.column.floats[step]);
                        let partner = partners.find(|one| is_present(*one));
                        let (result, keeps) = partner.map_or((ABSENT, false), |one| self.float(*value, one));
                        *value = if keeps { result } else { ABSENT };
                    }
                }
            } else {
                let samples: Vec<_> = column.samples().collect();
                for (step, sample) in samples {
                    let partner = group.iter().find_map(|one| one.column.sample(step));
                    let result = partner.and_then(|one| self.sample(step, &sample, &one));
                    column.set(step, result.and_then(|(value, keeps)| keeps.then_some(value)));
                }
            }
            if column.any() {
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
        let mut column = Column::default();
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
            for index in 0..side.groups[number].len() {
                let one = &side.groups[number][index];
                let pairs: Vec<_> = column
                    .samples()
                    .filter_map(|(step, sample)| Some((step, sample, one.column.sample(step)?)))
                    .collect();
                pairs.iter().for_each(|(step, ..)| column.set(*step, None));
                let head = self.result_head(&many.labels, &one.head.labels);
                let met = self.add_pairs(&mut results, number, head, &pairs)?;
                let one = &mut side.groups[number][index];
                let matched = one.matched.get_or_insert_with(|| StepSet::new(self.steps));
                for step in met {
                    matched.insert(step);
                }
            }
            if let Some(fill) = self.fill_for_one() {
                let pairs: Vec<_> =
                    column.samples().map(|(step, sample)| (step, sample, SampleValue::Float(fill))).collect();
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
        &mut self,
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
            let pairs: Vec<_> = one
                .column
                .samples()
                .filter(|(step, _)| unmatched(*step))
                .map(|(step, sample)| (step, SampleValue::Float(fill), sample))
                .collect();
            let many = side.keys.project(&one.head.labels);
            let head = self.result_head(&many, &one.head.labels);
            self.add_pairs(results, number, head, &pairs)?;
        }
        Ok(())
    }

    /// Adds the results of pairs `(step, many, one)`, all with the same labels. Gives the steps at which they met:
    /// samples whose types do not fit count as if they had not.
    fn add_pairs(
        &mut self,
        results: &mut Results<'a>,
        key: usize,
        head: SeriesHead,
        pairs: &[(usize, SampleValue, SampleValue)],
    ) -> Result<Vec<usize>, QueryError> {
        let mut met = Vec::new();
        if pairs.is_empty() {
            return Ok(met);
        }
        let number = match results.index.get(&head.labels) {
            Some(number) => *number,
            None => {
                results.held.grow(self.steps)?;
                results.index.insert(head.labels.clone(), results.series.len());
                results.series.push((head, Column::absent(self.steps)));
                results.series.len() - 1
            }
        };
        let one_to_one = self.matching.cardinality == Cardinality::OneToOne;
        let matched_by = (key, if one_to_one { usize::MAX } else { number });
        for (step, many, one) in pairs {
            let Some((value, keeps)) = self.sample(*step, many, one) else { continue };
            let matched = results.matched.entry(matched_by).or_insert_with(|| StepSet::new(self.steps));
            if !matched.insert(*step) {
                return Err(QueryError::Execution(if one_to_one {
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                        .to_owned()
                } else {
                    "multiple matches for labels: grouping labels must ensure unique matches".to_owned()
                }));
            }
            met.push(*step);
            if keeps {
                let column = &mut results.series[number].1;
                if column.is_present(*step) {
                    return Err(same_labelset());
                }
                column.set(*step, Some(value));
            }
        }
        Ok(met)
    }
}

fn note_conflicts(
    conflicts: &mut Vec<Option<(Labels, Labels)>>,
    known: &OneSeries,
    head: &SeriesHead,
    column: &Column,
) {
    for step in 0..column.steps() {
        if column.is_present(step) && known.column.is_present(step) {
            if conflicts.is_empty() {
                conflicts.resize(column.steps(), None);
            }
            let both = || (known.head.labels.clone(), head.labels.clone());
            conflicts[step].get_or_insert_with(both);
        }
    }
}

impl Operator for VectorVector<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        loop {
            match std::mem::replace(&mut self.state, JoinState::Waiting) {
                JoinState::Waiting => {
                    let mut side = self.load_one_side()?;
                    if self.streams {
                        self.state = JoinState::Streaming(side);
                        continue;
                    }
                    let results = self.join(&mut side)?;
                    self.notes.tell(self.context, self.operation.span);
                    self.state = JoinState::Giving(Computed::new(results.series), results.held);
                }
                JoinState::Streaming(mut side) => {
                    let head = self.stream(&mut side, column)?;
                    if head.is_none() {
                        self.notes.tell(self.context, self.operation.span);
                    }
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
