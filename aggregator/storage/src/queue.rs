//! The bounded queue to the writer thread.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};

use vedette_model::Timestamp;

use crate::copy::Copied;
use crate::{Append, Busy, Done};

/// What the writer thread does, in this order.
pub(crate) enum Command {
    Append(Append, Done),
    /// Freeze the head: answers whether there is a frozen head now.
    Rotate(Timestamp, SyncSender<bool>),
    /// Drop the generations that parts have made needless.
    DropGenerations {
        through: u64,
    },
    /// Show what was copied from another replica and is in the database already; answers whether it is shown.
    Show(Box<Copied>, SyncSender<bool>),
    /// Open the database again; answers whether it is open.
    Reopen(SyncSender<bool>),
}

pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    frames: usize,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), frames_max, bytes_max }
    }

    /// Queues a frame. A queue that is empty takes one of any size. `Err(Some)`: closed, the append comes back.
    pub(crate) fn push_append(&self, append: Append, done: Done) -> Result<(), Result<Done, Busy>> {
        let mut state = self.lock();
        if state.closed {
            return Err(Ok(done));
        }
        let bytes = append.frame.len();
        let full = state.frames >= self.frames_max || state.bytes + bytes > self.bytes_max;
        if full && state.frames > 0 {
            return Err(Err(Busy { frames: state.frames, bytes: state.bytes }));
        }
        state.frames += 1;
        state.bytes += bytes;
        state.commands.push_back(Command::Append(append, done));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Queues anything else; there are only ever a few of these. Whether it was taken.
    pub(crate) fn push_control(&self, command: Command) -> bool {
        let mut state = self.lock();
        if !state.closed {
            state.commands.push_back(command);
            self.filled.notify_one();
        }
        !state.closed
    }

    /// Waits for commands and takes up to `count_max` of them; none when the queue is closed and empty.
    pub(crate) fn take(&self, count_max: usize) -> Vec<Command> {
        let mut state = self.lock();
        while state.commands.is_empty() && !state.closed {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.commands.len().min(count_max.max(1));
        let taken: Vec<Command> = state.commands.drain(..count).collect();
        for command in &taken {
            if let Command::Append(append, _) = command {
                state.frames -= 1;
                state.bytes -= append.frame.len();
            }
        }
        taken
    }

    /// Takes no more; what is queued is still done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Frames that wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.frames, state.bytes)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
