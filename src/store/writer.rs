//! The only thread that writes: group commit.
//!
//! The one idea: an fsync costs the same for one write as for a hundred. The writer takes whatever waits (at most
//! [`limits::STORE_GROUP_MAX`]) and runs it in one transaction, each job in a savepoint of its own; while it commits,
//! the next group gathers by itself, so nothing ever waits for company.
//!
//! ```text
//!   BEGIN IMMEDIATE
//!     SAVEPOINT job · work · RELEASE job                        it worked
//!     SAVEPOINT job · work fails or panics · ROLLBACK TO job    it alone is undone
//!   COMMIT                                                      and only now is every job answered
//! ```
//!
//! Some failures (disk full, an I/O error) make SQLite itself roll the whole transaction back: then all jobs that ran
//! are told so, and the rest of the group starts in a new one. <https://sqlite.org/lang_transaction.html> §3

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::{Counters, Fault, connection};
use crate::limits;

/// One write that waits: it is given the database, or the fault for which it cannot be.
pub(super) type Job = Box<dyn FnOnce(Begun<'_>) -> Ran + Send>;

/// The open transaction of a group, or why there is none.
type Begun<'a> = Result<Database<'a>, Fault>;

/// A connection and the file it is open on, which every fault names.
#[derive(Clone, Copy)]
pub(super) struct Database<'a> {
    pub(super) connection: &'a Connection,
    pub(super) file: &'a Path,
}

/// A job that ran and waits for the commit.
pub(super) struct Ran {
    /// Why its work is undone, if it is.
    fault: Option<Fault>,
    answer: Box<dyn FnOnce(Result<(), Fault>) + Send>,
}

/// Makes a job of `work`, whose result goes to `reply` after the commit.
pub(super) fn job<T: Send + 'static>(
    work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    reply: oneshot::Sender<Result<T, Fault>>,
) -> Job {
    Box::new(move |begun| {
        let result = begun.and_then(|database| run_caught(database, work));
        Ran {
            fault: result.as_ref().err().cloned(),
            // Who asked may have gone away meanwhile; the write stands all the same.
            answer: Box::new(move |committed| drop(reply.send(result.and_then(|value| committed.map(|()| value))))),
        }
    })
}

/// Runs `work`, turning an error of SQLite and a panic alike into a fault.
pub(super) fn run_caught<T>(
    database: Database<'_>,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, Fault> {
    // What a panic leaves behind is undone by the savepoint, so nothing half-done is looked at afterwards.
    match catch_unwind(AssertUnwindSafe(|| work(database.connection))) {
        Ok(result) => result.map_err(|error| Fault::of(database.file, &error)),
        Err(panic) => Err(Fault::other(database.file, format!("a job panicked: {}", message_of(&*panic)))),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// The writing connection and its thread's loop.
pub(super) struct Writer {
    connection: Connection,
    file: PathBuf,
    counters: Arc<Counters>,
}

impl Writer {
    pub(super) fn new(connection: Connection, file: &Path, counters: Arc<Counters>) -> Writer {
        Writer { connection, file: file.to_owned(), counters }
    }

    /// Works until the queue is closed and empty, then closes the database tidily.
    pub(super) fn run(self, mut jobs: Receiver<Job>) {
        let mut group = VecDeque::with_capacity(limits::STORE_GROUP_MAX);
        while let Some(first) = jobs.blocking_recv() {
            group.push_back(first);
            while group.len() < limits::STORE_GROUP_MAX
                && let Ok(next) = jobs.try_recv()
            {
                group.push_back(next);
            }
            while !group.is_empty() {
                self.commit_together(&mut group);
            }
        }
        connection::close(self.connection);
    }

    /// Runs jobs from the front of `group` in one transaction and answers those that ran: all of them, unless the
    /// transaction breaks on the way.
    fn commit_together(&self, group: &mut VecDeque<Job>) {
        if let Err(fault) = self.batch("BEGIN IMMEDIATE") {
            let refused = group.drain(..).map(|job| job(Err(fault.clone()))).collect();
            return self.answer(refused, Err(fault));
        }
        let mut ran = Vec::with_capacity(group.len());
        while let Some(job) = group.pop_front() {
            ran.push(self.run_in_savepoint(job));
            if self.transaction_is_gone() {
                break;
            }
        }
        let committed = self.commit(ran.last().and_then(|job| job.fault.clone()));
        self.answer(ran, committed);
    }

    fn run_in_savepoint(&self, job: Job) -> Ran {
        if let Err(fault) = self.batch("SAVEPOINT job") {
            return job(Err(fault));
        }
        let mut ran = job(Ok(Database { connection: &self.connection, file: &self.file }));
        if self.transaction_is_gone() {
            return ran;
        }
        let end = if ran.fault.is_none() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
        if let Err(fault) = self.batch(end) {
            // Neither kept nor undone: what this job did cannot be told from the others' work, so all of it goes.
            self.roll_back();
            ran.fault = Some(fault);
        }
        ran
    }

    /// Commits, or says why not. `last` is the fault of the job that ran last: the one that broke the transaction, if
    /// it is broken.
    fn commit(&self, last: Option<Fault>) -> Result<(), Fault> {
        if self.transaction_is_gone() {
            return Err(last.unwrap_or_else(|| Fault::other(&self.file, "the transaction was lost".to_owned())));
        }
        let committed = self.batch("COMMIT");
        match committed {
            Ok(()) => _ = self.counters.commits.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.roll_back(),
        }
        committed
    }

    fn roll_back(&self) {
        if !self.transaction_is_gone() {
            // It fails only when the transaction is gone already, which is what is wanted.
            let _ = self.batch("ROLLBACK");
        }
    }

    fn answer(&self, ran: Vec<Ran>, committed: Result<(), Fault>) {
        self.counters.writes.fetch_add(ran.len() as u64, Ordering::Relaxed);
        for job in ran {
            (job.answer)(committed.clone());
        }
    }

    /// Whether SQLite has ended the transaction by itself.
    fn transaction_is_gone(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Runs what begins or ends a group or a job, so that a step is seen before it and another after it.
    fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.counters.writer_steps.fetch_add(1, Ordering::Relaxed);
        let done = self.connection.execute_batch(sql).map_err(|error| Fault::of(&self.file, &error));
        self.counters.writer_steps.fetch_add(1, Ordering::Relaxed);
        done
    }
}
