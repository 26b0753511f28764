//! Agents that misbehave cost little, are told why, and hurt nobody else; and replicas help each other with gaps.

mod support;

use std::time::Duration;

use support::*;
use vedette_ingest::IngestLimits;
use vedette_transport::{FrameWriter, Group, Protocol, TokenKind, client_endpoint, connect, enroll_replica};
use vedette_wire::control::RefuseReason;
use vedette_wire::{BatchSeq, GapReason, ReplicaId, encode_gap};

fn start(limits: IngestLimits) -> Replica {
    Replica::start_in(tempfile::tempdir().expect("a folder"), limits)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_stops_half_way_refuses_its_log_alone() {
    let replica =
        start(IngestLimits { stall_timeout: Duration::from_millis(200), ..IngestLimits::default() });
    let mut agent = Agent::connect(&replica, &replica.enroll("host").await).await;
    let (mut good, mut bad) = (Log::new(1), Log::new(2));
    agent.hello(vec![good.offer(), bad.offer()]).await;
    let mut stalled = FrameWriter::open(&agent.connected.connection, bad.id, true).await.expect("opens");
    let frame = bad.next_frame();
    stalled.write(&frame[..frame.len() - 1]).await.expect("writes");
    let refuse = agent.refused().await;
    assert_eq!((refuse.log, refuse.reason), (Some(bad.id), RefuseReason::Frame), "{}", refuse.message);
    assert_eq!(replica.refusals("stalled"), 1.0);
    // A stream that is silent between frames is none of that.
    let mut stream = FrameWriter::open(&agent.connected.connection, good.id, true).await.expect("opens");
    for _ in 0..2 {
        stream.write(&good.next_frame()).await.expect("writes");
        agent.acknowledged(good.id, good.seq).await;
        // Longer than three of the timeouts: here the silence itself is what is tested.
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    assert_eq!((replica.refusals("stalled"), replica.logs()), (1.0, vec!["1".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_an_agent_are_bounded() {
    let replica = start(IngestLimits::default());
    let mut agent = Agent::connect(&replica, &replica.enroll("host").await).await;
    let mut log = Log::new(1);
    agent.hello(vec![log.offer()]).await;
    let mut open = Vec::new();
    // Of several streams for one log the last counts.
    while let Ok(stream) = tokio::time::timeout(
        Duration::from_millis(300),
        FrameWriter::open(&agent.connected.connection, log.id, true),
    )
    .await
    {
        open.push(stream.expect("opens"));
        assert!(open.len() <= 8, "more than eight streams");
    }
    assert_eq!(open.len(), 8);
    drop(open);
    ship(&mut agent, &mut log, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_and_counted() {
    let limits =
        IngestLimits { connections_max: 60, connections_per_agent_max: 1000, ..IngestLimits::default() };
    let replica = start(limits);
    let identity = replica.enroll("host").await;
    let mut agent = Agent::connect(&replica, &identity).await;
    let mut log = Log::new(1);
    agent.hello(vec![log.offer()]).await;
    let endpoint = client_endpoint().expect("binds");
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        match connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await {
            Ok(connected) => held.push(connected),
            Err(_refused) => refused += 1,
        }
    }
    assert!(held.len() < 60 && refused >= 40, "{} held, {refused} refused", held.len());
    // Who is in goes on undisturbed.
    ship(&mut agent, &mut log, 3).await;
    drop(held);
    // The count is taken over with the next call.
    eventually("refusals are counted", || {
        replica.refusals("overload") >= 1.0 || replica.metric("vedette_aggregator_sessions") <= 1.0
    })
    .await;
    let again = async {
        while connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GENEROUS, again).await.expect("there is room again");
    eventually("refusals are counted", || replica.refusals("overload") >= 40.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_another_agent_is_refused() {
    let replica = start(IngestLimits::default());
    let mut owner = Agent::connect(&replica, &replica.enroll("owner").await).await;
    let mut log = Log::new(1);
    owner.hello(vec![log.offer()]).await;
    ship(&mut owner, &mut log, 3).await;
    let mut other = Agent::connect(&replica, &replica.enroll("other").await).await;
    other.hello(vec![log.offer()]).await;
    let mut stream = FrameWriter::open(&other.connected.connection, log.id, true).await.expect("opens");
    stream.write(&log.next_frame()).await.expect("writes");
    let refuse = other.refused().await;
    assert_eq!(
        (refuse.log, refuse.reason),
        (Some(log.id), RefuseReason::IdentityConflict),
        "{}",
        refuse.message
    );
    assert_eq!(replica.refusals("foreign_log"), 1.0);
    assert_eq!(replica.storage.resume(log.id).through, BatchSeq(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_ends_the_session() {
    let replica = start(IngestLimits::default());
    let identity = replica.enroll("host").await;
    let endpoint = client_endpoint().expect("binds");
    let connected =
        connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.expect("connects");
    let (mut send, _receive) = connected.connection.open_bi().await.expect("opens");
    send.write_all(&(64u32 << 20).to_le_bytes()).await.expect("writes");
    let closed = tokio::time::timeout(GENEROUS, connected.connection.closed()).await.expect("in time");
    assert!(closed.to_string().contains("at most"), "{closed}");
    assert_eq!(replica.refusals("protocol"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_filled_by_a_peer_before_a_hole_is_recorded() {
    let first = start(IngestLimits::default());
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = client_endpoint().expect("binds");
    let id = ReplicaId("6ba7b811-9dad-11d1-80b4-00c04fd430c8".parse().expect("a uuid"));
    let joined =
        enroll_replica(&endpoint, &first.token(TokenKind::Replica), id, vec!["127.0.0.1:9".to_owned()]).await;
    Group::adopt(folder.path(), &joined.expect("joins")).expect("adopts");
    let second = Replica::start_in(folder, IngestLimits::default());

    // The first has batches 1 to 6; the agent has only the second half of what the second asks for.
    let identity = first.enroll("host").await;
    let mut log = Log::new(1);
    let mut agent = Agent::connect(&first, &identity).await;
    agent.hello(vec![log.offer()]).await;
    ship(&mut agent, &mut log, 6).await;

    let mut other = Agent::connect(&second, &identity).await;
    other.hello(vec![log.offer()]).await;
    let mut stream = FrameWriter::open(&other.connected.connection, log.id, true).await.expect("opens");
    log.seq = 8;
    log.start_segment();
    let gap = encode_gap(BatchSeq(1), BatchSeq(8), GapReason::SpoolLimit);
    stream.write(&gap).await.expect("writes");
    stream.write(&log.next_frame()).await.expect("writes");
    other.acknowledged(log.id, 9).await;
    let gaps = &second.storage.writers()[0].logs[0].gaps;
    assert_eq!(gaps.iter().map(|gap| (gap.from.0, gap.to.0)).collect::<Vec<_>>(), [(7, 8)]);
    assert_eq!(second.metric("vedette_aggregator_gap_batches_recovered_total"), 6.0);
    assert_eq!((first.samples(), second.samples()), (6, 7));
}
