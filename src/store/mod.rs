//! What is remembered: SQLite behind one writer thread and one reader thread.
//!
//! The one idea: an answer means the disk has it. Every write is a job in a bounded queue; the writer takes all that
//! wait, runs them in one transaction, and answers them only after its commit. The rooms above call functions of the
//! domain (a user is added, a login is recorded) and see neither SQL nor a type of rusqlite, so that another engine
//! can stand here one day (DESIGN.md §7).
//!
//! ```text
//!   user_add() ──▶ queue (1024) ──▶ writer: BEGIN · job · job · job · COMMIT ──▶ answers
//!   user_by_id() ▶ queue (1024) ──▶ reader: a read-only connection ────────────▶ answers
//! ```
//!
//! Reading order: `writer` is the heart, `connection` how a file becomes a database we trust, then one file an
//! aggregate: `users`, `sessions`, `videos`, `audit`; `backup` copies it all. Invariants: a full queue refuses and never waits; a job that fails
//! or panics undoes itself alone; a commit that fails undoes, and fails, its whole group; time comes from the caller.

mod answer;
mod audit;
pub mod backup;
mod columns;
mod connection;
mod fault;
mod links;
mod migrations;
mod queue;
mod reader;
mod sessions;
mod timestamp;
mod users;
mod videos;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::metrics::StoreCounts as Counts;
pub use audit::{Audit, AuditAction, AuditRow};
pub use connection::unfinished_restore;
pub use fault::Fault;
pub use links::{Link, NewLink, Played};
pub use sessions::{Held, Login, NewSession, Room, Session, Touched};
pub use timestamp::Timestamp;
pub use users::{Changed, Device, NewUser, PasswordHash, Preferences, Quality, Role, User, UserChange, UserError};
pub use videos::{FoundVideo, Synced};

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use tokio::sync::oneshot;

use queue::Queue;
use reader::Reader;
use writer::Writer;

/// What the thread that writes is called.
pub const WRITER: &str = "store-writer";
/// What the thread that reads is called.
pub const READER: &str = "store-reader";

/// The database of one daemon. Clones are the same store; the last one to go closes it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Store").field(&self.counts()).finish()
    }
}

struct Inner {
    writer: Queue<writer::Job>,
    reader: Queue<reader::Job>,
    counters: Arc<Counters>,
}

/// What the two threads count; read as [`Counts`].
#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    commits: AtomicU64,
    /// Beginnings and ends of whatever the writer waits for a disk in: while they become more it lives.
    writer_steps: AtomicU64,
}

impl Store {
    /// Opens the database at `file`, or makes it, mode 0600, in a folder that exists. An older one is backed up as
    /// `FILE.before-N` and migrated to schema N. Blocks: call it before the shards start.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] and [`Fault::Newer`] as they say; [`Fault::Open`] when the file cannot be opened or belongs
    /// to another program; [`Fault::DiskFull`] when there is no room to migrate.
    pub fn open(file: &Path) -> Result<Store, Fault> {
        let counters = Arc::new(Counters::default());
        let write_connection = connection::open_for_writing(file)?;
        let read_connection = connection::open_for_reading(file)?;
        let reader = Reader::new(read_connection, file, Arc::clone(&counters));
        let writer = Writer::new(write_connection, file, Arc::clone(&counters));
        Ok(Store(Arc::new(Inner {
            reader: Queue::start(file, READER, move |jobs| reader.run(jobs))?,
            writer: Queue::start(file, WRITER, move |jobs| writer.run(jobs))?,
            counters,
        })))
    }

    /// Finishes what waits, folds the write-ahead log into the file and ends both threads. Whatever is asked later is
    /// answered with [`Fault::Stopped`]. Blocks for as long as the queues need; a second call does nothing.
    pub fn close(&self) {
        self.0.close();
    }

    /// What was done since the store was opened.
    pub fn counts(&self) -> Counts {
        let counters = &self.0.counters;
        Counts {
            reads: counters.reads.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
        }
    }

    /// How far the thread that writes has come, in steps of one job, or one commit, each. It counts on while a group of writes is
    /// on its way, and nobody is answered yet.
    pub fn writer_steps(&self) -> u64 {
        self.0.counters.writer_steps.load(Ordering::Relaxed)
    }

    /// Whether the database answers: one row is read from a table.
    ///
    /// # Errors
    /// The fault that a read would meet.
    pub async fn ping(&self) -> Result<(), Fault> {
        self.read(|connection| {
            connection.query_row("SELECT count(*) FROM (SELECT 1 FROM users LIMIT 1)", [], |_| Ok(()))
        })
        .await
    }

    /// Whether the thread that writes does its work: an empty write goes through its queue. It waits for no disk by itself, but
    /// for whatever is written before it.
    ///
    /// # Errors
    /// The fault that a write would meet.
    pub async fn ping_writer(&self) -> Result<(), Fault> {
        self.write(|_| Ok(())).await
    }

    /// Queues `work` for the writer. Its answer arrives once the work is durable.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.0.writer.send(writer::job(work, reply))?;
        answer.await.unwrap_or(Err(Fault::Stopped))
    }

    /// Queues `work` for the reader, which sees every write that was answered before.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        self.0.reader.send(reader::job(work, reply))?;
        answer.await.unwrap_or(Err(Fault::Stopped))
    }
}

impl Inner {
    /// The reader goes first: a checkpoint cannot truncate the log under a reader.
    fn close(&self) {
        self.reader.close();
        self.writer.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
