//! Batches that the disk would not take, held in memory until it does.

use std::collections::VecDeque;

use vedette_wire::{BatchSeq, GapReason, LogId};

use crate::layout::Gap;

/// Frames and gaps of one or more logs in the order in which they were appended.
#[derive(Debug)]
pub(crate) struct Memory {
    entries: VecDeque<Entry>,
    /// Of all frames.
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) log: LogId,
    pub(crate) held: Held,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Frame { seq: BatchSeq, is_key: bool, frame: Vec<u8> },
    Gap(Gap),
}

impl Entry {
    pub(crate) fn first(&self) -> BatchSeq {
        match &self.held {
            Held::Frame { seq, .. } => *seq,
            Held::Gap(gap) => gap.first,
        }
    }

    pub(crate) fn last(&self) -> BatchSeq {
        match &self.held {
            Held::Frame { seq, .. } => *seq,
            Held::Gap(gap) => gap.last,
        }
    }

    /// Whether it can be understood without the entry before it.
    fn stands_alone(&self) -> bool {
        match &self.held {
            Held::Frame { is_key, .. } => *is_key,
            Held::Gap(_) => true,
        }
    }

    fn bytes(&self) -> usize {
        match &self.held {
            Held::Frame { frame, .. } => frame.len(),
            Held::Gap(_) => 0,
        }
    }
}

impl Memory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn batches(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.held, Held::Frame { .. })).count()
    }

    /// Adds a frame, and drops the oldest runs beyond the limit: how many batches were dropped. When the last
    /// entry is a gap afterwards, the next frame must be a key.
    pub(crate) fn push(&mut self, log: LogId, seq: BatchSeq, is_key: bool, frame: Vec<u8>) -> u64 {
        self.bytes += frame.len();
        self.entries.push_back(Entry { log, held: Held::Frame { seq, is_key, frame } });
        let mut dropped = 0;
        while self.bytes > self.bytes_max {
            dropped += self.drop_oldest_run();
        }
        dropped
    }

    pub(crate) fn ends_with_gap(&self) -> bool {
        self.entries.back().is_some_and(|entry| matches!(entry.held, Held::Gap(_)))
    }

    /// Turns the oldest frame, and those that need it to be decoded, into a gap.
    fn drop_oldest_run(&mut self) -> u64 {
        let Some(start) = self.entries.iter().position(|entry| matches!(entry.held, Held::Frame { .. }))
        else {
            self.bytes = 0;
            return 0;
        };
        let log = self.entries[start].log;
        let run = self.entries.iter().skip(start + 1);
        let length = 1 + run.take_while(|entry| entry.log == log && !entry.stands_alone()).count();
        let end = start + length;
        let mut gap = Gap {
            first: self.entries[start].first(),
            last: self.entries[end - 1].last(),
            reason: GapReason::MemoryLimit,
        };
        let removed: usize = self.entries.drain(start..end).map(|entry| entry.bytes()).sum();
        self.bytes -= removed;
        let mut at = start;
        if let Some(first) = start.checked_sub(1).and_then(|before| self.joins(before, log, gap)) {
            gap.first = first;
            at -= 1;
            self.entries.remove(at);
        }
        self.entries.insert(at, Entry { log, held: Held::Gap(gap) });
        length as u64
    }

    /// Where the gap at `index` begins, if `gap` is of the same log and reason and continues it.
    fn joins(&self, index: usize, log: LogId, gap: Gap) -> Option<BatchSeq> {
        let before = self.entries.get(index).filter(|before| before.log == log)?;
        match &before.held {
            Held::Gap(before) if before.reason == gap.reason => Some(before.first),
            Held::Gap(_) | Held::Frame { .. } => None,
        }
    }

    /// Adds a gap at the end.
    pub(crate) fn push_gap(&mut self, log: LogId, mut gap: Gap) {
        if let Some(first) = self.entries.len().checked_sub(1).and_then(|last| self.joins(last, log, gap)) {
            gap.first = first;
            self.entries.pop_back();
        }
        self.entries.push_back(Entry { log, held: Held::Gap(gap) });
    }

    pub(crate) fn set_limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Puts back what was taken.
    pub(crate) fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push_front(entry);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes();
        Some(entry)
    }

    /// Forgets what need not be kept, as far as the frames behind it do not need it to be decoded.
    pub(crate) fn trim(&mut self, is_acked: impl Fn(LogId, BatchSeq) -> bool) {
        let acked = self.entries.iter().take_while(|entry| is_acked(entry.log, entry.last())).count();
        let stands_alone = |index: &usize| {
            let entry = self.entries.get(*index);
            entry.is_some_and(|entry| entry.stands_alone() || entry.log != self.entries[index - 1].log)
        };
        let Some(end) = (1..=acked).rev().find(stands_alone) else { return };
        for _ in 0..end {
            self.pop_front();
        }
    }

    /// The entries of `log` that hold `from` and what follows it.
    pub(crate) fn read(&self, log: LogId, from: BatchSeq) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.log == log && entry.last() >= from)
    }

    /// The first and last number of `log` held here.
    pub(crate) fn range(&self, log: LogId) -> Option<(BatchSeq, BatchSeq)> {
        let mut entries = self.read(log, BatchSeq(0));
        let first = entries.next()?;
        let last = entries.last().unwrap_or(first);
        Some((first.first(), last.last()))
    }

    /// Where the run that holds `seq` begins, if it begins here.
    pub(crate) fn run_start(&self, log: LogId, seq: BatchSeq) -> Option<BatchSeq> {
        let run = self.read(log, BatchSeq(0)).take_while(|entry| entry.first() <= seq);
        run.filter(|entry| entry.stands_alone()).last().map(Entry::first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(1);

    fn push(memory: &mut Memory, seq: u64, is_key: bool) -> u64 {
        memory.push(LOG, BatchSeq(seq), is_key, vec![0; 100])
    }

    fn held(memory: &Memory) -> Vec<(u64, u64, bool)> {
        let is_gap = |entry: &Entry| matches!(entry.held, Held::Gap(_));
        memory.entries.iter().map(|entry| (entry.first().0, entry.last().0, is_gap(entry))).collect()
    }

    #[test]
    fn whole_runs_are_dropped_into_one_gap() {
        let mut memory = Memory::new(500);
        for seq in 5..10 {
            assert_eq!(push(&mut memory, seq, seq == 7), 0);
        }
        assert_eq!(push(&mut memory, 10, true), 2);
        assert_eq!(held(&memory)[0], (5, 6, true));
        assert_eq!(push(&mut memory, 11, false), 0);
        assert_eq!(push(&mut memory, 12, false), 3);
        assert_eq!(held(&memory), [(5, 9, true), (10, 10, false), (11, 11, false), (12, 12, false)]);
        assert_eq!((memory.bytes(), memory.batches()), (300, 3));
        assert_eq!(memory.range(LOG), Some((BatchSeq(5), BatchSeq(12))));
        assert_eq!(memory.run_start(LOG, BatchSeq(12)), Some(BatchSeq(10)));
    }

    #[test]
    fn a_run_larger_than_the_limit_leaves_only_the_gap() {
        let mut memory = Memory::new(250);
        push(&mut memory, 1, true);
        push(&mut memory, 2, false);
        assert_eq!(push(&mut memory, 3, false), 3);
        assert!(memory.ends_with_gap());
        assert_eq!(held(&memory), [(1, 3, true)]);
    }

    #[test]
    fn what_is_acked_goes_but_not_the_key_of_what_is_not() {
        let mut memory = Memory::new(5000);
        for seq in 1..=6 {
            push(&mut memory, seq, seq % 3 == 1);
        }
        memory.trim(|_, seq| seq.0 <= 2);
        assert_eq!(memory.range(LOG), Some((BatchSeq(1), BatchSeq(6))));
        memory.trim(|_, seq| seq.0 <= 5);
        assert_eq!(memory.range(LOG), Some((BatchSeq(4), BatchSeq(6))));
        memory.trim(|_, seq| seq.0 <= 6);
        assert_eq!(memory.range(LOG), Some((BatchSeq(4), BatchSeq(6))));
    }
}
