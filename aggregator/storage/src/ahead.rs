//! A long selection is read ahead on a second thread, so that it is decoded while what came before is evaluated.
//!
//! The order of series stays, so answers do not depend on threads. Short selections, which are most, never leave the
//! caller's thread, and all queries together have no more helpers than the machine has processors to spare.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use vedette_model::{Labels, Samples, SelectError, SeriesStream};

use crate::stream::MergedStream;

/// Samples read before help is asked for: a millisecond's work, or so.
const ALONE_SAMPLES: usize = 100_000;
/// A batch is passed on when it has so many samples, or so many series.
const BATCH_SAMPLES: usize = 16_384;
const BATCH_SERIES_MAX: usize = 256;
/// Batches that wait to be taken.
const BATCHES_MAX: usize = 2;

/// Helpers of all queries that there are now.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// Series in order, read here or by a helper.
pub(crate) struct Ahead(State);

enum State {
    /// With how many samples it has given.
    Alone(MergedStream, usize),
    Helped(Helped),
    Over,
}

/// One series: `None` where there is only memory to be used again.
type Slot = (Option<Labels>, Samples);
type Batch = Vec<Slot>;

enum Message {
    Batch(Batch),
    End(Result<(), SelectError>),
}

/// The taking end. Dropping it ends the helper.
struct Helped {
    /// `None` only while it is dropped.
    messages: Option<Receiver<Message>>,
    /// Batches that were taken go back.
    spent: SyncSender<Batch>,
    batch: Batch,
    /// How many of the batch's series have been given.
    given: usize,
    helper: Option<JoinHandle<()>>,
}

impl Ahead {
    pub(crate) fn new(stream: MergedStream) -> Self {
        Self(State::Alone(stream, 0))
    }
}

impl SeriesStream for Ahead {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        loop {
            match &mut self.0 {
                State::Alone(_, read) if *read >= ALONE_SAMPLES => {
                    if let State::Alone(stream, _) = std::mem::replace(&mut self.0, State::Over) {
                        self.0 = get_help(stream);
                    }
                }
                State::Alone(stream, read) => {
                    let labels = stream.next_into(samples)?;
                    *read += samples.len();
                    return Ok(labels);
                }
                State::Helped(helped) => return helped.next_into(samples),
                State::Over => return Ok(None),
            }
        }
    }
}

/// Hands the stream to a helper, where there may be one more; otherwise asks again much later.
fn get_help(stream: MergedStream) -> State {
    if !claim() {
        return State::Alone(stream, 0);
    }
    let (sender, messages) = sync_channel(BATCHES_MAX);
    let (spent, returned) = sync_channel(BATCHES_MAX + 1);
    // Where no thread can be had, nothing is lost: the stream comes back.
    let (handing, handed) = sync_channel(1);
    let thread = std::thread::Builder::new().name("storage-ahead".to_owned());
    let helper = thread.spawn(move || {
        let _claim = Claim;
        if let Ok(stream) = handed.recv() {
            read(stream, &sender, &returned);
        }
    });
    match helper {
        Ok(helper) => {
            let helped = Helped {
                messages: Some(messages),
                spent,
                batch: Batch::new(),
                given: 0,
                helper: Some(helper),
            };
            match handing.send(stream) {
                Ok(()) => State::Helped(helped),
                Err(unsent) => State::Alone(unsent.0, 0),
            }
        }
        Err(error) => {
            HELPERS.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "no thread to read ahead");
            State::Alone(stream, 0)
        }
    }
}

/// Gives the claim back when the helper ends, however it does.
struct Claim;

impl Drop for Claim {
    fn drop(&mut self) {
        HELPERS.fetch_sub(1, Ordering::Relaxed);
    }
}

fn claim() -> bool {
    static HELPERS_MAX: OnceLock<usize> = OnceLock::new();
    let helpers_max =
        *HELPERS_MAX.get_or_init(|| std::thread::available_parallelism().map_or(0, |all| all.get() - 1));
    let more = |helpers: usize| (helpers < helpers_max).then_some(helpers + 1);
    HELPERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// The helper: reads until the end, or until nobody takes any more.
fn read(mut stream: MergedStream, messages: &SyncSender<Message>, returned: &Receiver<Batch>) {
    loop {
        let mut batch = returned.try_recv().unwrap_or_default();
        match fill(&mut stream, &mut batch) {
            Ok(whole) => {
                if messages.send(Message::Batch(batch)).is_err() {
                    return;
                }
                if !whole {
                    break;
                }
            }
            Err(error) => {
                // Whoever does not take it any more does not need to know.
                messages.send(Message::End(Err(error))).ok();
                return;
            }
        }
    }
    messages.send(Message::End(Ok(()))).ok();
}

/// Fills a batch; whether there may be more.
fn fill(stream: &mut MergedStream, batch: &mut Batch) -> Result<bool, SelectError> {
    let (mut series, mut samples) = (0, 0);
    while series < BATCH_SERIES_MAX && samples < BATCH_SAMPLES {
        if series == batch.len() {
            batch.push((None, Samples::default()));
        }
        let slot = &mut batch[series];
        slot.0 = stream.next_into(&mut slot.1)?;
        if slot.0.is_none() {
            batch.truncate(series);
            return Ok(false);
        }
        samples += slot.1.len();
        series += 1;
    }
    batch.truncate(series);
    Ok(true)
}

impl Helped {
    fn next_into(&mut self, samples: &mut Samples) -> Result<Option<Labels>, SelectError> {
        loop {
            if let Some((labels, found)) = self.batch.get_mut(self.given) {
                self.given += 1;
                std::mem::swap(samples, found);
                return Ok(labels.take());
            }
            let lost = || SelectError::Storage("the thread that read ahead was lost".to_owned());
            match self.messages.as_ref().and_then(|messages| messages.recv().ok()) {
                Some(Message::Batch(batch)) => {
                    let spent = std::mem::replace(&mut self.batch, batch);
                    self.given = 0;
                    // Only its memory is lost where the helper has ended, or has enough.
                    self.spent.try_send(spent).ok();
                }
                Some(Message::End(end)) => {
                    self.messages = None;
                    samples.clear();
                    return end.map(|()| None);
                }
                None if self.messages.is_none() => return Ok(None),
                None => return Err(lost()),
            }
        }
    }
}

impl Drop for Helped {
    fn drop(&mut self) {
        self.messages = None;
        if self.helper.take().is_some_and(|helper| helper.join().is_err()) {
            tracing::error!("the thread that reads ahead has panicked");
        }
    }
}
