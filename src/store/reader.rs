//! The thread that reads, on a connection that cannot write.
//!
//! The one idea: in WAL mode a reader never waits for the writer, so what is being looked up does not stand behind an
//! fsync. It sees everything that was committed before its job began.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::writer::{Database, run_caught};
use super::{Counters, Fault};

/// One read that waits. It is counted before it answers, so that who was answered finds it counted.
pub(super) type Job = Box<dyn FnOnce(Database<'_>, &Counters) + Send>;

/// Makes a job of `work`, whose result goes to `reply`.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    reply: oneshot::Sender<Result<T, Fault>>,
) -> Job {
    Box::new(move |database, counters| {
        let result = run_caught(database, work);
        counters.reads.fetch_add(1, Ordering::Relaxed);
        drop(reply.send(result)); // Who asked may have gone away meanwhile.
    })
}

/// The reading connection and its thread's loop.
pub(super) struct Reader {
    connection: Connection,
    file: PathBuf,
    counters: Arc<Counters>,
}

impl Reader {
    pub(super) fn new(connection: Connection, file: &Path, counters: Arc<Counters>) -> Reader {
        Reader { connection, file: file.to_owned(), counters }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(self, mut jobs: Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            job(Database { connection: &self.connection, file: &self.file }, &self.counters);
        }
    }
}
