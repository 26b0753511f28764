//! Thousands of random queries, put to both.
//!
//! CI asks a few of a fixed seed. For many, of another seed each time:
//!
//! ```sh
//! VEDETTE_QUERIES=20000 cargo test -p vedette-tests --test differential random -- --nocapture
//! VEDETTE_SEED=7 VEDETTE_QUERIES=20000 cargo test …    # again what seed 7 asked
//! ```

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vedette_tests::compare::{Question, Times};
use vedette_tests::unix_ms;

use crate::grammar::Grammar;
use crate::{Pair, data};

const SEED: u64 = 1;
const QUERIES: usize = 1_500;
/// Differences that are shown.
const SHOWN_MAX: usize = 60;

#[test]
fn random_queries_are_answered_as_by_prometheus() -> Result<()> {
    let queries = number("VEDETTE_QUERIES")?.unwrap_or(QUERIES as u64);
    let seed = match number("VEDETTE_SEED")? {
        Some(seed) => seed,
        None if queries == QUERIES as u64 => SEED,
        None => rand::random::<u32>().into(),
    };
    println!("VEDETTE_SEED={seed} VEDETTE_QUERIES={queries}");
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let end = unix_ms() / data::INTERVAL_MS * data::INTERVAL_MS - 60_000;
    pair.push(&data::requests(end, seed))?;
    let (theirs, ours) = pair.apis();
    let mut grammar = Grammar::new(seed);
    let mut random = StdRng::seed_from_u64(seed ^ 1);
    let (mut failed, mut empty, mut different) = (0, 0, Vec::new());
    for _ in 0..queries {
        let question = Question { query: grammar.query(), times: times(&mut random, end) };
        let replies = (question.ask(&theirs)?, question.ask(&ours)?);
        failed += u64::from(replies.0.is_error());
        empty += u64::from(replies.0.is_empty());
        if let Some(what) = question.difference(&replies.0, &replies.1) {
            different.push((question.query.len(), format!("{question:?}\n    {what}")));
        }
    }
    println!("{queries} queries: {failed} errors, {empty} empty, {} differ", different.len());
    // The shortest say most.
    different.sort();
    let shown: Vec<_> = different.iter().take(SHOWN_MAX).map(|(_, text)| text.clone()).collect();
    ensure!(different.is_empty(), "seed {seed}: {} differ:\n{}", different.len(), shown.join("\n"));
    // Else they would be easily equal.
    ensure!(failed * 3 < queries && empty * 2 < queries, "{failed} errors and {empty} empty of {queries}");
    Ok(())
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}

fn times(random: &mut StdRng, end: i64) -> Times {
    let span = data::STEPS * data::INTERVAL_MS;
    let seconds = |ms: i64| format!("{}", ms as f64 / 1000.0);
    let at = end - random.random_range(0..span) + 30_000;
    if random.random_ratio(1, 2) {
        return Times::At(seconds(at));
    }
    let length = random.random_range(0..span / 2);
    let step = [1, 7, 15, 60, 300][random.random_range(0..5)];
    let step = if length / 1000 / step > 300 { 60 } else { step };
    Times::Range { start: seconds(at - length), end: seconds(at), step: step.to_string() }
}
