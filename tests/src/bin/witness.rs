//! A writer that keeps the books: ships batches as an agent does, and writes down each acknowledgement that it sees on
//! the wire, in a file that outlives whatever happens to the aggregator.
//!
//! ```text
//! vedette-witness IDENTITY_FOLDER AGGREGATOR_ADDRESS BOOK SECONDS
//! ```
//!
//! Batch `n` (from 1 on) has one row at `start + n × 20 ms` of the ten series `witness_value{series="0".."9"}`, each with the
//! value `10 n + series`. The book's first line is `start` in Unix milliseconds; each further line is the number of the newest
//! batch acknowledged. It ends by itself after `SECONDS`, when all that it sent is acknowledged.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use vedette_model::{Labels, MetricKind, Timestamp};
use vedette_tests::unix_ms;
use vedette_transport::{
    ControlReader, ControlWriter, FrameWriter, Identity, Protocol, client_endpoint, close, connect,
};
use vedette_wire::control::{LogOffer, ReplicaMessage};
use vedette_wire::session::{AgentAction, AgentOptions, AgentSession, Now, SendStart, Sent};
use vedette_wire::{
    BatchInput, BatchSeq, Family, GapReason, LogId, RowInput, SegmentEncoder, SegmentLimits,
    SeriesDescription, TargetTable, encode_gap,
};

const SERIES: usize = 10;
const STEP: Duration = Duration::from_millis(20);
/// Without an answer for so long, another connection is tried: an aggregator that was killed says no good-bye.
const STALLED: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [identity, address, book, seconds] = arguments.as_slice() else {
        bail!("usage: vedette-witness IDENTITY_FOLDER AGGREGATOR_ADDRESS BOOK SECONDS");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let identity = Identity::load(Path::new(identity)).context(identity.clone())?;
    runtime.block_on(Witness::new(Path::new(book))?.run(&identity, address, seconds.parse()?))
}

struct Witness {
    log: LogId,
    start_ms: i64,
    encoder: SegmentEncoder,
    table: TargetTable,
    /// Frame `n` stands at `n - 1`, with whether it is a key.
    frames: Vec<(Vec<u8>, bool)>,
    session: AgentSession,
    acked: u64,
    book: std::fs::File,
    started: Instant,
}

/// What belongs to one connection.
struct Link {
    writer: ControlWriter,
    stream: Option<FrameWriter>,
    connection: quinn::Connection,
}

impl Witness {
    fn new(book: &Path) -> Result<Self> {
        let start_ms = unix_ms();
        let mut book = std::fs::File::create(book)?;
        writeln!(book, "{start_ms}")?;
        let options =
            AgentOptions { software: "witness".to_owned(), batch_interval: STEP, ..AgentOptions::default() };
        Ok(Self {
            log: LogId(rand::random()),
            start_ms,
            encoder: SegmentEncoder::new(SegmentLimits::default()),
            table: TargetTable::new(),
            frames: Vec::new(),
            session: AgentSession::new(options),
            acked: 0,
            book,
            started: Instant::now(),
        })
    }

    fn now(&self) -> Now {
        Now { monotonic: self.started.elapsed(), wall: Timestamp::from_millis(unix_ms()) }
    }

    async fn run(mut self, identity: &Identity, address: &str, seconds: u64) -> Result<()> {
        let end = self.started + Duration::from_secs(seconds);
        let give_up = end + Duration::from_secs(120);
        loop {
            match self.serve(identity, address, end).await {
                Ok(()) => return Ok(()),
                Err(error) => println!("connection: {error:#}"),
            }
            self.session.on_disconnected();
            if Instant::now() > give_up {
                bail!("{} of {} batches acknowledged", self.acked, self.frames.len());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// One connection's life; fine when time is up and everything is acknowledged.
    async fn serve(&mut self, identity: &Identity, address: &str, end: Instant) -> Result<()> {
        let endpoint = client_endpoint()?;
        let addresses = [address.to_owned()];
        let connecting = connect(&endpoint, identity, Protocol::Data, &addresses, None);
        let connected = timeout(STALLED, connecting).await.context("no connection")??;
        let (send, receive) = connected.connection.open_bi().await?;
        let mut reader = ControlReader::new(receive);
        let mut link =
            Link { writer: ControlWriter::new(send), stream: None, connection: connected.connection };
        self.session.on_connected(self.now());
        let mut ticks = interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut acked, mut acked_at) = (self.acked, Instant::now());
        loop {
            while let Some(action) = self.session.poll_action(self.now()) {
                self.act(action, &mut link).await?;
            }
            if self.acked > acked || self.acked == self.frames.len() as u64 {
                (acked, acked_at) = (self.acked, Instant::now());
            } else if acked_at.elapsed() > STALLED {
                bail!("no acknowledgement for {STALLED:?}");
            }
            let running = Instant::now() < end;
            if !running && self.acked == self.frames.len() as u64 {
                return Ok(());
            }
            let wakeup = self.session.next_wakeup().map_or(end + STEP, |at| self.started + at);
            tokio::select! {
                message = reader.read::<ReplicaMessage>() => {
                    let message = message?.context("the replica ended the control stream")?;
                    self.session.on_message(self.now(), message);
                }
                _ = ticks.tick(), if running => self.produce()?,
                () = sleep_until(wakeup.max(Instant::now() + Duration::from_millis(5))) => {}
            }
        }
    }

    /// Makes the next batch.
    fn produce(&mut self) -> Result<()> {
        let seq = BatchSeq(self.frames.len() as u64 + 1);
        let at = Timestamp::from_millis(self.start_ms + seq.0 as i64 * STEP.as_millis() as i64);
        self.table.begin_row();
        for series in 0..SERIES {
            let text = series.to_string();
            let describe = || -> Result<SeriesDescription> {
                let labels = Labels::from_pairs([
                    ("__name__", "witness_value"),
                    ("job", "witness"),
                    ("series", &text),
                ]);
                Ok(SeriesDescription { labels, family: "witness_value".to_owned() })
            };
            self.table.set(text.as_bytes(), (seq.0 * SERIES as u64) as f64 + series as f64, describe)?;
        }
        self.table.finish_row();
        let mut family = Family { name: "witness_value".to_owned(), ..Family::default() };
        family.metadata.kind = MetricKind::Gauge;
        self.table.set_family(family);
        let rows = [RowInput { target: 0, at, table: &self.table, values: self.table.row() }];
        let batch = BatchInput {
            seq,
            complete_from: Timestamp::from_millis(self.start_ms),
            complete_through: at,
            rows: &rows,
        };
        let encoded = self.encoder.encode(&batch)?;
        self.frames.push((encoded.frame, encoded.is_key));
        self.session.on_spool(LogOffer { log: self.log, first: BatchSeq(1), last: seq, closed: false });
        Ok(())
    }

    async fn act(&mut self, action: AgentAction, link: &mut Link) -> Result<()> {
        match action {
            AgentAction::Send(message) => link.writer.write(&message).await?,
            AgentAction::OpenStream { log, live } => {
                link.stream = Some(FrameWriter::open(&link.connection, log, live).await?);
            }
            AgentAction::SendFrames { log, from, start, to, bytes_max } => {
                let stream = link.stream.as_mut().context("a stream is open")?;
                let mut index = from.0 as usize - 1;
                while start == SendStart::KeyOf && !self.frames[index].1 {
                    index -= 1;
                }
                let mut sent = Sent { through: from, frames: 0, bytes: 0 };
                while index < to.0 as usize && (sent.frames == 0 || sent.bytes < bytes_max as u64) {
                    let frame = &self.frames[index].0;
                    stream.write(frame).await?;
                    index += 1;
                    sent = Sent {
                        through: BatchSeq(index as u64),
                        frames: sent.frames + 1,
                        bytes: sent.bytes + frame.len() as u64,
                    };
                }
                self.session.on_sent(log, sent);
            }
            AgentAction::SendGap { log, from, to } => {
                let stream = link.stream.as_mut().context("a stream is open")?;
                let frame = encode_gap(from, to, GapReason::SpoolLost);
                stream.write(&frame).await?;
                self.session.on_sent(log, Sent { through: to, frames: 1, bytes: frame.len() as u64 });
            }
            AgentAction::ResetStream { .. } => link.stream = None,
            AgentAction::Acked { through, .. } => {
                self.acked = through.0;
                writeln!(self.book, "{}", through.0)?;
            }
            AgentAction::Close { code, reason } => {
                close(&link.connection, code, &reason);
                bail!("closed: {reason}");
            }
            AgentAction::Refused { reason, message, .. } => println!("refused: {reason:?} {message}"),
            // One log for ever: what it wrote down must be found under its numbers.
            AgentAction::StartNewLog { .. }
            | AgentAction::Welcomed { .. }
            | AgentAction::LogDone { .. }
            | AgentAction::MembersChanged(_)
            | AgentAction::SeriesLimited(_) => {}
        }
        Ok(())
    }
}
