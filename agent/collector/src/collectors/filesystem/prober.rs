//! Asking mounts for their size: on threads that may hang, but for those that can not.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::remedy;
use crate::field_cache::FieldCache;

use super::Usage;

/// How a mount is asked. Tests have one that hangs.
pub(super) type Statfs = Arc<dyn Fn(&Path) -> io::Result<Usage> + Send + Sync>;

/// How long a gather waits for slow mounts. Then the last answer is told until the new one comes, or the timeout.
const PATIENCE: Duration = Duration::from_millis(100);

/// After so long without an answer one more thread is put to work on the mounts that still wait.
const RELIEF: Duration = Duration::from_millis(2);

/// A mount that should answer at once and took longer is left to the threads.
const PROMPT_MAX: Duration = Duration::from_millis(20);

/// Hung mounts each hold a thread. With more than so many, even mounts that are well are told as hung.
const WORKERS_MAX: usize = 64;

/// A system call needs little.
const STACK_BYTES: usize = 128 << 10;

/// What is known of a mount.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// It answered, just now or at least lately.
    Usage(Usage),
    /// It answered with this error, in Go's words.
    Error(String),
    /// It has not answered for the whole timeout.
    Timeout,
    /// It was asked for the first time and has not answered yet.
    Unknown,
}

/// Asks each mount at most once at a time.
pub(super) struct Prober {
    shared: Arc<Shared>,
    workers_wanted: usize,
    timeout: Duration,
    probes: FieldCache<Probe>,
    /// Where in `probes` the mounts are that were asked for, in their order.
    order: Vec<usize>,
    next_id: u64,
}

struct Probe {
    id: u64,
    path: Arc<Path>,
    /// Since when it has been asked without an answer.
    asked_at: Option<Instant>,
    is_hung: bool,
    /// It should have answered at once, and did not.
    is_slow: bool,
    last: Answer,
}

struct Shared {
    statfs: Statfs,
    state: Mutex<State>,
    /// There is work, or there will be none any more.
    work: Condvar,
    /// The queue is empty and an answer came.
    answered: Condvar,
}

/// Bounded by the number of mounts, since each is asked once at a time.
#[derive(Default)]
struct State {
    queue: VecDeque<(u64, Arc<Path>)>,
    answers: Vec<(u64, io::Result<Usage>)>,
    workers: usize,
    idle: usize,
    is_closed: bool,
}

impl Prober {
    pub(super) fn new(statfs: Statfs, workers_wanted: usize, timeout: Duration) -> Self {
        let shared =
            Shared { statfs, state: Mutex::default(), work: Condvar::new(), answered: Condvar::new() };
        Self {
            shared: Arc::new(shared),
            workers_wanted,
            timeout,
            probes: FieldCache::new(),
            order: Vec::new(),
            next_id: 0,
        }
    }

    /// Asks all mounts that are not being asked already, and gives an answer for each, in their order. With each path
    /// comes whether it is sure to answer at once: no thread is woken for such a one.
    #[expect(clippy::disallowed_methods, reason = "driver: measures how long mounts take")]
    pub(super) fn probe<'a>(
        &mut self,
        mounts: impl Iterator<Item = (&'a Arc<Path>, bool)>,
        answers: &mut Vec<Answer>,
    ) {
        self.take_answers();
        let begin = Instant::now();
        let (asked, held) = self.ask(mounts, begin);
        if asked + held > 0 {
            self.wait(asked, held, begin);
            self.take_answers();
        }
        answers.clear();
        let now = Instant::now();
        for at in &self.order {
            answers.push(self.probes.at_mut(*at).answer(now, self.timeout));
        }
    }

    /// Gives how many were asked, and how many still hold a worker from before.
    fn ask<'a>(
        &mut self,
        mounts: impl Iterator<Item = (&'a Arc<Path>, bool)>,
        now: Instant,
    ) -> (usize, usize) {
        let (mut asked, mut held) = (0, 0);
        let shared = Arc::clone(&self.shared);
        self.probes.begin();
        self.order.clear();
        for (path, is_prompt) in mounts {
            let next_id = &mut self.next_id;
            let at = self.probes.index(path.as_os_str().as_encoded_bytes(), || {
                *next_id += 1;
                Probe::new(*next_id, path)
            });
            self.order.push(at);
            let probe = self.probes.at_mut(at);
            if probe.asked_at.is_some() {
                held += 1;
            } else if is_prompt && !probe.is_slow {
                probe.ask_here(&shared.statfs);
            } else {
                probe.asked_at = Some(now);
                shared.lock().queue.push_back((probe.id, Arc::clone(&probe.path)));
                asked += 1;
            }
        }
        (asked, held)
    }

    /// Until as many answers are there as mounts were asked, or patience ends. Ordinarily one worker answers for all;
    /// more are called when it does not.
    fn wait(&self, asked: usize, held: usize, begin: Instant) {
        let patience = PATIENCE.min(self.timeout);
        let workers_max = (self.workers_wanted + held).min(WORKERS_MAX);
        // Those left from before may still be in the queue, behind ones that hang.
        // Where no more workers may be called, waiting for these would be of no use.
        let is_waiting = |state: &mut State| {
            state.answers.len() < asked || (!state.queue.is_empty() && state.workers < WORKERS_MAX)
        };
        let mut state = self.shared.lock();
        if !state.queue.is_empty() {
            self.call_worker(&mut state, workers_max);
        }
        while is_waiting(&mut state) && begin.elapsed() < patience {
            let (guard, timeout) = self
                .shared
                .answered
                .wait_timeout_while(state, RELIEF, is_waiting)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if timeout.timed_out() && !state.queue.is_empty() {
                self.call_worker(&mut state, workers_max);
            }
        }
    }

    fn call_worker(&self, state: &mut State, workers_max: usize) {
        if state.idle > 0 {
            self.shared.work.notify_one();
        } else if state.workers < workers_max {
            let shared = Arc::clone(&self.shared);
            let keep = self.workers_wanted;
            let thread = thread::Builder::new().name("statfs".to_owned()).stack_size(STACK_BYTES);
            match thread.spawn(move || shared.work(keep)) {
                Ok(_) => state.workers += 1,
                Err(error) => tracing::warn!(%error, "cannot start a thread for file system sizes"),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn workers(&self) -> usize {
        self.shared.lock().workers
    }

    fn take_answers(&mut self) {
        let mut state = self.shared.lock();
        for (id, result) in state.answers.drain(..) {
            if let Some(probe) = self.probes.all_mut().find(|probe| probe.id == id) {
                probe.settle(result);
            }
        }
    }
}

impl Drop for Prober {
    /// Idle workers end now, those that hang when they come back. Nobody can wait for these.
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.work.notify_all();
    }
}

impl Probe {
    fn new(id: u64, path: &Arc<Path>) -> Self {
        Self {
            id,
            path: Arc::clone(path),
            asked_at: None,
            is_hung: false,
            is_slow: false,
            last: Answer::Unknown,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "driver: measures how long mounts take")]
    fn ask_here(&mut self, statfs: &Statfs) {
        let begin = Instant::now();
        self.settle(statfs(&self.path));
        self.is_slow = begin.elapsed() > PROMPT_MAX;
    }

    fn settle(&mut self, result: io::Result<Usage>) {
        self.asked_at = None;
        if std::mem::take(&mut self.is_hung) {
            tracing::info!(mount = %self.path.display(), "mount answers again");
        }
        self.last = match result {
            Ok(usage) => Answer::Usage(usage),
            Err(error) => {
                self.say_if_denied(&error);
                Answer::Error(go_words(&error))
            }
        };
    }

    /// Once, as the label `device_error` has no room for what to do.
    fn say_if_denied(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::PermissionDenied && !matches!(self.last, Answer::Error(_)) {
            let error = format!("{error}{}", remedy(error));
            tracing::warn!(mount = %self.path.display(), error, "mount can not be looked at");
        }
    }

    fn answer(&mut self, now: Instant, timeout: Duration) -> Answer {
        if self.asked_at.is_none_or(|asked_at| now.duration_since(asked_at) < timeout) {
            return self.last.clone();
        }
        if !std::mem::replace(&mut self.is_hung, true) {
            tracing::warn!(mount = %self.path.display(), ?timeout, "mount does not answer");
        }
        Answer::Timeout
    }
}

impl Shared {
    /// A worker that panicked left nothing half done behind.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's life: it ends when more than `keep` others have nothing to do either.
    fn work(&self, keep: usize) {
        let mut state = self.lock();
        while !state.is_closed {
            if let Some((id, path)) = state.queue.pop_front() {
                drop(state);
                let result = (self.statfs)(&path);
                state = self.lock();
                state.answers.push((id, result));
                if state.queue.is_empty() {
                    self.answered.notify_one();
                }
            } else if state.idle >= keep {
                break;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
        state.workers -= 1;
    }
}

/// The system's words as Go spells them, which are in a label: `no such file or directory`.
fn go_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == '/' => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_spelled_as_by_go() {
        for (code, words) in [
            (2, "no such file or directory"),
            (5, "input/output error"),
            (13, "permission denied"),
            (107, "transport endpoint is not connected"),
            (112, "host is down"),
            (116, "stale file handle"),
            (121, "remote I/O error"),
        ] {
            assert_eq!(go_words(&io::Error::from_raw_os_error(code)), words);
        }
    }
}
