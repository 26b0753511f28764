use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Longest [`AgentName`], the longest DNS name.
pub const AGENT_NAME_BYTES_MAX: usize = 253;

/// Identity of a log: 128 bits drawn at random when a writer starts one, 80 of a push log. Displays as 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u128);

/// What kind of writer a log is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriterKind {
    /// An agent: its logs say when they are whole, and its absence shows.
    Agent,
    /// A replica, for what others push to it: nobody knows when that is whole.
    Push,
}

/// How the identities of push logs begin: 32 zero bits, so that they yield to all others, then "pu".
const PUSH_PREFIX: u128 = 0x0000_0000_7075;
const PREFIX_BITS: u32 = 48;

impl LogId {
    /// The identity of a push log: the last 80 bits of `random`, behind the mark of such logs.
    pub const fn of_push(random: u128) -> Self {
        Self(random << PREFIX_BITS >> PREFIX_BITS | PUSH_PREFIX << (u128::BITS - PREFIX_BITS))
    }

    /// What kind of writer the log is of.
    pub const fn kind(self) -> WriterKind {
        if self.0 >> (u128::BITS - PREFIX_BITS) == PUSH_PREFIX { WriterKind::Push } else { WriterKind::Agent }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for LogId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // `from_str_radix` would accept a sign.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(id) if digits => Ok(Self(id)),
            _ => Err(IdError::Log),
        }
    }
}

/// A batch's number within its log, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchSeq(pub u64);

impl BatchSeq {
    /// The first batch of every log.
    pub const FIRST: Self = Self(1);

    /// The number that follows; held at the end of the range.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for BatchSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A writer's name: 1 to 253 bytes without control characters. Ordinarily the host's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(String);

/// No host has a name with a blank.
const REPLICA_PREFIX: &str = "replica ";

impl AgentName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, IdError> {
        if name.is_empty() || name.len() > AGENT_NAME_BYTES_MAX {
            return Err(IdError::NameLength { bytes: name.len() });
        }
        if name.chars().any(char::is_control) {
            return Err(IdError::NameCharacter);
        }
        Ok(Self(name.to_owned()))
    }

    /// As whom a replica writes what is pushed to it.
    pub fn of_replica(replica: ReplicaId) -> Self {
        Self(format!("{REPLICA_PREFIX}{replica}"))
    }

    /// Whether a replica writes under it.
    pub fn is_replica(&self) -> bool {
        self.0.strip_prefix(REPLICA_PREFIX).is_some_and(|id| id.parse::<ReplicaId>().is_ok())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

/// Identity of an aggregator's data folder, whatever its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub Uuid);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReplicaId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::parse_str(text).map(Self).map_err(|_| IdError::Replica)
    }
}

/// Why a writer no longer has the batches of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The spool was full and dropped its oldest segments.
    SpoolLimit,
    /// A segment of the spool failed its checksum.
    SpoolCorrupt,
    /// Batches known to have existed were not found after a restart.
    SpoolLost,
    /// There was no spool, and the memory for unacknowledged batches was full.
    MemoryLimit,
}

impl GapReason {
    /// All of them, for counters that start at zero.
    pub const ALL: [Self; 4] = [Self::SpoolLimit, Self::SpoolCorrupt, Self::SpoolLost, Self::MemoryLimit];

    /// The byte that stands for it on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::SpoolLimit => 1,
            Self::SpoolCorrupt => 2,
            Self::SpoolLost => 3,
            Self::MemoryLimit => 4,
        }
    }

    /// From [`GapReason::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// As a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SpoolLimit => "spool_limit",
            Self::SpoolCorrupt => "spool_corrupt",
            Self::SpoolLost => "spool_lost",
            Self::MemoryLimit => "memory_limit",
        }
    }
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with a written identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a [`LogId`].
    #[error("a log id has 32 hex digits")]
    Log,
    /// Not a [`ReplicaId`].
    #[error("a replica id is a UUID")]
    Replica,
    /// Too short or too long for an [`AgentName`].
    #[error("an agent's name has 1 to {AGENT_NAME_BYTES_MAX} bytes, this one has {bytes}")]
    NameLength {
        /// Its length.
        bytes: usize,
    },
    /// A control character in an [`AgentName`].
    #[error("an agent's name holds no control characters")]
    NameCharacter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_id_reads_what_it_writes() {
        let id = LogId(0x0123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "00000000000000000123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "123", "+0000000000000000123456789abcdef", "0x000000000000000123456789abcdef"] {
            assert_eq!(bad.parse::<LogId>(), Err(IdError::Log), "{bad}");
        }
    }

    #[test]
    fn push_logs_are_known_and_yield_to_agents() {
        let push = LogId::of_push(u128::MAX);
        assert_eq!(
            (push.kind(), push.to_string().as_str()),
            (WriterKind::Push, "000000007075ffffffffffffffffffff")
        );
        assert_eq!(LogId::of_push(0).kind(), WriterKind::Push);
        let agent = LogId(1 << 96);
        assert_eq!((agent.kind(), LogId(7).kind()), (WriterKind::Agent, WriterKind::Agent));
        assert!(push < agent);
    }

    #[test]
    fn agent_names_are_bounded_and_printable() {
        assert!(AgentName::new("web-1.example.org").is_ok());
        assert_eq!(AgentName::new(""), Err(IdError::NameLength { bytes: 0 }));
        assert!(AgentName::new(&"x".repeat(253)).is_ok());
        assert_eq!(AgentName::new(&"x".repeat(254)), Err(IdError::NameLength { bytes: 254 }));
        assert_eq!(AgentName::new("a\nb"), Err(IdError::NameCharacter));
    }

    #[test]
    fn gap_reasons_have_distinct_codes() {
        for reason in GapReason::ALL {
            assert_eq!(GapReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(GapReason::from_code(0), None);
    }
}
