//! A replica that lacks what its agents no longer have copies it from a peer, over real connections.

mod support;

use std::time::Duration;

use support::*;
use vedette_ingest::IngestLimits;
use vedette_storage::LogStatus;
use vedette_transport::{FrameWriter, Group, Identity, TokenKind, client_endpoint, enroll_replica};
use vedette_wire::{BatchSeq, GapReason, ReplicaId, encode_gap};

/// Looks often.
fn limits() -> IngestLimits {
    IngestLimits { catch_up_interval: Duration::from_millis(200), ..IngestLimits::default() }
}

async fn join(first: &Replica) -> Replica {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = client_endpoint().expect("binds");
    let id = ReplicaId("6ba7b811-9dad-11d1-80b4-00c04fd430c8".parse().expect("a uuid"));
    let joined =
        enroll_replica(&endpoint, &first.token(TokenKind::Replica), id, vec!["127.0.0.1:9".to_owned()]).await;
    Group::adopt(folder.path(), &joined.expect("joins")).expect("adopts");
    Replica::start_in(folder, limits())
}

async fn connected(replica: &Replica, identity: &Identity, log: &Log) -> Agent {
    let mut agent = Agent::connect(replica, identity).await;
    agent.hello(vec![log.offer()]).await;
    agent
}

/// Puts the replica's head into parts and lets go of its log.
fn freeze(replica: &Replica) {
    assert!(replica.storage.freeze(now()));
}

fn logs(replica: &Replica) -> Vec<LogStatus> {
    replica.storage.writers().into_iter().flat_map(|writer| writer.logs).collect()
}

fn gaps(replica: &Replica) -> Vec<(u64, u64)> {
    let writers = replica.storage.writers();
    let gaps = writers.iter().flat_map(|writer| &writer.logs).flat_map(|log| &log.gaps);
    gaps.map(|gap| (gap.from.0, gap.to.0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_replica_gets_the_whole_past() {
    let first = Replica::start_in(tempfile::tempdir().expect("a folder"), limits());
    let identity = first.enroll("host").await;
    let (mut old, mut new) = (Log::new(1), Log::new(2));
    let mut agent = Agent::connect(&first, &identity).await;
    agent.hello(vec![old.offer(), new.offer()]).await;
    ship(&mut agent, &mut old, 20).await;
    freeze(&first);
    ship(&mut agent, &mut new, 10).await;
    freeze(&first);
    ship(&mut agent, &mut old, 5).await;
    freeze(&first);

    let second = join(&first).await;
    eventually("the past is copied", || logs(&second) == logs(&first)).await;
    assert_eq!(second.logs(), ["1", "2"]);
    assert_eq!(second.samples(), first.samples());
    eventually("nothing is lacking", || {
        second.metric("vedette_aggregator_catch_up_lacking_batches") == 0.0
            && second.metric("vedette_aggregator_catch_up_running") == 0.0
    })
    .await;
    assert_eq!(second.metric("vedette_aggregator_catch_up_batches_copied_total"), 35.0);
    assert_eq!(second.metric("vedette_aggregator_catch_up_failures_total"), 0.0);
    let copied = second.metric("vedette_aggregator_catch_up_bytes_copied_total");
    assert!(copied > 0.0 && copied <= first.metric("vedette_aggregator_catch_up_bytes_sent_total"));

    // What comes live goes on from there: the segment comes again from its key batch on.
    old.start_segment();
    let mut other = connected(&second, &identity, &old).await;
    ship(&mut other, &mut old, 3).await;
    assert_eq!(second.storage.resume(old.id).through, BatchSeq(28));
    assert_eq!(gaps(&second), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_repaired_when_a_peer_has_it_in_parts() {
    let first = Replica::start_in(tempfile::tempdir().expect("a folder"), limits());
    let second = join(&first).await;
    let identity = first.enroll("host").await;
    let mut log = Log::new(1);
    let mut agent = connected(&first, &identity, &log).await;
    ship(&mut agent, &mut log, 12).await;
    freeze(&first);
    log.start_segment();
    ship(&mut agent, &mut log, 1).await;
    freeze(&first);
    let frames = || first.storage.frames(log.id, BatchSeq(1), BatchSeq(1), 1 << 20).expect("reads");
    eventually("the first generation is dropped", || frames().is_empty()).await;
    let kept = log.seq;

    // The agent has freed all of that.
    let mut other = connected(&second, &identity, &log).await;
    let mut stream = FrameWriter::open(&other.connected.connection, log.id, true).await.expect("opens");
    // The last two nobody has.
    log.seq = kept + 2;
    log.start_segment();
    let gap = encode_gap(BatchSeq(1), BatchSeq(kept + 2), GapReason::SpoolLimit);
    stream.write(&gap).await.expect("writes");
    stream.write(&log.next_frame()).await.expect("writes");
    other.acknowledged(log.id, log.seq).await;
    eventually("what the peer has is copied", || gaps(&second) == [(kept + 1, kept + 2)]).await;
    // And both ways: the first learns of what only the second has, once that is in parts.
    freeze(&second);
    eventually("the other way as well", || logs(&first) == logs(&second)).await;
    assert_eq!(first.samples(), second.samples());
}
