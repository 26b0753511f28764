use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use vedette_wire::AgentName;

use crate::SessionStatus;

/// A session that still speaks this long after another of its name began is no leftover of an agent that
/// reconnected: what was on its way then has long arrived.
const LEFTOVER_MAX: Duration = Duration::from_secs(1);

/// Sessions that an agent may begin in one [`BEGINNINGS_PERIOD`]. One that can not stay connected tries some 24 times a
/// minute, from each of its addresses.
const BEGINNINGS_MAX: u32 = 120;
const BEGINNINGS_PERIOD: Duration = Duration::from_secs(60);
/// Agents whose beginnings are counted; with more, counting starts over.
const COUNTED_MAX: usize = 100_000;

/// Number of a session, unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(u64);

/// A number, for tests of other modules.
#[cfg(test)]
pub(crate) const fn session_id(number: u64) -> SessionId {
    SessionId(number)
}

/// The live sessions, and which of them share a name that only one may have.
///
/// Owns no connection and reads no clock: drivers say what happens.
#[derive(Default)]
pub(crate) struct Sessions {
    last_id: u64,
    by_agent: BTreeMap<AgentName, Agent>,
    beginnings: BTreeMap<AgentName, Beginnings>,
}

/// How often an agent has come since a time.
struct Beginnings {
    since: Duration,
    count: u32,
}

/// Why a session does not begin. Each variant is one `reason` of the refusal counter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionRefusal {
    /// The agent has as many as it may.
    #[error("too many connections of this agent: limits.connections_per_agent_max is {connections_max}")]
    Connections { connections_max: usize },
    /// It comes and goes.
    #[error("this agent has connected {BEGINNINGS_MAX} times within a minute")]
    Reconnects,
}

impl SessionRefusal {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Connections { .. } => "connections_per_agent",
            Self::Reconnects => "reconnects",
        }
    }
}

#[derive(Default)]
struct Agent {
    live: Vec<Live>,
    conflict: bool,
}

struct Live {
    id: SessionId,
    address: SocketAddr,
    began: Duration,
    /// When it last brought data.
    spoke: Duration,
}

/// What changed for an agent's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ConflictChange {
    Began { addresses: Vec<SocketAddr> },
    Ended,
}

impl Sessions {
    /// A session begins, if the agent may have one more.
    pub(crate) fn begin(
        &mut self,
        now: Duration,
        agent: &AgentName,
        address: SocketAddr,
        per_agent_max: usize,
    ) -> Result<SessionId, SessionRefusal> {
        if !self.may_come(now, agent) {
            return Err(SessionRefusal::Reconnects);
        }
        let live = &mut self.by_agent.entry(agent.clone()).or_default().live;
        if live.len() >= per_agent_max {
            return Err(SessionRefusal::Connections { connections_max: per_agent_max });
        }
        self.last_id += 1;
        let id = SessionId(self.last_id);
        live.push(Live { id, address, began: now, spoke: now });
        Ok(id)
    }

    /// Counts; whether the agent has not come too often lately.
    fn may_come(&mut self, now: Duration, agent: &AgentName) -> bool {
        if self.beginnings.len() >= COUNTED_MAX {
            self.beginnings.clear();
        }
        let fresh = || Beginnings { since: now, count: 0 };
        let beginnings = self.beginnings.entry(agent.clone()).or_insert_with(fresh);
        if now >= beginnings.since + BEGINNINGS_PERIOD {
            *beginnings = fresh();
        }
        beginnings.count = beginnings.count.saturating_add(1);
        beginnings.count <= BEGINNINGS_MAX
    }

    /// A session brought data.
    pub(crate) fn spoke(
        &mut self,
        now: Duration,
        agent: &AgentName,
        id: SessionId,
    ) -> Option<ConflictChange> {
        let agent = self.by_agent.get_mut(agent)?;
        agent.live.iter_mut().find(|live| live.id == id)?.spoke = now;
        agent.judge()
    }

    /// A session ended.
    pub(crate) fn end(&mut self, agent: &AgentName, id: SessionId) -> Option<ConflictChange> {
        let found = self.by_agent.get_mut(agent)?;
        found.live.retain(|live| live.id != id);
        let change = found.judge();
        if found.live.is_empty() {
            self.by_agent.remove(agent);
        }
        change
    }

    pub(crate) fn status(&self) -> Vec<SessionStatus> {
        let of = |(name, agent): (&AgentName, &Agent)| {
            let conflict = agent.conflict;
            let status = |live: &Live| SessionStatus {
                agent: name.clone(),
                address: live.address,
                identity_conflict: conflict,
            };
            agent.live.iter().map(status).collect::<Vec<_>>()
        };
        self.by_agent.iter().flat_map(of).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_agent.values().map(|agent| agent.live.len()).sum()
    }
}

impl Agent {
    fn judge(&mut self) -> Option<ConflictChange> {
        let newest = self.live.iter().map(|live| live.began).max().unwrap_or_default();
        let alive = self.live.iter().filter(|live| live.spoke > newest + LEFTOVER_MAX);
        // One that began last and has not spoken yet is alive as well, but not known to be a second one.
        let conflict = if self.conflict { self.live.len() > 1 } else { alive.clone().count() > 1 };
        if conflict == self.conflict {
            return None;
        }
        self.conflict = conflict;
        Some(if conflict {
            ConflictChange::Began { addresses: alive.map(|live| live.address).collect() }
        } else {
            ConflictChange::Ended
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn two_that_go_on_speaking_are_a_conflict_until_one_ends() {
        let name = AgentName::new("a").expect("a name");
        let mut sessions = Sessions::default();
        let first = sessions.begin(at(0), &name, address(1), 4).expect("room");
        assert_eq!(sessions.spoke(at(5), &name, first), None);
        let second = sessions.begin(at(10), &name, address(2), 4).expect("room");
        assert_eq!(sessions.spoke(at(11), &name, first), None, "may have been on its way");
        assert_eq!(sessions.spoke(at(12), &name, first), None);
        let began = ConflictChange::Began { addresses: vec![address(1), address(2)] };
        assert_eq!(sessions.spoke(at(12), &name, second), Some(began));
        assert_eq!(sessions.spoke(at(13), &name, first), None, "told once");
        assert!(sessions.status().iter().all(|status| status.identity_conflict));
        assert_eq!(sessions.end(&name, first), Some(ConflictChange::Ended));
        assert_eq!(sessions.end(&name, second), None);
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn an_agent_that_reconnects_is_no_conflict() {
        let name = AgentName::new("a").expect("a name");
        let mut sessions = Sessions::default();
        let old = sessions.begin(at(0), &name, address(1), 4).expect("room");
        assert_eq!(sessions.spoke(at(10), &name, old), None);
        let new = sessions.begin(at(10), &name, address(2), 4).expect("room");
        for second in 11..16 {
            assert_eq!(sessions.spoke(at(second), &name, new), None);
        }
        assert_eq!(sessions.end(&name, old), None);
    }

    #[test]
    fn sessions_of_a_name_are_bounded() {
        let name = AgentName::new("a").expect("a name");
        let mut sessions = Sessions::default();
        assert!(sessions.begin(at(0), &name, address(1), 1).is_ok());
        let refused = SessionRefusal::Connections { connections_max: 1 };
        assert_eq!(sessions.begin(at(0), &name, address(2), 1), Err(refused));
    }

    #[test]
    fn who_comes_and_goes_waits_for_the_next_minute() {
        let (name, other) = (AgentName::new("a").expect("a name"), AgentName::new("b").expect("a name"));
        let mut sessions = Sessions::default();
        for _ in 0..BEGINNINGS_MAX {
            let id = sessions.begin(at(1), &name, address(1), 1).expect("room");
            sessions.end(&name, id);
        }
        assert_eq!(sessions.begin(at(60), &name, address(1), 1), Err(SessionRefusal::Reconnects));
        assert!(sessions.begin(at(60), &other, address(1), 1).is_ok());
        assert!(sessions.begin(at(61), &name, address(1), 1).is_ok());
    }
}
