//! A replica: real sockets, real certificates, real session; its storage is a map.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_spool::write_members;
use vedette_transport::{
    Accepted, Authority, ControlReader, ControlWriter, FrameReader, Identity, Listener, Role,
};
use vedette_transport::{close, server_endpoint};
use vedette_wire::control::{AgentMessage, EnrollAnswer, EnrollRequest, Issued, Member, Members};
use vedette_wire::session::{
    FrameVerdict, Now, ReplicaAction, ReplicaOptions, ReplicaSession, ResumePoint, StreamVerdict,
};
use vedette_wire::{AgentName, BatchSeq, DecodeLimits, LogId, ReplicaId, SegmentDecoder};

/// A group's authority, which makes all identities of a test.
pub(crate) struct Group {
    authority: Arc<Authority>,
}

impl Group {
    pub(crate) fn new() -> Self {
        Self { authority: Arc::new(Authority::create(wall()).expect("an authority")) }
    }

    /// What `vedette-agent enroll` would leave in a spool's folder.
    pub(crate) fn enroll(&self, spool: &Path, replicas: &[&Replica]) {
        self.enroll_before(spool, replicas, 0);
    }

    /// The same, so many days ago.
    pub(crate) fn enroll_before(&self, spool: &Path, replicas: &[&Replica], days: i64) {
        let at = wall().minus_millis(days * 24 * 3_600_000);
        let role = Role::Agent(AgentName::new("host-1").expect("a name"));
        let identity = self.authority.issue(&role, at).expect("issued");
        let folder = spool.join("identity");
        std::fs::create_dir_all(&folder).expect("made");
        write_members(&folder.join("members"), &members(replicas)).expect("written");
        identity.save(&folder).expect("saved");
    }
}

pub(crate) fn members(replicas: &[&Replica]) -> Members {
    let member =
        |replica: &&Replica| Member { replica: replica.id, addresses: vec![replica.address.clone()] };
    Members { version: 1, lease_ms: 3_600_000, members: replicas.iter().map(member).collect() }
}

/// What a replica has: of each log the frames in order, and the first sample time of each.
pub(crate) type Store = Arc<Mutex<BTreeMap<LogId, Vec<BatchSeq>>>>;

pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) address: String,
    pub(crate) store: Store,
    identity: Identity,
    authority: Arc<Authority>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Replica {
    /// A replica with an address, not listening yet.
    pub(crate) fn prepare(group: &Group, number: u128) -> Self {
        let id = ReplicaId(Uuid::from_u128(number));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound").to_string();
        let identity = group.authority.issue(&Role::Replica(id), wall()).expect("issued");
        let authority = Arc::clone(&group.authority);
        Self { id, address, store: Store::default(), identity, authority, runtime: None }
    }

    pub(crate) fn start(&mut self, members: Members) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let guard = runtime.enter();
        let address = self.address.parse().expect("an address");
        let listener = Listener::new(server_endpoint(address, &self.identity).expect("a socket"), 16);
        drop(guard);
        let (id, store, authority) = (self.id, Arc::clone(&self.store), Arc::clone(&self.authority));
        runtime.spawn(async move {
            while let Some(handshake) = listener.accept().await {
                match handshake.complete().await {
                    Ok(Accepted::Data { connection, .. }) => {
                        tokio::spawn(serve(connection, id, members.clone(), Arc::clone(&store)));
                    }
                    Ok(Accepted::Enroll { member: Some(role), connection }) => {
                        tokio::spawn(renew(connection, role, members.clone(), Arc::clone(&authority)));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
        });
        self.runtime = Some(runtime);
    }

    /// Gone at once, as after `kill -9`; what it has stays.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn batches(&self) -> usize {
        self.store.lock().expect("whole").values().map(Vec::len).sum()
    }

    pub(crate) fn logs(&self) -> usize {
        self.store.lock().expect("whole").len()
    }

    /// Every log is there from 1 on, without a hole and each number once.
    pub(crate) fn check_whole(&self) {
        for (log, batches) in self.store.lock().expect("whole").iter() {
            let expected: Vec<BatchSeq> = (1..=batches.len() as u64).map(BatchSeq).collect();
            assert_eq!(*batches, expected, "{log}");
        }
    }
}

async fn renew(connection: quinn::Connection, role: Role, members: Members, authority: Arc<Authority>) {
    let Ok((send, receive)) = connection.accept_bi().await else { return };
    let request = ControlReader::new(receive).read::<EnrollRequest>().await;
    let Ok(Some(EnrollRequest::Renew(request))) = request else { return };
    let certificate = authority.sign(&request.signing_request, &role, wall()).expect("signed").to_vec();
    let authority = authority.certificate().to_vec();
    let issued = Issued { certificate, authority, authority_key: None, members };
    let mut writer = ControlWriter::new(send);
    if writer.write(&EnrollAnswer::Issued(issued)).await.is_ok() {
        writer.finished().await.ok();
    }
}

async fn serve(connection: quinn::Connection, id: ReplicaId, members: Members, store: Store) {
    let clock = instant();
    let now = || Now { monotonic: clock.elapsed(), wall: wall() };
    let mut session = ReplicaSession::new(ReplicaOptions::new(id), members, now());
    let Ok((send, receive)) = connection.accept_bi().await else { return };
    let (mut control, mut messages) = (ControlWriter::new(send), ControlReader::new(receive));
    let (frames, mut arrived) = tokio::sync::mpsc::channel(64);
    loop {
        while let Some(action) = session.poll_action(now()) {
            match action {
                ReplicaAction::Send(message) => {
                    if control.write(&message).await.is_err() {
                        return;
                    }
                }
                ReplicaAction::LogClosed { .. } => {}
                ReplicaAction::Close { code, reason } => return close(&connection, code, &reason),
            }
        }
        let wait =
            session.next_wakeup().map_or(Duration::from_secs(1), |at| at.saturating_sub(clock.elapsed()));
        tokio::select! {
            message = messages.read::<AgentMessage>() => {
                let Ok(Some(message)) = message else { return };
                session.on_message(now(), message, &mut |log| {
                    let through = store.lock().expect("whole").get(&log).map_or(0, Vec::len) as u64;
                    ResumePoint { through: BatchSeq(through), needs_key: through > 0 }
                });
            }
            stream = connection.accept_uni() => {
                let Ok(stream) = stream else { return };
                let Ok((mut reader, log)) = FrameReader::open(stream).await else { continue };
                let number = reader.stream();
                if session.on_stream(number, log) == StreamVerdict::Stop {
                    continue;
                }
                let frames = frames.clone();
                tokio::spawn(async move {
                    while let Ok(Some(frame)) = reader.read().await {
                        if frames.send((number, frame)).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Some((stream, frame)) = arrived.recv() => {
                let FrameVerdict::Append { log } = session.on_frame(stream, &frame.header) else { continue };
                append(&store, log, frame.header.seq, &frame.bytes);
                session.on_durable(now(), log, frame.header.last_seq);
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Keeps what is new; key batches must decode by themselves.
fn append(store: &Store, log: LogId, seq: BatchSeq, bytes: &[u8]) {
    let mut store = store.lock().expect("whole");
    let batches = store.entry(log).or_default();
    if batches.last().is_none_or(|last| *last < seq) {
        batches.push(seq);
    }
    if seq == BatchSeq(1) {
        let mut decoder = SegmentDecoder::new(DecodeLimits::default());
        let batch = decoder.decode(bytes).expect("the first batch is a key batch");
        assert!(batch.complete_from < batch.complete_through && !batch.rows.is_empty());
    }
}

#[expect(clippy::disallowed_methods, reason = "driver: a double with real sockets")]
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

#[expect(clippy::disallowed_methods, reason = "driver: a double with real sockets")]
fn instant() -> Instant {
    Instant::now()
}
