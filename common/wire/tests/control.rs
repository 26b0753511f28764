//! Control messages: bytes of today, bytes of tomorrow, bytes of an attacker.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fuzzed/control.rs"]
mod fuzz;

use proptest::prelude::*;
use std::path::Path;
use uuid::Uuid;
use vedette_wire::control::{
    Ack, AgentMessage, CloseLog, ControlError, ControlMessage, Decoded, Deletion, EnrollAnswer,
    EnrollRefusal, EnrollRequest, FetchFrames, FetchPart, FramesFollow, Hello, Issued, LISTING_BYTES_MAX,
    LOGS_MAX, ListLogs, ListParts, LogOffer, MESSAGE_BYTES_MAX, Member, Members, NewcomerKind, PartId,
    PeerAnswer, PeerRequest, Redeem, Refuse, RefuseReason, RefusedEnroll, Renew, ReplicaMessage, Resume,
    RevokedAgent, RollPage, SeriesLimit, TargetReport, Targets, WANTED_LOGS_MAX, Welcome, Window, decode,
    encode,
};
use vedette_wire::{BatchSeq, LogId, ReplicaId};

const LOG: LogId = LogId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

fn offer(log: LogId) -> LogOffer {
    LogOffer { log, first: BatchSeq(3), last: BatchSeq(700), closed: true }
}

fn hello(logs: usize) -> AgentMessage {
    AgentMessage::Hello(Hello {
        version_min: 1,
        version_max: 3,
        features: 5,
        software: "vedette-agent 0.1.0".to_owned(),
        now_ms: -1,
        interval_ms: 1000,
        logs: vec![offer(LOG); logs],
    })
}

fn members() -> Members {
    let addresses = vec!["a.example.org:9095".to_owned(), "[::1]:9095".to_owned()];
    Members { version: 7, lease_ms: 3_600_000, members: vec![Member { replica: replica(1), addresses }] }
}

fn replica(id: u128) -> ReplicaId {
    ReplicaId(Uuid::from_u128(id))
}

fn check<M: ControlMessage + PartialEq + std::fmt::Debug>(name: &str, message: M) {
    let bytes = encode(&message).unwrap();
    for cut in 0..bytes.len() {
        assert_eq!(decode::<M>(&bytes[..cut]).unwrap(), Decoded::Incomplete, "{name} cut at {cut}");
    }
    let mut followed = bytes.clone();
    followed.extend([1, 2, 3]);
    assert_eq!(decode::<M>(&followed).unwrap(), Decoded::Message(message, bytes.len()), "{name}");
    // The corpus keeps one message of each kind as the release that introduced it wrote it.
    let path = corpus().join(name);
    if std::env::var_os("WRITE_CORPUS").is_some() && !path.exists() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name}: the bytes of an existing message changed");
}

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/control")
}

#[test]
fn every_message_reads_back_and_keeps_its_bytes() {
    check("hello", hello(2));
    check("open_log", AgentMessage::OpenLog(offer(LOG)));
    check("close_log", AgentMessage::CloseLog(CloseLog { log: LOG, last: BatchSeq(u64::MAX) }));
    let target = TargetReport {
        pool: "app".to_owned(),
        url: "http://127.0.0.1:8080/metrics".to_owned(),
        labels: vec![("job".to_owned(), "app".to_owned())],
        discovered: vec![("__address__".to_owned(), "127.0.0.1:8080".to_owned())],
        interval_ms: 15_000,
        timeout_ms: 10_000,
        error: "connection refused".to_owned(),
    };
    check("targets", AgentMessage::Targets(Targets { begins: true, targets: vec![target] }));
    let resume = Resume { log: LOG, through: BatchSeq(9), needs_key: true };
    check(
        "welcome",
        ReplicaMessage::Welcome(Welcome {
            version: 1,
            features: 0,
            replica: replica(2),
            now_ms: 1_700_000_000_000,
            window: Window { frames_max: 1024, bytes_max: 2 << 20 },
            members: members(),
            resume: vec![resume],
        }),
    );
    check("resume", ReplicaMessage::Resume(resume));
    check("ack", ReplicaMessage::Ack(Ack { log: LOG, through: BatchSeq(12) }));
    check("members", ReplicaMessage::Members(members()));
    let refuse = |log| Refuse {
        log,
        reason: RefuseReason::Storage,
        message: "disk full".to_owned(),
        retry_after_ms: 500,
    };
    check("refuse_log", ReplicaMessage::Refuse(refuse(Some(LOG))));
    let limit = SeriesLimit { log: LOG, series: 700_000, masked: 200_000, series_max: 500_000 };
    check("series_limit", ReplicaMessage::SeriesLimit(limit));
    check("refuse_all", ReplicaMessage::Refuse(refuse(None)));
    let redeem = |newcomer| {
        EnrollRequest::Redeem(Redeem { secret: [7; 32], newcomer, signing_request: vec![1, 2, 3] })
    };
    check("redeem_agent", redeem(NewcomerKind::Agent { name: "web-1".to_owned() }));
    let joiner = NewcomerKind::Replica { replica: replica(3), addresses: vec!["b:9095".to_owned()] };
    check("redeem_replica", redeem(joiner));
    check("renew", EnrollRequest::Renew(Renew { signing_request: vec![4; 300] }));
    let issued = Issued {
        certificate: vec![5; 400],
        authority: vec![6; 400],
        authority_key: Some(vec![7; 100]),
        members: members(),
    };
    check("issued", EnrollAnswer::Issued(issued));
    let refused = RefusedEnroll { reason: EnrollRefusal::UsedToken, message: "used".to_owned() };
    check("refused", EnrollAnswer::Refused(refused));
    check("deletion", PeerRequest::Deletion(Deletion { id: 7, record: vec![1, 2, 3] }));
    check("deleted", PeerAnswer::Deleted(u128::MAX));
    let fetch = FetchFrames { log: LOG, from: BatchSeq(1), to: BatchSeq(2) };
    check("peer_members", PeerRequest::Members(members()));
    check("peer_fetch", PeerRequest::FetchFrames(fetch));
    check("peer_members_answer", PeerAnswer::Members(members()));
    check("peer_frames", PeerAnswer::FramesFollow(FramesFollow { count: 2, bytes: 4000 }));
    check("peer_not_here", PeerAnswer::NotHere(fetch));
    check("peer_refused", PeerAnswer::Refused("later".to_owned()));
    let part = PartId { day: 20_000, number: 77 };
    check("peer_list_logs", PeerRequest::ListLogs(ListLogs { after: Some(LOG) }));
    check("peer_list_parts", PeerRequest::ListParts(ListParts { after: Some(part), logs: vec![LOG; 2] }));
    check("peer_fetch_part", PeerRequest::FetchPart(FetchPart { part, logs: vec![LOG] }));
    check("peer_listing", PeerAnswer::Listing(vec![1, 0, 9]));
    check("peer_part_follows", PeerAnswer::PartFollows(part));
    check("peer_part_gone", PeerAnswer::PartGone(part));
    let roll = RollPage {
        after: "host-1".to_owned(),
        revoked: vec![RevokedAgent { name: "host-2".to_owned(), revocations: 300 }],
        removed: vec![replica(4)],
    };
    check("peer_roll", PeerRequest::Roll(roll.clone()));
    check("peer_roll_answer", PeerAnswer::Roll(roll));
}

#[test]
fn corpus_holds() {
    let mut files = 0;
    for entry in std::fs::read_dir(corpus()).unwrap() {
        fuzz::control(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 20, "{files} files in the corpus");
}

#[test]
fn fields_and_messages_of_a_later_release_are_skipped() {
    let ack = ReplicaMessage::Ack(Ack { log: LOG, through: BatchSeq(12) });
    let mut bytes = encode(&ack).unwrap();
    bytes.extend(b"a field of tomorrow");
    let length = bytes.len() as u32 - 4;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    assert_eq!(decode(&bytes).unwrap(), Decoded::Message(ack, bytes.len()));

    bytes[5] = 200;
    assert_eq!(decode::<ReplicaMessage>(&bytes).unwrap(), Decoded::Skipped(bytes.len()));
    bytes[5] = 100;
    assert!(matches!(decode::<ReplicaMessage>(&bytes), Err(ControlError::UnknownKind { kind: 100 })));
    bytes[4] = 2;
    assert!(matches!(decode::<ReplicaMessage>(&bytes), Err(ControlError::UnsupportedVersion { found: 2 })));
}

#[test]
fn what_is_too_long_is_refused_before_memory_is_taken() {
    let length = MESSAGE_BYTES_MAX as u32 + 1;
    assert!(matches!(decode::<AgentMessage>(&length.to_le_bytes()), Err(ControlError::TooLong { .. })));
    assert!(matches!(decode::<AgentMessage>(&[1, 0, 0, 0]), Err(ControlError::TooShort { .. })));
    assert!(matches!(encode(&hello(LOGS_MAX + 1)), Err(ControlError::TooMany { what: "logs", .. })));

    let many = ListParts { after: None, logs: vec![LOG; WANTED_LOGS_MAX] };
    assert!(encode(&PeerRequest::ListParts(many.clone())).is_ok());
    let more = FetchPart { part: PartId { day: 1, number: 1 }, logs: vec![LOG; WANTED_LOGS_MAX + 1] };
    assert!(matches!(encode(&PeerRequest::FetchPart(more)), Err(ControlError::TooMany { what: "logs", .. })));
    assert!(encode(&PeerAnswer::Listing(vec![1; LISTING_BYTES_MAX])).is_ok());
    let long = PeerAnswer::Listing(vec![1; LISTING_BYTES_MAX + 1]);
    assert!(matches!(encode(&long), Err(ControlError::TooMany { .. })));

    // A hello that announces 2^63 logs in eleven bytes.
    let mut bomb = vec![0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 253];
    bomb.extend((1_u64 << 63).to_le_bytes());
    let length = bomb.len() as u32 - 4;
    bomb[..4].copy_from_slice(&length.to_le_bytes());
    assert!(matches!(decode::<AgentMessage>(&bomb), Err(ControlError::Malformed { kind: 1, .. })));
}

#[test]
fn memberships_that_were_changed_apart_become_one() {
    let with = |ids: &[u128]| {
        let mut members = Members { lease_ms: 1, ..Members::default() };
        for id in ids {
            members.put(Member { replica: replica(*id), addresses: vec![format!("r{id}:1")] });
        }
        members
    };
    let (a, b) = (with(&[1, 2]), with(&[1, 3]));
    let (mut from_a, mut from_b) = (a.clone(), b.clone());
    assert!(from_a.merge(&b));
    assert!(from_b.merge(&a));
    assert_eq!(from_a, from_b);
    assert_eq!(from_a.members.len(), 3);
    assert!(from_a.version > a.version);
    // The greater version wins, and nothing is new the second time.
    assert!(!from_a.merge(&a) && !from_a.merge(&from_b));
    let mut late = with(&[9]);
    assert!(late.merge(&from_a));
    assert_eq!(late, from_a);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(kind in 0..64_u8, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = (body.len() as u32 + 2).to_le_bytes().to_vec();
        bytes.extend([1, kind]);
        bytes.extend(body);
        fuzz::control(&bytes);
    }

    #[test]
    fn one_damaged_byte_is_decoded_or_refused(at in 4..60_usize, value: u8) {
        let mut bytes = encode(&hello(1)).unwrap();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        fuzz::control(&bytes);
    }
}
