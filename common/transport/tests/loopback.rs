//! Real endpoints on the loopback interface: who is let in, who is not, and what both sides are told.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;
use vedette_model::Timestamp;
use vedette_transport::{
    AcceptError, Accepted, Caller, ConnectError, ControlReader, ControlWriter, EnrollError, FrameReader,
    FrameWriter, Group, Identity, Listener, PartChunks, PeerError, PeerFrames, PeerStore, Protocol, Role,
    Token, TokenKind, client_endpoint, connect, enroll_agent, enroll_replica, exchange_members,
    exchange_roll, fetch_frames, fetch_part, list_logs, list_parts, renew, replace_identity, serve_enroll,
    serve_peer, server_endpoint, tell_deletion,
};
use vedette_wire::control::{
    Ack, AgentMessage, CloseLog, Deletion, EnrollRefusal, FetchFrames, FetchPart, ListLogs, ListParts,
    PartId, ReplicaMessage,
};
use vedette_wire::session::CloseCode;
use vedette_wire::{AgentName, BatchSeq, GapReason, LogId, ReplicaId, encode_gap};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(3600);
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A replica with an accept loop.
struct Replica {
    group: Arc<Group>,
    endpoint: quinn::Endpoint,
    address: SocketAddr,
    /// Connections that were let in, and calls that were not.
    calls: mpsc::Receiver<Result<Accepted, AcceptError>>,
    _folder: Arc<TempDir>,
}

/// Has the batches 1 to 3 of log 7.
struct ThreeFrames;

impl PeerStore for ThreeFrames {
    fn fetch(&self, wanted: &FetchFrames, _bytes_max: usize) -> Result<Vec<Vec<u8>>, String> {
        let numbers = (wanted.from.0..=wanted.to.0.min(3)).filter(|_| wanted.log == LogId(7));
        Ok(numbers.map(|seq| encode_gap(BatchSeq(seq), BatchSeq(seq), GapReason::SpoolLimit)).collect())
    }

    fn delete(&self, deletion: &Deletion) -> Result<(), String> {
        if deletion.record == [1] { Ok(()) } else { Err("not that one".to_owned()) }
    }

    fn list_logs(&self, list: &ListLogs, _bytes_max: usize) -> Result<Vec<u8>, String> {
        list.after.map_or(Ok(b"logs".to_vec()), |log| Err(format!("no log behind {log}")))
    }

    fn list_parts(&self, list: &ListParts, _bytes_max: usize) -> Result<Vec<u8>, String> {
        Ok(list.logs.iter().map(|log| log.0 as u8).collect())
    }

    /// Part 1 has 40 chunks of 100 KB, part 2 fails after three of them, others are gone.
    fn part(&self, wanted: &FetchPart) -> Result<Option<PartChunks>, String> {
        let chunk = |number: u8| vec![number; 100_000];
        match wanted.part.number {
            1 => Ok(Some(Box::new((0..40).map(move |number| Ok(chunk(number)))))),
            2 => {
                let fails =
                    (0..3).map(move |number| Ok(chunk(number))).chain([Err("the disk fails".to_owned())]);
                Ok(Some(Box::new(fails)))
            }
            _ => Ok(None),
        }
    }
}

impl Replica {
    fn found() -> Self {
        Self::start(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn start(folder: Arc<TempDir>) -> Self {
        let group = Arc::new(Group::open(folder.path(), &[], now()).unwrap());
        let endpoint = server_endpoint("127.0.0.1:0".parse().unwrap(), &group.identity()).unwrap();
        let address = endpoint.local_addr().unwrap();
        group.announce(&[address.to_string()]).unwrap();
        let listener = Listener::new(endpoint.clone(), 100).with_roll(group.roll().subscribe());
        let (report, calls) = mpsc::channel(100);
        tokio::spawn(accept_loop(listener, group.clone(), report));
        Self { group, endpoint, address, calls, _folder: folder }
    }

    fn token(&self, kind: TokenKind) -> Token {
        self.group.create_token(kind, HOUR, now()).unwrap()
    }

    fn addresses(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    async fn enroll(&self, name: &str) -> Identity {
        let endpoint = client_endpoint().unwrap();
        enroll_agent(&endpoint, &self.token(TokenKind::Agent), &agent(name)).await.unwrap().identity
    }

    async fn next_call(&mut self) -> Result<Accepted, AcceptError> {
        timeout(PATIENCE, self.calls.recv()).await.unwrap().unwrap()
    }

    async fn next_agent(&mut self) -> (AgentName, quinn::Connection) {
        match self.next_call().await.unwrap() {
            Accepted::Data { agent, connection } => (agent, connection),
            other => panic!("{other:?}"),
        }
    }
}

async fn accept_loop(
    listener: Listener,
    group: Arc<Group>,
    report: mpsc::Sender<Result<Accepted, AcceptError>>,
) {
    while let Some(handshake) = listener.accept().await {
        let (group, report) = (group.clone(), report.clone());
        tokio::spawn(async move {
            match handshake.complete().await {
                Ok(Accepted::Enroll { member, connection }) => {
                    serve_enroll(group, connection, member, now()).await.ok();
                }
                Ok(Accepted::Peer { connection, .. }) => {
                    serve_peer(&connection, &group, Arc::new(ThreeFrames)).await.ok();
                }
                call => report.send(call).await.unwrap(),
            }
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "driver: certificates are checked against the real clock")]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn refusal(result: Result<impl Sized, EnrollError>) -> EnrollRefusal {
    match result.map(drop).unwrap_err() {
        EnrollError::Refused { reason, message } => {
            assert!(!message.is_empty());
            reason
        }
        other => panic!("{other}"),
    }
}

/// The code and text with which the other side hung up.
async fn hung_up(connection: &quinn::Connection) -> (Option<CloseCode>, String) {
    match timeout(PATIENCE, connection.closed()).await.unwrap() {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let code = CloseCode::from_code(close.error_code.into_inner());
            (code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_enrolled_agent_talks_to_its_replica() {
    let mut replica = Replica::found();
    let identity = replica.enroll("web-1").await;
    assert_eq!(identity.role(), &Role::Agent(agent("web-1")));

    let endpoint = client_endpoint().unwrap();
    let expected = Some(replica.group.replica());
    let connected =
        connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), expected).await.unwrap();
    assert_eq!(connected.replica, replica.group.replica());
    let (name, server) = replica.next_agent().await;
    assert_eq!(name, agent("web-1"));

    let said = AgentMessage::CloseLog(CloseLog { log: LogId(5), last: BatchSeq(9) });
    let (send, receive) = connected.connection.open_bi().await.unwrap();
    let (mut writer, mut reader) = (ControlWriter::new(send), ControlReader::new(receive));
    writer.write(&said).await.unwrap();
    let (send, receive) = server.accept_bi().await.unwrap();
    assert_eq!(ControlReader::new(receive).read().await.unwrap(), Some(said));
    let answer = ReplicaMessage::Ack(Ack { log: LogId(5), through: BatchSeq(9) });
    let mut server_writer = ControlWriter::new(send);
    server_writer.write(&answer).await.unwrap();
    server_writer.finish();
    assert_eq!(reader.read().await.unwrap(), Some(answer));
    assert_eq!(reader.read::<ReplicaMessage>().await.unwrap(), None);

    let frames: Vec<Vec<u8>> =
        (1..20).map(|seq| encode_gap(BatchSeq(seq), BatchSeq(seq), GapReason::SpoolLost)).collect();
    let mut data = FrameWriter::open(&connected.connection, LogId(5), true).await.unwrap();
    for frame in &frames {
        data.write(frame).await.unwrap();
    }
    data.finish();
    let (mut data, log) = FrameReader::open(server.accept_uni().await.unwrap()).await.unwrap();
    assert_eq!(log, LogId(5));
    for frame in frames {
        assert_eq!(data.read().await.unwrap().unwrap().bytes, frame);
    }
    assert!(data.read().await.unwrap().is_none());
}

#[tokio::test]
async fn a_token_works_once_in_time_and_for_its_kind() {
    let replica = Replica::found();
    let endpoint = client_endpoint().unwrap();
    let token = replica.token(TokenKind::Agent);
    let joining = enroll_replica(&endpoint, &token, ReplicaId(Uuid::new_v4()), replica.addresses()).await;
    assert_eq!(refusal(joining), EnrollRefusal::WrongKind);
    // A refusal does not spend it.
    enroll_agent(&endpoint, &token, &agent("a")).await.unwrap();
    assert_eq!(refusal(enroll_agent(&endpoint, &token, &agent("b")).await), EnrollRefusal::UsedToken);

    let expired = replica.group.create_token(TokenKind::Agent, Duration::ZERO, now()).unwrap();
    assert_eq!(refusal(enroll_agent(&endpoint, &expired, &agent("c")).await), EnrollRefusal::ExpiredToken);
    let forged = Token { secret: [3; 32], ..replica.token(TokenKind::Agent) };
    assert_eq!(refusal(enroll_agent(&endpoint, &forged, &agent("d")).await), EnrollRefusal::UnknownToken);
}

#[tokio::test]
async fn guessing_is_slowed_down_and_good_tokens_are_not() {
    let replica = Replica::found();
    let endpoint = client_endpoint().unwrap();
    let forged = Token { secret: [3; 32], ..replica.token(TokenKind::Agent) };
    let mut limited = false;
    for _ in 0..60 {
        limited |= refusal(enroll_agent(&endpoint, &forged, &agent("x")).await) == EnrollRefusal::RateLimited;
    }
    assert!(limited);
    replica.enroll("y").await;
}

#[tokio::test]
async fn a_newcomer_trusts_only_the_authority_of_its_token() {
    let replica = Replica::found();
    let token = Token { authority: [1; 32], ..replica.token(TokenKind::Agent) };
    let error = enroll_agent(&client_endpoint().unwrap(), &token, &agent("a")).await.unwrap_err();
    assert!(matches!(error, EnrollError::Connect(_)), "{error}");
    assert!(error.to_string().contains("authority is not the one that the token names"), "{error}");
}

#[tokio::test]
async fn members_of_another_group_are_strangers() {
    let (mut ours, theirs) = (Replica::found(), Replica::found());
    let stranger = theirs.enroll("stranger").await;
    let endpoint = client_endpoint().unwrap();
    let error = connect(&endpoint, &stranger, Protocol::Data, &ours.addresses(), None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(matches!(ours.next_call().await.unwrap_err(), AcceptError::Handshake { .. }));
}

#[tokio::test]
async fn an_agent_is_no_peer_and_is_told_so() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    let endpoint = client_endpoint().unwrap();
    let connected = connect(&endpoint, &identity, Protocol::Peer, &replica.addresses(), None).await.unwrap();
    let (code, text) = hung_up(&connected.connection).await;
    assert_eq!(code, Some(CloseCode::WrongRole));
    assert!(text.contains("agent a may not speak Peer"), "{text}");
    assert!(matches!(replica.next_call().await.unwrap_err(), AcceptError::WrongRole { .. }));
}

#[tokio::test]
async fn another_replica_at_the_address_will_not_do() {
    let replica = Replica::found();
    let identity = replica.enroll("a").await;
    let other = Some(ReplicaId(Uuid::new_v4()));
    let endpoint = client_endpoint().unwrap();
    let error = connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), other).await.unwrap_err();
    assert!(error.to_string().contains("was expected"), "{error}");
}

#[tokio::test]
async fn an_address_that_does_not_answer_does_not_hold_up_the_next() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    // Bound and never read: packets vanish.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addresses = vec![
        silent.local_addr().unwrap().to_string(),
        "name.invalid:1".to_owned(),
        replica.address.to_string(),
    ];
    let endpoint = client_endpoint().unwrap();
    let connected = connect(&endpoint, &identity, Protocol::Data, &addresses, None).await.unwrap();
    assert_eq!(connected.address, replica.address);
    replica.next_agent().await;
}

#[tokio::test]
async fn garbage_on_the_port_changes_nothing() {
    let replica = Replica::found();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in 0..1200_usize {
        let garbage: Vec<u8> = (0..length)
            .map(|at| (at * 37 + length * 101) as u8 | if length % 2 == 0 { 0xc0 } else { 0 })
            .collect();
        socket.send_to(&garbage, replica.address).await.unwrap();
    }
    replica.enroll("a").await;
}

#[tokio::test]
async fn a_member_renews_with_its_certificate() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    let life = identity.expires_at().millis_since(identity.renew_at());
    assert!((9 * DAY_MS..11 * DAY_MS).contains(&life), "renewal {life} ms before the end");

    let endpoint = client_endpoint().unwrap();
    let renewed = renew(&endpoint, &identity, &replica.addresses()).await.unwrap();
    assert_eq!(renewed.identity.role(), identity.role());
    assert_eq!(renewed.members.members.len(), 1);
    connect(&endpoint, &renewed.identity, Protocol::Data, &replica.addresses(), None).await.unwrap();
    replica.next_agent().await;
}

#[tokio::test]
async fn a_replica_renews_itself_without_a_pause() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    assert!(replica.group.renew(now()).unwrap().is_none());
    let before = replica.group.identity().expires_at();
    let renewed = replica.group.renew(now().plus_millis(21 * DAY_MS)).unwrap().unwrap();
    assert!(renewed.expires_at() > before);

    // Its own clock says that the new one is not valid yet, so the present one stays in place for this test.
    let present = Identity::load(replica._folder.path()).unwrap();
    assert_eq!(present.expires_at(), renewed.expires_at());
    replace_identity(&replica.endpoint, &replica.group.identity()).unwrap();
    let endpoint = client_endpoint().unwrap();
    let error = connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.unwrap_err();
    assert!(error.to_string().contains("not valid yet"), "{error}");
    let again = replica.group.renew(now().plus_millis(42 * DAY_MS)).unwrap();
    assert!(again.is_some());
    replica.calls.close();
}

#[tokio::test]
async fn a_replica_joins_and_both_know_of_each_other() {
    let replica = Replica::found();
    let mut told = replica.group.members().subscribe();
    let (endpoint, joiner) = (client_endpoint().unwrap(), ReplicaId(Uuid::new_v4()));
    let token = replica.token(TokenKind::Replica);
    let joined = enroll_replica(&endpoint, &token, joiner, vec!["127.0.0.1:1".to_owned()]).await.unwrap();
    assert!(told.has_changed().unwrap());
    assert!(told.borrow_and_update().get(joiner).is_some());

    let folder = Arc::new(tempfile::tempdir().unwrap());
    Group::adopt(folder.path(), &joined).unwrap();
    assert!(Group::adopt(folder.path(), &joined).is_err(), "joined twice");
    // More than fit one message.
    let names: Vec<String> = (0..2500).map(|number| format!("\"gone-{number}\": 1")).collect();
    let roll = format!("{{\"version\": 1, \"revoked\": {{{}}}, \"removed\": []}}", names.join(","));
    std::fs::write(folder.path().join("ca/roll.json"), roll).unwrap();
    let mut second = Replica::start(folder);
    assert_eq!(second.group.replica(), joiner);

    // The joiner has moved to its real port; the first replica learns of that from the exchange.
    let connected = connect(&endpoint, &second.group.identity(), Protocol::Peer, &replica.addresses(), None)
        .await
        .unwrap();
    let ours = exchange_members(&connected.connection, second.group.members()).await.unwrap();
    assert_eq!(ours, replica.group.members().current());
    assert_eq!(ours.get(joiner).unwrap().addresses, second.addresses());

    // An agent that the first enrolled is known to the second.
    let identity = replica.enroll("a").await;
    connect(&endpoint, &identity, Protocol::Data, &second.addresses(), Some(joiner)).await.unwrap();
    assert_eq!(second.next_agent().await.0, agent("a"));
    check_fetch(&connected.connection).await;
    check_parts(&connected.connection).await;
    check_roll(&connected.connection, &replica, &mut second, &identity).await;
}

/// What one has revoked the other refuses as well, once they have talked, until a new token says otherwise.
async fn check_roll(peer: &quinn::Connection, first: &Replica, second: &mut Replica, identity: &Identity) {
    first.group.revoke(&agent("a")).unwrap();
    exchange_roll(peer, &second.group).await.unwrap();
    assert_eq!(first.group.roll().current(), second.group.roll().current());
    assert_eq!(first.group.roll().current().revoked().count(), 2501);

    let endpoint = client_endpoint().unwrap();
    for protocol in [Protocol::Data, Protocol::Enroll] {
        let connected = connect(&endpoint, identity, protocol, &second.addresses(), None).await.unwrap();
        let (code, text) = hung_up(&connected.connection).await;
        assert_eq!(code, Some(CloseCode::Revoked));
        assert!(text.contains("agent a was revoked"), "{text}");
    }
    assert!(matches!(second.next_call().await, Err(AcceptError::Revoked { .. })));
    assert!(renew(&endpoint, identity, &second.addresses()).await.is_err(), "revoked, and renewed");
    while let Ok(call) = second.calls.try_recv() {
        assert!(matches!(call, Err(AcceptError::Revoked { .. })));
    }

    let again = first.enroll("a").await;
    let renewed = renew(&endpoint, &again, &second.addresses()).await.unwrap().identity;
    connect(&endpoint, &renewed, Protocol::Data, &second.addresses(), None).await.unwrap();
    assert_eq!(next_agent_after_refusals(second).await, agent("a"));
}

async fn next_agent_after_refusals(replica: &mut Replica) -> AgentName {
    loop {
        match replica.next_call().await {
            Ok(Accepted::Data { agent, .. }) => return agent,
            Err(AcceptError::Revoked { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn check_parts(peer: &quinn::Connection) {
    assert_eq!(list_logs(peer, ListLogs { after: None }).await.unwrap(), b"logs");
    let refused = list_logs(peer, ListLogs { after: Some(LogId(7)) }).await.unwrap_err();
    assert!(
        matches!(&refused, PeerError::Refused { message } if message.contains("no log behind")),
        "{refused}"
    );
    let listed = list_parts(peer, ListParts { after: None, logs: vec![LogId(3), LogId(9)] }).await.unwrap();
    assert_eq!(listed, [3, 9]);

    let part = |number| FetchPart { part: PartId { day: 1, number }, logs: vec![LogId(1)] };
    assert!(fetch_part(peer, part(3)).await.unwrap().is_none());
    let mut stream = fetch_part(peer, part(1)).await.unwrap().unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        assert_eq!(chunk.len(), 100_000);
        chunks.push(chunk[0]);
    }
    assert_eq!(chunks, (0..40).collect::<Vec<u8>>());
    // What breaks off on the other side is an error here, never a shorter part.
    let mut chunks = 0;
    let error = match fetch_part(peer, part(2)).await {
        Ok(stream) => {
            let mut stream = stream.unwrap();
            loop {
                match stream.next_chunk().await {
                    Ok(Some(_)) => chunks += 1,
                    Ok(None) => panic!("an end after {chunks} chunks"),
                    Err(error) => break error,
                }
            }
        }
        Err(error) => error,
    };
    assert!(chunks <= 3, "{chunks} chunks, then {error}");
    assert_eq!(list_logs(peer, ListLogs { after: None }).await.unwrap(), b"logs");
}

async fn check_fetch(peer: &quinn::Connection) {
    let wanted = |log, from, to| FetchFrames { log: LogId(log), from: BatchSeq(from), to: BatchSeq(to) };
    match fetch_frames(peer, wanted(7, 2, 9)).await.unwrap() {
        PeerFrames::Frames(frames) => {
            let numbers: Vec<u64> = frames.iter().map(|frame| frame.header.seq.0).collect();
            assert_eq!(numbers, [2, 3]);
        }
        PeerFrames::NotHere => panic!("the peer has them"),
    }
    assert!(matches!(fetch_frames(peer, wanted(8, 1, 9)).await.unwrap(), PeerFrames::NotHere));
    let deletion = |record| Deletion { id: 9, record };
    tell_deletion(peer, deletion(vec![1])).await.unwrap();
    let refused = tell_deletion(peer, deletion(vec![2])).await.unwrap_err();
    assert_eq!(refused.to_string(), "the peer refused: not that one");
}

#[tokio::test]
async fn files_survive_a_restart_and_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let first = Group::open(folder.path(), &["a:1".to_owned()], now()).unwrap();
    let token = first.create_token(TokenKind::Agent, HOUR, now()).unwrap();
    let again = Group::open(folder.path(), &["a:1".to_owned()], now()).unwrap();
    assert_eq!(again.replica(), first.replica());
    assert_eq!(again.members().current(), first.members().current());
    let fresh = again.create_token(TokenKind::Agent, HOUR, now()).unwrap();
    assert_eq!(fresh.authority, token.authority);

    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ca"), 0o700);
    for file in ["ca/authority.pem", "ca/tokens.json", "identity.pem", "members.json"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_peer_that_opens_streams_and_says_nothing_is_bounded() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    let endpoint = client_endpoint().unwrap();
    let connected = connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.unwrap();
    let (_, _server) = replica.next_agent().await;
    let flood = async {
        let mut streams = Vec::new();
        loop {
            let mut stream = connected.connection.open_uni().await.unwrap();
            // Nobody reads: the connection's window is what the replica keeps at most.
            timeout(Duration::from_millis(100), stream.write_all(&vec![0; 4 << 20])).await.ok();
            streams.push(stream);
            assert!(streams.len() <= 16, "streams without bound");
        }
    };
    assert!(timeout(Duration::from_secs(3), flood).await.is_err());
    let sent = connected.connection.stats().udp_tx.bytes;
    assert!(sent < 4 << 20, "{sent} bytes taken from a peer that nobody reads");
}

/// Forwards packets between a client and the replica until it is cut.
struct Relay {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
}

impl Relay {
    async fn to(replica: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.connect(replica).await.unwrap();
        let relay = Self { address: front.local_addr().unwrap(), cut: Arc::new(AtomicBool::new(false)) };
        let cut = relay.cut.clone();
        tokio::spawn(async move {
            let (mut up, mut down, mut client) = ([0; 2048], [0; 2048], None);
            loop {
                tokio::select! {
                    received = front.recv_from(&mut up) => {
                        let (length, from) = received.unwrap();
                        client = Some(from);
                        if !cut.load(Ordering::Relaxed) {
                            back.send(&up[..length]).await.unwrap();
                        }
                    }
                    received = back.recv(&mut down) => {
                        let length = received.unwrap();
                        if let Some(client) = client.filter(|_| !cut.load(Ordering::Relaxed)) {
                            front.send_to(&down[..length], client).await.unwrap();
                        }
                    }
                }
            }
        });
        relay
    }
}

#[tokio::test]
async fn both_sides_notice_within_seconds_that_the_other_vanished() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    let relay = Relay::to(replica.address).await;
    let endpoint = client_endpoint().unwrap();
    let addresses = [relay.address.to_string()];
    let connected = connect(&endpoint, &identity, Protocol::Data, &addresses, None).await.unwrap();
    let (_, server) = replica.next_agent().await;

    relay.cut.store(true, Ordering::Relaxed);
    let (client, server) = timeout(Duration::from_secs(10), async {
        tokio::join!(connected.connection.closed(), server.closed())
    })
    .await
    .unwrap();
    assert_eq!(client, quinn::ConnectionError::TimedOut);
    assert_eq!(server, quinn::ConnectionError::TimedOut);
}

#[tokio::test]
async fn a_connection_survives_a_change_of_address() {
    let mut replica = Replica::found();
    let identity = replica.enroll("a").await;
    let endpoint = client_endpoint().unwrap();
    let connected = connect(&endpoint, &identity, Protocol::Data, &replica.addresses(), None).await.unwrap();
    let (_, server) = replica.next_agent().await;
    let before = server.remote_address();

    endpoint.rebind(std::net::UdpSocket::bind("[::]:0").unwrap()).unwrap();
    let mut data = FrameWriter::open(&connected.connection, LogId(1), true).await.unwrap();
    data.write(&encode_gap(BatchSeq(1), BatchSeq(1), GapReason::SpoolLost)).await.unwrap();
    let accepted = timeout(PATIENCE, server.accept_uni()).await.unwrap().unwrap();
    let (mut reader, _) = FrameReader::open(accepted).await.unwrap();
    assert_eq!(reader.read().await.unwrap().unwrap().header.seq, BatchSeq(1));
    assert_ne!(server.remote_address(), before);
}

/// Leads the packets of each address to where it led that one's first, as NAT does; answers go back.
async fn sticky_nat(backend: watch::Receiver<SocketAddr>) -> SocketAddr {
    let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let address = outside.local_addr().unwrap();
    tokio::spawn(async move {
        let mut flows: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut packet = vec![0; 65_536];
        while let Ok((bytes, client)) = outside.recv_from(&mut packet).await {
            let flow = match flows.entry(client) {
                Entry::Occupied(flow) => flow.into_mut(),
                Entry::Vacant(free) => {
                    let leads_to = *backend.borrow();
                    let inside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    inside.connect(leads_to).await.unwrap();
                    tokio::spawn(lead_back(inside.clone(), outside.clone(), client));
                    free.insert(inside)
                }
            };
            flow.send(&packet[..bytes]).await.ok();
        }
    });
    address
}

async fn lead_back(inside: Arc<UdpSocket>, outside: Arc<UdpSocket>, client: SocketAddr) {
    let mut packet = vec![0; 65_536];
    loop {
        // Where nobody listens any more: an error, and no answer.
        if let Ok(bytes) = inside.recv(&mut packet).await {
            outside.send_to(&packet[..bytes], client).await.ok();
        }
    }
}

#[tokio::test]
async fn a_replica_that_has_moved_behind_nat_is_found_from_another_port() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let replica = Replica::start(folder.clone());
    let identity = replica.group.identity();
    let (move_to, backend) = watch::channel(replica.address);
    let addresses = [sticky_nat(backend).await.to_string()];
    let caller = Caller::new(client_endpoint().unwrap());
    let call = || caller.connect(&identity, Protocol::Peer, &addresses, None);
    drop(call().await.unwrap());
    caller.wait_idle().await;

    replica.endpoint.close(0u8.into(), b"");
    drop(replica);
    let moved = Replica::start(folder);
    move_to.send_replace(moved.address);
    // From the usual port it asks the old place, at least once.
    let found = timeout(PATIENCE, async {
        loop {
            if let Ok(connected) = call().await {
                break connected;
            }
        }
    });
    let connected = found.await.unwrap();
    assert_eq!(connected.replica, moved.group.replica());
    drop(connected);
    timeout(PATIENCE, caller.wait_idle()).await.unwrap();
}
