//! Custom bounds that differ.

use super::Histogram;
use super::side::Side;

/// The bounds that both have. Both are strictly rising.
pub(super) fn shared_bounds(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut right = right.iter().copied().peekable();
    let mut shared = Vec::new();
    for bound in left.iter().copied() {
        while right.next_if(|other| *other < bound).is_some() {}
        shared.extend(right.next_if(|other| *other == bound));
    }
    shared
}

/// Whether a bucket between two bounds that both share holds less than it did.
pub(super) fn fell_between_shared_bounds(now: &Histogram, before: &Histogram) -> bool {
    let shared = shared_bounds(&now.custom_values, &before.custom_values);
    let mapped = |histogram: &Histogram| {
        let mut cells = vec![0.0; shared.len() + 1];
        Side::<f64>::of(&histogram.positive_spans, &histogram.positive_buckets).add_to_bounds(
            1.0,
            &histogram.custom_values,
            &shared,
            &mut cells,
        );
        cells
    };
    mapped(now).iter().zip(mapped(before)).any(|(now, before)| *now < before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bounds_that_both_have_are_shared() {
        assert_eq!(shared_bounds(&[1.0, 2.0, 3.0, 4.0], &[0.5, 2.0, 2.5, 4.0, 5.0]), [2.0, 4.0]);
        assert!(shared_bounds(&[1.0], &[]).is_empty());
    }
}
