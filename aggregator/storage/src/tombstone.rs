//! Deletions: a sample is gone when its series matches, its time is in the range, and its log was known when the deletion
//! was asked for.
//!
//! So which samples are gone depends on the samples alone, not on what a replica had when it heard of the deletion: what
//! a known log brings late is gone as well, and what a later log brings (the same data, written again) is there. A
//! deletion holds until retention has passed all that it may concern; cleaning only frees room.

use std::collections::BTreeSet;

use vedette_chunk::{push_signed, push_unsigned};
use vedette_model::{Exemplar, Labels, MatchOp, Matcher, Timestamp};
use vedette_wire::LogId;

use crate::bytes::{BytesError, Reader, VERSION, push_prefixed};
use crate::samples::Run;

/// Deletions that are remembered at once.
pub(crate) const TOMBSTONES_MAX: usize = 1024;
/// Matchers of one deletion.
pub(crate) const MATCHERS_MAX: usize = 1000;

/// One deletion.
#[derive(Clone, Debug)]
pub(crate) struct Tombstone {
    pub(crate) id: u128,
    pub(crate) created: Timestamp,
    /// Both included.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) logs: BTreeSet<LogId>,
    /// Parts with a number up to this one may hold deleted samples; those that are written later do not.
    pub(crate) parts_through: u64,
}

impl Tombstone {
    const WHAT: &'static str = "a deletion's record";

    /// Whether it may be forgotten: retention hides all that its logs had then.
    pub(crate) fn is_past(&self, oldest: Timestamp) -> bool {
        self.end < oldest.as_millis()
    }

    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.start <= end && start <= self.end
    }

    pub(crate) fn concerns(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        push_signed(&mut out, self.created.as_millis());
        push_signed(&mut out, self.start);
        push_signed(&mut out, self.end);
        push_unsigned(&mut out, self.parts_through);
        push_unsigned(&mut out, self.matchers.len() as u64);
        for matcher in &self.matchers {
            out.push(code_of(matcher.op()));
            push_prefixed(&mut out, matcher.name().as_bytes());
            push_prefixed(&mut out, matcher.value().as_bytes());
        }
        push_unsigned(&mut out, self.logs.len() as u64);
        for log in &self.logs {
            out.extend_from_slice(&log.0.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(id: u128, bytes: &[u8]) -> Result<Self, BytesError> {
        let damaged = |reason: &str| BytesError::damaged(Self::WHAT, reason);
        let mut reader = Reader::versioned(bytes, Self::WHAT)?;
        let created = Timestamp::from_millis(reader.signed()?);
        let (start, end) = (reader.signed()?, reader.signed()?);
        let parts_through = reader.unsigned()?;
        let mut matchers = Vec::new();
        for _ in 0..reader.count(MATCHERS_MAX)? {
            let op = op_of(reader.byte()?).ok_or_else(|| damaged("kind of a matcher"))?;
            let (name, value) = (reader.text()?.to_owned(), reader.text()?.to_owned());
            matchers
                .push(Matcher::new(op, name, value).map_err(|error| BytesError::damaged(Self::WHAT, error))?);
        }
        let mut logs = BTreeSet::new();
        for _ in 0..reader.elements()? {
            logs.insert(LogId(u128::from_be_bytes(reader.array()?)));
        }
        Ok(Self { id, created, start, end, matchers, logs, parts_through })
    }
}

const OPS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

fn code_of(op: MatchOp) -> u8 {
    OPS.iter().position(|known| *known == op).unwrap_or_default() as u8
}

fn op_of(code: u8) -> Option<MatchOp> {
    OPS.get(usize::from(code)).copied()
}

/// Takes what is deleted out of the runs of one series; empty runs go.
pub(crate) fn mask<'a>(
    tombstones: impl IntoIterator<Item = &'a Tombstone>,
    labels: &Labels,
    runs: &mut Vec<Run>,
) {
    for tombstone in tombstones {
        let touches = |run: &Run| {
            let inside = run.first().zip(run.last());
            inside.is_some_and(|(first, last)| tombstone.overlaps(first, last))
                && run.log.is_some_and(|log| tombstone.logs.contains(&log))
        };
        if runs.iter().any(touches) && tombstone.concerns(labels) {
            for run in runs.iter_mut().filter(|run| touches(run)) {
                run.delete(tombstone.start, tombstone.end);
            }
            runs.retain(|run| !run.is_empty());
        }
    }
}

/// Takes out exemplars of deleted times. They do not say which log they are from.
pub(crate) fn mask_exemplars<'a>(
    tombstones: impl IntoIterator<Item = &'a Tombstone>,
    labels: &Labels,
    exemplars: &mut Vec<Exemplar>,
) {
    if exemplars.is_empty() {
        return;
    }
    for tombstone in tombstones {
        let is_deleted = |exemplar: &Exemplar| tombstone.overlaps(exemplar.at_ms, exemplar.at_ms);
        if exemplars.iter().any(is_deleted) && tombstone.concerns(labels) {
            exemplars.retain(|exemplar| !is_deleted(exemplar));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tombstone() -> Tombstone {
        let regex = Matcher::new(MatchOp::NotRegex, "job", "a|b").expect("a pattern");
        Tombstone {
            id: 7,
            created: Timestamp::from_millis(50),
            start: i64::MIN,
            end: 20,
            matchers: vec![Matcher::equal("__name__", "x"), regex],
            logs: BTreeSet::from([LogId(1), LogId(2)]),
            parts_through: 3,
        }
    }

    #[test]
    fn a_record_says_all() {
        let one = tombstone();
        let bytes = one.encode();
        let again = Tombstone::decode(7, &bytes).expect("its own bytes");
        assert_eq!(format!("{again:?}"), format!("{one:?}"));
        for end in 0..bytes.len() {
            assert!(Tombstone::decode(7, &bytes[..end]).is_err(), "{end}");
        }
        assert!(Tombstone::decode(7, &[VERSION + 1]).is_err());
    }

    #[test]
    fn only_what_was_known_goes() {
        let run = |log, at_ms: &[i64]| Run {
            log: Some(LogId(log)),
            at_ms: at_ms.to_vec(),
            values: vec![0.0; at_ms.len()],
            ..Run::default()
        };
        let runs = || vec![run(1, &[10, 20, 30]), run(2, &[5, 6]), run(3, &[10])];
        let labels = Labels::from_pairs([("__name__", "x"), ("job", "c")]);
        let mut masked = runs();
        mask([&tombstone()], &labels, &mut masked);
        assert_eq!(masked, [run(1, &[30]), run(3, &[10])]);
        let mut others = runs();
        mask([&tombstone()], &Labels::from_pairs([("__name__", "x"), ("job", "a")]), &mut others);
        assert_eq!(others, runs());
    }
}
