use std::time::Duration;

use vedette_model::Timestamp;

/// How a target's last scrape went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// It succeeded.
    Up,
    /// It failed.
    Down,
}

impl Health {
    /// The word for it in Prometheus' API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// For status pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// How the last scrape went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// Its time.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_duration: Duration,
    /// Samples in it.
    pub last_samples: usize,
}
