//! How a file becomes a database we trust, and how it is left.
//!
//! The one idea: everything that can be wrong with the file is found here, before the first request: whose it is, how
//! new it is, whether it is whole. Afterwards two connections are open on it, one of which cannot write.
//!
//! What each setting is for stands beside it. <https://sqlite.org/pragma.html>, <https://sqlite.org/wal.html>

use std::fs::{self, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Fault, migrations};
use crate::sys::process::FileLock;

/// Password hashes and the names of what people watch: for nobody but the service.
const MODE: u32 = 0o600;

/// How long a statement waits for another process (the command line, a backup) to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Page cache of one connection, in KiB. The whole daemon has 10 MiB, and the kernel caches the file anyway.
const CACHE_KIB: i64 = 512;

/// Bytes that the write-ahead log keeps on disk once it was folded into the file: what SQLite lets it grow to (1000
/// pages) in ordinary use, and not what one scan of a great library made of it.
const LOG_BYTES_KEPT: i64 = 4 * 1024 * 1024;

/// Prepared statements a connection keeps. There are about twenty in this room.
const STATEMENTS_KEPT: usize = 32;

/// Opens or makes the database, checks it, brings it up to date and prepares it for the writer.
pub(super) fn open_for_writing(file: &Path) -> Result<Connection, Fault> {
    // The daemon and a command may both find no database, or an old one: one of them makes it, the other waits.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _alone = FileLock::of_folder(folder).map_err(|fault| Fault::open(file, fault.to_string()))?;
    refuse_unfinished(file)?;
    make_private(file)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fault = |error| Fault::of(file, &error);
    let mut connection = Connection::open_with_flags(file, flags).map_err(fault)?;
    settle(&connection).map_err(fault)?;
    migrations::check_origin(&connection, file)?;
    check_whole(&connection, file)?;
    use_log(&connection, file)?;
    make_durable(&connection).map_err(fault)?;
    migrations::migrate(&mut connection, file, migrations::STEPS)?;
    Ok(connection)
}

/// Opens a database that [`open_for_writing`] has prepared, so that it can only be read.
pub(super) fn open_for_reading(file: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let fault = |error| Fault::of(file, &error);
    let connection = Connection::open_with_flags(file, flags).map_err(fault)?;
    settle(&connection).map_err(fault)?;
    connection.pragma_update(None, "query_only", true).map_err(fault)?;
    Ok(connection)
}

/// Leaves the writer's connection: statistics for the query planner, and the log folded into the file, so that the
/// one file is the whole database.
pub(super) fn close(connection: Connection) {
    // Neither is needed for safety: a log that stays is read again by the next start.
    let _ = connection.execute_batch("PRAGMA optimize");
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    let _ = connection.close();
}

/// Makes an empty file of mode 0600 where there is none, and takes back what others may do with one that is there.
/// SQLite gives the log and its index the mode of the file.
fn make_private(file: &Path) -> Result<(), Fault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(file);
    match made {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Fault::open(file, format!("it could not be made ({error}); does its folder exist?"))),
    }
    // By its path: to open and close the file would drop the locks this process has on it (sqlite.org/howtocorrupt).
    let metadata = fs::metadata(file).map_err(|error| Fault::open(file, error.to_string()))?;
    if !metadata.is_file() {
        return Err(Fault::open(file, "it is not a regular file".to_owned()));
    }
    if metadata.permissions().mode() & 0o777 == MODE {
        return Ok(());
    }
    fs::set_permissions(file, Permissions::from_mode(MODE))
        .map_err(|error| Fault::open(file, format!("its mode could not become 0600 ({error}); who owns it?")))
}

/// The file that stands beside a database while a restore is between the old one and the new one.
pub fn unfinished_restore(file: &Path) -> PathBuf {
    migrations::beside(file, ".restoring")
}

/// Refuses a database that a restore which was cut off has left between the old one and the new one.
pub(super) fn refuse_unfinished(file: &Path) -> Result<(), Fault> {
    if unfinished_restore(file).exists() {
        let reason = "a restore of it was cut off; run `reelway restore FILE` again";
        return Err(Fault::open(file, reason.to_owned()));
    }
    Ok(())
}

/// Settings of every connection. Nothing in the file is changed or run by them.
pub(super) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A file somebody else has written must not run code of ours through its schema, nor break it by a statement.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // A disk error in mapped memory is SIGBUS, which would end the daemon.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(())
}

/// Reads the structure of the whole file: a damaged one must not be written to, and is found now, not by a viewer.
pub(super) fn check_whole(connection: &Connection, file: &Path) -> Result<(), Fault> {
    let finding: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| Fault::of(file, &error))?;
    if finding == "ok" { Ok(()) } else { Err(Fault::corrupt(file, finding)) }
}

/// Turns on the write-ahead log, in which readers and the writer do not wait for one another.
fn use_log(connection: &Connection, file: &Path) -> Result<(), Fault> {
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(|error| Fault::of(file, &error))?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let reason = "its file system has no shared memory, which a write-ahead log needs; put the state on a local disk";
    Err(Fault::open(file, reason.to_owned()))
}

/// Settings of the writer: what is committed survives a power cut, and references hold.
pub(super) fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))
}
