//! Rules of a session one by one: what goes first, what waits, what is refused.

use std::time::Duration;
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_wire::control::{
    Ack, AgentMessage, CloseLog, FEATURES, Hello, LOGS_MAX, LogOffer, Members, Refuse, RefuseReason,
    ReplicaMessage, Resume, SeriesLimit, Welcome, Window,
};
use vedette_wire::session::{
    AgentAction, AgentOptions, AgentSession, CloseCode, FrameVerdict, Now, ReplicaAction, ReplicaOptions,
    ReplicaSession, ResumePoint, SendStart, Sent, StreamVerdict,
};
use vedette_wire::{BatchSeq, FrameHeader, FrameKind, LogId, ReplicaId};

const OLD: LogId = LogId(1);
const LIVE: LogId = LogId(2);
const STREAM: u64 = 2;

fn at(millis: u64) -> Now {
    Now { monotonic: Duration::from_millis(millis), wall: Timestamp::from_millis(millis as i64) }
}

fn offer(log: LogId, last: u64, closed: bool) -> LogOffer {
    LogOffer { log, first: BatchSeq(1), last: BatchSeq(last), closed }
}

fn resume(log: LogId, through: u64) -> Resume {
    Resume { log, through: BatchSeq(through), needs_key: false }
}

fn replica_id() -> ReplicaId {
    ReplicaId(Uuid::from_u128(1))
}

fn welcome(resume: Vec<Resume>) -> ReplicaMessage {
    ReplicaMessage::Welcome(Welcome {
        version: 1,
        features: 0,
        replica: replica_id(),
        now_ms: 500,
        window: Window { frames_max: 100, bytes_max: 100_000 },
        members: Members::default(),
        resume,
    })
}

fn actions(session: &mut AgentSession, now: Now) -> Vec<AgentAction> {
    std::iter::from_fn(|| session.poll_action(now)).collect()
}

/// A connected agent that has said hello and been welcomed; what it does next is left to the caller.
fn agent(options: AgentOptions, offers: &[LogOffer], resumes: &[Resume]) -> AgentSession {
    let mut session = AgentSession::new(options);
    for offer in offers {
        session.on_spool(*offer);
    }
    session.on_connected(at(0));
    assert!(matches!(session.poll_action(at(0)), Some(AgentAction::Send(AgentMessage::Hello(_)))));
    session.on_message(at(0), welcome(resumes.to_vec()));
    session
}

/// Logs in the order in which the session wants something of them written.
fn sends(actions: &[AgentAction]) -> Vec<LogId> {
    let log = |action: &AgentAction| match action {
        AgentAction::SendFrames { log, .. } | AgentAction::SendGap { log, .. } => Some(*log),
        _ => None,
    };
    actions.iter().filter_map(log).collect()
}

fn sent(through: u64, frames: u32, bytes: u64) -> Sent {
    Sent { through: BatchSeq(through), frames, bytes }
}

#[test]
fn the_live_log_goes_first_and_old_ones_drain_at_their_rate() {
    let options =
        AgentOptions { drain_bytes_per_second: 1000, read_bytes_max: 500, ..AgentOptions::default() };
    let offers = [offer(OLD, 50, true), offer(LIVE, 3, false)];
    let mut session = agent(options, &offers, &[resume(OLD, 0), resume(LIVE, 0)]);
    assert_eq!(sends(&actions(&mut session, at(0))), [LIVE, OLD]);
    session.on_sent(LIVE, sent(3, 3, 300));
    session.on_sent(OLD, sent(5, 5, 500));
    // The budget is spent: the old log waits, the live one does not.
    assert_eq!(sends(&actions(&mut session, at(0))), []);
    session.on_spool(offer(LIVE, 4, false));
    assert_eq!(sends(&actions(&mut session, at(0))), [LIVE]);
    session.on_sent(LIVE, sent(4, 1, 100));
    let wakeup = session.next_wakeup().unwrap();
    assert!(wakeup > Duration::ZERO && wakeup <= Duration::from_millis(10), "{wakeup:?}");
    assert_eq!(sends(&actions(&mut session, at(10))), [OLD]);
}

#[test]
fn what_is_not_acknowledged_is_bounded_in_bytes_and_frames() {
    let window = Window { frames_max: 4, bytes_max: 1000 };
    let mut session = agent(
        AgentOptions { window, ..AgentOptions::default() },
        &[offer(LIVE, 20, false)],
        &[resume(LIVE, 0)],
    );
    let all = actions(&mut session, at(0));
    let wanted = AgentAction::SendFrames {
        log: LIVE,
        from: BatchSeq(1),
        start: SendStart::At,
        to: BatchSeq(4),
        bytes_max: 1000,
    };
    assert!(all.contains(&wanted), "{all:?}");
    session.on_sent(LIVE, sent(2, 2, 1200));
    assert_eq!(actions(&mut session, at(0)), []);
    session.on_message(at(0), ReplicaMessage::Ack(Ack { log: LIVE, through: BatchSeq(2) }));
    let acked = AgentAction::Acked { replica: replica_id(), log: LIVE, through: BatchSeq(2) };
    let all = actions(&mut session, at(0));
    assert_eq!(all[0], acked);
    assert_eq!(sends(&all), [LIVE]);
}

#[track_caller]
fn check_lag(through: u64, expected: bool) {
    let mut session = agent(AgentOptions::default(), &[offer(LIVE, 100, false)], &[resume(LIVE, through)]);
    let starts = actions(&mut session, at(0)).contains(&AgentAction::StartNewLog { log: LIVE });
    assert_eq!(starts, expected, "resumed at {through} of 100");
}

#[test]
fn a_live_log_that_lags_or_that_the_replica_is_ahead_of_is_ended() {
    check_lag(40, false);
    check_lag(39, true);
    check_lag(100, false);
    check_lag(101, true);
}

#[test]
fn what_the_spool_lost_is_sent_as_a_gap_and_then_from_a_key_batch() {
    let short = LogOffer { first: BatchSeq(11), ..offer(LIVE, 20, false) };
    let mut session = agent(AgentOptions::default(), &[short], &[resume(LIVE, 4)]);
    let gap = AgentAction::SendGap { log: LIVE, from: BatchSeq(5), to: BatchSeq(10) };
    assert!(actions(&mut session, at(0)).contains(&gap));
    session.on_sent(LIVE, sent(10, 1, 20));
    match actions(&mut session, at(0))[..] {
        [AgentAction::SendFrames { from: BatchSeq(11), start: SendStart::KeyOf, .. }] => {}
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_log_ends_once_all_of_it_is_acknowledged() {
    let mut session = agent(AgentOptions::default(), &[offer(OLD, 3, true)], &[resume(OLD, 0)]);
    actions(&mut session, at(0));
    session.on_sent(OLD, sent(3, 3, 30));
    session.on_message(at(0), ReplicaMessage::Ack(Ack { log: OLD, through: BatchSeq(3) }));
    let close = AgentAction::Send(AgentMessage::CloseLog(CloseLog { log: OLD, last: BatchSeq(3) }));
    let done = AgentAction::LogDone { replica: replica_id(), log: OLD };
    let acked = AgentAction::Acked { replica: replica_id(), log: OLD, through: BatchSeq(3) };
    assert_eq!(actions(&mut session, at(0)), [acked, close, done]);
}

#[test]
fn a_refused_log_is_tried_again_after_its_time() {
    let mut session = agent(AgentOptions::default(), &[offer(LIVE, 3, false)], &[resume(LIVE, 0)]);
    actions(&mut session, at(0));
    let refuse = Refuse {
        log: Some(LIVE),
        reason: RefuseReason::Storage,
        message: "disk full".to_owned(),
        retry_after_ms: 5000,
    };
    session.on_message(at(0), ReplicaMessage::Refuse(refuse));
    let all = actions(&mut session, at(0));
    assert!(matches!(all[0], AgentAction::Refused { log: Some(LIVE), reason: RefuseReason::Storage, .. }));
    assert_eq!(all[1..], [AgentAction::ResetStream { log: LIVE }]);
    // What the driver was at belongs to the stream that is gone.
    session.on_sent(LIVE, sent(3, 3, 30));
    assert_eq!(session.next_wakeup(), Some(Duration::from_secs(5)));
    assert_eq!(actions(&mut session, at(4999)), []);
    let again = AgentAction::Send(AgentMessage::OpenLog(offer(LIVE, 3, false)));
    assert_eq!(actions(&mut session, at(5000)), [again]);
}

#[test]
fn more_logs_than_a_hello_holds_are_offered_as_others_end() {
    let many: Vec<LogOffer> = (1..=LOGS_MAX as u128 + 10).map(|log| offer(LogId(log), 1, true)).collect();
    let mut session = AgentSession::new(AgentOptions::default());
    many.iter().for_each(|offer| session.on_spool(*offer));
    session.on_connected(at(0));
    let Some(AgentAction::Send(AgentMessage::Hello(hello))) = session.poll_action(at(0)) else { panic!() };
    assert_eq!(hello.logs.len(), LOGS_MAX);
    let resumes = hello.logs.iter().map(|offer| resume(offer.log, 0)).collect();
    session.on_message(at(0), welcome(resumes));
    actions(&mut session, at(0));
    assert_eq!(session.next_wakeup(), None, "nothing to do before the first log is done");
    let first = hello.logs[0].log;
    session.on_sent(first, sent(1, 1, 10));
    session.on_message(at(0), ReplicaMessage::Ack(Ack { log: first, through: BatchSeq(1) }));
    let opened = |action: &AgentAction| matches!(action, AgentAction::Send(AgentMessage::OpenLog(_)));
    assert_eq!(actions(&mut session, at(0)).iter().filter(|action| opened(action)).count(), 1);
}

#[track_caller]
fn check_close(session: &mut AgentSession, now: Now, code: CloseCode) {
    let all = actions(session, now);
    assert!(
        all.iter().any(|action| matches!(action, AgentAction::Close { code: closed, .. } if *closed == code)),
        "{all:?}"
    );
}

#[test]
fn a_replica_that_breaks_the_rules_is_hung_up_on() {
    let offers = [offer(LIVE, 3, false)];
    let mut session = agent(AgentOptions::default(), &offers, &[resume(LIVE, 0)]);
    session.on_message(at(0), ReplicaMessage::Ack(Ack { log: LIVE, through: BatchSeq(1) }));
    check_close(&mut session, at(0), CloseCode::Protocol);

    let mut session = agent(AgentOptions::default(), &offers, &[resume(LIVE, 0)]);
    session.on_message(at(0), welcome(vec![]));
    check_close(&mut session, at(0), CloseCode::Protocol);

    let mut session = AgentSession::new(AgentOptions::default());
    session.on_connected(at(0));
    check_close(&mut session, at(10_000), CloseCode::Timeout);
}

// The replica's end.

fn hello(version_min: u16, logs: Vec<LogOffer>) -> AgentMessage {
    AgentMessage::Hello(Hello {
        version_min,
        version_max: version_min,
        features: u64::MAX,
        software: "test".to_owned(),
        now_ms: 700,
        interval_ms: 1000,
        logs,
    })
}

fn replica(through: u64) -> ReplicaSession {
    let mut session = ReplicaSession::new(ReplicaOptions::new(replica_id()), Members::default(), at(0));
    let point = ResumePoint { through: BatchSeq(through), needs_key: false };
    session.on_message(at(200), hello(1, vec![offer(LIVE, 20, false)]), &mut |_log| point);
    assert!(matches!(session.poll_action(at(200)), Some(ReplicaAction::Send(ReplicaMessage::Welcome(_)))));
    assert_eq!(session.on_stream(STREAM, LIVE), StreamVerdict::Read);
    session
}

fn header(seq: u64) -> FrameHeader {
    let seq = BatchSeq(seq);
    FrameHeader {
        version: 1,
        kind: FrameKind::Delta,
        seq,
        key_seq: BatchSeq(1),
        last_seq: seq,
        frame_len: 100,
    }
}

#[test]
fn acknowledgements_wait_for_the_disk_and_then_for_each_other() {
    let mut session = replica(0);
    for seq in 1..=3 {
        assert_eq!(session.on_frame(STREAM, &header(seq)), FrameVerdict::Append { log: LIVE });
    }
    assert_eq!(session.poll_action(at(60_000)), None, "nothing is on disk");
    session.on_durable(at(1000), LIVE, BatchSeq(1));
    session.on_durable(at(1010), LIVE, BatchSeq(2));
    assert_eq!(session.poll_action(at(1019)), None);
    assert_eq!(session.next_wakeup(), Some(Duration::from_millis(1020)));
    let ack = ReplicaAction::Send(ReplicaMessage::Ack(Ack { log: LIVE, through: BatchSeq(2) }));
    assert_eq!(session.poll_action(at(1020)), Some(ack));
    assert_eq!(session.poll_action(at(60_000)), None);
    assert_eq!(session.agent().map(|agent| (agent.skew_ms, agent.features)), Some((500, FEATURES)));
}

#[test]
fn a_hole_and_a_repetition_are_refused_and_the_log_opens_again() {
    for wrong in [1, 7] {
        let mut session = replica(4);
        assert_eq!(session.on_frame(STREAM, &header(5)), FrameVerdict::Append { log: LIVE });
        assert_eq!(session.on_frame(STREAM, &header(wrong)), FrameVerdict::Stop);
        match session.poll_action(at(200)) {
            Some(ReplicaAction::Send(ReplicaMessage::Refuse(refuse))) => {
                assert_eq!((refuse.log, refuse.reason), (Some(LIVE), RefuseReason::Frame));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(session.on_frame(STREAM, &header(6)), FrameVerdict::Stop, "late frame of the old stream");
        let point = ResumePoint { through: BatchSeq(5), needs_key: false };
        session.on_message(at(300), AgentMessage::OpenLog(offer(LIVE, 20, false)), &mut |_log| point);
        let resumed = ReplicaAction::Send(ReplicaMessage::Resume(resume(LIVE, 5)));
        assert_eq!(session.poll_action(at(300)), Some(resumed));
        assert_eq!(session.on_frame(STREAM, &header(6)), FrameVerdict::Stop);
        assert_eq!(session.on_stream(STREAM + 4, LIVE), StreamVerdict::Read);
        assert_eq!(session.on_frame(STREAM + 4, &header(6)), FrameVerdict::Append { log: LIVE });
    }
}

#[test]
fn a_flood_beyond_the_window_ends_the_session() {
    let mut session = replica(0);
    let verdicts = (1..=5000).map(|seq| session.on_frame(STREAM, &header(seq)));
    let taken = verdicts.take_while(|verdict| matches!(verdict, FrameVerdict::Append { .. })).count();
    assert_eq!(taken, 2048);
}

#[test]
fn an_agent_with_too_many_series_is_told_now_and_then() {
    let limit = SeriesLimit { log: LIVE, series: 12, masked: 2, series_max: 10 };
    let told = ReplicaAction::Send(ReplicaMessage::SeriesLimit(limit));
    let mut session = replica(0);
    let mut told_at = Vec::new();
    for second in (0..1300).step_by(100) {
        session.on_series_limit(at(second * 1000), limit);
        told_at.extend((session.poll_action(at(second * 1000)) == Some(told.clone())).then_some(second));
    }
    assert_eq!(told_at, [0, 600, 1200]);

    let mut session = agent(AgentOptions::default(), &[offer(LIVE, 3, false)], &[resume(LIVE, 3)]);
    actions(&mut session, at(0));
    session.on_message(at(1), ReplicaMessage::SeriesLimit(limit));
    assert_eq!(actions(&mut session, at(1)), [AgentAction::SeriesLimited(limit)]);
}

#[test]
fn an_agent_that_speaks_another_protocol_or_nothing_is_refused() {
    let mut session = ReplicaSession::new(ReplicaOptions::new(replica_id()), Members::default(), at(0));
    let point = ResumePoint { through: BatchSeq(0), needs_key: false };
    session.on_message(at(0), hello(2, vec![]), &mut |_log| point);
    match session.poll_action(at(0)) {
        Some(ReplicaAction::Send(ReplicaMessage::Refuse(refuse))) => {
            assert_eq!((refuse.log, refuse.reason), (None, RefuseReason::Version));
            assert!(refuse.message.contains("speaks protocol 2 to 2, this replica 1 to 1"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        session.poll_action(at(0)),
        Some(ReplicaAction::Close { code: CloseCode::Refused, .. })
    ));

    let mut session = ReplicaSession::new(ReplicaOptions::new(replica_id()), Members::default(), at(0));
    assert_eq!(session.poll_action(at(9_999)), None);
    assert!(matches!(
        session.poll_action(at(10_000)),
        Some(ReplicaAction::Close { code: CloseCode::Timeout, .. })
    ));
}
