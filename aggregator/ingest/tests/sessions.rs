//! Agents over loopback: real certificates, real QUIC, real storage, a scripted agent.

mod support;

use std::time::Duration;

use support::*;
use vedette_ingest::IngestLimits;
use vedette_transport::{FrameWriter, Group, Protocol, TokenKind, client_endpoint, connect, enroll_replica};
use vedette_wire::control::{AgentMessage, CloseLog, Member, RefuseReason, ReplicaMessage, Resume};
use vedette_wire::{BatchSeq, ReplicaId};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_can_be_queried_and_is_known_afterwards() {
    let replica = Replica::start();
    let identity = replica.enroll("host").await;
    let mut agent = Agent::connect(&replica, &identity).await;
    let mut log = Log::new(7);
    let welcome = agent.hello(vec![log.offer()]).await;
    assert_eq!(welcome.replica, replica.group.replica());
    assert_eq!(welcome.members, replica.group.members().current());
    assert_eq!(
        welcome.resume,
        [Resume { log: log.id, through: BatchSeq(0), needs_key: welcome.resume[0].needs_key }]
    );
    ship(&mut agent, &mut log, 10).await;
    assert_eq!(replica.logs(), ["7"]);
    agent.say(AgentMessage::CloseLog(CloseLog { log: log.id, last: BatchSeq(10) })).await;
    drop(agent);

    let mut again = Agent::connect(&replica, &identity).await;
    let welcome = again.hello(vec![log.offer()]).await;
    assert_eq!(welcome.resume[0].through, BatchSeq(10));
    assert!(replica.metric("vedette_aggregator_frames_received_total") >= 10.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_starts_later_is_opened() {
    let replica = Replica::start();
    let mut agent = Agent::connect(&replica, &replica.enroll("host").await).await;
    agent.hello(Vec::new()).await;
    for number in [1, 2] {
        let mut log = Log::new(number);
        agent.say(AgentMessage::OpenLog(log.offer())).await;
        let ReplicaMessage::Resume(resume) = agent.hear().await else { panic!("no resume") };
        assert_eq!((resume.log, resume.through), (log.id, BatchSeq(0)));
        ship(&mut agent, &mut log, 3).await;
    }
    assert_eq!(replica.logs(), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_refuse_the_log_alone() {
    let replica = Replica::start();
    let mut agent = Agent::connect(&replica, &replica.enroll("host").await).await;
    let (mut good, mut bad) = (Log::new(1), Log::new(2));
    agent.hello(vec![good.offer(), bad.offer()]).await;
    let mut stream = FrameWriter::open(&agent.connected.connection, bad.id, true).await.expect("opens");
    let mut frame = bad.next_frame();
    let last = frame.len() - 1;
    frame[last] ^= 0x55;
    stream.write(&frame).await.expect("writes");
    let refuse = agent.refused().await;
    assert_eq!((refuse.log, refuse.reason), (Some(bad.id), RefuseReason::Frame), "{}", refuse.message);
    ship(&mut agent, &mut good, 3).await;
    assert_eq!(replica.logs(), ["1"]);
    assert!(replica.metric("vedette_aggregator_refusals_total") >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_sessions_of_a_name_are_reported_and_both_taken() {
    let replica = Replica::start();
    let identity = replica.enroll("host").await;
    let (mut first, mut second) = (Log::new(1), Log::new(2));
    let mut original = Agent::connect(&replica, &identity).await;
    original.hello(vec![first.offer()]).await;
    let mut clone = Agent::connect(&replica, &identity).await;
    clone.hello(vec![second.offer()]).await;
    let mut streams = Vec::new();
    for (agent, log) in [(&original, &first), (&clone, &second)] {
        streams.push(FrameWriter::open(&agent.connected.connection, log.id, true).await.expect("opens"));
    }
    let conflict = || replica.ingest.sessions().iter().filter(|session| session.identity_conflict).count();
    let both_speak = async {
        while conflict() < 2 {
            streams[0].write(&first.next_frame()).await.expect("writes");
            streams[1].write(&second.next_frame()).await.expect("writes");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(GENEROUS, both_speak).await.expect("the conflict is noticed");
    assert_eq!(replica.metric("vedette_aggregator_identity_conflict"), 1.0);
    original.acknowledged(first.id, first.seq).await;
    clone.acknowledged(second.id, second.seq).await;
    assert_eq!(replica.logs(), ["1", "2"]);
    drop((clone, streams));
    eventually("the conflict is over", || conflict() == 0).await;
    assert_eq!(replica.metric("vedette_aggregator_identity_conflict"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_name_has_so_many_sessions() {
    let limits = IngestLimits { connections_per_agent_max: 1, ..IngestLimits::default() };
    let replica = Replica::start_in(tempfile::tempdir().expect("a folder"), limits);
    let identity = replica.enroll("host").await;
    let mut first = Agent::connect(&replica, &identity).await;
    first.hello(Vec::new()).await;
    let endpoint = client_endpoint().expect("binds");
    let second =
        connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.expect("connects");
    let closed = tokio::time::timeout(GENEROUS, second.connection.closed()).await.expect("in time");
    assert!(closed.to_string().contains("too many connections"), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_hear_of_new_members_and_of_the_end() {
    let replica = Replica::start();
    let mut agent = Agent::connect(&replica, &replica.enroll("host").await).await;
    agent.hello(Vec::new()).await;
    let joiner = Member {
        replica: ReplicaId("6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().expect("a uuid")),
        addresses: vec!["127.0.0.1:9".to_owned()],
    };
    let changed = replica.group.members().put(joiner).expect("writes");
    assert_eq!(agent.hear().await, ReplicaMessage::Members(changed));
    replica.stop.cancel();
    assert_eq!(agent.refused().await.reason, RefuseReason::ShuttingDown);
    tokio::time::timeout(GENEROUS, replica.serving).await.expect("ends in time").expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_learn_of_each_other() {
    let first = Replica::start();
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = client_endpoint().expect("binds");
    let id = ReplicaId("6ba7b811-9dad-11d1-80b4-00c04fd430c8".parse().expect("a uuid"));
    // The port is not known yet: it tells the group itself once it runs.
    let joined =
        enroll_replica(&endpoint, &first.token(TokenKind::Replica), id, vec!["127.0.0.1:9".to_owned()]).await;
    Group::adopt(folder.path(), &joined.expect("joins")).expect("adopts");
    let second = Replica::start_in(folder, IngestLimits::default());
    assert_eq!(second.group.replica(), id);
    eventually("both have the same members", || {
        let members = first.group.members().current();
        members == second.group.members().current()
            && members.get(id).is_some_and(|member| member.addresses == second.addresses())
    })
    .await;

    // An agent of the group reaches the second with the certificate that the first gave it.
    let mut agent = Agent::connect(&second, &first.enroll("host").await).await;
    let mut log = Log::new(1);
    assert_eq!(agent.hello(vec![log.offer()]).await.members.members.len(), 2);
    ship(&mut agent, &mut log, 2).await;
    assert_eq!(second.logs(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_its_own_connection_alone() {
    let replica = Replica::start();
    let mut good = Agent::connect(&replica, &replica.enroll("good").await).await;
    let mut log = Log::new(1);
    good.hello(vec![log.offer()]).await;

    let hostile = replica.enroll("hostile").await;
    let endpoint = client_endpoint().expect("binds");
    let connected =
        connect(&endpoint, &hostile, Protocol::Data, &replica.addresses(), None).await.expect("connects");
    // Streams that never say what they carry.
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = connected.connection.open_uni().await.expect("opens");
        stream.write_all(&[1]).await.expect("writes");
        silent.push(stream);
    }
    let (mut send, _receive) = connected.connection.open_bi().await.expect("opens");
    send.write_all(&[0xff; 64]).await.expect("writes");
    let closed = tokio::time::timeout(GENEROUS, connected.connection.closed()).await.expect("in time");
    assert!(closed.to_string().contains("control message"), "{closed}");
    eventually("the session is over", || replica.ingest.sessions().len() == 1).await;

    ship(&mut good, &mut log, 3).await;
    assert_eq!(replica.logs(), ["1"]);
}
