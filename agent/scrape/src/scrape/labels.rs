use vedette_exposition::LabelPair;
use vedette_model::{Labels, LabelsBuilder};

use crate::config::Limits;
use crate::scrape::ScrapeError;
use crate::target::Target;

const EXPORTED_PREFIX: &str = "exported_";

/// Adds the target's labels to those that a series has. Where both have one, the series' own wins when labels are
/// honoured (an empty one, too: it then has no such label); else it is renamed to `exported_…`.
pub(crate) fn with_target(pairs: &[LabelPair<'_>], target: &Target) -> Labels {
    let mut builder = LabelsBuilder::default();
    for (name, value) in pairs {
        builder.set(name, value);
    }
    let own = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_ref());
    if target.config.honor_labels {
        for (name, value) in target.labels.iter().filter(|(name, _)| own(name).is_none()) {
            builder.set(name, value);
        }
        return builder.finish();
    }
    let mut conflicts = Vec::new();
    for (name, value) in &target.labels {
        if let Some(exposed) = own(name).filter(|exposed| !exposed.is_empty()) {
            conflicts.push((name, exposed));
        }
        builder.set(name, value);
    }
    // The shorter name is renamed first, so that `exported_job` finds its place taken by `job` if both conflict.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, exposed) in conflicts {
        let mut renamed = format!("{EXPORTED_PREFIX}{name}");
        while builder.get(&renamed).is_some() {
            renamed.insert_str(0, EXPORTED_PREFIX);
        }
        builder.set(&renamed, exposed);
    }
    builder.finish()
}

/// Adds the labels of the whole agent where a series does not have them.
pub(crate) fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.iter().all(|(name, _)| labels.get(name).is_some()) {
        return labels.clone();
    }
    let mut builder = labels.to_builder();
    for (name, value) in external.iter().filter(|(name, _)| labels.get(name).is_none()) {
        builder.set(name, value);
    }
    builder.finish()
}

pub(crate) fn check_limits(labels: &Labels, limits: &Limits) -> Result<(), ScrapeError> {
    let exceeded = |reason| Err(ScrapeError::LabelLimit { reason });
    let over = |count: usize, limit: u64| limit > 0 && count as u64 > limit;
    let metric = cut(labels.metric_name().unwrap_or_default());
    let count = labels.len();
    if over(count, limits.labels) {
        let limit = limits.labels;
        return exceeded(format!(
            "label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})"
        ));
    }
    if limits.label_name_length == 0 && limits.label_value_length == 0 {
        return Ok(());
    }
    for (name, value) in labels {
        if over(name.len(), limits.label_name_length) {
            let (length, limit) = (name.len(), limits.label_name_length);
            let name = cut(name);
            return exceeded(format!(
                "label_name_length_limit exceeded (metric: {metric}, label name: {name}, length: {length}, limit: {limit})"
            ));
        }
        if over(value.len(), limits.label_value_length) {
            let (length, limit) = (value.len(), limits.label_value_length);
            let (name, value) = (cut(name), cut(value));
            return exceeded(format!(
                "label_value_length_limit exceeded (metric: {metric}, label name: {name}, value: {value:?}, length: {length}, limit: {limit})"
            ));
        }
    }
    Ok(())
}

/// The first 50 characters, for messages.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(50).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
