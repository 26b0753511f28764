//! What of an exemplar is kept.

use vedette_exposition::Exemplar;
use vedette_model::Labels;

/// Characters of an exemplar's label names and values together: the limit of OpenMetrics.
const LABEL_CHARACTERS_MAX: usize = 128;
/// New exemplars that are taken of one scrape.
pub(crate) const EXEMPLARS_PER_SCRAPE_MAX: usize = 10_000;

/// The exemplar's labels; `None` when they are too long, as Prometheus refuses it then.
pub(crate) fn labels_of(exemplar: &Exemplar<'_>) -> Option<Labels> {
    let pairs = exemplar.label_pairs().ok()?;
    let characters = pairs.iter().map(|(name, value)| name.chars().count() + value.chars().count());
    (characters.sum::<usize>() <= LABEL_CHARACTERS_MAX).then(|| Labels::from_pairs(pairs))
}
