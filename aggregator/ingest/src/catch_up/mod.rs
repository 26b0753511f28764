//! What this replica lacks, it copies from the parts of its peers.
//!
//! `schedule` decides whom to ask when, and what is left to the agents; `copy` asks and copies. What can be claimed
//! and when is the storage's to know (`vedette_storage`, module `copy`).

mod copy;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vedette_wire::ReplicaId;

use crate::Shared;
use crate::peers::peers;
use schedule::Schedule;

/// What makes a look at the peers worth while before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A gap is about to be recorded.
    Gap,
    /// A peer can be reached.
    Reachable(ReplicaId),
}

/// News that wait. What does not fit says nothing that those do not say.
pub(crate) const NEWS_MAX: usize = 64;

/// Looks at the peers and copies from them until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, mut news: mpsc::Receiver<News>, stop: CancellationToken) {
    let mut schedule = Schedule::new(shared.limits.catch_up_interval);
    let mut members = shared.group.members().subscribe();
    let now = || shared.clock.now().monotonic;
    loop {
        members.mark_unchanged();
        schedule.on_members(now(), peers(&shared).into_iter().map(|member| member.replica));
        while let Some(replica) = schedule.poll(now()) {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = copy::look(&shared, &mut schedule, replica) => looked,
            };
            schedule.on_looked(now(), replica, looked);
            crate::lock(&shared.neighbours).lacks(replica, schedule.lacking_of(replica));
            shared.metrics.catch_up.lacking_batches.set(schedule.lacking() as i64);
            while let Ok(news) = news.try_recv() {
                schedule.on_news(now(), news);
            }
        }
        let wakeup = schedule.next_wakeup().map(|at| shared.clock.instant(at));
        tokio::select! {
            () = stop.cancelled() => return,
            () = crate::session::sleep_until(wakeup) => {}
            Some(news) = news.recv() => schedule.on_news(now(), news),
            changed = members.changed() => if changed.is_err() { return },
        }
    }
}

impl Shared {
    /// Something happened that may be a reason to look at the peers.
    pub(crate) fn tell_catch_up(&self, news: News) {
        // When it is full, the peers are looked at anyway.
        self.news.try_send(news).ok();
    }
}

/// How long after news a peer is looked at: a gap is recorded by then, and more of them may come.
const NEWS_DELAY: Duration = Duration::from_secs(5);
