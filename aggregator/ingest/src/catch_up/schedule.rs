//! When to look at which peer, and what of it to copy.

use std::collections::BTreeMap;
use std::time::Duration;

use vedette_wire::{BatchSeq, LogId, ReplicaId};

use super::{NEWS_DELAY, News};

/// A peer of which nothing is lacking is looked at after so many intervals.
const IDLE_INTERVALS: u32 = 10;
/// After a copy that brought something it is soon looked whether that was all.
const AGAIN: Duration = Duration::from_secs(1);
/// Logs of which it is remembered where they stood.
const TAILS_MAX: usize = 1 << 20;

/// Which peers are looked at when.
///
/// Owns no socket and reads no clock: the driver says what happened and asks what to do.
pub(super) struct Schedule {
    interval: Duration,
    peers: BTreeMap<ReplicaId, Peer>,
}

#[derive(Default)]
struct Peer {
    look_at: Duration,
    /// One after the other.
    failures: u32,
    /// Logs that ended here before they ended there, when last looked.
    tails: BTreeMap<LogId, Tail>,
    /// The same, of the look that is going on.
    seen: BTreeMap<LogId, Tail>,
    /// Batches lacking, when last looked.
    lacking: u64,
    seen_lacking: u64,
}

#[derive(Clone, Copy)]
struct Tail {
    /// Where the log ended here.
    through: BatchSeq,
    /// Since when.
    since: Duration,
}

/// A log of which a peer has something that is not here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacking {
    pub(super) log: LogId,
    /// Where it ends here.
    pub(super) through: BatchSeq,
    /// Whether it ends later there.
    pub(super) has_tail: bool,
    pub(super) batches: u64,
}

/// What to copy of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// All of it.
    All,
    /// What lies before its end here. The rest comes from its writer, as it seems.
    WithoutTail,
}

/// What came of a look at a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// There was nothing to copy.
    Nothing,
    /// Something was copied, and there may be more.
    Copied,
    /// What was to be copied brought nothing new, or has to be looked up again.
    Later,
    /// It did not work.
    Failed,
}

impl Schedule {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, peers: BTreeMap::new() }
    }

    /// The peers there are. New ones are looked at now.
    pub(super) fn on_members(&mut self, now: Duration, peers: impl Iterator<Item = ReplicaId>) {
        let mut known = std::mem::take(&mut self.peers);
        self.peers = peers
            .map(|replica| {
                let new = || Peer { look_at: now, ..Peer::default() };
                (replica, known.remove(&replica).unwrap_or_else(new))
            })
            .collect();
    }

    pub(super) fn on_news(&mut self, now: Duration, news: News) {
        let soon = now + NEWS_DELAY.min(self.interval);
        for (replica, peer) in &mut self.peers {
            let concerns = match news {
                News::Gap => true,
                News::Reachable(reachable) => reachable == *replica && peer.failures > 0,
            };
            if concerns {
                peer.look_at = peer.look_at.min(soon);
            }
        }
    }

    /// Which peer to look at now. Then comes [`Schedule::choose`] for each log, and [`Schedule::on_looked`].
    pub(super) fn poll(&mut self, now: Duration) -> Option<ReplicaId> {
        let (replica, peer) = self.peers.iter_mut().min_by_key(|(_, peer)| peer.look_at)?;
        if peer.look_at > now {
            return None;
        }
        peer.seen.clear();
        peer.seen_lacking = 0;
        Some(*replica)
    }

    /// When [`Schedule::poll`] is worth calling again.
    pub(super) fn next_wakeup(&self) -> Option<Duration> {
        self.peers.values().map(|peer| peer.look_at).min()
    }

    /// What to copy of a log. A tail is copied when its log has stood still for an interval: until then its writer may
    /// bring it, as it does when this replica is only a little behind.
    pub(super) fn choose(&mut self, now: Duration, replica: ReplicaId, lacking: Lacking) -> Choice {
        let Some(peer) = self.peers.get_mut(&replica) else { return Choice::WithoutTail };
        peer.seen_lacking = peer.seen_lacking.saturating_add(lacking.batches);
        if !lacking.has_tail {
            return Choice::All;
        }
        let before = peer.tails.get(&lacking.log).filter(|tail| tail.through == lacking.through);
        let tail = before.copied().unwrap_or(Tail { through: lacking.through, since: now });
        if peer.seen.len() < TAILS_MAX {
            peer.seen.insert(lacking.log, tail);
        }
        let stands_still = before.is_some() && now >= tail.since + self.interval;
        if stands_still { Choice::All } else { Choice::WithoutTail }
    }

    pub(super) fn on_looked(&mut self, now: Duration, replica: ReplicaId, looked: Looked) {
        let interval = self.interval;
        let Some(peer) = self.peers.get_mut(&replica) else { return };
        if looked == Looked::Failed {
            let wait = interval.saturating_mul(1 << peer.failures.min(8));
            peer.failures = peer.failures.saturating_add(1);
            peer.look_at = now + wait.min(interval * IDLE_INTERVALS);
            return;
        }
        peer.failures = 0;
        peer.tails = std::mem::take(&mut peer.seen);
        peer.lacking = peer.seen_lacking;
        // The last tail to have stood still for long enough.
        let due = peer.tails.values().map(|tail| tail.since + interval).filter(|due| *due > now).max();
        peer.look_at = match looked {
            Looked::Copied => now + AGAIN.min(interval),
            Looked::Nothing if peer.tails.is_empty() => now + interval * IDLE_INTERVALS,
            _ => due.unwrap_or(now + interval),
        };
    }

    /// Batches that a peer had and this replica had not, when it was last looked.
    pub(super) fn lacking_of(&self, replica: ReplicaId) -> u64 {
        self.peers.get(&replica).map_or(0, |peer| peer.lacking)
    }

    /// Batches that some peer had and this replica had not, when it was last looked.
    pub(super) fn lacking(&self) -> u64 {
        self.peers.values().map(|peer| peer.lacking).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use vedette_wire::ReplicaId;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn replica(number: u8) -> ReplicaId {
        let text = format!("6ba7b810-9dad-11d1-80b4-00c04fd4300{number}");
        ReplicaId(text.parse().expect("a uuid"))
    }

    fn with_peers(count: u8) -> Schedule {
        let mut schedule = Schedule::new(MINUTE);
        schedule.on_members(Duration::ZERO, (0..count).map(replica));
        schedule
    }

    fn lacking(log: u128, through: u64, has_tail: bool) -> Lacking {
        Lacking { log: LogId(log), through: BatchSeq(through), has_tail, batches: 10 }
    }

    #[test]
    fn holes_are_copied_at_once_and_tails_when_they_stand_still() {
        let (mut schedule, peer) = (with_peers(1), replica(0));
        let mut now = Duration::ZERO;
        assert_eq!(schedule.poll(now), Some(peer));
        assert_eq!(schedule.choose(now, peer, lacking(1, 5, false)), Choice::All);
        assert_eq!(schedule.choose(now, peer, lacking(2, 5, true)), Choice::WithoutTail);
        assert_eq!(schedule.choose(now, peer, lacking(3, 0, true)), Choice::WithoutTail);
        schedule.on_looked(now, peer, Looked::Copied);
        assert_eq!(schedule.lacking(), 30);
        now += Duration::from_secs(1);
        assert_eq!(schedule.poll(now), Some(peer));
        assert_eq!(schedule.choose(now, peer, lacking(2, 7, true)), Choice::WithoutTail, "it moves");
        assert_eq!(schedule.choose(now, peer, lacking(3, 0, true)), Choice::WithoutTail);
        schedule.on_looked(now, peer, Looked::Nothing);
        assert_eq!(schedule.poll(now), None);
        now = schedule.next_wakeup().expect("a time");
        assert!(now <= MINUTE + Duration::from_secs(1), "{now:?}");
        assert_eq!(schedule.poll(now), Some(peer));
        assert_eq!(schedule.choose(now, peer, lacking(2, 9, true)), Choice::WithoutTail);
        assert_eq!(schedule.choose(now, peer, lacking(3, 0, true)), Choice::All);
        schedule.on_looked(now, peer, Looked::Copied);
    }

    #[test]
    fn a_peer_of_which_nothing_is_lacking_is_left_alone_until_there_is_news() {
        let (mut schedule, peer) = (with_peers(1), replica(0));
        assert_eq!(schedule.poll(Duration::ZERO), Some(peer));
        schedule.on_looked(Duration::ZERO, peer, Looked::Nothing);
        assert_eq!(schedule.next_wakeup(), Some(10 * MINUTE));
        schedule.on_news(MINUTE, News::Reachable(peer));
        assert_eq!(schedule.next_wakeup(), Some(10 * MINUTE));
        schedule.on_news(MINUTE, News::Gap);
        assert_eq!(schedule.next_wakeup(), Some(MINUTE + NEWS_DELAY));
        assert_eq!(schedule.poll(MINUTE), None);
        assert_eq!(schedule.poll(2 * MINUTE), Some(peer));
    }

    #[test]
    fn failures_wait_longer_and_longer_until_the_peer_is_back() {
        let mut schedule = with_peers(2);
        let mut now = Duration::ZERO;
        let other = replica(1);
        for minutes in [1, 2, 4, 8, 10, 10] {
            while let Some(found) = schedule.poll(now) {
                let looked = if found == other { Looked::Failed } else { Looked::Nothing };
                schedule.on_looked(now, found, looked);
            }
            assert_eq!(schedule.peers[&other].look_at, now + minutes * MINUTE);
            now += minutes * MINUTE;
        }
        schedule.on_looked(now, other, Looked::Failed);
        schedule.on_news(now, News::Reachable(other));
        assert_eq!(schedule.peers[&other].look_at, now + NEWS_DELAY);
        schedule.on_members(now, [replica(0)].into_iter());
        assert_eq!(schedule.peers.len(), 1);
    }
}
