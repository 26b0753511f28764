//! Callers that hold on, say nothing, read nothing, or come again and again: each is let go in a bounded time, counted by
//! its reason and named in the log, and who behaves notices nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, SendStream, TransportConfig, VarInt};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;
use vedette_model::{Labels, Timestamp};
use vedette_tests::{Agent, Aggregator, Api, GENEROUS, enrolled_pair, eventually, now, unix_ms};
use vedette_wire::control::{
    AgentMessage, EnrollRequest, Hello, LogOffer, NewcomerKind, PROTOCOL_MAX, PROTOCOL_MIN, Redeem, encode,
};
use vedette_wire::session::encode_stream_header;
use vedette_wire::{
    BatchInput, BatchSeq, LogId, RowInput, SegmentEncoder, SegmentLimits, SeriesDescription, TargetTable,
};

const DATA: &[u8] = b"vedette/1";
const ENROLL: &[u8] = b"vedette-enroll/1";
/// What an aggregator may grow by while it is pestered. It also grows by what it stores meanwhile.
const GROWTH_BYTES_MAX: f64 = 200e6;

/// An aggregator with an agent that behaves, and callers that do not.
struct Scene {
    dir: tempfile::TempDir,
    aggregator: Aggregator,
    _agent: Agent,
    api: Api,
    runtime: Runtime,
    resident_bytes: f64,
}

impl Scene {
    fn set() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (aggregator, agent) = enrolled_pair(dir.path())?;
        let api = aggregator.api();
        eventually("the first sample", GENEROUS, || api.value("node_load1", None))?;
        let resident_bytes = api.own_metric("process_resident_memory_bytes")?;
        let runtime = Runtime::new()?;
        Ok(Self { dir, aggregator, _agent: agent, api, runtime, resident_bytes })
    }

    /// A caller with a certificate for `name`.
    fn member(&self, name: &str, transport: TransportConfig) -> Result<Caller> {
        let folder = self.dir.path().join(name);
        let agent = Agent::prepare(&folder, &[])?.with_config(&format!("name: {name}\n"))?;
        agent.enroll(&self.aggregator.token("agent")?)?;
        let identity = agent.spool().join("identity/identity.pem");
        let _guard = self.runtime.enter();
        Caller::new(&identity, true, DATA, self.aggregator.quic_address().parse()?, transport)
    }

    /// A caller without a certificate, who wants one.
    fn newcomer(&self) -> Result<Caller> {
        let identity = self.dir.path().join("agent/spool/identity/identity.pem");
        let _guard = self.runtime.enter();
        let transport = TransportConfig::default();
        Caller::new(&identity, false, ENROLL, self.aggregator.quic_address().parse()?, transport)
    }

    /// How often something was refused for this reason.
    fn refusals(&self, reason: &str) -> Result<f64> {
        let line = format!("vedette_aggregator_refusals_total{{reason=\"{reason}\"}}");
        self.api.own_metric(&line)
    }

    fn await_refusals(&self, reason: &str, count: f64) -> Result<()> {
        eventually(&format!("{count} refusals because of {reason}"), GENEROUS, || {
            let refused = self.refusals(reason)?;
            ensure!(refused >= count, "{refused} so far");
            Ok(Some(()))
        })
    }

    /// Who behaves is served, and memory has not run away.
    fn is_well(&mut self) -> Result<()> {
        let after = unix_ms();
        eventually("samples go on", GENEROUS, || {
            self.aggregator.program()?.check_alive()?;
            let at = self.api.value("timestamp(node_load1)", None)?;
            Ok(at.filter(|at| *at * 1000.0 > after as f64))
        })?;
        let grown = self.api.own_metric("process_resident_memory_bytes")? - self.resident_bytes;
        ensure!(grown < GROWTH_BYTES_MAX, "grown by {grown} bytes");
        Ok(())
    }
}

/// Calls with a QUIC stack whose every bound is the test's own.
struct Caller {
    config: quinn::ClientConfig,
    address: SocketAddr,
}

impl Caller {
    fn new(
        identity: &Path,
        certified: bool,
        protocol: &[u8],
        address: SocketAddr,
        transport: TransportConfig,
    ) -> Result<Self> {
        let certificates: Vec<_> = CertificateDer::pem_file_iter(identity)
            .with_context(|| identity.display().to_string())?
            .collect::<Result<_, _>>()?;
        let [_, authority] = certificates.as_slice() else { bail!("{} certificates", certificates.len()) };
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut tls = match certified {
            true => {
                tls.with_client_auth_cert(certificates.clone(), PrivateKeyDer::from_pem_file(identity)?)?
            }
            false => tls.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![protocol.to_vec()];
        let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        Ok(Self { config, address })
    }

    /// From an address of its own.
    async fn call(&self) -> Result<Connection> {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let calling = endpoint.connect_with(self.config.clone(), self.address, "replica.vedette")?;
        Ok(tokio::time::timeout(GENEROUS, calling).await??)
    }
}

/// Why the aggregator ended the connection, and that it did so in time.
async fn told(connection: &Connection) -> Result<String> {
    Ok(tokio::time::timeout(GENEROUS, connection.closed()).await.context("still open")?.to_string())
}

/// A client that takes at most so many bytes without reading.
fn transport(window: u32) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(Duration::from_secs(1)))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(VarInt::from_u32(window));
    transport
}

async fn hello(connection: &Connection, logs: &[LogId]) -> Result<SendStream> {
    let offer =
        |log: &LogId| LogOffer { log: *log, first: BatchSeq(1), last: BatchSeq(1 << 40), closed: false };
    let hello = AgentMessage::Hello(Hello {
        version_min: PROTOCOL_MIN,
        version_max: PROTOCOL_MAX,
        features: 0,
        software: "hostile".to_owned(),
        now_ms: unix_ms(),
        interval_ms: 1000,
        logs: logs.iter().map(offer).collect(),
    });
    // The other direction stays open and is never read.
    let (mut send, receive) = connection.open_bi().await?;
    std::mem::forget(receive);
    send.write_all(&encode(&hello)?).await?;
    Ok(send)
}

/// A valid log of one series.
struct Log {
    id: LogId,
    seq: u64,
    encoder: SegmentEncoder,
    table: TargetTable,
}

impl Log {
    fn new(id: u128) -> Self {
        let encoder = SegmentEncoder::new(SegmentLimits::default());
        Self { id: LogId(id), seq: 0, encoder, table: TargetTable::new() }
    }

    fn next_frame(&mut self) -> Result<Vec<u8>> {
        self.seq += 1;
        let at = Timestamp::from_millis(unix_ms());
        let labels = Labels::from_pairs([("__name__", "hostile"), ("log", &self.id.to_string())]);
        let describe =
            || Ok::<_, std::convert::Infallible>(SeriesDescription { labels, family: "hostile".to_owned() });
        self.table.begin_row();
        self.table.set(b"hostile", self.seq as f64, describe)?;
        self.table.finish_row();
        let row = RowInput { target: 0, at, table: &self.table, values: self.table.row() };
        let input = BatchInput {
            seq: BatchSeq(self.seq),
            complete_from: at.minus_millis(1),
            complete_through: at,
            rows: &[row],
        };
        Ok(self.encoder.encode(&input)?.frame)
    }

    /// Writes one frame after the other until the aggregator ends the connection.
    async fn pour(mut self, connection: Connection) -> Result<u64> {
        let mut stream = connection.open_uni().await?;
        stream.write_all(&encode_stream_header(self.id)).await?;
        loop {
            let frame = self.next_frame()?;
            if stream.write_all(&frame).await.is_err() {
                return Ok(self.seq);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[test]
fn who_reads_no_acknowledgement_is_let_go() -> Result<()> {
    let mut scene = Scene::set()?;
    // One takes 16 KiB of acknowledgements, the other nothing at all, not even the welcome.
    let reluctant = scene.member("reluctant", transport(16 << 10))?;
    let deaf = scene.member("deaf", transport(0))?;
    let poured = scene.runtime.block_on(async {
        let connections = [reluctant.call().await?, deaf.call().await?];
        let mut pouring = Vec::new();
        let mut controls = Vec::new();
        for (connection, first) in connections.iter().zip([100u128, 200]) {
            // As many streams as there may be.
            let logs: Vec<Log> = (0..8).map(|number| Log::new(first + number)).collect();
            let ids: Vec<LogId> = logs.iter().map(|log| log.id).collect();
            controls.push(hello(connection, &ids).await?);
            pouring.extend(logs.into_iter().map(|log| tokio::spawn(log.pour(connection.clone()))));
        }
        for connection in &connections {
            let why = told(connection).await?;
            ensure!(why.contains("read nothing for"), "{why}");
        }
        let mut poured = 0;
        for task in pouring {
            poured += task.await??;
        }
        Ok(poured)
    })?;
    ensure!(poured > 100, "only {poured} batches were sent");
    scene.await_refusals("unread", 2.0)?;
    scene.aggregator.await_logged(&["unread", "reluctant", "read nothing for"])?;
    scene.aggregator.await_logged(&["unread", "deaf"])?;
    scene.is_well()
}

#[test]
fn streams_that_stop_short_are_let_go() -> Result<()> {
    let mut scene = Scene::set()?;
    let caller = scene.member("slow", transport(1 << 20))?;
    scene.runtime.block_on(async {
        let connection = caller.call().await?;
        let mut log = Log::new(300);
        let _control = hello(&connection, &[log.id]).await?;
        // Nothing but a byte; a header, a byte a second; half a frame.
        let mut silent = connection.open_uni().await?;
        silent.write_all(&[1]).await?;
        let mut dripping = connection.open_uni().await?;
        let header = encode_stream_header(LogId(301));
        let drip = async {
            for byte in header {
                if dripping.write_all(&[byte]).await.is_err() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            bail!("a header of {} s was read to its end", header.len())
        };
        let mut half = connection.open_uni().await?;
        let frame = log.next_frame()?;
        half.write_all(&encode_stream_header(log.id)).await?;
        half.write_all(&frame[..frame.len() / 2]).await?;
        drip.await?;
        for stream in [&silent, &half] {
            let stopped = tokio::time::timeout(GENEROUS, stream.stopped()).await.context("still read")?;
            ensure!(stopped?.is_some(), "the aggregator reads no more of it");
        }
        // The connection itself may go on.
        ensure!(connection.close_reason().is_none(), "{:?}", connection.close_reason());
        Ok(())
    })?;
    scene.await_refusals("stream_header", 2.0)?;
    scene.await_refusals("stalled", 1.0)?;
    scene.aggregator.await_logged(&["stream_header", "slow"])?;
    scene.aggregator.await_logged(&["stalled", "slow", "middle of a frame"])?;
    scene.is_well()
}

#[test]
fn one_name_can_not_take_all_connections() -> Result<()> {
    let mut scene = Scene::set()?;
    let caller = scene.member("many", transport(1 << 20))?;
    let (held, refused) = scene.runtime.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..40 {
            connections.push(caller.call().await?);
        }
        let mut refused = 0;
        for connection in &connections[4..] {
            let why = told(connection).await?;
            ensure!(why.contains("limits.connections_per_agent_max"), "{why}");
            refused += 1;
        }
        // Those that were let in and say nothing are not kept either.
        for connection in &connections[..4] {
            let why = told(connection).await?;
            ensure!(why.contains("no control stream in time"), "{why}");
        }
        Ok((connections.len() - refused, refused))
    })?;
    ensure!(held == 4, "{held} held, {refused} refused");
    scene.await_refusals("connections_per_agent", 36.0)?;
    scene.await_refusals("silent", 4.0)?;
    scene.aggregator.await_logged(&["connections_per_agent", "many"])?;
    scene.is_well()
}

#[test]
fn who_comes_and_goes_is_slowed_down() -> Result<()> {
    let mut scene = Scene::set()?;
    let caller = scene.member("restless", transport(1 << 20))?;
    let begun = now();
    scene.runtime.block_on(async {
        for _ in 0..300 {
            caller.call().await?.close(VarInt::from_u32(0), b"");
        }
        Result::<()>::Ok(())
    })?;
    let took = begun.elapsed();
    if took < Duration::from_secs(50) {
        scene.await_refusals("reconnects", 100.0)?;
        scene.aggregator.await_logged(&["reconnects", "restless"])?;
        let lines = scene.aggregator.log().lines().filter(|line| line.contains("restless")).count();
        ensure!(lines < 600, "{lines} lines in the log");
    }
    eventually("all of its sessions are over", GENEROUS, || {
        Ok((scene.api.own_metric("vedette_aggregator_sessions")? <= 1.0).then_some(()))
    })?;
    scene.is_well()
}

#[test]
fn newcomers_that_pester_are_let_go() -> Result<()> {
    let mut scene = Scene::set()?;
    let caller = scene.newcomer()?;
    let redeem = |secret: [u8; 32]| -> Result<Vec<u8>> {
        let newcomer = NewcomerKind::Agent { name: "stranger".to_owned() };
        Ok(encode(&EnrollRequest::Redeem(Redeem { secret, newcomer, signing_request: vec![0; 300] }))?)
    };
    scene.runtime.block_on(async {
        // A request that is too long is answered at once.
        let connection = caller.call().await?;
        let (mut send, _receive) = connection.open_bi().await?;
        send.write_all(&(64u32 << 20).to_le_bytes()).await?;
        told(&connection).await?;
        // Guessing.
        for guess in 0..60 {
            let connection = caller.call().await?;
            let (mut send, mut receive) = connection.open_bi().await?;
            send.write_all(&redeem([guess; 32])?).await?;
            let answer = tokio::time::timeout(GENEROUS, receive.read_to_end(4096)).await??;
            ensure!(!answer.is_empty(), "it is told");
        }
        // Half a request, or none, from more callers than may be served at once.
        let half = redeem([0; 32])?;
        let mut pending = Vec::new();
        for number in 0..80 {
            let connection = caller.call().await?;
            let stream = match number % 2 {
                // Those that are too many may be hung up on before they get so far.
                0 => match connection.open_bi().await {
                    Ok((mut send, receive)) => {
                        send.write_all(&half[..half.len() / 2]).await.ok();
                        Some((send, receive))
                    }
                    Err(_closed) => None,
                },
                _ => None,
            };
            pending.push((connection, stream));
        }
        for (connection, _) in &pending {
            told(connection).await?;
        }
        Result::<()>::Ok(())
    })?;
    scene.await_refusals("unknown_token", 1.0)?;
    scene.await_refusals("rate_limited", 10.0)?;
    scene.await_refusals("enrolments", 1.0)?;
    scene.await_refusals("enrolment_broken", 60.0)?;
    scene.aggregator.await_logged(&["unknown_token", "127.0.0.1"])?;
    scene.aggregator.await_logged(&["rate_limited", "too many attempts"])?;
    let lines = scene.aggregator.log().lines().filter(|line| line.contains("enrol")).count();
    ensure!(lines < 20, "{lines} lines of enrolments in the log");
    // A good token is good all the same.
    let honest = Agent::prepare(&scene.dir.path().join("honest"), &[])?;
    let token = scene.aggregator.token("agent")?;
    eventually("a newcomer with a token gets in", GENEROUS, || honest.enroll(&token).map(Some))?;
    scene.is_well()
}
