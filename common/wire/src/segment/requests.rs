//! Which requests a batch of a push log is the last of, so that other replicas know these when they come again.

use super::{SECTION_REQUESTS, write_section};
use crate::frame::{FrameKind, read_frame, write_frame};
use crate::varint;

/// The batch's frame, saying that a request with a body of this hash ends with it. A gap's frame stays as it is, and so
/// do bytes that are no frame.
pub fn with_request(frame: Vec<u8>, request: u128) -> Vec<u8> {
    let Ok((header, body)) = read_frame(&frame) else { return frame };
    if header.kind == FrameKind::Gap {
        return frame;
    }
    let mut body = body.to_vec();
    write_section(&mut body, SECTION_REQUESTS, &request.to_le_bytes());
    write_frame(header.kind, header.seq, header.seq.0 - header.key_seq.0, &body)
}

/// The hashes of the requests that end with the batch; none where the bytes are no batch's frame.
pub fn requests_of(frame: &[u8]) -> Vec<u128> {
    let mut requests = Vec::new();
    let Ok((header, mut body)) = read_frame(frame) else { return requests };
    if header.kind == FrameKind::Gap {
        return requests;
    }
    while let Some((&kind, mut rest)) = body.split_first() {
        let Ok(length) = varint::read(&mut rest) else { break };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((section, behind)) = rest.split_at_checked(length) else { break };
        if kind == SECTION_REQUESTS {
            requests.extend(section.as_chunks().0.iter().map(|hash| u128::from_le_bytes(*hash)));
        }
        body = behind;
    }
    requests
}

#[cfg(test)]
mod tests {
    use vedette_model::Timestamp;

    use super::*;
    use crate::ids::{BatchSeq, GapReason};
    use crate::{BatchInput, DecodeLimits, SegmentDecoder, SegmentEncoder, SegmentLimits, encode_gap};

    #[test]
    fn a_batch_names_its_requests_and_is_read_as_before() {
        let mut encoder = SegmentEncoder::new(SegmentLimits::default());
        let mut decoder = SegmentDecoder::new(DecodeLimits::default());
        for seq in 1..=2 {
            let at = Timestamp::from_millis(1000);
            let batch = BatchInput { seq: BatchSeq(seq), complete_from: at, complete_through: at, rows: &[] };
            let frame = encoder.encode(&batch).expect("encodes").frame;
            assert_eq!(requests_of(&frame), []);
            let named = with_request(frame, 7 << 100 | u128::from(seq));
            assert_eq!(requests_of(&named), [7 << 100 | u128::from(seq)]);
            assert_eq!(decoder.decode(&named).expect("decodes").seq, BatchSeq(seq));
        }
    }

    #[test]
    fn what_is_no_batch_names_none() {
        let gap = encode_gap(BatchSeq(1), BatchSeq(2), GapReason::SpoolLost);
        assert_eq!(with_request(gap.clone(), 1), gap);
        assert_eq!(requests_of(&gap), []);
        assert_eq!(requests_of(&[1, 2, 3]), []);
    }
}
