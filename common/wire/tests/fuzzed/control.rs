//! What must hold for any bytes: no panic, no more memory than the message's length allows, and what decodes
//! encodes to bytes that decode to the same.

use vedette_wire::control::{
    AgentMessage, ControlMessage, Decoded, EnrollAnswer, EnrollRequest, PeerAnswer, PeerRequest,
    ReplicaMessage, decode, encode,
};

/// Called by the fuzzer, and by the test that replays the corpus.
pub(crate) fn control(bytes: &[u8]) {
    check::<AgentMessage>(bytes);
    check::<ReplicaMessage>(bytes);
    check::<EnrollRequest>(bytes);
    check::<EnrollAnswer>(bytes);
    check::<PeerRequest>(bytes);
    check::<PeerAnswer>(bytes);
}

fn check<M: ControlMessage + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(Decoded::Message(message, taken)) = decode::<M>(bytes) else {
        return;
    };
    assert!(taken <= bytes.len());
    let again = encode(&message).expect("what was decoded is within the bounds");
    assert_eq!(decode::<M>(&again).expect("own bytes"), Decoded::Message(message, again.len()));
}
