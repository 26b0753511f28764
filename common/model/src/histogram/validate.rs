//! Whether the parts of a histogram fit together, asked where histograms come in.

use super::{
    CUSTOM_BUCKETS_SCHEMA, CountKind, EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN, Histogram, Span,
};

/// Why a histogram is refused. The words are Prometheus'.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HistogramError {
    /// Neither exponential nor custom.
    #[error(
        "histogram has an invalid schema, which must be between {EXPONENTIAL_SCHEMA_MIN} and \
         {EXPONENTIAL_SCHEMA_MAX} for exponential buckets, or -53 for custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// Spans name more or fewer buckets than there are.
    #[error(
        "spans need {needed} buckets, have {found} buckets: histogram spans specify different number of buckets than provided"
    )]
    BucketCount {
        /// What the spans name.
        needed: u64,
        /// What there is.
        found: usize,
    },
    /// A span begins before the one before it ends.
    #[error("span number {number} with offset {offset}: histogram has a span whose offset is negative")]
    SpanOffset {
        /// Which, from 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket's index is not within 32 bits.
    #[error("histogram has a span that reaches beyond the last possible bucket")]
    SpanRange,
    /// Fewer than none.
    #[error(
        "bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    NegativeBucket {
        /// Which of its sign, from 1; 0 is the zero bucket.
        number: usize,
        /// Its count.
        count: f64,
    },
    /// Fewer than none.
    #[error("observation count is {0}: histogram's observation count is negative")]
    NegativeCount(f64),
    /// Whole numbers must add up, unless observations that are no number were left out of the buckets.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count \
         should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// The sum of all buckets.
        in_buckets: f64,
        /// The count.
        count: f64,
    },
    /// It is said to be of whole numbers and is not, or they are too great to be exact.
    #[error("histogram with integer counts has a count of {0}")]
    NotInteger(f64),
    /// A listed bound that is no number.
    #[error("histogram custom bounds must not be NaN")]
    CustomBoundNan,
    /// Listed bounds in disorder.
    #[error(
        "previous bound is {before} and current is {bound}: histogram custom bounds must be in strictly increasing order"
    )]
    CustomBoundOrder {
        /// A bound.
        before: f64,
        /// The next one.
        bound: f64,
    },
    /// The last bound is implied.
    #[error("last +Inf bound must not be explicitly defined: histogram custom bounds must be finite")]
    CustomBoundInfinite,
    /// A bucket beyond the last bound.
    #[error(
        "only {bounds} custom bounds defined which is insufficient to cover total span length of {length}: histogram custom bounds are too few"
    )]
    CustomBoundsTooFew {
        /// How many there are.
        bounds: usize,
        /// How far the spans reach.
        length: u64,
    },
    /// A field that only exponential histograms have.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// A field that only exponential histograms have.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// A field that only exponential histograms have.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegative,
    /// A field that only histograms with custom bounds have.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialCustomBounds,
}

/// Integers below this are exact as floats.
pub(super) const EXACT_END: f64 = (1u64 << 53) as f64;

impl Histogram {
    /// Whether its parts fit together. Everything else in this module works for valid histograms, and goes through
    /// others without a panic but with no meaning.
    pub fn validate(&self) -> Result<(), HistogramError> {
        match self.schema {
            CUSTOM_BUCKETS_SCHEMA => self.validate_custom()?,
            EXPONENTIAL_SCHEMA_MIN..=EXPONENTIAL_SCHEMA_MAX => self.validate_exponential()?,
            schema => return Err(HistogramError::Schema(schema)),
        }
        if self.count < 0.0 {
            return Err(HistogramError::NegativeCount(self.count));
        }
        no_negative(&self.positive_buckets)?;
        if self.counts == CountKind::Integer { self.validate_integers() } else { Ok(()) }
    }

    fn validate_exponential(&self) -> Result<(), HistogramError> {
        for (spans, buckets) in
            [(&self.positive_spans, &self.positive_buckets), (&self.negative_spans, &self.negative_buckets)]
        {
            check_spans(spans, buckets.len(), 1)?;
        }
        no_negative(&self.negative_buckets)?;
        if self.zero_count < 0.0 {
            return Err(HistogramError::NegativeBucket { number: 0, count: self.zero_count });
        }
        if self.custom_values.is_empty() { Ok(()) } else { Err(HistogramError::ExponentialCustomBounds) }
    }

    fn validate_custom(&self) -> Result<(), HistogramError> {
        let bounds = &self.custom_values;
        if bounds.iter().any(|bound| bound.is_nan()) {
            return Err(HistogramError::CustomBoundNan);
        }
        if let Some(pair) = bounds.windows(2).find(|pair| pair[1] <= pair[0]) {
            return Err(HistogramError::CustomBoundOrder { before: pair[0], bound: pair[1] });
        }
        if bounds.last() == Some(&f64::INFINITY) {
            return Err(HistogramError::CustomBoundInfinite);
        }
        let length = check_spans(&self.positive_spans, self.positive_buckets.len(), 0)?;
        if length > bounds.len() as u64 + 1 {
            return Err(HistogramError::CustomBoundsTooFew { bounds: bounds.len(), length });
        }
        if self.zero_count != 0.0 {
            return Err(HistogramError::CustomZeroCount);
        }
        if self.zero_threshold != 0.0 {
            return Err(HistogramError::CustomZeroThreshold);
        }
        if self.negative_spans.is_empty() && self.negative_buckets.is_empty() {
            Ok(())
        } else {
            Err(HistogramError::CustomNegative)
        }
    }

    fn validate_integers(&self) -> Result<(), HistogramError> {
        let buckets = self.positive_buckets.iter().chain(&self.negative_buckets).chain([&self.zero_count]);
        for number in buckets.clone().chain([&self.count]) {
            if number.fract() != 0.0 || *number >= EXACT_END {
                return Err(HistogramError::NotInteger(*number));
            }
        }
        let in_buckets: f64 = buckets.sum();
        let fits = if self.sum.is_nan() { in_buckets <= self.count } else { in_buckets == self.count };
        if fits { Ok(()) } else { Err(HistogramError::CountMismatch { in_buckets, count: self.count }) }
    }

    /// Bytes that it takes, as Prometheus counts them for its limits.
    pub fn size_bytes(&self) -> usize {
        const FIXED: usize = 168;
        let spans = self.positive_spans.len() + self.negative_spans.len();
        let floats = self.positive_buckets.len() + self.negative_buckets.len() + self.custom_values.len();
        FIXED + 8 * (spans + floats)
    }
}

/// Gives how far the spans reach from index 0. Spans before number `negative_to` may go back.
fn check_spans(spans: &[Span], found: usize, negative_to: usize) -> Result<u64, HistogramError> {
    let mut needed = 0u64;
    let mut end = 0i64;
    for (place, span) in spans.iter().enumerate() {
        if place >= negative_to && span.offset < 0 {
            return Err(HistogramError::SpanOffset { number: place + 1, offset: span.offset });
        }
        needed += u64::from(span.length);
        end += i64::from(span.offset) + i64::from(span.length);
        if end > i64::from(i32::MAX) {
            return Err(HistogramError::SpanRange);
        }
    }
    if needed != found as u64 {
        return Err(HistogramError::BucketCount { needed, found });
    }
    Ok(end.max(0) as u64)
}

fn no_negative(buckets: &[f64]) -> Result<(), HistogramError> {
    match buckets.iter().position(|count| *count < 0.0) {
        Some(place) => Err(HistogramError::NegativeBucket { number: place + 1, count: buckets[place] }),
        None => Ok(()),
    }
}
