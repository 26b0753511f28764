//! What is in the spool, who has it, and what may or must go: decisions only, no files and no clocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use vedette_wire::control::Members;
use vedette_wire::session::Now;
use vedette_wire::{BatchSeq, GapReason, LogId, ReplicaId};

use crate::age::Written;
use crate::layout::Gap;
use crate::state::Cursor;

/// A run of numbers of one log, in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: BatchSeq,
    pub(crate) last: BatchSeq,
    pub(crate) bytes: u64,
    pub(crate) written: Written,
    pub(crate) kind: SegmentKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentKind {
    Frames,
    Gap(GapReason),
}

impl Segment {
    pub(crate) fn gap(gap: Gap, bytes: u64, written: Written) -> Self {
        Self { first: gap.first, last: gap.last, bytes, written, kind: SegmentKind::Gap(gap.reason) }
    }

    pub(crate) fn is_frames(&self) -> bool {
        self.kind == SegmentKind::Frames
    }

    pub(crate) fn batches(&self) -> u64 {
        self.last.0 - self.first.0 + 1
    }
}

/// Logs, segments, cursors and membership.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Of each log, segments in order, without a hole between them.
    logs: BTreeMap<LogId, VecDeque<Segment>>,
    live: Option<LogId>,
    cursors: BTreeMap<ReplicaId, Cursor>,
    unsaved: BTreeSet<ReplicaId>,
    members: Option<Members>,
    /// Members that are not connected, and since when.
    away: BTreeMap<ReplicaId, Duration>,
    /// Sum over all segments.
    bytes: u64,
}

impl Shelf {
    /// Makes `log` the live one: the only one that grows.
    pub(crate) fn start_log(&mut self, log: LogId) {
        if let Some(before) = self.live.replace(log)
            && self.logs.get(&before).is_some_and(VecDeque::is_empty)
        {
            self.logs.remove(&before);
        }
        self.logs.entry(log).or_default();
    }

    pub(crate) fn live(&self) -> Option<LogId> {
        self.live
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn logs(&self) -> impl Iterator<Item = (LogId, &VecDeque<Segment>)> {
        self.logs.iter().map(|(log, segments)| (*log, segments))
    }

    pub(crate) fn log_count(&self) -> usize {
        self.logs.len()
    }

    /// The segment that holds `seq`.
    pub(crate) fn segment(&self, log: LogId, seq: BatchSeq) -> Option<&Segment> {
        let segments = self.logs.get(&log)?;
        let index = segments.partition_point(|segment| segment.last < seq);
        segments.get(index).filter(|segment| segment.first <= seq)
    }

    /// The segments of a log in order.
    pub(crate) fn segments(&self, log: LogId) -> impl Iterator<Item = &Segment> {
        self.logs.get(&log).into_iter().flatten()
    }

    /// When the oldest segment was last written.
    pub(crate) fn oldest_written(&self) -> Option<Written> {
        self.logs.values().filter_map(|segments| segments.front()).map(|segment| segment.written).min()
    }

    /// The first and last number on disk, gaps included.
    pub(crate) fn range(&self, log: LogId) -> Option<(BatchSeq, BatchSeq)> {
        let segments = self.logs.get(&log)?;
        Some((segments.front()?.first, segments.back()?.last))
    }

    /// Puts a segment at the end of a log.
    pub(crate) fn push(&mut self, log: LogId, segment: Segment) {
        let segments = self.logs.entry(log).or_default();
        debug_assert!(segments.back().is_none_or(|last| last.last.0 + 1 == segment.first.0));
        self.bytes += segment.bytes;
        segments.push_back(segment);
    }

    /// The segment that begins with `first` was written then.
    pub(crate) fn set_written(&mut self, log: LogId, first: BatchSeq, written: Written) {
        let Some(segments) = self.logs.get_mut(&log) else { return };
        if let Ok(index) = segments.binary_search_by_key(&first, |segment| segment.first) {
            segments[index].written = written;
        }
    }

    /// One more frame in the last segment of a log.
    pub(crate) fn grow(&mut self, log: LogId, bytes: u64, at: Written) {
        if let Some(segment) = self.logs.get_mut(&log).and_then(VecDeque::back_mut) {
            segment.last = BatchSeq(segment.last.0 + 1);
            segment.bytes += bytes;
            segment.written = at;
            self.bytes += bytes;
        }
    }

    /// Forgets a whole log.
    pub(crate) fn remove_log(&mut self, log: LogId) {
        if let Some(segments) = self.logs.remove(&log) {
            self.bytes -= segments.iter().map(|segment| segment.bytes).sum::<u64>();
        }
    }

    /// Forgets the oldest segment of a log; `true` when the log has nothing more to give and ends with it.
    pub(crate) fn freed_front(&mut self, log: LogId) -> bool {
        let Some(segments) = self.logs.get_mut(&log) else { return false };
        if let Some(segment) = segments.pop_front() {
            self.bytes -= segment.bytes;
        }
        let is_done = segments.is_empty() && self.live != Some(log);
        if is_done {
            self.logs.remove(&log);
        }
        is_done
    }

    /// The gap that takes the place of segment `first`, once it is dropped: neighbours of the same reason join.
    pub(crate) fn gap_for(&self, log: LogId, first: BatchSeq, reason: GapReason) -> Option<Gap> {
        let segments = self.logs.get(&log)?;
        let index = segments.binary_search_by_key(&first, |segment| segment.first).ok()?;
        let mut gap = Gap { first, last: segments[index].last, reason };
        if index > 0 && segments[index - 1].kind == SegmentKind::Gap(reason) {
            gap.first = segments[index - 1].first;
        }
        Some(gap)
    }

    /// Puts `gap` in the place of the segments it covers; the one in which it begins keeps what is before it,
    /// `bytes_before` bytes.
    pub(crate) fn replace(&mut self, log: LogId, gap: Segment, bytes_before: u64) {
        let Some(segments) = self.logs.get_mut(&log) else { return };
        let start = segments.partition_point(|segment| segment.last < gap.first);
        let end = segments.partition_point(|segment| segment.last <= gap.last);
        let covered: Vec<Segment> = segments.drain(start..end).collect();
        self.bytes -= covered.iter().map(|segment| segment.bytes).sum::<u64>();
        let mut at = start;
        if let Some(head) = covered.first()
            && head.first < gap.first
        {
            let last = BatchSeq(gap.first.0 - 1);
            segments.insert(at, Segment { last, bytes: bytes_before, ..*head });
            self.bytes += bytes_before;
            at += 1;
        }
        segments.insert(at, gap);
        self.bytes += gap.bytes;
    }

    /// The oldest segment, when a limit says that something must go. The end of the live log never goes.
    pub(crate) fn overdue(&self, now: Now, bytes_max: u64, age_max: Duration) -> Option<(LogId, Segment)> {
        let oldest = self.oldest()?;
        let is_due = self.bytes > bytes_max || oldest.1.written.age(now) > age_max;
        is_due.then_some(oldest)
    }

    /// The segment with frames that was written first.
    pub(crate) fn oldest(&self) -> Option<(LogId, Segment)> {
        let droppable = |(log, segments): (&LogId, &VecDeque<Segment>)| {
            let kept = usize::from(self.live == Some(*log));
            let candidates = segments.len().saturating_sub(kept);
            let segment = segments.iter().take(candidates).find(|segment| segment.is_frames())?;
            Some((*log, *segment))
        };
        self.logs.iter().filter_map(droppable).min_by_key(|(log, segment)| (segment.written, *log))
    }

    /// A segment that everyone who must have it has.
    pub(crate) fn free(&self, now: Now) -> Option<(LogId, Segment)> {
        self.logs.iter().find_map(|(log, segments)| {
            let front = segments.front()?;
            let is_growing = self.live == Some(*log) && segments.len() == 1;
            (!is_growing && front.last <= self.acked_by_all(*log, now)).then_some((*log, *front))
        })
    }

    /// The last number that everyone who must have it has. Zero when that is not known.
    ///
    /// Members that were away for longer than their lease are not waited for, as the others have it for them;
    /// so at least one member must have it in any case.
    pub(crate) fn acked_by_all(&self, log: LogId, now: Now) -> BatchSeq {
        let Some(members) = &self.members else { return BatchSeq(0) };
        let acked = |replica: ReplicaId| self.cursor(replica, log);
        let awaited = members.members.iter().filter(|member| !self.is_released(member.replica, now));
        awaited
            .map(|member| acked(member.replica))
            .min()
            .or_else(|| members.members.iter().map(|member| acked(member.replica)).max())
            .unwrap_or(BatchSeq(0))
    }

    fn is_released(&self, replica: ReplicaId, now: Now) -> bool {
        let lease = Duration::from_millis(self.members.as_ref().map_or(0, |members| members.lease_ms));
        self.away.get(&replica).is_some_and(|since| now.monotonic.saturating_sub(*since) > lease)
    }

    pub(crate) fn cursor(&self, replica: ReplicaId, log: LogId) -> BatchSeq {
        self.cursors.get(&replica).and_then(|cursor| cursor.get(&log)).copied().unwrap_or(BatchSeq(0))
    }

    /// What a replica said that it has. May be less than before: its disk may have been restored.
    pub(crate) fn set_cursor(&mut self, replica: ReplicaId, log: LogId, through: BatchSeq) {
        if self.logs.contains_key(&log) && self.cursor(replica, log) != through {
            self.cursors.entry(replica).or_default().insert(log, through);
            self.unsaved.insert(replica);
        }
    }

    pub(crate) fn load_cursor(&mut self, replica: ReplicaId, cursor: Cursor) {
        self.cursors.insert(replica, cursor);
    }

    pub(crate) fn members(&self) -> Option<&Members> {
        self.members.as_ref()
    }

    /// The replicas that must have the data from now on; gives those that no longer count.
    pub(crate) fn set_members(&mut self, members: Members, now: Now) -> Vec<ReplicaId> {
        let is_member = |replica: &ReplicaId| members.members.iter().any(|member| member.replica == *replica);
        let gone: Vec<ReplicaId> =
            self.cursors.keys().copied().filter(|replica| !is_member(replica)).collect();
        for replica in &gone {
            self.cursors.remove(replica);
            self.unsaved.remove(replica);
        }
        let known = |replica: ReplicaId| {
            self.members
                .as_ref()
                .is_some_and(|old| old.members.iter().any(|member| member.replica == replica))
        };
        for member in &members.members {
            if !known(member.replica) {
                self.away.entry(member.replica).or_insert(now.monotonic);
            }
        }
        self.away.retain(|replica, _| is_member(replica));
        self.members = Some(members);
        gone
    }

    pub(crate) fn connected(&mut self, replica: ReplicaId) {
        self.away.remove(&replica);
    }

    pub(crate) fn disconnected(&mut self, replica: ReplicaId, now: Now) {
        self.away.entry(replica).or_insert(now.monotonic);
    }

    /// A replica whose cursor should be written, and the cursor, without logs that are gone.
    pub(crate) fn take_unsaved(&mut self) -> Option<(ReplicaId, Cursor)> {
        let replica = self.unsaved.pop_first()?;
        let cursor = self.cursors.get_mut(&replica)?;
        cursor.retain(|log, _| self.logs.contains_key(log));
        Some((replica, cursor.clone()))
    }

    pub(crate) fn mark_unsaved(&mut self, replica: ReplicaId) {
        self.unsaved.insert(replica);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use vedette_wire::control::Member;

    use vedette_model::Timestamp;

    use super::*;

    const LOG: LogId = LogId(7);
    const LEASE_MS: u64 = 3_600_000;

    fn replica(number: u128) -> ReplicaId {
        ReplicaId(Uuid::from_u128(number))
    }

    fn at(seconds: u64) -> Now {
        Now { wall: Timestamp::from_millis(seconds as i64 * 1000), monotonic: Duration::from_secs(seconds) }
    }

    fn members(numbers: &[u128]) -> Members {
        let members = numbers
            .iter()
            .map(|number| Member { replica: replica(*number), addresses: Vec::new() })
            .collect();
        Members { version: 1, lease_ms: LEASE_MS, members }
    }

    fn frames(first: u64, last: u64, written: u64) -> Segment {
        Segment {
            first: BatchSeq(first),
            last: BatchSeq(last),
            bytes: 100,
            written: Written::at(at(written)),
            kind: SegmentKind::Frames,
        }
    }

    /// A shelf with segments 1..=10, 11..=20 and 21..=30 of one live log.
    fn shelf() -> Shelf {
        let mut shelf = Shelf::default();
        shelf.start_log(LOG);
        for first in [1, 11, 21] {
            shelf.push(LOG, frames(first, first + 9, first));
        }
        shelf
    }

    fn freed(shelf: &Shelf, seconds: u64) -> Option<u64> {
        shelf.free(at(seconds)).map(|(_, segment)| segment.first.0)
    }

    #[test]
    fn nothing_is_freed_before_membership_is_known() {
        let mut shelf = shelf();
        shelf.set_cursor(replica(1), LOG, BatchSeq(30));
        assert_eq!(freed(&shelf, 100), None);
        shelf.set_members(members(&[]), at(0));
        assert_eq!(freed(&shelf, 100), None);
    }

    #[test]
    fn every_member_must_have_it() {
        let mut shelf = shelf();
        shelf.set_members(members(&[1, 2]), at(0));
        shelf.set_cursor(replica(1), LOG, BatchSeq(30));
        assert_eq!(freed(&shelf, 1), None);
        shelf.set_cursor(replica(2), LOG, BatchSeq(9));
        assert_eq!(freed(&shelf, 1), None);
        shelf.set_cursor(replica(2), LOG, BatchSeq(10));
        assert_eq!(freed(&shelf, 1), Some(1));
        assert!(!shelf.freed_front(LOG));
        assert_eq!((freed(&shelf, 1), shelf.bytes()), (None, 200));
    }

    #[test]
    fn the_growing_segment_is_kept() {
        let mut shelf = shelf();
        shelf.set_members(members(&[1]), at(0));
        shelf.set_cursor(replica(1), LOG, BatchSeq(30));
        for _ in 0..2 {
            assert!(shelf.free(at(1)).is_some());
            shelf.freed_front(LOG);
        }
        assert_eq!(freed(&shelf, 1), None);
        shelf.start_log(LogId(8));
        assert_eq!(freed(&shelf, 1), Some(21));
        assert!(shelf.freed_front(LOG));
        assert_eq!(shelf.range(LOG), None);
    }

    #[test]
    fn a_member_away_past_its_lease_is_released_and_never_all() {
        let mut shelf = shelf();
        shelf.set_members(members(&[1, 2]), at(0));
        shelf.connected(replica(1));
        shelf.set_cursor(replica(1), LOG, BatchSeq(10));
        assert_eq!(freed(&shelf, LEASE_MS / 1000), None);
        assert_eq!(freed(&shelf, LEASE_MS / 1000 + 1), Some(1));
        shelf.freed_front(LOG);
        // Nobody has the second one, however long both are away.
        shelf.disconnected(replica(1), at(5000));
        assert_eq!(freed(&shelf, 50_000), None);
        // Connected again: awaited again.
        shelf.connected(replica(2));
        shelf.set_cursor(replica(1), LOG, BatchSeq(20));
        assert_eq!(freed(&shelf, 50_000), None);
    }

    #[test]
    fn a_replica_may_have_less_than_it_said() {
        let mut shelf = shelf();
        shelf.set_members(members(&[1]), at(0));
        shelf.set_cursor(replica(1), LOG, BatchSeq(10));
        shelf.set_cursor(replica(1), LOG, BatchSeq(3));
        assert_eq!(freed(&shelf, 1), None);
    }

    #[test]
    fn a_member_that_left_is_not_waited_for_and_a_new_one_is() {
        let mut shelf = shelf();
        shelf.set_members(members(&[1, 2]), at(0));
        shelf.set_cursor(replica(1), LOG, BatchSeq(10));
        shelf.set_cursor(replica(2), LOG, BatchSeq(5));
        assert_eq!(shelf.set_members(members(&[1]), at(1)), [replica(2)]);
        assert_eq!(freed(&shelf, 1), Some(1));
        shelf.set_members(members(&[1, 3]), at(1));
        assert_eq!(freed(&shelf, 1), None);
    }

    #[test]
    fn the_oldest_goes_first_across_logs_and_the_live_end_never() {
        let mut shelf = shelf();
        shelf.push(LogId(1), frames(1, 5, 15));
        let due = |shelf: &Shelf, bytes_max, age| {
            shelf.overdue(at(100), bytes_max, Duration::from_secs(age)).map(|(log, s)| (log, s.first.0))
        };
        assert_eq!(due(&shelf, 400, 1000), None);
        assert_eq!(due(&shelf, 399, 1000), Some((LOG, 1)));
        assert_eq!(due(&shelf, 400, 98), Some((LOG, 1)));
        for expected in [Some((LOG, 11)), Some((LogId(1), 1)), None] {
            let (log, segment) = shelf.oldest().expect("something to drop");
            let gap = shelf.gap_for(log, segment.first, GapReason::SpoolLimit).expect("known");
            shelf.replace(log, Segment::gap(gap, 10, Written::at(at(100))), 0);
            assert_eq!(due(&shelf, 0, 1000), expected);
        }
        let all: Vec<_> = shelf.logs[&LOG].iter().map(|s| (s.first.0, s.last.0, s.is_frames())).collect();
        assert_eq!(all, [(1, 20, false), (21, 30, true)]);
        assert_eq!(shelf.bytes(), 120);
    }

    #[test]
    fn a_gap_may_begin_inside_a_segment() {
        let mut shelf = shelf();
        let gap = Gap { first: BatchSeq(14), last: BatchSeq(20), reason: GapReason::SpoolCorrupt };
        shelf.replace(LOG, Segment::gap(gap, 10, Written::at(at(1))), 40);
        let all: Vec<_> = shelf.logs[&LOG].iter().map(|s| (s.first.0, s.last.0, s.is_frames())).collect();
        assert_eq!(all, [(1, 10, true), (11, 13, true), (14, 20, false), (21, 30, true)]);
        assert_eq!(shelf.bytes(), 250);
        assert_eq!(shelf.segment(LOG, BatchSeq(15)).map(|s| s.first.0), Some(14));
    }
}
