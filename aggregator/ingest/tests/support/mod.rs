//! A replica over loopback with real certificates, QUIC and storage, and an agent that does what the test says.
#![allow(dead_code, unreachable_pub, reason = "every test uses its part of this")]

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vedette_ingest::{Ingest, IngestLimits};
use vedette_model::{Labels, Matcher, SelectRequest, SeriesSource as _, Timestamp};
use vedette_storage::{Storage, StorageConfig};
use vedette_transport::{
    Connected, ControlReader, ControlWriter, FrameWriter, Group, Identity, Protocol, Token, TokenKind,
    client_endpoint, connect, enroll_agent, server_endpoint,
};
use vedette_wire::control::{
    Ack, AgentMessage, FEATURES, Hello, LogOffer, PROTOCOL_MAX, PROTOCOL_MIN, Refuse, ReplicaMessage, Welcome,
};
use vedette_wire::{
    AgentName, BatchInput, BatchSeq, LogId, RowInput, SegmentEncoder, SegmentLimits, SeriesDescription,
    TargetTable,
};

pub const GENEROUS: Duration = Duration::from_secs(30);

/// The time that certificates and tokens are made for: what TLS checks them against.
#[expect(clippy::disallowed_methods, reason = "driver: certificates are checked against the real clock")]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(since_epoch.as_millis() as i64)
}

/// A running aggregator, as far as agents see it.
pub struct Replica {
    _folder: TempDir,
    pub storage: Storage,
    pub group: Arc<Group>,
    pub ingest: Ingest,
    pub registry: prometheus::Registry,
    pub stop: CancellationToken,
    pub serving: JoinHandle<()>,
}

impl Replica {
    pub fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), IngestLimits::default())
    }

    pub fn start_in(folder: TempDir, limits: IngestLimits) -> Self {
        let config = StorageConfig::new(folder.path().join("storage"));
        let storage = Storage::open(config, now()).expect("opens");
        let group =
            Arc::new(Group::open(folder.path(), &["127.0.0.1:1".to_owned()], now()).expect("founds a group"));
        let endpoint = server_endpoint(([127, 0, 0, 1], 0).into(), &group.identity()).expect("binds");
        group.announce(&[endpoint.local_addr().expect("bound").to_string()]).expect("announces");
        let registry = prometheus::Registry::new();
        let ingest =
            Ingest::new(storage.clone(), Arc::clone(&group), endpoint, limits, "test".to_owned(), &registry)
                .expect("metrics");
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (ingest, stop) = (ingest.clone(), stop.clone());
            async move { ingest.serve(stop).await }
        });
        Self { _folder: folder, storage, group, ingest, registry, stop, serving }
    }

    pub fn token(&self, kind: TokenKind) -> Token {
        self.group.create_token(kind, Duration::from_secs(60), now()).expect("a token")
    }

    pub async fn enroll(&self, name: &str) -> Identity {
        let endpoint = client_endpoint().expect("binds");
        let name = AgentName::new(name).expect("a name");
        let enrolled = enroll_agent(&endpoint, &self.token(TokenKind::Agent), &name).await;
        enrolled.expect("enrols").identity
    }

    pub fn addresses(&self) -> Vec<String> {
        let members = self.group.members().current();
        members.get(self.group.replica()).expect("itself").addresses.clone()
    }

    /// Which logs brought something that can be queried.
    pub fn logs(&self) -> Vec<String> {
        let matchers = [Matcher::equal("__name__", "probe")];
        let request = SelectRequest { matchers: &matchers, start: Timestamp::MIN, end: Timestamp::MAX };
        self.storage.view(now()).label_values("log", &request).expect("reads")
    }

    /// How many samples of all logs can be queried.
    pub fn samples(&self) -> usize {
        let matchers = [Matcher::equal("__name__", "probe")];
        let end = now();
        let request = SelectRequest { matchers: &matchers, start: end.minus_millis(120_000), end };
        let view = self.storage.view(Timestamp::from_millis(0).max(end.minus_millis(60_000)));
        let mut stream = view.select(&request).expect("selects");
        let (mut samples, mut count) = (vedette_model::Samples::default(), 0);
        while stream.next_into(&mut samples).expect("reads").is_some() {
            count += samples.at_ms.len();
        }
        count
    }

    /// Refusals of a reason so far.
    pub fn refusals(&self, reason: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "vedette_aggregator_refusals_total");
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let of_reason = metrics.iter().filter(|metric| metric.get_label()[0].value() == reason);
        of_reason.map(|metric| metric.get_counter().get_value()).sum()
    }

    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        metrics.iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

/// An agent that does what the test says.
pub struct Agent {
    pub connected: Connected,
    reader: ControlReader,
    writer: ControlWriter,
}

impl Agent {
    pub async fn connect(replica: &Replica, identity: &Identity) -> Self {
        let endpoint = client_endpoint().expect("binds");
        let connected =
            connect(&endpoint, identity, Protocol::Data, &replica.addresses(), None).await.expect("connects");
        let (send, receive) = connected.connection.open_bi().await.expect("opens");
        Self { connected, reader: ControlReader::new(receive), writer: ControlWriter::new(send) }
    }

    pub async fn say(&mut self, message: AgentMessage) {
        self.writer.write(&message).await.expect("writes");
    }

    pub async fn hear(&mut self) -> ReplicaMessage {
        let heard = tokio::time::timeout(GENEROUS, self.reader.read()).await.expect("in time");
        heard.expect("reads").expect("not the end")
    }

    pub async fn hello(&mut self, logs: Vec<LogOffer>) -> Welcome {
        let hello = Hello {
            version_min: PROTOCOL_MIN,
            version_max: PROTOCOL_MAX,
            features: FEATURES,
            software: "test".to_owned(),
            now_ms: now().as_millis(),
            interval_ms: 1000,
            logs,
        };
        self.say(AgentMessage::Hello(hello)).await;
        match self.hear().await {
            ReplicaMessage::Welcome(welcome) => welcome,
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub async fn acknowledged(&mut self, log: LogId, through: u64) {
        loop {
            match self.hear().await {
                ReplicaMessage::Ack(Ack { log: acked, through: now }) if acked == log && now.0 >= through => {
                    return;
                }
                ReplicaMessage::Ack(_) | ReplicaMessage::Members(_) => {}
                other => panic!("no ack: {other:?}"),
            }
        }
    }

    pub async fn refused(&mut self) -> Refuse {
        loop {
            match self.hear().await {
                ReplicaMessage::Refuse(refuse) => return refuse,
                ReplicaMessage::Ack(_) | ReplicaMessage::Members(_) => {}
                other => panic!("no refusal: {other:?}"),
            }
        }
    }
}

/// Writes frames of one log: one target, one series that is named after the log.
pub struct Log {
    pub id: LogId,
    pub seq: u64,
    /// Of the batch before the first.
    begun: Timestamp,
    encoder: SegmentEncoder,
    table: TargetTable,
}

impl Log {
    pub fn new(number: u128) -> Self {
        let encoder = SegmentEncoder::new(SegmentLimits::default());
        Self {
            id: LogId(number),
            seq: 0,
            begun: now().minus_millis(60_000),
            encoder,
            table: TargetTable::new(),
        }
    }

    pub fn offer(&self) -> LogOffer {
        LogOffer { log: self.id, first: BatchSeq(1), last: BatchSeq(self.seq), closed: false }
    }

    pub fn start_segment(&mut self) {
        self.encoder.start_segment();
    }

    pub fn next_frame(&mut self) -> Vec<u8> {
        self.seq += 1;
        let at = self.begun.plus_millis(self.seq as i64 * 100);
        let labels = Labels::from_pairs([("__name__", "probe"), ("log", &self.id.0.to_string())]);
        let describe =
            || Ok::<_, std::convert::Infallible>(SeriesDescription { labels, family: "probe".to_owned() });
        self.table.begin_row();
        self.table.set(b"probe", self.seq as f64, describe).expect("describes");
        self.table.finish_row();
        let row = RowInput { target: 0, at, table: &self.table, values: self.table.row() };
        let batch = BatchInput {
            seq: BatchSeq(self.seq),
            complete_from: at.minus_millis(100),
            complete_through: at,
            rows: &[row],
        };
        self.encoder.encode(&batch).expect("encodes").frame
    }
}

pub async fn ship(agent: &mut Agent, log: &mut Log, count: u64) {
    let mut stream = FrameWriter::open(&agent.connected.connection, log.id, true).await.expect("opens");
    for _ in 0..count {
        stream.write(&log.next_frame()).await.expect("writes");
    }
    agent.acknowledged(log.id, log.seq).await;
    stream.finish();
}

pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(GENEROUS, waiting).await.is_ok(), "{what}");
}
