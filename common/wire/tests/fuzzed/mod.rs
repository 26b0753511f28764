//! What the fuzz target runs and the corpus replay repeats.

use vedette_wire::{DecodeLimits, FrameHeader, SegmentDecoder, seal_frame};

/// Small enough that a run stays quick whatever the bytes ask for.
pub(crate) const LIMITS: DecodeLimits = DecodeLimits {
    targets_max: 16,
    series_per_target_max: 2_000,
    series_max: 4_000,
    families_max: 2_000,
    label_bytes_max: 4 << 10,
    block_bytes_max: 1 << 20,
    dictionary_bytes_max: 1 << 20,
    rows_max: 64,
    cells_max: 20_000,
    histogram_buckets_max: 200,
    exemplars_max: 100,
};

/// What came of the bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) decoded: usize,
    pub(crate) refused: usize,
    pub(crate) samples: usize,
}

/// Reads bytes as frames, one after the other, giving each the checksum that it should have, so that what is
/// behind the checksum is reached.
pub(crate) fn frames(mut bytes: &[u8]) -> Outcome {
    let mut decoder = SegmentDecoder::new(LIMITS);
    let mut outcome = Outcome::default();
    while let Ok(Some(header)) = FrameHeader::parse(bytes) {
        let Some((frame, rest)) = bytes.split_at_checked(header.frame_len) else { break };
        bytes = rest;
        let mut frame = frame.to_vec();
        seal_frame(&mut frame);
        let Ok(batch) = decoder.decode(&frame) else {
            assert_eq!(decoder.position(), None, "after an error only a key batch can come");
            outcome.refused += 1;
            continue;
        };
        outcome.decoded += 1;
        for row in batch.rows {
            let target = &batch.dictionary.targets[row.target as usize];
            for (index, _) in row.values.iter_present() {
                let series = &target.series[index];
                assert!((series.family as usize) < batch.dictionary.families.len());
                outcome.samples += 1;
            }
            for (index, histogram) in row.values.histograms() {
                assert!((*index as usize) < target.series.len());
                let buckets = histogram.positive_buckets.len() + histogram.negative_buckets.len();
                assert!(buckets <= 2 * LIMITS.histogram_buckets_max);
                // Not valid perhaps, and gone through all the same.
                assert!(histogram.all_buckets().count() <= buckets + 1);
                outcome.samples += 1;
            }
        }
        assert_eq!(decoder.position(), Some(header.last_seq));
    }
    outcome
}
