//! Random queries as both print them, and as trees.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use vedette_tests::Api;
use vedette_tests::compare::{Question, Reply, Times};

use crate::Pair;
use crate::grammar::Grammar;
use crate::newer::{self, Asked};
use crate::random::{number, seed};

const QUERIES: usize = 600;
/// Differences that are shown.
const SHOWN_MAX: usize = 60;

#[test]
fn random_queries_are_printed_as_by_prometheus() -> Result<()> {
    let queries = number("VEDETTE_QUERIES")?.map_or(QUERIES, |queries| queries as usize);
    let seed = seed(queries == QUERIES)?;
    println!("VEDETTE_SEED={seed} VEDETTE_QUERIES={queries}");
    let Some(pair) = Pair::start()? else { return Ok(()) };
    let (theirs, ours) = pair.apis();
    let mut grammar = Grammar::new(seed);
    let (mut failed, mut different) = (0, Vec::new());
    let mut otherwise: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..queries {
        let query = grammar.query();
        for path in ["/api/v1/format_query", "/api/v1/parse_query"] {
            let ask = |api: &Api| -> Result<Reply> {
                let (status, body) = api.ask(path, &[("query", &query)])?;
                Ok(Reply { status, body })
            };
            let (their, our) = (ask(&theirs)?, ask(&ours)?);
            failed += usize::from(their.is_error());
            let parts =
                |reply: &Reply| (reply.status, reply.body["errorType"].clone(), reply.body["data"].clone());
            if parts(&their) == parts(&our) {
                continue;
            }
            if let Some(reason) = reason(&query, &their, &our) {
                *otherwise.entry(reason).or_default() += 1;
                continue;
            }
            let text = format!("{path} {query}\n    Prometheus {}\n    Vedette    {}", their.body, our.body);
            different.push((query.len(), text));
        }
    }
    println!("{queries} queries: {failed} errors, {} differ", different.len());
    println!("otherwise for a reason: {otherwise:?}");
    different.sort();
    let shown: Vec<_> = different.iter().take(SHOWN_MAX).map(|(_, text)| text.clone()).collect();
    ensure!(different.is_empty(), "seed {seed}: {} differ:\n{}", different.len(), shown.join("\n"));
    ensure!(otherwise.values().sum::<usize>() * 20 < queries, "{otherwise:?} of {queries}");
    ensure!(failed > queries / 20 && failed < queries, "{failed} errors of {queries}");
    Ok(())
}

/// Why it may be printed otherwise.
fn reason(query: &str, theirs: &Reply, ours: &Reply) -> Option<&'static str> {
    let question = Question::new(query, Times::At(String::new()));
    if theirs.is_error() || ours.is_error() {
        return newer::change(&Asked { question: &question, theirs, ours });
    }
    let offsets = ["offset 0.0001", "offset -0.0001", "offset nan", "offset -nan"];
    let query = query.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let (their, our) = (plain(theirs), plain(ours));
    let reasons = [
        ("labels are quoted where they have to be", their == our),
        ("to ignore nothing is printed where a group follows", their == without_empty(&our)),
        // What follows are not newer releases.
        (
            "less than a millisecond is no offset, nor is NaN",
            offsets.iter().any(|offset| query.contains(offset)),
        ),
        ("what is no text is no string", query.contains("\\xff")),
    ];
    reasons.into_iter().find(|(_, is_it)| *is_it).map(|(reason, _)| reason)
}

/// What is printed without quotes, spaces and lines, whose ends depend on quotes.
fn plain(reply: &Reply) -> String {
    let text = reply.body["data"].as_str().unwrap_or_default();
    text.chars().filter(|character| *character != '"' && !character.is_whitespace()).collect()
}

/// Without `ignoring () group_left (a)` and the like.
fn without_empty(plain: &str) -> String {
    let mut parts = plain.split("ignoring()group_");
    let mut without = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        without.push_str(part.split_once(')').map_or(part, |(_, after)| after));
    }
    without
}
