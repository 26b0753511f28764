//! Thousands of random queries, put to both.
//!
//! CI asks a few of a fixed seed. For many, of another seed each time:
//!
//! ```sh
//! VEDETTE_QUERIES=20000 cargo test -p vedette-tests --test differential random -- --nocapture
//! VEDETTE_SEED=7 VEDETTE_QUERIES=20000 cargo test …    # again what seed 7 asked
//! ```

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_tests::compare::Question;
use vedette_tests::unix_ms;

use crate::grammar::Grammar;
use crate::mutations::{Missed, mutations};
use crate::{Pair, data, newer, times};

const SEED: u64 = 1;
const QUERIES: usize = 1_200;
/// With names that are removed at the end.
const QUERIES_DELAYED: usize = 300;
/// Of the language as it is without being asked for more.
const QUERIES_PLAIN: usize = 300;
/// Differences that are shown.
const SHOWN_MAX: usize = 60;
/// Each so many answers are changed, to see that it is noticed.
const MUTATED_EVERY: usize = 10;

#[test]
fn random_queries_are_answered_as_by_prometheus() -> Result<()> {
    compare("promql-experimental-functions", QUERIES)
}

#[test]
fn random_queries_are_answered_as_by_prometheus_when_names_are_removed_at_the_end() -> Result<()> {
    compare("promql-experimental-functions,promql-delayed-name-removal", QUERIES_DELAYED)
}

/// What is experimental is refused.
#[test]
fn random_queries_are_answered_as_by_prometheus_without_any_feature() -> Result<()> {
    compare("", QUERIES_PLAIN)
}

fn compare(features: &str, queries_default: usize) -> Result<()> {
    let queries = number("VEDETTE_QUERIES")?.map_or(queries_default, |queries| queries as usize);
    let seed = seed(queries == queries_default)?;
    println!("VEDETTE_SEED={seed} VEDETTE_QUERIES={queries} ({features})");
    let Some(pair) = Pair::with_features(features)? else { return Ok(()) };
    let end = unix_ms() / data::INTERVAL_MS * data::INTERVAL_MS - 60_000;
    pair.push(&data::requests(end, seed))?;
    let (theirs, ours) = pair.apis();
    let (mut grammar, mut random) = (Grammar::new(seed), StdRng::seed_from_u64(seed ^ 1));
    let (mut failed, mut empty, mut different) = (0, 0, Vec::new());
    let mut newer_answers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut missed = Missed::default();
    for asked in 0..queries {
        let times = times::times(&mut random, end);
        let (parameters, by_url) = (times::parameters(&mut random), random.random_ratio(1, 8));
        let question = Question { query: grammar.query(), times, parameters, by_url };
        let replies = (question.ask(&theirs)?, question.ask(&ours)?);
        failed += usize::from(replies.0.is_error());
        empty += usize::from(replies.0.is_empty());
        // Of what is cut off only the length is compared.
        let is_cut = question.parameters.iter().any(|(name, _)| *name == "limit");
        if asked % MUTATED_EVERY == 0 && !is_cut {
            missed.look_for(&question, &replies.0, mutations(&replies.0));
        }
        if let Some(what) = question.difference(&replies.0, &replies.1) {
            match newer::reason(&question, &replies.0, &replies.1, &theirs)? {
                Some(reason) => *newer_answers.entry(reason).or_default() += 1,
                None => different.push((question.query.len(), format!("{question:?}\n    {what}"))),
            }
        }
    }
    println!("{queries} queries: {failed} errors, {empty} empty, {} differ", different.len());
    println!("answered as by newer releases: {newer_answers:?}");
    // The shortest say most.
    different.sort();
    let shown: Vec<_> = different.iter().take(SHOWN_MAX).map(|(_, text)| text.clone()).collect();
    ensure!(different.is_empty(), "seed {seed}: {} differ:\n{}", different.len(), shown.join("\n"));
    // Else they would be easily equal.
    ensure!(
        failed * 5 < queries * 2 && empty * 2 < queries,
        "{failed} errors and {empty} empty of {queries}"
    );
    let allowed: usize = newer_answers.values().sum();
    ensure!(allowed * 50 < queries, "{newer_answers:?} of {queries}");
    missed.none(queries / MUTATED_EVERY * 3)
}

/// The one that is asked for, else the same each time for CI.
pub(crate) fn seed(is_default: bool) -> Result<u64> {
    Ok(match number("VEDETTE_SEED")? {
        Some(seed) => seed,
        None if is_default => SEED,
        None => rand::random::<u32>().into(),
    })
}

pub(crate) fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}
