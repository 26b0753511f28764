//! What agents say of their targets. It is for people: no series and no rule depends on it.

use std::collections::BTreeMap;

use vedette_wire::AgentName;
use vedette_wire::control::{TargetReport, Targets};

use crate::sessions::SessionId;

/// Targets of one agent that are remembered; further ones are known by their series alone.
const AGENT_TARGETS_MAX: usize = 2048;
/// Targets of all agents.
const TARGETS_MAX: usize = 200_000;

/// By agent: what its newest session said.
#[derive(Default)]
pub(crate) struct AgentTargets {
    by_agent: BTreeMap<AgentName, Said>,
    count: usize,
}

struct Said {
    session: SessionId,
    targets: Vec<TargetReport>,
}

impl AgentTargets {
    /// Remembers what a session says; whether all of it could be.
    pub(crate) fn say(&mut self, agent: &AgentName, session: SessionId, said: Targets) -> bool {
        let known = self.by_agent.entry(agent.clone()).or_insert(Said { session, targets: Vec::new() });
        if known.session > session {
            return true;
        }
        if said.begins || known.session != session {
            self.count -= known.targets.len();
            known.targets.clear();
        }
        known.session = session;
        let room = (AGENT_TARGETS_MAX - known.targets.len()).min(TARGETS_MAX - self.count);
        let fits = said.targets.len() <= room;
        let before = known.targets.len();
        known.targets.extend(said.targets.into_iter().take(room));
        self.count += known.targets.len() - before;
        fits
    }

    /// Forgets what a session said.
    pub(crate) fn end(&mut self, agent: &AgentName, session: SessionId) {
        if self.by_agent.get(agent).is_some_and(|said| said.session == session)
            && let Some(said) = self.by_agent.remove(agent)
        {
            self.count -= said.targets.len();
        }
    }

    pub(crate) fn all(&self) -> Vec<(AgentName, TargetReport)> {
        let of = |(agent, said): (&AgentName, &Said)| {
            said.targets.iter().map(|target| (agent.clone(), target.clone())).collect::<Vec<_>>()
        };
        self.by_agent.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::session_id;

    fn said(begins: bool, count: usize) -> Targets {
        Targets { begins, targets: vec![TargetReport::default(); count] }
    }

    #[test]
    fn the_newest_session_is_believed() {
        let (a, mut targets) = (AgentName::new("a").expect("a name"), AgentTargets::default());
        assert!(
            targets.say(&a, session_id(1), said(true, 2)) && targets.say(&a, session_id(1), said(false, 1))
        );
        assert_eq!(targets.all().len(), 3);
        assert!(
            targets.say(&a, session_id(2), said(true, 1)) && targets.say(&a, session_id(1), said(true, 9))
        );
        targets.end(&a, session_id(1));
        assert_eq!(targets.all().len(), 1);
        targets.end(&a, session_id(2));
        assert_eq!((targets.all().len(), targets.count), (0, 0));
    }

    #[test]
    fn they_are_bounded() {
        let mut targets = AgentTargets::default();
        for number in 0..200 {
            let agent = AgentName::new(&format!("a{number}")).expect("a name");
            assert!(!targets.say(&agent, session_id(1), said(true, 5000)));
        }
        assert_eq!(targets.all().len(), TARGETS_MAX);
    }
}
