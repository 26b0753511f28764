use proptest::prelude::*;

use super::*;

fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
    pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
}

/// Positive buckets only, the count as they come to.
fn positive(schema: i32, layout: &[(i32, u32)], buckets: &[f64]) -> Histogram {
    Histogram {
        schema,
        count: buckets.iter().sum(),
        positive_spans: spans(layout),
        positive_buckets: buckets.to_vec(),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], layout: &[(i32, u32)], buckets: &[f64]) -> Histogram {
    Histogram { custom_values: bounds.into(), ..positive(CUSTOM_BUCKETS_SCHEMA, layout, buckets) }
}

fn with_zero(mut histogram: Histogram, threshold: f64, count: f64) -> Histogram {
    histogram.zero_threshold = threshold;
    histogram.zero_count = count;
    histogram.count += count;
    histogram
}

fn with_negative(mut histogram: Histogram, layout: &[(i32, u32)], buckets: &[f64]) -> Histogram {
    histogram.negative_spans = spans(layout);
    histogram.negative_buckets = buckets.to_vec();
    histogram.count += buckets.iter().sum::<f64>();
    histogram
}

#[test]
fn prints_from_the_lowest_to_the_highest_bucket() {
    let histogram = with_zero(positive(0, &[(-1, 2), (1, 1)], &[1.0, 0.0, 4.0]), 0.001, 2.0);
    let histogram = with_negative(Histogram { sum: 2e6, ..histogram }, &[(0, 2)], &[3.0, 5.0]);
    let text = "{count:15, sum:2e+06, [-2,-1):5, [-1,-0.5):3, [-0.001,0.001]:2, (0.25,0.5]:1, (2,4]:4}";
    assert_eq!(histogram.to_string(), text);
    let histogram = custom(&[5.0, 10.0], &[(0, 3)], &[1.0, 2.0, 3.0]);
    assert_eq!(histogram.to_string(), "{count:6, sum:0, [-Inf,5]:1, (5,10]:2, (10,+Inf]:3}");
}

#[test]
fn buckets_end_where_the_zero_bucket_begins() {
    let histogram = with_zero(positive(0, &[(0, 2)], &[1.0, 2.0]), 0.75, 3.0);
    let histogram = with_negative(histogram, &[(0, 1)], &[4.0]);
    let bounds = |bucket: Bucket| (bucket.lower, bucket.upper, bucket.count);
    let up: Vec<_> = histogram.all_buckets().map(bounds).collect();
    assert_eq!(up, [(-1.0, -0.75, 4.0), (-0.75, 0.75, 3.0), (0.75, 1.0, 1.0), (1.0, 2.0, 2.0)]);
    let mut down: Vec<_> = histogram.all_buckets().rev().map(bounds).collect();
    down.reverse();
    assert_eq!(up, down);
}

#[test]
fn spans_without_buckets_are_passed_over_from_both_ends() {
    let histogram = positive(0, &[(2, 0), (1, 1), (0, 0), (2, 0), (1, 2)], &[1.0, 2.0, 3.0]);
    let indices: Vec<_> = histogram.positive_buckets().map(|bucket| bucket.index).collect();
    assert_eq!(indices, [3, 7, 8]);
    let back: Vec<_> = histogram.positive_buckets().rev().map(|bucket| bucket.index).collect();
    assert_eq!(back, [8, 7, 3]);
    assert!(histogram.holds_the_same(&positive(0, &[(3, 1), (3, 2)], &[1.0, 2.0, 3.0])));
}

#[test]
fn what_prometheus_refuses_is_refused() {
    let fine = positive(0, &[(0, 2)], &[1.0, 2.0]);
    let changed = |change: fn(&mut Histogram)| {
        let mut histogram = fine.clone();
        change(&mut histogram);
        histogram.validate().map_err(|error| error.to_string()).expect_err("is refused")
    };
    assert_eq!(fine.validate(), Ok(()));
    for (text, said) in [
        (changed(|h| h.schema = 9), "got schema 9"),
        (changed(|h| h.schema = -5), "got schema -5"),
        (changed(|h| h.positive_buckets.push(0.0)), "spans need 2 buckets, have 3 buckets"),
        (changed(|h| h.positive_buckets[1] = -1.0), "bucket number 2 has observation count of -1"),
        (changed(|h| h.zero_count = -1.0), "bucket number 0 has observation count of -1"),
        (changed(|h| h.count = -1.0), "observation count is -1"),
        (changed(|h| h.custom_values = [1.0].into()), "must not have custom bounds"),
        (changed(|h| h.positive_spans = spans(&[(0, 1), (-1, 1)])), "span number 2 with offset -1"),
        (changed(|h| h.positive_spans = spans(&[(i32::MAX, 2)])), "beyond the last possible bucket"),
        (changed(|h| h.negative_spans = spans(&[(0, 1)])), "spans need 1 buckets, have 0 buckets"),
    ] {
        assert!(text.contains(said), "{text}");
    }
    assert_eq!(positive(0, &[(-3, 1)], &[1.0]).validate(), Ok(()), "only the first span may go back");
}

#[test]
fn custom_bounds_are_checked() {
    let fine = custom(&[1.0, 2.0], &[(1, 2)], &[1.0, 2.0]);
    assert_eq!(fine.validate(), Ok(()));
    let with = |bounds: &[f64]| Histogram { custom_values: bounds.into(), ..fine.clone() }.validate();
    assert_eq!(with(&[1.0, f64::NAN]), Err(HistogramError::CustomBoundNan));
    assert_eq!(with(&[2.0, 2.0]), Err(HistogramError::CustomBoundOrder { before: 2.0, bound: 2.0 }));
    assert_eq!(with(&[1.0, f64::INFINITY]), Err(HistogramError::CustomBoundInfinite));
    assert_eq!(with(&[1.0]), Err(HistogramError::CustomBoundsTooFew { bounds: 1, length: 3 }));
    let zero = Histogram { zero_count: 1.0, ..fine.clone() };
    assert_eq!(zero.validate(), Err(HistogramError::CustomZeroCount));
    let negative = with_negative(fine.clone(), &[(0, 1)], &[1.0]);
    assert_eq!(negative.validate(), Err(HistogramError::CustomNegative));
    let before = Histogram { positive_spans: spans(&[(-1, 2)]), ..fine };
    assert_eq!(before.validate(), Err(HistogramError::SpanOffset { number: 1, offset: -1 }));
}

#[test]
fn whole_numbers_must_add_up() {
    let integers = |change: fn(&mut Histogram)| {
        let mut histogram = Histogram { counts: CountKind::Integer, ..positive(0, &[(0, 2)], &[1.0, 2.0]) };
        change(&mut histogram);
        histogram.validate()
    };
    assert_eq!(integers(|_| ()), Ok(()));
    assert_eq!(
        integers(|h| h.count = 4.0),
        Err(HistogramError::CountMismatch { in_buckets: 3.0, count: 4.0 })
    );
    // An observation that is no number is in no bucket.
    assert_eq!(integers(|h| (h.count, h.sum) = (4.0, f64::NAN)), Ok(()));
    assert!(integers(|h| (h.count, h.sum) = (2.0, f64::NAN)).is_err());
    assert_eq!(integers(|h| h.positive_buckets[0] = 0.5), Err(HistogramError::NotInteger(0.5)));
    assert!(integers(|h| h.count = 9_007_199_254_740_992.0).is_err());
}

#[test]
fn addition_takes_the_coarser_schema() {
    // Buckets 1 to 4 of schema 1 are 1 and 2 of schema 0.
    let fine = positive(1, &[(1, 4)], &[1.0, 2.0, 3.0, 4.0]);
    let coarse = positive(0, &[(2, 2)], &[10.0, 20.0]);
    for (mut left, right) in [(fine.clone(), coarse.clone()), (coarse, fine)] {
        assert_eq!(left.add(&right), Ok(Reconciled::default()));
        assert!(left.holds_the_same(&positive(0, &[(1, 3)], &[3.0, 17.0, 20.0])), "{left}");
    }
}

#[test]
fn addition_widens_the_zero_bucket_to_a_bound() {
    // 0.3 is within (0.25,0.5], which holds something: the zero bucket ends at 0.5 then.
    let narrow = with_zero(positive(0, &[(-2, 3)], &[1.0, 2.0, 4.0]), 0.001, 8.0);
    let wide = with_zero(positive(0, &[(0, 1)], &[16.0]), 0.3, 32.0);
    for (mut left, right) in [(narrow.clone(), wide.clone()), (wide, narrow)] {
        assert_eq!(left.add(&right), Ok(Reconciled::default()));
        left.compact(0);
        assert_eq!(left.to_string(), "{count:63, sum:0, [-0.5,0.5]:43, (0.5,1]:20}");
    }
}

#[test]
fn buckets_that_are_empty_do_not_widen_the_zero_bucket() {
    let mut narrow = with_zero(positive(0, &[(-2, 3)], &[1.0, 0.0, 4.0]), 0.001, 8.0);
    let wide = with_zero(positive(0, &[], &[]), 0.3, 32.0);
    assert_eq!(narrow.add(&wide), Ok(Reconciled::default()));
    assert_eq!(narrow.to_string(), "{count:45, sum:0, [-0.3,0.3]:41, (0.5,1]:4}");
}

#[test]
fn a_negative_bucket_widens_the_zero_bucket_for_both_sides() {
    let both = with_negative(positive(0, &[(0, 2)], &[1.0, 2.0]), &[(1, 1)], &[4.0]);
    let mut sum = with_zero(both, 0.001, 8.0);
    let wide = with_zero(positive(0, &[], &[]), 1.5, 16.0);
    assert_eq!(sum.add(&wide), Ok(Reconciled::default()));
    assert_eq!(sum.to_string(), "{count:31, sum:0, [-2,2]:31}");
}

#[test]
fn subtraction_may_leave_less_than_nothing() {
    let mut left = positive(0, &[(0, 1)], &[1.0]);
    assert_eq!(left.sub(&positive(0, &[(0, 1), (1, 1)], &[3.0, 4.0])), Ok(Reconciled::default()));
    assert!(left.holds_the_same(&positive(0, &[(0, 1), (1, 1)], &[-2.0, -4.0])), "{left}");
}

#[test]
fn custom_bounds_meet_in_those_that_both_have() {
    let mut left = custom(&[1.0, 2.0, 3.0], &[(0, 4)], &[1.0, 2.0, 3.0, 4.0]);
    let right = custom(&[0.5, 2.0, 5.0], &[(0, 4)], &[10.0, 20.0, 30.0, 40.0]);
    assert_eq!(left.add(&right), Ok(Reconciled { custom_bounds: true, ..Reconciled::default() }));
    assert_eq!(left.to_string(), "{count:110, sum:0, [-Inf,2]:33, (2,+Inf]:77}");
    let mut same = custom(&[1.0], &[(0, 1)], &[1.0]);
    assert_eq!(same.add(&custom(&[1.0], &[(1, 1)], &[2.0])), Ok(Reconciled::default()));
    assert!(same.holds_the_same(&custom(&[1.0], &[(0, 2)], &[1.0, 2.0])));
    assert_eq!(same.add(&positive(0, &[], &[])), Err(IncompatibleSchemas));
    assert!(same.holds_the_same(&custom(&[1.0], &[(0, 2)], &[1.0, 2.0])), "a refusal changes nothing");
}

#[test]
fn counter_resets_combine() {
    use CounterReset::*;
    for (left, right, combined, collide) in [
        (Reset, Reset, Reset, false),
        (Reset, NotReset, Unknown, true),
        (NotReset, Unknown, Unknown, false),
        (Unknown, Reset, Unknown, false),
        (Gauge, Reset, Gauge, false),
        (NotReset, Gauge, Gauge, false),
    ] {
        let mut sum = Histogram { counter_reset: left, ..Histogram::default() };
        let other = Histogram { counter_reset: right, ..Histogram::default() };
        let reconciled = sum.add(&other).expect("both exponential");
        assert_eq!((sum.counter_reset, reconciled.counter_resets_collide), (combined, collide));
    }
}

#[test]
fn scaling_below_zero_makes_a_gauge_and_division_by_zero_leaves_no_buckets() {
    let mut scaled = with_zero(positive(0, &[(0, 1)], &[2.0]), 0.1, 4.0);
    scaled.mul(-0.5);
    assert_eq!(scaled.to_string(), "{count:-3, sum:-0, [-0.1,0.1]:-2, (0.5,1]:-1}");
    assert_eq!(scaled.counter_reset, CounterReset::Gauge);
    scaled.div(0.0);
    assert_eq!((scaled.count, scaled.zero_count), (f64::NEG_INFINITY, f64::NEG_INFINITY));
    assert!(scaled.positive_spans.is_empty() && scaled.positive_buckets.is_empty());
    assert!(scaled.has_overflow());
}

#[test]
fn compaction_drops_gaps_and_fills_small_ones() {
    let check = |layout: &[(i32, u32)], buckets: &[f64], empty_max, expected: &[(i32, u32)], kept: &[f64]| {
        let mut histogram = positive(0, layout, buckets);
        histogram.compact(empty_max);
        assert_eq!(histogram.positive_spans, spans(expected), "{buckets:?}");
        assert_eq!(histogram.positive_buckets, kept);
    };
    check(&[(0, 6)], &[0.0, 1.0, 0.0, 0.0, 2.0, 0.0], 0, &[(1, 1), (2, 1)], &[1.0, 2.0]);
    check(&[(0, 6)], &[0.0, 1.0, 0.0, 0.0, 2.0, 0.0], 2, &[(1, 4)], &[1.0, 0.0, 0.0, 2.0]);
    check(&[(-1, 1), (1, 1), (3, 1)], &[1.0, 2.0, 3.0], 1, &[(-1, 3), (3, 1)], &[1.0, 0.0, 2.0, 3.0]);
    // What is explicit and what is not count together.
    check(&[(0, 2), (1, 2)], &[1.0, 0.0, 0.0, 2.0], 2, &[(0, 1), (3, 1)], &[1.0, 2.0]);
    check(&[(3, 0), (1, 2), (0, 1)], &[1.0, 2.0, 3.0], 0, &[(4, 3)], &[1.0, 2.0, 3.0]);
    check(&[(2, 2)], &[0.0, 0.0], 3, &[], &[]);
}

#[test]
fn resolution_only_falls() {
    let mut histogram = positive(2, &[(-3, 5)], &[1.0, 2.0, 4.0, 8.0, 16.0]);
    // 2^((-4..1)/4] is 2^(-1..0] for -3 to 0, and 2^(0..1] for 1.
    assert_eq!(histogram.reduce_resolution(0), Ok(()));
    assert!(histogram.holds_the_same(&positive(0, &[(0, 2)], &[15.0, 16.0])), "{histogram}");
    assert_eq!(histogram.reduce_resolution(0), Err(CoarsenError::Target { from: 0, to: 0 }));
    assert_eq!(histogram.reduce_resolution(-5), Err(CoarsenError::Target { from: 0, to: -5 }));
    assert_eq!(custom(&[], &[], &[]).reduce_resolution(-1), Err(CoarsenError::CustomBuckets));
}

#[test]
fn resets_are_detected() {
    let before = with_zero(positive(1, &[(1, 2), (1, 1)], &[1.0, 2.0, 3.0]), 0.001, 4.0);
    let reset = |change: fn(&mut Histogram)| {
        let mut now = before.clone();
        now.count += 100.0;
        change(&mut now);
        now.detect_reset(&before)
    };
    assert!(!reset(|_| ()));
    assert!(reset(|now| now.count = 1.0));
    assert!(reset(|now| now.zero_count = 3.0));
    assert!(reset(|now| now.positive_buckets[2] = 2.0));
    assert!(reset(|now| (now.positive_spans, now.positive_buckets) = (spans(&[(1, 2)]), vec![9.0, 9.0])));
    assert!(reset(|now| now.schema = 2));
    assert!(reset(|now| now.zero_threshold = 0.0001));
    // Coarser, with all that was there: buckets 1, 2, 4 of schema 1 are 1, 1, 2 of schema 0.
    let coarser = |now: &mut Histogram, first| {
        (now.schema, now.positive_spans, now.positive_buckets) = (0, spans(&[(1, 2)]), vec![first, 3.0]);
    };
    let mut now = Histogram { count: 100.0, ..before.clone() };
    coarser(&mut now, 3.0);
    assert!(!now.detect_reset(&before));
    coarser(&mut now, 2.0);
    assert!(now.detect_reset(&before));
    // The zero bucket took a bucket in as a whole, or only a part of it.
    let wide = |threshold, zero_count, rest: &[f64]| {
        let histogram = Histogram { zero_threshold: threshold, zero_count, count: 100.0, ..before.clone() };
        Histogram { positive_spans: spans(&[(2, 1), (1, 1)]), positive_buckets: rest.to_vec(), ..histogram }
    };
    let bound = before.positive_buckets().next().expect("has one").upper;
    assert!(!wide(bound, 5.0, &[2.0, 3.0]).detect_reset(&before));
    assert!(wide(bound, 4.0, &[2.0, 3.0]).detect_reset(&before));
    assert!(wide(1.2, 9.0, &[2.0, 3.0]).detect_reset(&before));
    // What it says itself is believed.
    assert!(reset(|now| now.counter_reset = CounterReset::Reset));
    assert!(!reset(|now| (now.counter_reset, now.count) = (CounterReset::NotReset, 0.0)));
}

#[test]
fn resets_between_custom_bounds() {
    let before = custom(&[1.0, 2.0, 3.0], &[(0, 3)], &[1.0, 2.0, 3.0]);
    let now = |bounds: &[f64], buckets: &[f64]| {
        let mut now = custom(bounds, &[(0, buckets.len() as u32)], buckets);
        now.count = 100.0;
        now.detect_reset(&before)
    };
    assert!(!now(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]));
    assert!(now(&[1.0, 2.0, 3.0], &[1.0, 1.0, 3.0]));
    assert!(!now(&[2.0, 3.0], &[3.0, 3.0]));
    assert!(now(&[2.0, 3.0], &[2.0, 9.0]));
    assert!(now(&[5.0], &[5.0]));
    assert!(Histogram { count: 100.0, ..before.clone() }.detect_reset(&positive(0, &[], &[])));
    assert!(Histogram { count: 100.0, ..positive(0, &[], &[]) }.detect_reset(&before));
}

#[test]
fn a_sum_keeps_what_rounding_loses() {
    let part = |value| with_zero(positive(0, &[(0, 1)], &[value]), 0.1, value);
    let mut sum = HistogramSum::new(part(1.0));
    for value in [1e100, 1.0, -1e100] {
        assert_eq!(sum.add(&part(value)), Ok(Reconciled::default()));
    }
    sum.mul(4.0);
    sum.div(2.0);
    assert!(!sum.has_overflow());
    let sum = sum.finish();
    assert_eq!((sum.zero_count, sum.positive_buckets), (4.0, vec![4.0]));
    let mut sum = HistogramSum::new(part(f64::MAX));
    assert_eq!(sum.add(&part(f64::MAX)), Ok(Reconciled::default()));
    assert!(sum.has_overflow());
    assert_eq!(sum.add(&custom(&[], &[], &[])), Err(IncompatibleSchemas));
}

#[test]
fn the_size_is_what_prometheus_counts() {
    let histogram = with_negative(positive(0, &[(0, 2)], &[1.0, 2.0]), &[(0, 1)], &[1.0]);
    assert_eq!(histogram.size_bytes(), 168 + 2 * 8 + 3 * 8);
}

prop_compose! {
    fn any_side()(layout in proptest::collection::vec((0i32..4, 0u32..4), 0..5), start in -12i32..12)
        (buckets in proptest::collection::vec(0u32..5, layout.iter().map(|span| span.1 as usize).sum::<usize>()),
         layout in Just(layout), start in Just(start))
        -> (Vec<Span>, Vec<f64>)
    {
        let mut layout = spans(&layout);
        if let Some(first) = layout.first_mut() {
            first.offset += start;
        }
        (layout, buckets.into_iter().map(f64::from).collect())
    }
}

prop_compose! {
    fn any_of_schema(schema: i32, thresholds: Vec<f64>)(
        positive in any_side(), negative in any_side(), zero_count in 0u32..5,
        zero_threshold in proptest::sample::select(thresholds), schema in Just(schema),
    ) -> Histogram {
        let zero_count = f64::from(zero_count);
        let count = zero_count + positive.1.iter().chain(&negative.1).sum::<f64>();
        let mut histogram = Histogram {
            schema, zero_count, count, sum: count,
            positive_spans: positive.0, positive_buckets: positive.1,
            negative_spans: negative.0, negative_buckets: negative.1,
            ..Histogram::default()
        };
        // Widens the zero bucket so that it ends within no other.
        histogram.add(&Histogram { zero_threshold, ..Histogram::default() }).expect("both exponential");
        histogram.counts = CountKind::Integer;
        histogram
    }
}

/// Two that differ in their zero buckets or in their schemas. A zero threshold that is a bound of one schema need not be
/// one of the coarser, and then (as in Prometheus) what lies around it depends on the order of additions.
fn any_two() -> impl Strategy<Value = (Histogram, Histogram)> {
    let thresholds = vec![0.0, 1e-6, 0.25, 0.3, 1.0];
    let same_schema = (-2i32..4).prop_flat_map(move |schema| {
        (any_of_schema(schema, thresholds.clone()), any_of_schema(schema, thresholds.clone()))
    });
    let same_zero = (-2i32..4, -2i32..4)
        .prop_flat_map(|(left, right)| (any_of_schema(left, vec![0.0]), any_of_schema(right, vec![0.0])));
    prop_oneof![same_schema, same_zero]
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    any_two().prop_map(|(one, _)| one)
}

prop_compose! {
    fn any_custom()(
        bounds in proptest::collection::btree_set(-6i32..6, 0..6),
        cells in proptest::collection::vec(0u32..4, 7),
    ) -> Histogram {
        let bounds: Vec<f64> = bounds.into_iter().map(f64::from).collect();
        let buckets: Vec<f64> = cells.into_iter().take(bounds.len() + 1).map(f64::from).collect();
        custom(&bounds, &[(0, buckets.len() as u32)], &buckets)
    }
}

fn compacted(mut histogram: Histogram) -> Histogram {
    histogram.compact(0);
    histogram
}

fn sum_of(left: &Histogram, right: &Histogram) -> Histogram {
    let mut sum = left.clone();
    sum.add(right).expect("schemas fit");
    sum
}

fn in_buckets(histogram: &Histogram) -> f64 {
    let buckets = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    histogram.zero_count + buckets.sum::<f64>()
}

fn filled_buckets(histogram: &Histogram) -> Vec<Bucket> {
    histogram.all_buckets().filter(|bucket| bucket.count != 0.0).collect()
}

proptest! {
    #[test]
    fn addition_commutes_and_loses_nothing((left, right) in any_two()) {
        prop_assert_eq!(left.validate(), Ok(()));
        let sum = sum_of(&left, &right);
        prop_assert_eq!(sum.validate(), Ok(()));
        prop_assert_eq!(in_buckets(&sum), left.count + right.count);
        let other = compacted(sum_of(&right, &left));
        prop_assert!(compacted(sum.clone()).holds_the_same(&other), "{} {}", sum, other);
        let mut total = HistogramSum::new(left);
        total.add(&right).expect("schemas fit");
        prop_assert!(compacted(total.finish()).holds_the_same(&other));
    }

    #[test]
    fn nothing_is_reset_by_more((before, more) in any_two()) {
        prop_assert!(!before.detect_reset(&before));
        let now = sum_of(&before, &more);
        prop_assert!(!now.detect_reset(&before), "{} {}", now, before);
        let mut less = now.clone();
        if let Some(filled) = less.positive_buckets.iter_mut().find(|count| **count > 0.0) {
            *filled -= 1.0;
            prop_assert!(less.detect_reset(&now));
        }
    }

    #[test]
    fn subtraction_undoes_addition((left, right) in any_two()) {
        let mut back = sum_of(&left, &right);
        back.sub(&right).expect("schemas fit");
        prop_assert_eq!(in_buckets(&back), left.count);
        back.sub(&left).expect("schemas fit");
        prop_assert_eq!(filled_buckets(&back), []);
    }

    #[test]
    fn compaction_keeps_what_is_filled(histogram in any_histogram(), empty_max in 0u32..4) {
        let mut compact = histogram.clone();
        compact.compact(empty_max);
        prop_assert_eq!(compact.validate(), Ok(()));
        prop_assert_eq!(filled_buckets(&compact), filled_buckets(&histogram));
        let again = { let mut again = compact.clone(); again.compact(empty_max); again };
        prop_assert_eq!(again, compact);
    }

    #[test]
    fn a_coarser_histogram_has_the_same_up_to_every_bound(histogram in any_histogram(), steps in 1i32..3) {
        let mut coarse = histogram.clone();
        let target = (histogram.schema - steps).max(EXPONENTIAL_SCHEMA_MIN);
        prop_assert_eq!(coarse.reduce_resolution(target), Ok(()));
        prop_assert_eq!(coarse.validate(), Ok(()));
        for bucket in coarse.positive_buckets() {
            let up_to = |histogram: &Histogram| {
                let below = histogram.positive_buckets().filter(|other| other.upper <= bucket.upper);
                below.map(|bucket| bucket.count).sum::<f64>()
            };
            prop_assert_eq!(up_to(&coarse), up_to(&histogram), "up to {}", bucket.upper);
        }
    }

    #[test]
    fn going_back_is_going_forth_reversed(histogram in any_histogram()) {
        let up: Vec<_> = histogram.all_buckets().collect();
        let mut down: Vec<_> = histogram.all_buckets().rev().collect();
        down.reverse();
        prop_assert_eq!(up, down);
    }

    #[test]
    fn custom_bounds_commute_and_lose_nothing(left in any_custom(), right in any_custom()) {
        prop_assert_eq!(left.validate(), Ok(()));
        let sum = sum_of(&left, &right);
        prop_assert_eq!(sum.validate(), Ok(()));
        prop_assert_eq!(in_buckets(&sum), left.count + right.count);
        prop_assert!(compacted(sum.clone()).holds_the_same(&compacted(sum_of(&right, &left))));
        prop_assert!(!sum.detect_reset(&left));
    }

    #[test]
    fn what_is_not_valid_does_no_harm(
        mut histogram in any_histogram(), other in any_histogram(),
        layout in proptest::collection::vec((any::<i32>(), any::<u32>()), 0..4), schema in any::<i32>(),
    ) {
        histogram.positive_spans = spans(&layout);
        histogram.schema = schema;
        let _verdict = histogram.validate();
        let _filled = filled_buckets(&histogram);
        let _text = histogram.to_string();
        if histogram.reduce_resolution(-1).is_ok() {
            let _reset = other.detect_reset(&histogram);
        }
    }
}
