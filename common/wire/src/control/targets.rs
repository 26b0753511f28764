//! What an agent scrapes, for whoever looks at the group's targets.

use super::codec::{ControlError, bounded};
use bincode::{Decode, Encode};

/// Targets in one message.
pub const TARGETS_MAX: usize = 256;
/// Labels of one target.
pub const TARGET_LABELS_MAX: usize = 128;
/// Bytes of one text of a target.
pub const TARGET_TEXT_BYTES_MAX: usize = 4096;
/// Bytes of all texts of a message, so that it stays well below what any message may have.
pub const TARGETS_BYTES_MAX: usize = 512 << 10;

/// All targets of an agent, over as many messages as it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Targets {
    /// What was said before no longer counts.
    pub begins: bool,
    /// The next of them.
    pub targets: Vec<TargetReport>,
}

/// One target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct TargetReport {
    /// The name of its scrape configuration.
    pub pool: String,
    /// What is scraped.
    pub url: String,
    /// The labels of its series.
    pub labels: Vec<(String, String)>,
    /// The labels that it was found with.
    pub discovered: Vec<(String, String)>,
    /// How often.
    pub interval_ms: u32,
    /// How long a scrape may take.
    pub timeout_ms: u32,
    /// Why the last scrape failed; empty when it did not.
    pub error: String,
}

impl TargetReport {
    /// Whether it fits into a message.
    pub fn check(&self) -> Result<(), ControlError> {
        for labels in [&self.labels, &self.discovered] {
            bounded("labels", labels.len(), TARGET_LABELS_MAX)?;
        }
        for text in self.texts() {
            bounded("bytes of text", text.len(), TARGET_TEXT_BYTES_MAX)?;
        }
        Ok(())
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        let labels = self.labels.iter().chain(&self.discovered).flat_map(|(name, value)| [name, value]);
        labels.chain([&self.pool, &self.url, &self.error])
    }

    fn bytes(&self) -> usize {
        self.texts().map(String::len).sum()
    }
}

impl Targets {
    pub(super) fn check(&self) -> Result<(), ControlError> {
        bounded("targets", self.targets.len(), TARGETS_MAX)?;
        bounded("bytes of text", self.targets.iter().map(TargetReport::bytes).sum(), TARGETS_BYTES_MAX)?;
        self.targets.iter().try_for_each(TargetReport::check)
    }

    /// The messages that say all of `targets`; at least one. Targets that do not fit into any are left out.
    pub fn pages(targets: &[TargetReport]) -> Vec<Self> {
        let mut pages = vec![Self { begins: true, targets: Vec::new() }];
        let mut bytes = 0;
        for target in
            targets.iter().filter(|target| target.check().is_ok() && target.bytes() <= TARGETS_BYTES_MAX)
        {
            let full =
                |page: &Self| page.targets.len() == TARGETS_MAX || bytes + target.bytes() > TARGETS_BYTES_MAX;
            if pages.last().is_none_or(full) {
                pages.push(Self::default());
                bytes = 0;
            }
            bytes += target.bytes();
            if let Some(page) = pages.last_mut() {
                page.targets.push(target.clone());
            }
        }
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{AgentMessage, Decoded, decode, encode};

    #[test]
    fn pages_hold_everything_that_fits() {
        let target = |url: String| TargetReport { url, ..TargetReport::default() };
        let mut all: Vec<_> = (0..600).map(|number| target(format!("http://{number}"))).collect();
        all.extend((0..200).map(|_| target("x".repeat(TARGET_TEXT_BYTES_MAX))));
        let too_long = target("x".repeat(TARGET_TEXT_BYTES_MAX + 1));
        let pages = Targets::pages(&[all.clone(), vec![too_long]].concat());
        assert!(pages.len() > 3 && pages[0].begins && !pages[1].begins);
        let mut said = Vec::new();
        for page in pages {
            let bytes = encode(&AgentMessage::Targets(page.clone())).expect("fits");
            let Ok(Decoded::Message(AgentMessage::Targets(read), taken)) = decode(&bytes) else {
                panic!("it is a message")
            };
            assert_eq!((&read, taken), (&page, bytes.len()));
            said.extend(page.targets);
        }
        assert_eq!(said, all);
        assert_eq!(Targets::pages(&[]).len(), 1, "none is news as well");
    }
}
