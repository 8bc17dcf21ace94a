//! A bounded queue with one thread at its end.
//!
//! The one idea: sending never waits. A full queue is a refusal the client can be told about, and closing drops the
//! only sender, so that the thread drains what was accepted and then ends by itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Fault;
use crate::limits;

/// The sending side, and the thread that works on what is sent.
pub(super) struct Queue<Job> {
    file: PathBuf,
    sender: ArcSwapOption<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<Job: Send + 'static> Queue<Job> {
    /// Starts `work` on a thread called `name`; it ends when the queue is closed and empty. `file` is for messages.
    pub(super) fn start(
        file: &Path,
        name: &str,
        work: impl FnOnce(Receiver<Job>) + Send + 'static,
    ) -> Result<Queue<Job>, Fault> {
        let (sender, receiver) = mpsc::channel(limits::STORE_QUEUE_MAX);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(receiver))
            .map_err(|error| Fault::open(file, format!("the thread {name} could not be started ({error})")))?;
        Ok(Queue {
            file: file.to_owned(),
            sender: ArcSwapOption::from(Some(Arc::new(sender))),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues `job`, or refuses it at once.
    pub(super) fn send(&self, job: Job) -> Result<(), Fault> {
        let sender = self.sender.load();
        match sender.as_ref().map(|sender| sender.try_send(job)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(Fault::Busy { file: self.file.clone() }),
            Some(Err(TrySendError::Closed(_))) | None => Err(Fault::Stopped),
        }
    }

    /// Accepts nothing more, and returns once what was accepted is done.
    pub(super) fn close(&self) {
        self.sender.store(None);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread itself was reported by the panic hook, and its jobs were answered by their
            // dropped replies; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

impl<Job> fmt::Debug for Queue<Job> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Queue").field("file", &self.file).finish_non_exhaustive()
    }
}
