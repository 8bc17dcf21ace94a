//! The schema, as numbered steps, and the copy that is made before one is taken.
//!
//! The one idea: `user_version` counts the steps a file has behind it, so any older file becomes a current one, and a
//! newer one is left alone. A step, once released, never changes; a change of the schema is a new file in
//! `migrations/` and a new row in [`STEPS`].

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;
use rusqlite_migration::{M, Migrations};

use super::Fault;

/// Every step there is, in order.
pub(super) const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/001_initial.sql")),
    M::up(include_str!("migrations/002_who_may_watch.sql")),
    M::up(include_str!("migrations/003_links.sql")),
];

/// `PRAGMA application_id` of our files, as `001_initial.sql` sets it.
const APPLICATION_ID: i64 = 0x7265_656c;

/// Pages copied before others get their turn at the file.
const BACKUP_PAGES_AT_ONCE: i32 = 1024;

/// Refuses a file that a newer release or another program has written.
pub(super) fn check_origin(connection: &Connection, file: &Path) -> Result<(), Fault> {
    let fault = |error| Fault::of(file, &error);
    let found = user_version(connection).map_err(fault)?;
    let known = STEPS.len() as i64;
    if is_empty(connection).map_err(fault)? {
        return if found > known { Err(newer(file, found, known)) } else { Ok(()) };
    }
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(fault)?;
    if application != APPLICATION_ID {
        return Err(Fault::open(file, "it is a database of another program; name another file".to_owned()));
    }
    if found > known { Err(newer(file, found, known)) } else { Ok(()) }
}

/// Takes the steps that `connection` has not behind it. A database that holds something is copied first, to
/// `FILE.before-N` for the schema N it is about to get.
pub(super) fn migrate(connection: &mut Connection, file: &Path, steps: &[M<'_>]) -> Result<(), Fault> {
    let fault = |error| Fault::of(file, &error);
    let target = steps.len();
    if user_version(connection).map_err(fault)? >= target as i64 {
        return Ok(());
    }
    if !is_empty(connection).map_err(fault)? {
        back_up(connection, file, &beside(file, &format!(".before-{target}")))?;
    }
    Migrations::from_slice(steps).to_latest(connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => Fault::of(file, &err),
        other => Fault::other(file, format!("its schema could not become {target}: {other}")),
    })
}

fn newer(file: &Path, found: i64, known: i64) -> Fault {
    Fault::Newer { file: file.to_owned(), found, known }
}

fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Copies the database to `copy`, which has its name only once it is whole and on the disk.
fn back_up(connection: &Connection, file: &Path, copy: &Path) -> Result<(), Fault> {
    let partial = beside(copy, ".partial");
    let kept = make_empty(&partial)
        .and_then(|()| copy_pages(connection, &partial).map_err(|error| explain(file, &error)))
        .and_then(|()| keep(&partial, copy));
    kept.map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => Fault::DiskFull { file: file.to_owned() },
        _ => Fault::open(file, format!("the backup {} could not be made before migrating ({error})", copy.display())),
    })
}

/// An empty file of mode 0600; whatever an interrupted backup left there is gone.
fn make_empty(partial: &Path) -> io::Result<()> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map(drop)
}

fn copy_pages(connection: &Connection, partial: &Path) -> rusqlite::Result<()> {
    let mut destination = Connection::open(partial)?;
    Backup::new(connection, &mut destination)?.run_to_completion(BACKUP_PAGES_AT_ONCE, Duration::ZERO, None)?;
    destination.close().map_err(|(_, error)| error)
}

/// An error of SQLite as one of the system, so that all steps of a backup fail alike.
fn explain(file: &Path, error: &rusqlite::Error) -> io::Error {
    match Fault::of(file, error) {
        Fault::DiskFull { .. } => io::Error::from(io::ErrorKind::StorageFull),
        _ => io::Error::other(error.to_string()),
    }
}

/// Gives a whole copy its name, durably: the file first, then the folder.
fn keep(partial: &Path, copy: &Path) -> io::Result<()> {
    File::open(partial)?.sync_all()?;
    fs::rename(partial, copy)?;
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// `path` with `suffix` after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
