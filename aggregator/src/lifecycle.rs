//! What `/-/reload` and `/-/quit` ask of the program, which does what signals make it do.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use vedette_api::{Lifecycle, Reloading};

/// Reloads that wait for the one under way.
const REQUESTS_MAX: usize = 16;

/// What was asked for over HTTP.
pub(crate) enum Request {
    /// Whoever asked is told how it went.
    Reload(oneshot::Sender<Result<(), String>>),
    Quit,
}

/// The asking end.
pub(crate) struct Requests {
    sender: mpsc::Sender<Request>,
    is_quitting: AtomicBool,
}

impl Requests {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        (Self { sender, is_quitting: AtomicBool::new(false) }, receiver)
    }
}

impl Lifecycle for Requests {
    fn reload(&self) -> Reloading {
        let sender = self.sender.clone();
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let gone = || "the server is going away".to_owned();
            sender.send(Request::Reload(answer)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }

    fn quit(&self) -> bool {
        let is_first = !self.is_quitting.swap(true, Ordering::Relaxed);
        // Full of reloads, or on its way out: then it may be asked again.
        if is_first && self.sender.try_send(Request::Quit).is_err() {
            self.is_quitting.store(false, Ordering::Relaxed);
        }
        is_first
    }
}
